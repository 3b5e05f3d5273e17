//! What all shards share. The order of its locks is [`crate::lock::Level`].

pub(crate) mod turns;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use hashbrown::HashMap;
use rustls::{ServerConfig, ServerConnection};
use smallvec::{SmallVec, smallvec};
use sterna_command::Table;
use sterna_config::MaxmemoryPolicy;
use sterna_keyspace::stream::{BlockLimits, IdempotenceConfig};
use sterna_keyspace::{
    Caller, EventClasses, Eviction, Fill, Frequency, KeyGroup, Limits, Look, Order, Policy, Presence,
    Settings, Stats, StreamSettings,
};

use crate::acl::{User, Users};
use crate::apart::{Reserved, Threads};
use crate::budget::MemoryBudget;
use crate::config::Config;
use crate::connection::client::{Client, ClientId, CloseCounts, mark};
use crate::connection::transport::Transport;
use crate::directory::Directory;
use crate::journaling::Journaling;
use crate::lock::{Level, Mutex, RwLock};
use crate::log_limit::LogLimits;
use crate::logins::Logins;
use crate::mailbox::{Credit, Mail, Mailbox};
use crate::net::HttpRelisten;
use crate::nodes::Nodes;
use crate::pages::Pages;
use crate::partitions::Partitions;
use crate::pause::Pause;
use crate::purge::Purges;
use crate::rates::{Counters, Rates};
use crate::reclaim::Reclaimer;
use crate::renames::Renames;
use crate::replication::Replication;
use crate::resumable::Resumables;
use crate::scripts::Scripts;
use crate::settings_files::SettingsFiles;
use crate::signal::Signal;
use crate::stats::traffic::Traffic;
use crate::stats::{CommandCounts, ErrorCounts};
use crate::tracking::Tracking;

/// What other threads know of a shard.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    pub(crate) mailbox: Mailbox,
    /// What each other shard has mailed to it, and behind them other nodes, and it has not handed out.
    pub(crate) credit: Box<[Credit]>,
    pub(crate) clients: Mutex<HashMap<ClientId, Arc<Client>>, { Level::Clients as u8 }>,
    /// Connections it owns or has been promised.
    pub(crate) connections: AtomicUsize,
    pub(crate) closed: CloseCounts,
    pub(crate) commands: CommandCounts,
    pub(crate) errors: ErrorCounts,
    /// Changes of the keyspace since the start.
    pub(crate) changes: AtomicU64,
    /// The version of the configuration that it goes by.
    pub(crate) config_seen: AtomicU64,
    /// When its last turn began: Unix time, milliseconds.
    pub(crate) turned_ms: AtomicU64,
    /// Connections of it wait for the disk.
    pub(crate) awaits_disk: AtomicBool,
    /// `Mail::Resume` is on its way to it.
    pub(crate) is_resuming: AtomicBool,
    /// Its connections that are shown every command.
    pub(crate) monitors: AtomicUsize,
    /// They have missed some, and `Mail::MonitorsMissed` is on its way.
    pub(crate) monitors_missed: AtomicBool,
    /// Bytes read from and written to its connections, closed ones included.
    pub(crate) net_in_bytes: AtomicU64,
    pub(crate) net_out_bytes: AtomicU64,
    /// Messages, deliveries, and what they take.
    pub(crate) traffic: Traffic,
    /// Requests denied for the command, a key, or a channel.
    pub(crate) denied: [AtomicU64; 3],
    /// What its clients hold, as of the last look at each; shared with them, who keep it.
    pub(crate) client_bytes: Arc<AtomicU64>,
}

impl ShardHandle {
    pub(crate) fn new(mailbox: Mailbox, shards: usize, table: &Table) -> ShardHandle {
        ShardHandle {
            mailbox,
            credit: (0..=shards).map(|_| Credit::default()).collect(),
            clients: Mutex::default(),
            connections: AtomicUsize::new(0),
            closed: CloseCounts::default(),
            commands: CommandCounts::new(table.rows().len()),
            errors: ErrorCounts::default(),
            changes: AtomicU64::new(0),
            config_seen: AtomicU64::new(0),
            turned_ms: AtomicU64::new(crate::time::unix_ms()),
            awaits_disk: AtomicBool::new(false),
            is_resuming: AtomicBool::new(false),
            monitors: AtomicUsize::new(0),
            monitors_missed: AtomicBool::new(false),
            net_in_bytes: AtomicU64::new(0),
            net_out_bytes: AtomicU64::new(0),
            traffic: Traffic::default(),
            denied: Default::default(),
            client_bytes: Arc::default(),
        }
    }
}

