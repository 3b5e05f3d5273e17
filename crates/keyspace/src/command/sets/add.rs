//! SADD and SREM.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const SADD: Command<Run> = row(
    Spec {
        name: "sadd",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::ADDS),
        element: ElementAt::Index(2),
        complexity: "O(1) for each member",
        summary: "Adds members to a set, which the first one creates; answers how many are new.",
        syntax: "key member [member ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    |ctx, args, reply| {
        let names = args.from(2);
        let added = ctx
            .slot(&args[1])
            .edit(event::SADD, |set: &mut Set, edits| set.add(names.iter(), names.len(), edits))?;
        reply.int(added as i64);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SREM: Command<Run> = row(
    Spec {
        name: "srem",
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        summary: "Removes members from a set, which goes with the last one; answers how many were there.",
        ..SADD.spec
    },
    |ctx, args, reply| {
        let names = args.from(2);
        let gone =
            ctx.slot(&args[1]).edit(event::SREM, |set: &mut Set, edits| set.discard(names.iter(), edits))?;
        reply.int(gone as i64);
        Ok(Outcome::Replied)
    },
);
