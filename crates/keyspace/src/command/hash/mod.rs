//! The commands on hashes, and what several of them need.
//!
//! | file | commands |
//! |---|---|
//! | `set` | HSET, HMSET, HSETNX |
//! | `get` | HGET, HMGET, HGETALL, HKEYS, HVALS, HLEN, HEXISTS, HSTRLEN |
//! | `del` | HDEL |
//! | `incr` | HINCRBY, HINCRBYFLOAT |
//! | `random`, `scan` | HRANDFIELD, HSCAN |
//! | `expire`, `ttl` | HEXPIRE, HPERSIST, HTTL and their kin |
//! | `getex`, `setex` | HGETEX, HGETDEL, HSETEX |
//! | `named` | FIELDS and the options around it |
//! | `import` | HIMPORT SET |
//!
//! A field that is due is shown to nobody, and goes when it is named, but by HTTL and HPERSIST; see `fields/mod.rs`.

use super::*;
use crate::collection::Elements;
use crate::fields::{Expiry, Hash, HashRef};
use crate::listpack::Element;

pub(super) mod del;
mod error;
pub(super) mod expire;
pub(super) mod get;
pub(super) mod getex;
pub(super) mod import;
pub(super) mod incr;
mod named;
pub(super) mod random;
pub(super) mod scan;
pub(super) mod set;
pub(super) mod setex;
pub(super) mod ttl;

pub use error::HashError;

/// What the rows of this folder have in common.
const SPEC: Spec = Spec {
    flags: Flags::WRITE.union(Flags::FAST),
    keys: Keys::at(1),
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    ..Spec::PLAIN
};

/// A hash, for a command that reads it; `None` if there is nothing.
#[inline]
fn read_hash<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<Option<HashRef<'s>>, Error> {
    match ctx.read(key) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(Error::WrongType),
    }
}

/// Shows a hash to a command that reads these fields of it; those that are due are removed first, as a key is that is read.
#[inline]
fn read_fields<'n, R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    names: impl Iterator<Item = &'n [u8]>,
    read: impl FnOnce(Option<HashRef<'_>>) -> R,
) -> Result<R, Error> {
    read_expired(ctx, key, |slot| slot.expire_fields_of(names), read)
}

/// Shows a hash to a command that reads it; where a field may be due, `expire` removes what the command names first.
#[inline]
fn read_expired<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    expire: impl FnOnce(&mut Slot<'_>),
    read: impl FnOnce(Option<HashRef<'_>>) -> R,
) -> Result<R, Error> {
    let now_ms = ctx.now_ms;
    let hash = read_hash(ctx, key)?;
    if !hash.is_some_and(|hash| hash.may_have_due(now_ms)) {
        return Ok(read(hash));
    }
    ctx.expire_parts(key, expire);
    Ok(read(ctx.again(key).and_then(Hash::seen)))
}

/// Writes a name or value.
#[inline]
fn write_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Text(text) => reply.bulk(text),
        Element::Int(number) => reply.bulk_int(number),
    }
}

/// Writes a name or value, or null.
#[inline]
fn write_or_null(reply: &mut Reply<'_>, element: Option<Element<'_>>) {
    match element {
        Some(element) => write_element(reply, element),
        None => reply.null(),
    }
}

/// Arguments from some index on.
fn texts<'a>(args: Args<'a>, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
    (first..args.len()).map(move |index| args.get(index).unwrap_or_default())
}

/// Arguments from some index on, by twos.
fn pairs<'a>(args: Args<'a>, first: usize) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone {
    let text = move |index: usize| args.get(index).unwrap_or_default();
    (0..(args.len() - first) / 2).map(move |nth| (text(first + 2 * nth), text(first + 2 * nth + 1)))
}
