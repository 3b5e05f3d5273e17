//! NATS servers for tests of several nodes: as many as are asked for, joined to one cluster; with JetStream where it is asked for.
//!
//! Each has free ports on 127.0.0.1 and ends with the process of the test, however that ends: a thread that never does holds them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::server::{PATIENCE, free_port};
use crate::wire::Wire;

/// Servers of one cluster.
pub struct Nats {
    servers: Vec<NatsServer>,
    folder: TempDir,
    /// Of those that were started wired.
    routes: Vec<Route>,
}

/// The connection that one of them makes to another.
struct Route {
    from: usize,
    to: usize,
    wire: Wire,
}

struct NatsServer {
    port: u16,
    monitor: u16,
    child: Child,
}

/// Between two looks whether a server answers.
const PAUSE: Duration = Duration::from_millis(5);

impl Nats {
    /// Starts so many; `None`: there is no `NATS_SERVER`.
    pub fn start(count: usize) -> Option<Nats> {
        Nats::start_with(count, None, false)
    }

    /// The same with JetStream, which syncs as this `sync_interval` says.
    pub fn start_storing(count: usize, sync_interval: &str) -> Option<Nats> {
        Nats::start_with(count, Some(sync_interval), false)
    }

    /// One server that may speak to none but whoever its configuration, of which this is a part, lets in.
    pub fn start_alone(more: &str) -> Option<Nats> {
        let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from)?;
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder for NATS");
            let port = free_port();
            let child = spawn(&binary, &folder, 0, (&[(port, 0)], &[]), more);
            let mut nats =
                Nats { servers: vec![NatsServer { port, monitor: 0, child }], folder, routes: Vec::new() };
            if nats.servers[0].is_up() {
                return Some(nats);
            }
        }
        panic!("NATS does not start");
    }

    /// Has one that was started alone go on with another configuration in place of that part. Connections stay.
    pub fn reload_alone(&self, more: &str) {
        let config = self.folder.path().join("0.conf");
        let text = std::fs::read_to_string(&config).expect("it was written");
        let own: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
        std::fs::write(&config, own + more).expect("a folder can be written");
        self.signal(0, Signal::HUP);
    }

    /// The same, with a [`Wire`] in each connection between two of them.
    pub fn start_wired(count: usize, sync_interval: &str) -> Option<Nats> {
        Nats::start_with(count, Some(sync_interval), true)
    }

    fn start_with(count: usize, sync_interval: Option<&str>, is_wired: bool) -> Option<Nats> {
        let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from)?;
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder for NATS");
            let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
            let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            let routes: Vec<Route> = pairs
                .filter(|(from, to)| is_wired && from != to)
                .map(|(from, to)| Route { from, to, wire: Wire::to(ports[to].1) })
                .collect();
            let started: Vec<NatsServer> = (0..count)
                .map(|at| {
                    let monitor = free_port();
                    let storing = sync_interval.map_or_else(String::new, |interval| {
                        let store = folder.path().join(format!("store{at}"));
                        format!(
                            "http: \"127.0.0.1:{monitor}\"\njetstream {{ store_dir: \"{}\", sync_interval: {interval} }}\n",
                            store.display()
                        )
                    });
                    let child = spawn(&binary, &folder, at, (&ports, &routes), &storing);
                    NatsServer { port: ports[at].0, monitor, child }
                })
                .collect();
            let mut nats = Nats { servers: started, folder, routes };
            if nats.servers.iter_mut().all(NatsServer::is_up) && nats.are_joined() {
                return Some(nats);
            }
        }
        panic!("NATS does not start");
    }

    /// Ports for clients.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// The address of a server's monitoring port; only those with JetStream have one.
    pub fn monitor(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.servers[at].monitor)
    }

    /// For `cluster-url`, this server first.
    pub fn url(&self, first: usize) -> String {
        let count = self.servers.len();
        let hosts = (0..count).map(|at| format!("127.0.0.1:{}", self.servers[(first + at) % count].port));
        format!("nats://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Kills one.
    pub fn kill(&mut self, at: usize) {
        self.servers[at].stop();
    }

    /// Starts one again that was killed.
    pub fn start_again(&mut self, at: usize) {
        let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from).expect("it was there");
        let config = self.folder.path().join(format!("{at}.conf"));
        self.servers[at].child = run(binary, config, self.folder.path().join(format!("{at}.log")));
        assert!(self.servers[at].is_up(), "NATS does not start again");
    }

    /// The connections between two of them that run, of those that were started wired.
    pub fn routes(&self, one: usize, other: usize) -> impl Iterator<Item = &Wire> {
        let ends = [(one, other), (other, one)];
        self.routes
            .iter()
            .filter(move |route| ends.contains(&(route.from, route.to)))
            .map(|route| &route.wire)
    }

    /// All of them.
    pub fn all_routes(&self) -> impl Iterator<Item = &Wire> {
        self.routes.iter().map(|route| &route.wire)
    }

    /// Sends one a signal.
    pub fn signal(&self, at: usize, signal: Signal) {
        let pid = Pid::from_child(&self.servers[at].child);
        kill_process(pid, signal).expect("it runs");
    }

    /// As long as it runs, none of its files can be written to beyond so many bytes: its disk takes nothing more.
    pub fn fill_disk(&self, at: usize, bytes: u64) {
        let pid = Pid::from_child(&self.servers[at].child);
        let most = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(pid), Resource::Fsize, most).expect("it runs");
    }

    /// Where one keeps its streams.
    pub fn store(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("store{at}"))
    }

    /// Whether what is published at one server arrives at every other: the cluster has formed.
    fn are_joined(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        self.servers.iter().all(|from| self.servers.iter().all(|to| carries(from.port, to.port, deadline)))
    }

    fn stop_all(&mut self) {
        self.servers.iter_mut().for_each(NatsServer::stop);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop_all();
    }
}

