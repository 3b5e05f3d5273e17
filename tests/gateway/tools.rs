//! What the files of this test share.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sterna_tests::client::Client;
use sterna_tests::http::{Answer, HttpServer};
use sterna_tests::server::{Launch, Server, free_port, wait_for};
use sterna_tests::tls::Authority;

/// `Authorization` with a user's password.
pub(crate) fn bearer(user: &str, password: &str) -> String {
    format!("Authorization: Bearer {user}:{password}")
}

/// A server with an HTTPS port, and that port; its certificate is in `cert.pem` and `key.pem`.
pub(crate) fn https(authority: &Authority) -> (Server, u16) {
    let (identity, port) = (authority.identity(), free_port());
    let server = Launch::shards(2)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .args(&["--https-port", &port.to_string(), "--tls-auth-clients", "no"])
        .args(&["--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/key.pem"])
        .start();
    (server, port)
}

/// Runs a command that is written as JSON, as a user without a password.
pub(crate) fn run(server: &HttpServer, command: &str) -> Answer {
    server.post("/", "", command)
}

/// The body of an answer that is no error.
#[track_caller]
pub(crate) fn done(answer: Answer) -> String {
    assert!(answer.status < 300, "{answer:?}");
    answer.body
}

/// A field of INFO.
pub(crate) fn info(client: &mut Client, field: &str) -> String {
    let text = client.text(&["INFO", "everything"]);
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).to_owned()
}

/// The payload of the next message.
pub(crate) fn message(subscriber: &mut Client) -> String {
    let message = subscriber.value();
    let payload = message.as_slice().and_then(|parts| parts[2].as_bytes()).expect("a message");
    String::from_utf8(payload.to_vec()).expect("text")
}

/// The stream of a subscription, behind its head.
pub(crate) struct Events<S: Read = TcpStream>(BufReader<S>);

impl Events {
    /// Asks for `path` and reads the head of the answer.
    pub(crate) fn open(server: &HttpServer, path: &str, headers: &str) -> Events {
        let mut socket = server.connect();
        socket.write_all(server.request("GET", path, headers, "").as_bytes()).expect("the server reads");
        Events::over(socket)
    }

    /// The same; `None`: it is refused.
    pub(crate) fn try_open(server: &HttpServer, path: &str) -> Option<Events> {
        let mut socket = server.connect();
        socket.write_all(server.request("GET", path, "", "").as_bytes()).expect("the server reads");
        let mut start = [0; 12];
        while (1..start.len()).contains(&socket.peek(&mut start).expect("an answer")) {}
        (&start == b"HTTP/1.1 200").then(|| Events::over(socket))
    }

    /// The socket.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }
}

impl<S: Read> Events<S> {
    /// Reads the head of the answer.
    pub(crate) fn over(socket: S) -> Events<S> {
        let mut events = Events(BufReader::new(socket));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(events.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains("200"), "{head:?}");
        for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"]
        {
            assert!(head.iter().any(|line| line.eq_ignore_ascii_case(header)), "{header}: {head:?}");
        }
        events
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server goes on");
        line.trim_end().to_owned()
    }

    /// The data of the next message, up to the end of its line; `None`: the stream has ended.
    pub(crate) fn data(&mut self) -> Option<String> {
        let mut is_resume = false;
        loop {
            let line = self.line_if_any()?;
            if let Some(data) = line.strip_prefix("data: ").filter(|_| !is_resume) {
                return Some(data.to_owned());
            }
            is_resume = line == "event: resume" || is_resume && !line.is_empty();
        }
    }

    /// The next event; `None`: the stream has ended.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line_if_any()?;
            match line.split_once(": ") {
                Some(("event", kind)) => event.kind = Some(kind.to_owned()),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => event.data = data.to_owned(),
                None if line.is_empty() && !event.data.is_empty() => return Some(event),
                _ => {}
            }
        }
    }

    fn line_if_any(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) if line == "0\r\n" => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }
}

/// Keeps a publisher of numbers from being so far ahead of who reads them that this one is closed for being slow: its thread may
/// have to wait for its turn for long. And knows which numbers nobody was to receive.
#[derive(Default)]
pub(crate) struct Pace {
    sent: AtomicU64,
    seen: AtomicU64,
    unheard: Mutex<HashSet<u64>>,
    /// The publisher is to end.
    is_over: AtomicBool,
}

/// Ends publishers, also where who reads has failed.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Pace {
    /// Numbers of some dozens of bytes each, which are far fewer than any limit.
    const AHEAD: u64 = 20_000;

    /// Publishes numbers, twenty at a time, until it is over.
    pub(crate) fn publish(&self, mut publisher: Client, channel: &str) {
        let mut next = 0;
        while !self.is_over.load(SeqCst) {
            let numbers = next..next + 20;
            numbers.clone().for_each(|n| publisher.send(&["PUBLISH", channel, &n.to_string()]));
            for n in numbers {
                if publisher.value().as_int() == Some(0) {
                    self.unheard.lock().expect("nothing panics with it").insert(n);
                }
            }
            next += 20;
            self.sent.store(next, SeqCst);
            while next > self.seen.load(SeqCst) + Pace::AHEAD && !self.is_over.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends the publisher when it is dropped.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends(&self.is_over)
    }

    /// Asserts that between two numbers that were read are only such as had no receiver. Who has just subscribed may be sent what was
    /// published before, and was for another one who has left since.
    #[track_caller]
    pub(crate) fn assert_follows(&self, number: u64, before: u64) {
        assert!(number > before, "{number} behind {before}");
        if number > before + 1 {
            wait_for("the publisher's replies", || (self.sent.load(SeqCst) > number).then_some(()));
            let unheard = self.unheard.lock().expect("nothing panics with it");
            assert!((before + 1..number).all(|n| unheard.contains(&n)), "{number} behind {before}");
        }
    }

    /// The reader listens from here on.
    pub(crate) fn begin(&self) {
        self.seen.fetch_max(self.sent.load(SeqCst), SeqCst);
    }

    /// The reader has read this number.
    pub(crate) fn note(&self, number: u64) {
        self.seen.fetch_max(number, SeqCst);
    }
}

/// One event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) kind: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}
