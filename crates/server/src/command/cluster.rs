//! CLUSTER, READONLY, READWRITE: what clients that know of clusters ask.
//!
//! One node leads all slots, or with `cluster-groups` a range each, and every node takes every command, so a client need not ask. One
//! that does goes straight to the node that leads. With `cluster-keys` the others are its replicas, since they have copies; with `cluster-leader` they are nodes without
//! slots. With neither there are no slots: the answers are those of a Redis that is no cluster.
//!
//! What makes or changes a cluster of Redis (MEET, ADDSLOTS, FAILOVER …) is not there: nodes find each other, and nothing is to be
//! assigned.
//!
//! Source: the shapes of Redis 7.0 and 8.2 with `cluster-enabled yes`.

use std::fmt::Write as _;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_keyspace::{KeyGroup, SLOTS, slot_of};
use sterna_protocol::{Reply, argument};

use super::help::help;
use super::{Call, Failure, Run};
use crate::nodes::{Lead, Member};
use crate::shard::parts::Walk;
use crate::shard::passing::NOBODY_LEADS;
use crate::slots::{Asked, SlotWalk};

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::STALE,
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Cluster,
    since: "3.0.0",
    complexity: "O(N), N nodes",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: &["nondeterministic_output"],
    place: Place::Node,
    ..Spec::PLAIN
};

/// What tells of keys is asked of the node that has them.
const OF_KEYS: Spec = Spec { place: Place::Leader, ..BASE };

const REPLICAS: Spec =
    Spec { arity: 3, flags: BASE.flags.union(Flags::ADMIN), syntax: "node-id", since: "5.0.0", ..BASE };

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

const fn switch(name: &'static str, summary: &'static str) -> Spec {
    Spec {
        name,
        arity: 1,
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        acl: Categories::CONNECTION,
        complexity: "O(1)",
        summary,
        reply: &[ReplyShape::Ok],
        tips: &[],
        ..BASE
    }
}

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "cluster",
            arity: -2,
            flags: Flags::empty(),
            complexity: "Depends on the subcommand.",
            summary: "Tells of the nodes of a cluster.",
            reply: &[],
            tips: &[],
            ..BASE
        },
        run: None,
        subcommands: &[
            row(
                Spec {
                    name: "count-failure-reports",
                    arity: 3,
                    flags: BASE.flags.union(Flags::ADMIN),
                    summary: "Answers how many nodes have reported a failure of this one: none do.",
                    syntax: "node-id",
                    reply: &[ReplyShape::Integer],
                    ..BASE
                },
                count_failure_reports,
            ),
            row(
                Spec {
                    name: "countkeysinslot",
                    arity: 3,
                    complexity: "O(N), N keys in all slots, a part of them at a time",
                    summary: "Answers how many keys a slot has.",
                    syntax: "slot",
                    reply: &[ReplyShape::Integer],
                    tips: &[],
                    ..OF_KEYS
                },
                count_keys_in_slot,
            ),
            row(
                Spec {
                    name: "getkeysinslot",
                    arity: 4,
                    complexity: "O(N), N keys in all slots, a part of them at a time",
                    summary: "Answers names of keys in a slot.",
                    syntax: "slot count",
                    ..OF_KEYS
                },
                get_keys_in_slot,
            ),
            row(
                Spec {
                    name: "help",
                    flags: Flags::LOADING.union(Flags::STALE),
                    since: "5.0.0",
                    complexity: "O(1)",
                    summary: "Prints this text.",
                    tips: &[],
                    ..BASE
                },
                |call| {
                    members_of(call)?;
                    help(call)
                },
            ),
            row(
                Spec {
                    name: "info",
                    summary: "Tells how the cluster is.",
                    reply: &[ReplyShape::Verbatim],
                    ..BASE
                },
                info,
            ),
            row(
                Spec {
                    name: "keyslot",
                    arity: 3,
                    complexity: "O(N), N bytes of the key",
                    summary: "Answers the slot of a key.",
                    syntax: "key",
                    reply: &[ReplyShape::Integer],
                    tips: &[],
                    ..BASE
                },
                keyslot,
            ),
            row(
                Spec {
                    name: "links",
                    since: "7.0.0",
                    summary: "Lists links between nodes, which are none: they speak over NATS.",
                    ..BASE
                },
                |call| {
                    members_of(call)?;
                    call.reply.array(0);
                    Ok(())
                },
            ),
            row(
                Spec {
                    name: "myid",
                    complexity: "O(1)",
                    summary: "Answers this node's ID, which is new with every start.",
                    reply: &[ReplyShape::Bulk],
                    tips: &[],
                    ..BASE
                },
                my_id,
            ),
            row(
                Spec {
                    name: "myshardid",
                    since: "7.2.0",
                    complexity: "O(1)",
                    summary: "Answers the ID of this node's shard: that of the node that leads it.",
                    reply: &[ReplyShape::Bulk],
                    ..BASE
                },
                my_shard_id,
            ),
            row(
                Spec {
                    name: "nodes",
                    summary: "Lists the nodes, a line each.",
                    reply: &[ReplyShape::Verbatim],
                    ..BASE
                },
                nodes,
            ),
            row(
                Spec {
                    name: "replicas",
                    summary: "Lists the nodes that have copies of a node's keys, a line each.",
                    ..REPLICAS
                },
                replicas,
            ),
            row(
                Spec {
                    name: "shards",
                    flags: Flags::LOADING.union(Flags::STALE),
                    since: "7.0.0",
                    summary: "Lists the nodes with their slots.",
                    ..BASE
                },
                shards,
            ),
            row(
                Spec {
                    name: "slaves",
                    since: "3.0.0",
                    summary: "An older name of CLUSTER REPLICAS.",
                    ..REPLICAS
                },
                replicas,
            ),
            row(
                Spec {
                    name: "slot-stats",
                    arity: -4,
                    flags: BASE.flags.union(Flags::LOADING),
                    since: "8.2.0",
                    complexity: "O(N), N keys in all slots, a part of them at a time",
                    summary: "Answers how many keys each of some slots has.",
                    syntax: "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>",
                    tips: &["nondeterministic_output", "request_policy:all_shards"],
                    ..OF_KEYS
                },
                slot_stats,
            ),
            row(
                Spec {
                    name: "slots",
                    flags: Flags::LOADING.union(Flags::STALE),
                    summary: "Lists slots with the node that leads them.",
                    ..BASE
                },
                slots,
            ),
        ],
    },
    row(
        switch(
            "readonly",
            "Has a node that does not lead run the client's reads on what it has, if it has copies of the keys.",
        ),
        |call| take_stale_reads(call, true),
    ),
    row(switch("readwrite", "Takes back READONLY."), |call| take_stale_reads(call, false)),
];

