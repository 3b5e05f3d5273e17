//! The commands on keys: a file per command (small siblings share one), in it the row of the command table and the
//! function that runs it.
//!
//! A command parses all of its arguments first, then looks, then changes, then replies: so that a refused one has
//! changed nothing.

use std::sync::Arc;

use sterna_command::{Categories, Command, ElementAt, Flags, Group, Keys, ReplyShape, Spec, help_lines};
use sterna_protocol::{Args, Reply};

use crate::context::{Ctx, Outcome, Run};
use crate::error::Error;
use crate::event;
use crate::extended::{Extended, Parsed};
use crate::record::{NewValue, Record};
use crate::slot::Slot;
use crate::space::Space;
use crate::value::{Value, ValueRef, integer};

mod append;
mod bits;
mod copy;
mod del;
mod digest;
mod dump;
mod exists;
mod expire;
mod flush;
mod geo;
mod get;
mod getex;
mod hash;
mod hyperloglog;
mod incr;
mod incrbyfloat;
mod increx;
mod keys;
mod lcs;
mod list;
mod memory;
mod mget;
mod move_key;
mod object;
mod rename;
mod scan;
mod set;
mod sets;
mod sort;
mod stream;
mod substring;
mod swapdb;
mod time;
mod ttl;
mod zset;

pub use geo::GeoError;
pub use hash::HashError;
pub use scan::SCAN_BYTES;
pub use sets::SetError;
pub use stream::{Retention, StreamError, remember};
pub use zset::ZsetError;

