//! `GET channels` and what is below: which channels have subscribers, how many, and who.
//!
//! Subscribers of the Redis protocol count like pages: a channel is one for both.

use hyper::{Response, StatusCode};
use serde_json::{Map, Value as Json, json};
use sterna_config::PusherApp;
use sterna_protocol::decode::{Value, decode};
use sterna_protocol::event::json_string;
use sterna_protocol::pusher::{ChannelKind, SERVER_TO_USER, is_name};
use tokio::task::yield_now;

use super::not_found;
use crate::accept::Caller;
use crate::budget::Held;
use crate::response::{Payload, Refusal, json_response};
use crate::route::Asked;
use crate::session::{Session, no_room};

/// What may be asked about a channel.
#[derive(Clone, Copy)]
struct Wanted {
    subscriptions: bool,
    users: bool,
    cache: bool,
}

impl Wanted {
    /// The words of `info`, with commas between them. Others are passed over.
    fn of(info: &str) -> Wanted {
        let has = |word: &str| info.split(',').any(|other| other.trim() == word);
        Wanted { subscriptions: has("subscription_count"), users: has("user_count"), cache: has("cache") }
    }
}

fn unexpected() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "ERR The reply can't be read")
}

async fn ask(session: &mut Session, words: &[&[u8]]) -> Result<Value, Refusal> {
    let replies = session.command(words).await?;
    decode(replies.get(0)).ok().flatten().map(|(value, _)| value).ok_or_else(unexpected)
}

/// Channels that are asked about by one request, and told of before others on the HTTP thread have their turn.
const CHANNELS_AT_ONCE: usize = 1000;

/// How many subscribe to each channel.
async fn counts(session: &mut Session, outside: &[Vec<u8>]) -> Result<Vec<i64>, Refusal> {
    let mut words: Vec<&[u8]> = vec![b"PUBSUB", b"NUMSUB"];
    words.extend(outside.iter().map(Vec::as_slice));
    let reply = ask(session, &words).await?;
    let pairs = reply.as_slice().unwrap_or_default().chunks_exact(2);
    let counts: Option<Vec<i64>> = pairs
        .map(|pair| match pair {
            [_, Value::Int(count)] => Some(*count),
            _ => None,
        })
        .collect();
    counts.filter(|counts| counts.len() == outside.len()).ok_or_else(unexpected)
}

/// How many subscribe to a channel.
async fn count(session: &mut Session, outside: Vec<u8>) -> Result<i64, Refusal> {
    counts(session, &[outside]).await?.first().copied().ok_or_else(unexpected)
}

/// What is told of a channel by its event.
pub(super) async fn info(
    caller: &Caller,
    app: &PusherApp,
    session: &mut Session,
    channel: &str,
    info: &str,
) -> Result<Json, Refusal> {
    let count = count(session, app.outside(channel)).await?;
    Ok(told(caller, app, channel, Wanted::of(info), count))
}

fn told(caller: &Caller, app: &PusherApp, channel: &str, wanted: Wanted, count: i64) -> Json {
    let (kind, outside) = (ChannelKind::of(channel.as_bytes()), app.outside(channel));
    let engine = &caller.shared.engine;
    let mut told = Map::new();
    if wanted.subscriptions {
        told.insert("subscription_count".to_owned(), count.into());
    }
    if wanted.users && kind.is_presence {
        told.insert("user_count".to_owned(), engine.presence_count(&outside).into());
    }
    if wanted.cache && kind.is_cache {
        told.insert("cache".to_owned(), engine.has_cached(&outside).into());
    }
    Json::Object(told)
}

fn answer(json: &Json) -> Response<Payload> {
    json_response(StatusCode::OK, json.to_string().into_bytes(), None)
}