fn take_stale_reads(call: &mut Call<'_>, yes: bool) -> Result<(), Failure> {
    if call.server().logs.is_empty() {
        members_of(call)?;
    }
    call.connection().reads_stale = yes;
    call.reply.ok();
    Ok(())
}

/// All nodes, this one first. Error: it is no cluster with slots.
fn members_of(call: &Call<'_>) -> Result<Vec<Member>, Failure> {
    match &call.shard.passing {
        Some(passing) if passing.nodes.lead(0) != Lead::Each => Ok(passing.nodes.members()),
        _ => Err(Failure::of("ERR This instance has cluster support disabled")),
    }
}

fn keyslot(call: &mut Call<'_>) -> Result<(), Failure> {
    members_of(call)?;
    let slot = slot_of(&call.args[2]);
    call.reply.int(i64::from(slot));
    Ok(())
}

fn my_id(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    call.reply.bulk(members.first().map_or("", |me| &me.id).as_bytes());
    Ok(())
}

fn my_shard_id(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    // Nodes that have the same keys are one shard, which is called by the node that leads it. Of several one is this node's.
    let leads = members.first().and_then(|me| leader_of(&members, me)).filter(|_| has_copies(call));
    call.reply.bulk(leads.or(members.first()).map_or("", |member| &member.id).as_bytes());
    Ok(())
}

/// The groups of keys, and how many there are.
fn groups_of(call: &Call<'_>) -> u16 {
    call.server().partitions.groups()
}

