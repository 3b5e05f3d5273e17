//! Directives that Redis and Valkey have and Sterna does not.
//!
//! With the list an existing redis.conf starts with one warning for each of them, unless it [`protects`] something. A name
//! that nobody knows stops the start, as it does in Redis: it is a slip of the pen, or newer than this list.
//!
//! Source: CONFIG GET of Redis 7.0 and 8.2 and Valkey 9.1, and the directives that it leaves out; the reference of Redis 8.10.

/// Whether `name`, in lower case, is a directive of Redis or Valkey that Sterna does not have.
pub(crate) fn is_foreign(name: &str) -> bool {
    FOREIGN.binary_search(&name).is_ok() || OF_MODULES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a directive that Sterna does not have protects something, so that a server which ignored it would stand more
/// open, or keep less, than its operator believes: it can't start then. Some values ask for no protection.
pub(crate) fn protects(name: &str, values: &[Vec<u8>]) -> bool {
    let value = values.join(&b' ').to_ascii_lowercase();
    let known = PROTECTIVE.iter().find(|(protective, _)| *protective == name);
    known.is_some_and(|(_, harmless)| !harmless.iter().any(|harmless| harmless.as_bytes() == value))
}

/// Directives that protect, each with the values that ask for nothing.
const PROTECTIVE: &[(&str, &[&str])] = &[
    // A part of a cluster, or a copy of another server: it would take writes as if it were alone.
    ("cluster-enabled", &["no"]),
    ("replicaof", &["no one"]),
    ("slaveof", &["no one"]),
    ("sentinel", &[]),
    ("masterauth", &[""]),
    ("masteruser", &[""]),
    ("primaryauth", &[""]),
    ("primaryuser", &[""]),
    // Writes that are refused unless somebody else has them, too.
    ("min-replicas-to-write", &["0"]),
    ("min-slaves-to-write", &["0"]),
    // Commands, and perhaps rules about who may log in.
    ("loadmodule", &[]),
    // Which keys are to be there.
    ("preload-file", &[""]),
    // Who may connect, and how it is encrypted.
    ("tls-auth-clients-user", &["", "off"]),
    ("tls-ca-cert-dir", &[""]),
    ("tls-ciphers", &[""]),
    ("tls-ciphersuites", &[""]),
    ("tls-key-file-pass", &[""]),
    ("unixsocketgroup", &[""]),
];

/// How directives of the modules begin that Redis 8 brings along: what they are about is not there, and `loadmodule` stops the start.
const OF_MODULES: &[&str] = &["bf-", "cf-", "search-", "ts-"];

/// In alphabetical order.
#[rustfmt::skip]
const FOREIGN: &[&str] = &[
    "active-defrag-cycle-max", "active-defrag-cycle-min", "active-defrag-cycle-us", "active-defrag-ignore-bytes",
    "active-defrag-max-scan-fields", "active-defrag-threshold-lower", "active-defrag-threshold-upper", "activedefrag",
    "activerehashing", "always-show-logo", "aof-disable-auto-gc", "aof-rewrite-cpulist",
    "aof-rewrite-incremental-fsync", "aof-timestamp-enabled", "aof-use-rdb-preamble", "aof_rewrite_cpulist",
    "appendfilename", "array-slice-size", "array-sparse-kmax", "array-sparse-kmin", "availability-zone",
    "backup-sealed-ttl", "backupdirname", "bgsave-cpulist", "bgsave_cpulist", "bind-source-addr", "bio-cpulist",
    "bio_cpulist", "cluster-allow-pubsubshard-when-down", "cluster-allow-reads-when-down",
    "cluster-allow-replica-migration", "cluster-announce-bus-port", "cluster-announce-client-ipv4",
    "cluster-announce-client-ipv6", "cluster-announce-client-port", "cluster-announce-client-tls-port",
    "cluster-announce-hostname", "cluster-announce-human-nodename", "cluster-blacklist-ttl",
    "cluster-compatibility-sample-ratio", "cluster-config-file", "cluster-config-save-behavior", "cluster-databases",
    "cluster-enabled", "cluster-link-sendbuf-limit", "cluster-manual-failover-timeout", "cluster-migration-barrier",
    "cluster-node-timeout", "cluster-port", "cluster-preferred-endpoint-type", "cluster-replica-no-failover",
    "cluster-replica-validity-factor", "cluster-require-full-coverage", "cluster-slave-no-failover",
    "cluster-slave-validity-factor", "cluster-slot-migration-log-max-len", "cluster-slot-stats-enabled",
    "commandlog-execution-slower-than", "commandlog-large-reply-max-len", "commandlog-large-request-max-len",
    "commandlog-reply-larger-than", "commandlog-request-larger-than", "commandlog-slow-execution-max-len",
    "crash-log-enabled", "crash-memcheck-enabled", "dbfilename", "disable-thp", "dual-channel-replication-enabled",
    "dynamic-hz", "enable-module-command", "enable-protected-configs", "extended-redis-compatibility",
    "gopher-enabled", "hash-max-template-entries", "hash-min-template-entries", "hash-rdb-load-max-template-entries",
    "hash-rdb-load-min-template-entries", "hash-rdb-load-template-disassembly-threshold", "hash-seed",
    "hide-user-data-from-log", "ignore-warnings", "import-mode", "io-threads", "io-threads-do-reads",
    "jemalloc-bg-thread", "key-memory-histograms", "list-compress-depth", "list-max-ziplist-entries",
    "list-max-ziplist-value", "loadmodule", "locale-collate", "log-timestamp-format", "lua-enable-deprecated-api",
    "lua-enable-insecure-api", "masterauth", "masteruser", "max-new-connections-per-cycle",
    "max-new-tls-connections-per-cycle", "min-replicas-max-lag", "min-replicas-to-write", "min-slaves-max-lag",
    "min-slaves-to-write", "mptcp", "no-appendfsync-on-rewrite", "oom-score-adj", "oom-score-adj-values",
    "prefetch-batch-max-size", "preload-file", "primaryauth", "primaryuser", "proc-title-template",
    "propagation-error-behavior", "rdb-del-sync-files", "rdb-save-incremental-fsync", "rdb-version-check",
    "rdbchecksum", "rdbcompression", "rdma-bind", "rdma-completion-vector", "rdma-port", "rdma-rx-size",
    "repl-backlog-size", "repl-backlog-ttl", "repl-disable-tcp-nodelay", "repl-diskless-load", "repl-diskless-sync",
    "repl-diskless-sync-delay", "repl-diskless-sync-max-replicas", "repl-mptcp", "repl-ping-replica-period",
    "repl-ping-slave-period", "repl-timeout", "replica-announce-ip", "replica-announce-port", "replica-announced",
    "replica-full-sync-buffer-limit", "replica-ignore-disk-write-errors", "replica-ignore-maxmemory",
    "replica-lazy-flush", "replica-priority", "replica-read-only", "replica-serve-stale-data", "replicaof",
    "sanitize-dump-payload", "sentinel", "server-cpulist", "server_cpulist", "set-proc-title", "shutdown-on-sigint",
    "shutdown-on-sigterm", "shutdown-timeout", "slave-announce-ip", "slave-announce-port", "slave-ignore-maxmemory",
    "slave-lazy-flush", "slave-priority", "slave-read-only", "slave-serve-stale-data", "slaveof",
    "slot-migration-max-failover-repl-bytes", "slowlog-entry-max-argc", "slowlog-entry-max-string-len",
    "socket-mark-id", "tls-auth-clients-user", "tls-auto-reload-interval", "tls-ca-cert-dir", "tls-ciphers",
    "tls-ciphersuites", "tls-client-cert-file", "tls-client-key-file", "tls-client-key-file-pass", "tls-cluster",
    "tls-dh-params-file", "tls-expected-peer-name", "tls-key-file-pass", "tls-prefer-server-ciphers",
    "tls-replication", "tls-session-cache-size", "tls-session-cache-timeout", "tls-session-caching",
    "unixsocketgroup", "vset-force-single-threaded-execution",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OptionRow;

    #[test]
    fn the_list_is_sorted_and_has_no_option_of_ours() {
        assert!(FOREIGN.is_sorted_by(|a, b| a < b));
        assert_eq!(FOREIGN.iter().find(|name| OptionRow::named(name.as_bytes()).is_some()), None);
        let of_modules = |name: &str| OF_MODULES.iter().any(|prefix| name.starts_with(prefix));
        assert!(!crate::OPTIONS.iter().any(|row| of_modules(row.name)));
    }

    #[test]
    fn what_protects_is_foreign_and_harmless_only_with_some_values() {
        assert!(PROTECTIVE.iter().all(|(name, _)| is_foreign(name)));
        let values = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for (name, text, expected) in [
            ("replicaof", "10.0.0.1 6379", true),
            ("replicaof", "NO ONE", false),
            ("masterauth", "secret", true),
            ("masterauth", "", false),
            ("loadmodule", "x.so", true),
            ("preload-file", "rdb:/srv/dump.rdb", true),
            ("io-threads", "4", false),
            ("search-timeout", "500", false),
        ] {
            assert_eq!(protects(name, &values(text)), expected, "{name} {text}");
        }
    }
}
