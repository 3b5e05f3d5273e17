//! From a request of HTTP to its answer: who asks, what for, and with how much.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;

use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::timeout;

use crate::accept::Caller;
use crate::budget::Held;
use crate::limits::BODY_TIME_MAX;
use crate::login::{self, Login};
use crate::origin::{self, Asker};
use crate::response::{Payload, Refusal};
use crate::session::{Session, no_room};
use crate::{dashboard, observe, pusher, upstash, url, v1};

/// A request, its body not read yet.
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// The path as it was sent.
    pub(crate) raw_path: String,
    /// Between the slashes; what is done with takes from the front.
    pub(crate) path: VecDeque<Vec<u8>>,
    pub(crate) query: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    pub(crate) login: Option<Login>,
    /// Whether a page of another origin may send what its browser keeps for this one.
    pub(crate) has_credentials: bool,
}

/// What a body counts for: itself, its arguments as they are sent, and what the engine has read of them.
const BODY_COPIES: usize = 3;

/// Answers one request.
pub(crate) async fn answer(caller: &Caller, request: Request<Incoming>) -> Response<Payload> {
    if request.headers().get(HOST).is_some_and(|host| host.to_str().is_err()) {
        return Refusal::bad("ERR The header Host can't be read").response();
    }
    // A page that is for everybody, which a link of any other page may lead to; nobody's origin is told to read it.
    if let Some(asset) = dashboard::asset(request.method(), request.uri().path()) {
        return asset;
    }
    let config = caller.shared.engine.config();
    let asker = match origin::check(request.headers(), &config.http_allow_origin, caller.tls) {
        Ok(asker) => asker,
        Err(refusal) => return refusal.response(),
    };
    let mut response = match asker.preflight(request.method(), request.headers()) {
        Some(response) => response,
        None => route(caller, request, &asker).await.unwrap_or_else(|refusal| refusal.response()),
    };
    Asker::allow(asker, &mut response);
    response
}

async fn route(
    caller: &Caller,
    request: Request<Incoming>,
    asker: &Asker,
) -> Result<Response<Payload>, Refusal> {
    let (head, body) = request.into_parts();
    if let Some(probe) = observe::probe(&caller.shared.engine, head.uri.path()) {
        return if head.method == Method::GET { Ok(probe) } else { Err(Refusal::method("GET")) };
    }
    let query = url::pairs(head.uri.query().unwrap_or_default());
    // Elsewhere a GET may change something, and an old browser sends cookies with what other sites' links ask for.
    let may_use_cookie = asker.may_use_cookie() && head.uri.path().starts_with("/v1/");
    let login = login::login(&caller.shared, &head.headers, &query, may_use_cookie)?;
    let mut asked = Asked {
        method: head.method,
        raw_path: head.uri.path().to_owned(),
        path: url::segments(head.uri.path()).into(),
        query,
        headers: head.headers,
        body,
        login,
        has_credentials: asker.is_named,
    };
    if asked.path.front().is_some_and(|first| first == b"v1") {
        asked.path.pop_front();
        return v1::answer(caller, asked).await;
    }
    asked.check_body()?;
    if asked.raw_path == observe::METRICS {
        return observe::metrics(caller, asked).await;
    }
    if asked.path.front().is_some_and(|first| pusher::is_path(first)) {
        return pusher::answer(caller, asked).await;
    }
    if ![Method::GET, Method::POST, Method::PUT].contains(&asked.method) {
        return Err(Refusal::method("GET, POST, PUT"));
    }
    upstash::answer(caller, asked).await
}

impl Asked {
    /// Logs in.
    pub(crate) async fn session(&self, caller: &Caller) -> Result<Session, Refusal> {
        if self.login.is_none() {
            origin::check_host(&self.headers)?;
        }
        Session::open(caller, self.login.as_ref()).await
    }

    /// Refuses a body where none is read: while it is unread, it takes longer to notice that its client has left, and a command
    /// that waits would go on for nobody.
    pub(crate) fn check_body(&self) -> Result<(), Refusal> {
        match self.method == Method::GET && !self.body.is_end_stream() {
            true => Err(Refusal::bad("ERR A GET takes no body")),
            false => Ok(()),
        }
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&[u8]> {
        url::value(&self.query, name)
    }

    /// Reads the body, which counts for as long as `held` does. Who may send one is known by then.
    pub(crate) async fn body(&mut self, caller: &Caller, held: &mut Held) -> Result<Vec<u8>, Refusal> {
        let most = usize::try_from(caller.shared.engine.config().http_max_body_size).unwrap_or(usize::MAX);
        let too_long =
            || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "ERR The body is longer than http-max-body-size");
        let announced =
            self.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > most) {
            return Err(too_long());
        }
        let reading = async {
            let mut bytes = Vec::new();
            while let Some(frame) = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                let frame = frame.map_err(|_| Refusal::bad("ERR The body broke off"))?;
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > most {
                    return Err(too_long());
                }
                bytes.extend_from_slice(&data);
                if !held.set(bytes.capacity() * BODY_COPIES) {
                    return Err(no_room());
                }
            }
            Ok(bytes)
        };
        let late = Refusal::new(StatusCode::REQUEST_TIMEOUT, "ERR The body took too long");
        timeout(BODY_TIME_MAX, reading).await.map_err(|_| late)?
    }
}
