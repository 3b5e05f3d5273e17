//! The Redis protocol: bytes ↔ requests and replies, RESP2 and RESP3, without sockets and without commands.
//!
//! Zero-copy in: [`Parser`] notes where the arguments of a request lie in the caller's buffer, and [`Args`] views them.
//! Append-only out: [`Reply`] writes wire bytes to the end of a `Vec<u8>`, and so do the functions of [`frame`] for what
//! Pub/Sub sends unasked, and of [`event`], [`pusher`] and [`websocket`] for pages.
//!
//! ```text
//! server   bytes ─ Parser ─► Args ─ argument ─► numbers, words        Reply, frame ─► bytes
//! client   words ─ encode ─► bytes                          bytes ─ decode ─► Value
//! ```
//!
//! The client's side is small and plain: it serves the built-in client and the tests.
#![forbid(unsafe_code)]

mod args;
pub mod argument;
mod bulks;
pub mod decode;
mod double;
pub mod encode;
mod error;
pub mod event;
pub mod frame;
mod inline;
mod long;
pub mod pusher;
mod reply;
mod request;
pub mod websocket;

pub use args::{Args, ArgsBuilder, Iter, OwnedArgs};
pub use bulks::Bulks;
pub use double::write as write_double;
pub use error::ProtocolError;
pub use inline::words;
pub use long::LongRequest;
pub use reply::{Deferred, Proto, Reply};
pub use request::{Limits, Parser, Progress};