/// The process: everything that is not one shard's own.
pub(crate) struct Server {
    /// The commands that it has.
    pub(crate) table: &'static Table,
    pub(crate) shards: Box<[ShardHandle]>,
    pub(crate) directory: Directory,
    pub(crate) partitions: Partitions,
    pub(crate) scripts: Scripts,
    pub(crate) journaling: Journaling,
    pub(crate) tracking: Tracking,
    pub(crate) pause: Pause,
    pub(crate) reclaimer: Reclaimer,
    /// Threads for commands that take long.
    pub(crate) apart: Threads,
    /// Keys that such commands are about to write.
    pub(crate) reserved: Reserved,
    /// Connections shown every command, over all shards.
    pub(crate) monitors: AtomicUsize,
    /// Connections of all shards.
    pub(crate) connected: AtomicUsize,
    /// Connections that wait in a blocking command.
    pub(crate) blocked: AtomicUsize,
    pub(crate) accepted_connections: AtomicU64,
    pub(crate) rejected_connections: AtomicU64,
    pub(crate) started: Instant,
    /// 40 hexadecimal digits, new with every start.
    pub(crate) run_id: String,
    /// The file that CONFIG REWRITE writes.
    pub(crate) config_path: Option<std::path::PathBuf>,
    /// Whose subscriptions can be resumed.
    pub(crate) resumables: Resumables,
    /// What is known of pages.
    pub(crate) pages: Pages,
    /// What clients call commands.
    pub(crate) renames: Renames,
    pub(crate) users: RwLock<Users, { Level::Users as u8 }>,
    config: RwLock<Arc<Config>, { Level::Config as u8 }>,
    /// Held by whoever changes the configuration, from reading the old one to the new one's taking effect.
    pub(crate) config_changes: Mutex<(), { Level::Change as u8 }>,
    pub(crate) settings_files: Arc<SettingsFiles>,
    pub(crate) purges: Arc<Purges>,
    /// The TCP addresses listened on, and whether for TLS.
    pub(crate) listening: Mutex<Vec<(SocketAddr, bool)>, { Level::Listening as u8 }>,
    /// The same of HTTP, and who listens there.
    pub(crate) http_listening: Mutex<Vec<(SocketAddr, bool)>, { Level::Listening as u8 }>,
    pub(crate) http: OnceLock<HttpRelisten>,
    /// Classes of keyspace events that are published: bits of `EventClasses`, from the configuration.
    event_classes: AtomicU32,
    /// Rises with every CONFIG SET (Release, after the new configuration is in place; read Acquire).
    config_version: AtomicU64,
    retain_version: AtomicU64,
    tls: RwLock<Option<Arc<ServerConfig>>, { Level::Tls as u8 }>,
    pub(crate) logins: Logins,
    pub(crate) failed_logins: AtomicU64,
    /// When a client that spoke HTTP was last logged: Unix time, milliseconds.
    pub(crate) http_logged_ms: AtomicU64,
    next_client: AtomicU64,
    /// Keyspace figures as of the last look, for INFO inside a transaction, which holds the locks itself.
    keyspace: Mutex<KeyspaceFigures, { Level::KeyspaceFigures as u8 }>,
    /// CONFIG RESETSTAT was called where it could not lock the partitions.
    keyspace_stats_due: AtomicBool,
    /// Set when the options about streams have changed and the partitions have not taken them over.
    settings_due: AtomicBool,
    /// Whether keys that are due are removed without being asked for; DEBUG SET-ACTIVE-EXPIRE. A hint: nothing else goes with it.
    pub(crate) expires_actively: AtomicBool,
    /// Whether nothing happens by the clock that nobody waits for: no expiry, no end of idle clients, no snapshot; DEBUG PAUSE-CRON.
    /// A hint, too.
    pub(crate) is_cron_paused: AtomicBool,
    /// DEBUG DIGEST, or DIGEST-VALUE, is under way: one at a time.
    pub(crate) digests: AtomicBool,
    /// Copies of the keys or the journal that are being sent.
    pub(crate) copies: AtomicUsize,
    /// See `Limits` of the keyspace.
    list_alone_bytes: AtomicUsize,
    pub(crate) rates: Mutex<Rates, { Level::Rates as u8 }>,
    pub(crate) memory: MemoryBudget,
    pub(crate) log_limits: LogLimits,
    /// Descriptors kept from clients, for what the server needs itself.
    pub(crate) own_files: u64,
    pub(crate) slowlog: Mutex<crate::history::slow::SlowLog, { Level::SlowLog as u8 }>,
    pub(crate) delays: Mutex<crate::history::delays::Delays, { Level::Delays as u8 }>,
    pub(crate) acl_log: Mutex<crate::history::denials::AclLog, { Level::AclLog as u8 }>,
    /// Other nodes, if there are to be any. Set before the shards start.
    pub(crate) nodes: OnceLock<Arc<dyn Nodes>>,
    /// The logs that nodes share, one for each group of keys, if keys are theirs together; else none.
    pub(crate) logs: Box<[Arc<Replication>]>,
    stopping: AtomicBool,
    /// That every shard has taken over a change, that the rollback is over, or that the server stops.
    pub(crate) moments: Signal,
}

