//! Limits, listeners, TLS, starting and stopping.
