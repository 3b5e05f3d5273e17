//! What the fuzz targets share. There is one per parser of bytes that Sterna did not make, or that a disk has held since.
//!
//! | target | bytes | beside "no panic" |
//! |---|---|---|
//! | `segment`, `snapshot`, `manifest` | a file of a journal, the others being sound | check, start and repair agree |
//! | `effects` | the payload of a record | a keyspace that comes back from a snapshot goes on the same |
//! | `restore` | the payload of RESTORE | what was taken is dumped and journaled, and read back, without a change |
//! | `request` | what a client sends | however it is cut, the same requests; what was read is written and read again |
//! | `config` | a redis.conf | what CONFIG REWRITE makes of it is read as the same |
//! | `script` | a script, and what it is given | one reply each, and nothing is left for the next script |
//! | `values` | MessagePack, JSON | scripts read and write the same past handles and with them |
//! | `websocket` | frames of a page | however they are cut, the same messages, none above its limit |
//! | `pusher` | what a page says, and what is published | an event is one frame of JSON, and what is made of a trigger is read as it |
//! | `token` | a change to a token, or what is signed | changed, it is refused; its rules name what its claims do, and nothing else |
//! | `handover` | a request that becomes a stream of events or a WebSocket | what is read is written and read again; a page goes on where it was told that it is; nobody is who no header allows |
//!
//! None takes more memory than its input justifies ([`within`]), and structures are asked for their invariants.
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo run -p sterna-fuzz --bin seeds        small inputs to begin with
//! cargo test -p sterna-fuzz --test replay     each target with what is kept
//! cargo +nightly fuzz run --features libfuzzer segment fuzz/corpus/segment fuzz/seeds/segment
//! ```
//!
//! `seeds/` holds small inputs for each target, written by the first line above. An input that broke a promise once is
//! kept there, too, under a name that says which.
#![forbid(unsafe_code)]

pub mod journal;
pub mod keys;
pub mod targets;

use std::alloc::System;
use std::panic;
use std::sync::Once;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `body`, and ends the process if that ever has more than `bytes_max` allocated at a time.
pub fn within<T>(bytes_max: usize, body: impl FnOnce() -> T) -> T {
    static SETUP: Once = Once::new();
    SETUP.call_once(lift_limit_in_panics);
    let limit = ALLOCATOR.allocated().saturating_add(bytes_max);
    ALLOCATOR.set_limit(limit).expect("the limit is above what is allocated");
    let result = body();
    ALLOCATOR.set_limit(usize::MAX).expect("there is no limit");
    result
}

/// Telling where a panic was takes memory, too.
fn lift_limit_in_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        ALLOCATOR.set_limit(usize::MAX).expect("there is no limit");
        tell(panic);
    }));
}
