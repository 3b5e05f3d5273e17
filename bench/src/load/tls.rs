//! TLS subscribers: a real handshake by rustls, then counting without decrypting.
//!
//! A record's header tells its length, and what encryption adds to the plaintext is the same for every record of a
//! TLS 1.3 connection. So once the handshake is over the plaintext can be counted from the headers alone, and the load
//! generator is as cheap as without TLS.
use crate::limit::{Failure, Limit};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, Stream};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Opens TLS 1.3 connections to a server with one known certificate, always with the same cipher suite.
#[derive(Debug)]
pub(crate) struct Connector(Arc<ClientConfig>);

impl Connector {
    pub(crate) fn new(certificate_der: &[u8]) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate_der.to_vec())).map_err(refused)?;
        let mut provider = rustls::crypto::ring::default_provider();
        // One suite, so that no peer is measured with a cheaper one than another.
        provider.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Connects, sends `request`, reads a reply of `lines` lines, and gives up the socket for counting.
    pub(crate) fn open(&self, address: SocketAddr, request: &[u8], lines: u64) -> Result<TcpStream, Failure> {
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::from(address.ip());
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(refused)?;
        let mut stream = Stream::new(&mut session, &mut socket);
        stream.write_all(request)?;
        let (mut reply, mut seen) = ([0; 1024], 0);
        while seen < lines {
            let length = stream.read(&mut reply)?;
            if length == 0 {
                return Err(Failure::Closed("the TLS handshake"));
            }
            seen += memchr::memchr_iter(b'\n', &reply[..length]).count() as u64;
        }
        // Nothing more can be on its way: the records that follow are the ones to be counted.
        Ok(socket)
    }
}

/// Clients that come, are answered once, and go: many handshakes under way at the same time, on one thread.
pub(crate) struct Comer {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

/// Tickets of TLS 1.3 for one server, as many as there are.
#[derive(Debug, Default)]
struct Tickets {
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
    /// Whether they are shown; until then who comes is a stranger.
    are_shown: AtomicBool,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if let Ok(mut tickets) = self.kept.lock() {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if !self.are_shown.load(Ordering::Relaxed) {
            return None;
        }
        self.kept.lock().ok()?.pop()
    }
}

/// A client on its way in.
struct Coming {
    socket: TcpStream,
    session: ClientConnection,
    is_answered: bool,
}

impl Comer {
    /// Keeps the tickets that its clients are given.
    pub(crate) fn new(certificate_der: &[u8]) -> Result<Self, Failure> {
        let mut config = ClientConfig::clone(&Connector::new(certificate_der)?.0);
        let tickets = Arc::new(Tickets::default());
        config.resumption = Resumption::store(Arc::<Tickets>::clone(&tickets));
        Ok(Self { config: Arc::new(config), tickets })
    }

    /// Has each client that comes from now on show a ticket.
    pub(crate) fn show_tickets(&self) {
        self.tickets.are_shown.store(true, Ordering::Relaxed);
    }

    /// Has `count` clients come, at most `at_once` at the same time; all stay until the last has its answer. How many
    /// were taken by their ticket.
    pub(crate) fn come(
        &self,
        address: SocketAddr,
        count: usize,
        at_once: usize,
        limit: &Limit,
    ) -> Result<usize, Failure> {
        let mut all: Vec<Coming> = Vec::with_capacity(count);
        let (mut answered, mut resumed, mut first) = (0, 0, 0);
        while answered < count {
            limit.check()?;
            while all.len() < count && all.len() - answered < at_once {
                all.push(self.begin(address)?);
            }
            let mut moved = false;
            for coming in &mut all[first..] {
                if !coming.is_answered && coming.step(&mut moved)? {
                    answered += 1;
                    let kind = coming.session.handshake_kind();
                    resumed += usize::from(kind == Some(rustls::HandshakeKind::Resumed));
                }
            }
            first += all[first..].iter().take_while(|coming| coming.is_answered).count();
            if !moved {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(resumed)
    }

    fn begin(&self, address: SocketAddr) -> Result<Coming, Failure> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), ServerName::from(address.ip()))
            .map_err(refused)?;
        session.writer().write_all(b"PING\r\n")?;
        Ok(Coming { socket, session, is_answered: false })
    }
}

impl Coming {
    /// Goes as far as the socket allows; whether the answer is there.
    fn step(&mut self, moved: &mut bool) -> Result<bool, Failure> {
        loop {
            while self.session.wants_write() {
                match self.session.write_tls(&mut self.socket) {
                    Ok(_) => *moved = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            match self.session.read_tls(&mut self.socket) {
                Ok(0) => return Err(Failure::Closed("a TLS handshake")),
                Ok(_) => *moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            let state = self.session.process_new_packets().map_err(refused)?;
            if state.plaintext_bytes_to_read() > 0 {
                self.is_answered = true;
                return Ok(true);
            }
        }
    }
}

fn refused(error: rustls::Error) -> Failure {
    Failure::Reply(error.to_string())
}

/// Counts the plaintext bytes of application records.
#[derive(Debug, Default)]
pub(crate) struct RecordMeter {
    /// Header of the record being read, as far as it has arrived.
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Bytes of the current record's body still to come.
    body_left: usize,
}

const HEADER_BYTES: usize = 5;
/// What TLS 1.3 adds to a record: one byte of content type and the 16 of the AEAD tag.
const OVERHEAD_BYTES: usize = 17;

impl RecordMeter {
    /// Plaintext bytes of the records that begin in `bytes`; a record is counted when its header is complete.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut plain = 0;
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let skipped = self.body_left.min(bytes.len());
                self.body_left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER_BYTES - self.header_len).min(bytes.len());
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&bytes[..taken]);
            self.header_len += taken;
            bytes = &bytes[taken..];
            if self.header_len == HEADER_BYTES {
                self.header_len = 0;
                self.body_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                plain += self.body_left.saturating_sub(OVERHEAD_BYTES) as u64;
            }
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_counted_however_the_records_arrive() {
        let mut bytes = Vec::new();
        for plain in [1usize, 100, 16_384] {
            bytes.extend_from_slice(&[23, 3, 3]);
            bytes.extend_from_slice(&((plain + OVERHEAD_BYTES) as u16).to_be_bytes());
            bytes.resize(bytes.len() + plain + OVERHEAD_BYTES, 0);
        }
        for piece in [1, 2, 5, 7, 4096, bytes.len()] {
            let mut meter = RecordMeter::default();
            let counted: u64 = bytes.chunks(piece).map(|part| meter.read(part)).sum();
            assert_eq!(counted, 1 + 100 + 16_384, "in pieces of {piece}");
        }
    }
}
