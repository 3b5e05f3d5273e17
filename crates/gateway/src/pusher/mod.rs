//! Pusher's protocol: pages by WebSocket (`/app/…`), and the signed API of services (`/apps/…`).
//!
//! An app is a line of `pusher-app`. What it asks for is run as the app's user, for whom the key and the signature vouch.

mod api;
mod channels;
mod events;
mod signed;
pub(crate) mod socket;

use hyper::{Method, Response, StatusCode};

use crate::accept::Caller;
use crate::response::{Payload, Refusal};
use crate::route::Asked;

/// Whether a path is Pusher's.
pub(crate) fn is_path(first: &[u8]) -> bool {
    first == b"app" || first == b"apps"
}

/// Answers a request whose path begins with `app` or `apps`.
pub(crate) async fn answer(caller: &Caller, asked: Asked) -> Result<Response<Payload>, Refusal> {
    let path: Vec<&[u8]> = asked.path.iter().map(Vec::as_slice).collect();
    match path[..] {
        [b"app", _] if asked.method == Method::GET => socket::open(caller, &asked).await,
        [b"app", _] => Err(Refusal::method("GET")),
        [b"apps", ..] => api::answer(caller, asked).await,
        _ => Err(not_found()),
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "ERR There is nothing at this path")
}
