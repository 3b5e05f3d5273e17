//! Every option of redis.conf that Sterna has, one row each, in the order of the reference page.
//!
//! A row is a field of [`Config`] with what can be said about it: its doc, type, default, section, name, what it takes,
//! whether CONFIG SET may change it, and the values that Redis has and Sterna doesn't. The struct, CONFIG
//! GET/SET/REWRITE, `--name value`, the error texts and `docs/configuration.md` all come from the rows, so an option is
//! added by writing one row and using its field.
//!
//! Source: names, ranges and defaults are those of redis.conf; `threads`, `tls-self-signed`, `bind`'s default and the
//! lack of save points are ours.

use std::path::PathBuf;

use super::choice::{
    AclPubsubDefault, AppendFsync, DebugCommand, HttpMetrics, LogFormat, LogLevel, MaxmemoryPolicy,
    Supervised, SyslogFacility, TlsAuthClients,
};
use super::compound::{
    BindAddress, KeyEvents, MemoryShare, OutputLimit, OutputLimits, Percentiles, RenamedCommand, SavePoints,
    TlsProtocols, UserLine,
};
use super::origins::Origins;
use super::pusher::PusherApps;
use super::retain::RetainRules;
use super::row::{Mutability, OptionRow, Section};
use super::value::{Kind, MEMORY_MAX, Value};

/// The doc, field, type and default; then section, name, kind, mutability and, if any, unsupported values.
macro_rules! options {
    (@unsupported) => { &[] };
    (@unsupported $values:expr) => { $values };
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $default:expr,
        $section:ident $name:literal, $kind:expr, $mutability:ident $(, except $unsupported:expr)?;
    )*) => {
        /// The value of every option. Parsed once; nothing reads strings afterwards.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $( $(#[doc = $doc])+ pub $field: $type, )* }

        impl Default for Config {
            fn default() -> Config {
                Config { $( $field: $default, )* }
            }
        }

        /// The table.
        pub static OPTIONS: &[OptionRow] = &[ $( OptionRow {
            name: $name,
            section: Section::$section,
            kind: $kind,
            mutability: Mutability::$mutability,
            unsupported: options!(@unsupported $($unsupported)?),
            doc: concat!($($doc),+),
            assign: |config, words, kind, phase| Value::assign(&mut config.$field, words, kind, phase),
            text: |config, kind| Value::text(&config.$field, kind),
            lines: |config, kind| Value::lines(&config.$field, kind),
        } ),* ];
    };
}

