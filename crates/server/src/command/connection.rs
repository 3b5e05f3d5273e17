//! HELLO, AUTH, PING, ECHO, QUIT, RESET, SELECT.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Secrets, Spec};
use sterna_protocol::{Proto, Reply, argument};

use super::{Call, Failure, Run};
use crate::VERSION;
use crate::acl::User;
use crate::connection::client::mark;
use crate::connection::state::Wait;
use crate::connection::{CloseReason, Connection, ReplyMode};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::log_limit::Cause;
use crate::shard::parts::ALL_KINDS;

const BASE: Spec = Spec {
    name: "",
    arity: 1,
    flags: Flags::FAST.union(Flags::LOADING).union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Ok],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

const BEFORE_AUTH: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::NO_AUTH)
    .union(Flags::ALLOW_BUSY)
    .union(Flags::SENTINEL);

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "hello",
            arity: -1,
            secrets: Secrets::Behind { word: "AUTH", count: 2 },
            flags: BEFORE_AUTH.union(Flags::LOGS_IN),
            since: "6.0.0",
            summary: "Chooses the protocol, and logs in and names the connection in one go.",
            syntax: "[protover [AUTH username password] [SETNAME clientname]]",
            reply: &[ReplyShape::Map],
            place: Place::Connection,
            ..BASE
        },
        run: Some(hello),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "auth",
            arity: -2,
            secrets: Secrets::From(1),
            flags: BEFORE_AUTH.union(Flags::LOGS_IN),
            complexity: "O(N), N passwords of the user",
            summary: "Logs in.",
            syntax: "[username] password",
            place: Place::Connection,
            ..BASE
        },
        run: Some(auth),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "ping",
            arity: -1,
            flags: Flags::FAST.union(Flags::SENTINEL).union(Flags::SUBSCRIBER_MODE),
            summary: "Answers PONG, or the message.",
            syntax: "[message]",
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            reply: &[ReplyShape::Simple, ReplyShape::Bulk],
            ..BASE
        },
        run: Some(ping),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "echo",
            arity: 2,
            summary: "Answers the message.",
            syntax: "message",
            reply: &[ReplyShape::Bulk],
            ..BASE
        },
        run: Some(|call| {
            call.reply.bulk(&call.args[1]);
            Ok(())
        }),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "quit",
            arity: -1,
            flags: BEFORE_AUTH
                .union(Flags::SUBSCRIBER_MODE)
                .union(Flags::NOT_QUEUED)
                .difference(Flags::SENTINEL),
            summary: "Closes the connection once the replies so far are out.",
            ..BASE
        },
        run: Some(|call| {
            call.reply.ok();
            call.shard.drain(call.slot, CloseReason::Quit);
            Ok(())
        }),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "reset",
            flags: BEFORE_AUTH
                .union(Flags::SUBSCRIBER_MODE)
                .union(Flags::NOT_QUEUED)
                .difference(Flags::SENTINEL)
                .union(Flags::RESETS),
            since: "6.2.0",
            summary: "Makes the connection as new: no subscriptions, no transaction, no user, RESP2.",
            reply: &[ReplyShape::Simple],
            place: Place::Connection,
            ..BASE
        },
        run: Some(reset),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "select",
            arity: 2,
            flags: BASE.flags.union(Flags::SELECTS),
            summary: "Chooses the database.",
            syntax: "index",
            ..BASE
        },
        run: Some(select),
        subcommands: &[],
    },
];

fn ping(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() > 2 {
        return Err(Failure::arity("ping"));
    }
    let message = call.args.get(1);
    if call.connection().in_subscriber_mode() {
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(message.unwrap_or_default());
    } else {
        match message {
            Some(message) => call.reply.bulk(message),
            None => call.reply.simple("PONG"),
        }
    }
    Ok(())
}

