//! Commands that are run apart: what they do is what they do otherwise, at one moment, or nothing.

use std::sync::Arc;

use sterna_keyspace::Watch;

use crate::world::{START_MS, World};

const SETUP: &[&str] = &[
    "set a 12",
    "set b hello px 100000",
    "setbit bits 1000 1",
    "rpush l 3 1 2 x 1 2",
    "sadd s a b c 1 2 3",
    "sadd t b c d 3 4",
    "zadd z 1 a 2 b 3.5 c 4 d",
    "zadd y 10 b 20 c 30 e",
    "hset h f 1 g 2 k v",
    "hexpire h 100 fields 1 g",
    "pfadd p a b c",
    "pfadd q c d e",
    "xadd x 1-1 f v",
    "xadd x 1-2 f w",
    "xadd x 1-3 f x",
    "xgroup create x g 0",
    "xgroup create x other 0",
    "xreadgroup group g c count 2 streams x >",
    "xadd y2 1-1 f v",
];

const COMMANDS: &[&str] = &[
    "zunionstore d 2 z y weights 2 3",
    "zunionstore z 3 z y s",
    "zinterstore d 2 z y aggregate max",
    "zinterstore z 2 z nothing",
    "zdiffstore d 2 z y",
    "zrangestore d z 1 2",
    "zrangestore d nothing 0 -1",
    "zremrangebyscore z 2 3.5",
    "zremrangebyscore z -inf +inf",
    "zremrangebyrank z 0 1",
    "zremrangebylex z - +",
    "zunion 2 z y withscores",
    "zrange z 0 -1 withscores",
    "sunionstore d s t",
    "sinterstore s s t",
    "sdiffstore d s t",
    "sdiffstore d t t",
    "spop s 100",
    "sort l alpha store d",
    "sort l alpha desc",
    "sort l",
    "lrem l 0 1",
    "lrem l 0 nothing",
    "linsert l before x y",
    "linsert nothing before x y",
    "bitop not bits bits",
    "bitop or d bits a b",
    "bitcount bits",
    "digest b",
    "lcs a b idx",
    "pfcount p q",
    "pfmerge d p q",
    "del s t nothing",
    "copy z d",
    "copy b d",
    "hdel h f g k",
    "incr a",
    "append b !",
    "setrange b 3 xyz",
    "persist b",
    "rename z d",
    "xadd x 2-1 f v",
    "xrange x - +",
    "xrevrange x + - count 2",
    "xread streams x y2 0 0",
    "xreadgroup group g d streams x >",
    "xreadgroup group g d noack streams x >",
    "xreadgroup group g c streams x 0",
    "xreadgroup group g d claim 0 streams x >",
    "xpending x g",
    "xpending x g - + 10",
    "xclaim x g d 0 1-1 1-2 1-3 force",
    "xautoclaim x g d 0 0",
    "xautoclaim x g d 0 0 justid",
    "xack x g 1-1 1-2 7-7",
    "xnack x g silent ids 2 1-1 1-2",
    "xdel x 1-1 1-2 7-7",
    "xdel x 7-7",
    "xdelex x delref ids 2 1-1 1-2",
    "xdelex x acked ids 2 1-1 1-3",
    "xackdel x g delref ids 2 1-1 1-2",
    "xackdel x g acked ids 1 1-1",
    "xtrim x maxlen 1",
    "xtrim x maxlen = 0 delref",
    "xtrim x minid 1-2 acked",
    "xadd x maxlen 1 9-1 f v",
    "xgroup delconsumer x g c",
    "xgroup destroy x g",
    "xinfo stream x full",
    "xinfo consumers x g",
    "xinfo groups x",
    "dump x",
    "restore b 0 nonsense replace",
    "set l x",
    "get l",
    "zadd l 1 a",
];

const KEYS: &[&str] = &["a", "b", "bits", "l", "s", "t", "z", "y", "h", "p", "q", "x", "y2", "d"];

fn prepared() -> World {
    let mut world = World::new(4);
    for command in SETUP {
        assert!(!world.run(command).starts_with('-'), "{command}");
    }
    world
}

/// What every key holds, and until when.
fn kept(world: &mut World) -> Vec<(Vec<u8>, String)> {
    world.check();
    let both = |key: &&str| {
        let dump = world.run_words(&[b"dump", key.as_bytes()]);
        (dump, world.run(&format!("pexpiretime {key}")))
    };
    KEYS.iter().map(both).collect()
}