options! {
    /// Addresses to listen on. `*` is every IPv4 address, `::*` every IPv6 address; an address with a `-` in front is
    /// passed over if this machine doesn't have it. An empty value listens on no TCP address.
    bind: Vec<BindAddress> = vec![address("127.0.0.1", false), address("::1", true)],
        Network "bind", Kind::Words("address [address ...]"), RunTime;

    /// Port for plain connections; 0 turns them off.
    port: u16 = 6379,
        Network "port", int(0, 65535, "port"), RunTime;

    /// Port for TLS connections; 0 turns them off.
    tls_port: u16 = 0,
        Network "tls-port", int(0, 65535, "port"), RunTime;

    /// Port for HTTP, on the addresses of `bind`; 0 turns it off.
    http_port: u16 = 0,
        Network "http-port", int(0, 65535, "port"), Start;

    /// Port for HTTP under TLS, with the certificate of `tls-port`; 0 turns it off.
    https_port: u16 = 0,
        Network "https-port", int(0, 65535, "port"), Start;

    /// Origins whose pages may use the HTTP ports, as `https://example.com`; `*` is any. Empty is none but pages that came
    /// from the port itself.
    http_allow_origin: Origins = Origins::default(),
        Network "http-allow-origin", Kind::Words("[origin ...]"), RunTime;

    /// Who may read `/metrics`: users who may run INFO, or everybody who can reach the HTTP ports, without a password.
    http_metrics: HttpMetrics = HttpMetrics::Users,
        Network "http-metrics", Kind::OneOf(HttpMetrics::NAMES), RunTime;

    /// Bytes of the body of one HTTP request; a longer one is refused.
    http_max_body_size: u64 = 10 << 20,
        Network "http-max-body-size", memory(1024), RunTime;

    /// Seconds after which a stream of events that is silent is sent a comment, so that no proxy takes it for dead.
    http_heartbeat: u32 = 20,
        Network "http-heartbeat", int(1, 3600, "seconds"), RunTime;

    /// File with the keys that JSON Web Tokens for the HTTP ports are signed with: a set of JSON Web Keys, or public keys in PEM. Read
    /// again when it has changed. Empty: no token lets anybody in.
    http_token_keys: Option<PathBuf> = None,
        Security "http-token-keys", Kind::Path, RunTime;

    /// What `iss` of a token must be; empty: anything.
    http_token_issuer: String = String::new(),
        Security "http-token-issuer", Kind::Text, RunTime;

    /// What `aud` of a token must be, or have among others; empty: anything.
    http_token_audience: String = String::new(),
        Security "http-token-audience", Kind::Text, RunTime;

    /// When a page that reads its stream of events too slowly is closed, in the words of `client-output-buffer-limit` without a
    /// class. It comes back, and what its channels remember is read from there.
    http_output_limit: OutputLimit = OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
        Network "http-output-limit", Kind::Words("hard-bytes soft-bytes soft-seconds"), RunTime;

    /// Messages of one channel or stream that a page may be behind with when it comes back; one that misses more is told so,
    /// and sent what comes next.
    http_replay_max: u64 = 1_000_000,
        Network "http-replay-max", int(0, i64::MAX, "messages"), RunTime;

    /// Pages that connect by Pusher's protocol, and services that sign for them: `id key secret`, as Pusher's libraries know
    /// them. `user`: the user of ACL whose rights bound what they can do. `prefix`: what stands before the names of their
    /// channels outside of the app. `client-events`: events a second that each page may send, 0 for none. An empty value: none.
    pusher_app: PusherApps = PusherApps::default(),
        Network "pusher-app", Kind::Words("id key secret [user name] [prefix text] [client-events rate] ..."), RunTime;

    /// When such a page reads too slowly and is told to come again: at once above the hard limit, or after so many seconds
    /// above the soft limit. 0 is no limit.
    pusher_output_limit: OutputLimit = OutputLimit { hard_bytes: 8 << 20, soft_bytes: 2 << 20, soft_seconds: 30 },
        Network "pusher-output-limit", Kind::Words("hard-bytes soft-bytes soft-seconds"), RunTime;

    /// Path of a Unix socket to listen on as well.
    unixsocket: Option<PathBuf> = None,
        Network "unixsocket", Kind::Path, Start;

    /// Permissions of the Unix socket; 0 leaves them to the umask.
    unixsocketperm: u32 = 0,
        Network "unixsocketperm", Kind::Octal, Start;

    /// Refuses clients from other machines while the default user has no password.
    protected_mode: bool = true,
        Network "protected-mode", Kind::YesNo, RunTime;

    /// Connections that may wait to be accepted. The kernel's `net.core.somaxconn` caps it.
    tcp_backlog: u32 = 511,
        Network "tcp-backlog", int(0, INT, "connections"), Start;

    /// Seconds without traffic after which the kernel probes a connection; 0 turns probes off.
    tcp_keepalive: u32 = 300,
        Network "tcp-keepalive", int(0, INT, "seconds"), RunTime;

    /// Closes a client after this long without a request; subscribers and blocked clients are spared. 0 is never.
    timeout: u32 = 0,
        Network "timeout", int(0, INT, "seconds"), RunTime;

    /// The server's certificate, PEM; intermediates may follow it in the file.
    tls_cert_file: Option<PathBuf> = None,
        Tls "tls-cert-file", Kind::Path, RunTime;

    /// The certificate's private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    tls_key_file: Option<PathBuf> = None,
        Tls "tls-key-file", Kind::Path, RunTime;

    /// Certificate authorities, PEM, that clients' certificates are checked against.
    tls_ca_cert_file: Option<PathBuf> = None,
        Tls "tls-ca-cert-file", Kind::Path, RunTime;

    /// Whether a client must show a certificate: `optional` checks one only if it is shown. With `tls-self-signed` the
    /// default is `no`.
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes,
        Tls "tls-auth-clients", Kind::OneOf(TlsAuthClients::NAMES), RunTime;

    /// Versions of TLS to speak; empty is both. Older ones than 1.2 are not supported.
    tls_protocols: TlsProtocols = TlsProtocols { tls12: true, tls13: true },
        Tls "tls-protocols", Kind::Words("[TLSv1.2] [TLSv1.3]"), RunTime;

    /// Makes a certificate for development, valid for this machine only, and uses it unless `tls-cert-file` is set.
    /// Listens on port 6380 unless `tls-port` is set. On the command line the value may be left out.
    tls_self_signed: bool = false,
        Tls "tls-self-signed", Kind::YesNo, Start;

    /// Password of the default user; empty means that no password is asked for.
    requirepass: Vec<u8> = Vec::new(),
        Security "requirepass", Kind::Secret, RunTime;

    /// A user and its rules, as ACL SETUSER takes them; one line a user.
    users: Vec<UserLine> = Vec::new(),
        Security "user", Kind::Words("name [rule ...]"), Line;

    /// File of users instead of `user` lines, a line `user name [rule ...]` each. Read at the start, which fails if it can't
    /// be read or holds a rule that is none, and by ACL LOAD; written by ACL SAVE.
    aclfile: Option<PathBuf> = None,
        Security "aclfile", Kind::Path, Start;

    /// The channels that a new user, or a selector of one, begins with: none, or all. Users that are there keep theirs.
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels,
        Security "acl-pubsub-default", Kind::OneOf(AclPubsubDefault::NAMES), RunTime;

    /// Entries that ACL LOG keeps.
    acllog_max_len: u64 = 128,
        Security "acllog-max-len", int(0, i64::MAX, "entries"), RunTime;

    /// Gives a command another name, and with `""` none at all, for whoever may run it; one line a command. Rules of users
    /// go on naming it as it was.
    renames: Vec<RenamedCommand> = Vec::new(),
        Security "rename-command", Kind::Words("command new-name"), Line;

    /// Who may use DEBUG: nobody, everyone, or clients of this machine.
    enable_debug_command: DebugCommand = DebugCommand::No,
        Security "enable-debug-command", Kind::OneOf(DebugCommand::NAMES), Start;

    /// NATS servers over which this node and others are a cluster, as `nats://a:4222,b:4222,c:4222`; `tls://` asks for TLS.
    /// Empty: there are no others. It holds no password: that is `cluster-password`.
    cluster_url: String = String::new(),
        Cluster "cluster-url", Kind::Text, Start;

    /// The cluster's name: nodes of one name belong together. At most 32 letters, digits, `-` and `_`.
    cluster_name: String = "sterna".to_owned(),
        Cluster "cluster-name", Kind::Text, Start;

    /// Keys and streams are those of all nodes of the cluster, by way of the log that `sterna cluster init` has made; otherwise each
    /// node has its own. Needs `cluster-url` and `appendonly yes`.
    cluster_keys: bool = false,
        Cluster "cluster-keys", Kind::YesNo, Start;

    /// How many groups the keys are shared out to by their slots, each with a log and a node that leads it; the same on all nodes, and
    /// as `sterna cluster init` has made the logs. With more than one a command, a transaction and a script have keys of one group
    /// only, which keys with the same `{tag}` are in.
    cluster_groups: u32 = 1,
        Cluster "cluster-groups", int(1, 64, "groups"), Start;

    /// How large the log may become. Above it the node that leads removes from it what the journals of all nodes have that were
    /// heard of within a minute, if these are two at least; with `cluster-snapshots`, what a snapshot has. A node that was away, and lacks what
    /// is removed, or a new one, begins with a snapshot, or without one with a backup of another. 0: nothing is removed.
    cluster_log_size: u64 = 4 * 1024 * 1024 * 1024,
        Cluster "cluster-log-size", unsigned_memory(0), Start;

    /// Where the nodes keep snapshots of their keys for each other: `file:///directory`, which all of them reach, or `s3://bucket/prefix`.
    /// The node that leads writes one there whenever the log has grown by a quarter of `cluster-log-size`, reads it back, and removes
    /// from the log only what it holds; a node that lacks that loads it and goes on with the log. Keys, region and address of S3 are
    /// read from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` and what else Amazon's
    /// tools know). With several groups of keys the node that leads one writes those of its group. Empty: there are none.
    cluster_snapshots: String = String::new(),
        Cluster "cluster-snapshots", Kind::Text, Start;

    /// User of the NATS servers, and `cluster-password`.
    cluster_user: String = String::new(),
        Cluster "cluster-user", Kind::Text, Start;

    /// Password at the NATS servers; without `cluster-user`, a token.
    cluster_password: Vec<u8> = Vec::new(),
        Cluster "cluster-password", Kind::Secret, Start;

    /// File of NATS credentials (a JWT and its key), or of a key alone (an nkey's seed), in place of user and password.
    cluster_credentials_file: Option<PathBuf> = None,
        Cluster "cluster-credentials-file", Kind::Path, Protected;

    /// Certificate authorities, PEM, that the NATS servers' certificates are checked against; with it TLS is asked for. Without
    /// it TLS trusts those of this machine.
    cluster_tls_ca_cert_file: Option<PathBuf> = None,
        Cluster "cluster-tls-ca-cert-file", Kind::Path, Protected;

    /// This node's certificate for the NATS servers, PEM, if they ask for one.
    cluster_tls_cert_file: Option<PathBuf> = None,
        Cluster "cluster-tls-cert-file", Kind::Path, Protected;

    /// Its private key, PEM.
    cluster_tls_key_file: Option<PathBuf> = None,
        Cluster "cluster-tls-key-file", Kind::Path, Protected;

    /// Bytes of messages on their way to another node that it has not taken yet. Above it publishers wait; for a node that takes
    /// nothing for two seconds messages are dropped, counted and told of.
    cluster_buffer_limit: u64 = 4 * 1024 * 1024,
        Cluster "cluster-buffer-limit", unsigned_memory(1024 * 1024), Start;

    /// The node that leads the keys, as it announces itself: `host:port`. All others pass commands on keys on to it. Empty: the keys
    /// of each node are its own.
    cluster_leader: String = String::new(),
        Cluster "cluster-leader", Kind::Text, Start;

    /// How long commands on keys wait where no node leads, before they fail.
    cluster_leader_wait: u32 = 15,
        Cluster "cluster-leader-wait", int(0, 3600, "seconds"), RunTime;

    /// Clients of other nodes that this one, if it leads, executes commands for at once. They don't count for `maxclients`.
    cluster_sessions: u32 = 100_000,
        Cluster "cluster-sessions", int(1, 10_000_000, "sessions"), Start;

    /// Where clients reach this node, for those who ask which nodes there are. Empty: the address that it reaches NATS from.
    cluster_announce_ip: String = String::new(),
        Cluster "cluster-announce-ip", Kind::Text, Start;

    /// The same for `port`; 0 is `port` itself.
    cluster_announce_port: u16 = 0,
        Cluster "cluster-announce-port", int(0, 65535, "port"), Start;

    /// The same for `tls-port`.
    cluster_announce_tls_port: u16 = 0,
        Cluster "cluster-announce-tls-port", int(0, 65535, "port"), Start;

    /// Clients connected at once; more are turned away with an error. Lowered at the start to what the limit on open files
    /// leaves room for.
    maxclients: u32 = 10_000,
        Clients "maxclients", int(1, u32::MAX as i64, "connections"), RunTime;

    /// Memory that all clients together may hold: output, unfinished and waiting requests, transactions, subscriptions. Above
    /// it the clients that hold most are closed, but none that CLIENT NO-EVICT protects. A number with `%` is a part of
    /// `maxmemory`; 0 is no limit, and less than 128 KiB counts as 128 KiB.
    maxmemory_clients: MemoryShare = MemoryShare::Bytes(0),
        Clients "maxmemory-clients", Kind::MemoryOrPercent, RunTime;

    /// Closes a connection that has not finished its TLS handshake, or not authenticated where a password is asked for, so
    /// long after it was opened. Who has authenticated is never closed by it. 0 is never.
    authentication_timeout: u32 = 60,
        Clients "authentication-timeout", int(0, INT, "seconds"), RunTime;

    /// When a client that reads too slowly is closed, by class: `normal`, `replica` or `pubsub`. Closed at once above the
    /// hard limit, or after so many seconds above the soft limit. 0 is no limit.
    client_output_buffer_limit: OutputLimits = OUTPUT_LIMITS,
        Clients "client-output-buffer-limit",
        Kind::Words("class hard-bytes soft-bytes soft-seconds [class hard-bytes soft-bytes soft-seconds ...]"), RunTime;

    /// Bytes of unfinished and waiting requests that are kept for a client, those queued by MULTI included; more close the
    /// connection.
    client_query_buffer_limit: u64 = 1 << 30,
        Clients "client-query-buffer-limit", unsigned_memory(1 << 20), RunTime;

    /// Longest argument of a request.
    proto_max_bulk_len: u64 = 512 << 20,
        Clients "proto-max-bulk-len", memory_up_to(1 << 20, BULK_MAX), RunTime;

    /// Keys that are remembered for those who cache what they have read (CLIENT TRACKING); 0: any number.
    tracking_table_max_keys: u64 = 1_000_000,
        Clients "tracking-table-max-keys", count("keys"), RunTime;

    /// Channels that remember: what PUBLISH sends to a channel that `PATTERN` matches is kept in a stream as well, the latest
    /// `maxlen` messages of each channel, none older than `maxage` seconds when the next one comes. The stream is the key
    /// `retain-prefix` and the channel's name in database 0: XRANGE reads it, consumer groups work on it, and it is durable as
    /// the journal is. Of several patterns that match the first counts. An empty value: no channel remembers.
    retain: RetainRules = RetainRules::default(),
        Channels "retain", Kind::Words("pattern [maxlen messages] [maxage seconds] ..."), RunTime;

    /// What the name of the stream in which a channel remembers begins with; the channel's name follows.
    retain_prefix: String = "channel:".to_owned(),
        Channels "retain-prefix", Kind::Text, Start;

    /// How long a subscriber with a name (CLIENT SETNAME, HELLO SETNAME) goes on listening after its connection has broken, for
    /// whoever subscribes again under its user and name: first comes what it has missed. The user needs the right to CLIENT
    /// RESUME. 0: nobody is waited for.
    resume_window: u32 = 0,
        Channels "resume-window", int(0, INT, "seconds"), RunTime;

    /// Bytes of messages that are kept for each such connection; beyond it the oldest go, and the client is told how many.
    resume_buffer: u64 = 1 << 20,
        Channels "resume-buffer", memory(4096), RunTime;

    /// Logical databases that SELECT can choose from.
    databases: u32 = 16,
        Data "databases", int(1, 255, "databases"), Start;

    /// Memory above which commands that need more are refused; 0 is no limit. What the journal keeps of records doesn't count.
    maxmemory: u64 = 0,
        Data "maxmemory", unsigned_memory(0), RunTime;

    /// Which keys go when memory above `maxmemory` is needed: of all keys or of those that expire, the ones used (`lru`) or
    /// changed (`lrm`) longest ago, used least often (`lfu`), that expire first (`ttl`), or any. `noeviction`: none; commands
    /// that need memory are refused then, and also when no key is left that may go.
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction,
        Data "maxmemory-policy", Kind::OneOf(MaxmemoryPolicy::NAMES), RunTime;

    /// Keys that are looked at for each that goes: more find a better one, and take longer.
    maxmemory_samples: u32 = 5,
        Data "maxmemory-samples", int(1, 64, "keys"), RunTime;

    /// How long a command may be held up by the removal of keys before it runs all the same: up to 10 so many times 50
    /// microseconds, above 15 % more each, at 100 without end.
    maxmemory_eviction_tenacity: u32 = 10,
        Data "maxmemory-eviction-tenacity", int(0, 100, ""), RunTime;

    /// How much of its time a shard may spend on removing keys that have expired: 25 % with 1, 43 % with 10.
    active_expire_effort: u32 = 1,
        Data "active-expire-effort", int(1, 10, "steps"), RunTime;

    /// Free what is evicted in the background. What is slow to free is freed by a thread of its own in any case.
    lazyfree_lazy_eviction: bool = false,
        Data "lazyfree-lazy-eviction", Kind::YesNo, RunTime;

    /// As `lazyfree-lazy-eviction`, for what expires.
    lazyfree_lazy_expire: bool = false,
        Data "lazyfree-lazy-expire", Kind::YesNo, RunTime;

    /// As `lazyfree-lazy-eviction`, for what `RENAME`, `RESTORE` and the like replace.
    lazyfree_lazy_server_del: bool = false,
        Data "lazyfree-lazy-server-del", Kind::YesNo, RunTime;

    /// As `lazyfree-lazy-eviction`, for `DEL`.
    lazyfree_lazy_user_del: bool = false,
        Data "lazyfree-lazy-user-del", Kind::YesNo, RunTime;

    /// As `lazyfree-lazy-eviction`, for `FLUSHALL`, `FLUSHDB`, `SCRIPT FLUSH` and `FUNCTION FLUSH` without `SYNC` or `ASYNC`.
    lazyfree_lazy_user_flush: bool = false,
        Data "lazyfree-lazy-user-flush", Kind::YesNo, RunTime;

    /// How many uses it takes until a key's count rises under an `lfu` policy: with 10, a million uses reach the top.
    lfu_log_factor: u32 = 10,
        Data "lfu-log-factor", int(0, INT, ""), RunTime;

    /// Minutes without use for which a key's count falls by one under an `lfu` policy; 0: it never falls.
    lfu_decay_time: u32 = 1,
        Data "lfu-decay-time", int(0, INT, "minutes"), RunTime;

    /// Events of the keyspace to publish, a letter each: `K` and `E` choose the channels, and `S T I V` those that name the
    /// fields of a hash an event is about; `g $ l s h z x e t d m n o c` choose the events, `A` all of them but the last four.
    /// Empty publishes none.
    notify_keyspace_events: KeyEvents = KeyEvents::default(),
        Data "notify-keyspace-events", Kind::Text, RunTime;

    /// Size above which a stream's open block is sealed; 0 is no limit.
    stream_node_max_bytes: u64 = 4096,
        Data "stream-node-max-bytes", unsigned_memory(0), RunTime;

    /// Entries above which a stream's open block is sealed; 0 is no limit.
    stream_node_max_entries: u64 = 100,
        Data "stream-node-max-entries", int(0, i64::MAX, "entries"), RunTime;

    /// Seconds for which a stream remembers the idempotence IDs of XADD IDMP; XCFGSET sets it for one stream.
    stream_idmp_duration: u32 = 100,
        Data "stream-idmp-duration", int(1, 86_400, "seconds"), RunTime;

    /// Idempotence IDs that a stream remembers of each producer; XCFGSET sets it for one stream.
    stream_idmp_maxsize: u32 = 100,
        Data "stream-idmp-maxsize", int(1, 10_000, "IDs"), RunTime;

    /// Elements in a node of a list if positive; -1 to -5 is 4, 8, 16, 32 or 64 KiB.
    list_max_listpack_size: i32 = -2,
        Data "list-max-listpack-size", int(i32::MIN as i64, i32::MAX as i64, "elements"), RunTime;

    /// Fields up to which a hash is packed into one allocation.
    hash_max_listpack_entries: u64 = 512,
        Data "hash-max-listpack-entries", count("fields"), RunTime;

    /// Length of names and values up to which a hash is packed.
    hash_max_listpack_value: u64 = 64,
        Data "hash-max-listpack-value", unsigned_memory(0), RunTime;

    /// Members up to which a set of integers is kept sorted in one allocation.
    set_max_intset_entries: u64 = 512,
        Data "set-max-intset-entries", count("members"), RunTime;

    /// Members up to which a set is packed into one allocation.
    set_max_listpack_entries: u64 = 128,
        Data "set-max-listpack-entries", count("members"), RunTime;

    /// Length of members up to which a set is packed.
    set_max_listpack_value: u64 = 64,
        Data "set-max-listpack-value", count("bytes"), RunTime;

    /// Members up to which a sorted set is packed into one allocation.
    zset_max_listpack_entries: u64 = 128,
        Data "zset-max-listpack-entries", count("members"), RunTime;

    /// Length of members up to which a sorted set is packed.
    zset_max_listpack_value: u64 = 64,
        Data "zset-max-listpack-value", unsigned_memory(0), RunTime;

    /// Bytes up to which a HyperLogLog keeps runs of registers instead of every one.
    hll_sparse_max_bytes: u64 = 3000,
        Data "hll-sparse-max-bytes", unsigned_memory(0), RunTime;

    /// Directory for the files that Sterna writes, in which the server works: relative paths of all other files begin there, but for
    /// that of the configuration and of those that it includes.
    dir: PathBuf = PathBuf::from("."),
        Persistence "dir", Kind::Path, Protected;

    /// Whether writes are journaled, and found again after a restart. Turned on at run time, the journal begins with a
    /// snapshot of what is there; what an earlier run left in the directory gives way to it.
    appendonly: bool = true,
        Persistence "appendonly", Kind::YesNo, RunTime;

    /// When the journal is synced to disk. `always`: before the reply to a write; nothing that was acknowledged is lost
    /// to a crash or a power loss, and one sync serves all clients that wait. `everysec`: once a second, which is what a
    /// power loss can cost. `no`: when the kernel likes. In all three a crash of Sterna alone costs a few milliseconds at
    /// most, under `always` nothing.
    appendfsync: AppendFsync = AppendFsync::EverySec,
        Persistence "appendfsync", Kind::OneOf(AppendFsync::NAMES), RunTime;

    /// Directory of the journal inside `dir`. One process at a time can use it.
    appenddirname: String = "appendonlydir".to_owned(),
        Persistence "appenddirname", Kind::Text, Start;

    /// Longest record of the journal: what one command did, or one transaction. A write that takes a longer one is kept by the
    /// next snapshot, which is begun at once: it is answered when that counts, and other writes get MISCONF until then.
    journal_record_max_bytes: u64 = 64 << 30,
        Persistence "journal-record-max-bytes", memory(4096), Start;

    /// Growth of the journal since the last snapshot after which the next is taken and the log is cut; 0 is never.
    auto_aof_rewrite_percentage: u32 = 100,
        Persistence "auto-aof-rewrite-percentage", int(0, INT, "percent"), RunTime;

    /// Size of the journal below which growth takes no snapshot.
    auto_aof_rewrite_min_size: u64 = 64 << 20,
        Persistence "auto-aof-rewrite-min-size", memory(0), RunTime;

    /// Whether a journal that ends in an unfinished write, which nobody was told was durable, is cut there and used.
    /// `no`: the server doesn't start then.
    aof_load_truncated: bool = true,
        Persistence "aof-load-truncated", Kind::YesNo, Start;

    /// Whether the keys of Redis or Valkey are brought in at the start, if the journal is empty and their files are in `dir`:
    /// an append-only file, `dump.rdb`, or with `appendonly no` the other way round. Their files stay as they are, and
    /// `appenddirname` must not name their directory. What can't be brought in stops the start.
    import_on_start: bool = false,
        Persistence "import-on-start", Kind::YesNo, Start;

    /// When to take a snapshot: after so many seconds, if there were so many changes. Under `appendonly no` that, SAVE and
    /// BGSAVE are all that is kept, and a stop in order takes a last one; under `appendonly yes` the journal keeps every
    /// write in any case. Not set, these points count while `appendonly` is `no`. `""` is none.
    save: SavePoints = SavePoints::Unset,
        Persistence "save", Kind::Words("seconds changes [seconds changes ...]"), RunTime;

    /// Whether writes are refused while snapshots are all that is kept (`appendonly no`, with save points) and the last one
    /// failed.
    stop_writes_on_bgsave_error: bool = true,
        Persistence "stop-writes-on-bgsave-error", Kind::YesNo, RunTime;

    /// The least important messages that are still logged.
    loglevel: LogLevel = LogLevel::Notice,
        Observability "loglevel", Kind::OneOf(LogLevel::NAMES), RunTime;

    /// File to log to; empty is standard output. It is opened anew on SIGHUP and SIGUSR1, for who has moved it away.
    logfile: Option<PathBuf> = None,
        Observability "logfile", Kind::Path, Start;

    /// How a line of the log is written: for people, or as an object of JSON.
    log_format: LogFormat = LogFormat::Text,
        Observability "log-format", Kind::OneOf(LogFormat::NAMES), Start, except &["legacy", "logfmt"];

    /// Sends the log to the machine's syslog as well.
    syslog_enabled: bool = false,
        Observability "syslog-enabled", Kind::YesNo, Start;

    /// Name under which it is sent there.
    syslog_ident: String = "sterna".to_owned(),
        Observability "syslog-ident", Kind::Text, Start;

    /// Facility under which it is sent there.
    syslog_facility: SyslogFacility = SyslogFacility::Local0,
        Observability "syslog-facility", Kind::OneOf(SyslogFacility::NAMES), Start;

    /// Microseconds above which a command is kept in SLOWLOG; 0 keeps every command, -1 none.
    slowlog_log_slower_than: i64 = 10_000,
        Observability "slowlog-log-slower-than", int(-1, i64::MAX, "microseconds"), RunTime;

    /// Commands that SLOWLOG keeps.
    slowlog_max_len: u64 = 128,
        Observability "slowlog-max-len", int(0, i64::MAX, "commands"), RunTime;

    /// Milliseconds after which a script is slow: other clients are answered BUSY then, and it can be ended by SCRIPT KILL;
    /// 0: never.
    busy_reply_threshold: i64 = 5_000,
        Observability "busy-reply-threshold", int(0, i64::MAX, "milliseconds"), RunTime;

    /// Milliseconds above which LATENCY records an event; 0 records none.
    latency_monitor_threshold: u64 = 0,
        Observability "latency-monitor-threshold", int(0, i64::MAX, "milliseconds"), RunTime;

    /// Counts how long each command takes, for LATENCY HISTOGRAM and the section Latencystats of INFO.
    latency_tracking: bool = true,
        Observability "latency-tracking", Kind::YesNo, RunTime;

    /// The percentiles that Latencystats shows.
    latency_tracking_info_percentiles: Percentiles = Percentiles::default(),
        Observability "latency-tracking-info-percentiles", Kind::Words("percentile [percentile ...]"), RunTime;

    /// Threads that serve connections, each with its own share of them; 0 is one a core.
    threads: u16 = 0,
        Process "threads", int(0, 64, "threads"), Start;

    /// Rounds of background work a second, such as closing idle clients. Kept between 1 and 500.
    hz: u32 = 10,
        Process "hz", int(0, INT, "rounds"), RunTime;

    /// Goes to the background once it serves, or says why it can't.
    daemonize: bool = false,
        Process "daemonize", Kind::YesNo, Start;

    /// Who is told that the server serves, still lives, and stops: `systemd` by `NOTIFY_SOCKET`, with a watchdog if the unit asks for
    /// one. `auto`: whoever has set that variable.
    supervised: Supervised = Supervised::Auto,
        Process "supervised", Kind::OneOf(Supervised::NAMES), Start, except &["upstart"];

    /// File that holds the process ID while the server runs.
    pidfile: Option<PathBuf> = None,
        Process "pidfile", Kind::Path, Start;
}

