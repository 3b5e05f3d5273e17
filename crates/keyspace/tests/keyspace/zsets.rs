//! What the commands on sorted sets promise beyond what a comparison with a running Redis 8.2 shows: replay, snapshots,
//! those who wait, walks while the set changes.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use sterna_keyspace::{Locked, write_state};

use crate::streams::show;
use crate::world::World;

fn ask(world: &mut World, command: &str) -> String {
    let reply = world.run(command);
    if reply.is_empty() { "waits".to_string() } else { show(reply.as_bytes()) }
}

/// Every key with its value as a snapshot keeps it.
fn states(world: &World) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let parts = (0..world.parts.count()).map(|index| world.parts.partition_ref(index));
    parts
        .flat_map(|part| {
            part.check();
            part.records(0)
        })
        .map(|record| {
            let mut state = Vec::new();
            write_state(&mut state, record.value(), record.expire_at_ms(), &mut |_| {});
            (record.key().to_vec(), state)
        })
        .collect()
}

fn random_command(random: &mut Rng) -> String {
    let keys = ["a", "b", "c"];
    let key = keys[random.usize(..3)];
    let other = keys[random.usize(..3)];
    let members = if random.u8(..4) == 0 { 600 } else { 20 };
    let mut member = || format!("m{}", random.u32(..members));
    let (one, two) = (member(), member());
    let (low, high) = (random.i8(-9..30), random.i8(-9..30));
    let score = ["1", "2.5", "-inf", "7", "-3", "1e100"][random.usize(..6)];
    match random.u8(..16) {
        0..6 => {
            let many = if random.u8(..6) == 0 { 200 } else { 2 };
            let pairs = (0..many).map(|_| format!(" {} m{}", random.u8(..50), random.u32(..members)));
            format!("zadd {key}{}", pairs.collect::<String>())
        }
        6 => format!("zadd {key} {} {score} {one}", ["nx", "xx", "gt", "lt", "incr"][random.usize(..5)]),
        7 => format!("zrem {key} {one} {two}"),
        8 => format!("zincrby {key} {score} {one}"),
        9 => format!("zpopmin {key} {}", random.u8(..5)),
        10 => format!("zpopmax {key} {}", random.u8(..5)),
        11 => format!("zremrangebyrank {key} {low} {high}"),
        12 => format!("zremrangebyscore {key} {low} {high}"),
        13 => format!("zunionstore {key} 2 {key} {other} weights 1 -2"),
        14 => format!("zrangestore {key} {other} {low} {high}"),
        _ => format!("copy {key} {other} replace"),
    }
}

#[test]
fn what_is_journaled_gives_the_same_sets_when_it_is_replayed() {
    for seed in 0..20 {
        let mut random = Rng::with_seed(seed);
        let mut world = World::new(4);
        for _ in 0..150 {
            let command = random_command(&mut random);
            world.run(&command);
        }
        let expected = states(&world);
        assert_eq!(states(&world.replayed(2)), expected, "seed {seed}");
    }
}

#[test]
fn effects_of_sorted_sets_are_written_as_they_always_were() {
    let mut world = World::new(1);
    let written = [
        ("zadd z 1 a 2 b", "0a00017a 15 01 000000000000f03f 01 61 0000000000000040 01 62"),
        ("zadd z nx 5 a", ""),
        ("zincrby z 1.5 a", "0a00017a 0b 01 0000000000000440 01 61"),
        ("zrem z b nobody", "0a00017a 03 02 01 62"),
        ("zadd z 3 c", "0a00017a 0b 01 0000000000000840 01 63"),
        ("zpopmin z", "0a00017a 03 03 00 01"),
        ("zpopmax z", "0200017a 00"),
    ];
    for (command, expected) in written {
        world.journal.clear();
        world.run(command);
        let hex: String = world.journal.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""), "{command}");
    }
}

