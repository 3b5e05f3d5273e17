//! Several nodes: the only crate that knows NATS.
//!
//! It runs on threads of its own and talks to the server through small traits of `sterna_server`. Nothing of it runs without
//! `cluster-url`.
//!
//! | module | what it is |
//! |---|---|
//! | `log` | the replicated log: its protocol, a simulation of it, and JetStream below it |
//! | `checkup` | what `sterna cluster` asks |
//! | `connection` | from directives to a client of NATS, and the checks of what it reaches |
//! | `pubsub` | what is published on one node reaches subscribers on others |
#![forbid(unsafe_code)]

pub mod checkup;
mod connection;
pub mod log;
mod pubsub;

pub use connection::{ClusterError, Connections, SERVER_MIN, Settings, check_server};
pub use pubsub::Bridge;