/// Every command of this crate, in alphabetical order.
pub static COMMANDS: &[Command<Run>] = &[
    append::APPEND,
    bits::count::BITCOUNT,
    bits::bitfield::BITFIELD,
    bits::bitfield::BITFIELD_RO,
    bits::bitop::BITOP,
    bits::count::BITPOS,
    list::blocking::BLMOVE,
    list::blocking::BLMOVEM,
    list::blocking::BLMPOP,
    list::blocking::BLPOP,
    list::blocking::BRPOP,
    list::blocking::BRPOPLPUSH,
    zset::blocked::BZMPOP,
    zset::blocked::BZPOPMAX,
    zset::blocked::BZPOPMIN,
    copy::COPY,
    keys::DBSIZE,
    incr::DECR,
    incr::DECRBY,
    del::DEL,
    digest::DELEX,
    digest::DIGEST,
    dump::DUMP,
    exists::EXISTS,
    expire::EXPIRE,
    expire::EXPIREAT,
    ttl::EXPIRETIME,
    flush::FLUSHALL,
    flush::FLUSHDB,
    geo::add::GEOADD,
    geo::place::GEODIST,
    geo::place::GEOHASH,
    geo::place::GEOPOS,
    geo::search::GEORADIUS,
    geo::search::GEORADIUS_RO,
    geo::search::GEORADIUSBYMEMBER,
    geo::search::GEORADIUSBYMEMBER_RO,
    geo::search::GEOSEARCH,
    geo::search::GEOSEARCHSTORE,
    get::GET,
    bits::setbit::GETBIT,
    getex::GETDEL,
    getex::GETEX,
    substring::GETRANGE,
    set::GETSET,
    hash::del::HDEL,
    hash::get::HEXISTS,
    hash::expire::HEXPIRE,
    hash::expire::HEXPIREAT,
    hash::ttl::HEXPIRETIME,
    hash::get::HGET,
    hash::get::HGETALL,
    hash::getex::HGETDEL,
    hash::getex::HGETEX,
    hash::import::HIMPORT,
    hash::incr::HINCRBY,
    hash::incr::HINCRBYFLOAT,
    hash::get::HKEYS,
    hash::get::HLEN,
    hash::get::HMGET,
    hash::set::HMSET,
    hash::expire::HPERSIST,
    hash::expire::HPEXPIRE,
    hash::expire::HPEXPIREAT,
    hash::ttl::HPEXPIRETIME,
    hash::ttl::HPTTL,
    hash::random::HRANDFIELD,
    hash::scan::HSCAN,
    hash::set::HSET,
    hash::setex::HSETEX,
    hash::set::HSETNX,
    hash::get::HSTRLEN,
    hash::ttl::HTTL,
    hash::get::HVALS,
    incr::INCR,
    incr::INCRBY,
    incrbyfloat::INCRBYFLOAT,
    increx::INCREX,
    keys::KEYS,
    lcs::LCS,
    list::range::LINDEX,
    list::change::LINSERT,
    list::range::LLEN,
    list::transfer::LMOVE,
    list::transfer::LMOVEM,
    list::many::LMPOP,
    list::pop::LPOP,
    list::find::LPOS,
    list::push::LPUSH,
    list::push::LPUSHX,
    list::range::LRANGE,
    list::change::LREM,
    list::change::LSET,
    list::change::LTRIM,
    memory::MEMORY,
    mget::MGET,
    move_key::MOVE,
    mget::MSET,
    mget::MSETEX,
    mget::MSETNX,
    object::OBJECT,
    expire::PERSIST,
    expire::PEXPIRE,
    expire::PEXPIREAT,
    ttl::PEXPIRETIME,
    hyperloglog::add::PFADD,
    hyperloglog::count::PFCOUNT,
    hyperloglog::debug::PFDEBUG,
    hyperloglog::merge::PFMERGE,
    set::PSETEX,
    ttl::PTTL,
    keys::RANDOMKEY,
    rename::RENAME,
    rename::RENAMENX,
    dump::RESTORE,
    list::pop::RPOP,
    list::transfer::RPOPLPUSH,
    list::push::RPUSH,
    list::push::RPUSHX,
    sets::add::SADD,
    scan::SCAN,
    sets::members::SCARD,
    sets::diff::SDIFF,
    sets::diff::SDIFFCARD,
    sets::diff::SDIFFSTORE,
    set::SET,
    bits::setbit::SETBIT,
    set::SETEX,
    set::SETNX,
    append::SETRANGE,
    sets::inter::SINTER,
    sets::inter::SINTERCARD,
    sets::inter::SINTERSTORE,
    sets::members::SISMEMBER,
    sets::members::SMEMBERS,
    sets::members::SMISMEMBER,
    sets::smove::SMOVE,
    sort::SORT,
    sort::SORT_RO,
    sets::random::SPOP,
    sets::random::SRANDMEMBER,
    sets::add::SREM,
    sets::scan::SSCAN,
    append::STRLEN,
    substring::SUBSTR,
    sets::union::SUNION,
    sets::union::SUNIONCARD,
    sets::union::SUNIONSTORE,
    swapdb::SWAPDB,
    exists::TOUCH,
    ttl::TTL,
    exists::TYPE,
    del::UNLINK,
    stream::ack::XACK,
    stream::delete::XACKDEL,
    stream::add::XADD,
    stream::claim::XAUTOCLAIM,
    stream::configure::XCFGSET,
    stream::claim::XCLAIM,
    stream::delete::XDEL,
    stream::delete::XDELEX,
    stream::group::XGROUP,
    stream::info::XINFO,
    stream::range::XLEN,
    stream::ack::XNACK,
    stream::pending::XPENDING,
    stream::range::XRANGE,
    stream::read::XREAD,
    stream::readgroup::XREADGROUP,
    stream::range::XREVRANGE,
    stream::configure::XSETID,
    stream::trim::XTRIM,
    zset::add::ZADD,
    zset::score::ZCARD,
    zset::count::ZCOUNT,
    zset::combine::ZDIFF,
    zset::combine::ZDIFFSTORE,
    zset::add::ZINCRBY,
    zset::combine::ZINTER,
    zset::combine::ZINTERCARD,
    zset::combine::ZINTERSTORE,
    zset::count::ZLEXCOUNT,
    zset::pop::ZMPOP,
    zset::score::ZMSCORE,
    zset::pop::ZPOPMAX,
    zset::pop::ZPOPMIN,
    zset::random::ZRANDMEMBER,
    zset::range::ZRANGE,
    zset::range::ZRANGEBYLEX,
    zset::range::ZRANGEBYSCORE,
    zset::range::ZRANGESTORE,
    zset::rank::ZRANK,
    zset::remove::ZREM,
    zset::remove::ZREMRANGEBYLEX,
    zset::remove::ZREMRANGEBYRANK,
    zset::remove::ZREMRANGEBYSCORE,
    zset::range::ZREVRANGE,
    zset::range::ZREVRANGEBYLEX,
    zset::range::ZREVRANGEBYSCORE,
    zset::rank::ZREVRANK,
    zset::scan::ZSCAN,
    zset::score::ZSCORE,
    zset::combine::ZUNION,
    zset::combine::ZUNIONSTORE,
];