/// What INFO says of the keyspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyspaceFigures {
    pub(crate) fills: Vec<Fill>,
    pub(crate) stats: Stats,
    pub(crate) used_bytes: usize,
    /// Keys that clients wait for, and those of them for which a consumer of a group does.
    pub(crate) awaited: (usize, usize),
}

/// Who is connected.
#[derive(Debug)]
struct Connected(Weak<Server>);

impl Presence for Connected {
    fn has_left(&self, caller: &Caller, look: &mut Look, next: &mut dyn Iterator<Item = &Caller>) -> bool {
        let Some(server) = self.0.upgrade() else { return false };
        let client_of =
            |caller: &Caller| server.shards[caller.shard].clients.lock().get(&caller.client).map(Arc::clone);
        let Some(client) = client_of(caller) else { return true };
        if client.is_ending() {
            return true;
        }
        if let Some(had_left) = client.had_left(look.number) {
            return had_left;
        }
        let mut clients: SmallVec<[Arc<Client>; 1]> = smallvec![client];
        if look.number != 0 {
            clients.extend(next.take(look.ahead).filter_map(client_of));
            look.ahead = (2 * look.ahead + 1).min(LOOK_AHEAD_MAX);
        }
        Client::look(&clients, look.number)
    }
}

/// So many clients are asked about together at most: what the system call itself takes is next to nothing of it then.
const LOOK_AHEAD_MAX: usize = 63;

/// Partitions a shard: enough that two shards seldom meet at one.
const PARTITIONS_PER_SHARD: usize = 16;

impl Server {
    pub(crate) fn new(
        table: &'static Table,
        config: Config,
        config_path: Option<std::path::PathBuf>,
        users: Users,
        tls: Option<Arc<ServerConfig>>,
        mailboxes: Vec<Mailbox>,
    ) -> Server {
        let shards = mailboxes.len();
        let groups = if config.cluster_keys { config.cluster_groups as u16 } else { 1 };
        let logs = KeyGroup::all(groups).map(|group| Arc::new(Replication::new(group)));
        let logs = logs.filter(|_| config.cluster_keys).collect();
        let partitions =
            Partitions::grouped(groups, PARTITIONS_PER_SHARD * shards, config.databases as usize);
        partitions.set_settings(settings_of(&config, usize::MAX));
        let reclaimer = Reclaimer::start();
        let evicts = policy_of(config.maxmemory_policy).is_some();
        let memory =
            MemoryBudget::new(config.maxmemory, evicts, partitions.dead_bytes(), reclaimer.pending_bytes());
        Server {
            tracking: Tracking::new(shards),
            shards: mailboxes.into_iter().map(|mailbox| ShardHandle::new(mailbox, shards, table)).collect(),
            table,
            directory: Directory::default(),
            partitions,
            scripts: Scripts::new(shards),
            journaling: Journaling::default(),
            pause: Pause::default(),
            reclaimer,
            apart: Threads::start(shards),
            reserved: Reserved::default(),
            monitors: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            accepted_connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            started: Instant::now(),
            run_id: std::iter::repeat_with(|| fastrand::digit(16)).take(40).collect(),
            config_path,
            resumables: Resumables::default(),
            pages: Pages::default(),
            // Checked when the configuration was read.
            renames: Renames::of(table, &config.renames).unwrap_or_default(),
            users: RwLock::new(users),
            config_changes: Mutex::default(),
            settings_files: Arc::default(),
            purges: Arc::default(),
            listening: Mutex::default(),
            http_listening: Mutex::default(),
            http: OnceLock::new(),
            event_classes: AtomicU32::new(event_classes_of(&config).bits()),
            memory,
            own_files: crate::files::own_files(&config, shards),
            config: RwLock::new(Arc::new(config)),
            config_version: AtomicU64::new(1),
            retain_version: AtomicU64::new(0),
            tls: RwLock::new(tls),
            logins: Logins::default(),
            failed_logins: AtomicU64::new(0),
            http_logged_ms: AtomicU64::new(0),
            next_client: AtomicU64::new(1),
            keyspace: Mutex::default(),
            keyspace_stats_due: AtomicBool::new(false),
            settings_due: AtomicBool::new(false),
            expires_actively: AtomicBool::new(true),
            is_cron_paused: AtomicBool::new(false),
            digests: AtomicBool::new(false),
            copies: AtomicUsize::new(0),
            list_alone_bytes: AtomicUsize::new(usize::MAX),
            rates: Mutex::default(),
            log_limits: LogLimits::default(),
            slowlog: Mutex::default(),
            delays: Mutex::default(),
            acl_log: Mutex::default(),
            logs,
            nodes: OnceLock::new(),
            stopping: AtomicBool::new(false),
            moments: Signal::default(),
        }
    }

