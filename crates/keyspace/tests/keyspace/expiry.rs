//! Keys that expire are gone for everyone at the same moment, and are cleared away by themselves.

use sterna_keyspace::{Effects, What};

use crate::world::{START_MS, World};

#[test]
fn a_key_lives_through_its_last_millisecond() {
    let mut world = World::new(1);
    assert_eq!(world.run("set a 1 px 100"), "+OK\r\n");
    world.now_ms += 100;
    assert_eq!(world.run("pttl a"), ":0\r\n");
    assert_eq!(world.run("get a"), "$1\r\n1\r\n");
    world.now_ms += 1;
    assert_eq!(world.run("get a"), "$-1\r\n");
    assert_eq!(world.events(), ["expired 0 a", "keymiss 0 a"]);
    assert_eq!(world.run("get a"), "$-1\r\n");
    assert_eq!(world.events(), ["keymiss 0 a"], "a key expires once");
}

#[test]
fn an_expired_key_is_gone_for_every_command() {
    let commands = [
        ("exists a", ":0\r\n"),
        ("ttl a", ":-2\r\n"),
        ("type a", "+none\r\n"),
        ("strlen a", ":0\r\n"),
        ("del a", ":0\r\n"),
        ("touch a", ":0\r\n"),
        ("persist a", ":0\r\n"),
        ("expire a 10", ":0\r\n"),
        ("incr a", ":1\r\n"),
        ("append a x", ":1\r\n"),
        ("setnx a x", ":1\r\n"),
        ("set a x get", "$-1\r\n"),
        ("set a x xx", "$-1\r\n"),
        ("rename a b", "-ERR no such key\r\n"),
        ("copy a b", ":0\r\n"),
        ("dump a", "$-1\r\n"),
        ("object encoding a", "$-1\r\n"),
        ("keys *", "*0\r\n"),
        ("scan 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("randomkey", "$-1\r\n"),
    ];
    for (command, reply) in commands {
        let mut world = World::new(4);
        world.run("set a 1 px 100");
        world.now_ms += 101;
        assert_eq!(world.run(command), reply, "{command}");
    }
}

#[test]
fn while_expiry_is_paused_a_key_that_is_due_is_gone_for_readers_and_stays_where_it_is() {
    let mut world = World::new(4);
    world.run("set a 1 px 100");
    world.now_ms += 101;
    world.log.pause_expiry(true);
    for (command, reply) in
        [("get a", "$-1\r\n"), ("exists a", ":0\r\n"), ("ttl a", ":-2\r\n"), ("mget a", "*1\r\n$-1\r\n")]
    {
        let journal_len = world.journal.len();
        assert_eq!(world.run(command), reply, "{command}");
        assert_eq!((world.journal.len(), world.run("dbsize").as_str()), (journal_len, ":1\r\n"), "{command}");
    }
    world.log.pause_expiry(false);
    assert_eq!(world.run("get a"), "$-1\r\n");
    assert_eq!(world.run("dbsize"), ":0\r\n");
}

#[test]
fn a_random_key_is_found_in_some_draws_or_one_that_is_due_is_answered() {
    let mut world = World::new(4);
    world.run("set a 1 px 100");
    world.now_ms += 101;
    world.log.pause_expiry(true);
    assert_eq!(world.run("randomkey"), "$1\r\na\r\n", "nothing may be removed");
    world.log.pause_expiry(false);
    assert_eq!(world.run("randomkey"), "$-1\r\n");
    for number in 0..1000 {
        world.run(&format!("set key:{number} 1 px 100"));
    }
    world.now_ms += 101;
    assert!(world.run("randomkey").contains("key:"));
    assert_eq!(world.run("dbsize"), ":901\r\n", "each other draw has removed one");
}

#[test]
fn the_cycle_removes_what_is_due_the_earliest_first_and_not_more_than_it_may() {
    let mut world = World::new(1);
    for number in (0..100).rev() {
        // The cycle tells times by 128 ms.
        world.run(&format!("set key:{number} 1 px {}", 1000 + 128 * number));
    }
    world.run("set stays 1");
    assert_eq!(world.expire_due(usize::MAX), 0);
    world.now_ms += 1000 + 128 * 50;
    world.journal.clear();
    assert_eq!(world.expire_due(10), 10);
    let events = world.events();
    assert_eq!(
        (events.len(), events[0].as_str(), events[9].as_str()),
        (10, "expired 0 key:0", "expired 0 key:9")
    );
    let effects: Vec<_> = Effects::new(&world.journal).map(Result::unwrap).collect();
    assert!(effects.iter().all(|effect| matches!(effect.what, What::Delete)) && effects.len() == 10);
    assert_eq!(world.expire_due(usize::MAX), 40);
    assert_eq!(world.expire_due(usize::MAX), 0);
    assert_eq!(world.run("dbsize"), ":51\r\n");
    world.now_ms += 1_000_000;
    assert_eq!(world.expire_due(usize::MAX), 50);
    assert_eq!(world.run("keys *"), "*1\r\n$5\r\nstays\r\n");
}

#[test]
fn an_expiry_that_was_moved_or_taken_away_does_not_fire() {
    let mut world = World::new(1);
    for command in [
        "set a 1 px 10",
        "set b 1 px 10",
        "set c 1 px 10",
        "set d 1 px 10",
        "persist a",
        "set b 2",
        "pexpire c 1000",
        "rename d e",
    ] {
        world.run(command);
    }
    world.now_ms += 10 + 128;
    assert_eq!(world.expire_due(usize::MAX), 1);
    assert_eq!(world.events(), ["expired 0 e"]);
    assert_eq!(world.run("mget a b c"), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n1\r\n");
}

#[test]
fn a_time_that_has_passed_deletes_at_once() {
    let mut world = World::new(1);
    for command in
        ["expire a 0", "expire a -1", "pexpire a -1", "expireat a 1", "pexpireat a 1", "pexpireat a -1"]
    {
        world.run("set a 1");
        assert_eq!(world.run(command), ":1\r\n");
        assert_eq!(world.events(), ["del 0 a"], "{command}");
        assert_eq!(world.run("exists a"), ":0\r\n");
    }
    world.run("set a 1");
    assert_eq!(world.run("getex a exat 1"), "$1\r\n1\r\n");
    assert_eq!(world.run("exists a"), ":0\r\n");
}

/// However often it is set within a moment, and whichever of those times is the last.
#[test]
fn an_expiry_that_is_set_again_within_the_same_moment_is_that_which_was_set_last() {
    let mut world = World::new(1);
    for ms in (1000..1300).chain((900..1250).rev()) {
        world.run("set a 1 keepttl");
        world.run(&format!("pexpire a {ms}"));
    }
    world.check();
    world.now_ms += 900;
    assert_eq!(world.expire_due(usize::MAX), 0);
    assert_eq!(world.run("pttl a"), ":0\r\n");
    world.now_ms += 128;
    assert_eq!(world.expire_due(usize::MAX), 1);
    world.check();
}

#[test]
fn a_hash_whose_field_is_due_and_that_is_due_itself_goes_as_a_whole() {
    let mut world = World::new(1);
    world.run("hset h a 1 b 2");
    world.run("hpexpire h 10 fields 1 a");
    world.run("pexpire h 20");
    world.now_ms += 30;
    assert_eq!(world.expire_due(100), 1);
    assert_eq!(world.events(), ["expired 0 h"]);
    assert_eq!((world.expire_due(100), world.run("dbsize").as_str()), (0, ":0\r\n"));
    world.check();
}

/// The index by time knows keys by their hashes, the table has a few bits of each beside its places: one may not be taken for
/// another that is due in the same millisecond. Which are alike is another matter in every world.
#[test]
fn of_many_keys_that_are_due_in_the_same_milliseconds_each_goes_and_none_is_forgotten() {
    const KEYS: u64 = 40_000;
    const PER_MS: u64 = 400;
    for _ in 0..8 {
        let mut world = World::new(64);
        for number in 0..KEYS {
            world.run(&format!("set key:{number} v pxat {}", START_MS + 1000 + number / PER_MS));
            world.journal.clear();
        }
        // A few at a time, as the cycle does it.
        for ms in 0..=KEYS / PER_MS + 128 {
            world.now_ms = START_MS + 1000 + ms;
            while world.expire_due(30) > 0 {}
            world.journal.clear();
        }
        assert_eq!(world.run("dbsize"), ":0\r\n");
        world.check();
    }
}
