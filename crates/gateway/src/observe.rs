//! What those who watch over the server ask for: is it there, may it be sent work, and what does it do.
//!
//! | path | who may | answer |
//! |---|---|---|
//! | `/healthz` | everybody | 200 as long as the process answers |
//! | `/readyz` | everybody | 200; 503 while it loads or stops |
//! | `/metrics` | who may run INFO; with `http-metrics all` everybody | figures for Prometheus |
//!
//! The first two say one word and nothing about the server's content, so that a probe needs no password.

use std::sync::Arc;

use hyper::header::ACCEPT;
use hyper::{HeaderMap, Method, Response, StatusCode};
use sterna_config::HttpMetrics;
use sterna_server::{Engine, MetricsFormat};

use crate::accept::Caller;
use crate::response::{Payload, Refusal, json_response, text_response};
use crate::route::Asked;

/// Where the figures are.
pub(crate) const METRICS: &str = "/metrics";

/// What a scraper says it takes, if it takes the newer form.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// The answer to a probe; `None`: the path is none of theirs.
pub(crate) fn probe(engine: &Engine, path: &str) -> Option<Response<Payload>> {
    match path {
        "/healthz" => Some(json_response(StatusCode::OK, br#"{"status":"ok"}"#.to_vec(), None)),
        "/readyz" => Some(health(engine)),
        _ => None,
    }
}

/// Whether it may be sent work.
pub(crate) fn health(engine: &Engine) -> Response<Payload> {
    let (status, word) = match () {
        () if engine.is_stopping() => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        () if engine.is_loading() => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        () => (StatusCode::OK, "ok"),
    };
    json_response(status, format!(r#"{{"status":"{word}"}}"#).into_bytes(), None)
}

/// The figures, for those who may have them. Others wait while they are written for one.
pub(crate) async fn metrics(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    if asked.method != Method::GET {
        return Err(Refusal::method("GET"));
    }
    let engine = &caller.shared.engine;
    if engine.config().http_metrics == HttpMetrics::Users {
        let mut session = asked.session(caller).await?;
        session.command(&[b"INFO", b"server"]).await?;
    }
    let format = format_for(&asked.headers);
    // Whoever asks may leave before the figures are there: the turn is the task's.
    let turn = Arc::clone(&caller.shared.metrics).lock_owned().await;
    let engine = engine.clone();
    // A script may keep it waiting, and this thread serves everybody.
    let text = tokio::task::spawn_blocking(move || {
        let text = engine.metrics(format);
        drop(turn);
        text
    })
    .await;
    let text = text
        .map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ERR The server is on its way to stop"))?;
    Ok(text_response(content_type(format), text.into_bytes()))
}

fn format_for(headers: &HeaderMap) -> MetricsFormat {
    let accepted = headers.get_all(ACCEPT);
    let is_new = |value: &hyper::header::HeaderValue| {
        value.to_str().is_ok_and(|types| types.to_ascii_lowercase().contains(OPEN_METRICS))
    };
    if accepted.iter().any(is_new) { MetricsFormat::OpenMetrics } else { MetricsFormat::Text }
}

fn content_type(format: MetricsFormat) -> &'static str {
    match format {
        MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        MetricsFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
    }
}
