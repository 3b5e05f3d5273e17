//! SUBSCRIBE, PUBLISH and their kin, and PUBSUB.
//!
//! The order of steps is the directory's (see `directory.rs`): a subscriber is in its shard's index, then counted in
//! the directory, then confirmed; and before it is, the shard has delivered the messages already in its mail.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{
    Categories, Channels, Command, Flags, Group, KeyUse, KeyUses, Keys, Place, ReplyShape, Spec,
};
use sterna_keyspace::Stride;
use sterna_protocol::frame::{self, Confirmation};
use sterna_protocol::{Args, Reply};
use sterna_pubsub::Kind;

use super::nodes::names;
use super::retention::check_length;
use super::table::Row;
use super::{Call, Failure, Run, help::help};
use crate::connection::Connection;
use crate::connection::client::mark;
use crate::directory::STRIPES;
use crate::nodes::{BucketSet, ChannelKind, Question, bucket_of};
use crate::parcel::Namespace;
use crate::shard::Shard;
use crate::shard::long::Prepared;
use crate::shard::parts::{PART_BYTES, PART_SUBSCRIPTIONS, PART_WALK, PartEnd, WHOLE_BYTES, Walk};

const SUBSCRIPTION: Flags = Flags::PUBSUB
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::SUBSCRIBER_MODE)
    .union(Flags::IN_PARTS);
const PUBLICATION: Flags =
    Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::MAY_REPLICATE);
const QUESTION: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE).union(Flags::ASKS_NODES);

