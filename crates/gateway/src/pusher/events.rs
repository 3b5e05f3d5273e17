//! `POST events` and `POST batch_events`: a service has events sent to pages, and to whoever else subscribes.

use hyper::{Response, StatusCode};
use serde_json::{Map, Value as Json, json};
use sterna_config::PusherApp;
use sterna_protocol::{encode, pusher};

use super::channels;
use crate::accept::Caller;
use crate::aside::aside;
use crate::response::{Payload, Refusal, json_response};
use crate::session::Session;

/// Bytes of the data of one event. Source: Pusher's own limit.
const DATA_BYTES_MAX: usize = 10 * 1024;

/// Bytes of an event's name. Source: Pusher's own limit.
const NAME_BYTES_MAX: usize = 200;

/// Channels of one event. Source: Pusher's own limit.
const CHANNELS_MAX: usize = 100;

/// Events of one batch. Source: Pusher's own limit.
const BATCH_MAX: usize = 10;

/// An event for some channels.
struct Event {
    channels: Vec<String>,
    payload: Vec<u8>,
    /// What is to be told of the channels.
    info: String,
}

/// `{"name":…,"data":…,"channels":[…]}` → `{}`, or what `info` asks for.
pub(super) async fn trigger(
    caller: &Caller,
    app: &PusherApp,
    mut session: Session,
    body: Vec<u8>,
) -> Result<Response<Payload>, Refusal> {
    let event = aside(body.len(), &mut session.held, move || event(&object(&body)?, true)).await??;
    publish(caller, app, &mut session, std::slice::from_ref(&event)).await?;
    let mut answer = Map::new();
    if !event.info.is_empty() {
        let mut told = Map::new();
        for channel in &event.channels {
            told.insert(
                channel.clone(),
                channels::info(caller, app, &mut session, channel, &event.info).await?,
            );
        }
        answer.insert("channels".to_owned(), Json::Object(told));
    }
    Ok(json_response(StatusCode::OK, Json::Object(answer).to_string().into_bytes(), None))
}

/// `{"batch":[{"name":…,"data":…,"channel":…},…]}` → `{}`, or what `info` asks for.
pub(super) async fn trigger_batch(
    caller: &Caller,
    app: &PusherApp,
    mut session: Session,
    body: Vec<u8>,
) -> Result<Response<Payload>, Refusal> {
    let events = aside(body.len(), &mut session.held, move || batch(&body)).await??;
    publish(caller, app, &mut session, &events).await?;
    let mut told = Vec::new();
    for event in &events {
        told.push(match event.channels.first().filter(|_| !event.info.is_empty()) {
            Some(channel) => channels::info(caller, app, &mut session, channel, &event.info).await?,
            None => json!({}),
        });
    }
    let asks = events.iter().any(|event| !event.info.is_empty());
    let answer = if asks { json!({ "batch": told }) } else { json!({}) };
    Ok(json_response(StatusCode::OK, answer.to_string().into_bytes(), None))
}

/// Reads a batch of events.
fn batch(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let body = object(body)?;
    let batch = body.get("batch").and_then(Json::as_array);
    let batch = batch.ok_or_else(|| Refusal::bad("ERR The body must have a batch of events"))?;
    if batch.len() > BATCH_MAX {
        return Err(Refusal::bad(format!("ERR A batch has at most {BATCH_MAX} events")));
    }
    let read = |one: &Json| {
        event(one.as_object().ok_or_else(|| Refusal::bad("ERR An event must be an object"))?, false)
    };
    batch.iter().map(read).collect()
}

fn object(body: &[u8]) -> Result<Map<String, Json>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::bad("ERR The body must be a JSON object"))
}

/// Reads an event. `takes_several`: channels.
fn event(fields: &Map<String, Json>, takes_several: bool) -> Result<Event, Refusal> {
    let text = |name: &str| match fields.get(name) {
        Some(Json::String(text)) => Ok(Some(text.as_str())),
        None | Some(Json::Null) => Ok(None),
        Some(_) => Err(Refusal::bad(format!("ERR {name} must be a string"))),
    };
    let name = text("name")?.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
    let name = name.ok_or_else(|| Refusal::bad("ERR An event must have a name of at most 200 bytes"))?;
    if name.starts_with("pusher:") || name.starts_with("pusher_internal:") {
        return Err(Refusal::bad("ERR This name is one of the protocol's"));
    }
    let data = text("data")?.ok_or_else(|| Refusal::bad("ERR data must be a string"))?;
    if data.len() > DATA_BYTES_MAX {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "ERR data has at most 10240 bytes"));
    }
    let socket = text("socket_id")?;
    if socket.is_some_and(|socket| pusher::SocketId::parse(socket).is_none()) {
        return Err(Refusal::bad("ERR socket_id must be two numbers with a dot between them"));
    }
    let data = Json::String(data.to_owned()).to_string();
    Ok(Event {
        channels: channels_of(fields, takes_several)?,
        payload: pusher::envelope(name, &data, None, socket),
        info: text("info")?.unwrap_or_default().to_owned(),
    })
}

