//! Pusher's protocol, version 7: what pages send, and events framed for them.
//!
//! ```text
//!   page    {"event":"pusher:subscribe","data":{"channel":"news"}}    ──►  Request::Subscribe
//!   PUBLISH news {"event":"sold","data":{"item":7}}                   ──►  {"event":"sold","channel":"news","data":"{\"item\":7}"}
//!   PUBLISH news hello                                                ──►  {"event":"message","channel":"news","data":"hello"}
//! ```
//!
//! A channel of Pusher's is a channel of Redis's. What is published to it is an *envelope*, if it is one: a JSON object of `event`,
//! `data`, and perhaps `user_id` (which pages are told) and `socket_id` (who is not sent it). Anything else is the data of an
//! event `message`. Nobody can publish events whose names the protocol keeps for itself.
//!
//! `data` of what pages are sent is a string that holds JSON. Frames are those of [`crate::websocket`].
//!
//! Cost: O(bytes). Source: Pusher's description of the protocol, and what `pusher-js` reads.

mod envelope;
mod frames;
mod name;
mod request;
mod sign;

pub use envelope::{envelope, except, message};
pub use frames::{
    PING, PONG, cache_miss, error, established, member_added, member_removed, signed_in, subscribed,
    subscribed_to_presence, subscription_error,
};
pub use name::{ChannelKind, NAME_BYTES_MAX, SERVER_TO_USER, is_name};
pub use request::{Member, NotPusher, Request, member, request, user_id};
pub use sign::{is_signed, is_signed_by, signature};

use std::fmt;

/// Names of events that only the protocol itself sends.
fn is_reserved(event: &str) -> bool {
    event.starts_with("pusher:") || event.starts_with("pusher_internal:")
}

/// Names a page's connection to those who sign for it. Clients want two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketId {
    /// Drawn by lot, so that a signature is of no use to a later connection of the same number.
    pub nonce: u64,
    /// The client's number.
    pub client: u64,
}

impl SocketId {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<SocketId> {
        let (nonce, client) = text.split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(nonce) || !is_number(client) {
            return None;
        }
        Some(SocketId { nonce: nonce.parse().ok()?, client: client.parse().ok()? })
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.nonce, self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_two_numbers() {
        let id = SocketId { nonce: 123, client: 456 };
        assert_eq!((id.to_string().as_str(), SocketId::parse("123.456")), ("123.456", Some(id)));
        for wrong in ["", "1", "1.", ".1", "1.2.3", "+1.2", "1.-2", "a.b", "1.99999999999999999999"] {
            assert_eq!(SocketId::parse(wrong), None, "{wrong}");
        }
    }
}
