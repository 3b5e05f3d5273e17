//! What reads requests, for the fuzz targets. Refusals are the text that a client is told.

use hyper::HeaderMap;
use sterna_config::Config;
use sterna_server::Since;

use crate::keys::Keys;
use crate::pusher::socket;
use crate::token::Expected;
use crate::{login, origin, stream, token, url};

/// Names and values of a query.
pub type Query = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The keys that tokens are signed with.
pub struct TokenKeys(Keys);

/// Who a token says asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    /// As CLIENT LIST shows it, behind `token:`.
    pub name: String,
    /// Rules of ACL.
    pub rules: Vec<String>,
    /// Unix time in milliseconds.
    pub ends_ms: u64,
}

impl TokenKeys {
    /// Reads a set of JSON Web Keys, one such key, or public keys in PEM.
    pub fn parse(text: &[u8]) -> Result<TokenKeys, String> {
        Keys::parse(text).map(TokenKeys)
    }

    /// Reads a token at this time.
    pub fn read(&self, token: &[u8], now_ms: u64) -> Result<Bearer, String> {
        let expected = Expected { now_ms, ..Expected::default() };
        match token::read(token, &self.0, expected) {
            Ok(token::Bearer { name, rules, ends_ms }) => Ok(Bearer { name, rules, ends_ms }),
            Err(refusal) => Err(refusal.text),
        }
    }
}

/// Whether this looks like a token.
pub fn is_token(text: &[u8]) -> bool {
    token::is_token(text)
}

/// The names and values of a query.
pub fn pairs(query: &str) -> Query {
    url::pairs(query)
}

/// The segments of a path.
pub fn segments(path: &str) -> Vec<Vec<u8>> {
    url::segments(path)
}

/// Who a request says asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The bearer of what looks like a token.
    Token(Vec<u8>),
    /// A user with a password.
    Password {
        /// The user's name.
        user: Vec<u8>,
        /// What AUTH is given.
        password: Vec<u8>,
    },
    /// Nobody in particular.
    Nothing,
}

/// Reads that.
pub fn said(
    headers: &HeaderMap,
    query: &Query,
    takes_tokens: bool,
    may_use_cookie: bool,
) -> Result<Said, String> {
    match login::said(headers, query, takes_tokens, may_use_cookie) {
        Ok(login::Said::Token(token)) => Ok(Said::Token(token.to_vec())),
        Ok(login::Said::Password(login::Credentials { user, password })) => {
            Ok(Said::Password { user, password })
        }
        Ok(login::Said::Nothing) => Ok(Said::Nothing),
        Err(refusal) => Err(refusal.text),
    }
}

/// A page that may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its origin is allowed by its own name.
    pub is_named: bool,
    /// A cookie may say who asks.
    pub may_use_cookie: bool,
}

/// Whether the page may ask that does.
pub fn asker(headers: &HeaderMap, config: &Config, tls: bool) -> Result<Asker, String> {
    match origin::check(headers, &config.http_allow_origin, tls) {
        Ok(asker) => Ok(Asker { is_named: asker.is_named, may_use_cookie: asker.may_use_cookie() }),
        Err(refusal) => Err(refusal.text),
    }
}

/// Whether who says no password may be served under this name.
pub fn is_host_served(headers: &HeaderMap) -> bool {
    origin::check_host(headers).is_ok()
}

/// What a stream of events is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Names of channels.
    pub channels: Vec<Vec<u8>>,
    /// Patterns of channels.
    pub patterns: Vec<Vec<u8>>,
    /// Keys of streams.
    pub streams: Vec<Vec<u8>>,
    /// Where the page was.
    pub since: Option<Since>,
}

/// Reads that.
pub fn wanted(query: &Query, headers: &HeaderMap, config: &Config) -> Result<Wanted, String> {
    let owned = |names: Vec<&[u8]>| names.into_iter().map(<[u8]>::to_vec).collect();
    match stream::wanted(query, headers, |name| config.retention_of(name).is_some()) {
        Ok(stream::Wanted { channels, patterns, streams, since }) => Ok(Wanted {
            channels: owned(channels),
            patterns: owned(patterns),
            streams: owned(streams),
            since,
        }),
        Err(refusal) => Err(refusal.text),
    }
}

/// What is sent before the first event, to a page that may ask.
pub fn stream_head(headers: &HeaderMap, asker: Asker) -> Vec<u8> {
    stream::head(headers, asker.is_named)
}

/// The answer to the handshake of a WebSocket.
pub fn handshake(headers: &HeaderMap) -> Result<Vec<u8>, String> {
    socket::head(headers).map_err(|refusal| refusal.text)
}
