//! The socket of a connection: TCP or Unix, plain or under TLS; or a pipe inside the process.
//!
//! A transport moves bytes and says when it would block; it knows nothing of requests. Registered once with the
//! reactor, edge-triggered, for both directions: whoever sees `WouldBlock` waits for the next edge.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ServerConnection;
use smallvec::SmallVec;
use socket2::SockRef;

use crate::limits::HANDSHAKE_BYTES_MAX;

use super::unacknowledged;

use super::pipe::{Pipe, PipeEnd};
use super::state::ConnectionRef;

/// Plain bytes that rustls may hold encrypted for one connection: one turn's worth of records, so that a slow client
/// costs ranges in its output queue and not copies in its TLS state.
const TLS_PENDING_BYTES_MAX: usize = 64 * 1024;

/// Reads from the socket for one read of plain bytes: records may hold none, and a peer could send them without end.
const TLS_READS_MAX: usize = 16;

/// What a session holds beside what it was sent, most of it for its keys: measured, with 2 000 idle ones.
const SESSION_BYTES: usize = 7 * 1024;

/// A stream socket. Its connection alone reads and writes; what [`Peer`] needs of it is shared.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
    /// A client inside the process. It holds no descriptor, and is not counted by `maxclients`.
    Pipe(PipeEnd),
}

/// What any thread may ask about the other end of a socket, which it doesn't keep open.
#[derive(Debug)]
pub(crate) enum Peer {
    Tcp(Weak<TcpStream>),
    Unix(Weak<UnixStream>),
    Pipe(Weak<Pipe>),
}

impl Peer {
    fn asked(&self) -> Asked {
        match self {
            Peer::Tcp(stream) => stream.upgrade().map_or(Asked::Known { has_left: true }, Asked::Tcp),
            Peer::Unix(stream) => stream.upgrade().map_or(Asked::Known { has_left: true }, Asked::Unix),
            Peer::Pipe(pipe) => {
                Asked::Known { has_left: pipe.upgrade().is_none_or(|pipe| pipe.client_has_left()) }
            }
        }
    }
}

/// A peer that is asked about.
enum Asked {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
    /// The kernel need not be asked.
    Known {
        has_left: bool,
    },
}

impl Asked {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Asked::Tcp(stream) => Some(stream.as_fd()),
            Asked::Unix(stream) => Some(stream.as_fd()),
            Asked::Known { .. } => None,
        }
    }
}

/// Which of these peers have ended the connection, or what they send, as far as the kernel knows: the connections' shards may have
/// yet to read up to there; who has none is there. One system call for all of them.
pub(crate) fn have_left<'p>(peers: impl Iterator<Item = Option<&'p Peer>>) -> SmallVec<[bool; 1]> {
    let asked = |peer: Option<&Peer>| peer.map_or(Asked::Known { has_left: false }, Peer::asked);
    let asked: SmallVec<[Asked; 1]> = peers.map(asked).collect();
    let sockets = asked.iter().filter_map(Asked::socket);
    let mut polled: SmallVec<[PollFd<'_>; 1]> =
        sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)).collect();
    if !polled.is_empty() {
        // What can't be asked is there.
        let _ = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }
    // The end of what the peer sends has arrived, behind whatever has.
    let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut polled = polled.iter().map(|polled| polled.revents().intersects(ends));
    let has_left = |asked: &Asked| match asked {
        Asked::Known { has_left } => *has_left,
        Asked::Tcp(_) | Asked::Unix(_) => polled.next().unwrap_or_default(),
    };
    asked.iter().map(has_left).collect()
}

/// A connection's way in and out.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream>),
    /// None: the connection is detached.
    Gone,
}

/// A socket under TLS.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: Socket,
    session: ServerConnection,
    /// What was sealed, where it matters how much of it has been acknowledged.
    sealed: Option<Box<Sealed>>,
    /// Its first byte has been looked at.
    has_begun: bool,
    /// Bytes read until the handshake was done. As far as they make no whole message, the session keeps them.
    handshake_bytes: usize,
}

/// Plain bytes and what was made of them, write by write, the oldest first.
#[derive(Debug, Default)]
struct Sealed(VecDeque<SealedWrite>);

