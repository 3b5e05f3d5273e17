//! XPENDING.

use super::*;
use crate::stream::Pending;

pub(in crate::command) const XPENDING: Command<Run> = row(
    Spec {
        name: "xpending",
        arity: -3,
        flags: Flags::READONLY,
        complexity: "O(log N + M) for M entries answered, or consumers, of N pending",
        summary: "Answers what is pending in a group: how much and for whom, or entry by entry.",
        syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    xpending,
);

/// The arguments of the form that lists entries.
struct Listing<'a> {
    min_idle_ms: i64,
    start: EntryId,
    end: EntryId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listing<'a> {
    fn read(args: Args<'a>) -> Result<Listing<'a>, Error> {
        let mut at = 3;
        let mut min_idle_ms = 0;
        if is(&args[3], "IDLE") {
            // The shortest that would be well formed is `key group IDLE ms start end count`.
            if args.len() == 4 {
                return Err(Error::Syntax);
            }
            min_idle_ms = integer_at(args, 4)?;
            if args.len() < 8 {
                return Err(Error::Syntax);
            }
            at = 5;
        }
        if args.len() < at + 3 {
            return Err(Error::Syntax);
        }
        let count = integer_at(args, at + 2)?;
        let start = range::start_at(args, at)?;
        let end = range::end_at(args, at + 1)?;
        // Fewer than none are none.
        let count = usize::try_from(count).unwrap_or(0);
        Ok(Listing { min_idle_ms, start, end, count, consumer: args.get(at + 3) })
    }

    /// How many pending entries it looks at, as far as it matters.
    fn work(&self, group: &ConsumerGroup) -> usize {
        let pending = group.pending();
        let within = |id: &EntryId| *id <= self.end;
        // Of those that have not been idle for long enough none is counted.
        let most = if self.min_idle_ms > 0 { APART_MIN } else { self.count.min(APART_MIN) };
        match self.consumer.map(|name| group.consumer_id(name)) {
            None => pending.from(self.start).map(|(id, _)| id).take_while(within).take(most).count(),
            Some(Some(owner)) => pending.ids_of(owner, self.start).take_while(within).take(most).count(),
            Some(None) => 0,
        }
    }
}

fn xpending(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() != 3 && (args.len() < 6 || args.len() > 9) {
        return Err(Error::Syntax);
    }
    let listing = if args.len() == 3 { None } else { Some(Listing::read(args)?) };
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let group = group_of(read_stream(ctx, &args[1])?, &args[1], &args[2])?;
    caller.check_work(match &listing {
        None => group.consumers_len(),
        Some(listing) => listing.work(group),
    })?;
    match listing {
        None => write_summary(reply, group),
        Some(listing) => write_listing(reply, group, &listing, now_ms),
    }
    Ok(Outcome::Replied)
}

fn write_summary(reply: &mut Reply<'_>, group: &ConsumerGroup) {
    let pending = group.pending();
    reply.array(4);
    reply.int(pending.len() as i64);
    match (pending.first(), pending.last()) {
        (Some(first), Some(last)) => {
            write_id(reply, first);
            write_id(reply, last);
            let owners = || group.consumers().filter(|&(id, _)| pending.len_of(id) > 0);
            reply.array(owners().count());
            for (id, consumer) in owners() {
                reply.array(2);
                reply.bulk(&consumer.name);
                reply.bulk_int(pending.len_of(id) as i64);
            }
        }
        _ => {
            reply.null();
            reply.null();
            reply.null_array();
        }
    }
}

fn write_listing(reply: &mut Reply<'_>, group: &ConsumerGroup, listing: &Listing<'_>, now_ms: u64) {
    let pending = group.pending();
    let owner = listing.consumer.map(|name| group.consumer_id(name));
    let ids: Box<dyn Iterator<Item = EntryId>> = match owner {
        None => Box::new(pending.from(listing.start).map(|(id, _)| id)),
        Some(Some(owner)) => Box::new(pending.ids_of(owner, listing.start)),
        Some(None) => Box::new(std::iter::empty()),
    };
    let idle_enough =
        |known: Pending| known.consumer.is_none() || known.idle_ms(now_ms) >= listing.min_idle_ms;
    let known = ids
        .take_while(|&id| id <= listing.end)
        .filter_map(|id| pending.get(id).map(|known| (id, known)))
        .filter(|&(_, known)| idle_enough(known))
        .take(listing.count);
    let header = reply.array_deferred();
    let mut count = 0;
    for (id, known) in known {
        reply.array(4);
        write_id(reply, id);
        reply.bulk(group.consumer_name(known.consumer));
        reply.int(known.idle_ms(now_ms));
        reply.int(known.deliveries as i64);
        count += 1;
    }
    reply.array_finish(header, count);
}
