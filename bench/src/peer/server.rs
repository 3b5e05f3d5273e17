//! A running peer: started on a free port with nothing it doesn't need, stopped when dropped.
use super::table::{Found, Peer, PeerId};
use crate::callgrind::{self, Callgrind};
use crate::limit::{Failure, Interrupt, Limit};
use crate::load::Dialect;
use crate::machine::{Cores, Cost, CpuTime, Spent};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What a workload wants of its server beyond the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Sterna's shards; the others keep their one event loop.
    pub threads: u32,
    pub tls: bool,
    pub durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threads: 1, tls: false, durability: Durability::Memory }
    }
}

/// Redis's `appendonly` and `appendfsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Memory,
    EverySecond,
    Always,
}

/// A self-signed certificate for 127.0.0.1 and its key, as files for the server and as bytes for the client.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    pub certificate_der: Vec<u8>,
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    fn create(folder: &Path) -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(|error| Failure::Reply(error.to_string()))?;
        let files = Self {
            certificate_der: made.cert.der().to_vec(),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&files.certificate, made.cert.pem())?;
        fs::write(&files.key, made.signing_key.serialize_pem())?;
        Ok(files)
    }
}

/// A peer that answers. Killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Server {
    pub peer: &'static Peer,
    pub address: SocketAddr,
    /// Where it speaks TLS, and what proves it.
    pub tls: Option<(SocketAddr, TlsFiles)>,
    child: Child,
    /// What starts it, also a second time.
    command: Command,
    cores: Cores,
    /// Its working folder: log, journal, certificate.
    folder: TempDir,
    /// Counts its instructions, if they are what is measured.
    callgrind: Option<Callgrind>,
}