impl NatsServer {
    /// Whether it comes to greet clients; it may have ended instead.
    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let mut greeting = [0; 5];
            if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port))
                && socket.set_read_timeout(Some(PATIENCE)).is_ok()
                && socket.read_exact(&mut greeting).is_ok()
                && greeting == *b"INFO "
            {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }

    fn stop(&mut self) {
        // Either may fail because it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a message finds its way from one server to another before the deadline.
fn carries(from: u16, to: u16, deadline: Instant) -> bool {
    let client = |port: u16| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).ok()?;
        socket.write_all(b"CONNECT {\"verbose\":false}\r\n").ok()?;
        Some(socket)
    };
    let (Some(mut publisher), Some(mut subscriber)) = (client(from), client(to)) else { return false };
    let mut seen = Vec::new();
    if subscriber.write_all(b"SUB joined 1\r\n").is_err() {
        return false;
    }
    while Instant::now() < deadline {
        if publisher.write_all(b"PUB joined 2\r\nok\r\n").is_err() {
            return false;
        }
        let mut buf = [0; 4096];
        let read = subscriber.read(&mut buf).unwrap_or(0);
        seen.extend_from_slice(&buf[..read]);
        if seen.windows(3).any(|bytes| bytes == b"MSG") {
            return true;
        }
    }
    false
}

fn spawn(
    binary: &std::path::Path,
    folder: &TempDir,
    at: usize,
    (ports, wires): (&[(u16, u16)], &[Route]),
    more: &str,
) -> Child {
    let address = |port: u16| format!("nats://127.0.0.1:{port}");
    let mut routes: Vec<String> =
        wires.iter().filter(|route| route.from == at).map(|route| address(route.wire.port)).collect();
    if wires.is_empty() {
        routes = ports.iter().map(|(_, route)| address(*route)).collect();
    }
    let hides = if wires.is_empty() { "" } else { "no_advertise: true, " };
    let cluster = match ports.len() {
        1 => String::new(),
        _ => format!(
            "cluster {{ name: test, listen: \"127.0.0.1:{}\", {hides}routes: [{}] }}\n",
            ports[at].1,
            routes.iter().map(|route| format!("\"{route}\"")).collect::<Vec<_>>().join(", ")
        ),
    };
    let config = folder.path().join(format!("{at}.conf"));
    let text = format!("server_name: n{at}\nlisten: \"127.0.0.1:{}\"\n{cluster}{more}", ports[at].0);
    File::create(&config)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a folder can be written");
    run(binary.to_owned(), config, folder.path().join(format!("{at}.log")))
}

/// Starts a server from a thread that never ends: it ends with the process.
fn run(binary: PathBuf, config: PathBuf, log: PathBuf) -> Child {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&binary)
            .arg("-c")
            .arg(&config)
            .arg("-l")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _ = tell.send(child);
        loop {
            thread::park();
        }
    });
    told.recv().expect("the thread goes on").expect("setpriv is there")
}
