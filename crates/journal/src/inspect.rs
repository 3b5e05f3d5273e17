//! Tools on a journal at rest.