fn select(call: &mut Call<'_>) -> Result<(), Failure> {
    let index =
        argument::int(&call.args[1]).ok_or(Failure::of("ERR value is not an integer or out of range"))?;
    if i32::try_from(index).is_err() {
        return Err(Failure::of("ERR value is out of range, value must between -2147483648 and 2147483647"));
    }
    let databases = call.server().partitions.databases();
    let db = usize::try_from(index).ok().filter(|&db| db < databases);
    let db = db.ok_or(Failure::of("ERR DB index is out of range"))?;
    call.connection().set_db(db as u8);
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result<(), Failure> {
    let slot = call.slot;
    call.shard.end_run();
    if call.shard.leaves_in_parts(slot, call.row, &ALL_KINDS, false) {
        // It is executed again when it has nothing left to leave.
        return Ok(());
    }
    call.shard.forget_transaction(slot);
    call.shard.leave_all(slot);
    call.shard.stop_monitoring(slot);
    call.shard.untrack(slot);
    let user = call.server().user_without_password();
    let connection = call.connection();
    connection.set_db(0);
    connection.set_proto(Proto::Resp2);
    connection.reply_mode = ReplyMode::On;
    connection.client.set_mark(mark::NO_EVICT | mark::NO_TOUCH, false);
    connection.client.names.lock().name = "".into();
    connection.declines_resuming = false;
    connection.reads_stale = false;
    connection.fieldsets = None;
    call.shard.end_resuming(slot, CloseReason::Expired);
    call.shard.become_user(slot, user);
    call.reply.simple("RESET");
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (name, password) = match args.len() {
        2 => (&b"default"[..], &args[1]),
        3 => (&args[1], &args[2]),
        _ => return Err(Failure::SYNTAX),
    };
    if call.args.len() == 2 && call.server().users.read().default_user().is_nopass() {
        return Err(Failure::of(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ));
    }
    let user = authenticate(call, name, password)?;
    call.shard.become_user(call.slot, Some(user));
    call.reply.ok();
    Ok(())
}

/// Bytes of a name that the log shows.
const LOGGED_NAME_BYTES_MAX: usize = 64;

fn authenticate(call: &mut Call<'_>, name: &[u8], password: &[u8]) -> Result<Arc<User>, Failure> {
    if call.in_exec && call.shard.login_delay(call.slot).is_some() {
        return Err(Failure::of(
            "ERR too many failed logins from this address: try again outside of a transaction",
        ));
    }
    let users = call.server().users.read();
    // What redis-cli 7.0 makes of a URL with a password and no name.
    let name = if name.is_empty() && !users.default_user().is_nopass() { b"default" } else { name };
    let user = users.authenticate(name, password);
    drop(users);
    let (address, now_ms) = (call.connection().client.address.ip_address(), call.shard.clock.now_ms);
    if user.is_some() {
        if let Some(address) = address {
            call.server().logins.note_success(address, now_ms);
        }
    } else {
        call.server().failed_logins.fetch_add(1, Relaxed);
        if let Some(address) = address {
            call.server().logins.note_failure(address, now_ms);
        }
        let called = &call.args[0];
        call.shard.note_failed_login(call.slot, call.row, called, name);
        if call.server().log_limits.admits(Cause::Login, now_ms) {
            let user = name[..name.len().min(LOGGED_NAME_BYTES_MAX)].escape_ascii();
            tracing::warn!(%user, addr = %call.connection().client.address.peer(), "login failed");
        }
    }
    user.ok_or(Failure::WRONG_PASS)
}

fn hello(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let proto = match args.get(1) {
        None => None,
        Some(version) => Some(match argument::int(version) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(Failure::of("NOPROTO unsupported protocol version")),
            None => return Err(Failure::of("ERR Protocol version is not an integer or out of range")),
        }),
    };
    let mut login = None;
    let mut name = None;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let left = args.len() - at - 1;
        if argument::eq_ignore_case(option, "AUTH") && left >= 2 {
            // The last one counts, and nobody is asked about one before the whole request is known to be right.
            login = Some((&args[at + 1], &args[at + 2]));
            at += 3;
        } else if argument::eq_ignore_case(option, "SETNAME") && left >= 1 {
            name = Some(valid_name(&args[at + 1], "Client names")?);
            at += 2;
        } else {
            let mut text = b"ERR Syntax error in HELLO option '".to_vec();
            text.extend_from_slice(option);
            text.push(b'\'');
            return Err(Failure::text(text));
        }
    }
    let user = login.map(|(name, password)| authenticate(call, name, password)).transpose()?;
    if user.is_none() && call.connection().user.is_none() {
        return Err(Failure::of(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(user) = user {
        call.shard.become_user(call.slot, Some(user));
    }
    if let Some(name) = name {
        call.shard.rename(call.slot, name);
    }
    let connection = &mut call.shard.connections[call.slot];
    if let Some(proto) = proto {
        connection.set_proto(proto);
        call.reply.proto = proto;
    }
    let proto = call.reply.proto;
    let id = connection.client.id;
    let mode = if call.shard.has_cluster() { "cluster" } else { "standalone" };
    greet(&mut call.reply, (proto, mode), id);
    Ok(())
}

/// HELLO's map. `server` and `version` are what clients switch behaviour on, so they are Redis's; INFO says more.
fn greet(reply: &mut Reply<'_>, (proto, mode): (Proto, &str), id: u64) {
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(VERSION.redis.as_bytes());
    reply.bulk(b"proto");
    reply.int(if proto == Proto::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk(mode.as_bytes());
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// A name of bounded length without spaces, newlines or anything else that would spoil CLIENT LIST. `what` is how the error calls it.
pub(super) fn valid_name(name: &[u8], what: &str) -> Result<Box<str>, Failure> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(Failure::text(format!(
            "ERR {what} cannot be longer than {CLIENT_NAME_BYTES_MAX} bytes."
        )));
    }
    if name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        return Err(Failure::text(format!(
            "ERR {what} cannot contain spaces, newlines or special characters."
        )));
    }
    // Printable ASCII, as just checked, is UTF-8.
    Ok(String::from_utf8_lossy(name).into())
}

impl Connection {
    pub(crate) fn set_db(&mut self, db: u8) {
        self.db = db;
        self.client.db.store(db, Relaxed);
    }

    fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
        self.client.resp.store(if proto == Proto::Resp3 { 3 } else { 2 }, Relaxed);
    }

    pub(crate) fn set_user(&mut self, user: Option<Arc<User>>) {
        let name = user.as_ref().map_or(&b"default"[..], |user| user.name());
        self.client.names.lock().user = String::from_utf8_lossy(name).into();
        if user.is_none() && !self.is_unauthenticated() {
            // RESET: it has to prove itself again from now on.
            self.unproven_since_ms = self.client.active_ms.load(Relaxed);
        }
        self.user = user;
    }

    /// Brings the gauges of CLIENT LIST up to date that are not kept with every command.
    pub(crate) fn publish_gauges(&self) {
        let client = &self.client;
        let (input, room) = match (&self.partial, &self.page) {
            (Some(partial), _) => (partial.request.len(), partial.request.capacity()),
            (None, Some(page)) => (page.input_bytes(), page.input_bytes()),
            (None, None) => (0, 0),
        };
        client.net_in_bytes.store(self.net_in_bytes, Relaxed);
        client.net_out_bytes.store(self.net_out_bytes, Relaxed);
        let unread = self.unread.as_ref().map_or(0, |unread| unread.len());
        let (input, room) = (input + unread, room + unread);
        client.input_bytes.store(input as u64, Relaxed);
        client.input_capacity.store(room as u64, Relaxed);
        let waiting = self.state().wait().and_then(Wait::request);
        let argv_bytes = waiting.map_or(0, |request| request.args().iter().map(<[u8]>::len).sum::<usize>());
        client.argv_bytes.store(argv_bytes as u64, Relaxed);
        client.output_ranges.store(self.output.len() as u64, Relaxed);
        client.set_memory(self.heap_bytes() as u64, self.output.queued_bytes() as u64);
    }
}
