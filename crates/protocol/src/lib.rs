//! The Redis protocol: bytes ↔ requests and replies, RESP2 and RESP3, without sockets and without commands.
//!
//! Zero-copy in: [`Parser`] notes where the arguments of a request lie in the caller's buffer, and [`Args`] views them.
//! Append-only out: [`Reply`] writes wire bytes to the end of a `Vec<u8>`.
#![forbid(unsafe_code)]

mod reply;
mod request;

pub use reply::{Proto, Reply};
pub use request::{Args, Limits, OwnedArgs, Parser, Progress, ProtocolError};