    /// Has waiters whose clients have ended their connections passed over, see [`Presence`].
    pub(crate) fn watch_waiters(self: &Arc<Self>) {
        let presence: Arc<dyn Presence> = Arc::new(Connected(Arc::downgrade(self)));
        self.partitions.set_presence(&presence);
    }

    /// A number no client has had.
    pub(crate) fn next_client_id(&self) -> ClientId {
        self.next_client.fetch_add(1, Relaxed)
    }

    /// The shard for a new connection.
    pub(crate) fn least_loaded_shard(&self) -> usize {
        let loads =
            self.shards.iter().enumerate().map(|(index, shard)| (shard.connections.load(Relaxed), index));
        loads.min().map_or(0, |(_, index)| index)
    }

    /// Counts one connection more, unless there are `maxclients`.
    pub(crate) fn count_connected(&self) -> bool {
        let is_room = self.connected.fetch_add(1, Relaxed) < self.config.read().maxclients as usize;
        if !is_room {
            self.connected.fetch_sub(1, Relaxed);
            self.rejected_connections.fetch_add(1, Relaxed);
        }
        is_room
    }

    /// A connection is gone.
    pub(crate) fn count_closed(&self, transport: &Transport) {
        if transport.fd().is_some() {
            self.connected.fetch_sub(1, Relaxed);
        }
    }

    /// A connection is gone whose socket is, too.
    pub(crate) fn count_lost(&self) {
        self.connected.fetch_sub(1, Relaxed);
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
    }

    pub(crate) fn config_with_version(&self) -> (Arc<Config>, u64) {
        let config = self.config.read();
        (Arc::clone(&config), self.config_version.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Acquire)
    }

    /// Replaces the configuration by what `change` makes of it; shards see it at their next turn.
    pub(crate) fn change_config<E>(
        &self,
        change: impl FnOnce(&Config) -> Result<Config, E>,
    ) -> Result<Arc<Config>, E> {
        let mut config = self.config.write();
        let before = Arc::clone(&config);
        *config = Arc::new(change(&before)?);
        if config.retain != before.retain {
            self.retain_version.fetch_add(1, Ordering::AcqRel);
        }
        self.event_classes.store(event_classes_of(&config).bits(), Relaxed);
        self.memory.set_max(config.maxmemory, policy_of(config.maxmemory_policy).is_some());
        self.settings_due.store(true, Ordering::Release);
        self.config_version.fetch_add(1, Ordering::Release);
        Ok(Arc::clone(&config))
    }

    /// How often `retain` has been changed. Who reads this after a lock that a publisher held before sees what that one went by.
    pub(crate) fn retain_version(&self) -> u64 {
        self.retain_version.load(Ordering::Acquire)
    }

    /// Tells the partitions of changed options about the layout of values. The caller holds no partition.
    pub(crate) fn settle_settings(&self) {
        if self.settings_due.swap(false, Ordering::AcqRel) {
            self.partitions.set_settings(settings_of(&self.config(), self.list_alone_bytes.load(Relaxed)));
        }
    }

