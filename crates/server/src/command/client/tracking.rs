//! CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR: client-side caching, as `tracking/` does it.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{Command, Flags, Place, ReplyShape, Spec};
use sterna_protocol::{Args, argument};

use super::super::table::Row;
use super::super::{Call, Failure, Run};
use super::{BASE, row};
use crate::connection::Connection;
use crate::connection::client::{ClientId, mark};
use crate::connection::tracking::{Mode, Reads};
use crate::limits::PREFIXES_BYTES_MAX;
use crate::server::Server;

pub(super) const TRACKING: Command<Run> = row(
    Spec {
        name: "tracking",
        arity: -3,
        since: "6.0.0",
        complexity: "O(1), and O(N) for N prefixes",
        summary: "Has the server tell this connection, or another one, which of the keys it read have changed; each prefix has a PREFIX of its own.",
        syntax: "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        place: Place::Tracking,
        flags: BASE.flags.union(Flags::TRACKS),
        ..BASE
    },
    tracking,
);

pub(super) const CACHING: Command<Run> = row(
    Spec {
        name: "caching",
        arity: 3,
        since: "6.0.0",
        summary: "Has the keys of the next command or transaction remembered (OPTIN) or not remembered (OPTOUT).",
        syntax: "<YES | NO>",
        place: Place::Tracking,
        ..BASE
    },
    caching,
);

pub(super) const TRACKINGINFO: Command<Run> = row(
    Spec {
        name: "trackinginfo",
        since: "6.2.0",
        summary: "Answers how this connection tracks.",
        reply: &[ReplyShape::Map],
        place: Place::Tracking,
        ..BASE
    },
    tracking_info,
);

pub(super) const GETREDIR: Command<Run> = row(
    Spec {
        name: "getredir",
        since: "6.0.0",
        summary: "Answers which connection gets this one's invalidation messages: 0 if it does itself, -1 if it \
                  doesn't track.",
        reply: &[ReplyShape::Integer],
        place: Place::Tracking,
        ..BASE
    },
    |call| {
        let redirect = call.connection().client.redirect.load(Relaxed);
        call.reply.int(redirect);
        Ok(())
    },
);

/// The options of CLIENT TRACKING.
#[derive(Debug, Default)]
struct Options<'a> {
    redirect: Option<ClientId>,
    prefixes: Vec<&'a [u8]>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
}

