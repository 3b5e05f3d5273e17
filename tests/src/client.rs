//! A client that hides nothing: it sends what it is told and gives back replies as the bytes that came.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use sterna_protocol::decode::{Value, decode};
use sterna_protocol::encode;

use crate::server::PATIENCE;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// What a client reads from and writes to.
pub trait Transport: Read + Write + Send {
    /// Has reads give up after this long.
    fn set_read_patience(&self, patience: Duration) -> io::Result<()>;
    /// Says that nothing more will be sent.
    fn finish(&self) -> io::Result<()>;
}

impl Transport for TcpStream {
    fn set_read_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Transport for UnixStream {
    fn set_read_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A connection to a server.
pub struct Client {
    transport: Box<dyn Transport>,
    /// What has arrived and has not been taken: `input[taken..]`.
    input: Vec<u8>,
    taken: usize,
}

/// What came next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A reply or push, as its bytes.
    Bytes(Vec<u8>),
    /// The server has closed the connection.
    Closed,
    /// Nothing, for as long as was waited.
    Nothing,
}

impl Client {
    /// Connects to this machine.
    pub fn to(port: u16) -> Client {
        Client::try_to(port).unwrap_or_else(|e| panic!("connecting to port {port}: {e}"))
    }

    /// Connects to this machine. Errors: nobody listens.
    pub fn try_to(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Client::over(stream))
    }

    /// Connects to a Unix socket.
    pub fn to_path(path: &Path) -> Client {
        Client::over(
            UnixStream::connect(path).unwrap_or_else(|e| panic!("connecting to {}: {e}", path.display())),
        )
    }

    /// Takes over a connection.
    pub fn over(transport: impl Transport + 'static) -> Client {
        Client { transport: Box::new(transport), input: Vec::new(), taken: 0 }
    }

