//! DEBUG: what those who test a client or a server ask for, if `enable-debug-command` allows it.
//!
//! RELOAD takes a snapshot and loads the journal again, LOADAOF only loads it; see `saving.rs`.
//!
//! Redis sleeps with everyone in it. Here only the connection that asked waits, as after a command that takes long: its
//! reply comes and its next command runs when the time is up. SLOWLOG and LATENCY see the time; others are served. Between
//! MULTI and EXEC it delays the transaction, which runs as one when the time of all its sleeps is up.

mod digest;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_keyspace::ValueRef;
use sterna_protocol::{Args, Proto, Reply, argument};
use sterna_pubsub::glob;

use super::table::table;
use super::{Call, Failure, Run};
use crate::config::DebugCommand;
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::waits::Asleep;
use crate::shard::Shard;
use crate::shard::populate::Populate;

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "debug",
        arity: -2,
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::DEBUGS),
        keys: Keys::None,
        acl: Categories::empty(),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "SLEEP holds the connection for so many seconds, and only this one. RELOAD and LOADAOF forget every \
                  key and load the journal again. PANIC crashes the server. OBJECT tells how a value is kept, \
                  PROTOCOL answers something of each type, ERROR this error; LOG writes to the server's log. \
                  SET-ACTIVE-EXPIRE 0 leaves keys that are due until they are asked for, PAUSE-CRON 1 whatever else is \
                  done by the clock; QUICKLIST-PACKED-THRESHOLD \
                  has elements of lists with so many bytes stand alone, STRINGMATCH-LEN matches a pattern. DIGEST and \
                  DIGEST-VALUE tell whether two servers hold the same, as Redis counts it; POPULATE makes keys; LISTPACK \
                  writes what is packed to the log. What concerns Redis's own insides is refused. Needs \
                  enable-debug-command.",
        syntax: "<SLEEP seconds | PANIC | RELOAD [NOSAVE] | LOADAOF | OBJECT key | PROTOCOL type | ERROR text | \
                 LOG text | SET-ACTIVE-EXPIRE <0 | 1> | PAUSE-CRON <0 | 1> | QUICKLIST-PACKED-THRESHOLD bytes | STRINGMATCH-LEN pattern text | \
                 DIGEST | DIGEST-VALUE key [key ...] | POPULATE count [prefix] [size] | LISTPACK key | HELP>",
        reply: &[
            ReplyShape::Ok,
            ReplyShape::Simple,
            ReplyShape::Integer,
            ReplyShape::Bulk,
            ReplyShape::Double,
            ReplyShape::Boolean,
            ReplyShape::Null,
            ReplyShape::Array,
            ReplyShape::Map,
            ReplyShape::Set,
            ReplyShape::Push,
            ReplyShape::Verbatim,
        ],
        tips: &[],
        place: Place::Node,
        ..Spec::PLAIN
    },
    run: Some(debug),
    subcommands: &[],
}];

/// The longest sleep: a year, so that the moment of waking can always be calculated.
const SLEEP_S_MAX: f64 = 365.0 * 24.0 * 60.0 * 60.0;

const HELP: [&str; 35] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "PANIC",
    "    Crashes the server, as a bug in it would.",
    "SLEEP <seconds>",
    "    Holds this connection for so many seconds; decimals are allowed.",
    "RELOAD [NOSAVE]",
    "    Takes a snapshot, unless told not to, forgets every key and loads the journal again.",
    "LOADAOF",
    "    Forgets every key and loads the journal again.",
    "OBJECT <key>",
    "    Tells how the value is kept.",
    "PROTOCOL <string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false>",
    "    Answers something of this type.",
    "ERROR <text>",
    "    Answers this error.",
    "LOG <text>",
    "    Writes the text to the server's log.",
    "QUICKLIST-PACKED-THRESHOLD <bytes>",
    "    Has an element of a list with so many bytes stand in a node of its own; 0: where it would be too large for one.",
    "STRINGMATCH-LEN <pattern> <text>",
    "    Answers whether the pattern matches the text: 1 or 0.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    With 0, keys that are due stay until they are asked for.",
    "PAUSE-CRON <0|1>",
    "    With 1, nothing is done by the clock: no expiry, no end of idle clients, no snapshot.",
    "DIGEST",
    "    Answers 40 hexadecimal digits that are the same where the same keys are, as Redis calculates them.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Answers the same for the value of each key; zeros for one that is not there.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Makes keys <prefix>:0, <prefix>:1 …, where there are none, with values of <size> bytes.",
    "LISTPACK <key>",
    "    Writes the elements of a packed value to the server's log.",
    "HELP",
    "    Prints this text.",
];