impl<'a> Options<'a> {
    fn parse(words: Args<'a>, server: &Server) -> Result<Options<'a>, Failure> {
        let mut options = Options::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let is = |name: &str| argument::eq_ignore_case(word, name);
            let value = words.get(at + 1);
            match value {
                Some(id) if is("REDIRECT") => {
                    if options.redirect.is_some() {
                        return Err(Failure::of("ERR A client can only redirect to a single other client"));
                    }
                    options.redirect = target(id, server)?;
                    at += 1;
                }
                Some(prefix) if is("PREFIX") => {
                    options.prefixes.push(prefix);
                    at += 1;
                }
                _ if is("BCAST") => options.broadcast = true,
                _ if is("OPTIN") => options.opt_in = true,
                _ if is("OPTOUT") => options.opt_out = true,
                _ if is("NOLOOP") => options.no_loop = true,
                _ => return Err(Failure::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// Whether they go together, and with how the connection tracks already. What is wrong is said in Redis's order.
    fn check(&self, old: Option<&Mode>) -> Result<(), Failure> {
        let failure = |text| Err(Failure::of(text));
        if !self.broadcast && !self.prefixes.is_empty() {
            return failure("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if old.is_some_and(|old| old.is_broadcast() != self.broadcast) {
            return failure(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            );
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return failure("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.opt_in && self.opt_out {
            return failure("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        match old.map(|old| &old.reads) {
            Some(Reads::OptOut) if self.opt_in => failure(SWITCHED),
            Some(Reads::OptIn) if self.opt_out => failure(SWITCHED),
            Some(Reads::Broadcast(had)) => self.check_prefixes(had),
            _ => self.check_prefixes(&BTreeSet::new()),
        }
    }

    /// No prefix may begin with another: the client would be told of a key twice.
    fn check_prefixes(&self, had: &BTreeSet<Box<[u8]>>) -> Result<(), Failure> {
        if had.len() + self.prefixes.len() > PREFIXES_MAX {
            return Err(Failure::text(format!("ERR too many prefixes: a client has at most {PREFIXES_MAX}")));
        }
        let lens =
            had.iter().map(|prefix| prefix.len()).chain(self.prefixes.iter().map(|prefix| prefix.len()));
        if lens.sum::<usize>() > PREFIXES_BYTES_MAX {
            return Err(Failure::of("ERR the prefixes of a client may have 4 MiB at most"));
        }
        let Some(at) = self.first_overlap(had) else { return Ok(()) };
        let prefix = self.prefixes[at];
        let overlap = |other: &[u8]| prefix.starts_with(other) || other.starts_with(prefix);
        let existing = had.iter().map(|other| &**other).find(|other| overlap(other));
        let provided = || self.prefixes[at + 1..].iter().copied().find(|other| overlap(other));
        if let Some((other, which)) = existing
            .map(|other| (other, "an existing"))
            .or_else(|| provided().map(|other| (other, "another provided")))
        {
            let parts: [&[u8]; 7] = [
                b"ERR Prefix '",
                prefix,
                b"' overlaps with ",
                which.as_bytes(),
                b" prefix '",
                other,
                b"'. Prefixes for a single client must not overlap.",
            ];
            return Err(Failure::text(parts.concat()));
        }
        Ok(())
    }

    /// The first prefix that overlaps with one in `had` or with one behind it. Cost: O(N log N), N prefixes.
    fn first_overlap(&self, had: &BTreeSet<Box<[u8]>>) -> Option<usize> {
        // What follows the prefix at hand, without those that begin with another: whatever overlaps with them overlaps
        // with that one too.
        let mut behind: BTreeSet<&[u8]> = BTreeSet::new();
        let mut first = None;
        for (at, &prefix) in self.prefixes.iter().enumerate().rev() {
            if overlaps(had, prefix) || overlaps(&behind, prefix) {
                first = Some(at);
            }
            let is_covered =
                behind.range(..=prefix).next_back().is_some_and(|other| prefix.starts_with(other));
            if !is_covered {
                while let Some(&longer) =
                    behind.range(prefix..).next().filter(|other| other.starts_with(prefix))
                {
                    behind.remove(longer);
                }
                behind.insert(prefix);
            }
        }
        first
    }

    fn reads(&self) -> Reads {
        match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) if self.prefixes.is_empty() => Reads::Broadcast(BTreeSet::from([Box::default()])),
            (true, ..) => Reads::Broadcast(self.prefixes.iter().map(|&prefix| prefix.into()).collect()),
            (_, true, _) => Reads::OptIn,
            (_, _, true) => Reads::OptOut,
            _ => Reads::All,
        }
    }
}

/// Whether one of `prefixes`, none of which begins with another, begins with `prefix` or is the beginning of it.
fn overlaps<P: Borrow<[u8]> + Ord>(prefixes: &BTreeSet<P>, prefix: &[u8]) -> bool {
    let before = prefixes.range::<[u8], _>((Unbounded, Included(prefix))).next_back();
    let after = prefixes.range::<[u8], _>((Included(prefix), Unbounded)).next();
    before.is_some_and(|other| prefix.starts_with(other.borrow()))
        || after.is_some_and(|other| other.borrow().starts_with(prefix))
}

/// Prefixes that a client may have broadcast to it.
const PREFIXES_MAX: usize = 10_000;

const SWITCHED: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                        re-enabling it with a different mode.";

/// The client to redirect to: there now, though it may go later.
fn target(id: &[u8], server: &Server) -> Result<Option<ClientId>, Failure> {
    let id = argument::int(id).ok_or(Failure::NOT_INTEGER)?;
    let id = ClientId::try_from(id).ok().filter(|&id| server.client(id).is_some());
    id.map(Some).ok_or(Failure::of("ERR The client ID you want redirect to does not exist"))
}

fn tracking(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let options = Options::parse(args.from(3), call.server())?;
    if argument::eq_ignore_case(&args[2], "ON") {
        let old = call.connection().tracking.as_deref();
        options.check(old)?;
        let is_caching = old.is_some_and(|old| old.is_caching);
        let mode = Mode {
            redirect: options.redirect,
            no_loop: options.no_loop,
            prefix_bytes: 0,
            reads: options.reads(),
            is_caching,
        };
        call.shard.track(call.slot, mode);
    } else if argument::eq_ignore_case(&args[2], "OFF") {
        call.shard.untrack(call.slot);
    } else {
        return Err(Failure::SYNTAX);
    }
    call.reply.ok();
    Ok(())
}

fn caching(call: &mut Call<'_>) -> Result<(), Failure> {
    let word = &call.args[2];
    let Some(mode) = &mut call.shard.connections[call.slot].tracking else {
        return Err(Failure::of(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    let (fits, failure) = if argument::eq_ignore_case(word, "YES") {
        let failure = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
        (mode.reads == Reads::OptIn, failure)
    } else if argument::eq_ignore_case(word, "NO") {
        let failure = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
        (mode.reads == Reads::OptOut, failure)
    } else {
        return Err(Failure::SYNTAX);
    };
    if !fits {
        return Err(Failure::of(failure));
    }
    mode.is_caching = true;
    call.reply.ok();
    Ok(())
}

impl Connection {
    /// What CLIENT CACHING asked for is over with the next command, or transaction; another CLIENT command is not one.
    pub(in super::super) fn end_caching(&mut self, row: Option<&Row>) {
        let is_over = !self.in_multi() && !row.is_some_and(|row| row.has(Flags::KEEPS_CACHING));
        if let Some(mode) = &mut self.tracking
            && is_over
        {
            mode.is_caching = false;
        }
    }
}

fn tracking_info(call: &mut Call<'_>) -> Result<(), Failure> {
    let connection = &call.shard.connections[call.slot];
    let reply = &mut call.reply;
    let mode = connection.tracking.as_deref();
    let mut flags = vec![if mode.is_some() { "on" } else { "off" }];
    let mut prefixes = &BTreeSet::new();
    if let Some(mode) = mode {
        match &mode.reads {
            Reads::All => {}
            Reads::Broadcast(asked_for) => {
                flags.push("bcast");
                prefixes = asked_for;
            }
            Reads::OptIn => {
                flags.extend(["optin"].into_iter().chain(mode.is_caching.then_some("caching-yes")))
            }
            Reads::OptOut => {
                flags.extend(["optout"].into_iter().chain(mode.is_caching.then_some("caching-no")))
            }
        }
        flags.extend(mode.no_loop.then_some("noloop"));
        flags.extend(connection.client.has_mark(mark::TRACKING_BROKEN).then_some("broken_redirect"));
    }
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(connection.client.redirect.load(Relaxed));
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_overlap_is_the_one_that_comparing_all_with_all_finds(
            had in prop::collection::vec("[ab]{0,4}", 0..3),
            prefixes in prop::collection::vec("[ab]{0,5}", 0..8),
        ) {
            let overlap = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
            // As the server holds them: none begins with another.
            let had: Vec<&String> = had.iter().enumerate()
                .filter(|(at, one)| had[..*at].iter().all(|other| !overlap(one, other)))
                .map(|(_, one)| one)
                .collect();
            let expected = (0..prefixes.len()).find(|&at| {
                let mut others = had.iter().map(|one| one.as_str()).chain(prefixes[at + 1..].iter().map(|p| p.as_str()));
                others.any(|other| overlap(&prefixes[at], other))
            });
            let options = Options { prefixes: prefixes.iter().map(|p| p.as_bytes()).collect(), ..Options::default() };
            let had = had.iter().map(|one| one.as_bytes().into()).collect();
            prop_assert_eq!(options.first_overlap(&had), expected);
        }
    }
}
