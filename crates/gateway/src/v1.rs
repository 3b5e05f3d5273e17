//! What services that know no Redis ask for: publishing, and streams.
//!
//! The whole of it is described by `openapi.json`, which is served at `/v1/openapi.json`.

use hyper::{Method, Response, StatusCode};
use serde_json::{Map, Value as Json};
use sterna_protocol::decode::{Value, decode};
use sterna_protocol::encode;
use sterna_protocol::event::json_string;

use crate::accept::Caller;
use crate::aside::aside;
use crate::dashboard;
use crate::limits::ENTRIES_MAX;
use crate::login::Login;
use crate::observe;
use crate::response::{Payload, Refusal, json_response};
use crate::route::Asked;
use crate::session::Replies;
use crate::stream;

const OPENAPI: &str = include_str!("openapi.json");

/// Who makes the idempotence keys of HTTP: a producer of the stream's, by the user's name.
const PRODUCER: &[u8] = b"http:";

/// Bytes of an `Idempotency-Key`: that of others is a UUID.
const KEY_BYTES_MAX: usize = 255;

/// Answers a request below `/v1`, whose first segment is gone.
pub(crate) async fn answer(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    let path: Vec<&[u8]> = asked.path.iter().map(Vec::as_slice).collect();
    check_method(&asked.method, &path)?;
    asked.check_body()?;
    match (&asked.method, &path[..]) {
        (&Method::GET, [b"health"]) => Ok(observe::health(&caller.shared.engine)),
        (&Method::GET, [b"openapi.json"]) => Ok(json_response(StatusCode::OK, OPENAPI.into(), None)),
        (&Method::POST, [b"publish"]) => publish(caller, asked).await,
        (&Method::POST, [b"streams", _]) => append(caller, asked).await,
        (&Method::GET, [b"streams", _]) => range(caller, asked).await,
        (&Method::GET, [b"events"]) => stream::open(caller, asked).await,
        (&Method::GET, [b"admin", b"live"]) => dashboard::live(caller, &asked).await,
        _ => Err(not_found()),
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "ERR There is nothing at this path")
}

/// Refuses a path that there is not, or a method that it has not.
fn check_method(method: &Method, path: &[&[u8]]) -> Result<(), Refusal> {
    let allow = match path {
        [b"health" | b"openapi.json" | b"events"] | [b"admin", b"live"] => "GET",
        [b"publish"] => "POST",
        [b"streams", _] => "GET, POST",
        _ => return Err(not_found()),
    };
    if allow.split(", ").any(|other| other == method.as_str()) { Ok(()) } else { Err(Refusal::method(allow)) }
}

/// `{"channel":…, "message":…}` → `{"receivers":n}`
async fn publish(caller: &Caller, mut asked: Asked) -> Result<Response<Payload>, Refusal> {
    let mut session = asked.session(caller).await?;
    let body = asked.body(caller, &mut session.held).await?;
    let request = aside(body.len(), &mut session.held, move || publishing(&body)).await??;
    let replies = session.run_one(&request).await?;
    let Some(Value::Int(receivers)) = value(&replies) else { return Err(unexpected()) };
    let body = format!(r#"{{"receivers":{receivers}}}"#).into_bytes();
    Ok(json_response(StatusCode::OK, body, None))
}

/// The request that a body of JSON is.
fn publishing(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let fields = object(body)?;
    let (Some(Json::String(channel)), Some(message), 2) =
        (fields.get("channel"), fields.get("message"), fields.len())
    else {
        return Err(Refusal::bad("ERR The body must be an object of channel and message"));
    };
    let mut request = Vec::new();
    encode::request(&mut request, [b"PUBLISH", channel.as_bytes(), text(message).as_bytes()]);
    Ok(request)
}

/// `{"field":…, …}` → `{"id":…}`
async fn append(caller: &Caller, mut asked: Asked) -> Result<Response<Payload>, Refusal> {
    let mut session = asked.session(caller).await?;
    let body = asked.body(caller, &mut session.held).await?;
    let idempotence = asked.headers.get("idempotency-key").map(|key| key.as_bytes());
    if idempotence.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        return Err(Refusal::bad("ERR Idempotency-Key must have 1 to 255 bytes"));
    }
    let user = asked.login.as_ref().map_or_else(|| b"default".to_vec(), Login::name);
    let producer = [PRODUCER, &user].concat();
    let mut args: Vec<&[u8]> = vec![b"XADD", &asked.path[1]];
    if let Some(key) = idempotence {
        args.extend([b"IDMP", &producer[..], key]);
    }
    if let Some(most) = asked.parameter("maxlen") {
        args.extend([&b"MAXLEN"[..], b"~", most]);
    }
    args.push(b"*");
    let args: Vec<Vec<u8>> = args.into_iter().map(<[u8]>::to_vec).collect();
    let request = aside(body.len(), &mut session.held, move || appending(&args, &body)).await??;
    let replies = session.run_one(&request).await?;
    let Some(Value::Bulk(id)) = value(&replies) else { return Err(unexpected()) };
    let mut body = br#"{"id":"#.to_vec();
    json_string(&mut body, &id);
    body.push(b'}');
    Ok(json_response(StatusCode::CREATED, body, None))
}

