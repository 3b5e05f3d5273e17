//! What the keyspace promises, through its commands: against a plain model, through replay, over time, to watchers and
//! to those who wait.

mod apart;
mod effects;
mod expiry;
mod garbage;
mod hashes;
mod lists;
mod model;
mod newest;
mod rows;
mod scan;
mod sets;
mod streams;
mod strings;
mod swapdb;
mod wait;
mod watch;
mod world;
mod zsets;
