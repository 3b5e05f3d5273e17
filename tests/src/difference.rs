//! Where Sterna answers otherwise than Redis, on purpose: the one list, which is also the documentation.
//!
//! A script marks the step with `differs=name`; the comparison fails if the name isn't here, and also if the replies
//! no longer differ. `docs/differences.md` is written from this list.

/// One difference.
#[derive(Debug)]
pub struct Difference {
    /// As scripts call it.
    pub name: &'static str,
    /// What Redis answers or does.
    pub redis: &'static str,
    /// What Sterna answers or does.
    pub sterna: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// The difference of this name.
pub fn named(name: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| difference.name == name)
}

/// All differences that the tests meet, in the order of the page.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "copies",
        redis: "sends to `SYNC` and `PSYNC` the keys of one moment, and then every change",
        sterna: "sends the keys once, each as it is when it is met, to who finds the end by a mark (`REPLCONF capa eof`), and closes \
                 the connection; who says that it is a replica is refused. `BACKUP STREAM` sends the journal as of one moment; \
                 `BACKUP START`, `SEAL`, `LIST`, `STATUS`, `ABORT` and `CLEANUP` of Redis 8.10 are not there",
        reason: "`redis-cli --rdb` works; there are no replicas. Redis's BACKUP leaves a database file and an append-only file in a \
                 directory of the server (`backupdirname`), which somebody with an account there fetches by name and a start loads by \
                 `preload-file`; Sterna keeps neither kind of file, and a journal under their names would be taken for them. `sterna backup` \
                 brings the copy over the connection instead.",
    },
    Difference {
        name: "crlf",
        redis: "passes over the two bytes behind a bulk string, whatever they are",
        sterna: "answers `ERR Protocol error: invalid CRLF in request` and closes the connection if they are not CRLF, \
                 as Valkey 9 does",
        reason: "A client that has lost its place in its own request is told so before it does harm.",
    },
    Difference {
        name: "files-of-exec",
        redis: "reads or writes the file of ACL LOAD, ACL SAVE and CONFIG REWRITE in a transaction at their place in it, however long the disk \
                takes, and any number of them",
        sterna: "reads it before the transaction begins, and writes it as of the transaction's end; a second one is refused when it is queued",
        reason: "Nobody else waits for the disk.",
    },
    Difference {
        name: "settings-of-exec",
        redis: "runs a transaction with CONFIG SET, ACL SETUSER or their like in it as any other",
        sterna: "refuses one of more than 256 commands or 640 KB, or with a message that thousands of patterns match, and answers an error \
                 for what looks at more than 10 000 elements in it",
        reason: "Settings change at one moment for all threads: such a transaction is one piece, for which everybody waits.",
    },
    Difference {
        name: "nameless-user",
        redis: "knows no user with an empty name",
        sterna: "takes it for the default user, if that has a password",
        reason: "`redis-cli -u redis://:password@host` of Redis 7.0 sends it.",
    },
    Difference {
        name: "nul",
        redis: "cuts names and arguments in the texts of errors at a zero byte",
        sterna: "shows them whole",
        reason: "A zero byte ends nothing here; names are bytes.",
    },
    Difference {
        name: "script-fence",
        redis: "shows scripts its library tables as they are, with `string.dump`, and patterns of any depth",
        sterna: "shows them as empty tables that read through to the library (`pairs(redis)` finds nothing, \
                 `getmetatable` gives `false`), has no `string.dump`, and refuses a pattern of more than 1 000 nested items",
        reason: "The interpreter has no read-only tables: what a script could write to, the next one would find.",
    },
    Difference {
        name: "error-level",
        redis: "counts levels of `error(text, level)` through `pcall` in a script",
        sterna: "counts one more for each protected call in between",
        reason: "A call that returns many values is passed through a function of ours, so that the interpreter's stack has \
                 room for them.",
    },
    Difference {
        name: "server-alias",
        redis: "knows no `server` in scripts",
        sterna: "has it as another name of `redis`, as Valkey does",
        reason: "Scripts written for Valkey run.",
    },
    Difference {
        name: "script-sort",
        redis: "sorts tables by quicksort: equal elements come in any order, and a comparison that contradicts itself may \
                be an error",
        sterna: "sorts by merging: equal elements keep their order, and no comparison is an error",
        reason: "It can be interrupted, and no order of the elements makes it slow.",
    },
    Difference {
        name: "reply-in-multi",
        redis: "queues `CLIENT REPLY` between `MULTI` and `EXEC`",
        sterna: "answers `ERR Command not allowed inside a transaction`, as Valkey does",
        reason: "The array that EXEC announces would lack elements, and the client could read nothing after it.",
    },
    Difference {
        name: "appendonly",
        redis: "keeps a snapshot by default, and no log of writes (`appendonly no`)",
        sterna: "keeps its journal by default (`appendonly yes`), and takes snapshots at Redis's default save points only \
                 where that is `no`; a start loads what is there, whatever `appendonly` says",
        reason: "What was acknowledged is still there after a restart, without having to know of an option.",
    },
    Difference {
        name: "switch-waits",
        redis: "answers `CONFIG SET appendonly yes` when the first snapshot is begun, and takes it in a transaction",
        sterna: "answers when it is on the disk, or an error if that failed and nothing has changed; in a transaction, which \
                 can't wait, it is an error",
        reason: "After the answer a crash loses nothing; until then it loses nothing that was kept before.",
    },
    Difference {
        name: "failing-disk",
        redis: "under `appendfsync always` ends itself when its log can't be written; under `everysec` has answered the \
                writes that it then could not write",
        sterna: "answers them `MISCONF`, and undoes them: nobody is told of a write, or shown one, that is then lost. While \
                 that lasts, commands on keys are answered `LOADING`. Reads and Pub/Sub go on, and writes once there is room",
        reason: "What an error reply says is true, and readers need no restart. If the power fails while the disk does, a \
                 write answered with `MISCONF` may be there after all.",
    },
    Difference {
        name: "events-before-sync",
        redis: "under `appendfsync always` sends keyspace events and invalidations with the replies, after the sync",
        sterna: "sends them at once, before their write is durable, and also for a write that is then answered with `MISCONF`",
        reason: "They are hints, as they are in Redis when the connection breaks: whoever follows one reads the key, and that \
                 reply waits for what it shows. So they cost no subscriber the time of a sync.",
    },
    Difference {
        name: "written-before-answered",
        redis: "under `everysec` lets its log wait for as long as two seconds while a sync runs, and answers meanwhile",
        sterna: "answers when the record is written to the file, which a sync that runs does not delay",
        reason: "What was acknowledged survives a kill at any moment.",
    },
    Difference {
        name: "told-keys-rights",
        redis: "tells a client that tracks of every key that changed, whether its user may read it or not",
        sterna: "tells it of the keys that its user may read; when its rules change, that everything may have changed",
        reason: "The name of a key is part of what a rule on keys protects.",
    },
    Difference {
        name: "listeners-rights",
        redis: "closes a subscriber when its user may no longer listen to one of its channels, and lets it listen on \
                 when only the command was taken away; `MONITOR` and `CLIENT TRACKING` go on in any case",
        sterna: "closes it in all these cases",
        reason: "Who may not ask for something is not to be sent it either.",
    },
    Difference {
        name: "slow-logins",
        redis: "looks at every password at once",
        sterna: "looks at those of an address one by one, 0.1 to 5 seconds apart, once ten of them were wrong; a minute \
                 without a wrong one ends that",
        reason: "Passwords can't be guessed by trying many.",
    },
    Difference {
        name: "arguments-max",
        redis: "takes as many arguments as a request has, and serves nobody else until it is done",
        sterna: "answers `ERR wrong number of arguments …: it takes at most …` to more than 20 480 of a command on keys, \
                 4 352 of one that combines what they hold or may wait for them, or 1 024 of another, unless it executes that command in parts ([limits.md](limits.md))",
        reason: "No request keeps the other clients waiting for more than some milliseconds.",
    },
    Difference {
        name: "request-bytes-max",
        redis: "takes as many bytes as a request has, whatever it is about",
        sterna: "answers `ERR the request is too long …` to more than 2 MiB of a command about connections or the server, and to \
                 more than 16 KiB of `CONFIG GET`, unless it carries a message or code; a script or library has at most 1 MiB, \
                 `SCRIPT LOAD` keeps 64 MiB of code in all, and all libraries have 4 MiB and 10 000 functions",
        reason: "None has a use for more, and copying and comparing it would keep the other clients waiting.",
    },
    Difference {
        name: "argument-bytes-max",
        redis: "takes any `proto-max-bulk-len`",
        sterna: "takes one of up to 1073741823 bytes, and refuses a larger one, at the start as well; a string has at most 512 MB, \
                 whatever it says",
        reason: "Members of a sorted set stand side by side, at places that are 32-bit numbers.",
    },
    Difference {
        name: "name-bytes",
        redis: "takes a key, a channel or a pattern of up to `proto-max-bulk-len`, which is 512 MB",
        sterna: "answers `ERR the request is too long …` to a name of more than 2 MiB, to a pattern of more than 256 KiB that is \
                 subscribed to, and to names of more than 4 MiB together, unless the request is executed in parts",
        reason: "A name is hashed and copied while everybody waits; a value isn't.",
    },
    Difference {
        name: "pause-scripts",
        redis: "lets `EXEC` go on in `CLIENT PAUSE WRITE` where all scripts say `no-writes`, and holds back requests for scripts and \
                functions that are not there, or wrong",
        sterna: "holds it if `EVAL`, `EVALSHA` or `FCALL` is queued, and answers what fails before it runs",
        reason: "What the code says of itself is known when its turn has come; whether EXEC waits is decided before.",
    },
    Difference {
        name: "xsetid-unwatched",
        redis: "tells those who watch or track a stream nothing of `XSETID`",
        sterna: "tells them as of every other change",
        reason: "`XINFO STREAM` shows something else from then on, and `XADD` goes on from there.",
    },
    Difference {
        name: "memory-of-functions",
        redis: "asks functions, and scripts with a shebang, at `maxmemory` what they say of themselves when `MULTI` queues them: it refuses \
                those that may need memory, and `EXEC` runs nothing",
        sterna: "asks them when `EXEC` runs them, and answers `OOM …` in their place alone, as of scripts that say nothing",
        reason: "What the code says of itself is known when its turn has come.",
    },
    Difference {
        name: "memory-of-subscribers",
        redis: "answers `OOM …` at `maxmemory` to a subscriber in RESP2 who asks for a command that may need memory",
        sterna: "says that a subscriber may not ask for that",
        reason: "It may not with any memory either.",
    },
    Difference {
        name: "cjson-options",
        redis: "keeps what a script sets with `cjson.encode_*` and `cjson.decode_*` for all scripts that follow, and nests as deep as it is \
                told to, at the risk of the process",
        sterna: "forgets it with the script; values are nested 1 000 deep at most",
        reason: "Nothing that one user's script does changes another's.",
    },
    Difference {
        name: "client-name-bytes",
        redis: "takes a name of a client, or of its library, of up to `proto-max-bulk-len`, which is 512 MB",
        sterna: "answers `ERR … cannot be longer than 1024 bytes.` to a longer one",
        reason: "`CLIENT LIST` shows the names of all clients in one reply, and `SLOWLOG` one in each entry.",
    },
    Difference {
        name: "pattern-steps",
        redis: "compares a pattern with a text for as long as it takes, which grows with the product of their lengths",
        sterna: "finds no match after 256 steps for each byte of the text (or 1 024, if these are more), or a million beside one \
                 for each: where what follows a `*` is long and nearly matches again and again, or a class `[…]`, or a run of \
                 stars, is longer than all bytes there are",
        reason: "A pattern of a megabyte would stop everybody for seconds.",
    },
    Difference {
        name: "log-entries",
        redis: "keeps as many entries of `SLOWLOG` and `ACL LOG` as `slowlog-max-len` and `acllog-max-len` say",
        sterna: "keeps 4 096 at most",
        reason: "All of them are in one reply, and a denial is compared with each.",
    },
    Difference {
        name: "monitor-line",
        redis: "shows `MONITOR` every request whole",
        sterna: "shows 16 KiB of an argument, and 64 KiB of a request, and says how much more there is",
        reason: "The line of a request of 100 MB would stop everybody for seconds.",
    },
    Difference {
        name: "kill-ids",
        redis: "takes one ID in `CLIENT KILL ID`",
        sterna: "takes several, as Valkey 9 does",
        reason: "What is an error in one and works in the other harms nobody.",
    },
    Difference {
        name: "flush-push",
        redis: "sends a client that tracks and empties a database the push `invalidate` before the reply",
        sterna: "sends it behind the reply, as both do with every other write",
        reason: "One order for all commands; what the push says is the same.",
    },
    Difference {
        name: "redirected-null",
        redis: "writes the null that tells of an emptied database in the protocol of the connection that tracks",
        sterna: "writes it in the protocol of the connection that it is sent to",
        reason: "A client of RESP2 can't read RESP3's null.",
    },
    Difference {
        name: "dump-version",
        redis: "marks the payload of `DUMP` with the version of its newest RDB format",
        sterna: "marks it with the oldest version that has what the payload needs",
        reason: "Older servers can restore it, too.",
    },
    Difference {
        name: "idmp",
        redis: "8.2 has no idempotent `XADD`, which came with 8.6",
        sterna: "tells of it in `XINFO STREAM`, as Redis 8.6 and newer do",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "trimmed-tombstones",
        redis: "8.2 keeps what refers to a deleted entry that `XTRIM … DELREF` passes, and a last node in which `XTRIM MINID` \
                leaves no entry",
        sterna: "removes both, as newer Redis does",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "lag-below-none",
        redis: "8.2 tells of a negative lag where a group has read more than `entries-added` says, after `XSETID … ENTRIESADDED` or \
                `XGROUP CREATE … ENTRIESREAD`",
        sterna: "tells of none, as newer Redis does",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "lrm",
        redis: "8.2 evicts by last use and by frequency",
        sterna: "also by last change (`allkeys-lrm`, `volatile-lrm`), as Redis 8.6 and newer do",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "field-options",
        redis: "8.2 takes the options of `HGETEX` before `FIELDS` only, `FIELDS` behind all others in `HSETEX`, and the condition of `HEXPIRE` and \
                its kin before `FIELDS`",
        sterna: "takes them in any order and refuses the rest with other words, as Redis 8.4 and newer do",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "after-8-2",
        redis: "8.2 doesn't know the commands",
        sterna: "has what came with Redis 8.4 to 8.10: `XNACK`, `XCFGSET`, `SUNIONCARD`, `SDIFFCARD`, `DELEX`, `DIGEST`, `INCREX`, `MSETEX`, `LMOVEM`, `BLMOVEM`, `HIMPORT`, `AGGREGATE COUNT`, and events that name fields of hashes (`S`, `T`, `I` and `V` of `notify-keyspace-events`); not `XIDMPRECORD`, with which Redis writes its log, nor an encoding of its own for what `HIMPORT` makes: that is a hash as any other, and `OBJECT ENCODING` says so",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "slowlog-count",
        redis: "8.2 shows six parts of an entry of `SLOWLOG GET`",
        sterna: "shows a seventh, the number of arguments that the request had, as Redis 8.10 does",
        reason: "Sterna follows the newest Redis; the one at hand for comparison is older.",
    },
    Difference {
        name: "swapped-caches",
        redis: "tells those who track keys nothing of `SWAPDB`",
        sterna: "has them forget everything, as after `FLUSHDB`",
        reason: "Names show other values from then on, and a copy would stay wrong for good.",
    },
    Difference {
        name: "closest-digits",
        redis: "prints a double whose two shortest forms are equally near with either last digit (`1095443690871644.75` as …4.7), \
                and one in a thousand with a digit more than it needs (`-311.1553995126242` as …2417)",
        sterna: "prints the even one (…4.8), and the fewest digits that read back as the same number",
        reason: "Both read back as the same number; its printer is the language's own.",
    },
    Difference {
        name: "ready-key",
        redis: "runs a blocked command anew when one of its keys gets what it waits for: an earlier key that has got another type \
                meanwhile makes it an error; and what `SORT STORE`, `ZUNIONSTORE` and their kin put in the place of a value of \
                another type wakes nobody",
        sterna: "serves it from the key that got it, however it came there",
        reason: "Who waits gets what there is as soon as it is there, and no other key's lock is taken for it.",
    },
    Difference {
        name: "expired-first",
        redis: "deletes the destination of `SUNIONSTORE`, `ZRANGESTORE`, `SORT STORE` and their kin, where the result is empty, \
                without asking whether its time is over: the event is `del`",
        sterna: "has it expire first: the event is `expired`",
        reason: "No command ever sees a key whose time is over.",
    },
    Difference {
        name: "listpackex-early",
        redis: "calls a small hash `listpackex` in `OBJECT ENCODING` once `HEXPIRE` or `HGETEX` was asked for an expiry, even \
                if no field was there to get it",
        sterna: "calls it so once a field has got one",
        reason: "What changes nothing leaves no trace, and none that a restart would forget.",
    },
    Difference {
        name: "sorted-form",
        redis: "keeps a small sorted set as a `skiplist` (`OBJECT ENCODING`) once `SORT` or `SORT_RO` was asked for it",
        sterna: "leaves it as it is",
        reason: "What reads changes nothing: it would take more memory from then on.",
    },
    Difference {
        name: "absent-options",
        redis: "has options about what is not here: replication, defragmentation, threads for I/O, compression of lists \
                (`list-compress-depth`) and of files, files of another kind (`dbfilename`, `appendfilename`)",
        sterna: "knows them in redis.conf, where it names them in a warning or refuses to start ([configuration.md](configuration.md)). \
                 Where one value of them is the truth, `CONFIG GET` shows it and `CONFIG SET` takes no other; the rest \
                 `CONFIG SET` refuses as unknown",
        reason: "Who sets one, or reads it back, would believe that it has an effect.",
    },
    Difference {
        name: "memory-overflow",
        redis: "takes `maxmemory-clients` of 18446744073709551615 and more for `1%`",
        sterna: "answers `argument must be greater or equal to 0` to more than 9223372036854775807, as for `maxmemory`",
        reason: "Who asks for no limit would have his clients closed.",
    },
    Difference {
        name: "lset-32-bits",
        redis: "looks at the lower 32 bits of the index in `LSET` only: 4294967296 is 0",
        sterna: "answers `ERR index out of range` to what is beyond the list",
        reason: "It would write where nobody asked for it.",
    },
    Difference {
        name: "hll-with-more-behind",
        redis: "adds to a sparse HyperLogLog that has other bytes behind its registers (after `APPEND`, say), where it doesn't meet them",
        sterna: "answers `INVALIDOBJ …`",
        reason: "What is no HyperLogLog any more is not written to.",
    },
    Difference {
        name: "debug-insides",
        redis: "has subcommands of `DEBUG` about its own insides (`STRUCTSIZE`, `HTSTATS`, `DICT-RESIZING`, `REPLYBUFFER` …)",
        sterna: "refuses them by name, and `MERGE` and `NOFLUSH` of `DEBUG RELOAD`; `DEBUG DIGEST` and `DIGEST-VALUE` leave out keys and fields that are due",
        reason: "There are no such insides here, and a reply that stands for nothing would mislead a test.",
    },
    Difference {
        name: "embstr",
        redis: "8.2 calls a string `embstr` in `OBJECT ENCODING` up to a length that it shares with its key, some 42 bytes for both",
        sterna: "calls it so up to 44 bytes, as Redis 7 does, whatever its key",
        reason: "It is said of how Redis allocates memory; 44 is the number that is documented.",
    },
    Difference {
        name: "keysizes",
        redis: "counts in `INFO keysizes` how many keys of each type have how many elements or bytes",
        sterna: "has no such section",
        reason: "Every write would have to count, for somebody who hardly ever asks. `redis-cli --bigkeys` and `--keystats` ask the keys.",
    },
    Difference {
        name: "getkeys",
        redis: "looks for the keys of `COMMAND GETKEYS` by rules of their own: none where `PFMERGE` has a destination alone, both \
                behind `STORE` and `STOREDIST` where `GEORADIUS` takes the last, and some in requests that the command refuses",
        sterna: "names the keys that the command will use; where it refuses the request, it need not name any",
        reason: "There is one reader of keys, by which requests are locked, checked and sent to nodes.",
    },
    Difference {
        name: "dryrun-sort",
        redis: "answers `OK` to `ACL DRYRUN` of a `SORT` whose `BY` or `GET` it refuses the user who asks",
        sterna: "says that the user has no permission to use the option",
        reason: "What `ACL DRYRUN` is asked for is what would be refused.",
    },
    Difference {
        name: "longest-field",
        redis: "lets `BITFIELD` write an integer that begins in the last byte a string can have and ends behind it, which makes \
                a string of more than 512 MB",
        sterna: "answers `ERR bit offset is not an integer or out of range`; reading there gives zeros, as in Redis",
        reason: "No string is longer than 512 MB, whoever wrote it.",
    },
    Difference {
        name: "field-due",
        redis: "takes a field whose time is over for one that is there until it is removed, which is up to 100 ms later: `HEXPIRE` and its \
                kin bring it back to life, `HDEL` counts it, and `HSET` doesn't count it as new. `HMGET` that removes the last one, and with \
                it the key, tells of no event",
        sterna: "takes it for one that is gone: `HEXPIRE` answers -2, `HDEL` 0, `HSET` counts it, and the events are `hexpired`, and `del` with \
                 the last",
        reason: "No command ever sees what nobody can read any more, and no answer depends on how soon the server cleans up.",
    },
    Difference {
        name: "client-resume",
        redis: "forgets a subscriber whose connection breaks",
        sterna: "goes on listening for it where `resume-window` is set; `CLIENT RESUME` and the flag `D` of `CLIENT LIST` are about \
                 that",
        reason: "What was sent while the line was cut is not lost (resume.md).",
    },
];

