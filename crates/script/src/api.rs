//! What scripts find under `redis`, and under `server`.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use sterna_protocol::{ArgsBuilder, Proto, Reply};

use crate::functions::Registered;
use crate::host::{Level, Verdict, with_host};
use crate::raise::{Raised, reply};
use crate::{fence, raw, text};

/// What functions that Lua calls share with the engine. Only the thread that runs a script changes it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The script has asked for replies as RESP3 has them (`redis.setresp(3)`).
    pub(crate) is_resp3: AtomicBool,
    /// Where `math.random` is.
    pub(crate) random: AtomicU64,
    /// What the library that is being loaded has registered; `None` outside of a load.
    pub(crate) registered: Mutex<Option<Vec<Registered>>>,
    /// Scripts begun, and what makes a seed of their number.
    runs: AtomicU64,
    secret: RandomState,
    /// Options of `cjson`.
    pub(crate) json: Arc<crate::cjson::Options>,
    /// The collector is in a hurry: see `fence::TIGHT_BYTES`.
    pub(crate) is_tight: AtomicBool,
    /// Where commands and their replies are written: see `raw::call`.
    pub(crate) buffers: Mutex<Buffers>,
    /// What `redis.call` is to raise.
    pub(crate) failure: Mutex<Option<Raised>>,
    /// A panic of the host's, for the end of the run.
    pub(crate) panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A command's arguments, its reply, and a value as JSON.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) request: ArgsBuilder,
    pub(crate) reply: Vec<u8>,
    pub(crate) json: Vec<u8>,
}

/// Bytes of buffers that are kept for the next script.
const KEPT_BYTES_MAX: usize = 256 << 10;

impl Buffers {
    /// A script has ended.
    pub(crate) fn trim(&mut self) {
        if self.reply.capacity() + self.request.capacity() + self.json.capacity() > KEPT_BYTES_MAX {
            *self = Buffers::default();
        }
    }
}

impl Shared {
    /// As a script finds it.
    pub(crate) fn reset(&self) {
        self.is_resp3.store(false, Relaxed);
        self.random.store(self.next_seed(), Relaxed);
        self.json.reset();
    }

    /// A seed that no script can foresee, or make the next one begin with.
    fn next_seed(&self) -> u64 {
        let count = self.runs.fetch_add(1, Relaxed);
        self.secret.hash_one(count) & ((1 << 48) - 1)
    }

    /// What its replies are to look like.
    pub(crate) fn proto(&self) -> Proto {
        if self.is_resp3.load(Relaxed) { Proto::Resp3 } else { Proto::Resp2 }
    }
}

/// Redis's version that the API is that of.
const VERSION: &str = "8.2.0";
const VERSION_NUMBER: i64 = 0x0008_0200;

pub(crate) fn library(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    let raw::Calls { call, pcall } = raw::calls(lua, shared)?;
    redis.raw_set("call", call)?;
    redis.raw_set("pcall", pcall)?;
    let of_run = Arc::clone(shared);
    redis.raw_set("setresp", lua.create_function(move |lua, args| setresp(lua, args, &of_run))?)?;
    redis.raw_set("error_reply", lua.create_function(|lua, args| one_field(lua, args, "err"))?)?;
    redis.raw_set("status_reply", lua.create_function(|lua, args| one_field(lua, args, "ok"))?)?;
    redis.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    redis.raw_set("log", lua.create_function(log)?)?;
    redis.raw_set("acl_check_cmd", lua.create_function(acl_check_cmd)?)?;
    redis.raw_set("set_repl", lua.create_function(set_repl)?)?;
    redis.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    // The debugger is not here, and these do nothing without it.
    redis.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
    redis.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    let numbers = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", VERSION_NUMBER),
    ];
    numbers.iter().try_for_each(|&(name, number)| redis.raw_set(name, number))?;
    redis.raw_set("REDIS_VERSION", VERSION)?;
    Ok(redis)
}

