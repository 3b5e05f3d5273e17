//! What a page says, and what is published: an event is one frame of JSON, and what is made of a trigger is read as it.

use serde_json::Value;

use crate::within;
use sterna_protocol::pusher::{self, Request};
use sterna_protocol::websocket::frame_len;

/// The JSON of the one frame that there is.
fn json(frame: &[u8]) -> Value {
    assert_eq!(frame_len(frame), Some(frame.len()));
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    serde_json::from_slice(&frame[header..]).unwrap_or(Value::Null)
}

pub fn run(input: &[u8]) {
    within((1 << 16) + 200 * input.len(), || {
        let mut frame = Vec::new();
        pusher::message(&mut frame, b"ch", input);
        let event = json(&frame);
        // Where it is none it nests deeper than this reader goes.
        if let Some(name) = event["event"].as_str() {
            assert!(!name.starts_with("pusher:") && !name.starts_with("pusher_internal:"));
            assert_eq!(event["channel"], "ch");
        }
        pusher::except(input);
        let Ok(text) = str::from_utf8(input) else { return };
        pusher::member(text);
        pusher::user_id(text);
        pusher::is_name(text);
        if let Ok(Request::Trigger { event, data, .. }) = pusher::request(text) {
            let envelope = pusher::envelope(&event, &data, Some("u"), Some("1.2"));
            assert!(pusher::except(&envelope).is_some(), "whoever triggers it is not sent it");
            frame.clear();
            pusher::message(&mut frame, b"ch", &envelope);
            let told = json(&frame);
            assert_eq!((told["event"].as_str(), told["user_id"].as_str()), (Some(&event[..]), Some("u")));
        }
    });
}
