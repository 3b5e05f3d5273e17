//! The swarm: thousands of connections on one epoll loop, read without being looked at.
//!
//! ```text
//!   conns    [0: Publisher  out ▒▒▒  seen]  [1: Subscriber  seen]  [2: Subscriber  seen] …
//!   total    [Subscriber: Σ seen]  [Publisher: Σ seen]  [Bystander: Σ seen]
//! ```
//!
//! What "seen" counts is the connection's [`Meter`]. Bytes are discarded by the kernel (`MSG_TRUNC`), so that reading
//! 16 KiB costs this process no more than reading 64 bytes and leaves the cache to the server.
//!
//! Invariants
//! - `total[g]` = sum of `seen` over the connections of group `g`.
//! - A connection waits for writability exactly while its `out` isn't empty.
//! - Reading is level-triggered, one `recv` per connection and poll: no connection starves another.
use super::tls::RecordMeter;
use crate::limit::{Failure, Limit};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Most bytes taken from one connection in one turn.
const READ_BYTES: usize = 1 << 20;
/// Most connections served per poll.
const EVENTS: usize = 1024;

/// Index of a connection in its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnId(usize);

/// Which total a connection counts towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Subscriber,
    Publisher,
    /// In the scene, but not what is measured.
    Bystander,
}

/// What of the arriving bytes is counted.
#[derive(Debug)]
pub(crate) enum Meter {
    /// All of them, unread.
    Bytes,
    /// Line feeds: replies whose length varies but whose shape doesn't.
    Lines,
    /// Plaintext bytes inside TLS records, from the records' headers.
    Records(RecordMeter),
    /// Bytes, and the age of the timestamp in each frame.
    Ages(AgeMeter),
}

/// Reads the send time out of each frame of a stream of equal frames.
#[derive(Debug, Clone)]
pub(crate) struct AgeMeter {
    /// Where times count from; the publisher's too.
    pub epoch: Instant,
    /// Bytes of a frame, and where in it the stamp stands.
    pub frame_bytes: usize,
    pub stamp_at: usize,
    /// Bytes of a frame that hasn't arrived whole.
    partial: Vec<u8>,
}

/// Decimal digits of a timestamp in a payload.
pub(crate) const STAMP_DIGITS: usize = 16;

impl AgeMeter {
    pub(crate) fn new(epoch: Instant, frame_bytes: usize, stamp_at: usize) -> Self {
        Self { epoch, frame_bytes, stamp_at, partial: Vec::new() }
    }

    fn read(&mut self, bytes: &[u8], ages: &mut Vec<u64>) {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let missing = (self.frame_bytes - self.partial.len()).min(rest.len());
            self.partial.extend_from_slice(&rest[..missing]);
            rest = &rest[missing..];
            if self.partial.len() < self.frame_bytes {
                return;
            }
            ages.extend(age(&self.partial, self.stamp_at, now));
            self.partial.clear();
        }
        let mut frames = rest.chunks_exact(self.frame_bytes);
        ages.extend(frames.by_ref().filter_map(|frame| age(frame, self.stamp_at, now)));
        self.partial.extend_from_slice(frames.remainder());
    }
}

/// Nanoseconds between a frame's stamp and `now`; none if the frame carries no stamp.
fn age(frame: &[u8], stamp_at: usize, now: u64) -> Option<u64> {
    let digits = frame.get(stamp_at..stamp_at + STAMP_DIGITS)?;
    let mut stamp = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        stamp = stamp * 10 + u64::from(digit - b'0');
    }
    Some(now.saturating_sub(stamp))
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    group: Group,
    meter: Meter,
    seen: u64,
    /// Bytes not yet taken by the socket, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// Registered for reading; a stalled subscriber isn't.
    reading: bool,
    open: bool,
}

/// Connections of one workload to one server.
pub(crate) struct Swarm {
    epoll: OwnedFd,
    conns: Vec<Conn>,
    total: [u64; 3],
    closed: usize,
    scratch: Vec<u8>,
    events: Vec<Event>,
    ages: Vec<u64>,
    /// First error reply among counted lines.
    refusal: Option<String>,
}

