//! A way for connections that can be slow, stand still in one direction or in both, or be gone: a network between servers that do
//! not know of it.
//!
//! What is held back arrives when the way is free again, as after a partition that TCP has outlasted. Where it is cut, connections
//! are closed, and none can be made.

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
    is_cut: AtomicBool,
    stops: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

/// Between two looks at what holds.
const POLL: Duration = Duration::from_millis(10);

impl Wire {
    /// A way to the server at this port of 127.0.0.1.
    pub fn to(server: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let of = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of.stops.load(SeqCst) {
                    return;
                }
                of.join(client, server);
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
    fn join(self: &Arc<Shared>, client: TcpStream, server: u16) {
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
            thread::spawn(move || shared.carry(way, from, to));
        }
    }

    fn carry(&self, way: Way, mut from: TcpStream, mut to: TcpStream) {
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
                    continue;
                }
                Err(_) => break,
            };
            thread::sleep(Duration::from_millis(self.delay_ms.load(SeqCst)));
            while self.is_held[way as usize].load(SeqCst)
                && !self.stops.load(SeqCst)
                && !self.is_cut.load(SeqCst)
            {
                thread::sleep(POLL);
            }
            if self.is_cut.load(SeqCst) || to.write_all(&buf[..read]).is_err() {
                break;
            }
        }
        for socket in [&from, &to] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
