//! A line to a server that can be cut: what is on its way is lost, as it is when a network fails.
//!
//! A proxy whose kernel has acknowledged bytes has them; that it drops them is nothing a server could know. So a cut makes the
//! kernel blind first: a filter on the socket to the server drops every packet before TCP sees it, and nothing more is
//! acknowledged. What had been before is delivered, and what the server goes on sending is lost.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{SockFilter, SockRef};

/// How the server learns that its peer has gone.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// Its peer's kernel closes the connection.
    Closed,
    /// Its peer's kernel knows nothing of the connection any more.
    Reset,
    /// Not at all, for so long.
    Silence(Duration),
}

/// How long a cut line carries what nobody receives, before the server may learn of it.
const LOSING: Duration = Duration::from_millis(50);

/// See the module.
pub struct Line {
    /// Where to connect.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server_port: u16,
    is_cut: AtomicBool,
    stops: AtomicBool,
    pairs: Mutex<Vec<Pair>>,
}

/// Both ends of a connection, and the threads that carry bytes between them.
struct Pair {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    is_cut: Arc<AtomicBool>,
    threads: [JoinHandle<()>; 2],
}

impl Line {
    /// A line to the server at this port.
    pub fn to(server_port: u16) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            server_port,
            is_cut: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            pairs: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.stops.load(SeqCst) {
                    return;
                }
                // A connection that can't be made is one that is closed.
                let _ = accepting.join(client);
            }
        });
        Line { port, shared }
    }

    /// Cuts all connections; nobody can connect until `mend`. The clients have learned of it when this returns.
    pub fn cut(&self, end: End) {
        self.shared.is_cut.store(true, SeqCst);
        let pairs = std::mem::take(&mut *self.shared.pairs.lock().expect("no thread panics with it"));
        for pair in &pairs {
            let nothing = [SockFilter::new(6, 0, 0, 0)];
            SockRef::from(&*pair.server).attach_filter(&nothing).expect("a filter can be attached");
            pair.is_cut.store(true, SeqCst);
        }
        thread::sleep(LOSING);
        for pair in pairs {
            // What was acknowledged before has been delivered when they have ended.
            pair.threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
            // What the kernel has yet to acknowledge it acknowledges now: a reset tells of none of that.
            SockRef::from(&*pair.server).set_tcp_quickack(true).expect("it is a TCP socket");
            // The client may have closed it already.
            let _ = pair.client.shutdown(Shutdown::Both);
            match end {
                End::Closed => drop(pair.server),
                End::Reset => {
                    SockRef::from(&*pair.server)
                        .set_linger(Some(Duration::ZERO))
                        .expect("a socket can linger");
                }
                End::Silence(time) => {
                    thread::spawn(move || {
                        thread::sleep(time);
                        drop(pair.server);
                    });
                }
            }
        }
    }

    /// Lets clients connect again.
    pub fn mend(&self) {
        self.shared.is_cut.store(false, SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
        // Only to wake the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn join(self: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
        // Held until the pair is among the others: a cut meets it, or is met by it.
        let mut pairs = self.pairs.lock().expect("no thread panics with it");
        if self.is_cut.load(SeqCst) {
            return Ok(());
        }
        let server = TcpStream::connect(("127.0.0.1", self.server_port))?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(POLL))?;
        }
        let (client, server, is_cut) = (Arc::new(client), Arc::new(server), Arc::new(AtomicBool::new(false)));
        let threads = [(&client, &server), (&server, &client)].map(|(from, to)| {
            let (from, to, is_cut) = (Arc::clone(from), Arc::clone(to), Arc::clone(&is_cut));
            thread::spawn(move || carry(&from, &to, &is_cut))
        });
        pairs.push(Pair { client, server, is_cut, threads });
        Ok(())
    }
}

/// Between two looks at whether the line has been cut.
const POLL: Duration = Duration::from_millis(10);

/// Carries bytes one way until there is an end, which it passes on, or until the line is cut and nothing is left.
fn carry(mut from: &TcpStream, mut to: &TcpStream, is_cut: &AtomicBool) {
    let mut buf = vec![0; 64 * 1024];
    loop {
        // Only what is found missing after the cut is missing: before, it may have come since the kernel looked.
        let was_cut = is_cut.load(SeqCst);
        match from.read(&mut buf) {
            Ok(0) => break,
            Ok(n) if to.write_all(&buf[..n]).is_err() => break,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if was_cut {
                    return;
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if !is_cut.load(SeqCst) {
        let _ = to.shutdown(Shutdown::Write);
    }
}
