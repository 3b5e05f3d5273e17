//! The socket of a connection: TCP or Unix, plain or under TLS; or a pipe inside the process.
//!
//! A transport moves bytes and says when it would block; it knows nothing of requests. Registered once with the
//! reactor, edge-triggered, for both directions: whoever sees `WouldBlock` waits for the next edge.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConnection;

use super::pipe::PipeEnd;
use super::state::ConnectionRef;

/// Plain bytes that rustls may hold encrypted for one connection: one turn's worth of records, so that a slow client
/// costs ranges in its output queue and not copies in its TLS state.
const TLS_PENDING_BYTES_MAX: usize = 64 * 1024;

/// Reads from the socket for one read of plain bytes: records may hold none, and a peer could send them without end.
const TLS_READS_MAX: usize = 16;

/// A stream socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A client inside the process. It holds no descriptor, and is not counted by `maxclients`.
    Pipe(PipeEnd),
}

/// A connection's way in and out.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

/// A socket under TLS.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: Socket,
    session: ServerConnection,
}

impl Transport {
    pub(crate) fn tls(socket: Socket, mut session: ServerConnection) -> Transport {
        session.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        Transport::Tls(Box::new(TlsStream { socket, session }))
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(tls) => &mut tls.socket,
        }
    }

    /// Asks the reactor for edges in both directions, for the connection `me`.
    pub(crate) fn register(&mut self, registry: &Registry, me: ConnectionRef) -> io::Result<()> {
        let (token, both) = (Token(me.slot), Interest::READABLE | Interest::WRITABLE);
        match self.socket() {
            Socket::Tcp(stream) => registry.register(stream, token, both),
            Socket::Unix(stream) => registry.register(stream, token, both),
            Socket::Pipe(end) => {
                end.set_place(me);
                Ok(())
            }
        }
    }

    /// Reads into `buf`; 0 is the end of the stream, `WouldBlock` that nothing is left to read.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buf),
            Transport::Tls(tls) => tls.read(buf),
        }
    }

    /// Writes what it can of `slices`. Under TLS the bytes may be taken and not yet be on the wire:
    /// see [`Transport::wants_flush`].
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write_slices(slices),
            Transport::Tls(tls) => tls.write(slices),
        }
    }

    /// Whether the TLS handshake has yet to be finished.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(tls) => tls.session.is_handshaking(),
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_flush(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Sends encrypted bytes that wait, until none is left or the socket would block.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) => Ok(()),
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

    /// Ends both directions, so that the peer sees the end now and not when the connection is dropped.
    pub(crate) fn shut_down(&mut self) {
        // A peer that is gone already has ended them itself.
        let _ = match self.socket() {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            // It ends when the connection is dropped.
            Socket::Pipe(_) => Ok(()),
        };
    }

    /// Whether it is under TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Bytes the transport itself holds on the heap, as far as can be known.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Transport::Plain(Socket::Pipe(end)) => end.heap_bytes(),
            Transport::Plain(_) => 0,
            Transport::Tls(_) => size_of::<TlsStream>(),
        }
    }

    /// Its descriptor, if it holds one.
    pub(crate) fn fd(&self) -> Option<i32> {
        let socket = match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(tls) => &tls.socket,
        };
        match socket {
            Socket::Tcp(stream) => Some(stream.as_raw_fd()),
            Socket::Unix(stream) => Some(stream.as_raw_fd()),
            Socket::Pipe(_) => None,
        }
    }
}

impl Socket {
    fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Socket::Tcp(stream), [one]) => stream.write(one),
            (Socket::Tcp(stream), many) => stream.write_vectored(many),
            (Socket::Unix(stream), [one]) => stream.write(one),
            (Socket::Unix(stream), many) => stream.write_vectored(many),
            // What it doesn't take is offered again.
            (Socket::Pipe(end), many) => many.first().map_or(Ok(0), |slice| end.write(slice)),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buf),
            Socket::Unix(stream) => stream.read(buf),
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

impl TlsStream {
    /// Errors beside the socket's: `Interrupted` if so many records held nothing to read that others are to be served first.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..TLS_READS_MAX {
            match self.session.reader().read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // An end without close_notify is an end all the same: requests carry their own lengths.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            let received = self.session.read_tls(&mut self.socket)?;
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
        let taken = self.session.writer().write_vectored(slices)?;
        match self.flush() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
