//! HGET and everything else that only reads fields by name, or all of them.

use super::*;
use crate::fields::Field;
use crate::long::{LONG_MIN, Steps};
use sterna_command::{KeyUse, KeyUses};

const READS: Spec = Spec { flags: Flags::READONLY.union(Flags::FAST), ..SPEC };

pub(in super::super) const HGET: Command<Run> = row(
    Spec {
        name: "hget",
        arity: 3,
        element: ElementAt::Index(2),
        summary: "Answers the value of a field of a hash.",
        syntax: "key field",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..READS
    },
    hget,
);

pub(in super::super) const HMGET: Command<Run> = row(
    Spec {
        name: "hmget",
        arity: -3,
        element: ElementAt::Index(2),
        complexity: "O(1) for each field",
        summary: "Answers the values of fields of a hash, null for each that is not there.",
        syntax: "key field [field ...]",
        reply: &[ReplyShape::Array],
        ..READS
    },
    hmget,
);

pub(in super::super) const HEXISTS: Command<Run> = row(
    Spec {
        name: "hexists",
        arity: 3,
        uses: KeyUses::Each(KeyUse::EXAMINES),
        element: ElementAt::Index(2),
        summary: "Answers whether a hash has a field.",
        syntax: "key field",
        reply: &[ReplyShape::Integer],
        ..READS
    },
    |ctx, args, reply| {
        let (name, now_ms) = (&args[2], ctx.now_ms);
        let found = read_fields(ctx, &args[1], [name].into_iter(), |hash| {
            hash.is_some_and(|hash| hash.field(name, now_ms).is_some())
        })?;
        reply.int(i64::from(found));
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const HSTRLEN: Command<Run> = row(
    Spec {
        name: "hstrlen",
        since: "3.2.0",
        summary: "Answers how many bytes the value of a field has, 0 if it is not there.",
        ..HEXISTS.spec
    },
    |ctx, args, reply| {
        let (name, now_ms) = (&args[2], ctx.now_ms);
        let len = read_fields(ctx, &args[1], [name].into_iter(), |hash| {
            let value = hash.and_then(|hash| hash.get(name, now_ms));
            value.map_or(0, |value| value.text().len())
        })?;
        reply.int(len as i64);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const HLEN: Command<Run> = row(
    Spec {
        name: "hlen",
        arity: 2,
        element: ElementAt::None,
        summary: "Answers how many fields a hash has; one that has just expired may be among them.",
        syntax: "key",
        ..HEXISTS.spec
    },
    |ctx, args, reply| {
        reply.int(read_hash(ctx, &args[1])?.map_or(0, HashRef::len) as i64);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const HGETALL: Command<Run> = row(
    Spec {
        name: "hgetall",
        arity: 2,
        flags: Flags::READONLY,
        complexity: "O(N) for N fields",
        summary: "Answers every field of a hash with its value.",
        syntax: "key",
        reply: &[ReplyShape::Map],
        tips: &["nondeterministic_output_order"],
        ..READS
    },
    |ctx, args, reply| all(ctx, args, reply, Shown::Fields),
);

pub(in super::super) const HKEYS: Command<Run> = row(
    Spec {
        name: "hkeys",
        summary: "Answers the name of every field of a hash.",
        reply: &[ReplyShape::Array],
        ..HGETALL.spec
    },
    |ctx, args, reply| all(ctx, args, reply, Shown::Names),
);

pub(in super::super) const HVALS: Command<Run> = row(
    Spec { name: "hvals", summary: "Answers the value of every field of a hash.", ..HKEYS.spec },
    |ctx, args, reply| all(ctx, args, reply, Shown::Values),
);

fn hget(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (name, now_ms) = (&args[2], ctx.now_ms);
    read_fields(ctx, &args[1], [name].into_iter(), |hash| {
        write_or_null(reply, hash.and_then(|hash| hash.get(name, now_ms)));
    })?;
    Ok(Outcome::Replied)
}

fn hmget(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let names = texts(args, 2);
    read_fields(ctx, &args[1], names.clone(), |hash| {
        reply.array(names.len());
        names.for_each(|name| write_or_null(reply, hash.and_then(|hash| hash.get(name, now_ms))));
    })?;
    Ok(Outcome::Replied)
}

/// What of every field is answered.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Fields,
    Names,
    Values,
}

impl Shown {
    fn begin(self, reply: &mut Reply<'_>, len: usize) {
        match self {
            Shown::Fields => reply.map(len),
            Shown::Names | Shown::Values => reply.array(len),
        }
    }

    #[inline]
    fn write(self, reply: &mut Reply<'_>, field: Field<'_>) {
        if matches!(self, Shown::Fields | Shown::Names) {
            write_element(reply, field.name);
        }
        if matches!(self, Shown::Fields | Shown::Values) {
            write_element(reply, field.value);
        }
    }
}

fn all(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, shown: Shown) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let Some(hash) = read_hash(ctx, &args[1])? else {
        shown.begin(reply, 0);
        return Ok(Outcome::Replied);
    };
    caller.check_elements(&hash, hash.len(), hash.len())?;
    if caller.may_yield && hash.len() >= LONG_MIN {
        return Ok(Outcome::Long(Box::new(LongFields { hash: hash.to_hash(), now_ms, shown, next: 0 })));
    }
    shown.begin(reply, hash.live_len(now_ms));
    hash.fields(now_ms).for_each(|field| shown.write(reply, field));
    Ok(Outcome::Replied)
}

/// Every field of a large hash, its parts one after the other.
#[derive(Debug)]
struct LongFields {
    hash: Hash,
    now_ms: u64,
    shown: Shown,
    /// Where the part is that comes next.
    next: usize,
}

impl Steps for LongFields {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        let LongFields { hash, now_ms, shown, next } = self;
        if *next == 0 {
            shown.begin(reply, hash.view().live_len(*now_ms));
        }
        hash.view().visit_part(next, *now_ms, |field| shown.write(reply, field))
    }
}