#[test]
fn a_command_does_apart_what_it_does_at_once() {
    for command in COMMANDS {
        let (mut at_once, mut apart) = (prepared(), prepared());
        let expected = at_once.run(command);
        let seen = |world: &World| {
            let mut touched: Vec<_> = world.log.touched().map(|(db, key)| (db, key.to_vec())).collect();
            touched.sort();
            touched.dedup();
            let events: Vec<_> =
                world.events().into_iter().filter(|event| !event.starts_with("keymiss")).collect();
            (events, touched, world.log.count())
        };
        let expected_changes = seen(&at_once);
        assert_eq!(apart.run_apart(command, |_| {}).as_deref(), Some(&*expected), "{command}");
        assert_eq!(seen(&apart), expected_changes, "{command}");
        let expected = kept(&mut at_once);
        assert_eq!(kept(&mut apart), expected, "{command}");
        assert_eq!(kept(&mut apart.replayed(2)), expected, "{command}: replayed");
    }
}

#[test]
fn what_is_done_apart_in_a_swapped_database_is_recorded_of_it() {
    let mut world = prepared();
    world.run("swapdb 0 1");
    world.db = 1;
    assert!(world.run_apart("zunionstore d 2 z y", |_| {}).is_some());
    let expected = kept(&mut world);
    let mut replayed = world.replayed(2);
    replayed.db = 1;
    assert_eq!(kept(&mut replayed), expected);
}

#[test]
fn a_command_whose_key_is_touched_meanwhile_has_not_happened() {
    for (command, touch) in [
        ("zunionstore d 2 z y", "zadd y 1 new"),
        ("zunionstore d 2 z y", "set d x"),
        ("lrem l 0 1", "rpush l 1"),
        ("bitop not bits bits", "flushall"),
        ("zremrangebyscore z 1 2", "del z"),
        ("zremrangebyscore z 1 2", "swapdb 0 1"),
        // What touches no watcher is a change all the same: or what was acknowledged meanwhile would be pending again.
        ("xautoclaim x g d 0 0", "xack x g 1-1"),
        ("xack x g 1-2", "xclaim x g d 0 1-2"),
        ("xdel x 1-1", "xgroup create x new 0"),
        ("xreadgroup group g d streams x >", "xgroup setid x g 1-3"),
    ] {
        let (mut world, mut model) = (prepared(), prepared());
        let outcome = world.run_apart(command, |world| {
            world.run(touch);
        });
        assert_eq!(outcome, None, "{command}, {touch}");
        model.run(touch);
        assert_eq!(kept(&mut world), kept(&mut model), "{command}, {touch}");
        // Whoever runs it again finds nothing left of it.
        let expected = model.run(command);
        assert_eq!(world.run_apart(command, |_| {}), Some(expected));
        assert_eq!(kept(&mut world), kept(&mut model), "{command}, {touch}");
    }
}

#[test]
fn what_is_done_apart_to_a_group_breaks_no_watch_and_wakes_who_waits_for_the_group() {
    for command in ["xack x g 1-1", "xautoclaim x g d 0 0", "xgroup destroy x g", "xdel x 1-1"] {
        let mut world = prepared();
        let watch = Arc::<Watch>::default();
        let (part, hash, log) = world.partition_of(b"x");
        part.watch(0, hash, b"x", START_MS, &watch, log);
        assert!(world.run_apart(command, |_| {}).is_some());
        assert_eq!(watch.is_broken(), command.starts_with("xdel"), "{command}");
    }
    let mut world = prepared();
    world.run("xreadgroup group other e streams x >");
    assert_eq!(world.run("xreadgroup group other e block 0 streams x >"), "");
    assert!(world.run_apart("xgroup destroy x other", |_| {}).is_some());
    let served = world.log.served().next().expect("somebody who is told");
    assert!(served.answer.reply().expect("short").starts_with(b"-NOGROUP"));
}

#[test]
fn what_restore_says_of_a_key_s_use_holds_when_it_is_run_apart() {
    let mut world = prepared();
    let dump = world.run_words(&[b"dump", b"z"]);
    let payload =
        &dump[dump.iter().position(|&byte| byte == b'\n').expect("a bulk string") + 1..dump.len() - 2];
    let restored = world.run_words_apart(&[b"restore", b"d", b"0", payload, b"idletime", b"1000"], |_| {});
    assert_eq!(restored.as_deref(), Some(&b"+OK\r\n"[..]));
    assert_eq!(world.run("object idletime d"), ":1000\r\n");
    assert_eq!(world.run_words(&[b"dump", b"d"]), dump);
}

