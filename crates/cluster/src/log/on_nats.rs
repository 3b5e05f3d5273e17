//! The protocol on real NATS servers: three of them, three nodes around [`Replica`] and [`Port`], and clients.

use std::collections::{HashSet, VecDeque};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::audit::survey;
use super::{Action, Appended, Frame, Kind, Port, Position, Read, Replica, Ticket, Times};

/// What a slow machine may need for what a quick one does at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// Three servers with JetStream that sync each write, in one cluster.
struct Servers {
    binary: PathBuf,
    folder: TempDir,
    ports: Vec<u16>,
    #[expect(dead_code, reason = "while it lives no other test is given these ports")]
    kept: Vec<UdpSocket>,
    children: Vec<Child>,
}

/// A port that is free, below those that the kernel gives to connections, and a UDP socket of the same number, which tells other
/// tests that it is taken: servers are started there again.
fn free_port() -> (u16, UdpSocket) {
    loop {
        let port = fastrand::u16(12_000..32_000);
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return (port, mark);
        }
    }
}

impl Servers {
    /// None: this machine has no NATS.
    fn start() -> Option<Servers> {
        let Some(binary) = std::env::var_os("NATS_SERVER").map(PathBuf::from) else {
            println!("skipped: needs NATS_SERVER; ./test installs one");
            return None;
        };
        let (ports, kept): (Vec<u16>, Vec<UdpSocket>) = (0..6).map(|_| free_port()).unzip();
        let folder = tempfile::tempdir().expect("a folder");
        let routes: Vec<_> = ports[3..].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        for at in 0..3 {
            let store = folder.path().join(format!("store{at}"));
            let text = format!(
                "server_name: n{at}\nlisten: 127.0.0.1:{}\ncluster {{ name: c, listen: 127.0.0.1:{}, routes: [{}] }}\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always, max_file: 1G }}\n",
                ports[at],
                ports[3 + at],
                routes.join(", "),
                store.display()
            );
            std::fs::write(folder.path().join(format!("{at}.conf")), text).expect("a configuration");
        }
        let mut servers = Servers { binary, folder, ports, kept, children: Vec::new() };
        servers.run();
        Some(servers)
    }

    fn run(&mut self) {
        let run = |at: usize| {
            // They end with the thread of the test, however that ends.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary);
            command.arg("-c").arg(self.folder.path().join(format!("{at}.conf")));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("NATS starts")
        };
        self.children = (0..3).map(run).collect();
    }

    fn kill(&mut self) {
        for child in &mut self.children {
            // Either may fail because it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self) -> String {
        let hosts: Vec<_> = self.ports[..3].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",")
    }