/// An ordinary command.
const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Argument `index`, which must be an integer in its canonical form.
fn integer_at(args: Args<'_>, index: usize) -> Result<i64, Error> {
    integer(&args[index]).ok_or(Error::NotInteger)
}

/// When a command that blocks gives up, from the timeout in argument `index`; `None`: never.
fn deadline_at(ctx: &Ctx<'_>, args: Args<'_>, index: usize) -> Result<Option<u64>, Error> {
    deadline(&args[index], ctx.now_ms)
}

/// When a timeout in seconds ends, Unix time in milliseconds; `None`: never.
///
/// A part of a millisecond is a whole one. Source: Redis's `getTimeoutFromObjectOrReply`.
fn deadline(text: &[u8], now_ms: u64) -> Result<Option<u64>, Error> {
    let seconds = match Extended::parse(text).ok_or(Error::TimeoutNotFloat)? {
        Parsed::Finite(number) => number.to_f64_not_zero(),
        Parsed::Infinite if text.starts_with(b"-") => f64::NEG_INFINITY,
        Parsed::Infinite => f64::INFINITY,
    };
    let wait_ms = (seconds * 1000.0).ceil();
    if wait_ms > i64::MAX as f64 {
        return Err(Error::TimeoutOutOfRange);
    }
    if wait_ms < 0.0 {
        return Err(Error::TimeoutNegative);
    }
    let deadline_ms = now_ms.saturating_add(wait_ms as u64);
    match wait_ms {
        0.0 => Ok(None),
        _ if deadline_ms > i64::MAX as u64 => Err(Error::TimeoutOutOfRange),
        _ => Ok(Some(deadline_ms)),
    }
}

/// Whether an argument is this option, in whichever case.
fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// The reply of a container's HELP: a line for each subcommand and one, indented, that says what it does.
pub(crate) fn write_help(container: &Command<Run>, reply: &mut Reply<'_>) {
    let lines = help_lines(container.spec.name, container.subcommands.iter().map(|row| &row.spec));
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_that_a_row_names_is_the_field_or_member_of_its_syntax() {
        for Command { spec, .. } in COMMANDS.iter().filter(|row| row.spec.keys == Keys::at(1)) {
            // The key is argument 1.
            let words: Vec<&str> = spec.syntax.split(' ').collect();
            let is_element = |index: usize| matches!(words.get(index - 1), Some(&("field" | "member")));
            match spec.element {
                ElementAt::None => assert!(!is_element(2), "{}", spec.name),
                ElementAt::Index(index) => assert!(is_element(index), "{}", spec.name),
                ElementAt::Scored => {
                    assert!(spec.syntax.ends_with("score member [score member ...]"), "{}", spec.name);
                }
                ElementAt::Lowest => assert_eq!(spec.name, "zpopmin"),
                ElementAt::Highest => assert_eq!(spec.name, "zpopmax"),
            }
        }
        let others = COMMANDS.iter().filter(|row| row.spec.keys != Keys::at(1));
        assert!(others.into_iter().all(|row| row.spec.element == ElementAt::None));
    }

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        let rows: &[(&str, Result<Option<u64>, Error>)] = &[
            ("0", Ok(None)),
            ("-0.0001", Ok(None)),
            ("1", Ok(Some(2000))),
            ("0.044", Ok(Some(1044))),
            ("0.0001", Ok(Some(1001))),
            ("1e-400", Ok(Some(1001))),
            ("0x1", Ok(Some(2000))),
            ("-1", Err(Error::TimeoutNegative)),
            ("-inf", Err(Error::TimeoutNegative)),
            ("x", Err(Error::TimeoutNotFloat)),
            ("", Err(Error::TimeoutNotFloat)),
            ("nan", Err(Error::TimeoutNotFloat)),
            ("inf", Err(Error::TimeoutOutOfRange)),
            ("1e30", Err(Error::TimeoutOutOfRange)),
            ("9223372036854775807", Err(Error::TimeoutOutOfRange)),
        ];
        for (text, expected) in rows {
            assert_eq!(deadline(text.as_bytes(), 1000), *expected, "{text:?}");
        }
    }
}
