//! `GET /v1/events?channel=…&pattern=…`: messages for a page's `EventSource`.
//!
//! The client logs in and subscribes as any other, and is answered if it may not. Then the socket is handed over to its shard
//! (`server`'s `shard/handover.rs`), with the head of the answer: from there on the page costs what a subscriber costs.

use std::fmt::Write;

use hyper::Response;
use hyper::header::ORIGIN;
use sterna_protocol::encode;

use crate::accept::{Caller, Successor};
use crate::limits::{NAMES_MAX, RETRY_MS};
use crate::response::{Payload, Refusal};
use crate::route::Asked;
use crate::session::Session;

/// Opens the stream; it returns only if there is none.
pub(crate) async fn open(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    let channels = values(&asked, b"channel");
    let patterns = values(&asked, b"pattern");
    let known: [&[u8]; 3] = [b"channel", b"pattern", crate::login::TOKEN];
    if let Some((unknown, _)) = asked.query.iter().find(|(name, _)| !known.contains(&&name[..])) {
        let name = String::from_utf8_lossy(unknown);
        return Err(Refusal::bad(format!("ERR There is no parameter '{name}'")));
    }
    if channels.is_empty() && patterns.is_empty() {
        return Err(Refusal::bad("ERR A channel or a pattern must be named"));
    }
    if channels.len() + patterns.len() > NAMES_MAX {
        return Err(Refusal::bad(format!("ERR More than {NAMES_MAX} channels and patterns")));
    }
    let mut session = asked.session(caller).await?;
    let mut unread = Vec::new();
    for (command, names) in [(&b"SUBSCRIBE"[..], channels), (b"PSUBSCRIBE", patterns)] {
        if !names.is_empty() {
            unread.extend(subscribe(&mut session, command, &names).await?);
        }
    }
    let successor = Successor { client: session.client, head: head(&asked), unread };
    match caller.succeed(successor).await {}
}

/// The values of a parameter that may stand there several times.
fn values<'a>(asked: &'a Asked, name: &[u8]) -> Vec<&'a [u8]> {
    asked
        .query
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

/// What is sent before the first event. It has no length: its end is the connection's.
fn head(asked: &Asked) -> Vec<u8> {
    let mut head = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n\
         connection: close\r\n",
    );
    // It was checked before; see `origin.rs`.
    if let Some(origin) = asked.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()) {
        let _ = write!(head, "access-control-allow-origin: {origin}\r\nvary: Origin\r\n");
    }
    // So that not all come back at the same moment when the server was away.
    let retry_ms = fastrand::u64(RETRY_MS);
    let _ = write!(head, "\r\nretry: {retry_ms}\n\n");
    head.into_bytes()
}
