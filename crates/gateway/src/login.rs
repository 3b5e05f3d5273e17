//! Who asks: a user of ACL and its password, or the bearer of a token, as HTTP clients say it.
//!
//! | header or parameter | user and password |
//! |---|---|
//! | `Authorization: Basic base64(user:password)` | these; without a user, the default user |
//! | `Authorization: Bearer user:password` | these |
//! | `Authorization: Bearer password` | the default user's |
//! | `?_token=…` | as behind `Bearer` |
//! | `Cookie: sterna_token=…` | a token, if the page is the server's own or its origin is named |
//! | nothing | whoever a connection is that has not logged in: the default user if it has no password |
//!
//! Behind `Bearer` a JSON Web Token (`token.rs`) may stand as well, if `http-token-keys` is set: then whatever looks like one is
//! one, and never a password.
//!
//! Whether passwords are right the engine says, to AUTH, with all that goes with it: failed logins slow their address.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, COOKIE as COOKIE_HEADER};
use hyper::{HeaderMap, StatusCode};

use crate::accept::Shared;
use crate::response::Refusal;
use crate::token::{self, Bearer, Expected};
use crate::url::Pairs;

/// The query parameter that holds a token, for clients that can't set headers.
pub(crate) const TOKEN: &[u8] = b"_token";

/// The cookie that holds one.
const COOKIE: &str = "sterna_token";

/// Who asks.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Login {
    /// A user, if the engine agrees.
    Password(Credentials),
    /// Whoever has a token, which has been verified.
    Bearer(Bearer),
}

impl Login {
    /// The name, for what is kept by users.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Login::Password(credentials) => credentials.user.clone(),
            // No user's name has a space.
            Login::Bearer(bearer) => [b"token ", bearer.name.as_bytes()].concat(),
        }
    }
}

/// What a request says of who asks.
pub(crate) enum Said<'r> {
    /// Something that looks like a token.
    Token(&'r [u8]),
    Password(Credentials),
    Nothing,
}

/// Finds out who asks. `may_use_cookie`: whether a page may that asks, if one does.
pub(crate) fn login(
    shared: &Shared,
    headers: &HeaderMap,
    query: &Pairs,
    may_use_cookie: bool,
) -> Result<Option<Login>, Refusal> {
    let config = shared.engine.config();
    let said = said(headers, query, config.http_token_keys.is_some(), may_use_cookie)?;
    let (token, path) = match (said, &config.http_token_keys) {
        (Said::Token(token), Some(path)) => (token, path),
        (Said::Password(credentials), _) => return Ok(Some(Login::Password(credentials))),
        _ => return Ok(None),
    };
    let unusable = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The keys of tokens can't be read");
    let keys = shared.token_keys.keys(path).ok_or_else(unusable)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expected = Expected {
        issuer: &config.http_token_issuer,
        audience: &config.http_token_audience,
        now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    };
    token::read(token, &keys, expected).map(|bearer| Some(Login::Bearer(bearer)))
}

/// Reads what is said. Without `takes_tokens` nothing is one.
pub(crate) fn said<'r>(
    headers: &'r HeaderMap,
    query: &'r Pairs,
    takes_tokens: bool,
    may_use_cookie: bool,
) -> Result<Said<'r>, Refusal> {
    match token(headers, query, may_use_cookie).filter(|_| takes_tokens) {
        Some(token) => Ok(Said::Token(token)),
        None => Ok(credentials(headers, query)?.map_or(Said::Nothing, Said::Password)),
    }
}

/// What looks like a token: of the header, else of the query, else of the cookie.
fn token<'r>(headers: &'r HeaderMap, query: &'r Pairs, may_use_cookie: bool) -> Option<&'r [u8]> {
    let found = if let Some(header) = headers.get(AUTHORIZATION) {
        let (scheme, rest) = header.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())?
    } else if let Some((_, Some(value))) = query.iter().find(|(name, _)| name == TOKEN) {
        value
    } else {
        let cookies = headers.get_all(COOKIE_HEADER).iter().filter(|_| may_use_cookie);
        let pairs = cookies.flat_map(|header| header.as_bytes().split(|&byte| byte == b';'));
        pairs
            .map(<[u8]>::trim_ascii)
            .find_map(|pair| pair.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="))?
    };
    token::is_token(found).then_some(found)
}

/// A user and a password, which nobody has checked.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Credentials {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

/// The credentials of a request, the header's before those of the query.
fn credentials(headers: &HeaderMap, query: &Pairs) -> Result<Option<Credentials>, Refusal> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        let token = query.iter().find(|(name, _)| name == TOKEN).and_then(|(_, value)| value.as_ref());
        return Ok(token.map(|token| of_token(token)));
    };
    let header = header.as_bytes();
    let (scheme, rest) = header.split_at(header.iter().position(|&b| b == b' ').unwrap_or(header.len()));
    let rest = rest.trim_ascii();
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    if is("bearer") {
        return Ok(Some(of_token(rest)));
    }
    let pair = is("basic").then(|| STANDARD.decode(rest).ok()).flatten();
    let pair = pair.ok_or_else(|| Refusal::bad("ERR Authorization must be Basic or Bearer"))?;
    let (user, password) = split(&pair).ok_or_else(|| Refusal::bad("ERR Basic needs user:password"))?;
    let user = if user.is_empty() { b"default" } else { user };
    Ok(Some(Credentials { user: user.to_vec(), password: password.to_vec() }))
}

fn of_token(token: &[u8]) -> Credentials {
    let (user, password) = split(token).unwrap_or((b"default", token));
    Credentials { user: user.to_vec(), password: password.to_vec() }
}

/// What stands before and behind the first colon.
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some((&pair[..colon], &pair[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of(header: &str, query: &str) -> Option<Option<(String, String)>> {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header.as_bytes()).unwrap());
        }
        let found = credentials(&headers, &crate::url::pairs(query)).ok()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some(found.map(|found| (text(found.user), text(found.password))))
    }

    #[test]
    fn credentials_are_found_wherever_clients_put_them() {
        let is = |user: &str, password: &str| Some(Some((user.to_owned(), password.to_owned())));
        assert_eq!(of("Basic YWxpY2U6YTpi", ""), is("alice", "a:b"));
        assert_eq!(of("basic OnNlY3JldA==", ""), is("default", "secret"));
        assert_eq!(of("Bearer alice:a:b", ""), is("alice", "a:b"));
        assert_eq!(of("BEARER  secret", "_token=other"), is("default", "secret"));
        assert_eq!(of("", "x=1&_token=alice%3Ab"), is("alice", "b"));
        assert_eq!(of("", "token=alice"), Some(None));
        for wrong in ["Basic", "Basic %%%", "Basic YWxpY2U=", "Digest x", "secret"] {
            assert_eq!(of(wrong, ""), None, "{wrong}");
        }
    }
}