/// `{"channels":{"NAME":{…},…}}`
pub(super) async fn list(
    caller: &Caller,
    app: &PusherApp,
    mut session: Session,
    asked: &Asked,
) -> Result<Response<Payload>, Refusal> {
    let text = |name: &str| String::from_utf8_lossy(asked.parameter(name).unwrap_or_default()).into_owned();
    let (begins_with, wanted) = (text("filter_by_prefix"), Wanted::of(&text("info")));
    if wanted.users && !begins_with.starts_with("presence-") {
        return Err(Refusal::bad("ERR user_count is told of presence channels: filter_by_prefix=presence-"));
    }
    let mut pattern = Vec::new();
    for byte in app.outside(&begins_with) {
        if b"*?[]\\^".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    let replies = session.command(&[b"PUBSUB", b"CHANNELS", &pattern]).await?;
    let apps = &caller.shared.engine.config().pusher_app;
    // A million names are not kept twice: they are read and told of as they stand there.
    let mut rest = elements(replies.get(0)).ok_or_else(unexpected)?;
    let (mut body, mut held) = (br#"{"channels":{"#.to_vec(), Held::new(&caller.shared.budget));
    let mut is_first = true;
    while !rest.is_empty() {
        let mut names = Vec::new();
        for _ in 0..CHANNELS_AT_ONCE {
            let Some((outside, behind)) = next_name(rest) else {
                rest = &[];
                break;
            };
            rest = behind;
            if apps.prefix_of(&outside) == Some(&app.prefix)
                && let Ok(name) = str::from_utf8(apps.inside(&outside))
                && is_name(name)
                && !name.starts_with(SERVER_TO_USER)
            {
                names.push(name.to_owned());
            }
        }
        let outside: Vec<Vec<u8>> = names.iter().map(|name| app.outside(name)).collect();
        let counts = match wanted.subscriptions && !names.is_empty() {
            true => counts(&mut session, &outside).await?,
            false => vec![0; names.len()],
        };
        for (name, count) in names.iter().zip(counts) {
            if !std::mem::take(&mut is_first) {
                body.push(b',');
            }
            json_string(&mut body, name.as_bytes());
            body.push(b':');
            body.extend_from_slice(told(caller, app, name, wanted, count).to_string().as_bytes());
        }
        if !held.set(body.capacity()) {
            return Err(no_room());
        }
        yield_now().await;
    }
    body.extend_from_slice(b"}}");
    Ok(json_response(StatusCode::OK, body, Some(held)))
}

/// What stands behind the head of an array.
fn elements(reply: &[u8]) -> Option<&[u8]> {
    let head = memchr::memchr(b'\n', reply).filter(|_| reply.starts_with(b"*"))?;
    reply.get(head + 1..)
}

/// The first of these strings, and what is behind it.
fn next_name(reply: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (value, bytes) = decode(reply).ok().flatten()?;
    Some((value.as_bytes()?.to_vec(), reply.get(bytes..)?))
}

/// `{"occupied":…,…}`
pub(super) async fn one(
    caller: &Caller,
    app: &PusherApp,
    mut session: Session,
    channel: &[u8],
    asked: &Asked,
) -> Result<Response<Payload>, Refusal> {
    let name = named(channel)?;
    let wanted = Wanted::of(&String::from_utf8_lossy(asked.parameter("info").unwrap_or_default()));
    if wanted.users && !ChannelKind::of(name.as_bytes()).is_presence {
        return Err(Refusal::bad("ERR user_count is told of presence channels"));
    }
    let count = count(&mut session, app.outside(name)).await?;
    let mut told = told(caller, app, name, wanted, count);
    told["occupied"] = (count > 0).into();
    Ok(answer(&told))
}

/// `{"users":[{"id":…},…]}`
pub(super) async fn users(
    caller: &Caller,
    app: &PusherApp,
    mut session: Session,
    channel: &[u8],
) -> Result<Response<Payload>, Refusal> {
    let name = named(channel)?;
    if !ChannelKind::of(name.as_bytes()).is_presence {
        return Err(Refusal::bad("ERR Users are told of presence channels"));
    }
    // Whether the app's user may ask about the channel.
    count(&mut session, app.outside(name)).await?;
    let users = caller.shared.engine.presence(&app.outside(name));
    let users: Vec<Json> = users.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(answer(&json!({ "users": users })))
}

fn named(channel: &[u8]) -> Result<&str, Refusal> {
    str::from_utf8(channel).ok().filter(|name| is_name(name)).ok_or_else(not_found)
}
