//! CLUSTER, READONLY, READWRITE: what clients that know of clusters ask.
//!
//! One node leads all slots, and every node takes every command, so a client need not ask. One that does goes straight to the node
//! that leads. Without `cluster-leader` there are no slots: the answers are those of a Redis that is no cluster.
//!
//! Source: the shapes of Redis 7.0 and 8.2 with `cluster-enabled yes`.

use std::fmt::Write as _;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::Reply;

use super::help::help;
use super::{Call, Failure, Run};
use crate::nodes::{Lead, Member};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

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
                    summary: "Answers the ID of this node's shard, which is the node's own.",
                    reply: &[ReplyShape::Bulk],
                    ..BASE
                },
                my_id,
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
    if call.server().replication.is_none() {
        members_of(call)?;
    }
    call.connection().reads_stale = yes;
    call.reply.ok();
    Ok(())
}

/// All nodes, this one first. Error: it is no cluster with slots.
fn members_of(call: &Call<'_>) -> Result<Vec<Member>, Failure> {
    match &call.shard.passing {
        Some(passing) if passing.nodes.lead() != Lead::Each => Ok(passing.nodes.members()),
        _ => Err(Failure::of("ERR This instance has cluster support disabled")),
    }
}

/// The slot of a key: of what stands between its first `{` and the next `}`, if there is anything.
///
/// ```text
///   {user:1}:name  {user:1}:mail     one slot
///   {}x  x{y                         all of it
/// ```
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

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

fn info(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let is_led = members.iter().any(|member| member.leads);
    let (state, assigned) = if is_led { ("ok", SLOTS) } else { ("fail", 0) };
    let mut text = String::new();
    for (name, value) in [
        ("cluster_slots_assigned", usize::from(assigned)),
        ("cluster_slots_ok", usize::from(assigned)),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", members.len()),
        ("cluster_size", usize::from(is_led)),
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
    let is_tls = call.connection().transport.is_tls();
    let mut text = String::new();
    for (at, member) in members.iter().enumerate() {
        let (host, port) = (&member.host, port_of(member, is_tls));
        let myself = if at == 0 { "myself," } else { "" };
        let (fails, link) = if member.is_live { ("", "connected") } else { (",fail", "disconnected") };
        let slots = if member.leads { " 0-16383" } else { "" };
        let _ = writeln!(text, "{} {host}:{port}@0 {myself}master{fails} - 0 0 0 {link}{slots}", member.id);
    }
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

fn slots(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    let is_tls = call.connection().transport.is_tls();
    let leader = members.iter().find(|member| member.leads);
    call.reply.array(usize::from(leader.is_some()));
    if let Some(leader) = leader {
        call.reply.array(3);
        call.reply.int(0);
        call.reply.int(i64::from(SLOTS) - 1);
        call.reply.array(4);
        call.reply.bulk(leader.host.as_bytes());
        call.reply.int(i64::from(port_of(leader, is_tls)));
        call.reply.bulk(leader.id.as_bytes());
        call.reply.array(0);
    }
    Ok(())
}

fn shards(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = members_of(call)?;
    call.reply.array(members.len());
    for member in &members {
        call.reply.map(2);
        call.reply.bulk(b"slots");
        call.reply.array(if member.leads { 2 } else { 0 });
        if member.leads {
            call.reply.int(0);
            call.reply.int(i64::from(SLOTS) - 1);
        }
        call.reply.bulk(b"nodes");
        call.reply.array(1);
        write_node(&mut call.reply, member);
    }
    Ok(())
}

fn write_node(reply: &mut Reply<'_>, member: &Member) {
    let ports = [("port", member.port), ("tls-port", member.tls_port)];
    let ports = || ports.iter().filter(|(_, port)| *port > 0);
    reply.map(6 + ports().count());
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("id", &member.id);
    text("ip", &member.host);
    text("endpoint", &member.host);
    text("role", "master");
    text("health", if member.is_live { "online" } else { "fail" });
    for (name, port) in ports() {
        reply.bulk(name.as_bytes());
        reply.int(i64::from(*port));
    }
    reply.bulk(b"replication-offset");
    reply.int(0);
}

/// Where a client of this kind reaches a node.
pub(super) fn port_of(member: &Member, is_tls: bool) -> u16 {
    match (is_tls, member.port, member.tls_port) {
        (true, _, port @ 1..) | (false, port @ 1.., _) => port,
        (_, port, tls_port) => port.max(tls_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From Redis 7.0.
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"bar", 5061),
            (b"123456789", 12739),
            (b"", 0),
            (b"a{b}c", 3300),
            (b"b", 3300),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
        ] {
            assert_eq!(slot_of(key), slot, "{}", String::from_utf8_lossy(key));
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }
}
