//! `GET /v1/events?channel=…&pattern=…&stream=…`: messages and entries for a page's `EventSource`.
//!
//! The client logs in and subscribes as any other, and is answered if it may not. Then the socket is handed over to its shard
//! (`server`'s `shard/handover.rs`), with the head of the answer: from there on the page costs what a subscriber costs.
//!
//! Where a page was is said by `Last-Event-ID`, which its browser sends when it comes back by itself, else by `last_event_id` or
//! `since` in the URL. What the server makes of it is told by the first event.

use std::fmt::Write;

use hyper::header::ORIGIN;
use hyper::{HeaderMap, Response};
use sterna_protocol::encode;
use sterna_server::{EventStream, NAMES_WITH_POSITION_MAX, Since};
use tokio::time::sleep;

use crate::accept::{Caller, Successor};
use crate::limits::{LOADING_INTERVAL, NAMES_MAX, RETRY_MS};
use crate::response::{Payload, Refusal};
use crate::route::Asked;
use crate::session::Session;
use crate::url::{self, Pairs};

const PARAMETERS: [&[u8]; 6] =
    [b"channel", b"pattern", b"stream", b"last_event_id", b"since", crate::login::TOKEN];

/// What a request asks for.
pub(crate) struct Wanted<'q> {
    pub(crate) channels: Vec<&'q [u8]>,
    pub(crate) patterns: Vec<&'q [u8]>,
    pub(crate) streams: Vec<&'q [u8]>,
    /// Where the page was, if it says so.
    pub(crate) since: Option<Since>,
}

/// Reads it. `remembers`: whether a channel does.
pub(crate) fn wanted<'q>(
    query: &'q Pairs,
    headers: &HeaderMap,
    remembers: impl Fn(&[u8]) -> bool,
) -> Result<Wanted<'q>, Refusal> {
    if let Some((unknown, _)) = query.iter().find(|(name, _)| !PARAMETERS.contains(&&name[..])) {
        let name = String::from_utf8_lossy(unknown);
        return Err(Refusal::bad(format!("ERR There is no parameter '{name}'")));
    }
    let channels = values(query, b"channel");
    let patterns = values(query, b"pattern");
    let streams = values(query, b"stream");
    let names = channels.len() + patterns.len() + streams.len();
    if names == 0 {
        return Err(Refusal::bad("ERR A channel, a pattern or a stream must be named"));
    }
    if names > NAMES_MAX {
        return Err(Refusal::bad(format!("ERR More than {NAMES_MAX} channels, patterns and streams")));
    }
    let remembering = channels.iter().filter(|name| remembers(name)).count();
    if remembering + streams.len() > NAMES_WITH_POSITION_MAX {
        let most = NAMES_WITH_POSITION_MAX;
        return Err(Refusal::bad(format!("ERR More than {most} channels that remember, and streams")));
    }
    let since = since(query, headers)?;
    Ok(Wanted { channels, patterns, streams, since })
}

/// Opens the stream; it returns only if there is none.
pub(crate) async fn open(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    let config = caller.shared.engine.config();
    let remembers = |name: &[u8]| config.retention_of(name).is_some();
    let Wanted { channels, patterns, streams, since } = wanted(&asked.query, &asked.headers, remembers)?;
    // A browser takes any answer but a stream for the last word, and a start for what it is only if it lasts.
    while caller.shared.engine.is_loading() {
        sleep(LOADING_INTERVAL).await;
    }
    let mut session = asked.session(caller).await?;
    if !streams.is_empty() {
        if !caller.shared.engine.has_keys() {
            return Err(Refusal::bad("ERR Streams can be followed only at the node that leads the keys"));
        }
        check_streams(&mut session, &streams).await?;
    }
    let mut unread = Vec::new();
    for (command, names) in [(&b"SUBSCRIBE"[..], channels), (b"PSUBSCRIBE", patterns)] {
        if !names.is_empty() {
            unread.extend(subscribe(&mut session, command, &names).await?);
        }
    }
    let streams = streams.into_iter().map(<[u8]>::to_vec).collect();
    let stream = EventStream { head: head(&asked.headers, asked.has_credentials), unread, streams, since };
    match caller.succeed(Successor { client: session.client, stream }).await {}
}

/// Where the page was, if it says so.
fn since(query: &Pairs, headers: &HeaderMap) -> Result<Option<Since>, Refusal> {
    let header = headers.get("last-event-id").map(|value| value.as_bytes());
    let parameter = || url::value(query, "last_event_id").or_else(|| url::value(query, "since"));
    // A page that has seen no ID may send an empty one.
    let Some(text) = header.or_else(parameter).filter(|text| !text.is_empty()) else { return Ok(None) };
    let since = Since::parse(text);
    since
        .map(Some)
        .ok_or_else(|| Refusal::bad("ERR since must be an id of this stream, an entry ID or 'earliest'"))
}

/// Has the engine say whether these may be read, without reading them.
async fn check_streams(session: &mut Session, keys: &[&[u8]]) -> Result<(), Refusal> {
    let mut args: Vec<&[u8]> = vec![b"XREAD", b"COUNT", b"1", b"STREAMS"];
    args.extend(keys);
    args.extend(keys.iter().map(|_| &b"$"[..]));
    session.command(&args).await.map(drop)
}

/// The values of a parameter that may stand there several times.
fn values<'q>(query: &'q Pairs, name: &[u8]) -> Vec<&'q [u8]> {
    query
        .iter()
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value.as_deref().unwrap_or_default())
        .collect()
}

/// Subscribes, and returns what has come: confirmations and messages.
async fn subscribe(session: &mut Session, command: &[u8], names: &[&[u8]]) -> Result<Vec<u8>, Refusal> {
    let mut request = Vec::new();
    encode::request(&mut request, std::iter::once(&command).chain(names).collect::<Vec<_>>());
    session.subscribe(&request, names.len()).await
}

/// What is sent before the first event, and its first line. It has no length: its end is the connection's.
pub(crate) fn head(headers: &HeaderMap, has_credentials: bool) -> Vec<u8> {
    let mut head = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n\
         connection: close\r\n",
    );
    // It was checked before; see `origin.rs`.
    if let Some(origin) = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()) {
        let _ = write!(head, "access-control-allow-origin: {origin}\r\nvary: Origin\r\n");
        if has_credentials {
            head.push_str("access-control-allow-credentials: true\r\n");
        }
    }
    // So that not all come back at the same moment when the server was away.
    let retry_ms = fastrand::u64(RETRY_MS);
    let _ = write!(head, "\r\nretry: {retry_ms}\n");
    head.into_bytes()
}
