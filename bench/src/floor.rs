//! The floor: the least that a fan-out server can do, as the measure for all others.
//!
//! An epoll loop that reads what there is, encodes the messages of that read once and `send`s the same bytes to each
//! subscriber. It knows one channel, subscribers that never leave it before they disconnect, and publishers whose every
//! command is as long as their first. Nothing is checked, kept for later or accounted for:
//!
//! ```text
//!   read ──► [PUBLISH][PUBLISH][PUB…  ──► frames [message][message] ──► send × subscribers
//!                               └ kept for the next read                └► ":100\r\n" × 2 to the publisher
//! ```
//!
//! A subscriber whose socket is full is waited for: the load generator reads everything, so this happens only when the
//! load is behind, and waiting in `poll` costs no CPU.
use crate::limit::Failure;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const READ_BYTES: usize = 2 << 20;
const LISTENER: u64 = u64::MAX;

struct Floor {
    epoll: OwnedFd,
    /// By the number that epoll knows them by; never reused.
    conns: Vec<Option<Conn>>,
    subscribers: Vec<u64>,
    scratch: Vec<u8>,
    frames: Vec<u8>,
}

struct Conn {
    stream: TcpStream,
    /// A command that hasn't arrived whole.
    partial: Vec<u8>,
    /// Known from the first PUBLISH on.
    publisher: Option<Shape>,
}

/// Where things stand in each command of a publisher.
struct Shape {
    command_bytes: usize,
    payload_at: usize,
    /// What stands before the payload in a delivery.
    header: Vec<u8>,
}

/// Serves on `port` of 127.0.0.1 until killed.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut floor = Floor {
        epoll,
        conns: Vec::new(),
        subscribers: Vec::new(),
        scratch: vec![0; READ_BYTES],
        frames: Vec::new(),
    };
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let data = event.data;
            match data.u64() {
                LISTENER => floor.accept(&listener)?,
                id => floor.read(id),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Failure> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let id = self.conns.len() as u64;
            epoll::add(&self.epoll, &stream, EventData::new_u64(id), EventFlags::IN)?;
            self.conns.push(Some(Conn { stream, partial: Vec::new(), publisher: None }));
        }
        Ok(())
    }

    fn read(&mut self, id: u64) {
        let Some(Some(conn)) = self.conns.get_mut(id as usize) else { return };
        let kept = conn.partial.len();
        self.scratch[..kept].copy_from_slice(&conn.partial);
        let length = match rustix::net::recv(&conn.stream, &mut self.scratch[kept..], RecvFlags::empty()) {
            Ok((_, 0)) => return self.leave(id),
            Ok((_, length)) => kept + length,
            Err(Errno::AGAIN) => return,
            Err(_) => return self.leave(id),
        };
        conn.partial.clear();
        let bytes = &self.scratch[..length];
        if conn.publisher.is_none() {
            match Said::read(bytes) {
                Said::Incomplete => return conn.partial.extend_from_slice(bytes),
                Said::Subscribe(confirmation) => {
                    self.subscribers.push(id);
                    return send_all(&conn.stream, &confirmation);
                }
                Said::Ping => return send_all(&conn.stream, b"+PONG\r\n"),
                Said::Publish(shape) => conn.publisher = Some(shape),
                Said::Nonsense => return self.leave(id),
            }
        }
        let Some(shape) = &conn.publisher else { return };
        let commands = bytes.chunks_exact(shape.command_bytes);
        conn.partial.extend_from_slice(commands.remainder());
        self.frames.clear();
        let count = commands.len();
        for command in commands {
            self.frames.extend_from_slice(&shape.header);
            self.frames.extend_from_slice(&command[shape.payload_at..]);
        }
        for subscriber in &self.subscribers {
            if let Some(conn) = &self.conns[*subscriber as usize] {
                send_all(&conn.stream, &self.frames);
            }
        }
        let replies = format!(":{}\r\n", self.subscribers.len()).repeat(count);
        if let Some(conn) = &self.conns[id as usize] {
            send_all(&conn.stream, replies.as_bytes());
        }
    }

    fn leave(&mut self, id: u64) {
        self.conns[id as usize] = None;
        self.subscribers.retain(|&subscriber| subscriber != id);
    }
}

/// First thing a connection says.
enum Said {
    Incomplete,
    Ping,
    Subscribe(Vec<u8>),
    Publish(Shape),
    Nonsense,
}

impl Said {
    fn read(bytes: &[u8]) -> Self {
        let mut words = Words { bytes, at: 0 };
        if words.line().is_none() {
            return Said::Incomplete;
        }
        let Some(verb) = words.next() else { return Said::Incomplete };
        if verb == b"PING" {
            return Said::Ping;
        }
        let Some(channel) = words.next() else { return Said::Incomplete };
        let channel = String::from_utf8_lossy(channel);
        match verb {
            b"SUBSCRIBE" => Said::Subscribe(
                format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()).into_bytes(),
            ),
            b"PUBLISH" => {
                let Some(payload) = words.next() else { return Said::Incomplete };
                let header = format!(
                    "*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n",
                    channel.len(),
                    payload.len()
                );
                Said::Publish(Shape {
                    command_bytes: words.at,
                    payload_at: words.at - payload.len() - 2,
                    header: header.into_bytes(),
                })
            }
            _ => Said::Nonsense,
        }
    }
}

/// Bulk strings of a RESP command, one after the other; none when the bytes end first.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        self.at += end + 1;
        rest.get(..end.checked_sub(1)?)
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = std::str::from_utf8(self.line()?.get(1..)?).ok()?.parse::<usize>().ok()?;
        let word = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length + 2;
        (self.at <= self.bytes.len()).then_some(word)
    }
}

fn send_all(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::net::send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::new(stream, PollFlags::OUT)];
                if poll(&mut ready, None).is_err() {
                    return;
                }
            }
            Err(_) => return, // The next read of this connection finds out and forgets it.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_measured_once_it_is_whole() {
        let bytes = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        for end in 0..bytes.len() {
            assert!(matches!(Said::read(&bytes[..end]), Said::Incomplete), "{end} bytes");
        }
        let Said::Publish(shape) = Said::read(bytes) else { panic!("not seen as PUBLISH") };
        assert_eq!(shape.command_bytes, bytes.len());
        assert_eq!(&bytes[shape.payload_at..], b"hello\r\n");
        assert_eq!(shape.header, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\n");
    }
}
