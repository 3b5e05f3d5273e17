//! Commands that are run apart: what they do is what they do otherwise, at one moment, or nothing.

use crate::world::World;

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
    "set l x",
    "get l",
    "zadd l 1 a",
];

const KEYS: &[&str] = &["a", "b", "bits", "l", "s", "t", "z", "y", "h", "p", "q", "x", "d"];

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
    let long = ["zunionstore d 1 z", "zrange z 0 -1", "zrandmember z 11000", "zremrangebyrank d 0 -1"];
    for (nth, command) in (1..).zip(long) {
        world.run(command);
        assert_eq!(world.refused, nth, "{command}");
    }
    assert!(world.run("zrange z 0 9").starts_with("*10\r\n"));
    world.caller.may_block = false;
    assert_eq!(world.run("zunionstore d 1 z"), ":12000\r\n");
    assert_eq!(world.refused, long.len());
}