/// Which member a node that leads nothing is a replica of: Redis knows one. Those that lead have as many replicas, about.
fn leader_of<'m>(members: &'m [Member], of: &Member) -> Option<&'m Member> {
    if of.leads != 0 {
        return members.iter().find(|member| member.id == of.id);
    }
    // All nodes have to say the same, so members are taken by their IDs.
    let sorted = |leads: bool| {
        let mut sorted: Vec<&Member> = members.iter().filter(|member| (member.leads != 0) == leads).collect();
        sorted.sort_by(|one, other| one.id.cmp(&other.id));
        sorted
    };
    let leaders = sorted(true);
    let at = sorted(false).iter().position(|member| member.id == of.id)?;
    leaders.get(at % leaders.len().max(1)).copied()
}

/// The ranges of slots that a member leads: first and last of each.
fn slots_of(member: &Member, groups: u16) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for group in KeyGroup::all(groups).filter(|group| member.leads & 1 << group.index != 0) {
        let slots = group.slots();
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slots.start => *last = slots.end - 1,
            _ => ranges.push((slots.start, slots.end - 1)),
        }
    }
    ranges
}

/// Whether nodes that don't lead have copies of the keys.
fn has_copies(call: &Call<'_>) -> bool {
    !call.server().logs.is_empty()
}

fn count_failure_reports(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    member_called(call, &members)?;
    call.reply.int(0);
    Ok(())
}

/// The node that the request names.
fn member_called<'m>(call: &Call<'_>, members: &'m [Member]) -> Result<&'m Member, Failure> {
    let id = &call.args[2];
    let named = members.iter().find(|member| id == member.id.as_bytes());
    named.ok_or_else(|| Failure::text([b"ERR Unknown node ", id].concat()))
}

fn replicas(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let of = member_called(call, &members)?;
    let (has_copies, groups) = (has_copies(call), groups_of(call));
    if has_copies && of.leads == 0 {
        return Err(Failure::of("ERR The specified node is not a master"));
    }
    let is_tls = call.connection().transport.is_tls();
    let is_replica = |member: &Member| {
        member.leads == 0 && leader_of(&members, member).is_some_and(|leader| leader.id == of.id)
    };
    let others = members.iter().enumerate().filter(|(_, member)| has_copies && is_replica(member));
    let lines: Vec<String> = others.map(|node| line_of(node, Some(of), groups, has_copies, is_tls)).collect();
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.bulk(line.as_bytes()));
    Ok(())
}

/// A number, and what is said if it is none that `is_slot` takes.
fn slot_at(call: &Call<'_>, at: usize, wrong: &'static str) -> Result<u16, Failure> {
    let number = argument::int(&call.args[at]).ok_or(Failure::NOT_INTEGER)?;
    let slot = u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
    slot.ok_or(Failure::of(wrong))
}

fn count_keys_in_slot(call: &mut Call<'_>) -> Result<(), Failure> {
    members_of(call)?;
    let slot = slot_at(call, 2, "ERR Invalid slot")?;
    walk(call, Asked::Count(slot))
}

fn get_keys_in_slot(call: &mut Call<'_>) -> Result<(), Failure> {
    const WRONG: &str = "ERR Invalid slot or number of keys";
    members_of(call)?;
    let most = argument::int(&call.args[3]);
    let slot = slot_at(call, 2, WRONG)?;
    let most = usize::try_from(most.ok_or(Failure::NOT_INTEGER)?).map_err(|_| Failure::of(WRONG))?;
    let db = usize::from(call.connection().db);
    walk(call, Asked::Names { slot, db, most })
}

fn slot_stats(call: &mut Call<'_>) -> Result<(), Failure> {
    members_of(call)?;
    let asked = if argument::eq_ignore_case(&call.args[2], "SLOTSRANGE") && call.args.len() == 5 {
        let bound = |at| slot_at(call, at, "").map_err(|_| Failure::of("ERR Invalid or out of range slot"));
        let (first, last) = (bound(3)?, bound(4)?);
        if first > last {
            return Err(Failure::text(format!(
                "ERR Start slot number {first} is greater than end slot number {last}"
            )));
        }
        Asked::Each(first..last + 1)
    } else if argument::eq_ignore_case(&call.args[2], "ORDERBY") {
        order_of(call)?
    } else {
        let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
        text.extend_from_slice(&call.args[1]);
        text.extend_from_slice(b"'. Try CLUSTER HELP.");
        return Err(Failure::text(text));
    };
    walk(call, asked)
}