#[derive(Debug, Clone, Copy)]
struct SealedWrite {
    plain_bytes: usize,
    /// With the headers and tags of the records.
    sealed_bytes: usize,
}

/// Plain bytes of a full record.
const RECORD_BYTES_MAX: usize = 16 * 1024;

impl Transport {
    pub(crate) fn tls(socket: Socket, mut session: ServerConnection) -> Transport {
        session.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        let has_begun = !session.is_handshaking();
        Transport::Tls(Box::new(TlsStream { socket, session, sealed: None, has_begun, handshake_bytes: 0 }))
    }

    /// Whether it is a client inside the process.
    pub(crate) fn is_pipe(&self) -> bool {
        matches!(self.socket(), Some(Socket::Pipe(_)))
    }

    /// Of what a client inside the process has sent nothing beyond so many bytes was executed, nor will be.
    pub(crate) fn set_executed(&self, bytes: u64) {
        if let Some(Socket::Pipe(end)) = self.socket() {
            end.set_executed(bytes);
        }
    }

    fn socket(&self) -> Option<&Socket> {
        match self {
            Transport::Plain(socket) => Some(socket),
            Transport::Tls(tls) => Some(&tls.socket),
            Transport::Gone => None,
        }
    }

    /// Asks the reactor for edges in both directions, for the connection `me`.
    pub(crate) fn register(&self, registry: &Registry, me: ConnectionRef) -> io::Result<()> {
        let (token, both) = (Token(me.slot), Interest::READABLE | Interest::WRITABLE);
        match self.socket() {
            Some(Socket::Pipe(end)) => {
                end.set_place(me);
                Ok(())
            }
            Some(Socket::Tcp(_) | Socket::Unix(_)) | None => match self.fd() {
                Some(fd) => registry.register(&mut SourceFd(&fd), token, both),
                None => Ok(()),
            },
        }
    }

