//! A socket whose peer is watched while nobody reads.
//!
//! While a request is being answered, hyper reads no more than a little of what comes behind it, and a body only as it is asked for. So
//! it does not learn that its client has left if something stands before the end of what the client has sent: a request behind
//! this one, a body that nobody wants. The kernel knows all the same, and tells by the socket's readiness (`EPOLLRDHUP`), with no
//! byte read and whatever TLS makes of them.
//!
//! Few bytes are read at first: hyper offers a buffer of 8 to 16 KiB, which is zeroed as far as it may be read into, and each of
//! thousands of unfinished heads would take all of that.
//!
//! Readiness is told once for each packet, and is forgotten by whoever watches. So who reads later does not wait for it while
//! something may be there (`may_have_more`).

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read at once: as many as most heads have, and more where there were as many.
const READ_BYTES_MIN: usize = 2 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Socket(Arc<Shared>);

/// Watches the peer of a socket. It is used by the task that reads: either waits in the other's place.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    /// Something may be there to be read whatever the readiness says. One task alone uses it.
    may_have_more: AtomicBool,
    /// Bytes that are read at once. The same.
    read_bytes: AtomicUsize,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Socket {
        let read_bytes = AtomicUsize::new(READ_BYTES_MIN);
        Socket(Arc::new(Shared { stream, may_have_more: AtomicBool::new(false), read_bytes }))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }

    /// The socket itself, once nobody watches it.
    pub(crate) fn leave(self) -> io::Result<std::net::TcpStream> {
        let shared = Arc::into_inner(self.0).ok_or_else(|| io::Error::other("the socket is watched"))?;
        shared.stream.into_std()
    }
}

impl Watch {
    /// Waits until the peer has said that it sends no more, or is gone.
    pub(crate) fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        let Shared { stream, may_have_more, .. } = &*self.0;
        loop {
            // Either fails where the runtime ends. What is ready is told at once.
            let is_closed = ready!(stream.poll_read_ready(context)).is_err()
                || match pin!(stream.ready(Interest::READABLE)).poll(context) {
                    Poll::Ready(ready) => ready.is_ok_and(|ready| ready.is_read_closed()),
                    Poll::Pending => false,
                };
            if is_closed {
                return Poll::Ready(());
            }
            may_have_more.store(true, Relaxed);
            // The readiness is taken back, so that the next packet, and the end, are told.
            let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Shared { stream, may_have_more, read_bytes } = &*self.0;
        let wanted = read_bytes.load(Relaxed);
        let bytes_max = wanted.min(buf.remaining());
        loop {
            let read = if may_have_more.load(Relaxed) {
                let read = (&*SockRef::from(stream)).read(buf.initialize_unfilled_to(bytes_max));
                may_have_more.store(!is_nothing(&read), Relaxed);
                read
            } else {
                ready!(stream.poll_read_ready(context))?;
                stream.try_read(buf.initialize_unfilled_to(bytes_max))
            };
            if !is_nothing(&read) {
                if read.as_ref().is_ok_and(|&bytes| bytes == wanted) {
                    read_bytes.store((2 * wanted).min(READ_BYTES_MAX), Relaxed);
                }
                return Poll::Ready(read.map(|bytes| buf.advance(bytes)));
            }
        }
    }
}

/// Whether nothing was there to be read.
fn is_nothing(read: &io::Result<usize>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl Socket {
    fn poll_write_by(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match write(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                wrote => return Poll::Ready(wrote),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use std::mem::MaybeUninit;
    use std::net;

    #[test]
    fn few_bytes_are_read_at_first_and_touch_no_more_of_a_large_buffer_and_more_where_there_are_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut socket = Socket::new(TcpStream::from_std(stream).unwrap());
            let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
            let sender = std::thread::spawn({
                let sent = sent.clone();
                move || peer.write_all(&sent).unwrap()
            });
            let (mut got, mut bytes_max) = (Vec::new(), READ_BYTES_MIN);
            while got.len() < sent.len() {
                let mut buffer = vec![MaybeUninit::uninit(); 2 * READ_BYTES_MAX];
                let mut room = ReadBuf::uninit(&mut buffer);
                poll_fn(|context| Pin::new(&mut socket).poll_read(context, &mut room)).await.unwrap();
                assert!(room.initialized().len() <= bytes_max, "{} of {bytes_max}", room.initialized().len());
                if room.filled().len() == bytes_max {
                    bytes_max = (2 * bytes_max).min(READ_BYTES_MAX);
                }
                got.extend_from_slice(room.filled());
            }
            assert!(got == sent);
            sender.join().unwrap();
        });
    }

    #[test]
    fn a_peer_that_leaves_is_noticed_behind_what_nobody_reads_which_can_be_read_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut socket = Socket::new(TcpStream::from_std(stream).unwrap());
            let watch = socket.watch();
            let mut read = async |most: usize| {
                let mut bytes = vec![0; most];
                let mut room = ReadBuf::new(&mut bytes);
                poll_fn(|context| Pin::new(&mut socket).poll_read(context, &mut room)).await.unwrap();
                let count = room.filled().len();
                bytes.truncate(count);
                bytes
            };
            peer.write_all(b"abc").unwrap();
            assert_eq!(read(1).await, b"a");
            // What is there is no end, and readiness is forgotten.
            let is_over = poll_fn(|context| Poll::Ready(watch.poll_end(context).is_ready())).await;
            assert!(!is_over);
            assert_eq!((read(1).await, read(9).await), (b"b".to_vec(), b"c".to_vec()));
            peer.write_all(b"de").unwrap();
            drop(peer);
            poll_fn(|context| watch.poll_end(context)).await;
            assert_eq!((read(1).await, read(9).await, read(9).await), (b"d".to_vec(), b"e".to_vec(), vec![]));
            assert!(socket.leave().is_err(), "it is watched");
        });
    }
}