/// `ORDERBY metric [LIMIT limit] [ASC | DESC]`.
fn order_of(call: &Call<'_>) -> Result<Asked, Failure> {
    if !argument::eq_ignore_case(&call.args[3], "KEY-COUNT") {
        // Redis knows others with `cluster-slot-stats-enabled`.
        return Err(Failure::of("ERR Unrecognized sort metric for ORDERBY."));
    }
    let (mut limit, mut order) = (None, None);
    let mut at = 4;
    while let Some(word) = call.args.get(at) {
        let is = |name| argument::eq_ignore_case(word, name);
        let is_again = if is("LIMIT") && at + 1 < call.args.len() {
            at += 1;
            let number =
                argument::int(&call.args[at]).filter(|number| (1..=i64::from(SLOTS)).contains(number));
            let number = number.and_then(|number| usize::try_from(number).ok());
            let number = number.ok_or(Failure::of(
                "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
            ))?;
            limit.replace(number).is_some()
        } else if is("ASC") || is("DESC") {
            order.replace(is("DESC")).is_some()
        } else {
            return Err(Failure::SYNTAX);
        };
        if is_again {
            return Err(Failure::of("ERR Multiple filters of the same type are disallowed."));
        }
        at += 1;
    }
    Ok(Asked::Ordered { most: limit.unwrap_or(SLOTS.into()), is_descending: order.unwrap_or(true) })
}

/// Walks past all keys, a part at a time.
fn walk(call: &mut Call<'_>, asked: Asked) -> Result<(), Failure> {
    if call.in_exec {
        // It would walk past keys that the transaction, or script, has locked.
        return Err(Failure::of("ERR Command not allowed inside a transaction"));
    }
    let walk = Walk::Slots(Box::new(SlotWalk::new(asked)));
    call.shard.walk_in_parts(call.slot, call.row, walk);
    Ok(())
}

