//! Several nodes on real NATS servers: what is published on one reaches whoever listens on another; and the tools for the log.
//!
//! The short form runs with every test; `STERNA_CLUSTER_TRIALS=1200` is the long form of the first message after a SUBSCRIBE.

mod carries;
mod faults;
mod groups;
mod groups_clients;
mod groups_leaders;
mod harness;
mod histories;
mod keys;
mod log;
mod passing;
mod questions;
mod secured;
mod seen;
mod snapshots;
mod tools;
mod undelivered;
