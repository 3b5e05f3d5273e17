//! The dashboard: a page at `/`, and the stream of figures that it shows.
//!
//! ```text
//!   GET /                       the page, for anybody: it holds nothing
//!   GET /dashboard/app.js …     its parts
//!   GET /v1/admin/live          figures once a second, for users who may run INFO and CLIENT LIST
//!   POST /pipeline              whatever else it shows or does: commands, as its user
//!   GET /v1/events              the tail of a channel or stream
//! ```
//!
//! The page asks for a user and a password, keeps them in its memory alone and sends them in a header: there is no cookie that
//! another site's page could use, and nothing in a URL. What it may see and do is what that user may by the rules of ACL.
//!
//! Bounds: [`WATCHERS_MAX`] pages; all of them together cost one look at the server a second, and each a connection without a
//! socket. A page that does not read is sent no more until it does.

mod assets;
mod figures;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use sterna_protocol::encode;
use sterna_protocol::event::json_string;
use sterna_server::{Engine, Observer};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::accept::{Caller, Shared};
use crate::limits::{POLL_INTERVAL, WATCHERS_MAX};
use crate::response::{Payload, Refusal, live_stream};
use crate::route::Asked;
use crate::session::{Replies, Session, closed};

pub(crate) use assets::asset;

/// What all pages share.
#[derive(Default)]
pub(crate) struct Dashboard {
    look: Arc<Mutex<Option<Look>>>,
    watchers: AtomicUsize,
}

/// The last look at the server.
struct Look {
    at: Instant,
    json: Bytes,
    observer: Observer,
}

/// One of the pages that may watch, until it is dropped.
struct Watcher(Arc<Shared>);

/// Looks that lie further apart are not compared: what happened long ago is not what a page wants to see first.
const STALE_AFTER: Duration = Duration::from_secs(5);

impl Dashboard {
    /// The figures, not older than half a second: pages whose moments lie close together share them.
    async fn figures(&self, engine: &Engine) -> Result<Bytes, Refusal> {
        let mut place = Arc::clone(&self.look).lock_owned().await;
        let now = Instant::now();
        let mut observer = match place.take() {
            Some(look) if now - look.at < POLL_INTERVAL / 2 => {
                let json = look.json.clone();
                *place = Some(look);
                return Ok(json);
            }
            Some(look) if now - look.at < STALE_AFTER => look.observer,
            _ => engine.observer(),
        };
        // It goes over all connections, and this thread serves everybody. A page may leave meanwhile: the turn is the look's.
        let look = move || {
            let json = Bytes::from(figures::json(&observer.observe()));
            *place = Some(Look { at: now, json: json.clone(), observer });
            json
        };
        // It is given up where the server stops.
        spawn_blocking(look).await.map_err(|_| closed())
    }
}

impl Watcher {
    fn enter(caller: &Caller) -> Result<Watcher, Refusal> {
        let watchers = &caller.shared.dashboard.watchers;
        let watcher = Watcher(Arc::clone(&caller.shared));
        if watchers.fetch_add(1, Relaxed) >= WATCHERS_MAX {
            let text = format!("ERR More than {WATCHERS_MAX} pages watch this server");
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        Ok(watcher)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.dashboard.watchers.fetch_sub(1, Relaxed);
    }
}

/// `GET /v1/admin/live`: an event with all figures at once, and then one a second.
pub(crate) async fn live(caller: &Caller, asked: &Asked) -> Result<Response<Payload>, Refusal> {
    if asked.login.is_none() {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "NOAUTH The figures are for users who say who they are",
        ));
    }
    // Who has yet to say who they are takes no place from those who have.
    let mut session = asked.session(caller).await?;
    let watcher = Watcher::enter(caller)?;
    let first = event(&watcher, &mut session).await?;
    let (sender, receiver) = mpsc::channel(1);
    // There is room for one.
    let _ = sender.try_send(first);
    tokio::spawn(watch(watcher, session, sender));
    Ok(live_stream(receiver))
}

/// Sends an event a second for as long as the page is there and its user may.
async fn watch(watcher: Watcher, mut session: Session, sender: Sender<Bytes>) {
    loop {
        if timeout(POLL_INTERVAL, sender.closed()).await.is_ok() {
            return;
        }
        // A page that does not read is waited for.
        let Ok(place) = sender.reserve().await else { return };
        match event(&watcher, &mut session).await {
            Ok(event) => place.send(event),
            Err(refusal) if is_final(&refusal) => return place.send(refused(&refusal)),
            // A server that is busy or loading: the page asks again.
            Err(_) => return,
        }
    }
}

/// The figures as an event: what INFO says to the page's user, and what the server knows beside it.
async fn event(watcher: &Watcher, session: &mut Session) -> Result<Bytes, Refusal> {
    let info = info(session).await?;
    let figures = watcher.0.dashboard.figures(&watcher.0.engine).await?;
    let mut event = br#"data: {"figures":"#.to_vec();
    event.extend_from_slice(&figures);
    event.extend_from_slice(br#","info":"#);
    json_string(&mut event, &info);
    event.extend_from_slice(b"}\n\n");
    Ok(event.into())
}

/// Runs what the figures are worth: whoever may not is refused, now as at the first time.
async fn info(session: &mut Session) -> Result<Vec<u8>, Refusal> {
    let mut requests = Vec::new();
    encode::request(&mut requests, ["CLIENT", "LIST", "ID", "1"]);
    encode::request(&mut requests, ["INFO", "server", "persistence", "stats", "messages", "keyspace"]);
    let replies = session.run(&requests, 2).await?;
    for index in 0..2 {
        if let Some(error) = replies.get(index).strip_prefix(b"-") {
            return Err(Refusal::of_reply(error.trim_ascii_end()));
        }
    }
    text(&replies, 1).ok_or_else(|| Refusal::bad("ERR The reply of INFO can't be read"))
}

fn text(replies: &Replies, index: usize) -> Option<Vec<u8>> {
    let (value, _) = sterna_protocol::decode::decode(replies.get(index)).ok()??;
    value.as_bytes().map(<[u8]>::to_vec)
}

/// Whether the page's user may not, now or later.
fn is_final(refusal: &Refusal) -> bool {
    matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// The last event: why there is no other.
fn refused(refusal: &Refusal) -> Bytes {
    let mut event = br#"event: refused"#.to_vec();
    event.extend_from_slice(b"\ndata: {\"error\":");
    json_string(&mut event, refusal.text.as_bytes());
    event.extend_from_slice(b"}\n\n");
    event.into()
}