/// Arguments of a command: strings, and numbers as text.
fn arguments(args: &MultiValue, request: &mut ArgsBuilder) -> Result<(), &'static [u8]> {
    if args.is_empty() {
        return Err(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut room = raw::ARGUMENT_BYTES_MAX;
    for arg in args {
        match arg {
            Value::String(text) => {
                let text = text.as_bytes();
                room = room.checked_sub(text.len()).ok_or(raw::TOO_LONG)?;
                request.push_arg(&text);
            }
            Value::Integer(number) => request.push_arg(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Number(number) => {
                // As a reply has it: the fewest digits that read back as the same number.
                let mut reply = Vec::new();
                Reply::new(&mut reply, Proto::Resp3).double(*number);
                request.push_arg(&reply[1..reply.len() - 2]);
            }
            _ => return Err(b"ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(())
}

/// `redis.error_reply` and `redis.status_reply`: a table with one field.
fn one_field(lua: &Lua, args: MultiValue, name: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let (1, Some(Value::String(text))) = (args.len(), args.front()) else {
        table.raw_set("err", "ERR wrong number or type of arguments")?;
        return Ok(table);
    };
    if name == "ok" {
        table.raw_set("ok", text)?;
        return Ok(table);
    }
    let text = text.as_bytes();
    // A first word is a code only if others follow; and Redis takes it with or without its sign, up to a zero byte.
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
    table.raw_set("err", lua.create_string(text)?)?;
    Ok(table)
}

fn setresp(lua: &Lua, args: MultiValue, shared: &Shared) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(reply(b"ERR redis.setresp() requires one argument.".to_vec()));
    }
    match args.front().and_then(|value| text::number_of(lua, value)) {
        Some(version) if version as i64 == 2 => shared.is_resp3.store(false, Relaxed),
        Some(version) if version as i64 == 3 => shared.is_resp3.store(true, Relaxed),
        _ => return Err(reply(b"ERR RESP version must be 2 or 3.".to_vec())),
    }
    Ok(())
}

fn sha1hex(lua: &Lua, args: MultiValue) -> mlua::Result<String> {
    if args.len() != 1 {
        return Err(fence::wrong_count());
    }
    let text = match args.front() {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(value) => text::number_of(lua, value).map_or_else(Vec::new, text::number_text),
        None => Vec::new(),
    };
    let mut digest = Sha1::new();
    for (number, piece) in text.chunks(HASHED_AT_ONCE).enumerate() {
        if number > 0 && with_host(|host| host.tick()) == Some(Verdict::Stop) {
            return Err(Raised::Stopped.into());
        }
        digest.update(piece);
    }
    Ok(hex(&digest.finalize().into()))
}

/// Bytes between two questions whether the script goes on: about a millisecond.
const HASHED_AT_ONCE: usize = 512 << 10;

/// Twenty bytes in hexadecimal digits.
pub(crate) fn hex(digest: &[u8; 20]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of a line for the log, about: one string can be given many times.
const LINE_BYTES_MAX: usize = 64 << 10;

fn log(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return Err(reply(b"ERR redis.log() requires two arguments or more.".to_vec()));
    }
    let Some(level) = args.front().and_then(|value| text::number_of(lua, value)) else {
        return Err(reply(b"ERR First argument must be a number (log level).".to_vec()));
    };
    let Some(level) = Level::of(level as i64) else {
        return Err(reply(b"ERR Invalid log level.".to_vec()));
    };
    let mut line = Vec::new();
    for at in 1..args.len() {
        let Ok(text) = text::string_argument(lua, &args, at, "log") else { continue };
        if !line.is_empty() {
            line.push(b' ');
        }
        let text = text.as_bytes();
        line.extend_from_slice(&text[..text.len().min(LINE_BYTES_MAX)]);
        if line.len() > LINE_BYTES_MAX {
            break;
        }
    }
    with_host(|host| host.log(level, &line));
    Ok(())
}

fn acl_check_cmd(_: &Lua, args: MultiValue) -> mlua::Result<bool> {
    let mut request = ArgsBuilder::default();
    arguments(&args, &mut request).map_err(reply)?;
    match with_host(|host| host.is_allowed(request.args())) {
        Some(Ok(allowed)) => Ok(allowed),
        Some(Err(text)) => Err(reply(text)),
        None => Ok(false),
    }
}

/// Which replicas get the writes: there are none here, and what is journaled is what was done.
fn set_repl(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(reply(b"ERR redis.set_repl() requires one argument.".to_vec()));
    }
    let flags = args.front().and_then(|value| text::number_of(lua, value)).unwrap_or(0.0) as i64;
    if flags & !3 != 0 {
        let text = b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(reply(text.to_vec()));
    }
    Ok(())
}
