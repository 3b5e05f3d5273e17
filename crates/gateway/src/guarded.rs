//! A socket whose peer must take what it is sent: one that takes nothing for some time has failed. So has one whose head of a
//! request is long and would be more than all of them may hold.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::budget::{Budget, Held};
use crate::limits::SHORT_HEAD_BYTES_MAX;

/// Bytes that are held for one of a head: the buffer doubles as it grows, and begins with as much.
const BYTES_PER_HEAD_BYTE: usize = 3;

/// The head of a connection's next request, as far as it has come. (All on one thread.)
#[derive(Debug)]
pub(crate) struct Head {
    bytes: AtomicUsize,
    /// Requests that are being answered: what is read meanwhile are their bodies.
    under_way: AtomicUsize,
    held: Mutex<Held>,
}

impl Head {
    pub(crate) fn new(all: &Arc<Budget>) -> Head {
        Head { bytes: AtomicUsize::new(0), under_way: AtomicUsize::new(0), held: Mutex::new(Held::new(all)) }
    }

    /// So much more has been read. False: that is more than there is room for.
    fn grow(&self, bytes: usize) -> bool {
        if self.under_way.load(Relaxed) > 0 {
            return true;
        }
        let bytes = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        bytes <= SHORT_HEAD_BYTES_MAX || self.hold(bytes * BYTES_PER_HEAD_BYTE)
    }

    fn hold(&self, bytes: usize) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).set(bytes)
    }

    /// It is whole. What is read from now on belongs to its request, until what this gives back is dropped.
    pub(crate) fn end(self: &Arc<Head>) -> Body {
        self.under_way.fetch_add(1, Relaxed);
        self.bytes.store(0, Relaxed);
        self.hold(0);
        Body(Arc::clone(self))
    }
}

/// See [`Head::end`].
pub(crate) struct Body(Arc<Head>);

impl Drop for Body {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// See the module.
pub(crate) struct Guarded<T> {
    socket: T,
    head: Arc<Head>,
    /// Whether all that was written to it is on its way. Pairs with whoever wants to take the socket, on this thread.
    is_flushed: Arc<AtomicBool>,
    patience: Duration,
    /// When its patience ends, while it waits for room.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<T> Guarded<T> {
    pub(crate) fn new(socket: T, patience: Duration, head: Arc<Head>) -> Guarded<T> {
        Guarded { socket, head, is_flushed: Arc::new(AtomicBool::new(true)), patience, stall: None }
    }

    /// Tells, now and later, whether all that was written is on its way. Whoever writes flushes when it has no more.
    pub(crate) fn flushed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_flushed)
    }

    /// The socket itself.
    pub(crate) fn into_inner(self) -> T {
        self.socket
    }

    /// Passes on what the socket says of a write, with an end to waiting.
    fn watch<R>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if wrote.is_ready() {
            self.stall = None;
            return wrote;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buf);
        if matches!(read, Poll::Ready(Ok(()))) && !self.head.grow(buf.filled().len() - before) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed.store(false, Relaxed);
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed.store(false, Relaxed);
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.watch(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.is_flushed.store(true, Relaxed);
        }
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Takes as many bytes as it has room for, and then none.
    struct Full(usize);

    impl AsyncWrite for Full {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken > 0 { Poll::Ready(Ok(taken)) } else { Poll::Pending }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_has_failed_after_a_while() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let head = Arc::new(Head::new(&Arc::new(Budget::of(0))));
            let mut guarded = Guarded::new(Full(3), Duration::from_millis(10), head);
            let mut write = async || poll_fn(|cx| Pin::new(&mut guarded).poll_write(cx, b"ab")).await;
            assert_eq!((write().await.unwrap(), write().await.unwrap()), (2, 1));
            assert_eq!(write().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn long_heads_that_are_unfinished_have_a_bound_together_and_bodies_and_short_ones_are_no_part_of_it() {
        let all = Arc::new(Budget::of(BYTES_PER_HEAD_BYTE * 3 * SHORT_HEAD_BYTES_MAX));
        let [one, other, third] = [(); 3].map(|()| Arc::new(Head::new(&all)));
        assert!(one.grow(2 * SHORT_HEAD_BYTES_MAX) && third.grow(SHORT_HEAD_BYTES_MAX));
        assert!(other.grow(SHORT_HEAD_BYTES_MAX) && !other.grow(SHORT_HEAD_BYTES_MAX));
        let body = one.end();
        assert!(one.grow(100 * SHORT_HEAD_BYTES_MAX));
        drop(body);
        assert!(other.grow(1) && !one.grow(2 * SHORT_HEAD_BYTES_MAX));
        drop((one, other));
        assert!(third.grow(2 * SHORT_HEAD_BYTES_MAX));
    }
}