#[test]
fn a_key_that_expires_meanwhile_is_a_key_that_was_touched() {
    let mut world = prepared();
    world.run("pexpire z 10");
    assert_eq!(world.run_apart("zunionstore d 2 z y", |world| world.now_ms += 11), None);
    assert_eq!(world.events(), ["expired 0 z"]);
    assert_eq!(world.run("exists z d"), ":0\r\n");
}

#[test]
fn reading_commands_answer_as_of_the_moment_they_were_copied() {
    let mut world = prepared();
    let expected = world.run("zrange z 0 -1 withscores");
    let answered = world.run_apart("zrange z 0 -1 withscores", |world| {
        world.run("del z");
    });
    assert_eq!(answered, Some(expected));
    assert_eq!(world.run("exists z"), ":0\r\n");
}

#[test]
fn what_takes_long_is_to_be_run_apart_unless_nothing_may_come_between() {
    let mut world = World::new(4);
    for from in (0..12_000).step_by(500) {
        let pairs: Vec<String> = (from..from + 500).map(|number| format!("{number} {number}")).collect();
        world.run(&format!("zadd z {}", pairs.join(" ")));
    }
    world.run("xgroup create x g 0 mkstream");
    for id in 1..=12_000 {
        world.run(&format!("xadd x {id}-0 f v"));
    }
    world.run(&format!("set long {}", "x".repeat(1_000_000)));
    let before = world.refused;
    let short = [
        "zrange z 0 9",
        "xrange x 10000 +",
        "xrevrange x + - count 9000",
        "xread count 5000 streams x 0",
        "xread block 0 streams x $",
        "xadd x maxlen ~ 12000 * f v",
        "xadd x maxlen = 12000 acked * f v",
        "xtrim x maxlen 11000",
        "xautoclaim x g c 0 0",
        "xpending x g",
        "xinfo stream x",
        "xinfo stream x full",
    ];
    for command in short {
        world.run(command);
        assert_eq!(world.refused, before, "{command}");
    }
    let long = [
        "zunionstore d 1 z",
        "zintercard 2 z z",
        "zintercard 2 z z limit 1",
        "sort z",
        "sort z by nosort alpha limit 0 1",
        "sort z by nosort get # store e",
        "sort z by *:weight limit 0 1",
        "zrange z 0 -1",
        "zrandmember z 11000",
        "zremrangebyrank d 0 -1",
        "dump long",
        &format!("restore new 0 {}", "x".repeat(100_000)),
        "xrange x - +",
        "xrevrange x + -",
        "xread streams x 0",
        "xread block 0 count 10500 streams x 0",
        "xreadgroup group g c streams x >",
        "xreadgroup group g c streams x 0",
        "xreadgroup group g c claim 0 streams x >",
        "xpending x g - + 20000",
        "xpending x g idle 9999999999 - + 1",
        "xautoclaim x g d 0 0 count 11000",
        "xinfo stream x full count 0",
        "xadd x maxlen = 10 acked * f v",
        "xgroup delconsumer x g d",
        "xtrim x maxlen 0 delref",
    ];
    for from in 0..40 {
        let element = format!("{from}{}", "x".repeat(100_000));
        world.run(&format!("rpush large:l {element}"));
        world.run(&format!("sadd large:s {element}"));
        world.run(&format!("zadd large:z 1 {element}"));
        world.run(&format!("hset large:h {from} {element}"));
        world.run(&format!("set large:{from} {element}"));
    }
    let all = (0..40).map(|nth| format!(" large:{nth}")).collect::<String>();
    let large = [
        "lrange large:l 0 -1".to_owned(),
        "zrange large:z 0 -1".to_owned(),
        "hgetall large:h".to_owned(),
        "hvals large:h".to_owned(),
        "smembers large:s".to_owned(),
        format!("mget{all}"),
    ];
    assert!(world.run("lrange large:l 0 3").starts_with("*4\r\n"));
    for (nth, command) in (before + 1..).zip(&large) {
        world.run(command);
        assert_eq!(world.refused, nth, "{command:.20}");
    }
    let before = before + large.len();
    for (nth, command) in (before + 1..).zip(long) {
        world.run(command);
        assert_eq!(world.refused, nth, "{command}");
    }
    (world.caller.may_block, world.caller.may_yield) = (false, false);
    assert_eq!(world.run("zunionstore d 1 z"), ":12000\r\n");
    assert_eq!(world.refused, before + long.len());
}
