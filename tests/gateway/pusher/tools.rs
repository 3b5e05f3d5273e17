//! A page and a service, as their libraries would have them.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest as _, Md5};
use serde_json::{Value as Json, json};
use sterna_protocol::pusher::signature;
use sterna_protocol::websocket::{Opcode, frame};
use sterna_tests::http::{Answer, HttpServer};

pub(super) const KEY: &str = "app-key";
pub(super) const SECRET: &str = "app-secret";

/// A server with an app, and these words.
pub(super) fn start(shards: usize, args: &[&str]) -> HttpServer {
    let app = ["--pusher-app", "1 app-key app-secret"];
    HttpServer::start(shards, &[&app[..], args].concat())
}

/// A page's connection.
pub(super) struct Page<S: Read + Write = TcpStream> {
    socket: BufReader<S>,
    pub(super) id: String,
}

/// The bytes of a frame of a client.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    frame(&mut plain, Opcode::Text, payload);
    let (mask, header) = ([1, 2, 3, 4], plain.len() - payload.len());
    let mut out = plain[..header].to_vec();
    (out[0], out[1]) = (first, out[1] | 0x80);
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    out
}

/// The handshake of a page.
pub(crate) fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl Page {
    /// Connects and is told its name.
    pub(super) fn open(server: &HttpServer) -> Page {
        Page::over(server.connect(), &format!("/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false"))
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }
}

impl<S: Read + Write> Page<S> {
    /// The same over this stream.
    pub(super) fn over(stream: S, path: &str) -> Page<S> {
        let mut page = Page::shake_hands(stream, path);
        let (event, _, data) = page.event();
        assert_eq!(
            (event.as_str(), &data["activity_timeout"]),
            ("pusher:connection_established", &json!(20))
        );
        page.id = data["socket_id"].as_str().expect("a name").to_owned();
        page
    }

    /// Connects, and is told nothing yet.
    pub(super) fn shake_hands(mut stream: S, path: &str) -> Page<S> {
        stream.write_all(handshake(path, "").as_bytes()).expect("the server reads");
        let mut page = Page { socket: BufReader::new(stream), id: String::new() };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(page.bytes(1));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        page
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.socket.read_exact(&mut bytes).expect("the server goes on");
        bytes
    }

    pub(super) fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&masked(first, payload));
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("the server reads");
    }

    /// Says something by the protocol.
    pub(super) fn say(&mut self, message: &Json) {
        self.send(0x81, message.to_string().as_bytes());
    }

    /// The next frame.
    pub(super) fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2);
        let len = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.bytes(2).try_into().expect("two bytes"))),
            127 => u64::from_be_bytes(self.bytes(8).try_into().expect("eight bytes")) as usize,
            short => usize::from(short),
        };
        (head[0], self.bytes(len))
    }

    /// The next message.
    pub(super) fn told(&mut self) -> Json {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x81, "{}", payload.escape_ascii());
        serde_json::from_slice(&payload).expect("JSON")
    }

    /// The next event: name, channel, and what its data holds, or the data itself if that is no JSON.
    pub(super) fn event(&mut self) -> (String, String, Json) {
        let told = self.told();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        let data = text("data");
        let data = serde_json::from_str(&data).unwrap_or(Json::String(data));
        (text("event"), text("channel"), data)
    }

    /// The code with which it is closed next.
    pub(super) fn closed(&mut self) -> u16 {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "{}", payload.escape_ascii());
        let mut rest = Vec::new();
        // Whether it ends in order or not.
        let _ = self.socket.read_to_end(&mut rest);
        assert!(rest.is_empty(), "something behind the end: {}", rest.escape_ascii());
        u16::from_be_bytes([payload[0], payload[1]])
    }

    /// Subscribes, and returns what that is answered with.
    pub(super) fn subscribe(&mut self, channel: &str) -> Json {
        self.subscribe_as(channel, None)
    }

    /// The same with `channel_data`.
    pub(super) fn subscribe_as(&mut self, channel: &str, data: Option<&str>) -> Json {
        let mut asked = json!({ "channel": channel, "auth": self.auth(channel, data) });
        if let Some(data) = data {
            asked["channel_data"] = data.into();
        }
        self.say(&json!({ "event": "pusher:subscribe", "data": asked }));
        let (event, of, data) = self.event();
        assert_eq!(
            (event.as_str(), of.as_str()),
            ("pusher_internal:subscription_succeeded", channel),
            "{data}"
        );
        data
    }

    /// The signature for a channel.
    pub(super) fn auth(&self, channel: &str, data: Option<&str>) -> String {
        let text = match data {
            Some(data) => format!("{}:{channel}:{data}", self.id),
            None => format!("{}:{channel}", self.id),
        };
        format!("{KEY}:{}", signature(SECRET.as_bytes(), &[text.as_bytes()]))
    }

    /// Whether nothing has come: it asks for a pong, and gets only that.
    pub(super) fn assert_quiet(&mut self) {
        self.say(&json!({ "event": "pusher:ping", "data": {} }));
        assert_eq!(self.event().0, "pusher:pong");
    }
}

/// A path with the parameters of a signature.
pub(super) fn signed(method: &str, path: &str, query: &str, body: &str, secret: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut pairs =
        vec![format!("auth_key={KEY}"), format!("auth_timestamp={now}"), "auth_version=1.0".to_owned()];
    if !body.is_empty() {
        let hash: String = Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.push(format!("body_md5={hash}"));
    }
    pairs.extend(query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned));
    pairs.sort();
    let text = format!("{method}\n{path}\n{}", pairs.join("&"));
    let signature = signature(secret.as_bytes(), &[text.as_bytes()]);
    format!("{path}?{}&auth_signature={signature}", pairs.join("&"))
}

/// A request to the API with a good signature.
pub(super) fn ask(server: &HttpServer, method: &str, path: &str, query: &str, body: &str) -> Answer {
    server.send(method, &signed(method, path, query, body, SECRET), "", body)
}

/// Sends an event by the API.
pub(super) fn trigger(server: &HttpServer, event: &Json) -> Json {
    let answer = ask(server, "POST", "/apps/1/events", "", &event.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}