/// The request of these arguments, and of the fields in a body of JSON.
fn appending(args: &[Vec<u8>], body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let fields = object(body)?;
    let texts: Vec<(&str, String)> =
        fields.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let fields = texts.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut request = Vec::new();
    encode::request(&mut request, args.iter().map(Vec::as_slice).chain(fields).collect::<Vec<_>>());
    Ok(request)
}

/// `from`, `to`, `count` → `{"entries":[{"id":…,"fields":{…}}]}`
async fn range(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    let mut session = asked.session(caller).await?;
    let count = match asked.parameter("count") {
        None => 100,
        Some(digits) => str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    if !(1..=ENTRIES_MAX).contains(&count) {
        return Err(Refusal::bad(format!("ERR count must be between 1 and {ENTRIES_MAX}")));
    }
    let (from, to) = (asked.parameter("from").unwrap_or(b"-"), asked.parameter("to").unwrap_or(b"+"));
    let count = count.to_string();
    let args = [&b"XRANGE"[..], &asked.path[1], from, to, b"COUNT", count.as_bytes()];
    let mut replies = session.command(&args).await?;
    let (bytes, mut held) = (replies.bytes(), replies.take_held());
    let make = move || value(&replies).and_then(|entries| entries_json(&entries));
    let entries = aside(bytes, &mut held, make).await?.ok_or_else(unexpected)?;
    // It is sent whatever it counts for: what it was made of is freed now.
    held.set(entries.capacity());
    Ok(json_response(StatusCode::OK, entries, Some(held)))
}

/// The entries of XRANGE. Of fields with one name the last counts, as for every reader of JSON.
fn entries_json(entries: &Value) -> Option<Vec<u8>> {
    let mut out = br#"{"entries":["#.to_vec();
    for (i, entry) in entries.as_slice()?.iter().enumerate() {
        let [id, fields] = entry.as_slice()? else { return None };
        out.extend_from_slice(if i > 0 { br#",{"id":"# } else { br#"{"id":"# });
        json_string(&mut out, id.as_bytes()?);
        out.extend_from_slice(br#","fields":{"#);
        for (i, pair) in fields.as_slice()?.chunks_exact(2).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json_string(&mut out, pair[0].as_bytes()?);
            out.push(b':');
            json_string(&mut out, pair[1].as_bytes()?);
        }
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
    Some(out)
}

fn object(body: &[u8]) -> Result<Map<String, Json>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::bad("ERR The body must be a JSON object"))
}

/// A string as what it holds, and anything else as JSON.
fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn value(replies: &Replies) -> Option<Value> {
    decode(replies.get(0)).ok().flatten().map(|(value, _)| value)
}

fn unexpected() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "ERR The reply can't be read")
}
