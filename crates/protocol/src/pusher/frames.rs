//! What the protocol itself tells pages, each as a frame.

use super::SocketId;
use crate::event::json_string;
use crate::websocket::{Opcode, frame};

/// Whether the page is there.
pub const PING: &[u8] = br#"{"event":"pusher:ping","data":"{}"}"#;

/// That the server is there.
pub const PONG: &[u8] = br#"{"event":"pusher:pong","data":"{}"}"#;

/// Bytes of the header of a frame that is neither very short nor very long.
const HEADER_BYTES: usize = 4;

/// Appends a frame of what `write` appends, without a copy in between.
pub(super) fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | Opcode::Text as u8, 126, 0, 0]);
    write(out);
    let body = start + HEADER_BYTES;
    let len = out.len() - body;
    match len {
        0..=125 => {
            out[start + 1] = len as u8;
            out.copy_within(body.., start + 2);
            out.truncate(start + 2 + len);
        }
        126..=0xFFFF => out[start + 2..body].copy_from_slice(&(len as u16).to_be_bytes()),
        _ => {
            let payload = out.split_off(body);
            out.truncate(start);
            frame(out, Opcode::Text, &payload);
        }
    }
}

/// An event of the protocol; `data` writes the JSON that its data holds as a string.
fn told(out: &mut Vec<u8>, event: &str, channel: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
    let mut json = Vec::new();
    data(&mut json);
    framed(out, |out| {
        out.extend_from_slice(br#"{"event":"#);
        json_string(out, event.as_bytes());
        if let Some(channel) = channel {
            out.extend_from_slice(br#","channel":"#);
            json_string(out, channel.as_bytes());
        }
        out.extend_from_slice(br#","data":"#);
        json_string(out, &json);
        out.push(b'}');
    });
}

/// A JSON string behind what names it.
fn string(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    json_string(out, value.as_bytes());
}

fn number(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The connection is there. `activity_timeout_s`: after how long a silence the page asks whether it still is.
pub fn established(out: &mut Vec<u8>, socket: SocketId, activity_timeout_s: u32) {
    told(out, "pusher:connection_established", None, |out| {
        string(out, r#"{"socket_id":"#, &socket.to_string());
        number(out, r#","activity_timeout":"#, activity_timeout_s);
        out.push(b'}');
    });
}

/// Something is wrong.
pub fn error(out: &mut Vec<u8>, code: u16, message: &str) {
    told(out, "pusher:error", None, |out| {
        number(out, r#"{"code":"#, code);
        string(out, r#","message":"#, message);
        out.push(b'}');
    });
}

/// A subscription is there.
pub fn subscribed(out: &mut Vec<u8>, channel: &str) {
    told(out, "pusher_internal:subscription_succeeded", Some(channel), |out| out.extend_from_slice(b"{}"));
}

/// A subscription to a presence channel is there, with its members: ID, and what is said of him as JSON.
pub fn subscribed_to_presence<'m>(
    out: &mut Vec<u8>,
    channel: &str,
    members: impl Iterator<Item = (&'m str, &'m str)> + Clone,
) {
    told(out, "pusher_internal:subscription_succeeded", Some(channel), |out| {
        out.extend_from_slice(br#"{"presence":{"ids":["#);
        for (i, (id, _)) in members.clone().enumerate() {
            string(out, if i > 0 { "," } else { "" }, id);
        }
        out.extend_from_slice(br#"],"hash":{"#);
        for (i, (id, info)) in members.clone().enumerate() {
            string(out, if i > 0 { "," } else { "" }, id);
            out.push(b':');
            out.extend_from_slice(info.as_bytes());
        }
        number(out, r#"},"count":"#, members.count());
        out.extend_from_slice(b"}}");
    });
}

/// There is no subscription; `status` is one of HTTP's.
pub fn subscription_error(out: &mut Vec<u8>, channel: &str, kind: &str, message: &str, status: u16) {
    told(out, "pusher:subscription_error", Some(channel), |out| {
        string(out, r#"{"type":"#, kind);
        string(out, r#","error":"#, message);
        number(out, r#","status":"#, status);
        out.push(b'}');
    });
}

/// A member's first connection has come; `info` is JSON.
pub fn member_added(out: &mut Vec<u8>, channel: &str, id: &str, info: &str) {
    told(out, "pusher_internal:member_added", Some(channel), |out| {
        string(out, r#"{"user_id":"#, id);
        out.extend_from_slice(br#","user_info":"#);
        out.extend_from_slice(info.as_bytes());
        out.push(b'}');
    });
}

/// A member's last connection has gone.
pub fn member_removed(out: &mut Vec<u8>, channel: &str, id: &str) {
    told(out, "pusher_internal:member_removed", Some(channel), |out| {
        string(out, r#"{"user_id":"#, id);
        out.push(b'}');
    });
}

/// The channel keeps its last event, and there is none.
pub fn cache_miss(out: &mut Vec<u8>, channel: &str) {
    told(out, "pusher:cache_miss", Some(channel), |out| out.extend_from_slice(b"{}"));
}

/// The page is this user's.
pub fn signed_in(out: &mut Vec<u8>, user_data: &str) {
    told(out, "pusher:signin_success", None, |out| {
        string(out, r#"{"user_data":"#, user_data);
        out.push(b'}');
    });
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::websocket::frame_len;

    /// The text of the one frame that there is.
    pub(in super::super) fn text_of(bytes: &[u8]) -> String {
        assert_eq!((bytes[0], frame_len(bytes)), (0x81, Some(bytes.len())));
        let header = match bytes[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        String::from_utf8(bytes[header..].to_vec()).unwrap()
    }

    /// Event, channel, and what the data holds.
    fn read(write: impl FnOnce(&mut Vec<u8>)) -> (String, Value, Value) {
        let mut out = Vec::new();
        write(&mut out);
        let told: Value = serde_json::from_str(&text_of(&out)).unwrap();
        let data = serde_json::from_str(told["data"].as_str().unwrap()).unwrap();
        (told["event"].as_str().unwrap().to_owned(), told["channel"].clone(), data)
    }

    #[test]
    fn frames_of_every_length_are_framed_in_place() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let (mut one, mut other) = (b"before".to_vec(), b"before".to_vec());
            framed(&mut one, |out| out.extend(std::iter::repeat_n(b'x', len)));
            frame(&mut other, Opcode::Text, &vec![b'x'; len]);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_the_protocol_tells_is_json_in_json() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let told = read(|out| established(out, SocketId { nonce: 1, client: 2 }, 30));
        assert_eq!(
            (told.0.as_str(), told.2),
            ("pusher:connection_established", json(r#"{"socket_id":"1.2","activity_timeout":30}"#))
        );
        let told = read(|out| error(out, 4001, "no \"app\""));
        assert_eq!(told.2, json(r#"{"code":4001,"message":"no \"app\""}"#));
        let told =
            read(|out| subscribed_to_presence(out, "presence-c", [("a", "{}"), ("b\"", "null")].into_iter()));
        assert_eq!(told.1, "presence-c");
        assert_eq!(told.2, json(r#"{"presence":{"ids":["a","b\""],"hash":{"a":{},"b\"":null},"count":2}}"#));
        let told = read(|out| subscribed_to_presence(out, "presence-c", std::iter::empty()));
        assert_eq!(told.2, json(r#"{"presence":{"ids":[],"hash":{},"count":0}}"#));
        assert_eq!(
            read(|out| member_added(out, "c", "7", r#"{"n":1}"#)).2,
            json(r#"{"user_id":"7","user_info":{"n":1}}"#)
        );
        assert_eq!(read(|out| member_removed(out, "c", "7")).2, json(r#"{"user_id":"7"}"#));
        assert_eq!(read(|out| subscribed(out, "c")).2, json("{}"));
        assert_eq!(read(|out| cache_miss(out, "c")).0, "pusher:cache_miss");
        assert_eq!(read(|out| signed_in(out, r#"{"id":"7"}"#)).2, json(r#"{"user_data":"{\"id\":\"7\"}"}"#));
        let told = read(|out| subscription_error(out, "c", "AuthError", "no", 401));
        assert_eq!(told.2, json(r#"{"type":"AuthError","error":"no","status":401}"#));
        for text in [PING, PONG] {
            assert!(serde_json::from_slice::<Value>(text).is_ok());
        }
    }
}
