//! The Redis protocol: bytes ↔ requests and replies, RESP2 and RESP3, without sockets and without commands.
//!
//! Zero-copy in: [`Parser`] notes where the arguments of a request lie in the caller's buffer, and [`Args`] views them.
//! Append-only out: [`Reply`] writes wire bytes to the end of a `Vec<u8>`.
#![forbid(unsafe_code)]

mod args;
pub mod argument;
mod error;
mod inline;
mod reply;
mod request;

pub use args::{Args, Iter, OwnedArgs};
pub use error::ProtocolError;
pub use reply::{Proto, Reply};
pub use request::{Limits, Parser, Progress};
