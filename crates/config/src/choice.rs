//! The options that are one of a few words: an enum each.

use super::value::choices;

choices! {
    /// Whether a TLS client must show a certificate.
    TlsAuthClients {
        /// None is asked for.
        No = "no",
        /// One is required.
        Yes = "yes",
        /// One is checked if it is shown.
        Optional = "optional",
    }
}

choices! {
    /// Who may read the metrics.
    HttpMetrics {
        /// Users who may run INFO.
        Users = "users",
        /// Everybody.
        All = "all",
    }
}

choices! {
    /// The channels that a new user begins with.
    AclPubsubDefault {
        /// Every channel.
        AllChannels = "allchannels",
        /// None.
        ResetChannels = "resetchannels",
    }
}

choices! {
    /// Who may use DEBUG.
    DebugCommand {
        /// Nobody.
        No = "no",
        /// Everyone.
        Yes = "yes",
        /// Clients that connect from this machine or over the Unix socket.
        Local = "local",
    }
}

choices! {
    /// What happens above `maxmemory`.
    MaxmemoryPolicy {
        /// Of the keys that expire, those used longest ago go.
        VolatileLru = "volatile-lru",
        /// Of the keys that expire, those used least often.
        VolatileLfu = "volatile-lfu",
        /// Of the keys that expire, any.
        VolatileRandom = "volatile-random",
        /// Those that expire first.
        VolatileTtl = "volatile-ttl",
        /// Of the keys that expire, those changed longest ago.
        VolatileLrm = "volatile-lrm",
        /// Those used longest ago.
        AllkeysLru = "allkeys-lru",
        /// Those used least often.
        AllkeysLfu = "allkeys-lfu",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// Those changed longest ago.
        AllkeysLrm = "allkeys-lrm",
        /// Commands that need more memory are refused.
        NoEviction = "noeviction",
    }
}

choices! {
    /// When the journal is synced to disk.
    AppendFsync {
        /// Once a second.
        EverySec = "everysec",
        /// Before each reply.
        Always = "always",
        /// When the kernel likes.
        No = "no",
    }
}

choices! {
    /// How much is logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Connections and the like.
        Verbose = "verbose",
        /// What an operator wants to see.
        Notice = "notice",
        /// What an operator must see.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }
}

choices! {
    /// Who supervises the server.
    Supervised {
        /// Nobody.
        No = "no",
        /// systemd, or who speaks as it does.
        Systemd = "systemd",
        /// systemd, if it says so.
        Auto = "auto",
    }
}

choices! {
    /// How a line of the log is written.
    LogFormat {
        /// For people.
        Text = "text",
        /// An object of JSON.
        Json = "json",
    }
}

choices! {
    /// The kind of program that syslog is told.
    SyslogFacility {
        /// A user's program.
        User = "user",
        /// For use on this machine, as the next.
        Local0 = "local0",
        /// As the first.
        Local1 = "local1",
        /// As the first.
        Local2 = "local2",
        /// As the first.
        Local3 = "local3",
        /// As the first.
        Local4 = "local4",
        /// As the first.
        Local5 = "local5",
        /// As the first.
        Local6 = "local6",
        /// As the first.
        Local7 = "local7",
    }
}