fn info(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let groups = groups_of(call);
    let slots = |group: KeyGroup| usize::from(group.slots().end - group.slots().start);
    let is_led = |group: &KeyGroup| members.iter().any(|member| member.leads & 1 << group.index != 0);
    let assigned: usize = KeyGroup::all(groups).filter(is_led).map(slots).sum();
    let leaders = members.iter().filter(|member| member.leads != 0).count();
    let state = if assigned == usize::from(SLOTS) { "ok" } else { "fail" };
    let mut text = String::new();
    for (name, value) in [
        ("cluster_slots_assigned", assigned),
        ("cluster_slots_ok", assigned),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", members.len()),
        ("cluster_size", leaders),
        ("cluster_current_epoch", 0),
        ("cluster_my_epoch", 0),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ] {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    call.reply.verbatim(format!("cluster_state:{state}\r\n{text}").as_bytes());
    Ok(())
}

fn nodes(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let (is_tls, has_copies) = (call.connection().transport.is_tls(), has_copies(call));
    let groups = groups_of(call);
    let lines = members
        .iter()
        .enumerate()
        .map(|node| line_of(node, leader_of(&members, node.1), groups, has_copies, is_tls));
    let text: String = lines.map(|line| line + "\n").collect();
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

/// A line of CLUSTER NODES; the first member is this node.
fn line_of(
    (at, member): (usize, &Member),
    leader: Option<&Member>,
    groups: u16,
    has_copies: bool,
    is_tls: bool,
) -> String {
    let (id, host, port) = (&member.id, &member.host, port_of(member, is_tls));
    let myself = if at == 0 { "myself," } else { "" };
    let (fails, link) = if member.is_live { ("", "connected") } else { (",fail", "disconnected") };
    let (role, of) = match leader {
        _ if !has_copies || member.leads != 0 => ("master", "-"),
        Some(leader) => ("slave", leader.id.as_str()),
        None => ("slave", "-"),
    };
    let slots: String =
        slots_of(member, groups).iter().map(|(first, last)| format!(" {first}-{last}")).collect();
    format!("{id} {host}:{port}@0 {myself}{role}{fails} {of} 0 0 0 {link}{slots}")
}

/// The node that clients are to send commands on a group's keys to: the one that leads. While none does it is this one, where they
/// wait.
fn goes_to(members: &[Member], group: KeyGroup) -> Option<&Member> {
    members.iter().find(|member| member.leads & 1 << group.index != 0).or(members.first())
}

fn slots(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let (is_tls, has_copies) = (call.connection().transport.is_tls(), has_copies(call));
    if members.is_empty() {
        return Err(Failure::of(NOBODY_LEADS));
    }
    let groups = groups_of(call);
    call.reply.array(usize::from(groups));
    for group in KeyGroup::all(groups) {
        let Some(first) = goes_to(&members, group) else { continue };
        // Of several groups: clients know a node as one that leads or as a replica.
        let is_of = |member: &Member| {
            groups == 1
                || member.leads == 0
                    && leader_of(&members, member).is_some_and(|leader| leader.id == first.id)
        };
        let is_replica =
            |member: &&Member| has_copies && member.is_live && member.id != first.id && is_of(member);
        let replicas = members.iter().filter(is_replica);
        let nodes: Vec<&Member> = std::iter::once(first).chain(replicas).collect();
        call.reply.array(2 + nodes.len());
        call.reply.int(i64::from(group.slots().start));
        call.reply.int(i64::from(group.slots().end) - 1);
        for node in nodes {
            call.reply.array(4);
            call.reply.bulk(node.host.as_bytes());
            call.reply.int(i64::from(port_of(node, is_tls)));
            call.reply.bulk(node.id.as_bytes());
            call.reply.array(0);
        }
    }
    Ok(())
}

fn shards(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let (has_copies, groups) = (has_copies(call), groups_of(call));
    // Who leads the slots that nobody leads just now: see `goes_to`.
    let slots_of = |of: &Member| -> Vec<(u16, u16)> {
        let goes_to_it = |group: &KeyGroup| goes_to(&members, *group).is_some_and(|to| to.id == of.id);
        let leads = KeyGroup::all(groups).filter(goes_to_it).fold(0, |bits, group| bits | 1 << group.index);
        slots_of(&Member { leads, ..of.clone() }, groups)
    };
    // Each node that leads is a shard with its replicas, behind it; without copies each node is one.
    let leads = |member: &Member| !has_copies || !slots_of(member).is_empty();
    let mut masters: Vec<&Member> = members.iter().filter(|member| leads(member)).collect();
    masters.sort_by_key(|member| slots_of(member).is_empty());
    call.reply.array(masters.len());
    for master in &masters {
        let of = |member: &Member| {
            let leader = leader_of(&members, member).or(masters.first().copied());
            leader.is_some_and(|leader| leader.id == master.id)
        };
        let replicas: Vec<&Member> = members.iter().filter(|member| !leads(member) && of(member)).collect();
        let slots = slots_of(master);
        call.reply.map(2);
        call.reply.bulk(b"slots");
        call.reply.array(2 * slots.len());
        for (first, last) in slots {
            call.reply.int(i64::from(first));
            call.reply.int(i64::from(last));
        }
        call.reply.bulk(b"nodes");
        call.reply.array(1 + replicas.len());
        write_node(&mut call.reply, master, "master");
        for replica in replicas {
            write_node(&mut call.reply, replica, "replica");
        }
    }
    Ok(())
}

fn write_node(reply: &mut Reply<'_>, member: &Member, role: &str) {
    let ports = [("port", member.port), ("tls-port", member.tls_port)];
    let ports = || ports.iter().filter(|(_, port)| *port > 0);
    reply.map(6 + ports().count());
    reply.bulk(b"id");
    reply.bulk(member.id.as_bytes());
    for (name, port) in ports() {
        reply.bulk(name.as_bytes());
        reply.int(i64::from(*port));
    }
    let health = if member.is_live { "online" } else { "fail" };
    for (name, value) in [("ip", member.host.as_str()), ("endpoint", &member.host), ("role", role)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"replication-offset");
    reply.int(0);
    reply.bulk(b"health");
    reply.bulk(health.as_bytes());
}

/// Where a client of this kind reaches a node.
pub(super) fn port_of(member: &Member, is_tls: bool) -> u16 {
    match (is_tls, member.port, member.tls_port) {
        (true, _, port @ 1..) | (false, port @ 1.., _) => port,
        (_, port, tls_port) => port.max(tls_port),
    }
}