    /// Takes it out of the reactor that it is registered with.
    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        match self.fd() {
            Some(fd) => registry.deregister(&mut SourceFd(&fd)),
            None => Ok(()),
        }
    }

    /// Notes from now on, or no longer, what [`Transport::unacknowledged_bytes`] needs.
    pub(crate) fn note_sealed(&mut self, notes: bool) {
        if let Transport::Tls(tls) = self {
            match notes {
                true => _ = tls.sealed.get_or_insert_default(),
                false => tls.sealed = None,
            }
        }
    }

    /// Of the bytes that `write` has taken, how many the peer's TCP may not have: it has acknowledged all before these, under
    /// TLS all records before theirs. A Unix socket loses nothing.
    pub(crate) fn unacknowledged_bytes(&mut self) -> usize {
        let Some(Socket::Tcp(stream)) = self.socket() else { return 0 };
        let unacknowledged = unacknowledged::bytes(stream).unwrap_or(usize::MAX);
        match self {
            Transport::Tls(tls) => tls.unacknowledged_plain_bytes(unacknowledged),
            _ => unacknowledged,
        }
    }

    /// Reads into `buf`; 0 is the end of the stream, `WouldBlock` that nothing is left to read.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buf),
            Transport::Tls(tls) => tls.read(buf),
            Transport::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes what it can of `slices`. Under TLS the bytes may be taken and not yet be on the wire:
    /// see [`Transport::wants_flush`].
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write_slices(slices),
            Transport::Tls(tls) => tls.write(slices),
            Transport::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether the TLS handshake has yet to be finished.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Gone => false,
            Transport::Tls(tls) => tls.session.is_handshaking(),
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_flush(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Gone => false,
            Transport::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Sends encrypted bytes that wait, until none is left or the socket would block.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) | Transport::Gone => Ok(()),
            Transport::Tls(tls) => tls.flush(),
        }
    }

    /// Ends the session where the protocol has a message for it (TLS: close_notify).
    pub(crate) fn close_notify(&mut self) {
        if let Transport::Tls(tls) = self {
            tls.session.send_close_notify();
            // The peer may be gone already; nothing depends on its hearing this.
            let _ = tls.flush();
        }
    }

    /// Gives the connection up: what the peer has not acknowledged is not sent any more, should it still be there.
    pub(crate) fn abort(&mut self) {
        if let Some(Socket::Tcp(stream)) = self.socket() {
            // A socket that can't linger is closed in order, and the peer may get what is sent again.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        *self = Transport::Gone;
    }

    /// Ends both directions, so that the peer sees the end now and not when the connection is dropped.
    pub(crate) fn shut_down(&mut self) {
        // A peer that is gone already has ended them itself.
        let _ = match self.socket() {
            Some(Socket::Tcp(stream)) => stream.shutdown(Shutdown::Both),
            Some(Socket::Unix(stream)) => stream.shutdown(Shutdown::Both),
            // A pipe ends when the connection is dropped.
            Some(Socket::Pipe(_)) | None => Ok(()),
        };
    }

    /// Ends what is sent, so that the peer sees the end, and may still send.
    pub(crate) fn end_output(&mut self) {
        // A peer that is gone already has ended both directions itself.
        let _ = match self.socket() {
            Some(Socket::Tcp(stream)) => stream.shutdown(Shutdown::Write),
            Some(Socket::Unix(stream)) => stream.shutdown(Shutdown::Write),
            Some(Socket::Pipe(_)) | None => Ok(()),
        };
    }

    /// For whoever hands something to the client.
    pub(crate) fn peer(&self) -> Option<Peer> {
        Some(match self.socket()? {
            Socket::Tcp(stream) => Peer::Tcp(Arc::downgrade(stream)),
            Socket::Unix(stream) => Peer::Unix(Arc::downgrade(stream)),
            Socket::Pipe(end) => Peer::Pipe(Arc::downgrade(&end.0)),
        })
    }

    /// Its descriptor, if it holds one.
    pub(crate) fn fd(&self) -> Option<i32> {
        match self.socket()? {
            Socket::Tcp(stream) => Some(stream.as_raw_fd()),
            Socket::Unix(stream) => Some(stream.as_raw_fd()),
            Socket::Pipe(_) => None,
        }
    }

    /// The same, for who waits for it.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self.socket()? {
            Socket::Tcp(stream) => Some(stream.as_fd()),
            Socket::Unix(stream) => Some(stream.as_fd()),
            Socket::Pipe(_) => None,
        }
    }

    /// Whether it is under TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Bytes the transport itself holds on the heap, as far as can be known.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Transport::Plain(Socket::Pipe(end)) => end.heap_bytes(),
            Transport::Plain(_) | Transport::Gone => 0,
            Transport::Tls(tls) => {
                let sealed = tls.sealed.as_ref().map_or(0, |sealed| sealed.0.capacity());
                let unfinished = if tls.session.is_handshaking() { 2 * tls.handshake_bytes } else { 0 };
                size_of::<TlsStream>() + SESSION_BYTES + unfinished + sealed * size_of::<SealedWrite>()
            }
        }
    }
}

