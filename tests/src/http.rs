//! HTTP for tests: a server that speaks it, and requests as they are on the wire.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::server::{Launch, PATIENCE, Server, free_port};

/// A server with an HTTP port.
#[derive(Debug)]
pub struct HttpServer {
    /// The server.
    pub server: Server,
    /// Its HTTP port on 127.0.0.1.
    pub port: u16,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, a line each, the names in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl HttpServer {
    /// Starts Sterna with so many shards, an HTTP port, and these words.
    pub fn start(shards: usize, args: &[&str]) -> HttpServer {
        let port = free_port();
        let server = Launch::shards(shards).args(&["--http-port", &port.to_string()]).args(args).start();
        HttpServer { server, port }
    }

    /// Sends `POST path` with a body and `headers`, a line each.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.send("POST", path, headers, body)
    }

    /// Sends `GET path` with `headers`, a line each.
    pub fn get(&self, path: &str, headers: &str) -> Answer {
        self.send("GET", path, headers, "")
    }

    /// Sends one request and reads its answer.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut socket = self.connect();
        socket.write_all(self.request(method, path, headers, body).as_bytes()).expect("the server reads");
        answer_of(&mut socket).expect("an answer")
    }

    /// The bytes of a request after which the connection is closed.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let host = if headers.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{}\r\n", self.port)
        };
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    /// A connection to the HTTP port.
    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time above 0");
        socket
    }
}

/// The answer that comes before the connection is closed; an error if none does.
pub fn answer_of(socket: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        // Closed without having read all that was sent.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => {}
        result => drop(result?),
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let no_answer = || io::Error::other(format!("no answer: {text}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_answer)?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
