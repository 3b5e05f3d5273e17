//! What a page asks for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What is no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPusher;

/// A message of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether the server is there.
    Ping,
    /// That the page is there.
    Pong,
    /// To be sent what is sent to a channel.
    Subscribe {
        /// Its name.
        channel: String,
        /// Key and signature, where one is needed.
        auth: String,
        /// Who the page is to the members of a presence channel, as it was signed.
        channel_data: Option<String>,
    },
    /// Not to be sent it any longer.
    Unsubscribe {
        /// The channel.
        channel: String,
    },
    /// To act as a user.
    SignIn {
        /// Key and signature.
        auth: String,
        /// Who, as it was signed.
        user_data: String,
    },
    /// An event for the other members of a channel.
    Trigger {
        /// Its name, which begins with `client-`.
        event: String,
        /// The channel.
        channel: String,
        /// JSON.
        data: String,
    },
    /// Nothing that the server knows; newer clients may say more.
    Other,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    channel_data: Option<String>,
    #[serde(default)]
    user_data: Option<String>,
}

/// Reads a message.
pub fn request(text: &str) -> Result<Request, NotPusher> {
    let said: Said<'_> = serde_json::from_str(text).map_err(|_| NotPusher)?;
    match &*said.event {
        "pusher:ping" => Ok(Request::Ping),
        "pusher:pong" => Ok(Request::Pong),
        "pusher:subscribe" => {
            let asked = asked(said.data)?;
            Ok(Request::Subscribe {
                channel: asked.channel.ok_or(NotPusher)?,
                auth: asked.auth.unwrap_or_default(),
                channel_data: asked.channel_data,
            })
        }
        "pusher:unsubscribe" => {
            Ok(Request::Unsubscribe { channel: asked(said.data)?.channel.ok_or(NotPusher)? })
        }
        "pusher:signin" => {
            let asked = asked(said.data)?;
            let user_data = asked.user_data.ok_or(NotPusher)?;
            Ok(Request::SignIn { auth: asked.auth.unwrap_or_default(), user_data })
        }
        event if event.starts_with("client-") => Ok(Request::Trigger {
            event: event.to_owned(),
            channel: said.channel.ok_or(NotPusher)?.into_owned(),
            data: said.data.map_or("null", RawValue::get).to_owned(),
        }),
        _ => Ok(Request::Other),
    }
}

/// What stands in `data`: an object, or a string that holds one.
fn asked(data: Option<&RawValue>) -> Result<Asked, NotPusher> {
    let json = data.ok_or(NotPusher)?.get();
    if json.starts_with('"') {
        let inner: String = serde_json::from_str(json).map_err(|_| NotPusher)?;
        return serde_json::from_str(&inner).map_err(|_| NotPusher);
    }
    serde_json::from_str(json).map_err(|_| NotPusher)
}

/// A member of a presence channel.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: String,
    /// What is said of him: JSON.
    pub info: String,
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

/// Reads `channel_data`.
pub fn member(channel_data: &str) -> Option<Member> {
    let data: ChannelData<'_> = serde_json::from_str(channel_data).ok()?;
    let info = data.user_info.map_or("null", RawValue::get).to_owned();
    Some(Member { id: id(data.user_id)?, info })
}

#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// Reads the ID of `user_data`.
pub fn user_id(user_data: &str) -> Option<String> {
    id(serde_json::from_str::<UserData<'_>>(user_data).ok()?.id)
}

/// An ID is a string or a number, and not empty.
fn id(value: &RawValue) -> Option<String> {
    let json = value.get();
    let text = if json.starts_with('"') { serde_json::from_str(json).ok()? } else { json.to_owned() };
    let is_id = json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    (is_id && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_data_as_an_object_or_in_a_string() {
        let channel = || "c".to_owned();
        let plain = || Request::Subscribe { channel: channel(), auth: String::new(), channel_data: None };
        for (text, expected) in [
            (r#"{"event":"pusher:ping","data":{}}"#, Request::Ping),
            (r#"{"event":"pusher:pong"}"#, Request::Pong),
            (r#"{"event":"pusher:subscribe","data":{"channel":"c"}}"#, plain()),
            (r#"{"event":"pusher:subscribe","data":"{\"channel\":\"c\"}"}"#, plain()),
            (r#"{"event":"pusher:subscribe","data":{"auth":null,"channel":"c","x":[1]}}"#, plain()),
            (
                r#"{"event":"pusher:subscribe","data":{"auth":"k:s","channel_data":"{}","channel":"c"}}"#,
                Request::Subscribe {
                    channel: channel(),
                    auth: "k:s".into(),
                    channel_data: Some("{}".into()),
                },
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":"c"}}"#,
                Request::Unsubscribe { channel: channel() },
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}"#,
                Request::SignIn { auth: "k:s".into(), user_data: "{}".into() },
            ),
            (
                r#"{"event":"client-e","channel":"c","data":{"a": 1}}"#,
                Request::Trigger { event: "client-e".into(), channel: channel(), data: r#"{"a": 1}"#.into() },
            ),
            (
                r#"{"event":"client-e","channel":"c"}"#,
                Request::Trigger { event: "client-e".into(), channel: channel(), data: "null".into() },
            ),
            (r#"{"event":"other"}"#, Request::Other),
        ] {
            assert_eq!(request(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:subscribe","data":{}}"#,
            r#"{"event":"pusher:subscribe","data":"x"}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
            r#"{"event":"client-e"}"#,
            r#"{"event":"pusher:signin","data":{}}"#,
        ] {
            assert_eq!(request(text), Err(NotPusher), "{text}");
        }
    }

    #[test]
    fn a_user_is_a_string_or_a_number() {
        let of = |id: &str, info: &str| Some(Member { id: id.to_owned(), info: info.to_owned() });
        assert_eq!(member(r#"{"user_id":10,"user_info":{"name":"x"}}"#), of("10", r#"{"name":"x"}"#));
        assert_eq!(member(r#"{"user_id":"\u0061"}"#), of("a", "null"));
        assert_eq!(user_id(r#"{"id":"12345","user_info":{}}"#).as_deref(), Some("12345"));
        for wrong in
            ["", "{}", r#"{"user_id":""}"#, r#"{"user_id":null}"#, r#"{"user_id":{}}"#, r#"{"user_id":true}"#]
        {
            assert_eq!(member(wrong), None, "{wrong}");
        }
    }
}