impl Server {
    /// Starts `found` on the server's cores, as `cost` is measured, and waits until it answers.
    pub(crate) fn start(
        found: &Found,
        settings: &Settings,
        cost: Cost,
        cores: &Cores,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let binary = found.binary.as_deref().ok_or(Failure::Missing)?;
        let folder = tempfile::Builder::new().prefix("sterna-bench-").tempdir()?;
        let address = free_address()?;
        let tls = match settings.tls {
            true => Some((free_address()?, TlsFiles::create(folder.path())?)),
            false => None,
        };
        let mut command = match cost {
            Cost::CpuTime => Command::new(binary),
            Cost::Instructions => callgrind::command(binary, folder.path()),
        };
        match found.peer.id.kind() {
            PeerId::Floor => floor_arguments(&mut command, address),
            PeerId::Kevy => kevy_arguments(&mut command, address, folder.path(), settings)?,
            PeerId::Nats => nats_arguments(&mut command, address, folder.path())?,
            _ => {
                redis_arguments(&mut command, address, folder.path(), settings, tls.as_ref());
            }
        }
        if found.peer.id.kind() == PeerId::Sterna {
            command.args(["--threads", &settings.threads.to_string()]);
        }
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder.path());
        let child = cores.on_server(|| command.spawn())??;
        let mut server = Self {
            peer: found.peer,
            address,
            tls,
            child,
            command,
            cores: cores.clone(),
            folder,
            callgrind: None,
        };
        server.wait_until_it_answers(&Limit::new("the server to start", START, interrupt))?;
        if cost == Cost::Instructions {
            server.callgrind = Some(Callgrind::of(server.pid(), server.folder.path())?);
        }
        Ok(server)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(crate) fn stop(&mut self, limit: &Limit) -> Result<(), Failure> {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            kill_process(pid, Signal::TERM)?;
        }
        while self.child.try_wait()?.is_none() {
            limit.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Starts it again in the same folder, with the same arguments, and waits until it answers.
    pub(crate) fn start_again(&mut self, limit: &Limit) -> Result<(), Failure> {
        self.child = self.cores.on_server(|| self.command.spawn())??;
        self.wait_until_it_answers(limit)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.peer.dialect
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has spent so far.
    pub(crate) fn spent(&self) -> Result<Spent, Failure> {
        match &self.callgrind {
            None => Ok(Spent::CpuTime(CpuTime::settled(self.pid())?)),
            Some(callgrind) => Ok(Spent::Instructions(callgrind.count()?)),
        }
    }

    /// Keeps the profile of what it did between the last two times that was asked what it has spent.
    pub(crate) fn keep_profile(&self, path: &Path) -> Result<(), Failure> {
        match &self.callgrind {
            None => Ok(()),
            Some(callgrind) => callgrind.keep_profile(path),
        }
    }

    /// Bytes in its working folder: what it keeps on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        folder_bytes(&self.folder.path().join("data"))
    }

    fn wait_until_it_answers(&mut self, limit: &Limit) -> Result<(), Failure> {
        loop {
            if answers(self.address, self.peer.dialect) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                return Err(self.did_not_start());
            }
            limit.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn did_not_start(&self) -> Failure {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        let output = lines.into_iter().rev().collect::<Vec<_>>().join(" / ");
        // The folder's name says nothing, and this text ends up in a report.
        let output = output.replace(&*self.folder.path().to_string_lossy(), "DIR");
        Failure::Start { program: self.peer.name.to_owned(), output }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing it holds is worth a clean end, and a kill can't be refused.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longest wait for an empty server to answer.
const START: Duration = Duration::from_secs(60);

/// A port nobody listens on. Another process may take it before the server does; then the start fails and says so.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn floor_arguments(command: &mut Command, address: SocketAddr) {
    // The benchmark runs either as `sterna bench` or on its own.
    if std::env::args_os().nth(1).is_some_and(|word| word == "bench") {
        command.arg("bench");
    }
    command.args(["--floor", &address.port().to_string()]);
}

fn nats_arguments(command: &mut Command, address: SocketAddr, folder: &Path) -> Result<(), Failure> {
    let config = folder.join("nats.conf");
    // Pings would be counted as deliveries, and the default deadline closes subscribers that stall on purpose.
    let text = "ping_interval: \"1h\"\nwrite_deadline: \"120s\"\nmax_connections: 100000\nmax_pending: 1GB\n";
    fs::write(&config, text)?;
    command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-c"]).arg(config);
    Ok(())
}

/// In memory, one shard for each thread that is asked for.
fn kevy_arguments(
    command: &mut Command,
    address: SocketAddr,
    folder: &Path,
    settings: &Settings,
) -> Result<(), Failure> {
    if settings.tls || settings.durability != Durability::Memory {
        return Err(Failure::Inapplicable("measured in memory and without TLS"));
    }
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--no-aof"]);
    command.args(["--threads", &settings.threads.to_string(), "--dir"]).arg(folder);
    Ok(())
}

/// redis.conf's directives as arguments: in memory only unless asked, no limit that a workload would meet.
fn redis_arguments(
    command: &mut Command,
    address: SocketAddr,
    folder: &Path,
    settings: &Settings,
    tls: Option<&(SocketAddr, TlsFiles)>,
) {
    let data = folder.join("data");
    // The server reports a folder it can't enter.
    let _ = fs::create_dir(&data);
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--maxclients", "15000", "--dir"]).arg(&data);
    command.args(match settings.durability {
        Durability::Memory => ["--appendonly", "no"].as_slice(),
        Durability::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
        Durability::Always => &["--appendonly", "yes", "--appendfsync", "always"],
    });
    if settings.durability != Durability::Memory {
        // Snapshots are taken when a workload asks for one.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
    }
    if let Some((address, files)) = tls {
        command.args(["--tls-port", &address.port().to_string(), "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(&files.certificate);
        command.arg("--tls-key-file").arg(&files.key);
        command.arg("--tls-ca-cert-file").arg(&files.certificate);
    }
}

/// Whether the server answers a PING.
fn answers(address: SocketAddr, dialect: Dialect) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let ping: &[u8] = match dialect {
        Dialect::Resp => b"*1\r\n$4\r\nPING\r\n",
        Dialect::Nats => b"PING\r\n",
    };
    let mut reply = [0; 4];
    let asked = stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| stream.write_all(ping));
    asked.and_then(|()| stream.read_exact(&mut reply)).is_ok() && matches!(&reply, b"+PON" | b"INFO")
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = folder.read_dir() else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