const BASE: Spec = Spec {
    name: "",
    arity: -2,
    flags: SUBSCRIPTION,
    keys: Keys::None,
    acl: Categories::PUBSUB,
    group: Group::Pubsub,
    since: "2.0.0",
    complexity: "",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Push],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "subscribe",
            channels: Channels::Subscribed,
            complexity: "O(N), N channels",
            summary: "Listens to channels.",
            syntax: "channel [channel ...]",
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| subscribe(call, Kind::Channel)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "unsubscribe",
            arity: -1,
            flags: SUBSCRIPTION.union(Flags::LISTS),
            complexity: "O(N), N channels",
            summary: "Stops listening to channels; to all of them if none is named.",
            syntax: "[channel [channel ...]]",
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| unsubscribe(call, Kind::Channel)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "psubscribe",
            channels: Channels::SubscribedPatterns,
            complexity: "O(N * L), N patterns of L bytes; independent of other patterns",
            summary: "Listens to every channel that matches a pattern.",
            syntax: "pattern [pattern ...]",
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| subscribe(call, Kind::Pattern)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "punsubscribe",
            arity: -1,
            flags: SUBSCRIPTION.union(Flags::LISTS),
            complexity: "O(N * L), N patterns of L bytes",
            summary: "Stops listening to patterns; to all of them if none is named.",
            syntax: "[pattern [pattern ...]]",
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| unsubscribe(call, Kind::Pattern)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "ssubscribe",
            since: "7.0.0",
            complexity: "O(N), N channels",
            summary: "Listens to sharded channels.",
            syntax: "shardchannel [shardchannel ...]",
            keys: Keys::from(1),
            uses: KeyUses::Each(KeyUse::NOT_KEY),
            channels: Channels::Subscribed,
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| subscribe(call, Kind::Sharded)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "sunsubscribe",
            arity: -1,
            flags: SUBSCRIPTION.union(Flags::LISTS),
            since: "7.0.0",
            complexity: "O(N), N channels",
            summary: "Stops listening to sharded channels; to all of them if none is named.",
            syntax: "[shardchannel [shardchannel ...]]",
            keys: Keys::from(1),
            uses: KeyUses::Each(KeyUse::NOT_KEY),
            place: Place::Connection,
            ..BASE
        },
        run: Some(|call| unsubscribe(call, Kind::Sharded)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "publish",
            arity: 3,
            channels: Channels::Published,
            flags: PUBLICATION.union(Flags::RETAINS),
            complexity: "O(N + M), N deliveries and M matching patterns; patterns that don't match cost nothing",
            summary: "Sends a message to all who listen to a channel, and answers how many that were.",
            syntax: "channel message",
            reply: &[ReplyShape::Integer],
            ..BASE
        },
        run: Some(|call| publish(call, Namespace::Channels)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "spublish",
            arity: 3,
            since: "7.0.0",
            flags: PUBLICATION,
            keys: Keys::at(1),
            uses: KeyUses::Each(KeyUse::NOT_KEY),
            channels: Channels::Published,
            complexity: "O(N), N deliveries",
            summary: "Sends a message to all who listen to a sharded channel, and answers how many that were.",
            syntax: "shardchannel message",
            reply: &[ReplyShape::Integer],
            ..BASE
        },
        run: Some(|call| publish(call, Namespace::Sharded)),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "pubsub",
            since: "2.8.0",
            flags: Flags::empty(),
            acl: Categories::empty(),
            complexity: "Depends on the subcommand.",
            summary: "Tells which channels and patterns have subscribers.",
            reply: &[],
            ..BASE
        },
        run: None,
        subcommands: &[
            Command {
                spec: Spec {
                    name: "channels",
                    since: "2.8.0",
                    flags: QUESTION.union(Flags::LISTS),
                    complexity: "O(N), N channels with subscribers",
                    summary: "Lists the channels with subscribers, all or those that match a pattern.",
                    syntax: "[pattern]",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(|call| channels(call, Namespace::Channels)),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "help",
                    arity: 2,
                    since: "6.2.0",
                    flags: Flags::LOADING.union(Flags::STALE),
                    acl: Categories::empty(),
                    complexity: "O(1)",
                    summary: "Prints this text.",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(help),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "numpat",
                    arity: 2,
                    since: "2.8.0",
                    flags: QUESTION,
                    complexity: "O(1)",
                    summary: "Counts the different patterns that are listened to.",
                    reply: &[ReplyShape::Integer],
                    ..BASE
                },
                run: Some(|call| {
                    let here = call.server().directory.patterns.len();
                    let elsewhere = call.shard.counts_elsewhere(call.slot, 1).iter().sum::<u64>();
                    call.reply.int((here as u64).saturating_add(elsewhere) as i64);
                    Ok(())
                }),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "numsub",
                    since: "2.8.0",
                    flags: QUESTION.union(Flags::IN_PARTS),
                    complexity: "O(N), N named channels",
                    summary: "Counts the subscribers of channels, without those of patterns.",
                    syntax: "[channel [channel ...]]",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(|call| numsub(call, Namespace::Channels)),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "shardchannels",
                    since: "7.0.0",
                    flags: QUESTION.union(Flags::LISTS),
                    complexity: "O(N), N sharded channels with subscribers",
                    summary: "Lists the sharded channels with subscribers, all or those that match a pattern.",
                    syntax: "[pattern]",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(|call| channels(call, Namespace::Sharded)),
                subcommands: &[],
            },
            Command {
                spec: Spec {
                    name: "shardnumsub",
                    since: "7.0.0",
                    flags: QUESTION.union(Flags::IN_PARTS),
                    complexity: "O(N), N named channels",
                    summary: "Counts the subscribers of sharded channels.",
                    syntax: "[shardchannel [shardchannel ...]]",
                    reply: &[ReplyShape::Array],
                    ..BASE
                },
                run: Some(|call| numsub(call, Namespace::Sharded)),
                subcommands: &[],
            },
        ],
    },
];

fn publish(call: &mut Call<'_>, space: Namespace) -> Result<(), Failure> {
    let retained = if call.in_exec { None } else { call.shard.retained(call.row, call.args) };
    let is_kept = retained.is_some();
    if is_kept {
        check_length(&call.args[2])?;
    }
    if match call.in_exec {
        true => call.shard.postpones_message(space, call.args),
        false => call.shard.makes_frames_first(call.slot, call.row, space, call.args, is_kept),
    } {
        return Ok(());
    }
    let deliveries = match retained {
        Some(key) => call.shard.publish_and_keep(call.slot, &key, call.args)?,
        None => call.shard.publish(space, &call.args[1], &call.args[2]),
    };
    call.reply.int(deliveries as i64);
    Ok(())
}

