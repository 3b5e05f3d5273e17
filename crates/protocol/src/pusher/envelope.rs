//! What is published to a channel, as an event for pages.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{SocketId, frames::framed, is_reserved};
use crate::event::json_string;

/// See the module above.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    socket_id: Option<Cow<'a, str>>,
}

impl Envelope<'_> {
    fn read(payload: &[u8]) -> Option<Envelope<'_>> {
        if payload.first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice::<Envelope<'_>>(payload).ok().filter(|envelope| !is_reserved(&envelope.event))
    }
}

/// What is published for an event. `data`: JSON.
pub fn envelope(event: &str, data: &str, user_id: Option<&str>, socket_id: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.len() + data.len() + 64);
    out.extend_from_slice(br#"{"event":"#);
    json_string(&mut out, event.as_bytes());
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(data.as_bytes());
    for (name, value) in [(&br#","user_id":"#[..], user_id), (br#","socket_id":"#, socket_id)] {
        if let Some(value) = value {
            out.extend_from_slice(name);
            json_string(&mut out, value.as_bytes());
        }
    }
    out.push(b'}');
    out
}

/// The page that is not sent what is published, if there is one.
pub fn except(payload: &[u8]) -> Option<SocketId> {
    // Most name none, and are not read for that.
    memmem::find(payload, br#""socket_id""#)?;
    SocketId::parse(&Envelope::read(payload)?.socket_id?)
}

/// Appends the frame of an event for what was published.
pub fn message(out: &mut Vec<u8>, channel: &[u8], payload: &[u8]) {
    framed(out, |out| {
        let envelope = Envelope::read(payload);
        out.extend_from_slice(br#"{"event":"#);
        json_string(out, envelope.as_ref().map_or(b"message", |envelope| envelope.event.as_bytes()));
        out.extend_from_slice(br#","channel":"#);
        json_string(out, channel);
        match &envelope {
            None => {
                out.extend_from_slice(br#","data":"#);
                json_string(out, payload);
            }
            Some(envelope) => {
                if let Some(data) = envelope.data {
                    out.extend_from_slice(br#","data":"#);
                    match data.get() {
                        text if text.starts_with('"') => out.extend_from_slice(text.as_bytes()),
                        json => json_string(out, json.as_bytes()),
                    }
                }
                if let Some(user) = &envelope.user_id {
                    out.extend_from_slice(br#","user_id":"#);
                    json_string(out, user.as_bytes());
                }
            }
        }
        out.push(b'}');
    });
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::text_of;
    use super::*;

    fn page(payload: &[u8]) -> String {
        let mut out = Vec::new();
        message(&mut out, b"ch", payload);
        text_of(&out)
    }

    #[test]
    fn an_envelope_is_its_event_and_anything_else_a_message() {
        let cases: [(&[u8], &str); 12] = [
            (br#"{"event":"e","data":"text"}"#, r#"{"event":"e","channel":"ch","data":"text"}"#),
            (br#"{"event":"e","data":{"a":[1]}}"#, r#"{"event":"e","channel":"ch","data":"{\"a\":[1]}"}"#),
            (br#"{"data":5,"event":"e","x":[{}]}"#, r#"{"event":"e","channel":"ch","data":"5"}"#),
            (br#"{"event":"e"}"#, r#"{"event":"e","channel":"ch"}"#),
            (
                br#"{"event":"client-e","data":1,"user_id":"7","socket_id":"1.2"}"#,
                r#"{"event":"client-e","channel":"ch","data":"1","user_id":"7"}"#,
            ),
            (br#"{"event":"\u0022","data":"\u0022"}"#, r#"{"event":"\"","channel":"ch","data":"\u0022"}"#),
            (b"hello", r#"{"event":"message","channel":"ch","data":"hello"}"#),
            (b"", r#"{"event":"message","channel":"ch","data":""}"#),
            (br#"{"data":1}"#, r#"{"event":"message","channel":"ch","data":"{\"data\":1}"}"#),
            (br#"{"event":7}"#, r#"{"event":"message","channel":"ch","data":"{\"event\":7}"}"#),
            (b"\xff{", "{\"event\":\"message\",\"channel\":\"ch\",\"data\":\"\u{fffd}{\"}"),
            (
                br#"{"event":"pusher:error","data":1}"#,
                r#"{"event":"message","channel":"ch","data":"{\"event\":\"pusher:error\",\"data\":1}"}"#,
            ),
        ];
        for (payload, expected) in cases {
            assert_eq!(page(payload), expected, "{}", payload.escape_ascii());
        }
        assert!(page(br#"{"event":"pusher_internal:member_added"}"#).starts_with(r#"{"event":"message""#));
    }

    #[test]
    fn what_is_made_of_an_event_is_read_as_it() {
        let payload = envelope("client-\"e\"", r#"{"a":1}"#, Some("7"), Some("12.34"));
        assert_eq!(except(&payload), Some(SocketId { nonce: 12, client: 34 }));
        let expected = r#"{"event":"client-\"e\"","channel":"ch","data":"{\"a\":1}","user_id":"7"}"#;
        assert_eq!(page(&payload), expected);
        for none in [&br#"{"event":"e","data":"\"socket_id\":\"1.2\""}"#[..], br#""socket_id":"1.2""#, b"x"] {
            assert_eq!(except(none), None);
        }
    }

    #[test]
    fn a_nest_of_brackets_does_no_harm() {
        let deep = [br#"{"event":"e","data":"#, "[".repeat(100_000).as_bytes()].concat();
        assert!(page(&deep).starts_with(r#"{"event":"message""#));
        let closed = format!(r#"{{"event":"e","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(page(closed.as_bytes()).starts_with(r#"{"event":"#));
    }
}
