//! What review should not have to look for.