    /// Elements of lists that have so many bytes get nodes of their own from now on. The caller settles the settings.
    pub(crate) fn set_list_alone_bytes(&self, bytes: usize) {
        self.list_alone_bytes.store(bytes, Relaxed);
        self.settings_due.store(true, Ordering::Release);
    }

    /// Has shards take over the configuration again: something that goes with it has changed.
    pub(crate) fn note_change(&self) {
        self.config_version.fetch_add(1, Ordering::Release);
    }

    /// Changes of the keyspace since the start.
    pub(crate) fn changes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.changes.load(Relaxed)).sum()
    }

    /// A TLS session for a new connection; `None` if TLS is not configured or the session can't be made.
    pub(crate) fn tls_session(&self) -> Option<ServerConnection> {
        let config = self.tls.read().clone()?;
        ServerConnection::new(config).ok()
    }

    /// TLS for new connections.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().clone()
    }

    /// Has new connections use `tls`; those there are keep what they have.
    pub(crate) fn set_tls(&self, tls: Option<Arc<ServerConfig>>) {
        *self.tls.write() = tls;
    }

    /// Who a connection is before it says so: the default user, if that has no password.
    pub(crate) fn user_without_password(&self) -> Option<Arc<User>> {
        let users = self.users.read();
        let user = users.default_user();
        (user.is_enabled() && user.is_nopass()).then(|| Arc::clone(user))
    }

    /// The user of this name, if it may connect at all.
    pub(crate) fn enabled_user(&self, name: &[u8]) -> Option<Arc<User>> {
        let users = self.users.read();
        users.get(name).filter(|user| user.is_enabled()).cloned()
    }

    pub(crate) fn default_user_has_no_password(&self) -> bool {
        self.user_without_password().is_some()
    }

    /// Classes of keyspace events that are published.
    pub(crate) fn event_classes(&self) -> EventClasses {
        EventClasses::from_bits_truncate(self.event_classes.load(Relaxed))
    }

    /// Every client of every shard.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.clients.lock().values().cloned().collect::<Vec<_>>())
            .collect();
        all.sort_by_key(|client| client.id);
        all
    }

    /// Whether this client of that shard is there and has what it reads remembered.
    pub(crate) fn tracks(&self, client: ClientId, shard: u16) -> bool {
        let clients = self.shards[usize::from(shard)].clients.lock();
        clients.get(&client).is_some_and(|client| {
            client.has_mark(mark::TRACKING) && !client.has_mark(mark::TRACKING_BROADCAST)
        })
    }

    /// Forgets some of what is remembered of clients that track no more.
    fn sweep_tracked_reads(&self) {
        self.tracking.sweep(|client, shard| self.tracks(client, shard));
    }

    /// The client with this number.
    pub(crate) fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.shards.iter().find_map(|shard| shard.clients.lock().get(&id).cloned())
    }

    /// Takes the figures of the keyspace anew. The caller holds no partition.
    pub(crate) fn note_keyspace(&self) {
        if self.keyspace_stats_due.swap(false, Ordering::AcqRel) {
            self.partitions.reset_stats();
        }
        let figures = KeyspaceFigures {
            fills: self.partitions.fill(crate::time::unix_ms()),
            stats: self.partitions.stats(),
            used_bytes: self.partitions.used_bytes(),
            awaited: self.partitions.awaited(),
        };
        *self.keyspace.lock() = figures;
    }

    /// The figures as of the last [`Server::note_keyspace`].
    pub(crate) fn keyspace_figures(&self) -> KeyspaceFigures {
        self.keyspace.lock().clone()
    }

    /// Commands executed and bytes moved, over all shards.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum.commands += shard.commands.calls();
            sum.in_bytes += shard.net_in_bytes.load(Relaxed);
            sum.out_bytes += shard.net_out_bytes.load(Relaxed);
            sum.turns += shard.traffic.turns.load(Relaxed);
            sum.turns_ns += shard.traffic.turns_ns.load(Relaxed);
        }
        sum
    }

    /// What one shard does ten times a second: rates, and whether memory has run out.
    pub(crate) fn tick(&self) {
        self.rates.lock().sample(Instant::now(), self.counters());
        self.settle_settings();
        self.memory.read();
        self.log_limits.report(crate::time::unix_ms());
        self.sweep_tracked_reads();
    }

    /// What all clients hold, as of the last look at each.
    pub(crate) fn client_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.client_bytes.load(Relaxed)).sum()
    }

    /// CONFIG RESETSTAT. Keyspace figures are counted anew at the next look if the caller may hold partitions now.
    pub(crate) fn reset_stats(&self) {
        for shard in &self.shards {
            shard.commands.reset();
            shard.errors.reset();
            shard.closed.reset();
            shard.net_in_bytes.store(0, Relaxed);
            shard.net_out_bytes.store(0, Relaxed);
            shard.traffic.reset();
            shard.denied.iter().for_each(|count| count.store(0, Relaxed));
        }
        for counter in [&self.accepted_connections, &self.rejected_connections, &self.failed_logins] {
            counter.store(0, Relaxed);
        }
        self.reclaimer.reset();
        self.memory.reset_peak();
        self.rates.lock().reset();
        self.keyspace.lock().stats = Stats::default();
        self.keyspace_stats_due.store(true, Ordering::Release);
    }

    /// Has every shard stop in order. Only the first call does anything.
    pub(crate) fn stop(&self) {
        if !self.stopping.swap(true, Ordering::AcqRel) {
            self.moments.notify();
            self.journaling.loading.call_off();
            self.shards.iter().for_each(|shard| shard.mailbox.push(Mail::Shutdown));
        }
    }

    /// Whether it is on its way to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Has every shard let go whom CLIENT PAUSE held back: by one letter, however often that is asked for before it is read.
    pub(crate) fn end_pause(&self) {
        self.pause.stop();
        // The shard clears it before it looks at the pause.
        for shard in self.shards.iter().filter(|shard| !shard.is_resuming.swap(true, Ordering::AcqRel)) {
            shard.mailbox.push(Mail::Resume);
        }
    }
}