/// A part of COMMAND INFO in which a command differs.
#[derive(Debug)]
pub struct CommandDifference {
    /// The command, or `container|subcommand`.
    pub command: &'static str,
    /// The part, as the test calls it, or `all`.
    pub part: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Why this part of this command's COMMAND INFO differs, if it may.
pub fn of_command(command: &str, part: &str) -> Option<&'static CommandDifference> {
    COMMAND_DIFFERENCES.iter().find(|difference| difference.part == part && difference.command == command)
}

/// Where COMMAND INFO differs.
pub const COMMAND_DIFFERENCES: &[CommandDifference] = &[
    CommandDifference {
        command: "backup",
        part: "all",
        reason: "Redis 8.10 has one, which copies into a directory of its own.",
    },
    CommandDifference { command: "client|reply", part: "flags", reason: "`no_multi`: see the table above." },
    CommandDifference { command: "eval", part: "flags", reason: "`script_runner` came with Redis 8.10." },
    CommandDifference { command: "evalsha", part: "flags", reason: "`script_runner` came with Redis 8.10." },
    CommandDifference { command: "eval_ro", part: "flags", reason: "`script_runner` came with Redis 8.10." },
    CommandDifference {
        command: "evalsha_ro",
        part: "flags",
        reason: "`script_runner` came with Redis 8.10.",
    },
    CommandDifference { command: "fcall", part: "flags", reason: "`script_runner` came with Redis 8.10." },
    CommandDifference { command: "fcall_ro", part: "flags", reason: "`script_runner` came with Redis 8.10." },
    CommandDifference {
        command: "sort",
        part: "key specifications",
        reason: "Says where the key behind `STORE` is, which Redis calls unknown.",
    },
    CommandDifference {
        command: "sort_ro",
        part: "key specifications",
        reason: "Names no unknown keys: those of `BY` and `GET` can't be known.",
    },
    CommandDifference {
        command: "client|resume",
        part: "all",
        reason: "Redis has no subscriptions that resume.",
    },
    CommandDifference { command: "sunioncard", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "sdiffcard", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "delex", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "digest", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "increx", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "msetex", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "xnack", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "xcfgset", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "lmovem", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "blmovem", part: "all", reason: "Came after Redis 8.2." },
    CommandDifference { command: "himport", part: "all", reason: "Came after Redis 8.2." },
];

