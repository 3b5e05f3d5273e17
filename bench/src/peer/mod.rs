//! The peers: which there are, where their binaries are looked for, and how each is started.
mod server;
mod table;

pub use server::{Durability, Server, Settings, TlsFiles};
pub use table::{Found, Peer, PeerId, find, table};
