//! The REST shape of Upstash, which `@upstash/redis` and its siblings speak.
//!
//! | request | what is run |
//! |---|---|
//! | `POST /` with `["SET","k","v"]` | the command |
//! | `GET` or `POST /set/k/v?EX=100` | the segments, then the body if it is a POST with one, then the query |
//! | `POST /pipeline` with `[[…],[…]]` | the commands, one after the other |
//! | `POST /multi-exec` with `[[…],[…]]` | the same, in a transaction |
//! | `GET` or `POST /subscribe/channel`, `/psubscribe/pattern` | a stream of events |
//!
//! The answer is `{"result":…}` or `{"error":"ERR …"}`, and a list of them for many; `Upstash-Encoding: base64` has strings in
//! base64. Source: Upstash's REST documentation, and what its client for Node sends and reads.

use std::time::Duration;

use hyper::{Method, Response, StatusCode};
use serde_json::value::RawValue;
use sterna_protocol::encode;
use sterna_server::Engine;

use crate::accept::Caller;
use crate::aside::aside;
use crate::events::Events;
use crate::json::{self, Encoding};
use crate::limits::COMMANDS_MAX;
use crate::login::TOKEN;
use crate::replies::Broken;
use crate::response::{Payload, Refusal, event_stream, json_response};
use crate::route::Asked;
use crate::session::{Replies, Session, no_room};

/// Answers what is asked for in this shape.
pub(crate) async fn answer(caller: &Caller, mut asked: Asked) -> Result<Response<Payload>, Refusal> {
    let name = asked.path.front().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    if matches!(&name[..], b"subscribe" | b"psubscribe") {
        return subscribe(caller, &asked).await;
    }
    if asked.method == Method::GET && asked.login.is_none() {
        // Any page can have a browser send this, without a header that tells of it.
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "NOAUTH A command by GET needs credentials"));
    }
    let mut session = asked.session(caller).await?;
    let body =
        if asked.method == Method::GET { Vec::new() } else { asked.body(caller, &mut session.held).await? };
    let (engine, encoding) = (&caller.shared.engine, encoding_of(&asked));
    let is_alone = asked.path.len() == 1;
    let reads = |read: fn(&[u8], &Engine) -> Result<Requests, Refusal>, body: Vec<u8>, held| {
        let engine = engine.clone();
        aside(body.len(), held, move || read(&body, &engine))
    };
    let held = &mut session.held;
    match &name[..] {
        b"" => {
            let requests = reads(read_one, body, held).await??;
            one(session, requests, encoding).await
        }
        b"pipeline" if is_alone => {
            let requests = reads(read_commands, body, held).await??;
            pipeline(session, requests, encoding).await
        }
        b"multi-exec" if is_alone => {
            let requests = reads(read_commands, body, held).await??;
            transaction(session, requests, encoding).await
        }
        _ => {
            let mut requests = Requests::default();
            requests.add(&words(&asked, body), engine)?;
            one(session, requests, encoding).await
        }
    }
}

fn encoding_of(asked: &Asked) -> Encoding {
    match asked.headers.get("upstash-encoding") {
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"base64") => Encoding::Base64,
        _ => Encoding::Text,
    }
}

/// Requests as the engine reads them, and how many.
#[derive(Default)]
struct Requests {
    bytes: Vec<u8>,
    count: usize,
}

impl Requests {
    /// Adds a command. Errors: it has no name, or is one that is not answered once.
    fn add<A: AsRef<[u8]>>(&mut self, args: &[A], engine: &Engine) -> Result<(), Refusal> {
        let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
        let Some(name) = args.first() else { return Err(Refusal::bad("ERR empty command")) };
        if !engine.is_answered_once(&args) {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            return Err(Refusal::bad(format!("ERR Command '{name}' is not allowed over HTTP")));
        }
        encode::request(&mut self.bytes, args);
        self.count += 1;
        Ok(())
    }
}

/// The command of the path form.
fn words(asked: &Asked, body: Vec<u8>) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = asked.path.iter().cloned().collect();
    if !body.is_empty() {
        words.push(body);
    }
    for (name, value) in asked.query.iter().filter(|(name, _)| name != TOKEN) {
        words.push(name.clone());
        // `?NX=` is NX.
        words.extend(value.clone().filter(|value| !value.is_empty()));
    }
    words
}

/// The command in a body of JSON.
fn read_command(body: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let list: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad("ERR The body must be a JSON array of arguments"))?;
    arguments(&list)
}

/// The same as a request.
fn read_one(body: &[u8], engine: &Engine) -> Result<Requests, Refusal> {
    let mut requests = Requests::default();
    requests.add(&read_command(body)?, engine)?;
    Ok(requests)
}

/// The commands in a body of JSON.
fn read_commands(body: &[u8], engine: &Engine) -> Result<Requests, Refusal> {
    let lists: Vec<Vec<&RawValue>> = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad("ERR The body must be a JSON array of arrays of arguments"))?;
    if lists.len() > COMMANDS_MAX {
        return Err(Refusal::bad(format!("ERR More than {COMMANDS_MAX} commands in one request")));
    }
    let mut requests = Requests::default();
    lists.iter().try_for_each(|list| requests.add(&arguments(list)?, engine))?;
    Ok(requests)
}