impl Socket {
    fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Socket::Tcp(stream), [one]) => (&**stream).write(one),
            (Socket::Tcp(stream), many) => (&**stream).write_vectored(many),
            (Socket::Unix(stream), [one]) => (&**stream).write(one),
            (Socket::Unix(stream), many) => (&**stream).write_vectored(many),
            // What it doesn't take is offered again.
            (Socket::Pipe(end), many) => many.first().map_or(Ok(0), |slice| end.write(slice)),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&**stream).read(buf),
            Socket::Unix(stream) => (&**stream).read(buf),
            Socket::Pipe(end) => end.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_slices(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_slices(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What whoever speaks no TLS to a port of TLS is told.
const NEEDS_TLS: &[u8] =
    b"-ERR this port speaks TLS: connect with --tls, or by a URL that begins with rediss://\r\n";

/// The first byte of every session of TLS: a record of a handshake.
const HANDSHAKE: u8 = 0x16;

impl TlsStream {
    /// Looks at the first byte, and tells a client that speaks no TLS so, in words that it can read.
    fn begin(&mut self) -> io::Result<()> {
        let Socket::Tcp(stream) = &self.socket else { return Ok(()) };
        let mut first = [HANDSHAKE];
        stream.peek(&mut first)?;
        self.has_begun = true;
        if first[0] == HANDSHAKE {
            return Ok(());
        }
        // A socket that is closed with something unread takes back what it has not delivered.
        let _ = self.socket.read(&mut [0; 4096]);
        // An empty socket's buffer takes it; a client that is gone has missed nothing.
        let _ = self.socket.write(NEEDS_TLS);
        Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks no TLS"))
    }

    /// Errors beside the socket's: `Interrupted` if so many records held nothing to read that others are to be served first.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.has_begun {
            self.begin()?;
        }
        for _ in 0..TLS_READS_MAX {
            match self.session.reader().read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // An end without close_notify is an end all the same: requests carry their own lengths.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            let received = self.session.read_tls(&mut self.socket)?;
            if self.session.is_handshaking() {
                self.handshake_bytes += received;
                if self.handshake_bytes > HANDSHAKE_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long"));
                }
            }
            let processed = self.session.process_new_packets();
            // Handshake answers, and the alert that says why a handshake failed, go out now.
            match self.flush() {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            processed.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if received == 0 {
                return Ok(0);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let taken = match self.sealed.is_some() {
            true => self.write_noting(slices)?,
            false => self.session.writer().write_vectored(slices)?,
        };
        // What was taken is taken, even if the socket has failed: the next call finds that out.
        let _ = self.flush();
        Ok(taken)
    }

    /// Seals what it can of `slices`, and notes what became of it.
    fn write_noting(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.waiting_bytes();
        let plain_bytes = self.session.writer().write_vectored(slices)?;
        let sealed_bytes = self.waiting_bytes().saturating_sub(before);
        if let Some(sealed) = &mut self.sealed {
            sealed.0.push_back(SealedWrite { plain_bytes, sealed_bytes });
        }
        Ok(plain_bytes)
    }

    /// Sealed bytes that wait for the socket.
    fn waiting_bytes(&mut self) -> usize {
        // A session that has failed is not written to any more.
        self.session.process_new_packets().map_or(0, |state| state.tls_bytes_to_write())
    }

    fn unacknowledged_plain_bytes(&mut self, unacknowledged: usize) -> usize {
        let waiting = self.waiting_bytes();
        self.sealed
            .as_mut()
            .map_or(usize::MAX, |sealed| sealed.acknowledge(unacknowledged.saturating_add(waiting)))
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Sealed {
    /// Only the last `unacknowledged` sealed bytes may have been lost: how many plain bytes the records hold that these lie in.
    /// Forgets the writes before them.
    fn acknowledge(&mut self, mut unacknowledged: usize) -> usize {
        let (mut plain_bytes, mut writes) = (0_usize, 0);
        for write in self.0.iter().rev() {
            if unacknowledged == 0 {
                break;
            }
            let lost = unacknowledged.min(write.sealed_bytes);
            plain_bytes += write.plain_in_last(lost);
            unacknowledged -= lost;
            writes += 1;
        }
        self.0.drain(..self.0.len() - writes);
        // What was written before the notes began may be lost as well.
        if unacknowledged > 0 { usize::MAX } else { plain_bytes }
    }
}

impl SealedWrite {
    /// Plain bytes of the records that its last `sealed_bytes` lie in. All its records are full but the last one.
    fn plain_in_last(self, sealed_bytes: usize) -> usize {
        let records = self.plain_bytes.div_ceil(RECORD_BYTES_MAX).max(1);
        let around = self.sealed_bytes.saturating_sub(self.plain_bytes);
        if !around.is_multiple_of(records) {
            // Something else was sealed with it.
            return self.plain_bytes;
        }
        let overhead = around / records;
        let last = self.plain_bytes - (records - 1) * RECORD_BYTES_MAX;
        let before_last = sealed_bytes.saturating_sub(last + overhead);
        last + before_last.div_ceil(RECORD_BYTES_MAX + overhead) * RECORD_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;

    /// Waits until the kernel has delivered what was sent.
    fn await_end(peer: &Peer) {
        let began = Instant::now();
        while !has_left(peer) {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }

    fn has_left(peer: &Peer) -> bool {
        have_left([Some(peer)].into_iter())[0]
    }

    #[test]
    fn a_peer_has_left_when_its_end_has_arrived_whatever_it_has_sent_before() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = TcpStream::from_std(listener.accept().unwrap().0);
            (client, Transport::Plain(Socket::Tcp(Arc::new(socket))))
        };
        type End = fn(std::net::TcpStream);
        let ends: [End; 3] = [
            drop,
            |client| client.shutdown(Shutdown::Write).unwrap(),
            |client| SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap(),
        ];
        for end in ends {
            let (mut client, transport) = connect();
            let peer = transport.peer().expect("a socket");
            client.write_all(b"PING\r\n").unwrap();
            assert!(!has_left(&peer));
            end(client);
            await_end(&peer);
        }
        let (client, transport) = connect();
        let peer = transport.peer().expect("a socket");
        drop(transport);
        assert!(has_left(&peer), "the connection is closed");
        drop(client);
    }

    #[test]
    fn the_same_holds_of_unix_sockets_and_of_clients_inside_the_process() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let transport = Transport::Plain(Socket::Unix(Arc::new(UnixStream::from_std(one))));
        let peer = transport.peer().expect("a socket");
        assert!(!has_left(&peer));
        drop(other);
        await_end(&peer);
        let pipe = Arc::new(Pipe::default());
        let transport = Transport::Plain(Socket::Pipe(PipeEnd(Arc::clone(&pipe))));
        let peer = transport.peer().expect("a pipe");
        assert!(!has_left(&peer));
        pipe.leave();
        assert!(has_left(&peer));
    }

    #[test]
    fn of_many_that_are_asked_about_together_each_is_told_for_itself() {
        let pairs: Vec<_> = (0..70).map(|_| std::os::unix::net::UnixStream::pair().unwrap()).collect();
        let (pipe, gone) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
        gone.leave();
        let (mut others, mut transports) = (Vec::new(), Vec::new());
        for (at, (one, other)) in pairs.into_iter().enumerate() {
            transports.push(Transport::Plain(Socket::Unix(Arc::new(UnixStream::from_std(one)))));
            others.push((at % 3 != 0).then_some(other));
            if at % 10 == 0 {
                let pipe = if at % 20 == 0 { &pipe } else { &gone };
                transports.push(Transport::Plain(Socket::Pipe(PipeEnd(Arc::clone(pipe)))));
            }
        }
        let peers: Vec<Peer> = transports.iter().map(|transport| transport.peer().unwrap()).collect();
        let mut expected = Vec::new();
        for at in 0..70 {
            expected.push(at % 3 == 0);
            if at % 10 == 0 {
                expected.push(at % 20 != 0);
            }
        }
        assert_eq!(have_left(peers.iter().map(Some))[..], expected);
        assert_eq!(have_left([None, Some(&peers[0])].into_iter())[..], [false, true]);
    }

    #[test]
    fn a_record_is_lost_whole_and_no_other_with_it() {
        let full = RECORD_BYTES_MAX + 22;
        let write = |plain_bytes: usize| SealedWrite {
            plain_bytes,
            sealed_bytes: plain_bytes + 22 * plain_bytes.div_ceil(RECORD_BYTES_MAX),
        };
        let lost = |writes: &[usize], unacknowledged| {
            let mut sealed = Sealed(writes.iter().map(|&bytes| write(bytes)).collect());
            (sealed.acknowledge(unacknowledged), sealed.0.len())
        };
        assert_eq!(lost(&[100, 50], 0), (0, 0));
        assert_eq!(lost(&[100, 50], 1), (50, 1));
        assert_eq!(lost(&[100, 50], 72), (50, 1));
        assert_eq!(lost(&[100, 50], 73), (150, 2));
        let long = 2 * RECORD_BYTES_MAX + 10;
        assert_eq!(lost(&[long], 32), (10, 1));
        assert_eq!(lost(&[long], 33), (10 + RECORD_BYTES_MAX, 1));
        assert_eq!(lost(&[long], 32 + full), (10 + RECORD_BYTES_MAX, 1));
        assert_eq!(lost(&[long], 33 + full), (long, 1));
        assert_eq!(lost(&[long], 33 + 2 * full), (usize::MAX, 1), "more than was noted");
        let odd = SealedWrite { plain_bytes: long, sealed_bytes: long + 67 };
        assert_eq!(odd.plain_in_last(1), long);
    }
}
