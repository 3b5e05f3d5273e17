//! Sterna: a real-time messaging server that speaks the Redis protocol.
fn main() {}