#[test]
fn a_million_members_go_in_one_short_effect() {
    let mut world = World::new(1);
    for hundred in 0..1000 {
        let pairs: String = (0..100).map(|one| format!(" {hundred} member-{hundred}-{one}")).collect();
        world.run(&format!("zadd z{pairs}"));
    }
    world.journal.clear();
    assert_eq!(ask(&mut world, "zremrangebyscore z 1 (999"), "99800");
    assert!(world.journal.len() < 20, "{} bytes", world.journal.len());
    assert_eq!(ask(&mut world, "zcard z"), "200");
    assert_eq!(ask(&mut world, "zrangebyscore z 999 999 limit 99 5"), "[member-999-99]");
}

#[test]
fn a_walk_shows_every_member_that_is_there_all_the_time() {
    let mut world = World::new(1);
    (0..3000).for_each(|member| drop(world.run(&format!("zadd z {} stays{member}", member % 7))));
    let (mut seen, mut cursor, mut random) = (BTreeSet::new(), "0".to_string(), Rng::with_seed(5));
    loop {
        let reply = ask(&mut world, &format!("zscan z {cursor} count 40 match stays*"));
        let words: Vec<&str> =
            reply.trim_matches(['[', ']']).split([' ', '[', ']']).filter(|w| !w.is_empty()).collect();
        cursor = words[0].to_string();
        seen.extend(words[1..].chunks(2).map(|pair| pair[0].to_string()));
        if cursor == "0" {
            break;
        }
        for _ in 0..50 {
            let member = random.u32(..3000);
            world.run(&format!("zadd z {} stays{member}", random.u8(..)));
            world.run(&format!("zadd z {} other{member}", random.u8(..)));
            world.run(&format!("zrem z other{}", random.u32(..3000)));
        }
    }
    assert_eq!(seen.len(), 3000);
}

#[test]
fn pops_that_wait_are_answered_in_the_order_they_came_and_only_from_sorted_sets() {
    let mut world = World::new(4);
    let wait = |world: &mut World, client: u64, command: &str| {
        world.caller.client = client;
        assert_eq!(ask(world, command), "waits");
    };
    wait(&mut world, 1, "bzpopmin y z 0");
    wait(&mut world, 2, "bzpopmax z 0");
    wait(&mut world, 3, "bzmpop 0 2 y z min count 2");
    world.run("set y text");
    assert_eq!(world.log.served().count(), 0);
    world.run("zadd z 1 a 2 b 3 c 4 d");
    let served: Vec<(u64, String)> = world
        .log
        .served()
        .map(|served| (served.waiter.caller.client, show(served.answer.reply().expect("short"))))
        .collect();
    let expected = [(1, "[z a 1]"), (2, "[z d 4]"), (3, "[z [[b 2] [c 3]]]")];
    assert_eq!(served, expected.map(|(client, reply)| (client, reply.to_string())));
    assert_eq!(ask(&mut world, "exists z"), "0");
    assert_eq!(states(&world.replayed(1)), states(&world));
}

#[test]
fn a_pop_that_cannot_wait_answers_nothing() {
    let mut world = World::new(1);
    world.caller.may_block = false;
    for command in ["bzpopmin z 0", "bzpopmax z 1", "bzmpop 0 1 z min"] {
        assert_eq!(ask(&mut world, command), "nil");
    }
}

#[test]
fn random_members_are_of_the_set_and_as_many_as_asked_for() {
    let mut world = World::new(1);
    (0..500).for_each(|member| drop(world.run(&format!("zadd z {member} m{member}"))));
    let reply = ask(&mut world, "zrandmember z 100");
    let members: BTreeSet<&str> = reply.trim_matches(['[', ']']).split(' ').collect();
    assert_eq!(members.len(), 100, "different ones");
    assert!(members.iter().all(|member| member.starts_with('m')));
    let reply = ask(&mut world, "zrandmember z -1000 withscores");
    assert_eq!(reply.split(' ').count(), 2000);
    assert!(ask(&mut world, "zrandmember z -9223372036854775807").starts_with("-ERR value is out of range"));
}
