//! Sockets: how listeners are opened and connections are tuned.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Config;
use crate::connection::client::Address;
use crate::connection::transport;

/// Why the server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `bind` names something that isn't an address.
    #[error("cannot resolve the bind address '{name}': {source}")]
    Resolve {
        /// As configured.
        name: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The address is in use, or not one of this machine's, or the port is not allowed.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Neither a port nor a Unix socket is configured.
    #[error("nothing to listen on: set port, tls-port or unixsocket")]
    Nothing,
}

/// Opens every listener that `config` asks for, and returns them with a line for people about each.
pub(crate) fn listen(config: &Config) -> Result<(Vec<Listener>, Vec<String>), ListenError> {
    let mut listeners = Vec::new();
    let mut lines = Vec::new();
    for (port, tls) in [(config.port, false), (config.tls_port, true)] {
        if port == 0 {
            continue;
        }
        for (socket, address) in listen_tcp(config, port, |_| false)? {
            lines.push(format!("{}://{address}", if tls { "rediss" } else { "redis" }));
            listeners.extend(socket.map(|socket| Listener::Tcp { socket, tls }));
        }
    }
    if let Some(path) = &config.unixsocket {
        let socket = listen_unix(path, config.unixsocketperm)
            .map_err(|source| ListenError::Bind { address: path.display().to_string(), source })?;
        lines.push(format!("unix://{}", path.display()));
        listeners.push(Listener::Unix { socket, path: path.clone() });
    }
    if listeners.is_empty() {
        return Err(ListenError::Nothing);
    }
    Ok((listeners, lines))
}

/// What is wrong with the listeners that `config` asks for, as far as that can be said without opening one.
pub(crate) fn check_listeners(config: &Config) -> Result<(), ListenError> {
    for name in config.bind.iter().filter(|name| !name.optional) {
        let resolved = name.resolve(0);
        resolved.map_err(|source| ListenError::Resolve { name: name.host.clone(), source })?;
    }
    if let Some(path) = &config.unixsocket {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), |folder| std::fs::read_dir(folder).map(drop))
            .map_err(|source| ListenError::Bind { address: path.display().to_string(), source })?;
    }
    let has_port = !config.bind.is_empty() && (config.port != 0 || config.tls_port != 0);
    if has_port || config.unixsocket.is_some() { Ok(()) } else { Err(ListenError::Nothing) }
}

/// An address of TCP, and whether for TLS.
type Place = (SocketAddr, bool);

/// Where HTTP comes in.
#[derive(Debug)]
pub struct HttpListener {
    /// The socket, non-blocking.
    pub socket: std::net::TcpListener,
    /// Whether for TLS.
    pub tls: bool,
    address: SocketAddr,
}

