//! From a listener to requests: connections, TLS, and the bounds of hyper. And out again: a request that becomes a stream of
//! events takes the socket with it, to a shard.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sterna_config::PusherApp;
use sterna_server::{Engine, EventStream, HttpChange, HttpListener, InnerClient, Seat};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;

use crate::budget::Budget;
use crate::dashboard::Dashboard;
use crate::guarded::{Guarded, Head};
use crate::keys::KeyFile;
use crate::limits::{
    ACCEPT_PAUSE, HANDSHAKE_TIME_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HEADERS_MAX, HEADS_BYTES_MAX,
    HELD_BYTES_MAX, LEFT_TIME_MAX, WRITE_STALL_MAX,
};
use crate::route;
use crate::socket::{Socket, Watch};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) budget: Arc<Budget>,
    /// What is held for heads that are unfinished.
    heads: Arc<Budget>,
    pub(crate) token_keys: KeyFile,
    pub(crate) dashboard: Dashboard,
    /// Held by the request whose metrics are being written: one at a time.
    pub(crate) metrics: Arc<tokio::sync::Mutex<()>>,
}

/// The HTTP client of a connection.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) tls: bool,
    /// Who takes over the socket, once a request has become a stream.
    pub(crate) successor: Mutex<Option<Next>>,
}

/// How a socket goes on when its HTTP is over.
pub(crate) enum Next {
    Stream(Successor),
    Page(NewPage),
    /// These bytes are the last.
    Refusal(Vec<u8>),
}

impl From<Successor> for Next {
    fn from(stream: Successor) -> Next {
        Next::Stream(stream)
    }
}

/// A page that goes on by Pusher's protocol.
pub(crate) struct NewPage {
    pub(crate) client: InnerClient,
    pub(crate) app: Arc<PusherApp>,
    /// What is sent first.
    pub(crate) head: Vec<u8>,
}

/// A client that goes on with the socket of its HTTP connection.
pub(crate) struct Successor {
    pub(crate) client: InnerClient,
    /// What it goes on with.
    pub(crate) stream: EventStream,
}

/// A stream that can be taken out of the runtime.
trait Leave: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn leave(self) -> io::Result<(std::net::TcpStream, Option<ServerConnection>)>;
}

impl Leave for Socket {
    fn leave(self) -> io::Result<(std::net::TcpStream, Option<ServerConnection>)> {
        Ok((Socket::leave(self)?, None))
    }
}

impl Leave for TlsStream<Socket> {
    fn leave(self) -> io::Result<(std::net::TcpStream, Option<ServerConnection>)> {
        let (socket, session) = self.into_inner();
        Ok((socket.leave()?, Some(session)))
    }
}

impl Shared {
    pub(crate) fn new(engine: Engine) -> Shared {
        Shared {
            engine,
            budget: Arc::new(Budget::of(HELD_BYTES_MAX)),
            heads: Arc::new(Budget::of(HEADS_BYTES_MAX)),
            token_keys: KeyFile::default(),
            dashboard: Dashboard::default(),
            metrics: Arc::default(),
        }
    }
}

/// What is said, where it can be, to a connection beyond `maxclients`.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 45\r\n\
    connection: close\r\n\r\n{\"error\":\"ERR max number of clients reached\"}";

/// What is said to a client that speaks HTTP without TLS to a port of HTTPS.
const NEEDS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 51\r\n\
    connection: close\r\n\r\n{\"error\":\"ERR This port speaks TLS: use https://\"}\n";

/// Takes in connections at `first`, and from each change on where it says.
pub(crate) async fn listen(
    first: Vec<HttpListener>,
    mut changes: UnboundedReceiver<HttpChange>,
    shared: Arc<Shared>,
) {
    let begin = |listener: HttpListener| {
        let place = listener.place();
        (place, tokio::spawn(accept(listener, Arc::clone(&shared))))
    };
    let mut accepting: Vec<_> = first.into_iter().map(begin).collect();
    while let Some(mut change) = changes.recv().await {
        let (kept, gone): (Vec<_>, Vec<_>) =
            accepting.into_iter().partition(|(place, _)| change.places.contains(place));
        accepting = kept;
        for (_, task) in gone {
            task.abort();
            // Its socket is closed when it has ended.
            let _ = task.await;
        }
        accepting.extend(std::mem::take(&mut change.opened).into_iter().map(begin));
    }
}

/// Takes in connections until it is aborted.
async fn accept(listener: HttpListener, shared: Arc<Shared>) {
    let tls = listener.tls;
    let listener = match TcpListener::from_std(listener.socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "HTTP can't be served"),
    };
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        let Some(seat) = shared.engine.take_seat() else {
            if !tls {
                // The socket's buffer is empty, so the text fits.
                let _ = stream.try_write(FULL);
            }
            continue;
        };
        // The kernel may refuse if the peer is gone already.
        let _ = stream.set_nodelay(true);
        let caller = Caller {
            shared: Arc::clone(&shared),
            peer: plain(peer),
            local: plain(local),
            tls,
            successor: Mutex::default(),
        };
        tokio::spawn(serve(stream, caller, seat));
    }
}