/// Subcommands that look at keys by themselves: a transaction, which has taken its keys already, would wait for itself.
const OF_KEYS: [&str; 7] = ["RELOAD", "LOADAOF", "DIGEST", "DIGEST-VALUE", "POPULATE", "LISTPACK", "OBJECT"];

/// Subcommands of Redis that are about its own insides: each is refused, so that nobody takes a reply for what it would do there.
const OF_REDIS_ITSELF: [&str; 28] = [
    "AOF-FLUSH-SLEEP",
    "CHANGE-REPL-ID",
    "CLIENT-EVICTION",
    "CLUSTERLINK",
    "CONFIG-REWRITE-FORCE-ALL",
    "CRASH-AND-RECOVER",
    "DICT-RESIZING",
    "DROP-CLUSTER-PACKET-FILTER",
    "HTSTATS",
    "HTSTATS-KEY",
    "INTERNAL_SECRET",
    "JMAP",
    "KEYSIZES-HIST-ASSERT",
    "LEAK",
    "MALLCTL",
    "MALLCTL-STR",
    "MARK-INTERNAL-CLIENT",
    "OOM",
    "QUICKLIST",
    "REPL-PAUSE",
    "REPLICATE",
    "REPLYBUFFER",
    "RESTART",
    "SCRIPT",
    "SDSLEN",
    "SET-SKIP-CHECKSUM-VALIDATION",
    "STRINGMATCH-TEST",
    "STRUCTSIZE",
];