/// Bytes of the longest argument: places in a part of a sorted set, which has up to four times its longest member, are 32-bit numbers.
const BULK_MAX: u64 = (1 << 30) - 1;

/// The largest `int` of C, which bounds many of Redis's options.
const INT: i64 = i32::MAX as i64;

const fn int(min: i64, max: i64, unit: &'static str) -> Kind {
    Kind::Int { min, max, unit }
}

const fn count(unit: &'static str) -> Kind {
    Kind::Count { unit }
}

const fn memory(min: u64) -> Kind {
    Kind::Memory { min, max: MEMORY_MAX, unsigned: false }
}

const fn memory_up_to(min: u64, max: u64) -> Kind {
    Kind::Memory { min, max, unsigned: false }
}

const fn unsigned_memory(min: u64) -> Kind {
    Kind::Memory { min, max: MEMORY_MAX, unsigned: true }
}

fn address(host: &str, optional: bool) -> BindAddress {
    BindAddress { host: host.to_owned(), optional }
}

const OUTPUT_LIMITS: OutputLimits = OutputLimits {
    normal: OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 },
    replica: OutputLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_seconds: 60 },
    pubsub: OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Phase;

    #[test]
    fn every_row_reads_back_what_it_writes() {
        let defaults = Config::default();
        for row in OPTIONS {
            let mut config = defaults.clone();
            for words in row.lines(&defaults) {
                let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                row.assign(&mut config, &words, Phase::Load)
                    .unwrap_or_else(|error| panic!("{}: {error}", row.name));
            }
            assert_eq!(config, defaults, "{}", row.name);
        }
    }

    #[test]
    fn every_row_refuses_what_it_cannot_be() {
        for row in OPTIONS {
            let wrong: &[&[u8]] = match row.kind {
                _ if row.mutability == Mutability::Line => &[b"a name", b"b", b"c"],
                Kind::Secret => &[b"two", b"words"],
                Kind::Text | Kind::Path => &[b"a\0b\xff"],
                // Its patterns are bytes, any number of them.
                Kind::Words(_) if row.name == "retain" => &[b"\xff", b"maxlen", b"none"],
                Kind::Words(_) => &[b"\xff".as_slice(); 17],
                _ => &[b"neither this nor that"],
            };
            let mut config = Config::default();
            let result = row.assign(&mut config, wrong, Phase::Load);
            assert!(result.is_err(), "{} took {wrong:?}", row.name);
            assert_eq!(config, Config::default(), "{} changed by an error", row.name);
        }
    }

    #[test]
    fn the_bounds_of_every_number_fit_its_field() {
        for row in OPTIONS {
            let bounds = match row.kind {
                Kind::Int { min, max, .. } => [min.to_string(), max.to_string()],
                Kind::Count { .. } => ["0".to_owned(), i64::MAX.to_string()],
                Kind::Memory { min, max, .. } => [min.to_string(), max.to_string()],
                _ => continue,
            };
            for bound in bounds {
                let mut config = Config::default();
                assert_eq!(
                    row.assign(&mut config, &[bound.as_bytes()], Phase::Set),
                    Ok(()),
                    "{} {bound}",
                    row.name
                );
                assert_eq!(row.text(&config), bound.as_bytes(), "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_docs_are_sentences() {
        for (index, row) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(row.doc.trim().ends_with('.'), "{}", row.name);
        }
    }
}
