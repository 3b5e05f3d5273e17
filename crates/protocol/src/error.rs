//! Ways in which a peer can break the protocol, and the words Redis has for them.
//!
//! The connection answers [`ProtocolError::wire`] and is closed: after such an error nobody can tell where the next
//! request would start. Source: the texts are those of Redis 8.2; "invalid CRLF in request" is Valkey's, since 9.

use std::fmt;

/// The peer broke the protocol: the connection answers the error and is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number behind `*` is no number, or above the limit.
    InvalidMultibulkLength,
    /// The number behind `$` is no number, negative, or above the limit.
    InvalidBulkLength,
    /// An argument must start with `$`.
    ExpectedBulk {
        /// What stood there instead.
        found: u8,
    },
    /// A CR without an LF behind it, or an argument that goes on past its announced length.
    InvalidCrlf,
    /// The header line of an array doesn't end.
    MultibulkCountTooLong,
    /// The header line of an argument doesn't end.
    BulkCountTooLong,
    /// An inline command doesn't end.
    InlineTooLong,
    /// More arguments than a client may send before it has authenticated.
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send before it has authenticated.
    UnauthenticatedBulkLength,
    /// An inline command with a quote that is not closed, or is closed in the middle of a word.
    UnbalancedQuotes,
    /// The client begins a TLS session: this port has none.
    Tls,
    /// The request would end past 4 GiB, where [`Args`](crate::Args) can't point. Redis has no such limit of its own:
    /// its `client-query-buffer-limit` (1 GiB by default) strikes first.
    RequestTooLarge,
}

impl ProtocolError {
    /// The error line without the leading `-` and the CRLF behind. May hold any byte: [`Reply::error`] makes a CR or
    /// LF harmless.
    ///
    /// [`Reply::error`]: crate::Reply::error
    pub fn wire(&self) -> Vec<u8> {
        let text: &str = match *self {
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::ExpectedBulk { found } => {
                return [b"ERR Protocol error: expected '$', got '", &[found][..], b"'"].concat();
            }
            ProtocolError::InvalidCrlf => "invalid CRLF in request",
            ProtocolError::MultibulkCountTooLong => "too big mbulk count string",
            ProtocolError::BulkCountTooLong => "too big bulk count string",
            ProtocolError::InlineTooLong => "too big inline request",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::Tls => "this port does not speak TLS: connect without it, or to the tls-port",
            ProtocolError::RequestTooLarge => "request larger than 4 GiB",
        };
        ["ERR Protocol error: ", text].concat().into_bytes()
    }
}

impl fmt::Display for ProtocolError {
    /// The wire text, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wire().escape_ascii())
    }
}

impl std::error::Error for ProtocolError {}
