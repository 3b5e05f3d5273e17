//! The connection to NATS: from directives to a client, and the checks that come before its first use.
//!
//! One client serves Pub/Sub and whatever else this crate asks of NATS. It knows every server of `cluster-url`, goes on with
//! another one when its own is gone, and tries for ever: a node without NATS is a node by itself, not a node that has failed.
//!
//! Errors: what an operator has to mend is refused before anything starts (an address that is none, a certificate that can't be
//! read); a server that is not there is waited for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, ServerInfo};
use sterna_config::Config;

use crate::log::StoreError;
use crate::log::snapshots::SnapshotSettings;

/// The oldest NATS server whose behaviour this crate relies on.
pub const SERVER_MIN: (u32, u32, u32) = (2, 14, 0);

/// How often NATS is asked for a sign of life. It is given up after the third question without an answer.
const PING_INTERVAL: Duration = Duration::from_millis(1000);

/// How long one server may take to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Pauses between attempts to reconnect grow up to this.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Messages that one subscription may have waiting before the client drops them. The other nodes' windows allow fewer.
const SUBSCRIPTION_MESSAGES_MAX: usize = 256 * 1024;

/// Requests to the client's own task that may wait. What is sent to other nodes is limited by windows far below it.
const REQUESTS_MAX: usize = 16 * 1024;

/// Where a node puts a snapshot of the cluster while it reads it, in `dir`.
const SNAPSHOT_DIRECTORY: &str = "cluster-snapshot";

/// Length of a cluster's name.
const NAME_BYTES_MAX: usize = 32;

/// Certificates, keys and credentials.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why this node can't be one of a cluster as it is configured, or can't use the NATS server that it reached.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address that is none.
    #[error("cluster-url: {0}")]
    Url(String),
    /// A password where it would be shown by CONFIG GET.
    #[error("cluster-url holds a user or password: use cluster-user and cluster-password")]
    PasswordInUrl,
    /// Not a name.
    #[error("cluster-name must be 1 to {NAME_BYTES_MAX} letters, digits, - and _")]
    Name,
    /// One has copies of all keys everywhere, the other has none.
    #[error("cluster-keys and cluster-leader exclude each other")]
    KeysAndLeader,
    /// No address, or nothing to reach it by.
    #[error("cluster-leader must be host:port, and needs cluster-url")]
    Leader,
    /// Snapshots can't be kept where they are to be.
    #[error("cluster-snapshots: {0}")]
    Snapshots(#[from] StoreError),
    /// One of two that belong together.
    #[error("cluster-tls-cert-file and cluster-tls-key-file belong together")]
    HalfCertificate,
    /// Groups of keys that are each node's own.
    #[error("cluster-groups needs cluster-keys")]
    Groups,
    /// Keys of a cluster need both.
    #[error("cluster-keys needs cluster-url and appendonly yes")]
    Keys,
    /// A file that can't be read.
    #[error("{directive} {path}: {error}")]
    File {
        /// Which directive names it.
        directive: &'static str,
        /// Where it is to be.
        path: String,
        /// What the system or the parser said.
        error: std::io::Error,
    },
    /// A NATS server that is too old.
    #[error("NATS server {name} is version {version}, and {}.{}.{} at least is needed", SERVER_MIN.0, SERVER_MIN.1, SERVER_MIN.2)]
    Old {
        /// The server's name.
        name: String,
        /// What it says it is.
        version: String,
    },
    /// The client could not be made.
    #[error("NATS: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The thread could not be started.
    #[error("cannot start the cluster's thread: {0}")]
    Thread(std::io::Error),
}

/// How to reach NATS, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers.
    pub servers: Vec<ServerAddr>,
    /// The cluster's name.
    pub name: String,
    /// See `cluster-keys`.
    pub has_keys: bool,
    /// See `cluster-groups`.
    pub groups: u16,
    /// See `cluster-buffer-limit`.
    pub buffer_bytes_max: usize,
    /// See `cluster-log-size`.
    pub log_bytes_max: u64,
    /// See `cluster-snapshots`.
    pub(crate) snapshots: Option<SnapshotSettings>,
    login: Login,
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone)]
enum Login {
    Nobody,
    User {
        name: String,
        password: String,
    },
    /// A password that belongs to no user.
    Token(String),
    /// A file of a token that an operator has issued, and its key; or of a key alone.
    Credentials(PathBuf),
}

