//! A connection to a server, for the built-in client: plain or TLS, one request at a time.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sterna_protocol::decode::{DecodeError, Extent, Value, decode};
use sterna_protocol::encode;
use sterna_server::NAME_BYTES_MAX;

use crate::text::Plain;
use crate::url::Url;

/// How to reach the server; the words are redis-cli's.
#[derive(Debug, Clone, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Reach {
    /// Server: `redis://[[user:]password@]host[:port][/db]`, or `rediss://` for TLS
    #[arg(short = 'u', long = "url", value_name = "URL", conflicts_with_all = ["host", "port", "tls"])]
    url: Option<Url>,
    /// Host
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    /// Port
    #[arg(short = 'p', long, short_alias = 'P', default_value_t = 6379, value_parser = port_of)]
    port: u16,
    /// Password; also taken from the environment's REDISCLI_AUTH
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    password: Option<String>,
    /// Ask for the password
    #[arg(long, conflicts_with = "password")]
    askpass: bool,
    /// User; "default" if only a password is given
    #[arg(long)]
    user: Option<String>,
    /// Use TLS
    #[arg(long)]
    tls: bool,
    /// Certificates that the server's is checked against, PEM; the system's by default, and for this machine also the one that
    /// `--tls-self-signed` has made
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Certificate to show to the server, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Why the server can't be reached, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("cannot read certificates from {}: {}", .0.display(), .1)]
    Certificates(PathBuf, pem::Error),
    #[error("no certificate can be trusted: name the server's with --cacert FILE")]
    NoCertificates,
    #[error("'{0}' is not a name that a certificate can have")]
    Name(String, InvalidDnsNameError),
    #[error("{server}: TLS: {error}{}", distrust(error))]
    Tls {
        /// Where it is.
        server: String,
        /// What is wrong.
        error: rustls::Error,
    },
    #[error("{0}: the connection broke: {1}")]
    Broken(String, io::Error),
    #[error("{0}: the server closed the connection")]
    Closed(String),
    #[error("{0}: the server's answer is not the Redis protocol: {1}")]
    NotRedis(String, DecodeError),
    #[error("{0}: the server's answer is {1}")]
    Nonsense(String, &'static str),
    #[error("{0}: the server's answer is longer than {max} bytes, and no more are read", max = ANSWER_BYTES_MAX)]
    TooLong(String),
    #[error("{server}: the server refused: {why}{}", advice(why))]
    Refused {
        /// Where it is.
        server: String,
        /// Its own words.
        why: String,
    },
    #[error("cannot read the password: {0}")]
    Password(io::Error),
    #[error("{0}: this port speaks TLS: use --tls, or a URL that begins with rediss://")]
    IsTls(String),
    #[error(
        "{0}: this port does not speak TLS: leave --tls out, use a URL that begins with redis://, or name the server's tls-port"
    )]
    IsPlain(String),
}

impl LinkError {
    /// Whether it may be over if one tries again: the server is started anew, or loads.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            LinkError::Connect(..) | LinkError::Broken(..) | LinkError::Closed(_) => true,
            LinkError::Refused { why, .. } => why.starts_with("LOADING"),
            _ => false,
        }
    }
}

/// What may be done about an error of the server's, if that is known.
fn advice(error: &str) -> &'static str {
    match error.split(' ').next() {
        Some("NOAUTH") => " (the password is -a PASSWORD, --askpass, or in the environment's REDISCLI_AUTH)",
        _ => "",
    }
}

/// What may be done about a certificate that nobody vouches for.
fn distrust(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            " (name the authority's certificate with --cacert FILE)"
        }
        _ => "",
    }
}

impl Reach {
    /// To reach another server, with the certificates that `like` names.
    pub(crate) fn to(url: Url, like: &Reach) -> Reach {
        Reach {
            host: url.host.clone(),
            port: url.port,
            tls: url.tls,
            url: Some(url),
            password: None,
            askpass: false,
            user: None,
            cacert: like.cacert.clone(),
            cert: like.cert.clone(),
            key: like.key.clone(),
            help: None,
        }
    }

