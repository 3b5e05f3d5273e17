//! WebSocket frames, on the server's side: bytes of a client ↔ messages, without a socket.
//!
//! ```text
//!    0               1               2 …
//!   ┌─┬───┬────────┬─┬──────────────┬───────────────────┬──────────────┬─────────┐
//!   │F│RSV│ opcode │M│ 7-bit length │ 0, 2 or 8 of more │ 4 of a mask  │ payload │
//!   └─┴───┴────────┴─┴──────────────┴───────────────────┴──────────────┴─────────┘
//!   text "he" (F=0) │ ping │ continuation "llo" (F=1)   ──►  Ping, then Text "hello"
//! ```
//!
//! [`Decoder`] takes bytes however they are cut, and gives an [`Incoming`] when one is whole. What a client sends is masked, and
//! what it is sent is not ([`frame`], [`close`]). There are no extensions, so the reserved bits are 0.
//!
//! Invariants
//! - Between messages a decoder owns no memory.
//! - It holds at most the message's limit and one control frame, whatever a header announces.
//! - Text is UTF-8 when it is given out, and what is not is refused at the first wrong byte.
//! - After an error it is of no use any more: the connection is closed with the error's code.
//!
//! Cost: O(bytes). Source: RFC 6455.

mod accept;
mod decode;

pub use accept::{accept_key, is_key};
pub use decode::{Decoder, Incoming, Violation};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of a message.
    Continuation = 0,
    /// The beginning of a message of text.
    Text = 1,
    /// The beginning of a message of bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// Why a connection is closed. Of 3000 to 4999 libraries and programs make what they will.
pub mod code {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// An endpoint goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// The protocol was broken.
    pub const PROTOCOL: u16 = 1002;
    /// Data of a kind that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// Data that is not what it says, such as text that is not UTF-8.
    pub const INVALID: u16 = 1007;
    /// A message that is too long.
    pub const TOO_BIG: u16 = 1009;
}

/// Bytes of the longest header of a frame to a client.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes of a control frame's payload.
const CONTROL_BYTES_MAX: usize = 125;

/// Appends a whole message, or a control frame, to a client.
pub fn frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        len @ 0..=125 => out.push(len as u8),
        len @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends the frame that ends a connection; `reason` is cut to what fits.
pub fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(out, Opcode::Close, &payload);
}

/// The length of the whole frame to a client that `bytes` begin with, header included, which they may hold a part of;
/// `None`: its header is not whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let length = |from: usize, to: usize| {
        bytes
            .get(from..to)
            .map(|digits| digits.iter().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte)))
    };
    match bytes.get(1)? & 0x7F {
        126 => Some(length(2, 4)?.saturating_add(4)),
        127 => Some(length(2, 10)?.saturating_add(10)),
        short => Some(usize::from(short) + 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_to_clients_have_the_shortest_header_and_tell_their_length() {
        for (len, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xFFFF, &[0x81, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            frame(&mut out, Opcode::Text, &vec![b'x'; len]);
            assert_eq!(&out[..header.len()], header);
            assert_eq!(out.len(), header.len() + len);
            assert_eq!(frame_len(&out), Some(out.len()));
            assert_eq!(frame_len(&out[..header.len() - 1]), None);
        }
    }

    #[test]
    fn a_reason_is_cut_between_letters() {
        let mut out = Vec::new();
        close(&mut out, 4009, &"é".repeat(100));
        assert_eq!((out[1], &out[2..4]), (124, &4009_u16.to_be_bytes()[..]));
        assert!(str::from_utf8(&out[4..]).is_ok());
    }
}