/// What is configured about values, as the keyspace understands it.
fn settings_of(config: &Config, list_alone_bytes: usize) -> Settings {
    let limits = Limits {
        list_node: config.list_max_listpack_size,
        list_alone_bytes,
        hash_entries: config.hash_max_listpack_entries,
        hash_value_bytes: config.hash_max_listpack_value,
        set_integers: config.set_max_intset_entries,
        set_entries: config.set_max_listpack_entries,
        set_value_bytes: config.set_max_listpack_value,
        zset_entries: config.zset_max_listpack_entries,
        zset_value_bytes: config.zset_max_listpack_value,
        hll_sparse_bytes: config.hll_sparse_max_bytes,
    };
    let blocks =
        BlockLimits { bytes_max: config.stream_node_max_bytes, entries_max: config.stream_node_max_entries };
    let idempotence = IdempotenceConfig {
        duration_s: config.stream_idmp_duration,
        entries_max: config.stream_idmp_maxsize,
    };
    let eviction = Eviction {
        policy: policy_of(config.maxmemory_policy),
        samples: config.maxmemory_samples,
        frequency: Frequency { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time },
    };
    Settings { limits, streams: StreamSettings { limits: blocks, idempotence }, eviction }
}

/// `maxmemory-policy` as the keyspace understands it.
fn policy_of(policy: MaxmemoryPolicy) -> Option<Policy> {
    let (only_volatile, order) = match policy {
        MaxmemoryPolicy::NoEviction => return None,
        MaxmemoryPolicy::AllkeysLru => (false, Order::LastUse),
        MaxmemoryPolicy::AllkeysLfu => (false, Order::Frequency),
        MaxmemoryPolicy::AllkeysLrm => (false, Order::LastChange),
        MaxmemoryPolicy::AllkeysRandom => (false, Order::Random),
        MaxmemoryPolicy::VolatileLru => (true, Order::LastUse),
        MaxmemoryPolicy::VolatileLfu => (true, Order::Frequency),
        MaxmemoryPolicy::VolatileLrm => (true, Order::LastChange),
        MaxmemoryPolicy::VolatileRandom => (true, Order::Random),
        MaxmemoryPolicy::VolatileTtl => (true, Order::Expiry),
    };
    Some(Policy { only_volatile, order })
}

/// `notify-keyspace-events` as the keyspace understands it. Without a channel nothing is published, so nothing is asked for.
fn event_classes_of(config: &Config) -> EventClasses {
    let wanted = config.notify_keyspace_events.0;
    if wanted.intersects(EventClasses::CHANNELS) { wanted } else { EventClasses::empty() }
}
