//! What the load generator says and how long the answers are, in Redis's protocol and in NATS's.
//!
//! The answers are never parsed: a delivery of a known channel and payload has a known length, and a reply has a known
//! number of lines. NATS has no reply to PUB, so a batch ends with PING there and the PONG stands for all of it.
use std::io::Write as _;

/// Protocol of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// RESP2, as a connection speaks it before HELLO.
    Resp,
    /// NATS's text protocol.
    Nats,
}

/// A message to be published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publish<'a> {
    pub channel: &'a str,
    pub payload: &'a [u8],
}

impl Dialect {
    /// What opens a connection, before anything else is sent; empty for RESP.
    pub(crate) fn hello(self) -> &'static [u8] {
        match self {
            Dialect::Resp => b"",
            Dialect::Nats => b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
        }
    }

    /// Lines the server sends unasked once a connection is open: NATS's INFO.
    pub(crate) fn greeting_lines(self) -> u64 {
        match self {
            Dialect::Resp => 0,
            Dialect::Nats => 1,
        }
    }

    /// A channel's name in this protocol: NATS separates by `.` what Redis users separate by `:`.
    pub(crate) fn name(self, resp_name: &str) -> String {
        match self {
            Dialect::Resp => resp_name.to_owned(),
            Dialect::Nats => resp_name.replace(':', "."),
        }
    }

    /// Subscribes to one channel, or to one pattern, under the number `sid`.
    pub(crate) fn subscribe(self, out: &mut Vec<u8>, what: Subject<'_>, sid: usize) {
        match self {
            Dialect::Resp => command(out, &[what.subscribe_verb(), what.name().as_bytes()]),
            // Writing to a Vec can't fail.
            Dialect::Nats => drop(write!(out, "SUB {} {sid}\r\n", what.name())),
        }
    }

    /// Leaves what was subscribed to under `sid`.
    pub(crate) fn unsubscribe(self, out: &mut Vec<u8>, what: Subject<'_>, sid: usize) {
        match self {
            Dialect::Resp => command(out, &[what.unsubscribe_verb(), what.name().as_bytes()]),
            Dialect::Nats => drop(write!(out, "UNSUB {sid}\r\n")),
        }
    }

    /// Ends a batch, so that its reply can be counted.
    pub(crate) fn end_batch(self, out: &mut Vec<u8>) {
        if self == Dialect::Nats {
            out.extend_from_slice(b"PING\r\n");
        }
    }

    /// Lines that answer a batch of `n` subscriptions.
    pub(crate) fn subscribed_lines(self, n: u64) -> u64 {
        match self {
            Dialect::Resp => 6 * n,
            Dialect::Nats => 1,
        }
    }

    /// Lines that answer a batch of `n` published messages.
    pub(crate) fn published_lines(self, n: u64) -> u64 {
        match self {
            Dialect::Resp => n,
            Dialect::Nats => 1,
        }
    }

    pub(crate) fn publish(self, out: &mut Vec<u8>, message: Publish<'_>) {
        match self {
            Dialect::Resp => command(out, &[b"PUBLISH", message.channel.as_bytes(), message.payload]),
            Dialect::Nats => {
                drop(write!(out, "PUB {} {}\r\n", message.channel, message.payload.len()));
                out.extend_from_slice(message.payload);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Bytes of one delivery to a subscriber of the channel itself (as `sid` 1).
    pub(crate) fn delivery_bytes(self, message: Publish<'_>) -> u64 {
        self.delivery_header(message, None).len() as u64 + message.payload.len() as u64 + 2
    }

    /// Bytes of one delivery through `pattern` (as `sid` 1).
    pub(crate) fn pattern_delivery_bytes(self, message: Publish<'_>, pattern: &str) -> u64 {
        self.delivery_header(message, Some(pattern)).len() as u64 + message.payload.len() as u64 + 2
    }

    /// What stands before the payload in a delivery.
    pub(crate) fn delivery_header(self, message: Publish<'_>, pattern: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        let Publish { channel, payload } = message;
        match self {
            Dialect::Nats => drop(write!(out, "MSG {channel} 1 {}\r\n", payload.len())),
            Dialect::Resp => {
                match pattern {
                    None => out.extend_from_slice(b"*3\r\n$7\r\nmessage\r\n"),
                    Some(pattern) => {
                        drop(write!(out, "*4\r\n$8\r\npmessage\r\n${}\r\n{pattern}\r\n", pattern.len()));
                    }
                }
                drop(write!(out, "${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len()));
            }
        }
        out
    }
}

/// A channel or a pattern, as the object of a subscription.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    Channel(&'a str),
    Pattern(&'a str),
}

impl<'a> Subject<'a> {
    fn name(self) -> &'a str {
        match self {
            Subject::Channel(name) | Subject::Pattern(name) => name,
        }
    }

    fn subscribe_verb(self) -> &'static [u8] {
        match self {
            Subject::Channel(_) => b"SUBSCRIBE",
            Subject::Pattern(_) => b"PSUBSCRIBE",
        }
    }

    fn unsubscribe_verb(self) -> &'static [u8] {
        match self {
            Subject::Channel(_) => b"UNSUBSCRIBE",
            Subject::Pattern(_) => b"PUNSUBSCRIBE",
        }
    }
}

/// Appends a command as a RESP array of bulk strings.
pub(crate) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    drop(write!(out, "*{}\r\n", words.len()));
    for word in words {
        drop(write!(out, "${}\r\n", word.len()));
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Publish<'_> = Publish { channel: "news", payload: b"hello" };

    #[test]
    fn a_message_is_published_as_each_protocol_writes_it() {
        let mut resp = Vec::new();
        Dialect::Resp.publish(&mut resp, MESSAGE);
        assert_eq!(resp, b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
        let mut nats = Vec::new();
        Dialect::Nats.publish(&mut nats, MESSAGE);
        assert_eq!(nats, b"PUB news 5\r\nhello\r\n");
    }

    #[test]
    fn a_delivery_is_as_long_as_the_frame_the_server_sends() {
        let message = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(Dialect::Resp.delivery_bytes(MESSAGE), message.len() as u64);
        let pmessage = b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(Dialect::Resp.pattern_delivery_bytes(MESSAGE, "n*"), pmessage.len() as u64);
        assert_eq!(Dialect::Nats.delivery_bytes(MESSAGE), b"MSG news 1 5\r\nhello\r\n".len() as u64);
    }
}
