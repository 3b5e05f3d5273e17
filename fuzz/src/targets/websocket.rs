//! Frames of a page: however they are cut, the same messages, none above its limit.

use crate::within;
use sterna_protocol::websocket::{Decoder, Incoming, Violation};

const MESSAGE_BYTES_MAX: usize = 200;

/// What is made of `bytes` when so many come at a time, and how it ends.
fn incoming(bytes: &[u8], at_a_time: usize) -> (Vec<Incoming>, Option<Violation>) {
    let (mut decoder, mut all) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(at_a_time) {
        let mut used = 0;
        while used < piece.len() {
            match decoder.decode(&piece[used..], MESSAGE_BYTES_MAX) {
                Ok((more, incoming)) => {
                    used += more;
                    all.extend(incoming);
                }
                Err(violation) => return (all, Some(violation)),
            }
        }
        assert!(decoder.is_inside() || decoder.heap_bytes() == 0, "something is held between messages");
    }
    (all, None)
}

pub fn run(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    within((1 << 12) + 100 * input.len(), || {
        let (whole, ended) = incoming(bytes, bytes.len().max(1));
        assert_eq!(incoming(bytes, usize::from(first) + 1), (whole, ended), "cut otherwise, other messages");
    });
}