/// An IPv4 address that came in through an IPv6 socket, as IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn serve(stream: TcpStream, caller: Caller, seat: Seat) {
    if !caller.tls {
        let socket = Socket::new(stream);
        let watch = socket.watch();
        return serve_requests(socket, watch, caller, seat).await;
    }
    let Some(tls) = caller.shared.engine.tls() else { return };
    let mut first = [0];
    let peeked = timeout(HANDSHAKE_TIME_MAX, stream.peek(&mut first)).await;
    if matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_uppercase() {
        // A socket that is closed with something unread takes back what it has not delivered.
        let _ = stream.try_read(&mut [0; 4096]);
        let _ = stream.try_write(NEEDS_TLS);
        return;
    }
    let socket = Socket::new(stream);
    let watch = socket.watch();
    let handshake = timeout(HANDSHAKE_TIME_MAX, TlsAcceptor::from(tls).accept(socket)).await;
    match handshake {
        Ok(Ok(stream)) => serve_requests(stream, watch, caller, seat).await,
        Ok(Err(error)) => tracing::debug!(%error, addr = %caller.peer, "TLS failed"),
        Err(_) => {}
    }
}

async fn serve_requests(stream: impl Leave, watch: Watch, caller: Caller, seat: Seat) {
    let caller = Arc::new(caller);
    let asker = Arc::clone(&caller);
    let head = Arc::new(Head::new(&caller.shared.heads));
    let stream = Guarded::new(stream, WRITE_STALL_MAX, Arc::clone(&head));
    let service = service_fn(move |request| {
        let caller = Arc::clone(&asker);
        let body = head.end();
        // In a box of its own, which a connection without a request has not.
        Box::pin(async move {
            let response = route::answer(&caller, request).await;
            drop(body);
            Ok::<_, Infallible>(response)
        })
    });
    let flushed = stream.flushed();
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // When whoever has left is given up.
    let mut end: Option<Pin<Box<Sleep>>> = None;
    let successor = poll_fn(|context| {
        match Pin::new(&mut connection).poll(context) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, addr = %caller.peer, "an HTTP connection ended");
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        // Answers to earlier requests go out first; until then the request that became a stream waits.
        if flushed.load(Relaxed)
            && let Some(successor) = caller.take_successor()
        {
            return Poll::Ready(Some(successor));
        }
        if end.is_none() {
            ready!(watch.poll_end(context));
        }
        let end = end.get_or_insert_with(|| Box::pin(sleep(LEFT_TIME_MAX)));
        end.as_mut().poll(context).map(|()| None)
    })
    .await;
    drop(watch);
    let Some(next) = successor else { return };
    let parts = connection.into_parts();
    let (mut stream, early) = (parts.io.into_inner().into_inner(), parts.read_buf);
    if let Next::Refusal(bytes) = &next {
        // Whoever takes nothing has failed.
        let _ = timeout(WRITE_STALL_MAX, dismiss(&mut stream, bytes)).await;
        return;
    }
    match (stream.leave(), next) {
        (Ok((socket, tls)), Next::Stream(Successor { client, stream })) => {
            client.hand_over(socket, tls, seat, stream);
        }
        (Ok((socket, tls)), Next::Page(NewPage { client, app, head })) => {
            client.become_page(socket, tls, seat, app, head, early.to_vec());
        }
        (Ok(_), Next::Refusal(_)) => {}
        (Err(error), _) => tracing::debug!(%error, addr = %caller.peer, "a stream could not be handed over"),
    }
}

/// Sends the last bytes, and waits for the end of what the peer sends: a socket that is closed with something unread takes back
/// what it has not delivered.
async fn dismiss(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        sent += poll_fn(|context| Pin::new(&mut *stream).poll_write(context, &bytes[sent..])).await?;
    }
    poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context)).await?;
    let mut passed = [0; 1024];
    for _ in 0..DISMISSAL_READS_MAX {
        let mut room = ReadBuf::new(&mut passed);
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut room)).await?;
        if room.filled().is_empty() {
            break;
        }
    }
    Ok(())
}

/// Reads after which a peer that goes on sending is closed all the same.
const DISMISSAL_READS_MAX: usize = 16;

impl Caller {
    fn take_successor(&self) -> Option<Next> {
        self.successor.lock().ok()?.take()
    }

    /// Has `successor` take over the socket; what was asked for is answered by it.
    pub(crate) async fn succeed(&self, successor: impl Into<Next>) -> Infallible {
        if let Ok(mut place) = self.successor.lock() {
            *place = Some(successor.into());
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::{FULL, NEEDS_TLS};

    #[test]
    fn answers_that_are_written_out_have_the_length_that_they_say() {
        for answer in [FULL, NEEDS_TLS] {
            let body = answer.splitn(2, |&byte| byte == b'{').nth(1).map_or(0, <[u8]>::len) + 1;
            assert!(String::from_utf8_lossy(answer).contains(&format!("content-length: {body}\r\n")));
        }
    }
}
