//! A way for connections that can be slow, stand still in one direction or in both, or be gone: a network between servers that do
//! not know of it.
//!
//! What is held back arrives when the way is free again, as after a partition that TCP has outlasted. Where it is cut, connections
//! are closed, and none can be made. To a NATS server it may stutter: what a client publishes arrives twice, or behind what it has
//! published next, which NATS itself does to nobody.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects.
    There,
    /// To whoever connects.
    Back,
}

/// See the module.
pub struct Wire {
    /// Where to connect.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_held: [AtomicBool; 2],
    delay_ms: AtomicU64,
    /// 0: as many as there are.
    bytes_a_second: AtomicU64,
    stutters: AtomicBool,
    is_cut: AtomicBool,
    stops: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

/// Between two looks at what holds.
const POLL: Duration = Duration::from_millis(10);

impl Wire {
    /// A way to the server at this port of 127.0.0.1.
    pub fn to(server: u16) -> Wire {
        Wire::between(server, false)
    }

    /// The same to a NATS server, for its clients: it may stutter.
    pub fn to_nats(server: u16) -> Wire {
        Wire::between(server, true)
    }

    fn between(server: u16, is_nats: bool) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let of = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of.stops.load(SeqCst) {
                    return;
                }
                of.join(client, server, is_nats);
            }
        });
        Wire { port, shared }
    }

    /// Holds bytes back, or lets them go.
    pub fn hold(&self, way: Way, holds: bool) {
        self.shared.is_held[way as usize].store(holds, SeqCst);
    }

    /// Each piece takes so long, both ways.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, SeqCst);
    }

    /// So many bytes go each way in a second.
    pub fn narrow(&self, bytes_a_second: u64) {
        self.shared.bytes_a_second.store(bytes_a_second, SeqCst);
    }

    /// What a client of NATS publishes comes twice or too late, now and then.
    pub fn stutter(&self, stutters: bool) {
        self.shared.stutters.store(stutters, SeqCst);
    }

    /// Closes all connections, and each that is made, until [`Wire::mend`].
    pub fn cut(&self) {
        self.shared.is_cut.store(true, SeqCst);
        for socket in self.shared.sockets.lock().expect("no thread panics with it").drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// It is as it was at first.
    pub fn mend(&self) {
        self.delay(Duration::ZERO);
        self.narrow(0);
        self.stutter(false);
        self.hold(Way::There, false);
        self.hold(Way::Back, false);
        self.shared.is_cut.store(false, SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
        self.cut();
        // Only to wake the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn join(self: &Arc<Shared>, client: TcpStream, server: u16, is_nats: bool) {
        // Held until they are among the others: a cut meets them, or is met.
        let mut sockets = self.sockets.lock().expect("no thread panics with it");
        if self.is_cut.load(SeqCst) {
            return;
        }
        // Where nobody listens the client is closed.
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
        let copies = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some((from, to)), Some((client, server))) = (copies(), copies()) else { return };
        for socket in [&from, &to] {
            let set = socket.set_nodelay(true).and_then(|()| socket.set_read_timeout(Some(POLL)));
            set.expect("it is a socket");
            sockets.extend(socket.try_clone());
        }
        for (way, from, to) in [(Way::There, from, server), (Way::Back, to, client)] {
            let shared = Arc::clone(self);
            let stutter = (is_nats && way == Way::There).then(Stutter::default);
            thread::spawn(move || shared.carry(way, (from, to), stutter));
        }
    }

    fn carry(&self, way: Way, (mut from, mut to): (TcpStream, TcpStream), mut stutter: Option<Stutter>) {
        let mut buf = vec![0; 64 * 1024];
        while !self.stops.load(SeqCst) {
            let read = match from.read(&mut buf) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    let Some(late) = stutter.as_mut().map(Stutter::late).filter(|late| !late.is_empty())
                    else {
                        continue;
                    };
                    if to.write_all(&late).is_err() {
                        break;
                    }
                    continue;
                }
                Err(_) => break,
            };
            thread::sleep(Duration::from_millis(self.delay_ms.load(SeqCst)));
            let takes = (read as u64 * 1_000_000).checked_div(self.bytes_a_second.load(SeqCst));
            thread::sleep(Duration::from_micros(takes.unwrap_or(0)));
            while self.is_held[way as usize].load(SeqCst)
                && !self.stops.load(SeqCst)
                && !self.is_cut.load(SeqCst)
            {
                thread::sleep(POLL);
            }
            let written = match &mut stutter {
                Some(stutter) => to.write_all(&stutter.pass(&buf[..read], self.stutters.load(SeqCst))),
                None => to.write_all(&buf[..read]),
            };
            if self.is_cut.load(SeqCst) || written.is_err() {
                break;
            }
        }
        for socket in [&from, &to] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What a client of NATS says, operation by operation.
#[derive(Default)]
struct Stutter {
    /// The beginning of one.
    partial: Vec<u8>,
    /// One that goes behind the next.
    late: Vec<u8>,
}

impl Stutter {
    /// What arrives of these bytes.
    fn pass(&mut self, bytes: &[u8], stutters: bool) -> Vec<u8> {
        self.partial.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some((len, publishes)) = operation(&self.partial[at..]) {
            let operation = &self.partial[at..at + len];
            at += len;
            let (is_late, is_twice) = (fastrand::u8(..64) == 0, fastrand::u8(..8) == 0);
            if stutters && publishes && is_late && self.late.is_empty() {
                self.late = operation.to_vec();
                continue;
            }
            out.extend_from_slice(operation);
            out.append(&mut self.late);
            if stutters && publishes && is_twice {
                // At once, or when what it asks for may have been done.
                match fastrand::bool() {
                    true => out.extend_from_slice(operation),
                    false => self.late = operation.to_vec(),
                }
            }
        }
        self.partial.drain(..at);
        out
    }

    /// What nothing else has come behind.
    fn late(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.late)
    }
}

/// Length of the operation that begins here, and whether it publishes; `None`: it is not whole.
fn operation(bytes: &[u8]) -> Option<(usize, bool)> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let publishes = bytes.starts_with(b"PUB ") || bytes.starts_with(b"HPUB ");
    if !publishes {
        return Some((line, false));
    }
    let words = std::str::from_utf8(&bytes[..line]).ok()?;
    let payload: usize = words.split_whitespace().last()?.parse().ok()?;
    let len = line + payload + 2;
    (bytes.len() >= len).then_some((len, true))
}
