//! DIGEST and DELEX, and the conditions that DELEX and SET have in common.

use super::*;
use crate::string::{Text, digest};
use crate::wait::Caller;
use sterna_command::{KeyUse, KeyUses};

/// Bytes that are as much work as an element (`Caller::check_work`).
const BYTES_PER_ELEMENT: usize = 256;

pub(super) const DIGEST: Command<Run> = row(
    Spec {
        name: "digest",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::at(1),
        acl: Categories::STRING,
        group: Group::String,
        since: "8.4.0",
        complexity: "O(N) for a string of N bytes",
        summary: "Answers the XXH3 hash of the string under a key, 64 bits in hexadecimal.",
        syntax: "key",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &[],
        ..Spec::PLAIN
    },
    |ctx, args, reply| {
        let caller = ctx.caller;
        match ctx.read(&args[1]) {
            Some(value) => {
                let text = value.text().ok_or(Error::WrongType)?;
                caller.check_work(text.len() / BYTES_PER_ELEMENT)?;
                reply.bulk(&hexadecimal(&text));
            }
            None => reply.null(),
        }
        Ok(Outcome::Replied)
    },
);

pub(super) const DELEX: Command<Run> = row(
    Spec {
        name: "delex",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::WithWord {
            words: &["IFEQ", "IFNE", "IFDEQ", "IFDNE"],
            from: 2,
            with: KeyUse::DELETES_FROM,
            without: KeyUse::REMOVES,
        },
        complexity: "O(1) amortised; O(N) with IFDEQ or IFDNE for a string of N bytes",
        summary: "Deletes a key if the string under it, or its hash, is or is not the one given.",
        syntax: "key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]",
        reply: &[ReplyShape::Integer],
        ..DIGEST.spec
    },
    delex,
);

/// A condition on the string that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison<'a> {
    /// What it is compared with.
    pub(super) with: &'a [u8],
    /// Whether it is to be that, or anything else.
    pub(super) wants_equal: bool,
    /// Whether it is its hash that is compared.
    of_digests: bool,
}

/// Digits of a hash.
const DIGEST_BYTES: usize = 16;

impl<'a> Comparison<'a> {
    /// The comparison that an option names.
    pub(super) fn of(option: &[u8], with: &'a [u8]) -> Option<Comparison<'a>> {
        let options =
            [("ifeq", true, false), ("ifne", false, false), ("ifdeq", true, true), ("ifdne", false, true)];
        options
            .into_iter()
            .find(|(name, ..)| is(option, name))
            .map(|(_, wants_equal, of_digests)| Comparison { with, wants_equal, of_digests })
    }

    pub(super) fn holds(&self, text: &Text<'_>, caller: Caller) -> Result<bool, Error> {
        if self.of_digests {
            caller.check_work(text.len() / BYTES_PER_ELEMENT)?;
        }
        let equal = if !self.of_digests {
            text.is(self.with)
        } else if self.with.len() == DIGEST_BYTES {
            hexadecimal(text).eq_ignore_ascii_case(self.with)
        } else {
            return Err(Error::DigestLength);
        };
        Ok(equal == self.wants_equal)
    }
}

fn delex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if !matches!(args.len(), 2 | 4) {
        return Err(Error::Arity { command: "delex" });
    }
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    let holds = match (slot.value(), args.get(2), args.get(3)) {
        (None, ..) => false,
        (Some(value), Some(option), Some(with)) => {
            let text = value.text().ok_or(Error::ConditionOnOtherType)?;
            Comparison::of(option, with).ok_or(Error::InvalidCondition)?.holds(&text, caller)?
        }
        (Some(_), ..) => true,
    };
    reply.int(i64::from(holds && slot.delete(event::DEL)));
    Ok(Outcome::Replied)
}

fn hexadecimal(text: &Text<'_>) -> [u8; DIGEST_BYTES] {
    let hash = digest(text);
    std::array::from_fn(|at| b"0123456789abcdef"[(hash >> (60 - 4 * at)) as usize & 0xf])
}
