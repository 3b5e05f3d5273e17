//! The API of services: `/apps/ID/…`, signed.
//!
//! | request | run as the app's user |
//! |---|---|
//! | `POST events`, `POST batch_events` | PUBLISH to each channel |
//! | `GET channels`, `GET channels/NAME`, `GET channels/NAME/users` | PUBSUB CHANNELS, PUBSUB NUMSUB |
//! | `POST users/ID/terminate_connections` | – |

use hyper::{Method, Response, StatusCode};
use sterna_config::PusherApp;

use super::signed::{BodyHash, Signed, now_s};
use super::{channels, events, not_found};
use crate::accept::Caller;
use crate::aside::aside;
use crate::response::{Payload, Refusal, json_response};
use crate::route::Asked;
use crate::session::Session;

/// Answers a request whose path begins with `apps`.
pub(super) async fn answer(caller: &Caller, mut asked: Asked) -> Result<Response<Payload>, Refusal> {
    let path: Vec<Vec<u8>> = asked.path.iter().cloned().collect();
    let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
    let [_, id, ref path @ ..] = path[..] else { return Err(not_found()) };
    let config = caller.shared.engine.config();
    // Who does not know an app's secret is not told whether there is such an app.
    let app = config
        .app(id)
        .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "ERR auth_key is not that of the app"))?;
    let (query, raw_path, method) = (asked.query.clone(), asked.raw_path.clone(), asked.method.clone());
    let signed = Signed { method: method.as_str(), path: &raw_path, query: &query };
    signed.check(app, now_s())?;
    check_method(&method, path)?;
    let mut session = Session::open_as(caller, &app.user).await?;
    let body = asked.body(caller, &mut session.held).await?;
    let hashed = move |body: Vec<u8>| (BodyHash::of(&body), body);
    let (hash, body) = aside(body.len(), &mut session.held, move || hashed(body)).await?;
    signed.check_body(&hash)?;
    match path[..] {
        [b"events"] => events::trigger(caller, app, session, body).await,
        [b"batch_events"] => events::trigger_batch(caller, app, session, body).await,
        [b"channels"] => channels::list(caller, app, session, &asked).await,
        [b"channels", channel] => channels::one(caller, app, session, channel, &asked).await,
        [b"channels", channel, b"users"] => channels::users(caller, app, session, channel).await,
        [b"users", user, b"terminate_connections"] => Ok(terminate(caller, app, user)),
        _ => Err(not_found()),
    }
}

/// Refuses a path that there is not, or a method that it has not.
fn check_method(method: &Method, path: &[&[u8]]) -> Result<(), Refusal> {
    let (takes, allow) = match path {
        [b"events" | b"batch_events"] | [b"users", _, b"terminate_connections"] => (Method::POST, "POST"),
        [b"channels"] | [b"channels", _] | [b"channels", _, b"users"] => (Method::GET, "GET"),
        _ => return Err(not_found()),
    };
    if *method == takes { Ok(()) } else { Err(Refusal::method(allow)) }
}

fn terminate(caller: &Caller, app: &PusherApp, user: &[u8]) -> Response<Payload> {
    caller.shared.engine.terminate(app, &String::from_utf8_lossy(user));
    json_response(StatusCode::OK, b"{}".to_vec(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_method() {
        let status = |method: &Method, path: &str| {
            let path: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            check_method(method, &path).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
        };
        for path in ["events", "batch_events", "users/7/terminate_connections"] {
            assert_eq!((status(&Method::POST, path), status(&Method::GET, path)), (200, 405), "{path}");
        }
        for path in ["channels", "channels/c", "channels/c/users"] {
            assert_eq!((status(&Method::GET, path), status(&Method::POST, path)), (200, 405), "{path}");
        }
        for path in ["", "event", "users/7", "channels/c/members"] {
            assert_eq!(status(&Method::GET, path), 404, "{path}");
        }
    }
}
