//! The payload of RESTORE: what was taken is dumped and journaled, and read back, without a change.

use crate::keys::Keys;
use crate::within;

/// What Redis 7.2 writes, and Valkey 9: some types mean something else there.
const VERSIONS: [u16; 2] = [11, 80];

/// The bytes in a bulk string.
fn payload(reply: &[u8]) -> &[u8] {
    let at = reply.iter().position(|&byte| byte == b'\n').expect("a bulk string has a header");
    &reply[at + 1..reply.len() - 2]
}

pub fn run(bytes: &[u8]) {
    VERSIONS.iter().for_each(|&version| run_as(bytes, version));
}

fn run_as(bytes: &[u8], version: u16) {
    let mut sealed = bytes.to_vec();
    sterna_keyspace::seal_dump(&mut sealed, version);
    // LZF makes up to 264 bytes of three.
    within((1 << 20) + 2000 * bytes.len(), || {
        let mut keys = Keys::default();
        if keys.run(&[b"RESTORE", b"k", b"0", &sealed]).is_none() {
            return;
        }
        let states = keys.states();
        let dump = keys.run(&[b"DUMP", b"k"]).expect("it was stored");
        let mut again = Keys::default();
        again.run(&[b"RESTORE", b"k", b"0", payload(&dump)]).expect("what was dumped is restored");
        assert_eq!(again.states(), states, "dumped and restored");
        let mut replayed = Keys::default();
        assert_eq!(replayed.apply(keys.effects()), [true]);
        assert_eq!(replayed.states(), states, "journaled and replayed");
    });
}
