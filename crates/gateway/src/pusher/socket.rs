//! `GET /app/KEY?protocol=7`: a page connects.
//!
//! The handshake is answered where the app is known to be there, and its user; then the socket is handed over to a shard
//! (`server`'s `shard/page.rs`). What is wrong with the app or the protocol a page can be told only by frames: a browser shows
//! it no answer of HTTP to a handshake.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Response, StatusCode};
use sterna_protocol::{pusher, websocket};

use crate::accept::{Caller, NewPage, Next};
use crate::response::{Payload, Refusal};
use crate::route::Asked;
use crate::session::Session;

/// Versions of the protocol that are spoken: they differ in what is not used any more.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 5..=7;

const KEY: &str = "sec-websocket-key";
const VERSION: &str = "sec-websocket-version";

/// Answers the handshake; it returns only if there is none.
pub(crate) async fn open(caller: &Caller, asked: &Asked) -> Result<Response<Payload>, Refusal> {
    let head = head(&asked.headers)?;
    let config = caller.shared.engine.config();
    let refuse = |code: u16, text: &str| {
        let mut bytes = head.clone();
        pusher::error(&mut bytes, code, text);
        websocket::close(&mut bytes, code, text);
        Next::Refusal(bytes)
    };
    let Some(app) = asked.path.get(1).and_then(|key| config.app_of_key(key)) else {
        match caller.succeed(refuse(4001, "there is no app with this key")).await {}
    };
    let protocol = asked.parameter("protocol");
    let number = protocol.and_then(|text| str::from_utf8(text).ok()?.parse().ok());
    let wrong = match (protocol, number) {
        (None, _) => Some((4008, "no protocol is named")),
        (_, None) => Some((4006, "the protocol is no number")),
        (_, Some(number)) if !PROTOCOLS.contains(&number) => Some((4007, "this protocol is not spoken")),
        _ => None,
    };
    if let Some((code, text)) = wrong {
        match caller.succeed(refuse(code, text)).await {}
    }
    let successor = match Session::open_as(caller, &app.user).await {
        Ok(session) => {
            Next::Page(NewPage { client: session.client, app: Arc::clone(app), head: head.clone() })
        }
        Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => refuse(4100, &refusal.text),
        Err(_) => refuse(4003, "the app's user may not connect"),
    };
    match caller.succeed(successor).await {}
}

/// The answer to a handshake that is one.
pub(crate) fn head(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let names = |name: HeaderName, word: &str| {
        let words = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        words.flat_map(|value| value.split(',')).any(|other| other.trim().eq_ignore_ascii_case(word))
    };
    if !names(UPGRADE, "websocket") || !names(CONNECTION, "upgrade") {
        let text = "ERR A page connects here by a WebSocket";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, text).with_header(UPGRADE, "websocket"));
    }
    if headers.get(VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        let text = "ERR Sec-WebSocket-Version must be 13";
        let version = HeaderName::from_static(VERSION);
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, text).with_header(version, "13"));
    }
    let key = headers.get(KEY).map(HeaderValue::as_bytes).filter(|key| websocket::is_key(key));
    let key = key.ok_or_else(|| Refusal::bad("ERR Sec-WebSocket-Key must be 16 bytes in base64"))?;
    let mut head =
        String::from("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n");
    // Nothing fails that writes to a string.
    let _ = write!(head, "sec-websocket-accept: {}\r\n\r\n", websocket::accept_key(key));
    Ok(head.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pairs: &[(&'static str, &'static str)]) -> u16 {
        let headers: HeaderMap = pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        head(&headers).map_or_else(|refusal| refusal.status.as_u16(), |_| 101)
    }

    #[test]
    fn a_handshake_is_one_of_websockets() {
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            (VERSION, "13"),
            (KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(status(&good), 101);
        for (at, value, expected) in [
            (0, "h2c", 426),
            (1, "keep-alive", 426),
            (2, "8", 426),
            (3, "dGhlIHNhbXBsZSBub25jZQ", 400),
            (3, "", 400),
        ] {
            let mut pairs = good;
            pairs[at].1 = value;
            assert_eq!(status(&pairs), expected, "{pairs:?}");
        }
        assert_eq!(status(&good[..3]), 400);
        assert_eq!(status(&[]), 426);
    }
}
