//! The load generator: the two protocols it speaks, and the sockets it speaks them over.
mod dialect;
mod quiet;
mod swarm;
pub(crate) mod tls;

pub(crate) use dialect::{Dialect, Publish, Subject, command};
pub(crate) use quiet::Quiet;
pub(crate) use swarm::{AgeMeter, ConnId, Group, Meter, STAMP_DIGITS, Swarm};
