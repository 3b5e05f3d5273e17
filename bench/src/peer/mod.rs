//! The peers: which there are, where their binaries are looked for, and how each is started.
mod server;
mod table;

pub(crate) use server::{Durability, Server, Settings};
pub(crate) use table::{Found, PeerId, find};