    fn store(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("store{at}"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn port(url: &str, name: &str) -> Port {
    let options = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(100));
    let servers: Vec<async_nats::ServerAddr> =
        url.split(',').map(|host| host.parse().expect("an address")).collect();
    let client = options.connect(&servers[..]).await.expect("it goes on trying");
    Port::new(client, name, sterna_server::KeyGroup::WHOLE)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// What reaches a node's one thread.
enum Input {
    Append {
        number: u64,
        expected: u64,
        appended: Appended,
    },
    Read {
        id: u64,
        read: Read,
    },
    Write {
        record: Vec<u8>,
        answer: std_mpsc::Sender<bool>,
    },
    /// The whole process stands still.
    Pause(Duration),
    End,
}

#[derive(Default)]
struct Seen {
    /// Records in the order in which they were accepted.
    history: Vec<Vec<u8>>,
    leads: bool,
    terms: u64,
    stopped: Option<String>,
}

struct Node {
    inputs: UnboundedSender<Input>,
    seen: Arc<Mutex<Seen>>,
    thread: thread::JoinHandle<()>,
}

impl Node {
    fn start(url: String, name: &'static str, writer: u64) -> Node {
        let (inputs, arriving) = unbounded_channel();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (to_self, state) = (inputs.clone(), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            block_on(async {
                let port = port(&url, name).await;
                live(port, writer, to_self, arriving, state).await;
            });
        });
        Node { inputs, seen, thread }
    }

    fn seen<T>(&self, show: impl FnOnce(&Seen) -> T) -> T {
        show(&self.seen.lock().expect("no panic while it was held"))
    }

    /// Asks for a write. True: it was acknowledged. False: it was refused, or voided.
    fn write(&self, record: &[u8]) -> bool {
        let (answer, answered) = std_mpsc::channel();
        let sent = self.inputs.send(Input::Write { record: record.to_vec(), answer });
        sent.is_ok() && answered.recv().unwrap_or(false)
    }
}

async fn live(
    port: Port,
    writer: u64,
    to_self: UnboundedSender<Input>,
    mut arriving: UnboundedReceiver<Input>,
    seen: Arc<Mutex<Seen>>,
) {
    let started = Instant::now();
    let times = Times { patience: PATIENCE, ..Times::default() };
    let mut replica = Replica::new(writer, "node", times, Position::default(), Duration::ZERO);
    let mut held: VecDeque<(Ticket, std_mpsc::Sender<bool>)> = VecDeque::new();
    replica.tick(started.elapsed());
    loop {
        while let Some(action) = replica.action() {
            obey(action, &port, &to_self, &mut held, &seen);
        }
        let due = replica.due().unwrap_or(Duration::MAX).saturating_sub(started.elapsed());
        let input = tokio::time::timeout(due.min(Duration::from_secs(1)), arriving.recv()).await;
        let now = started.elapsed();
        match input {
            Ok(Some(Input::Append { number, expected, appended })) => {
                replica.on_append(number, expected, appended, now);
            }
            Ok(Some(Input::Read { id, read })) => replica.on_read(id, read, now),
            Ok(Some(Input::Write { record, answer })) => {
                if let Ok(ticket) = replica.submit(&record, now) {
                    held.push_back((ticket, answer));
                }
            }
            Ok(Some(Input::Pause(pause))) => thread::sleep(pause),
            Ok(Some(Input::End) | None) => return,
            Err(_) => replica.tick(now),
        }
    }
}

fn obey(
    action: Action,
    port: &Port,
    to_self: &UnboundedSender<Input>,
    held: &mut VecDeque<(Ticket, std_mpsc::Sender<bool>)>,
    seen: &Mutex<Seen>,
) {
    let (port, to_self) = (port.clone(), to_self.clone());
    let mut seen = seen.lock().expect("no panic while it was held");
    match action {
        Action::Append { number, expected, frame } => {
            tokio::spawn(async move {
                let (appended, _) = port.append(expected, frame).await;
                let _ = to_self.send(Input::Append { number, expected, appended });
            });
        }
        Action::Read { id, from, source } => {
            tokio::spawn(async move {
                let read = port.read(from, source).await;
                let _ = to_self.send(Input::Read { id, read });
            });
        }
        Action::Accepted { frame, .. } => seen.history.extend(records_of(&frame)),
        Action::Release { through } => {
            while held.front().is_some_and(|(ticket, _)| *ticket <= through) {
                if let Some((_, answer)) = held.pop_front() {
                    let _ = answer.send(true);
                }
            }
        }
        Action::Lead { .. } => {
            seen.leads = true;
            seen.terms += 1;
        }
        Action::Follow { .. } => {
            seen.leads = false;
            held.clear();
        }
        Action::Stop(fault) => seen.stopped = Some(fault.to_string()),
        Action::Restore | Action::Trim { .. } => seen.stopped = Some("nobody trims here".to_owned()),
    }
}

fn records_of(frame: &Bytes) -> Vec<Vec<u8>> {
    match Frame::decode(frame).expect("an accepted frame").kind {
        Kind::Effects(records) => records.map(<[u8]>::to_vec).collect(),
        Kind::Genesis | Kind::Claim { .. } => Vec::new(),
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Clients that write, each its own payloads, to whoever leads, until they are told to end.
struct Clients {
    threads: Vec<thread::JoinHandle<()>>,
    acknowledged: Arc<Mutex<Vec<Vec<u8>>>>,
    ends: Arc<std::sync::atomic::AtomicBool>,
}

impl Clients {
    fn start(nodes: &Arc<Vec<Node>>, count: usize) -> Clients {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let threads = (0..count).map(|client| {
            let (nodes, acknowledged, ends) =
                (Arc::clone(nodes), Arc::clone(&acknowledged), Arc::clone(&ends));
            thread::spawn(move || {
                let (mut at, mut written) = (0, 0);
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    let payload = format!("{client}:{written}").into_bytes();
                    written += 1;
                    if nodes[at].write(&payload) {
                        acknowledged.lock().expect("no panic").push(payload);
                    } else {
                        at = (at + 1) % nodes.len();
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            })
        });
        Clients { threads: threads.collect(), acknowledged, ends }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Waits until so many more are acknowledged.
    fn await_more(&self, what: &str, more: usize) {
        let enough = self.count() + more;
        await_that(what, || self.count() >= enough);
    }

    fn end(self) -> Vec<Vec<u8>> {
        self.ends.store(true, std::sync::atomic::Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client does not panic"));
        Arc::into_inner(self.acknowledged).expect("they have ended").into_inner().expect("no panic")
    }
}

/// Flips one bit in the middle of the largest file of messages below `folder`.
fn damage(folder: &Path) {
    let (mut folders, mut largest) = (vec![folder.to_owned()], (0, PathBuf::new()));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let (path, length) = (entry.path(), entry.metadata().map_or(0, |meta| meta.len()));
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "blk")
                && path.to_string_lossy().contains("/streams/STERNA-")
                && length > largest.0
            {
                largest = (length, path);
            }
        }
    }
    let (length, path) = largest;
    let mut bytes = std::fs::read(&path).expect("a file of messages");
    bytes[length as usize / 2] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}

#[test]
fn what_is_acknowledged_survives_kills_of_all_servers_a_paused_leader_and_a_flipped_bit() {
    let Some(mut servers) = Servers::start() else { return };
    let url = servers.url();
    let made = block_on(async {
        let port = port(&url, "t").await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match port.create(3).await {
                Ok(state) => return state,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!((made.last, made.odd), (1, Vec::new()), "a log begins with its genesis, as it must be set");

    let nodes = Arc::new((0..3).map(|at| Node::start(url.clone(), "t", 100 + at)).collect::<Vec<_>>());
    let clients = Clients::start(&nodes, 4);
    clients.await_more("the first writes", 100);

    // Everything at once, under load.
    servers.kill();
    servers.run();
    clients.await_more("writes after all servers were killed", 100);

    // Longer than its lease, with writes that wait in it.
    let terms = |nodes: &[Node]| nodes.iter().map(|node| node.seen(|seen| seen.terms)).sum::<u64>();
    let before = terms(&nodes);
    let mut leader = None;
    await_that("somebody to lead", || {
        leader = nodes.iter().find(|node| node.seen(|seen| seen.leads));
        leader.is_some()
    });
    let leader = leader.expect("it was waited for");
    let _ = leader.inputs.send(Input::Pause(Duration::from_secs(8)));
    await_that("another to lead", || terms(&nodes) > before);
    await_that("the paused leader to be deposed", || {
        nodes.iter().filter(|node| node.seen(|seen| seen.leads)).count() == 1
    });
    clients.await_more("writes under another leader", 100);
    let acknowledged = clients.end();

    let history = |node: &Node| node.seen(|seen| seen.history.clone());
    await_that("all nodes to have read the same", || {
        let first = history(&nodes[0]);
        acknowledged.len() <= first.len() && nodes.iter().all(|node| history(node) == first)
    });
    let history = history(&nodes[0]);
    let once: HashSet<&Vec<u8>> = history.iter().collect();
    assert_eq!(once.len(), history.len(), "nothing is there twice");
    let lost: Vec<_> = acknowledged.iter().filter(|payload| !once.contains(payload)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost", lost.len(), acknowledged.len());
    for node in nodes.iter() {
        assert_eq!(node.seen(|seen| seen.stopped.clone()), None);
        let _ = node.inputs.send(Input::End);
    }
    let nodes = Arc::into_inner(nodes).expect("the clients have ended");
    nodes.into_iter().for_each(|node| node.thread.join().expect("a node does not panic"));

    // A changed bit in one copy: whoever reads finds the whole log at the others, or is told, but never reads past it.
    servers.kill();
    damage(&servers.store(0));
    servers.run();
    let records = block_on(async {
        let port = port(&url, "t").await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the log does not come back");
            if let Ok(state) = port.state().await
                && let Ok(survey) = survey(&port, &state).await
            {
                return survey.map(|survey| survey.records as usize);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(records.is_err() || records == Ok(history.len()), "{records:?} of {} were read", history.len());
}