impl Shard {
    /// Publishes the message of a PUBLISH whose frames have been made. What it answers goes to `out`.
    pub(crate) fn publish_prepared(
        &mut self,
        slot: usize,
        row: &'static Row,
        (space, args): (Namespace, Args<'_>),
        prepared: &mut Prepared,
        out: &mut Vec<u8>,
    ) -> PartEnd {
        let retained = self.retained(row, args);
        if retained.is_some() && self.server.scripts.is_busy() {
            return PartEnd::KeysTaken;
        }
        // The user's rules may have changed since the request was let in.
        let allowed = self.check_rights(slot, row, args);
        let published = allowed.and_then(|()| {
            self.with_frames(&args[1], prepared, |shard| match retained {
                Some(key) => shard.publish_and_keep(slot, &key, args),
                None => Ok(shard.publish(space, &args[1], &args[2])),
            })
        });
        if published.as_ref().is_err_and(Failure::is_put_off) {
            return PartEnd::KeysTaken;
        }
        let proto = self.connections[slot].proto;
        match published {
            Ok(deliveries) => {
                Reply::new(out, proto).int(deliveries as i64);
                PartEnd::Done
            }
            Err(failure) => {
                self.count_error(failure.wire());
                Reply::new(out, proto).error(failure.wire());
                PartEnd::Failed
            }
        }
    }
}

fn subscribe(call: &mut Call<'_>, kind: Kind) -> Result<(), Failure> {
    // Source: Redis; SUBSCRIBE and PSUBSCRIBE are let through for the sake of old clients.
    if call.in_exec && kind == Kind::Sharded {
        return Err(Failure::of("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    // What has been published before, in the same transaction even, is for those who were there.
    call.shard.end_run();
    if call.in_exec {
        call.shard.receive_published(None);
    }
    let proto = call.reply.proto;
    let has_past = call.connection().resumption.is_some();
    let missed = match has_past {
        true => call.shard.missed_beside(call.slot, kind, call.args.from(1).iter()),
        false => Vec::new(),
    };
    for name in call.args.iter().skip(1) {
        call.shard.join(call.slot, kind, name);
        let count = count_of(call.connection(), kind);
        frame::confirmation(call.reply.out, proto, joined(kind), Some(name), count);
    }
    call.connection().note_subscriptions();
    if has_past {
        call.shard.inherit(call.slot, kind, call.args.from(1).iter());
        call.shard.current.deferred.extend(missed);
    }
    Ok(())
}

fn unsubscribe(call: &mut Call<'_>, kind: Kind) -> Result<(), Failure> {
    call.shard.end_run();
    if call.in_exec {
        call.shard.receive_published(None);
    }
    if call.connection().resumption.is_some() {
        let names = (call.args.len() > 1).then(|| call.args.from(1).iter());
        call.shard.disinherit(call.slot, kind, names);
    }
    let proto = call.reply.proto;
    let kinds: &'static [Kind] = match kind {
        Kind::Channel => &[Kind::Channel],
        Kind::Pattern => &[Kind::Pattern],
        Kind::Sharded => &[Kind::Sharded],
    };
    if call.args.len() == 1
        && call.may_take_parts()
        && call.shard.leaves_in_parts(call.slot, call.row, kinds, true)
    {
        return Ok(());
    }
    if call.args.len() > 1 {
        for name in call.args.iter().skip(1) {
            call.shard.leave(call.slot, kind, name);
            let count = count_of(call.connection(), kind);
            frame::confirmation(call.reply.out, proto, left(kind), Some(name), count);
        }
    } else {
        let names: Vec<Arc<[u8]>> = call.connection().subscriptions.iter(kind).cloned().collect();
        for name in &names {
            call.shard.leave(call.slot, kind, name);
            let count = count_of(call.connection(), kind);
            frame::confirmation(call.reply.out, proto, left(kind), Some(name), count);
        }
        if names.is_empty() {
            let count = count_of(call.connection(), kind);
            frame::confirmation(call.reply.out, proto, left(kind), None, count);
        }
    }
    call.connection().note_subscriptions();
    Ok(())
}

/// The running count of a confirmation: channels and patterns together, sharded channels apart.
fn count_of(connection: &Connection, kind: Kind) -> usize {
    match kind {
        Kind::Sharded => connection.subscriptions.len(Kind::Sharded),
        Kind::Channel | Kind::Pattern => connection.subscriptions.count(),
    }
}

fn joined(kind: Kind) -> Confirmation {
    match kind {
        Kind::Channel => Confirmation::Subscribe,
        Kind::Pattern => Confirmation::Psubscribe,
        Kind::Sharded => Confirmation::Ssubscribe,
    }
}

fn left(kind: Kind) -> Confirmation {
    match kind {
        Kind::Channel => Confirmation::Unsubscribe,
        Kind::Pattern => Confirmation::Punsubscribe,
        Kind::Sharded => Confirmation::Sunsubscribe,
    }
}

fn channels(call: &mut Call<'_>, space: Namespace) -> Result<(), Failure> {
    if call.args.len() > 3 {
        return Err(unknown_or_arity(call));
    }
    let pattern = call.args.get(2);
    let directory = call.shard.directory_of(space);
    let mut stride = Stride::new(PART_WALK, WHOLE_BYTES, pattern);
    let is_long = !stride.has_room(directory.len(), directory.name_bytes());
    if call.may_take_parts() && (is_long || call.shard.has_many_names(call.slot)) {
        let elsewhere = call.shard.names_elsewhere(call.slot);
        let walk = Walk::Channels {
            space,
            pattern: pattern.map(Box::from),
            stripe: 0,
            of_stripe: Vec::new(),
            elsewhere,
        };
        call.shard.walk_in_parts(call.slot, call.row, walk);
        return Ok(());
    }
    let mut names = Vec::new();
    for stripe in 0..STRIPES {
        call.shard.directory_of(space).for_each_in(stripe, |name| {
            if stride.wants(name) {
                names.push(Arc::clone(name));
            }
        });
    }
    let elsewhere = call.shard.names_elsewhere(call.slot);
    call.reply.array(names.len() + elsewhere.iter().map(Vec::len).sum::<usize>());
    for name in names.iter().chain(elsewhere.iter().flatten()) {
        call.reply.bulk(name);
    }
    Ok(())
}

fn numsub(call: &mut Call<'_>, space: Namespace) -> Result<(), Failure> {
    let names = call.args.from(2);
    let elsewhere = call.shard.counts_elsewhere(call.slot, names.len());
    call.reply.array(2 * names.len());
    for (name, elsewhere) in names.iter().zip(elsewhere) {
        call.reply.bulk(name);
        let here = call.shard.directory_of(space).total(sterna_pubsub::hash(name), name);
        call.reply.int((here as u64).saturating_add(elsewhere) as i64);
    }
    Ok(())
}

/// What a row of PUBSUB asks of other nodes.
pub(super) fn question_of(row: &Row, args: Args<'_>) -> Question {
    let of_channels = |kind| Question::Channels { kind, pattern: args.get(2).map(Box::from) };
    let of_subscribers = |kind| Question::Subscribers { kind, channels: names(args.from(2)) };
    match row.spec.name {
        "channels" => of_channels(ChannelKind::Plain),
        "shardchannels" => of_channels(ChannelKind::Sharded),
        "numsub" => of_subscribers(ChannelKind::Plain),
        "shardnumsub" => of_subscribers(ChannelKind::Sharded),
        _ => Question::Patterns,
    }
}

/// Source: Redis answers PUBSUB CHANNELS with too many arguments in the words of an unknown subcommand.
fn unknown_or_arity(call: &Call<'_>) -> Failure {
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(&call.args[1]);
    text.extend_from_slice(b"'. Try PUBSUB HELP.");
    Failure::text(text)
}

impl Shard {
    /// Subscribes the connection in `slot`, unless it is already.
    pub(crate) fn join(&mut self, slot: usize, kind: Kind, name: &[u8]) {
        let connection = &mut self.connections[slot];
        if connection.subscriptions.contains(kind, name) {
            return;
        }
        let hash = sterna_pubsub::hash(name);
        let index = match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Sharded => &mut self.sharded,
        };
        let (name, _) = index.subscribe_hashed(hash, name, slot as u32);
        connection.subscriptions.insert(kind, Arc::clone(&name));
        match kind {
            Kind::Channel => self.server.directory.channels.add(hash, &name, self.index),
            Kind::Sharded => self.server.directory.sharded.add(hash, &name, self.index),
            Kind::Pattern => self.server.directory.patterns.add(&name, self.index),
        }
        self.connections[slot].client.set_mark(mark::PUBSUB, true);
        if self.outward.is_some() {
            self.note_joined(kind, &name);
        }
    }

    /// SUBSCRIBE has announced it before; other ways to a subscription have not, and a long SUBSCRIBE may have taken a while.
    #[cold]
    fn note_joined(&self, kind: Kind, name: &[u8]) {
        let mut buckets = BucketSet::default();
        match kind {
            Kind::Channel | Kind::Sharded => buckets.insert(bucket_of(name)),
            Kind::Pattern => buckets = BucketSet::all(),
        }
        self.announce(&buckets);
    }

    /// Ends a subscription of the connection in `slot`, if it has it.
    pub(crate) fn leave(&mut self, slot: usize, kind: Kind, name: &[u8]) {
        if self.connections[slot].subscriptions.remove(kind, name).is_some() {
            self.uncount(slot, kind, name);
        }
    }

    /// Takes the connection out of the index and the directory.
    fn uncount(&mut self, slot: usize, kind: Kind, name: &[u8]) {
        let hash = sterna_pubsub::hash(name);
        let directory = &self.server.directory;
        match kind {
            Kind::Channel => directory.channels.remove(hash, name, self.index),
            Kind::Sharded => directory.sharded.remove(hash, name, self.index),
            Kind::Pattern => directory.patterns.remove(name, self.index),
        }
        let index = match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Sharded => &mut self.sharded,
        };
        index.unsubscribe_hashed(hash, name, slot as u32);
    }

    /// Ends some of the connection's subscriptions of these kinds, and confirms each in `out`; true: it has no other. Runs have ended.
    pub(crate) fn leave_some(&mut self, slot: usize, kinds: &[Kind], mut out: Option<&mut Vec<u8>>) -> bool {
        let mut stride = Stride::new(PART_SUBSCRIPTIONS, PART_BYTES, None);
        for &kind in kinds {
            while !stride.is_over()
                && let Some(name) = self.connections[slot].subscriptions.pop(kind)
            {
                self.uncount(slot, kind, &name);
                stride.pass(name.len());
                if let Some(out) = out.as_deref_mut() {
                    let connection = &self.connections[slot];
                    let count = count_of(connection, kind);
                    frame::confirmation(out, connection.proto, left(kind), Some(&name), count);
                }
            }
        }
        self.connections[slot].note_subscriptions();
        let held = &self.connections[slot].subscriptions;
        kinds.iter().all(|&kind| held.len(kind) == 0)
    }

    /// Ends every subscription of the connection (it closes, or asked to be RESET). Runs have ended.
    pub(crate) fn leave_all(&mut self, slot: usize) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Sharded] {
            for name in self.connections[slot].subscriptions.drain(kind) {
                self.uncount(slot, kind, &name);
            }
        }
        self.connections[slot].note_subscriptions();
    }
}

impl Connection {
    /// Brings CLIENT LIST's counts up to date.
    pub(crate) fn note_subscriptions(&mut self) {
        let (held, client) = (&self.subscriptions, &self.client);
        client.channels.store(held.len(Kind::Channel) as u32, Relaxed);
        client.patterns.store(held.len(Kind::Pattern) as u32, Relaxed);
        client.sharded.store(held.len(Kind::Sharded) as u32, Relaxed);
        client.set_mark(mark::PUBSUB, !held.is_empty());
    }
}