fn debug(call: &mut Call<'_>) -> Result<(), Failure> {
    if !call.shard.may_debug(call.slot) {
        return Err(Failure::of(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    let name = &call.args[1];
    if argument::eq_ignore_case(name, "HELP") && call.args.len() == 2 {
        call.reply.array(HELP.len());
        HELP.iter().for_each(|line| call.reply.simple(line));
        Ok(())
    } else if argument::eq_ignore_case(name, "SLEEP") && call.args.len() == 3 {
        sleep(call)
    } else if ["PANIC", "SEGFAULT", "ASSERT"].iter().any(|word| argument::eq_ignore_case(name, word))
        && call.args.len() == 2
    {
        panic!("asked for by DEBUG {}", name.escape_ascii());
    } else if call.in_exec && OF_KEYS.iter().any(|word| argument::eq_ignore_case(name, word)) {
        Err(Failure::of("ERR Command not allowed inside a transaction"))
    } else if argument::eq_ignore_case(name, "RELOAD") {
        reload(call)
    } else if argument::eq_ignore_case(name, "DIGEST") && call.args.len() == 2 {
        digest::digest(call)
    } else if argument::eq_ignore_case(name, "DIGEST-VALUE") && call.args.len() >= 2 {
        digest::digest_values(call)
    } else if argument::eq_ignore_case(name, "POPULATE") && (3..=5).contains(&call.args.len()) {
        populate(call)
    } else if argument::eq_ignore_case(name, "LISTPACK") && call.args.len() == 3 {
        log_listpack(call)
    } else if OF_REDIS_ITSELF.iter().any(|word| argument::eq_ignore_case(name, word)) {
        let text = b"ERR there is no DEBUG ";
        let name = name.to_ascii_uppercase();
        Err(Failure::text([text, &*name, b" here: it is about the insides of Redis"].concat()))
    } else if argument::eq_ignore_case(name, "OBJECT") && call.args.len() == 3 {
        object(call)
    } else if argument::eq_ignore_case(name, "PROTOCOL") && call.args.len() == 3 {
        protocol(&call.args[2], &mut call.reply)
    } else if argument::eq_ignore_case(name, "SET-ACTIVE-EXPIRE") && call.args.len() == 3 {
        // What isn't a number is 0, as in Redis.
        let is_on = argument::float(&call.args[2]).unwrap_or(0.0) != 0.0;
        call.shard.server.expires_actively.store(is_on, Relaxed);
        call.reply.ok();
        Ok(())
    } else if argument::eq_ignore_case(name, "PAUSE-CRON") && call.args.len() == 3 {
        let is_paused = argument::float(&call.args[2]).unwrap_or(0.0) != 0.0;
        call.shard.server.is_cron_paused.store(is_paused, Relaxed);
        call.reply.ok();
        Ok(())
    } else if argument::eq_ignore_case(name, "ERROR") && call.args.len() == 3 {
        // Line ends are shown, wherever they are.
        let text = call.args[2].iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        Err(Failure::text(text.collect::<Vec<u8>>()))
    } else if argument::eq_ignore_case(name, "LOG") && call.args.len() == 3 {
        tracing::warn!("DEBUG LOG: {}", call.args[2].escape_ascii());
        call.reply.ok();
        Ok(())
    } else if argument::eq_ignore_case(name, "QUICKLIST-PACKED-THRESHOLD") && call.args.len() == 3 {
        stand_alone(call)
    } else if argument::eq_ignore_case(name, "STRINGMATCH-LEN") && call.args.len() == 4 {
        let matches = glob::matches(&call.args[2], &call.args[3]);
        call.reply.int(i64::from(matches));
        Ok(())
    } else if argument::eq_ignore_case(name, "LOADAOF") && call.args.len() == 2 {
        super::saving::reload(call, false)
    } else {
        let text = b"ERR unknown subcommand or wrong number of arguments for '";
        Err(Failure::text([text, name, b"'. Try DEBUG HELP."].concat()))
    }
}

fn reload(call: &mut Call<'_>) -> Result<(), Failure> {
    let is = |option: &str| call.args.from(2).iter().any(|word| argument::eq_ignore_case(word, option));
    let (no_save, merges) = (is("NOSAVE"), is("MERGE") || is("NOFLUSH"));
    let known = ["NOSAVE", "MERGE", "NOFLUSH"];
    if !call.args.from(2).iter().all(|word| known.iter().any(|option| argument::eq_ignore_case(word, option)))
    {
        return Err(Failure::of("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
    }
    if merges {
        return Err(Failure::of("ERR DEBUG RELOAD loads everything anew: there is no MERGE or NOFLUSH here"));
    }
    super::saving::reload(call, !no_save)
}

/// A number of POPULATE.
fn number_at(call: &Call<'_>, at: usize, default: u64) -> Result<u64, Failure> {
    let Some(text) = call.args.get(at) else { return Ok(default) };
    let number = argument::int(text).and_then(|number| u64::try_from(number).ok());
    number.ok_or(Failure::of("ERR value is out of range, must be positive"))
}

fn populate(call: &mut Call<'_>) -> Result<(), Failure> {
    let (count, value_bytes) = (number_at(call, 2, 0)?, number_at(call, 4, 0)?);
    let bytes_max = call.shard.config.proto_max_bulk_len;
    if value_bytes > bytes_max {
        return Err(Failure::of("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    let set = table().find(b"set").ok_or(Failure::SYNTAX)?;
    let prefix = call.args.get(3).unwrap_or(b"key").into();
    let work = Populate { set, prefix, value_bytes: value_bytes as usize, next: 0, count };
    call.shard.populate_in_parts(call.slot, call.row, work);
    Ok(())
}

/// Bytes of the log that one value may take.
const LISTED_BYTES_MAX: usize = 64 << 10;

fn log_listpack(call: &mut Call<'_>) -> Result<(), Failure> {
    let (db, now_ms) = (usize::from(call.connection().db), call.shard.clock.now_ms);
    let key = &call.args[2];
    let listed = call.shard.server.partitions.peek(db, key, now_ms, |record| record.value().listed(now_ms));
    let listed = listed.map_err(|_| call.shard.keys_taken())?.ok_or(Failure::of("ERR no such key"))?;
    let elements = listed.ok_or(Failure::of("ERR Not a listpack encoded object."))?;
    let mut line = String::new();
    for element in &elements {
        line += &format!(" \"{}\"", element.escape_ascii());
        if line.len() > LISTED_BYTES_MAX {
            line += " …";
            break;
        }
    }
    tracing::warn!("DEBUG LISTPACK {}: {} elements:{line}", key.escape_ascii(), elements.len());
    call.reply.simple("Listpack structure printed on stdout");
    Ok(())
}

/// Bits of the clock that Redis keeps with each key, in seconds.
const LRU_CLOCK_BITS: u32 = 24;

/// Bytes of a value whose length in a database file is found out by a thread of its own.
const LONG_TO_SERIALIZE_BYTES: usize = 256 << 10;

fn object(call: &mut Call<'_>) -> Result<(), Failure> {
    let (db, now_ms) = (usize::from(call.connection().db), call.shard.clock.now_ms);
    let seen = call.shard.server.partitions.peek(db, &call.args[2], now_ms, |record| {
        let (value, idle_s) = (record.value(), record.idle_s(now_ms));
        let head = format!("Value at:{:p} refcount:1 encoding:{}", record.key().as_ptr(), value.encoding());
        let lru_clock = (now_ms / 1000).saturating_sub(idle_s) % (1 << LRU_CLOCK_BITS);
        let tail = format!("lru:{lru_clock} lru_seconds_idle:{idle_s}");
        let line = move |bytes: usize| format!("{head} serializedlength:{bytes} {tail}");
        match value.heap_bytes() >= LONG_TO_SERIALIZE_BYTES {
            true => Err((line, value.to_value())),
            false => Ok(line(value.serialized_bytes())),
        }
    });
    match seen.map_err(|_| call.shard.keys_taken())?.ok_or(Failure::of("ERR no such key"))? {
        Ok(line) => call.reply.simple(&line),
        Err((line, copy)) => digest::answer_later(call, move |reply| {
            reply.simple(&line(ValueRef::from(&copy).serialized_bytes()));
        })?,
    }
    Ok(())
}

/// Something of each type that RESP has, for those who test a client.
fn protocol(name: &[u8], reply: &mut Reply<'_>) -> Result<(), Failure> {
    let is_resp3 = reply.proto == Proto::Resp3;
    match name.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12_345),
        b"double" => reply.double(f64::from(3141) / 1000.0),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if is_resp3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !is_resp3 => return Err(Failure::of("ERR RESP2 is not supported by this command")),
        b"push" => {
            // As in Redis, which sends pushes behind the reply of the command they come with.
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim(b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => {
            return Err(Failure::of(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// The largest node that an element has to itself.
const ALONE_BYTES_MAX: u128 = 1 << 32;

fn stand_alone(call: &mut Call<'_>) -> Result<(), Failure> {
    let bytes = sterna_config::memory(&call.args[2]).filter(|&bytes| bytes < ALONE_BYTES_MAX);
    let bytes =
        bytes.ok_or(Failure::of("ERR argument must be a memory value bigger than 1 and smaller than 4gb"))?;
    call.server().set_list_alone_bytes(if bytes == 0 { usize::MAX } else { bytes as usize });
    if !call.in_exec {
        // A transaction may hold partitions; then the next tick does it.
        call.server().settle_settings();
    }
    call.reply.ok();
    Ok(())
}

/// What isn't a number is 0, as in Redis.
fn seconds_of(sleep: Args<'_>) -> f64 {
    sleep.get(2).and_then(argument::float).unwrap_or(0.0).clamp(0.0, SLEEP_S_MAX)
}

fn sleep(call: &mut Call<'_>) -> Result<(), Failure> {
    let seconds = seconds_of(call.args);
    if call.in_exec {
        // A transaction has slept before it began.
        call.shard.note_duration(call.slot, call.row, call.args, Duration::from_secs_f64(seconds));
    }
    if seconds == 0.0 || call.in_exec {
        call.reply.ok();
        return Ok(());
    }
    let since = call.shard.clock.instant;
    let (row, args, slot) = (call.row, call.args.to_owned(), call.slot);
    let connection = call.connection();
    let is_silent = connection.reply_mode != ReplyMode::On;
    let until = since + Duration::from_secs_f64(seconds);
    call.shard.wait(slot, Wait::Asleep(Asleep { row, args, since, is_silent }), Some(until));
    Ok(())
}

impl Shard {
    fn may_debug(&self, slot: usize) -> bool {
        match self.config.enable_debug_command {
            DebugCommand::No => false,
            DebugCommand::Yes => true,
            DebugCommand::Local => self.connections[slot].client.address.is_local(),
        }
    }

    /// Has a transaction wait, before it runs, for as long as the sleeps that it asks for. Once.
    #[cold]
    pub(super) fn sleeps_first(&mut self, slot: usize) -> bool {
        let may_debug = self.may_debug(slot);
        let Some(transaction) = &mut self.connections[slot].transaction else { return false };
        if !std::mem::take(&mut transaction.has_debug) || !may_debug {
            return false;
        }
        let is_sleep = |args: &Args<'_>| args.len() == 3 && argument::eq_ignore_case(&args[1], "SLEEP");
        let debugs = transaction.queued.iter().filter(|(row, _)| row.has(Flags::DEBUGS));
        let seconds: f64 = debugs.map(|(_, args)| args.args()).filter(is_sleep).map(seconds_of).sum();
        let until = self.clock.instant + Duration::from_secs_f64(seconds.min(SLEEP_S_MAX));
        self.wait(slot, Wait::Nap, Some(until));
        true
    }

    /// The time of DEBUG SLEEP is up.
    pub(crate) fn wake(&mut self, slot: usize) {
        let Some(Wait::Asleep(asleep)) = self.resume(slot) else { return };
        let took = asleep.since.elapsed();
        self.handle().commands.count(asleep.row.id, took, false);
        self.note_duration(slot, asleep.row, asleep.args.args(), took);
        if !asleep.is_silent {
            let range = self.replies_to_others.append(5, |buf| buf.extend_from_slice(b"+OK\r\n"));
            self.flusher.push(&mut self.connections[slot], range);
        }
    }
}
