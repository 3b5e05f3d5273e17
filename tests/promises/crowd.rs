//! Ten thousand subscribers at once.
