//! The whole server against real parts.