    /// Sends one request.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_bytes(&request_bytes(args));
    }

    /// Sends these bytes. A server that has closed the connection is met when reading.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self.transport.write_all(bytes).and_then(|()| self.transport.flush()) {
            Err(e) if !matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("sending: {e}")
            }
            _ => {}
        }
    }

    /// Sends one request and gives back its reply. Panics on an error reply, which no caller of this expects.
    pub fn request<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        let value = self.value();
        if let Value::Error(text) = &value {
            panic!(
                "{}: {}",
                String::from_utf8_lossy(&request_bytes(args)).escape_debug(),
                text.escape_ascii()
            );
        }
        value
    }

    /// As `request` in RESP3, passing over messages and other pushes that come before the reply. For a request whose
    /// reply is a push, that is the first which is no message.
    pub fn request_past_pushes<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        loop {
            let value = self.value();
            match &value {
                Value::Push(parts) if parts[0].as_bytes().is_some_and(|kind| kind.ends_with(b"message")) => {}
                _ => return value,
            }
        }
    }

    /// As `request`, for a number.
    pub fn int<A: AsRef<[u8]>>(&mut self, args: &[A]) -> i64 {
        let value = self.request(args);
        value.as_int().unwrap_or_else(|| panic!("{value:?} is no integer"))
    }

    /// As `request`, for text.
    pub fn text<A: AsRef<[u8]>>(&mut self, args: &[A]) -> String {
        let value = self.request(args);
        let bytes = value.as_bytes().unwrap_or_else(|| panic!("{value:?} is no string"));
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// As `request`, for text that is an element of an array.
    pub fn text_at<A: AsRef<[u8]>>(&mut self, args: &[A], index: usize) -> String {
        let value = self.request(args);
        let element = value.as_slice().and_then(|elements| elements.get(index)?.as_bytes());
        String::from_utf8_lossy(element.unwrap_or_else(|| panic!("{value:?} has no text at {index}")))
            .into_owned()
    }

    /// Sends one request and gives back its reply, if there is one.
    pub fn try_request<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Option<Value> {
        self.send(args);
        match self.frame(PATIENCE) {
            Frame::Bytes(bytes) => Some(value_of(&bytes)),
            Frame::Closed | Frame::Nothing => None,
        }
    }

    /// The next reply or push. Panics if none comes.
    pub fn value(&mut self) -> Value {
        match self.frame(PATIENCE) {
            Frame::Bytes(bytes) => value_of(&bytes),
            none => panic!("no reply: {none:?}"),
        }
    }

    /// The error that the next reply is.
    pub fn error(&mut self) -> String {
        match self.value() {
            Value::Error(text) => String::from_utf8_lossy(&text).into_owned(),
            value => panic!("{value:?} is no error"),
        }
    }

    /// What comes next, waited for as long as `patience`.
    pub fn frame(&mut self, patience: Duration) -> Frame {
        let deadline = Instant::now() + patience;
        loop {
            match decode(&self.input[self.taken..]) {
                Ok(Some((_, len))) => {
                    let frame = self.input[self.taken..self.taken + len].to_vec();
                    self.taken += len;
                    return Frame::Bytes(frame);
                }
                Ok(None) => {}
                Err(e) => panic!("{e}: {}", self.input[self.taken..].escape_ascii()),
            }
            if let Some(end) = self.read_more(deadline) {
                return end;
            }
        }
    }

    /// Everything until the server closes the connection. Panics if it doesn't.
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read_more(deadline) {
                None => {}
                Some(Frame::Closed) => return self.input.split_off(self.taken),
                Some(other) => {
                    panic!("not closed: {other:?} after {}", self.input[self.taken..].escape_ascii())
                }
            }
        }
    }

    /// Says that nothing more will be sent; what the server sends can still be read.
    pub fn finish(&mut self) {
        self.transport.finish().expect("the connection is open");
    }

    /// Leaves, and returns when the server has noticed: it forgets a client before it closes the connection.
    pub fn leave(mut self) {
        // An error means that the server has closed it already.
        let _ = self.transport.finish();
        let deadline = Instant::now() + PATIENCE;
        while self.read_more(deadline).is_none() {
            self.input.clear();
        }
    }

    /// Asserts that nothing has been sent to this client but what it has taken.
    ///
    /// A PING is answered behind everything the server sent before it.
    pub fn assert_quiet(&mut self) {
        self.send(&["PING", "quiet?"]);
        let value = self.value();
        let pong = match &value {
            Value::Array(parts) => parts.last().and_then(Value::as_bytes),
            other => other.as_bytes(),
        };
        assert_eq!(pong, Some(&b"quiet?"[..]), "not quiet: {value:?}");
    }

    /// Reads once; says so if that brought nothing.
    fn read_more(&mut self, deadline: Instant) -> Option<Frame> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(Frame::Nothing);
        }
        self.transport.set_read_patience(left).expect("a socket's timeout can be set");
        self.input.drain(..self.taken);
        self.taken = 0;
        // A long reply is decoded from its start after each read: with as much again at a time these are few.
        let start = self.input.len();
        self.input.resize(start + READ_BYTES.max(start), 0);
        let result = self.transport.read(&mut self.input[start..]);
        self.input.truncate(start + result.as_ref().map_or(0, |&n| n));
        match result {
            Ok(0) => Some(Frame::Closed),
            Ok(_) => None,
            Err(e) if e.kind() == ErrorKind::Interrupted => None,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Frame::Nothing),
            Err(e) if is_the_end(&e) => Some(Frame::Closed),
            Err(e) => panic!("reading: {e}"),
        }
    }
}

/// A server that closes with unread input, TLS without close_notify, or with an alert; or TLS that has something to say before it
/// reads, to a server that has gone.
fn is_the_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidData
            | ErrorKind::BrokenPipe
    )
}

/// A request as the bytes that are sent.
pub fn request_bytes<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, args);
    bytes
}

/// The value of a whole frame.
pub fn value_of(frame: &[u8]) -> Value {
    match decode(frame) {
        Ok(Some((value, _))) => value,
        other => panic!("{other:?}: {}", frame.escape_ascii()),
    }
}