impl HttpListener {
    /// Where it listens, and whether for TLS.
    pub fn place(&self) -> (SocketAddr, bool) {
        (self.address, self.tls)
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

/// Opens the listeners of `http-port` and `https-port`.
pub(crate) fn listen_http(config: &Config) -> Result<Vec<HttpListener>, ListenError> {
    Ok(listen_http_beside(config, &[])?.into_iter().filter_map(|(_, listener)| listener).collect())
}

/// The places of HTTP, each with a listener unless it is one of `current`.
fn listen_http_beside(
    config: &Config,
    current: &[(SocketAddr, bool)],
) -> Result<Vec<(Place, Option<HttpListener>)>, ListenError> {
    let mut places = Vec::new();
    for (port, tls) in [(config.http_port, false), (config.https_port, true)] {
        let kept = |address: &SocketAddr| current.contains(&(*address, tls));
        for (socket, address) in if port == 0 { Vec::new() } else { listen_tcp(config, port, kept)? } {
            let socket = socket.map(|socket| std::net::TcpListener::from(std::os::fd::OwnedFd::from(socket)));
            places.push(((address, tls), socket.map(|socket| HttpListener { socket, tls, address })));
        }
    }
    Ok(places)
}

/// A change of where HTTP comes in. Whoever asked for it is answered when it is dropped.
pub struct HttpChange {
    /// Where to listen from now on, and whether for TLS. A listener whose place is not among them goes.
    pub places: Vec<(SocketAddr, bool)>,
    /// Listeners for the places that are new.
    pub opened: Vec<HttpListener>,
    /// Run when it is dropped.
    pub(crate) done: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for HttpChange {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

/// What has the listeners of HTTP changed.
pub(crate) type HttpRelisten = Box<dyn Fn(HttpChange) + Send + Sync>;

/// Opens the listeners of HTTP that `config` asks for beside those at `current`. After an error nothing has changed.
pub(crate) fn relisten_http(
    config: &Config,
    current: &[(SocketAddr, bool)],
) -> Result<HttpChange, ListenError> {
    let opened = listen_http_beside(config, current)?;
    let places = opened.iter().map(|(place, _)| *place).collect();
    let opened = opened.into_iter().filter_map(|(_, listener)| listener).collect();
    Ok(HttpChange { places, opened, done: None })
}

/// A change of the addresses listened on.
#[derive(Debug)]
pub(crate) struct Relisten {
    /// Where to listen from now on, and whether for TLS. A listener whose address is not among them goes.
    pub(crate) addresses: Vec<(SocketAddr, bool)>,
    /// Listeners for the addresses that are new.
    pub(crate) opened: Vec<Listener>,
}

/// Opens the TCP listeners that `config` asks for beside those at `current`. After an error nothing has changed.
pub(crate) fn relisten(config: &Config, current: &[(SocketAddr, bool)]) -> Result<Relisten, ListenError> {
    let mut change = Relisten { addresses: Vec::new(), opened: Vec::new() };
    for (port, tls) in [(config.port, false), (config.tls_port, true)] {
        let kept = |address: &SocketAddr| current.contains(&(*address, tls));
        for (socket, address) in if port == 0 { Vec::new() } else { listen_tcp(config, port, kept)? } {
            change.addresses.push((address, tls));
            change.opened.extend(socket.map(|socket| Listener::Tcp { socket, tls }));
        }
    }
    Ok(change)
}

/// The TCP addresses of `listeners`, and whether they are for TLS.
pub(crate) fn addresses_of<'a>(listeners: impl IntoIterator<Item = &'a Listener>) -> Vec<(SocketAddr, bool)> {
    let address = |listener: &Listener| match listener {
        Listener::Tcp { socket, tls } => Some((socket.local_addr().ok()?, *tls)),
        Listener::Unix { .. } => None,
    };
    listeners.into_iter().filter_map(address).collect()
}

/// The addresses of `bind`, each with a listener unless `is_kept`; with a `-` before it, an address that can't be had is
/// left out.
fn listen_tcp(
    config: &Config,
    port: u16,
    is_kept: impl Fn(&SocketAddr) -> bool,
) -> Result<Vec<(Option<TcpListener>, SocketAddr)>, ListenError> {
    let mut opened = Vec::new();
    for name in &config.bind {
        let is_optional = name.optional;
        let addresses = match name.resolve(port) {
            Ok(addresses) => addresses,
            Err(_) if is_optional => continue,
            Err(source) => return Err(ListenError::Resolve { name: name.host.clone(), source }),
        };
        for address in addresses {
            if is_kept(&address) {
                opened.push((None, address));
                continue;
            }
            match bind(address, config.tcp_backlog) {
                Ok((listener, address)) => opened.push((Some(listener), address)),
                Err(e) if is_optional && e.kind() != io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(ListenError::Bind { address: address.to_string(), source }),
            }
        }
    }
    Ok(opened)
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each address is listened on by itself, so `bind 0.0.0.0 ::` needs two sockets that don't overlap.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from_std(socket.into());
    let local = listener.local_addr()?;
    Ok((listener, local))
}

fn listen_unix(path: &Path, permissions: u32) -> io::Result<UnixListener> {
    // A file left by a server that did not stop in order; a live server's socket still answers.
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    if permissions != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))?;
    }
    Ok(listener)
}

/// Sets a new connection up: no delay, and keepalive after `keepalive_s` seconds (0: none).
pub(crate) fn tune(stream: &TcpStream, keepalive_s: u32) {
    // Options that can't be set leave a connection that works; a peer that has gone will show at the first read.
    let _ = stream.set_nodelay(true);
    if keepalive_s > 0 {
        let third = Duration::from_secs(u64::from(keepalive_s / 3).max(1));
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(u64::from(keepalive_s)))
            .with_interval(third)
            .with_retries(3);
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Where connections come in.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp { socket: TcpListener, tls: bool },
    Unix { socket: UnixListener, path: PathBuf },
}

impl Listener {
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp { socket, .. } => socket,
            Listener::Unix { socket, .. } => socket,
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(transport::Socket, Address, bool)> {
        match self {
            Listener::Tcp { socket, tls } => {
                let (stream, peer) = socket.accept()?;
                let local = stream.local_addr()?;
                Ok((
                    transport::Socket::Tcp(Arc::new(stream)),
                    Address::Tcp { peer: plain(peer), local: plain(local) },
                    *tls,
                ))
            }
            Listener::Unix { socket, path } => {
                let (stream, _) = socket.accept()?;
                Ok((
                    transport::Socket::Unix(Arc::new(stream)),
                    Address::Unix { path: Arc::from(Path::new(path)) },
                    false,
                ))
            }
        }
    }
}

/// An IPv4 address that came in through an IPv6 socket, as IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