impl Swarm {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            conns: Vec::new(),
            total: [0; 3],
            closed: 0,
            scratch: vec![0; READ_BYTES],
            events: Vec::with_capacity(EVENTS),
            ages: Vec::new(),
            refusal: None,
        })
    }

    /// Opens a connection that counts lines until told otherwise.
    pub(crate) fn connect(&mut self, address: SocketAddr, group: Group) -> Result<ConnId, Failure> {
        self.adopt(TcpStream::connect_timeout(&address, Duration::from_secs(5))?, group, Meter::Lines)
    }

    /// Takes over an open connection.
    pub(crate) fn adopt(&mut self, stream: TcpStream, group: Group, meter: Meter) -> Result<ConnId, Failure> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let id = self.conns.len();
        epoll::add(&self.epoll, &stream, EventData::new_u64(id as u64), EventFlags::IN)?;
        self.conns.push(Conn {
            stream,
            group,
            meter,
            seen: 0,
            out: Vec::new(),
            sent: 0,
            reading: true,
            open: true,
        });
        Ok(ConnId(id))
    }

    /// Sets what is counted on a connection from here on; its count starts at 0.
    pub(crate) fn measure(&mut self, id: ConnId, meter: Meter) {
        let conn = &mut self.conns[id.0];
        self.total[conn.group as usize] -= conn.seen;
        conn.seen = 0;
        conn.meter = meter;
    }

    pub(crate) fn seen(&self, id: ConnId) -> u64 {
        self.conns[id.0].seen
    }

    pub(crate) fn total(&self, group: Group) -> u64 {
        self.total[group as usize]
    }

    /// Connections that the server has closed.
    pub(crate) fn closed(&self) -> usize {
        self.closed
    }

    /// Bytes handed to [`Swarm::send`] that the socket has not taken.
    pub(crate) fn unsent(&self, id: ConnId) -> usize {
        self.conns[id.0].out.len() - self.conns[id.0].sent
    }

    /// Ages collected by the age meters so far, in nanoseconds; the collection starts anew.
    pub(crate) fn take_ages(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ages)
    }

    /// Stops or resumes reading a connection.
    pub(crate) fn set_reading(&mut self, id: ConnId, reading: bool) -> Result<(), Failure> {
        self.conns[id.0].reading = reading;
        self.register(id.0)
    }

    /// Closes from this side.
    pub(crate) fn close(&mut self, id: ConnId) -> Result<(), Failure> {
        let conn = &mut self.conns[id.0];
        if conn.open {
            conn.open = false;
            epoll::delete(&self.epoll, &conn.stream)?;
            conn.stream.shutdown(std::net::Shutdown::Both).ok();
        }
        Ok(())
    }

    /// Lets the kernel hold next to nothing for a connection that won't be read.
    pub(crate) fn shrink_receive_buffer(&self, id: ConnId) -> Result<(), Failure> {
        Ok(rustix::net::sockopt::set_socket_recv_buffer_size(&self.conns[id.0].stream, 4096)?)
    }

    /// Forgets every connection, closing those still open.
    pub(crate) fn clear(&mut self) {
        self.conns.clear();
        self.total = [0; 3];
        self.closed = 0;
        self.ages.clear();
    }

    /// Sends `bytes`, now as far as the socket takes them, the rest in later polls.
    pub(crate) fn send(&mut self, id: ConnId, bytes: &[u8]) -> Result<(), Failure> {
        let conn = &mut self.conns[id.0];
        if !conn.open {
            return Err(Failure::Closed("sending"));
        }
        if !conn.out.is_empty() {
            conn.out.extend_from_slice(bytes);
            return Ok(());
        }
        match rustix::net::send(&conn.stream, bytes, SendFlags::NOSIGNAL) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(n) => self.queue(id.0, &bytes[n..]),
            Err(Errno::AGAIN) => self.queue(id.0, bytes),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(Failure::Closed("sending")),
            Err(errno) => Err(errno.into()),
        }
    }

    fn queue(&mut self, index: usize, rest: &[u8]) -> Result<(), Failure> {
        self.conns[index].out.extend_from_slice(rest);
        self.register(index)
    }

    fn register(&self, index: usize) -> Result<(), Failure> {
        let conn = &self.conns[index];
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, conn.reading);
        flags.set(EventFlags::OUT, !conn.out.is_empty());
        Ok(epoll::modify(&self.epoll, &conn.stream, EventData::new_u64(index as u64), flags)?)
    }

    /// Waits up to `timeout` for sockets to be ready and serves each of them once.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<(), Failure> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            let index = data.u64() as usize;
            if flags.contains(EventFlags::OUT) {
                self.flush(index)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(index)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let conn = &mut self.conns[index];
        if !conn.open || conn.out.is_empty() {
            return Ok(());
        }
        match rustix::net::send(&conn.stream, &conn.out[conn.sent..], SendFlags::NOSIGNAL) {
            Ok(n) => conn.sent += n,
            Err(Errno::AGAIN) => return Ok(()),
            Err(_) => return self.lost(index),
        }
        if conn.sent == conn.out.len() {
            conn.out.clear();
            conn.sent = 0;
            return self.register(index);
        }
        // A connection that is never done would otherwise keep all it ever sent.
        if conn.sent > conn.out.len() / 2 {
            conn.out.drain(..conn.sent);
            conn.sent = 0;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), Failure> {
        let conn = &mut self.conns[index];
        if !conn.open {
            return Ok(());
        }
        let flags = match conn.meter {
            Meter::Bytes => RecvFlags::TRUNC,
            _ => RecvFlags::empty(),
        };
        let length = match rustix::net::recv(&conn.stream, &mut self.scratch[..], flags) {
            Ok((_, 0)) => return self.lost(index),
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return self.lost(index),
        };
        let bytes = &self.scratch[..length.min(READ_BYTES)];
        let counted = match &mut conn.meter {
            Meter::Bytes => length as u64,
            Meter::Lines => {
                if is_error(bytes) && self.refusal.is_none() {
                    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
                    self.refusal = Some(String::from_utf8_lossy(line).into_owned());
                }
                memchr::memchr_iter(b'\n', bytes).count() as u64
            }
            Meter::Records(meter) => meter.read(bytes),
            Meter::Ages(meter) => {
                meter.read(bytes, &mut self.ages);
                length as u64
            }
        };
        conn.seen += counted;
        self.total[conn.group as usize] += counted;
        Ok(())
    }

    fn lost(&mut self, index: usize) -> Result<(), Failure> {
        self.closed += 1;
        self.close(ConnId(index))
    }

    /// Polls until `done`; fails when the server closes a connection meanwhile or `limit` ends.
    pub(crate) fn until(
        &mut self,
        limit: &Limit,
        mut done: impl FnMut(&Swarm) -> bool,
    ) -> Result<(), Failure> {
        let closed = self.closed;
        while !done(self) {
            limit.check()?;
            if let Some(refusal) = self.refusal.take() {
                return Err(Failure::Reply(refusal));
            }
            if self.closed > closed {
                return Err(Failure::Closed(limit.what()));
            }
            self.poll(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

/// Whether what was read begins with an error reply: looked at once a read, which is enough to end a wait early.
fn is_error(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', letter, ..] if letter.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Interrupt;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    fn pair() -> (Swarm, ConnId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut swarm = Swarm::new().unwrap();
        let id = swarm.connect(listener.local_addr().unwrap(), Group::Subscriber).unwrap();
        let (server, _) = listener.accept().unwrap();
        (swarm, id, server)
    }

    fn soon() -> Limit {
        Limit::new("the test", Duration::from_secs(60), &Interrupt::default())
    }

    #[test]
    fn bytes_are_counted_without_being_read() {
        let (mut swarm, id, mut server) = pair();
        swarm.measure(id, Meter::Bytes);
        server.write_all(&[b'x'; 70_000]).unwrap();
        swarm.until(&soon(), |swarm| swarm.total(Group::Subscriber) >= 70_000).unwrap();
        assert_eq!(swarm.seen(id), 70_000);
        assert!(swarm.scratch.iter().all(|&byte| byte == 0), "the kernel copied what it should discard");
    }

    #[test]
    fn lines_are_counted_and_the_count_restarts_with_the_meter() {
        let (mut swarm, id, mut server) = pair();
        server.write_all(b":1\r\n:2\r\n").unwrap();
        swarm.until(&soon(), |swarm| swarm.seen(id) == 2).unwrap();
        swarm.measure(id, Meter::Lines);
        assert_eq!(swarm.total(Group::Subscriber), 0);
    }

    #[test]
    fn what_the_socket_does_not_take_is_sent_by_later_polls() {
        let (mut swarm, id, mut server) = pair();
        let bytes = vec![7u8; 12 << 20];
        swarm.send(id, &bytes).unwrap();
        assert!(swarm.unsent(id) > 0, "a socket took 12 MiB at once");
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            server.read_to_end(&mut got).unwrap();
            got.len()
        });
        swarm.until(&soon(), |swarm| swarm.unsent(id) == 0).unwrap();
        swarm.close(id).unwrap();
        assert_eq!(reader.join().unwrap(), 12 << 20);
    }

    #[test]
    fn a_closed_connection_ends_the_wait_with_its_reason() {
        let (mut swarm, _, server) = pair();
        drop(server);
        let outcome = swarm.until(&soon(), |_| false);
        assert!(matches!(outcome, Err(Failure::Closed("the test"))), "{outcome:?}");
    }

    #[test]
    fn ages_are_read_from_frames_however_they_arrive() {
        let frame = |stamp: u64| format!("head{stamp:016}tail\r\n").into_bytes();
        let bytes: Vec<u8> = (1..=50).flat_map(frame).collect();
        for piece in [1, 3, 25, 26, 27, 1000] {
            let mut meter = AgeMeter::new(Instant::now(), 26, 4);
            let mut ages = Vec::new();
            for part in bytes.chunks(piece) {
                meter.read(part, &mut ages);
            }
            assert_eq!(ages.len(), 50, "in pieces of {piece}");
        }
    }
}
