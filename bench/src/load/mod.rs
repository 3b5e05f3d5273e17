//! The load generator: the two protocols it speaks, and the sockets it speaks them over.
mod dialect;
mod swarm;
pub mod tls;

pub use dialect::{Dialect, Publish, Subject, command};
pub use swarm::{AgeMeter, ConnId, Group, Meter, STAMP_DIGITS, Swarm};
