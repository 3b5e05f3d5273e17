//! What joins the parts.