/// `docs/differences.md`.
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for difference in DIFFERENCES {
        let Difference { redis, sterna, reason, .. } = difference;
        page += &format!("| {redis} | {sterna} | {reason} |\n");
    }
    if !COMMAND_DIFFERENCES.is_empty() {
        page += COMMANDS;
        for difference in COMMAND_DIFFERENCES {
            let command = difference.command.replace('|', " ");
            page += &format!("| {command} | {} | {} |\n", difference.part, difference.reason);
        }
    }
    page
}

const INTRODUCTION: &str = "\
<!-- Written by `cargo test -p sterna-tests --test tidy` with STERNA_WRITE_DOCS=1; change the list in
     tests/src/difference.rs instead. -->
# What differs from Redis

The tests send the same scripts to Sterna and to Redis 8.2, in RESP2 and RESP3, and compare the replies byte for byte
(`tests/differential/`). What differs on purpose is here, and nothing else: a script that meets another difference
fails, and so does one that no longer meets one of these. Besides, ids, times and the order of what has none are
Sterna's own, and so are the texts meant for people (`HELP`, `COMMAND DOCS`, `MEMORY DOCTOR` …).

Commands that Sterna doesn't have are unknown commands; [commands.md](commands.md) lists those it has, and
[configuration.md](configuration.md) its options. Of those of Redis 8.2 these are missing, and for these reasons:

- replication: `REPLICAOF`, `SLAVEOF`, `FAILOVER`, `RESTORE-ASKING`. Nodes share keys in another way ([cluster.md](cluster.md)); a reply that
  stands for nothing would mislead a client.
- of clusters: `ASKING` and all subcommands of `CLUSTER` that change one (`ADDSLOTS`, `MEET`, `FAILOVER` …). One node has all slots, or with `cluster-groups` a range of them each, and nothing is to
  be assigned; with neither `cluster-leader` nor `cluster-keys` `CLUSTER` answers as a Redis that is no cluster, and without `cluster-keys` so do `READONLY` and `READWRITE`.
- `MIGRATE`: keys are moved by `sterna import` and `sterna export`, or by `DUMP` and `RESTORE`.
- `MODULE`, and the types that are modules: vector sets (`VADD` …), JSON, search, time series, probabilistic ones; and what came later as
  a type of its own: arrays. They are other types than those that Sterna has.
- `SCRIPT DEBUG`: there is no debugger of Lua. `PFSELFTEST`: a test of the server belongs to its tests. `LOLWUT`.

| Redis | Sterna | why |
|---|---|---|
";

const COMMANDS: &str = "
## What `COMMAND INFO` says

| command | part | why it differs |
|---|---|---|
";
