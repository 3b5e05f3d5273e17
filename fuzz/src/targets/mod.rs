//! The targets: each takes bytes and panics if a promise is broken. The fuzzer makes up bytes for them, and `tests/replay.rs` has
//! those that are kept.

pub mod config;
pub mod effects;
pub mod handover;
pub mod pusher;
pub mod request;
pub mod restore;
pub mod script;
pub mod token;
pub mod values;
pub mod websocket;

use crate::journal::{MANIFEST, SEGMENTS, SNAPSHOT, with_file};

/// A target and its name, which is also that of its folder in `seeds/`.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "segment", run: segment },
    Target { name: "snapshot", run: snapshot },
    Target { name: "manifest", run: manifest },
    Target { name: "effects", run: effects::run },
    Target { name: "restore", run: restore::run },
    Target { name: "request", run: request::run },
    Target { name: "config", run: config::run },
    Target { name: "script", run: script::run },
    Target { name: "values", run: values::run },
    Target { name: "websocket", run: websocket::run },
    Target { name: "pusher", run: pusher::run },
    Target { name: "token", run: token::run },
    Target { name: "handover", run: handover::run },
];

/// A segment of a journal whose other files are sound.
pub fn segment(bytes: &[u8]) {
    // The number in its header says which; the last, if any other.
    let number = bytes.get(32).map_or(4, |&number| usize::from(number).clamp(2, 4));
    with_file(SEGMENTS[number - 2], bytes);
}

/// A snapshot beside sound files.
pub fn snapshot(bytes: &[u8]) {
    with_file(SNAPSHOT, bytes);
}

/// A manifest beside sound files.
pub fn manifest(bytes: &[u8]) {
    with_file(MANIFEST, bytes);
}