impl Settings {
    /// What the directives say; `None` without `cluster-url`. Errors: what they say makes no sense, or a file can't be read.
    pub fn of(config: &Config) -> Result<Option<Settings>, ClusterError> {
        if config.cluster_keys {
            if config.cluster_url.is_empty() || !config.appendonly {
                return Err(ClusterError::Keys);
            }
            if !config.cluster_leader.is_empty() {
                return Err(ClusterError::KeysAndLeader);
            }
        }
        if config.cluster_groups > 1 && !config.cluster_keys {
            return Err(ClusterError::Groups);
        }
        if !config.cluster_leader.is_empty() {
            let port = config.cluster_leader.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || config.cluster_url.is_empty() {
                // Keys would be taken as this node's own.
                return Err(ClusterError::Leader);
            }
        }
        if config.cluster_url.is_empty() {
            return Ok(None);
        }
        let name = config.cluster_name.clone();
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_of_name) {
            return Err(ClusterError::Name);
        }
        let certificate = match (&config.cluster_tls_cert_file, &config.cluster_tls_key_file) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(ClusterError::HalfCertificate),
        };
        let login = match &config.cluster_credentials_file {
            Some(path) => Login::Credentials(path.clone()),
            None => {
                let (name, password) = (config.cluster_user.clone(), &config.cluster_password);
                let password = String::from_utf8_lossy(password).into_owned();
                match (name.is_empty(), password.is_empty()) {
                    (true, true) => Login::Nobody,
                    (true, false) => Login::Token(password),
                    (false, _) => Login::User { name, password },
                }
            }
        };
        let snapshots = (config.cluster_keys && !config.cluster_snapshots.is_empty()).then(|| {
            SnapshotSettings::of(&config.cluster_snapshots, &name, config.dir.join(SNAPSHOT_DIRECTORY))
        });
        let snapshots = snapshots.transpose()?;
        let settings = Settings {
            servers: servers_of(&config.cluster_url)?,
            name,
            has_keys: config.cluster_keys,
            groups: u16::try_from(config.cluster_groups).unwrap_or(1),
            buffer_bytes_max: usize::try_from(config.cluster_buffer_limit).unwrap_or(usize::MAX),
            log_bytes_max: config.cluster_log_size,
            snapshots,
            login,
            ca: config.cluster_tls_ca_cert_file.clone(),
            certificate,
        };
        settings.check_files()?;
        Ok(Some(settings))
    }

    /// The same with this server alone.
    pub fn alone(&self, server: &ServerAddr) -> Settings {
        Settings { servers: vec![server.clone()], ..self.clone() }
    }

    /// Files that are named can be read: the client itself would only try again, for ever.
    fn check_files(&self) -> Result<(), ClusterError> {
        let (cert, key) = self.certificate.clone().unzip();
        let credentials = match &self.login {
            Login::Credentials(path) => Some(path.clone()),
            Login::Nobody | Login::User { .. } | Login::Token(_) => None,
        };
        let named = [
            ("cluster-tls-ca-cert-file", &self.ca),
            ("cluster-tls-cert-file", &cert),
            ("cluster-tls-key-file", &key),
            ("cluster-credentials-file", &credentials),
        ];
        for (directive, path) in named {
            if let Some(path) = path {
                sterna_filesystem::read(path, FILE_BYTES_MAX)
                    .map_err(|error| file_error(directive, path, error))?;
            }
        }
        Ok(())
    }

    /// A client that connects as soon as a server is there, and again whenever it has lost it. `on_event` is told of both.
    ///
    /// Errors: files that can't be used.
    pub async fn connect(
        &self,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Client, ClusterError> {
        let on_event = Arc::new(on_event);
        let mut options = ConnectOptions::new()
            .name(format!("sterna {}", self.name))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIME_MAX)
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .client_capacity(REQUESTS_MAX)
            .no_echo()
            .ignore_discovered_servers()
            .reconnect_delay_callback(pause_before)
            .event_callback(move |event| {
                let on_event = Arc::clone(&on_event);
                async move { on_event(event) }
            });
        if let Some(path) = &self.ca {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        options = match &self.login {
            Login::Nobody => options,
            Login::User { name, password } => options.user_and_password(name.clone(), password.clone()),
            Login::Token(token) => options.token(token.clone()),
            Login::Credentials(path) => {
                let wrong = |error| file_error("cluster-credentials-file", path, error);
                let text = sterna_filesystem::read_text(path, FILE_BYTES_MAX).map_err(wrong)?;
                match seed_of(&text) {
                    Some(seed) => options.nkey(seed.to_owned()),
                    None => options.credentials(&text).map_err(wrong)?,
                }
            }
        };
        Ok(options.connect(&self.servers[..]).await?)
    }
}

/// The user's key, if the file has nothing else but comments: `SU…` in a line of its own.
fn seed_of(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().filter(|line| line.starts_with("SU") && lines.next().is_none())
}

fn file_error(directive: &'static str, path: &std::path::Path, error: std::io::Error) -> ClusterError {
    ClusterError::File { directive, path: path.display().to_string(), error }
}

