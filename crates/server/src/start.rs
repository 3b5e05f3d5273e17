//! Starting and stopping: from a configuration to running shards.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};

use crate::acl::{User, Users};
use crate::command::acl::file::users_of_file;
use crate::command::acl::first_channels;
use crate::command::table::table;
use crate::config::{Config, LineChecks, RenamedCommand, TlsAuthClients, UserLine};
use crate::engine::Engine;
use crate::files::{make_room_for, own_files};
use crate::inlet::Inlet;
use crate::journaling::Job;
use crate::mailbox::Mailbox;
use crate::net::{HttpListener, ListenError, addresses_of, check_listeners, listen, listen_http};
use crate::nodes::{NODES, Nodes};
use crate::persistence::{self, JournalError, Loader};
use crate::renames::Renames;
use crate::server::Server;
use crate::shard::{Listeners, Shard, WAKER};
use crate::tls::TlsOptions;

/// Stack of a shard: a script's values nest a thousand deep, and each level is a call. Only what is used is memory.
const SHARD_STACK_BYTES: usize = 64 << 20;

/// Why the server did not start. One line for people each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port in use, a wrong address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A certificate or key that can't be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A user's rules that can't be understood.
    #[error(transparent)]
    Users(#[from] crate::acl::RuleError),
    /// An `aclfile` that can't be read or understood.
    #[error("aclfile: {0}")]
    AclFile(String),
    /// A journal that is damaged, or in use by another process.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The process may not open enough files to serve a single client.
    #[error(
        "the limit on open files is too low to serve anybody: it must be {needed} at least (ulimit -n {needed})"
    )]
    Files {
        /// What is needed for one client.
        needed: u64,
    },
    /// Another server's files where the journal is to be.
    #[error(transparent)]
    Foreign(#[from] persistence::ForeignFiles),
    /// Another server's files that were to be brought in.
    #[error(transparent)]
    Import(#[from] persistence::ImportError),
    /// The other nodes can't be reached as it is configured.
    #[error("{0}")]
    Nodes(String),
    /// The kernel refused something.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// What the configuration can't know of lines about users and commands.
pub const LINE_CHECKS: LineChecks = LineChecks { user: written_out, renames: check_renames };

/// A `user` line with its rules as ACL LIST shows them, or what is wrong with it.
fn written_out(line: &UserLine, config: &Config) -> Result<UserLine, String> {
    let user = User::with_rules(table(), &line.name, &line.rules, first_channels(config))
        .map_err(|error| error.to_string())?;
    Ok(UserLine { name: line.name.clone(), rules: user.rules() })
}

/// What is wrong with the last of these lines, if anything.
fn check_renames(lines: &[RenamedCommand]) -> Result<(), String> {
    Renames::of(table(), lines).map(|_| ())
}

/// The users of the configuration or of its `aclfile`.
fn users_of(config: &Config) -> Result<Users, StartError> {
    if let Some(path) = &config.aclfile {
        return users_of_file(path, config).map_err(StartError::AclFile);
    }
    let lines = config.users.iter().map(|line| (&line.name[..], &line.rules[..]));
    Ok(Users::of_lines(table(), &config.requirepass, first_channels(config), lines)?)
}

/// What can be said of a configuration without starting: users' rules and certificates that it names are read.
pub fn check(config: &Config) -> Result<(), StartError> {
    users_of(config)?;
    if config.has_tls_port() && !config.tls_self_signed {
        crate::tls::server_config(config)?;
    }
    check_listeners(config)?;
    let keeps_files = config.keeps_anything() || config.import_on_start;
    match persistence::foreign::in_the_way(config) {
        Some(foreign) if keeps_files => Err(foreign.into()),
        _ => Ok(()),
    }
}

/// Shards at most: the directory keeps a bit for each.
const SHARDS_MAX: usize = 64;

/// A server that runs on its own threads.
pub struct Running {
    server: Arc<Server>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Loads the journal, if that was not done before the shards started.
    loader: Option<Loader>,
    /// Where HTTP comes in, until somebody serves it.
    http: Vec<HttpListener>,
    /// Where it listens, for people.
    pub addresses: Vec<String>,
    /// How many shards it has.
    pub shards: usize,
    /// Files it made, with what they are, for people.
    pub files: Vec<(&'static str, PathBuf)>,
}

/// Opens the listeners and starts the shards. `config_path` is the file that CONFIG REWRITE writes.
pub fn start(config: Config, config_path: Option<PathBuf>) -> Result<Running, StartError> {
    start_among(config, config_path, None)
}

/// What connects a server with other nodes, before its shards start. Errors: a line for people.
pub type Connect<'a> = Box<dyn FnOnce(Inlet, &Config) -> Result<Arc<dyn Nodes>, String> + 'a>;

/// The same as one of several nodes.
pub fn start_among(
    mut config: Config,
    config_path: Option<PathBuf>,
    connect: Option<Connect<'_>>,
) -> Result<Running, StartError> {
    let mut shards = shards_of(&config);
    if connect.is_some() {
        shards = shards.min(NODES);
    }
    fit_clients_to_files(&mut config, shards)?;
    let users = users_of(&config)?;
    let mut files = Vec::new();
    if config.tls_self_signed && config.tls_cert_file.is_none() {
        let made = crate::tls::self_signed(&config.dir)?;
        files = vec![("clients trust it with", made.ca), ("TLS certificate", made.cert)];
    }
    let tls = if config.has_tls_port() { Some(crate::tls::server_config(&config)?) } else { None };
    persistence::foreign::recognise(&config)?;
    persistence::import::import_on_start(&config)?;
    let opened = persistence::open(&config)?;
    let (listeners, mut addresses) = listen(&config)?;
    let http = listen_http(&config)?;
    addresses.extend(http.iter().map(HttpListener::describe));

    let polls = (0..shards).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let mailboxes = (polls.iter())
        .map(|poll| Ok(Mailbox::new(Waker::new(poll.registry(), WAKER)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let server = Arc::new(Server::new(table(), config, config_path, users, tls, mailboxes));
    server.watch_waiters();
    if let Some(connect) = connect {
        let nodes = connect(Inlet::new(Arc::clone(&server)), &server.config()).map_err(StartError::Nodes)?;
        // Nobody else has set it.
        let _ = server.nodes.set(nodes);
    }
    *server.listening.lock() = addresses_of(&listeners);
    *server.http_listening.lock() = http.iter().map(HttpListener::place).collect();
    server.journaling.jobs.begin(crate::time::unix_ms() / 1000);
    let loader = opened.map(|opened| Loader::start(&server, opened)).transpose()?.flatten();
    let mut listeners = Some(Listeners::new(listeners));
    let mut threads = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let server = Arc::clone(&server);
        let listeners = listeners.take().unwrap_or_default();
        let run = move || {
            let stop = Arc::clone(&server);
            let result = Shard::new(index, server, poll, listeners).run();
            // A shard that fails takes the server down in order: half a server would lose messages silently.
            stop.stop();
            result
        };
        let thread = std::thread::Builder::new().name(format!("shard-{index}")).stack_size(SHARD_STACK_BYTES);
        threads.push(thread.spawn(run)?);
    }
    Ok(Running { server, threads, loader, http, addresses, shards, files })
}

/// Lowers `maxclients` to what the limit on open files leaves room for.
fn fit_clients_to_files(config: &mut Config, shards: usize) -> Result<(), StartError> {
    let own = own_files(config, shards);
    let Err(fitting) = make_room_for(config.maxclients, own) else { return Ok(()) };
    if fitting == 0 {
        return Err(StartError::Files { needed: own + 1 });
    }
    let asked = config.maxclients;
    tracing::warn!(
        "maxclients is {fitting} and not {asked}: the limit on open files allows no more beside the {own} that the server \
         needs itself. Raise it (ulimit -n {}) to serve as many as asked.",
        u64::from(asked) + own
    );
    // Fewer than were asked for, which was a u32.
    config.maxclients = u32::try_from(fitting).unwrap_or(u32::MAX);
    Ok(())
}

fn shards_of(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let wanted = if config.threads == 0 { cores() } else { usize::from(config.threads) };
    wanted.clamp(1, SHARDS_MAX)
}

impl Running {
    /// Has the server stop in order; [`Running::join`] waits for it.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// What the tools need to be told to reach it from this machine, with a space in front; `None`: they can't.
    pub fn tool_options(&self) -> Option<String> {
        let config = self.server.config();
        let listening = self.server.listening.lock();
        // Without TLS, and by the usual address, if there is a choice.
        let by_ease =
            |(address, tls): &&(SocketAddr, bool)| (*tls, !address.ip().is_loopback(), address.is_ipv6());
        let (address, tls) = *listening.iter().min_by_key(by_ease)?;
        drop(listening);
        let host = match address.ip() {
            IpAddr::V6(ip) if ip.is_unspecified() => "::1".to_owned(),
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            ip => ip.to_string(),
        };
        let mut options = String::new();
        if host != "127.0.0.1" {
            options += &format!(" -h {host}");
        }
        if tls || address.port() != 6379 {
            options += &format!(" -p {}", address.port());
        }
        if tls {
            options += " --tls";
            if config.tls_auth_clients == TlsAuthClients::Yes {
                options += " --cert <yours> --key <yours>";
            }
        }
        if !self.server.default_user_has_no_password() {
            options += " --askpass";
        }
        Some(options)
    }

    /// The engine behind the sockets, for who serves other protocols.
    pub fn engine(&self) -> Engine {
        Engine::new(Arc::clone(&self.server))
    }

    /// The listeners of `http-port` and `https-port`.
    pub fn take_http_listeners(&mut self) -> Vec<HttpListener> {
        std::mem::take(&mut self.http)
    }

    /// A handle that stops or reloads the server from another thread.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.server))
    }

    /// Waits until every shard has stopped, calls `on_stopped`, and closes the journal. Errors: what the first shard that failed
    /// met with.
    pub fn join(self, on_stopped: impl FnOnce()) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a shard panicked")));
            result = result.and(ended);
        }
        on_stopped();
        let loaded = self.loader.map_or(Ok(()), Loader::join).map_err(io::Error::other);
        let closed = self.server.close_journal().map_err(io::Error::other);
        result.and(loaded).and(closed)
    }
}

/// What signals do to a running server.
#[derive(Clone)]
pub struct Control(Arc<Server>);

impl Control {
    /// SIGTERM, SIGINT: stop in order. Where snapshots are all that is kept, one is taken first, and the server goes on if
    /// that fails, as Redis does.
    pub fn stop(&self) {
        if !self.0.must_save_at_end() || self.0.ask(Job::Final { force: false }, None).is_err() {
            self.0.stop();
        }
    }

    /// Whether keys are still being loaded.
    pub fn is_loading(&self) -> bool {
        self.0.journaling.is_loading()
    }

    /// Whether every shard has begun a turn within so long.
    pub fn is_alive(&self, within: Duration) -> bool {
        let now_ms = crate::time::unix_ms();
        let within_ms = within.as_millis() as u64;
        self.0.shards.iter().all(|shard| now_ms.saturating_sub(shard.turned_ms.load(Relaxed)) < within_ms)
    }

    /// SIGHUP: read certificates again. Errors: they can't be used, and the old ones stay.
    pub fn reload_tls(&self) -> Result<(), crate::tls::TlsError> {
        let server = &self.0;
        let _turn = server.settings_files.turn.lock();
        loop {
            let config = server.config();
            let Some(options) = TlsOptions::of(&config) else { return Ok(()) };
            let tls = crate::tls::server_config(&config)?;
            let _change = server.config_changes.lock();
            if TlsOptions::of(&server.config()).is_some_and(|now| now == options) {
                server.set_tls(Some(tls));
                return Ok(());
            }
            // CONFIG SET has named others meanwhile.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_line_with_an_unknown_command_is_refused() {
        let line = |rule: &str| UserLine { name: b"eve".to_vec(), rules: vec![rule.as_bytes().to_vec()] };
        let rules = written_out(&line("+get"), &Config::default()).map(|line| line.rules.join(&b' '));
        assert_eq!(rules, Ok(b"off sanitize-payload resetchannels -@all +get".to_vec()));
        let unknown = written_out(&line("+nosuch"), &Config::default());
        assert_eq!(unknown, Err("Unknown command or category name in ACL".to_owned()));
    }
}
