//! What joins the parts.

pub mod partitions;