/// Strings as what they hold; numbers and whatever else as they are written.
fn arguments(list: &[&RawValue]) -> Result<Vec<Vec<u8>>, Refusal> {
    let argument = |value: &&RawValue| match value.get() {
        "null" => Err(Refusal::bad("ERR null is no argument")),
        text if text.starts_with('"') => {
            let string: String =
                serde_json::from_str(text).map_err(|_| Refusal::bad("ERR An argument is no valid string"))?;
            Ok(string.into_bytes())
        }
        text => Ok(text.as_bytes().to_vec()),
    };
    list.iter().map(argument).collect()
}

async fn one(
    mut session: Session,
    requests: Requests,
    encoding: Encoding,
) -> Result<Response<Payload>, Refusal> {
    let replies = session.run(&requests.bytes, 1).await?;
    if let [b'-', error @ ..] = replies.get(0) {
        return Err(Refusal::of_reply(error.trim_ascii_end()));
    }
    answered(replies, move |replies, out| json::outcome(replies.get(0), encoding, out).map(drop)).await
}

async fn pipeline(
    mut session: Session,
    requests: Requests,
    encoding: Encoding,
) -> Result<Response<Payload>, Refusal> {
    let replies = session.run(&requests.bytes, requests.count).await?;
    let count = requests.count;
    let write = move |replies: &Replies, out: &mut Vec<u8>| {
        out.push(b'[');
        for index in 0..count {
            if index > 0 {
                out.push(b',');
            }
            json::outcome(replies.get(index), encoding, out)?;
        }
        out.push(b']');
        Ok(())
    };
    answered(replies, write).await
}

async fn transaction(
    mut session: Session,
    requests: Requests,
    encoding: Encoding,
) -> Result<Response<Payload>, Refusal> {
    let mut bytes = Vec::with_capacity(requests.bytes.len() + 64);
    encode::request(&mut bytes, ["MULTI"]);
    bytes.extend_from_slice(&requests.bytes);
    encode::request(&mut bytes, ["EXEC"]);
    let count = requests.count + 2;
    let replies = session.run(&bytes, count).await?;
    // What was wrong with a command says more than that nothing was run.
    if let Some([b'-', error @ ..]) = (0..count).map(|i| replies.get(i)).find(|reply| reply.starts_with(b"-"))
    {
        return Err(Refusal::of_reply(error.trim_ascii_end()));
    }
    let write = move |replies: &Replies, out: &mut Vec<u8>| {
        let reply = replies.get(count - 1);
        let header = memchr::memchr(b'\n', reply).ok_or(Broken)?;
        let mut rest = &reply[header + 1..];
        out.push(b'[');
        while !rest.is_empty() {
            if out.len() > 1 {
                out.push(b',');
            }
            rest = json::outcome(rest, encoding, out)?;
        }
        out.push(b']');
        Ok(())
    };
    answered(replies, write).await
}

async fn subscribe(caller: &Caller, asked: &Asked) -> Result<Response<Payload>, Refusal> {
    let names = asked.path.len() - 1;
    if names == 0 {
        return Err(Refusal::bad("ERR A channel must follow"));
    }
    let mut session = asked.session(caller).await?;
    let mut request = Vec::new();
    encode::request(&mut request, asked.path.iter());
    // Each name is confirmed by itself, or all are refused by one error.
    let received = session.subscribe(&request, names).await?;
    let silence_max = Duration::from_secs(caller.shared.engine.config().http_heartbeat.into());
    Ok(event_stream(Events::new(session, received, silence_max)))
}

/// The engine has said something that is no reply.
fn unreadable() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "ERR The reply can't be read")
}

/// The answer whose body `write` makes of the replies.
async fn answered(
    mut replies: Replies,
    write: impl FnOnce(&Replies, &mut Vec<u8>) -> Result<(), Broken> + Send + 'static,
) -> Result<Response<Payload>, Refusal> {
    let (bytes, mut held) = (replies.bytes(), replies.take_held());
    let make = move || {
        let mut body = Vec::new();
        write(&replies, &mut body).map(|()| body)
    };
    let body = aside(bytes, &mut held, make).await?.map_err(|Broken| unreadable())?;
    if !held.set(body.capacity()) {
        return Err(no_room());
    }
    Ok(json_response(StatusCode::OK, body, Some(held)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_json_says_letter_for_letter() {
        let body = r#"["set","k\u00e9\n",1.10,12345678901234567890,true,{"a": [1]}]"#;
        let args = read_command(body.as_bytes()).unwrap();
        let expected = ["set", "ké\n", "1.10", "12345678901234567890", "true", r#"{"a": [1]}"#];
        assert_eq!(args, expected.map(|text| text.as_bytes().to_vec()));
        let deep = "[".repeat(100_000);
        for wrong in [&b""[..], b"{}", b"[", b"[null]", br#"["\ud800"]"#, b"[\"\xff\"]", deep.as_bytes()] {
            assert!(read_command(wrong).is_err(), "{:.20}", wrong.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_does_harm(body in proptest::collection::vec(proptest::sample::select(br#"[]"\u0d8,1n{:}"#.as_slice()), 0..40)) {
            let _ = read_command(&body);
        }
    }
}