fn channels_of(fields: &Map<String, Json>, takes_several: bool) -> Result<Vec<String>, Refusal> {
    let names = match (fields.get("channels"), fields.get("channel")) {
        (Some(Json::Array(names)), _) if takes_several => names.iter().map(Json::as_str).collect(),
        (_, Some(Json::String(name))) => Some(vec![name.as_str()]),
        _ => None,
    };
    let names = names.ok_or_else(|| Refusal::bad("ERR An event must name its channels"))?;
    if names.is_empty() || names.len() > CHANNELS_MAX {
        return Err(Refusal::bad(format!("ERR An event has 1 to {CHANNELS_MAX} channels")));
    }
    if let Some(wrong) = names.iter().find(|name| !pusher::is_name(name)) {
        return Err(Refusal::bad(format!("ERR '{wrong}' is no name of a channel")));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Publishes all, in their order. The first that may not be is told, and the others have been.
async fn publish(
    caller: &Caller,
    app: &PusherApp,
    session: &mut Session,
    events: &[Event],
) -> Result<(), Refusal> {
    let config = caller.shared.engine.config();
    let (mut requests, mut count) = (Vec::new(), 0);
    for event in events {
        for channel in &event.channels {
            let outside = app.outside(channel);
            if config.pusher_app.prefix_of(&outside) != Some(&app.prefix) {
                return Err(Refusal::bad(format!("ERR '{channel}' is one of another app's")));
            }
            encode::request(&mut requests, [b"PUBLISH", &outside[..], &event.payload]);
            count += 1;
        }
    }
    let replies = session.run(&requests, count).await?;
    for at in 0..replies.len() {
        if let [b'-', error @ ..] = replies.get(at) {
            return Err(Refusal::of_reply(error.trim_ascii_end()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, takes_several: bool) -> Result<(Vec<String>, String), u16> {
        let read = object(body.as_bytes()).and_then(|fields| event(&fields, takes_several));
        read.map(|event| (event.channels, String::from_utf8(event.payload).unwrap()))
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn an_event_becomes_what_is_published() {
        let body = r#"{"name":"e","channels":["a","b"],"data":"{\"x\":1}","socket_id":"1.2"}"#;
        let (channels, payload) = read(body, true).unwrap();
        assert_eq!(channels, ["a", "b"]);
        assert_eq!(payload, r#"{"event":"e","data":"{\"x\":1}","socket_id":"1.2"}"#);
        let (channels, payload) =
            read(r##"{"name":"e","channel":"#server-to-user-7","data":""}"##, false).unwrap();
        assert_eq!((channels.len(), payload.as_str()), (1, r#"{"event":"e","data":""}"#));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let long = "x".repeat(DATA_BYTES_MAX + 1);
        for (body, status) in [
            ("", 400),
            ("[]", 400),
            (r#"{"name":"e","channel":"a"}"#, 400),
            (r#"{"name":"e","channel":"a","data":{}}"#, 400),
            (r#"{"name":"","channel":"a","data":""}"#, 400),
            (r#"{"name":"pusher:error","channel":"a","data":""}"#, 400),
            (r#"{"name":"e","data":""}"#, 400),
            (r#"{"name":"e","channels":[],"data":""}"#, 400),
            (r#"{"name":"e","channels":[7],"data":""}"#, 400),
            (r#"{"name":"e","channels":["a b"],"data":""}"#, 400),
            (r#"{"name":"e","channel":"a","data":"","socket_id":"x"}"#, 400),
            (&format!(r#"{{"name":"e","channel":"a","data":"{long}"}}"#), 413),
        ] {
            assert_eq!(read(body, true), Err(status), "{body}");
        }
        let many = |count| format!(r#"{{"name":"e","channels":{},"data":""}}"#, json!(vec!["a"; count]));
        assert!(read(&many(CHANNELS_MAX), true).is_ok());
        assert_eq!(read(&many(CHANNELS_MAX + 1), true), Err(400));
        assert_eq!(read(&many(1), false), Err(400), "an event of a batch has one channel");
    }
}
