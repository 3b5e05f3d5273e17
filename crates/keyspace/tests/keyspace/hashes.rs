//! Hashes among keys: what becomes of fields that expire, and of what a journal has of them.

use std::sync::Arc;

use sterna_keyspace::Fieldset;

use crate::world::World;

#[test]
fn a_field_that_is_due_is_shown_to_nobody_and_goes_by_an_effect_of_its_own() {
    let mut world = World::new(2);
    world.run("hset h a 1 b 2 c 3");
    world.run("hpexpire h 10 fields 2 a b");
    world.journal.clear();
    world.now_ms += 10;
    assert_eq!(world.run("hget h a"), "$1\r\n1\r\n", "its last millisecond still counts");
    world.now_ms += 1;
    let readers = [
        ("hgetall h", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
        ("hkeys h", "*1\r\n$1\r\nc\r\n"),
        ("hvals h", "*1\r\n$1\r\n3\r\n"),
        ("httl h fields 2 a c", "*2\r\n:-2\r\n:-1\r\n"),
        ("hscan h 0 novalues", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n"),
        ("hlen h", ":3\r\n"),
    ];
    for (command, reply) in readers {
        assert_eq!(world.run(command), reply, "{command}");
        assert!(world.journal.is_empty() && world.events().is_empty(), "{command} changes nothing");
    }
    assert_eq!(world.expire_due(1), 1, "in steps");
    let first = world.events().concat();
    assert_eq!(world.expire_due(100), 1);
    let mut told = [first, world.events().concat()];
    told.sort_unstable();
    assert_eq!(told, ["hexpired 0 h 1:a", "hexpired 0 h 1:b"]);
    assert_eq!(world.expire_due(100), 0);
    assert_eq!(world.run("hlen h"), ":1\r\n");
    world.run("hpexpire h 1 fields 1 c");
    world.now_ms += 2;
    assert_eq!(world.expire_due(100), 1);
    assert_eq!(world.events(), ["hexpired 0 h 1:c", "del 0 h"]);
    assert_eq!(world.run("exists h"), ":0\r\n");
}

#[test]
fn what_is_written_over_a_field_that_is_due_has_not_its_expiry() {
    for (command, reply) in [
        ("hset h a 5", ":1\r\n"),
        ("hsetnx h a 5", ":1\r\n"),
        ("hincrby h a 5", ":5\r\n"),
        ("hincrbyfloat h a 5", "$1\r\n5\r\n"),
        ("hsetex h keepttl fields 1 a 5", ":1\r\n"),
        ("hsetex h fnx fields 1 a 5", ":1\r\n"),
    ] {
        let mut world = World::new(2);
        world.run("hset h a 1 b 2");
        world.run("hpexpire h 10 fields 1 a");
        world.now_ms += 20;
        assert_eq!(world.run(command), reply, "{command}");
        assert_eq!(world.run("httl h fields 1 a"), "*1\r\n:-1\r\n", "{command}");
        assert_eq!(world.expire_due(10), 0);
        assert_eq!(world.run("hget h a"), "$1\r\n5\r\n");
        let mut replayed = world.replayed(2);
        assert_eq!(replayed.run("hget h a"), "$1\r\n5\r\n", "{command} in the journal");
    }
    let mut world = World::new(2);
    world.run("hset h a 1");
    world.run("hpexpire h 10 fields 1 a");
    world.now_ms += 20;
    world.events();
    world.run("hpersist h fields 1 a");
    assert!(world.events().is_empty(), "it finds nothing");
}

#[test]
fn a_field_that_is_due_goes_when_it_is_named_and_with_the_last_its_key() {
    for (command, reply) in [
        ("hget h a", "$-1\r\n"),
        ("hmget h a a", "*2\r\n$-1\r\n$-1\r\n"),
        ("hexists h a", ":0\r\n"),
        ("hstrlen h a", ":0\r\n"),
        ("hrandfield h", "$-1\r\n"),
        ("hrandfield h 5", "*0\r\n"),
        ("hrandfield h -2", "*0\r\n"),
        ("hgetex h fields 1 a", "*1\r\n$-1\r\n"),
        ("hgetdel h fields 1 a", "*1\r\n$-1\r\n"),
        ("hdel h a", ":0\r\n"),
        ("hexpire h 100 fields 1 a", "*1\r\n:-2\r\n"),
        ("hsetex h fxx fields 1 a 5", ":0\r\n"),
    ] {
        let mut world = World::new(2);
        world.run("hset h a 1");
        world.run("hpexpire h 10 fields 1 a");
        world.now_ms += 20;
        world.events();
        assert_eq!(world.run(command), reply, "{command}");
        assert_eq!(world.events(), ["hexpired 0 h 1:a", "del 0 h"], "{command}");
        assert_eq!(world.run("exists h"), ":0\r\n", "{command}");
        assert_eq!(world.replayed(2).run("exists h"), ":0\r\n", "{command} in the journal");
    }
}

/// Source: the table of redis.io/docs/latest/develop/pubsub/subkeyspace-notifications.
/// It lies in the record of its key until it changes; then it takes an allocation of its own.
#[test]
fn a_small_collection_that_a_command_leaves_as_it_is_takes_no_more_than_before() {
    for (made, left, changed) in [
        ("hset k a 1 b 2", &["hsetnx k a 9", "hdel k x", "hpersist k fields 1 a"][..], "hset k a 9"),
        ("sadd k a b", &["sadd k a", "srem k x", "smove k other x"], "sadd k x"),
        (
            "zadd k 1 a 2 b",
            &["zadd k nx 5 a", "zadd k 1 a", "zrem k x", "zremrangebyscore k 7 9"],
            "zadd k 5 a",
        ),
        ("rpush k a b", &["lrem k 0 x", "ltrim k 0 -1", "linsert k before x y"], "rpush k c"),
    ] {
        let mut world = World::new(1);
        world.run(made);
        let before = world.used_bytes();
        for command in left {
            world.run(command);
            assert_eq!(world.used_bytes(), before, "{command}");
        }
        world.run(changed);
        assert!(world.used_bytes() > before, "{changed}");
    }
}

#[test]
fn options_about_fields_come_in_any_order_and_are_refused_in_redis_s_words() {
    let mut world = World::new(2);
    for (line, reply) in [
        ("hsetex h fields 2 a 1 fields ex ex 100 fnx", ":1\r\n"),
        ("httl h fields 2 a fields", "*2\r\n:100\r\n:100\r\n"),
        ("hgetex h fields 2 a fields persist", "*2\r\n$1\r\n1\r\n$2\r\nex\r\n"),
        ("hexpire h 50 fields 1 a nx", "*1\r\n:1\r\n"),
        ("hexpire h 60 fields 1 a nx nx", "*1\r\n:0\r\n"),
        ("hsetex h fields 1 a 7 keepttl fxx", ":1\r\n"),
        ("httl h fields 2 a fields", "*2\r\n:50\r\n:-1\r\n"),
        ("hsetex h fields 1 a 1 fields 1 b 2", "-ERR FIELDS keyword specified multiple times\r\n"),
        ("hgetex h fields 1 a fields", "-ERR FIELDS keyword specified multiple times\r\n"),
        ("hexpire h 9 fields 1 a fields 1 b", "-ERR FIELDS keyword specified multiple times\r\n"),
        ("hgetex h ex 10 fields", "-ERR wrong number of arguments for 'hgetex' command\r\n"),
        ("hgetex h fields 2147483647 a", "-ERR wrong number of arguments\r\n"),
        ("hgetex h fields 2147483648 a", "-ERR invalid number of fields\r\n"),
        ("hsetex h fields 2 a 1 b", "-ERR wrong number of arguments\r\n"),
        ("hsetex h fields 1 a 1 ex", "-ERR missing expire time\r\n"),
        ("hsetex h fields 1 a 1 persist", "-ERR unknown argument: persist\r\n"),
        ("hgetex h fields 1 a keepttl", "-ERR unknown argument: keepttl\r\n"),
        ("hexpire h 9 nx fields 1", "-ERR FIELDS requires at least numfields and one field argument\r\n"),
        ("hexpire h 9 fields 1 a nx gt", "-ERR Multiple condition flags specified\r\n"),
        ("hexpire h 9 nx nx nx", "-ERR missing FIELDS argument\r\n"),
    ] {
        assert_eq!(world.run(line), reply, "{line}");
    }
}

#[test]
fn an_event_of_a_hash_names_the_fields_it_is_about() {
    let rows: &[(&str, &[&str])] = &[
        ("hset h a 1 b 2 a 3", &["new 0 h", "hset 0 h 1:a,1:b,1:a"]),
        ("hmset h long-name 1", &["hset 0 h 9:long-name"]),
        ("hsetnx h a 1", &[]),
        ("hsetnx h c 1", &["hset 0 h 1:c"]),
        ("hincrby h a 1", &["hincrby 0 h 1:a"]),
        ("hincrby h long-name x", &[]),
        ("hincrbyfloat h b 0.5", &["hincrbyfloat 0 h 1:b"]),
        ("hdel h nothing c nothing c", &["hdel 0 h 1:c"]),
        ("hdel h nothing", &[]),
        ("hexpire h 100 nx fields 3 a nothing b", &["hexpire 0 h 1:a,1:b"]),
        ("hexpire h 100 nx fields 1 a", &[]),
        ("hpersist h fields 3 a nothing long-name", &["hpersist 0 h 1:a"]),
        ("hgetex h px 5000 fields 2 a nothing", &["hexpire 0 h 1:a"]),
        ("hgetex h persist fields 2 a long-name", &["hpersist 0 h 1:a"]),
        ("hgetex h fields 1 a", &[]),
        ("hgetex h pxat 1 fields 1 long-name", &["hdel 0 h 9:long-name"]),
        ("hsetex h fields 1 c 1", &["hset 0 h 1:c"]),
        ("hsetex h ex 10 fields 2 c 1 d 1", &["hset 0 h 1:c,1:d", "hexpire 0 h 1:c,1:d"]),
        ("hsetex h pxat 1 fields 2 c 1 e 1", &["hset 0 h 1:c,1:e", "hdel 0 h 1:c,1:e"]),
        ("hsetex h fnx fields 1 a 1", &[]),
        ("hexpireat h 1 fields 1 d", &["hdel 0 h 1:d"]),
        ("hgetdel h fields 2 nothing b", &["hdel 0 h 1:b"]),
        ("hgetdel h fields 1 a", &["hdel 0 h 1:a", "del 0 h"]),
        ("sadd s member", &["new 0 s", "sadd 0 s"]),
    ];
    let mut world = World::new(2);
    for (command, expected) in rows {
        world.run(command);
        let events = world.events().into_iter().filter(|event| !event.starts_with("keymiss"));
        assert_eq!(events.collect::<Vec<_>>(), *expected, "{command}");
    }
}

#[test]
fn a_hash_of_stated_fields_takes_the_place_of_the_one_that_was_there() {
    let mut world = World::new(2);
    let lent = |names: &[&[u8]]| Some(Arc::new(Fieldset::new(names).expect("distinct names")));
    world.run("set text x");
    world.log.lend(lent(&[b"long-name", b"b", b"a"]));
    for (command, expected, events) in [
        ("himport set h f 1 2 3", "+OK\r\n", &["new 0 h", "hset 0 h 1:a,1:b,9:long-name"][..]),
        (
            "hgetall h",
            "*6\r\n$1\r\na\r\n$1\r\n3\r\n$1\r\nb\r\n$1\r\n2\r\n$9\r\nlong-name\r\n$1\r\n1\r\n",
            &[],
        ),
        ("hset h old 1", ":1\r\n", &["hset 0 h 3:old"]),
        ("expire h 100", ":1\r\n", &["expire 0 h"]),
        ("himport set h f x y", "-ERR value count does not match fieldset field count\r\n", &[]),
        (
            "himport set text f x y",
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            &[],
        ),
        ("himport set h f x y z", "+OK\r\n", &["overwritten 0 h", "hset 0 h 1:a,1:b,9:long-name"]),
        ("hlen h", ":3\r\n", &[]),
        ("ttl h", ":-1\r\n", &[]),
    ] {
        assert_eq!(world.run(command), expected, "{command}");
        assert_eq!(world.events(), events, "{command}");
    }
    assert_eq!(world.replayed(1).run("hget h long-name"), "$1\r\nx\r\n");
    world.log.lend(None);
    assert_eq!(world.run("himport set h f x"), "-ERR no such fieldset\r\n");
    assert!(world.run("himport set text f x").starts_with("-WRONGTYPE"));

    let names: Vec<String> = (0..900).map(|nth| format!("field:{nth}")).collect();
    world.log.lend(lent(&names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>()));
    let values: Vec<&str> = (0..900).map(|_| "v").collect();
    assert_eq!(world.run(&format!("himport set large f {}", values.join(" "))), "+OK\r\n");
    assert_eq!(world.run("hlen large"), ":900\r\n");
    assert_eq!(world.run("object encoding large"), "$9\r\nhashtable\r\n");
    world.check();
}

#[test]
fn a_replay_removes_nothing_by_itself_and_what_was_due_goes_afterwards() {
    let mut world = World::new(2);
    world.run("hset h a 1 b 2");
    world.run("hpexpire h 10 fields 1 a");
    world.run("hset gone a 1");
    world.run("hpexpire gone 10 fields 1 a");
    world.now_ms += 1_000;
    let mut replayed = world.replayed(4);
    assert_eq!(replayed.run("hlen h"), ":2\r\n");
    assert_eq!(replayed.run("hgetall h"), "*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    assert_eq!(replayed.expire_due(10), 2);
    assert_eq!(replayed.run("exists h gone"), ":1\r\n");
    world.journal.extend_from_slice(&replayed.journal);
    let mut again = world.replayed(1);
    again.check();
    assert_eq!(again.run("hlen h"), ":1\r\n");
}

/// The format is on people's disks: this test may grow, and no line of it may change.
#[test]
fn effects_of_hashes_are_written_as_they_always_were() {
    let mut world = World::new(1);
    let written = [
        ("hset a f 1 g hello", "08000161 0d 01 0166 0131 0167 0568656c6c6f"),
        ("hincrby a f 1", "08000161 05 02 0166 0132"),
        ("hpexpireat a 1700000005000 fields 2 f g", "08000161 0b 05 89f795ffbc31 0166 0167"),
        ("hpersist a fields 1 f", "08000161 04 05 00 0166"),
        ("hsetex a pxat 1700000005000 fields 1 h x", "08000161 0b 03 89f795ffbc31 0168 0178"),
        ("hdel a f g nothing", "08000161 05 04 0166 0167"),
        ("hgetdel a fields 1 h", "02000161 00"),
        ("hget a f", ""),
        ("hset b f 1", "08000162 05 01 0166 0131"),
        ("copy b c", "01000163 10 00 08 01 00 0c000000 0200 816602 0101 ff"),
        ("hpexpireat c 1700000005000 fields 1 f", "08000163 09 05 89f795ffbc31 0166"),
        ("copy c d", "01000164 0e 00 08 01 02 89f795ffbc31 0166 0131"),
    ];
    for (command, expected) in written {
        world.journal.clear();
        world.run(command);
        let hex: String = world.journal.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""), "{command}");
    }
}

#[test]
fn a_count_of_repetitions_has_a_bound() {
    let mut world = World::new(1);
    world.run("hset h a 1");
    assert_eq!(world.run("hrandfield h -1000001"), "-ERR value is out of range\r\n");
    assert_eq!(world.run("hrandfield nothing -1000001"), "*0\r\n");
    assert!(world.run("hrandfield h -1000000").starts_with("*1000000\r\n"));
}

/// DUMP payloads of other servers, which RESTORE takes.
#[test]
fn payloads_of_other_servers_are_hashes() {
    for (payload, count) in PAYLOADS {
        let mut world = World::new(1);
        assert_eq!(
            world.run_words(&[b"restore", b"h", b"0", payload]),
            b"+OK\r\n",
            "{}",
            payload.escape_ascii()
        );
        assert_eq!(world.run("hlen h"), format!(":{count}\r\n"));
        assert_eq!(world.run("hget h a"), "$1\r\n1\r\n");
        let dump = world.run_words(&[b"dump", b"h"]);
        let body = dump.splitn(2, |&byte| byte == b'\n').nth(1).unwrap();
        let again = &body[..body.len() - 2];
        assert_eq!(world.run_words(&[b"restore", b"i", b"0", again]), b"+OK\r\n");
        assert_eq!(world.run("hlen i"), format!(":{count}\r\n"));
        for field in ["a", "b"] {
            let expiry = world.run(&format!("hpexpiretime h fields 1 {field}"));
            assert_eq!(world.run(&format!("hpexpiretime i fields 1 {field}")), expiry);
        }
        world.check();
    }
}

const PAYLOADS: [(&[u8], usize); 10] = [
    // Redis 8.2: packed; a table; packed and a table with expiries.
    (b"\x10\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x83two\x04\xff\x0c\x00\xcf^\x81\xe5\x1b\xc8\xf5[", 2),
    (b"\x04\x02\x01a\xc0\x01\x01b\xc3\x09@A\x01xx\xe04\x00\x01xx\x0c\x00\x87T\x1ab\xae\xc7|d", 2),
    (
        b"\x19\x008\xd3`\xba\x01\x00\x00  \x00\x00\x00\x06\x00\x81b\x02\x83two\x04\xf4\x008\xd3`\xba\x01\x00\x00\x09\
          \x81a\x02\x01\x01\x00\x01\xff\x0c\x00|\xb6hC\x08\x13\x0eo",
        2,
    ),
    (
        b"\x18\x008\xd3`\xba\x01\x00\x00\x02A\xf5\x01a\xc0\x01\x01\x01b\xc3\x09@A\x01xx\xe04\x00\x01xx\x0c\x00\
          \xa2\xdcH\xd9\x98\xa1rg",
        2,
    ),
    // Valkey 9.1.
    (b"\x10\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x83two\x04\xffP\x00\xcb\x02|\xb4\x7f\xb0\x0c\xe6", 2),
    (b"\x04\x02\x01a\xc0\x01\x01b\xc3\x09@A\x01xx\xe04\x00\x01xxP\x00\x83\x08\xe73\xca\xbf\x85\xd9", 2),
    (
        b"\x16\x02\x01a\xc0\x01\xff\xff\xff\xff\xff\xff\xff\xff\x01b\x03two\x008\xd3`\xba\x01\x00\x00P\x00\
          \x0c\xcc\x94\x8f$\x92\x99J",
        2,
    ),
    (
        b"\x16\x02\x01a\xc0\x01\xf49\xd3`\xba\x01\x00\x00\x01b\xc3\x09@A\x01xx\xe04\x00\x01xx\x008\xd3`\xba\x01\x00\x00\
          P\x00\xf5\xb4\xf1#Zo\xc66",
        2,
    ),
    // Redis 7.0.
    (b"\x10\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x83two\x04\xff\x0a\x00\x04(\xb5%\xe1\xe2k\x12", 2),
    (b"\x04\x02\x01b\xc3\x09@A\x01xx\xe04\x00\x01xx\x01a\xc0\x01\x0a\x00FK\xdb\x9b\xe9Y\xc0)", 2),
];