    /// Host and port, for people.
    pub(crate) fn address(&self) -> String {
        let url = self.url();
        format!("{}:{}", url.host, url.port)
    }

    fn url(&self) -> Url {
        let mut url = self.url.clone().unwrap_or_else(|| Url {
            tls: self.tls,
            host: self.host.clone(),
            port: self.port,
            user: None,
            password: None,
            db: 0,
        });
        url.user = self.user.clone().or(url.user);
        url.password = self.password.clone().or(url.password);
        url
    }

    /// The same with the password that is not among the arguments: asked for once, if it is asked for.
    fn url_with_password(&self) -> Result<Url, LinkError> {
        static ASKED: OnceLock<String> = OnceLock::new();
        let mut url = self.url();
        if self.askpass {
            let password = match ASKED.get() {
                Some(password) => password.clone(),
                None => ask_password().map_err(LinkError::Password)?,
            };
            url.password = Some(ASKED.get_or_init(|| password).clone());
        }
        if url.password.is_none() {
            url.password = std::env::var("REDISCLI_AUTH").ok();
        }
        Ok(url)
    }
}

/// A port; who means a pattern is told its letter.
fn port_of(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number up to 65535 (a pattern is -g PATTERN)".to_owned())
}

/// Reads a line from the terminal without showing it.
fn ask_password() -> io::Result<String> {
    let input = io::stdin();
    let terminal = rustix::termios::tcgetattr(&input);
    eprint!("Password: ");
    if let Ok(mut hidden) = terminal.clone() {
        hidden.local_modes -= rustix::termios::LocalModes::ECHO;
        rustix::termios::tcsetattr(&input, rustix::termios::OptionalActions::Flush, &hidden)?;
    }
    let mut line = String::new();
    let read = input.read_line(&mut line);
    if let Ok(shown) = terminal {
        rustix::termios::tcsetattr(&input, rustix::termios::OptionalActions::Now, &shown)?;
        eprintln!();
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection that is logged in.
pub(crate) struct Link {
    stream: BufReader<Box<dyn Stream>>,
    /// Bytes received and not yet decoded.
    received: Vec<u8>,
    /// How far the reply reaches that these begin with.
    extent: Extent,
    /// Host and port, for people.
    address: String,
    /// The socket, for how long to wait.
    socket: TcpStream,
}

/// Bytes of one answer: a string as long as servers take one, by default, and some names beside it.
pub(crate) const ANSWER_BYTES_MAX: usize = (512 << 20) + (4 << 20);

/// Bytes of a line that is read as one.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Between two attempts to connect again: each waits twice as long as the last.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// All certificates that a system trusts take half a megabyte.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// How long it may say nothing while a client logs in: one that executes something long is silent for as long.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

impl Link {
    /// Connects, logs in, chooses the database.
    pub(crate) fn open(reach: &Reach) -> Result<Link, LinkError> {
        let url = reach.url_with_password()?;
        let address = format!("{}:{}", url.host, url.port);
        let tcp = connect(&url).map_err(|e| LinkError::Connect(address.clone(), e))?;
        let broken = |error| LinkError::Broken(address.clone(), error);
        let socket = tcp.try_clone().map_err(broken)?;
        socket.set_read_timeout(Some(LOGIN_TIMEOUT)).map_err(broken)?;
        let stream: Box<dyn Stream> =
            if url.tls { Box::new(secure(tcp, &url, &address, reach)?) } else { Box::new(tcp) };
        let (stream, received, extent) = (BufReader::new(stream), Vec::new(), Extent::default());
        let mut link = Link { stream, received, extent, address, socket };
        match &url.password {
            Some(password) => _ = link.ask(&["AUTH", url.user.as_deref().unwrap_or("default"), password])?,
            // It is answered to whoever is let in, or may not do this; and whoever is not speaks to the wrong port.
            None => match link.ask(&["PING"]) {
                Err(LinkError::Refused { why, .. })
                    if why.starts_with("NOPERM") || why.starts_with("LOADING") => {}
                answer => _ = answer?,
            },
        }
        if url.db != 0 {
            link.ask(&["SELECT", &url.db.to_string()])?;
        }
        link.socket.set_read_timeout(None).map_err(|error| link.broken(error))?;
        Ok(link)
    }

    /// Connects for as long as it takes: what may pass is waited for, each time twice as long as before.
    pub(crate) fn open_again(reach: &Reach) -> Result<Link, LinkError> {
        let mut pause = RETRY_MIN;
        loop {
            match Link::open(reach) {
                Err(error) if error.may_pass() => {}
                result => return result,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Sends a request.
    pub(crate) fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<(), LinkError> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        let stream = self.stream.get_mut();
        let sent = stream.write_all(&request).and_then(|()| stream.flush());
        sent.map_err(|error| self.broken(error))
    }

    /// Sends a request about one key, however long its name is: Sterna takes no longer one than [`NAME_BYTES_MAX`] in a request of its own, but
    /// a script may name it.
    pub(crate) fn send_about(&mut self, key: &[u8], words: &[&[u8]]) -> Result<(), LinkError> {
        if key.len() <= NAME_BYTES_MAX {
            return self.send(words);
        }
        let script: [&[u8]; 3] = [b"EVAL", b"return redis.call(unpack(ARGV))", b"0"];
        self.send(&[&script, words].concat())
    }

    /// Waits for the next reply or message. An error reply is an error.
    pub(crate) fn receive(&mut self) -> Result<Value, LinkError> {
        loop {
            // What TLS says to whoever does not speak it: an alert.
            if self.received.starts_with(&[0x15, 0x03]) {
                return Err(LinkError::IsTls(self.address.clone()));
            }
            let no_redis = |error| LinkError::NotRedis(self.address.clone(), error);
            if self.extent.advance(&self.received).map_err(no_redis)?.is_some() {
                let Some((value, consumed)) = decode(&self.received).map_err(no_redis)? else {
                    return Err(self.nonsense("longer than it says"));
                };
                self.extent = Extent::default();
                self.received.drain(..consumed);
                return match value {
                    Value::Error(text) => Err(self.refused(&text)),
                    value => Ok(value),
                };
            }
            if self.extent.bytes_at_least().max(self.received.len()) > ANSWER_BYTES_MAX {
                return Err(LinkError::TooLong(self.address.clone()));
            }
            let mut buf = [0; 16 * 1024];
            match self.stream.read(&mut buf).map_err(|error| self.broken(error))? {
                0 => return Err(LinkError::Closed(self.address.clone())),
                n => self.received.extend_from_slice(&buf[..n]),
            }
        }
    }

    /// Has a read that finds nothing for so long end with an error.
    pub(crate) fn wait_at_most(&self, time: Duration) -> Result<(), LinkError> {
        self.socket.set_read_timeout(Some(time)).map_err(|error| self.broken(error))
    }

    /// As [`Link::receive`]; `None`: nothing has come for so long.
    pub(crate) fn receive_within(&mut self, time: Duration) -> Result<Option<Value>, LinkError> {
        self.wait_at_most(time)?;
        match self.receive() {
            Err(LinkError::Broken(_, error)) if is_timeout(&error) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Host and port, for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What a failed read or write is.
    pub(crate) fn broken(&self, error: io::Error) -> LinkError {
        let is_silent = is_timeout(&error);
        let silence = || io::Error::new(io::ErrorKind::TimedOut, "the server does not answer");
        LinkError::Broken(self.address.clone(), if is_silent { silence() } else { error })
    }

    /// What an answer is that no server gives.
    pub(crate) fn nonsense(&self, what: &'static str) -> LinkError {
        LinkError::Nonsense(self.address.clone(), what)
    }

    /// What an error reply is: as text that a terminal can be shown, whatever the server says.
    pub(crate) fn refused(&self, text: &[u8]) -> LinkError {
        LinkError::Refused { server: self.address.clone(), why: Plain(text).to_string() }
    }

    /// Reads a line, without its end: for replies that are too long to be held.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, LinkError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte).map_err(|error| self.broken(error))?;
            line.push(byte[0]);
            if line.len() > LINE_BYTES_MAX {
                return Err(self.nonsense("a line that is too long"));
            }
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// As [`Link::line`], where a line may end without a carriage return.
    pub(crate) fn line_however_ended(&mut self) -> Result<Vec<u8>, LinkError> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte).map_err(|error| self.broken(error))?;
            match byte[0] {
                b'\n' => break,
                byte => line.push(byte),
            }
            if line.len() > LINE_BYTES_MAX {
                return Err(self.nonsense("a line that is too long"));
            }
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(line)
    }

    /// Reads a line that is a number behind `sign`; one that is an error is an error.
    pub(crate) fn number(&mut self, sign: u8) -> Result<u64, LinkError> {
        let line = self.line()?;
        if let Some(text) = line.strip_prefix(b"-") {
            return Err(self.refused(text));
        }
        let digits = line.strip_prefix(&[sign]).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.nonsense("no length"))
    }

    /// Reads the end of a line, where nothing else may be.
    pub(crate) fn end_of_line(&mut self) -> Result<(), LinkError> {
        let mut end = [0; 2];
        self.read_exact(&mut end).map_err(|error| self.broken(error))?;
        if end == *b"\r\n" { Ok(()) } else { Err(self.nonsense("longer than it says")) }
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Value, LinkError> {
        self.send(words)?;
        self.receive()
    }
}

/// What a read that has waited long enough ends with.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Read for Link {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return self.stream.read(buf);
        }
        let most = buf.len().min(self.received.len());
        buf[..most].copy_from_slice(&self.received[..most]);
        self.received.drain(..most);
        Ok(most)
    }
}

/// The first of the host's addresses that answers.
fn connect(url: &Url) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn secure(
    mut tcp: TcpStream,
    url: &Url,
    address: &str,
    reach: &Reach,
) -> Result<StreamOwned<ClientConnection, TcpStream>, LinkError> {
    let roots = roots_for(&url.host, reach.cacert.as_deref())?;
    let failed = |error| LinkError::Tls { server: address.to_owned(), error };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots);
    let config = match (&reach.cert, &reach.key) {
        (Some(cert), Some(key)) => {
            let unreadable = |e| LinkError::Certificates(key.clone(), e);
            let private = PrivateKeyDer::from_pem_slice(&pem_text(key)?).map_err(unreadable)?;
            config.with_client_auth_cert(certificates(cert)?, private).map_err(failed)?
        }
        _ => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(url.host.clone()).map_err(|e| LinkError::Name(url.host.clone(), e))?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp).map_err(|e| {
            match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidMessage(_)) => LinkError::IsPlain(address.to_owned()),
                Some(error) => LinkError::Tls { server: address.to_owned(), error: error.clone() },
                // Who waits for a request and gets a greeting of TLS may also just leave.
                None if e.kind() == io::ErrorKind::UnexpectedEof => LinkError::Closed(address.to_owned()),
                None => LinkError::Broken(address.to_owned(), e),
            }
        })?;
    }
    Ok(StreamOwned::new(session, tcp))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    CertificateDer::pem_slice_iter(&pem_text(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| LinkError::Certificates(path.to_owned(), e))
}

/// The text of a file of certificates or keys.
fn pem_text(path: &Path) -> Result<Vec<u8>, LinkError> {
    let text = match sterna_filesystem::is_descriptor(path) {
        true => sterna_filesystem::read_descriptor(path, PEM_BYTES_MAX),
        false => sterna_filesystem::read(path, PEM_BYTES_MAX),
    };
    text.map_err(|e| LinkError::Certificates(path.to_owned(), pem::Error::Io(e)))
}

/// Who may vouch for the server.
fn roots_for(host: &str, cacert: Option<&Path>) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    match cacert {
        Some(path) => _ = roots.add_parsable_certificates(certificates(path)?),
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let own = sterna_server::tls::development_authority();
            // It vouches for this machine only, whatever it says of others.
            if let Some(own) = own.filter(|_| ["localhost", "127.0.0.1", "::1"].contains(&host)) {
                roots.add_parsable_certificates(certificates(&own).unwrap_or_default());
            }
        }
    }
    if roots.is_empty() { Err(LinkError::NoCertificates) } else { Ok(roots) }
}
