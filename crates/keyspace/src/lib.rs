//! Keys, values, expiry.
