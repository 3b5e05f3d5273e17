//! What HTTP clients are answered: JSON, or a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use sterna_protocol::event::json_string;
use tokio::sync::mpsc::Receiver;

use crate::budget::Held;
use crate::events::Events;

/// A body.
pub(crate) enum Payload {
    /// All of it.
    Whole {
        bytes: Option<Bytes>,
        #[expect(dead_code, reason = "it counts until the body is dropped")]
        held: Option<Held>,
    },
    /// What comes, as it comes.
    Events(Box<Events>),
    /// Figures, once a second.
    Live(Receiver<Bytes>),
}

/// Why a request is not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// What the client is told beside the text, if there is something: the methods that would do.
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into(), header: None }
    }

    /// The path takes other methods: these.
    pub(crate) fn method(allow: &'static str) -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "ERR Method not allowed").with_header(ALLOW, allow)
    }

    /// Has the answer have a header.
    pub(crate) fn with_header(self, name: HeaderName, value: &'static str) -> Refusal {
        Refusal { header: Some((name, value)), ..self }
    }

    /// The client's request is wrong.
    pub(crate) fn bad(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    /// What the engine answers, without the leading sign.
    pub(crate) fn of_reply(error: &[u8]) -> Refusal {
        let word = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        let status = match word {
            b"WRONGPASS" | b"NOAUTH" => StatusCode::UNAUTHORIZED,
            b"NOPERM" | b"DENIED" => StatusCode::FORBIDDEN,
            b"LOADING" | b"BUSY" | b"OOM" | b"MISCONF" | b"CLUSTERDOWN" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, String::from_utf8_lossy(error))
    }

    /// `{"error": …}`
    pub(crate) fn response(&self) -> Response<Payload> {
        let mut body = br#"{"error":"#.to_vec();
        json_string(&mut body, self.text.as_bytes());
        body.push(b'}');
        let mut response = json_response(self.status, body, None);
        if self.status == StatusCode::UNAUTHORIZED {
            // Not Basic: a browser would ask its user for a password, and send it with whatever any page asks for.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((name, value)) = &self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A response with a body of JSON.
pub(crate) fn json_response(status: StatusCode, body: Vec<u8>, held: Option<Held>) -> Response<Payload> {
    let mut response = empty(status);
    *response.body_mut() = Payload::Whole { bytes: Some(body.into()), held };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response with a body of text of this type.
pub(crate) fn text_response(kind: &'static str, body: Vec<u8>) -> Response<Payload> {
    let mut response = empty(StatusCode::OK);
    *response.body_mut() = Payload::Whole { bytes: Some(body.into()), held: None };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Payload> {
    let mut response = Response::new(Payload::Whole { bytes: None, held: None });
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response that goes on.
pub(crate) fn event_stream(events: Events) -> Response<Payload> {
    stream_of(Payload::Events(Box::new(events)))
}

/// The same for figures.
pub(crate) fn live_stream(events: Receiver<Bytes>) -> Response<Payload> {
    stream_of(Payload::Live(events))
}

fn stream_of(events: Payload) -> Response<Payload> {
    let mut response = empty(StatusCode::OK);
    *response.body_mut() = events;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx and others who know it would keep events until they have a bufferful.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Payload::Whole { bytes, .. } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Payload::Live(events) => {
                events.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Payload::Events(events) => {
                events.poll_next(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Payload::Whole { bytes: None, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Payload::Events(_) | Payload::Live(_) => SizeHint::default(),
        }
    }
}