/// The first attempts come at once, so that a server that restarts, or another one, is found soon. Nodes that have lost the same
/// server don't all come at one moment.
fn pause_before(attempt: usize) -> Duration {
    let most = RECONNECT_PAUSE_MAX.min(Duration::from_millis(25 << attempt.min(5)));
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// `nats://a:4222,b:4222`: the scheme of the first is that of those that name none.
fn servers_of(url: &str) -> Result<Vec<ServerAddr>, ClusterError> {
    let scheme = url.split_once("://").map_or("nats", |(scheme, _)| scheme);
    let wrong = |part: &str, why: &dyn std::fmt::Display| ClusterError::Url(format!("{part}: {why}"));
    let mut servers = Vec::new();
    for part in url.split(',').map(str::trim) {
        let whole = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
        if !whole.starts_with("nats://") && !whole.starts_with("tls://") {
            return Err(wrong(part, &"the scheme must be nats or tls"));
        }
        if whole.contains('@') {
            return Err(ClusterError::PasswordInUrl);
        }
        let server: ServerAddr = whole.parse().map_err(|error| wrong(part, &error))?;
        if server.host().is_empty() {
            return Err(wrong(part, &"it names no host"));
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Whether this server can be relied on. Errors: it is too old.
pub fn check_server(info: &ServerInfo) -> Result<(), ClusterError> {
    if version_of(&info.version) < Some(SERVER_MIN) {
        return Err(ClusterError::Old { name: info.server_name.clone(), version: info.version.clone() });
    }
    Ok(())
}

/// `2.15.1`, or `2.16.0-RC.1`.
fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// How often the connection was made and lost, for those who ask later.
#[derive(Debug, Default)]
pub struct Connections {
    /// Made.
    pub made: AtomicU64,
    /// Lost.
    pub lost: AtomicU64,
    complaints: Mutex<Complaints>,
}

/// How often an error is logged that comes again and again: one of the credentials comes with each of several attempts a second.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Different errors that are logged in that time: where one names a subject, there may be as many of it as there are subjects.
const COMPLAINTS_MAX: usize = 8;

/// Errors that were logged lately.
#[derive(Debug, Default)]
struct Complaints {
    /// When that was, and how many more there have been.
    logged: Vec<(String, Instant, u64)>,
    /// How many others there have been.
    others: u64,
}

impl Complaints {
    /// How many of these were left out since the last one, if this is to be logged.
    fn admit(&mut self, text: &str, now: Instant) -> Option<u64> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < COMPLAINT_INTERVAL;
        if let Some((_, at, left_out)) = self.logged.iter_mut().find(|(known, ..)| known == text) {
            if is_recent(*at) {
                *left_out += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(left_out));
        }
        if self.logged.len() == COMPLAINTS_MAX {
            let Some(at) = self.logged.iter().position(|&(_, at, _)| !is_recent(at)) else {
                self.others += 1;
                return None;
            };
            self.others += self.logged.swap_remove(at).2;
        }
        self.logged.push((text.to_owned(), now, 0));
        Some(std::mem::take(&mut self.others))
    }
}

impl Connections {
    /// Counts an event and logs it where an operator would want to know.
    pub fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.made.fetch_add(1, Relaxed);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected | Event::Closed => {
                self.lost.fetch_add(1, Relaxed);
                tracing::warn!("the connection to NATS is lost: Pub/Sub stays on this node until it is back");
            }
            Event::ServerError(error) => self.complain("NATS refused something", error),
            Event::ClientError(error) => self.complain("NATS client", error),
            Event::SlowConsumer(_) => tracing::warn!("this node does not keep up with what NATS sends it"),
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop; going on with another"),
            Event::Draining => {}
        }
    }

    fn complain(&self, what: &str, error: &dyn std::fmt::Display) {
        let text = format!("{what}: {error}");
        let left_out = self.complaints.lock().expect("nothing panics with it").admit(&text, Instant::now());
        match left_out {
            Some(0) => tracing::warn!("{text}"),
            Some(more) => tracing::warn!(more, "{text}"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut Config)) -> Result<Option<Settings>, String> {
        let mut config = Config { cluster_url: "nats://a:4222".to_owned(), ..Config::default() };
        change(&mut config);
        Settings::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn an_error_that_comes_again_and_again_is_logged_now_and_then_with_how_often_it_came() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let mut logged = |text: &str, ms| complaints.admit(text, start + Duration::from_millis(ms));
        assert_eq!(logged("refused", 0), Some(0));
        assert_eq!((1..10_000).filter_map(|ms| logged("refused", ms)).count(), 0);
        assert_eq!(logged("another", 9_999), Some(0));
        assert_eq!(logged("refused", 10_000), Some(9_999));
        assert_eq!(logged("refused", 20_000), Some(0));
        // However many different ones there are.
        let mut of_hundred =
            |ms| (0..100).filter_map(|nth| logged(&nth.to_string(), ms)).collect::<Vec<u64>>();
        assert_eq!(of_hundred(20_001), [0; COMPLAINTS_MAX - 1]);
        let later = of_hundred(30_001);
        assert_eq!(later.len(), COMPLAINTS_MAX);
        assert!(complaints.logged.len() <= COMPLAINTS_MAX);
    }

    #[test]
    fn without_a_url_there_is_no_cluster() {
        assert!(Settings::of(&Config::default()).unwrap().is_none());
    }

    #[test]
    fn a_password_without_a_user_is_a_token_and_a_seed_alone_a_key() {
        let login = |user: &str, password: &str| {
            let settings = of(|config| {
                config.cluster_user = user.to_owned();
                config.cluster_password = password.into();
            });
            settings.unwrap().unwrap().login
        };
        assert!(matches!(login("", ""), Login::Nobody));
        assert!(matches!(login("", "t"), Login::Token(token) if token == "t"));
        assert!(
            matches!(login("u", ""), Login::User { .. }) && matches!(login("u", "p"), Login::User { .. })
        );
        assert_eq!(seed_of("# mine\n\n SUAB \n"), Some("SUAB"));
        for text in ["", "SUAB\nSUAC", "-----BEGIN NATS USER JWT-----\nx\n", "UAB"] {
            assert_eq!(seed_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_names_servers_that_share_a_scheme() {
        let settings =
            of(|config| config.cluster_url = "tls://a:4222, b ,nats://[::1]:5".to_owned()).unwrap().unwrap();
        let servers: Vec<_> = settings
            .servers
            .iter()
            .map(|server| (server.host().to_owned(), server.port(), server.tls_required()))
            .collect();
        let expected = [("a", 4222, true), ("b", 4222, true), ("::1", 5, false)];
        let plain = |host: &str| host.trim_matches(['[', ']']).to_owned();
        let servers: Vec<_> = servers.iter().map(|(host, port, tls)| (plain(host), *port, *tls)).collect();
        assert_eq!(servers, expected.map(|(host, port, tls)| (host.to_owned(), port, tls)));
    }

    #[test]
    fn what_can_not_work_is_refused_in_words() {
        let url = |url: &str| of(|config| config.cluster_url = url.to_owned()).unwrap_err();
        assert_eq!(url("http://a"), "cluster-url: http://a: the scheme must be nats or tls");
        assert_eq!(
            url("nats://me:secret@a"),
            "cluster-url holds a user or password: use cluster-user and cluster-password"
        );
        assert!(url("nats://a,,b").starts_with("cluster-url: : "));
        for leader in ["a", "a:b", ":99999"] {
            let text = of(|config| config.cluster_leader = leader.to_owned()).unwrap_err();
            assert_eq!(text, "cluster-leader must be host:port, and needs cluster-url", "{leader}");
        }
        let groups = |keys: bool| {
            of(|config| {
                (config.cluster_keys, config.appendonly, config.cluster_groups) = (keys, true, 2);
            })
        };
        assert_eq!(groups(false).unwrap_err(), "cluster-groups needs cluster-keys");
        assert!(groups(true).is_ok());
        let alone = Config { cluster_leader: "a:1".to_owned(), ..Config::default() };
        assert!(matches!(Settings::of(&alone), Err(ClusterError::Leader)));
        for name in ["", "a.b", "a b", "*", &"n".repeat(33)] {
            let text = of(|config| config.cluster_name = name.to_owned()).unwrap_err();
            assert_eq!(text, "cluster-name must be 1 to 32 letters, digits, - and _", "{name}");
        }
        let half = of(|config| config.cluster_tls_cert_file = Some("cert".into())).unwrap_err();
        assert_eq!(half, "cluster-tls-cert-file and cluster-tls-key-file belong together");
        let missing = of(|config| config.cluster_credentials_file = Some("no/such".into())).unwrap_err();
        assert!(missing.starts_with("cluster-credentials-file no/such: "), "{missing}");
    }

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        let info = |version: &str| ServerInfo { version: version.to_owned(), ..ServerInfo::default() };
        for good in ["2.14.0", "2.15.1", "2.16.0-RC.1", "3.0.0"] {
            assert!(check_server(&info(good)).is_ok(), "{good}");
        }
        for bad in ["2.13.9", "1.0.0", "", "two"] {
            assert!(check_server(&info(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_between_attempts_are_short_and_bounded() {
        for attempt in [0, 1, 5, 1000, usize::MAX] {
            let pause = pause_before(attempt);
            assert!(pause <= RECONNECT_PAUSE_MAX && !pause.is_zero(), "{pause:?}");
        }
    }
}
