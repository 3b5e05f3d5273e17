//! SWAPDB: two databases change places, for everybody at once, in a record that says so and nothing else.

use std::sync::Arc;

use crate::world::{START_MS, World};

fn with_keys(partitions: usize) -> World {
    let mut world = World::new(partitions);
    (0..20).for_each(|n| drop(world.run(&format!("set k{n} zero{n}"))));
    world.run("set soon v px 1000");
    world.db = 1;
    (10..30).for_each(|n| drop(world.run(&format!("set k{n} one{n}"))));
    world
}

fn get(world: &mut World, db: usize, key: &str) -> String {
    world.db = db;
    world.run(&format!("get {key}"))
}

#[test]
fn each_database_has_the_keys_of_the_other_with_their_expiries() {
    for partitions in [1, 8] {
        let mut world = with_keys(partitions);
        let before = world.contents();
        assert_eq!(world.run("swapdb 0 1"), "+OK\r\n");
        let swapped = before.iter().map(|(db, key, value, at)| (1 - db, key.clone(), value.clone(), *at));
        let mut swapped: Vec<_> = swapped.collect();
        swapped.sort();
        assert_eq!(world.contents(), swapped);
        world.now_ms += 2000;
        assert_eq!(world.expire_due(100), 1);
        assert_eq!(world.events(), ["expired 1 soon"]);
        world.run("swapdb 1 0");
        assert_eq!(get(&mut world, 0, "k5"), "$5\r\nzero5\r\n");
        assert_eq!(get(&mut world, 1, "k5"), "$-1\r\n");
    }
}

#[test]
fn what_is_written_before_between_and_after_swaps_is_replayed() {
    let mut world = with_keys(8);
    for round in 0..4 {
        for db in [0, 1] {
            world.db = db;
            world.run(&format!("set round{round} in{db}"));
            world.run(&format!("append k{} +{round}", 10 + round));
            world.run(&format!("rename k{} r{db}", 15 + round));
        }
        world.run(["swapdb 0 1", "swapdb 1 0", "swapdb 0 0", "flushdb"][round]);
        for partitions in [1, 3] {
            assert_eq!(world.replayed(partitions).contents(), world.contents(), "round {round}");
        }
    }
}

#[test]
fn a_swap_is_one_record_whatever_the_databases_hold() {
    let mut world = with_keys(8);
    let before = world.journal.len();
    world.run("swapdb 0 1");
    assert!(world.journal.len() - before < 16);
    let before = world.journal.len();
    world.run("swapdb 1 1");
    assert_eq!(world.journal.len(), before);
}

#[test]
fn a_watched_key_is_touched_if_it_was_in_either_database() {
    for (key, is_broken) in [("k0", true), ("k12", true), ("k25", true), ("nothing", false)] {
        for db in [0, 1] {
            let mut world = with_keys(8);
            let watch = Arc::default();
            let (part, hash, log) = world.partition_of(key.as_bytes());
            let now_ms = START_MS;
            part.watch(db, hash, key.as_bytes(), now_ms, &watch, log);
            world.run("swapdb 1 0");
            assert_eq!(watch.is_broken(), is_broken, "{key} in {db}");
        }
    }
}

#[test]
fn who_waits_is_served_from_what_comes_into_its_database() {
    let mut world = World::new(8);
    world.db = 1;
    world.run("rpush l a b");
    world.db = 0;
    world.run("blpop l 0");
    world.run("swapdb 0 1");
    assert_eq!(world.log.served().len(), 1);
    assert_eq!(world.run("lrange l 0 -1"), "*1\r\n$1\r\nb\r\n");
    world.db = 1;
    assert_eq!(world.run("exists l"), ":0\r\n");
}

#[test]
fn databases_that_are_none_are_refused() {
    let mut world = World::new(1);
    for (request, refused) in [
        ("swapdb x 1", "-ERR invalid first DB index\r\n"),
        ("swapdb 0 x", "-ERR invalid second DB index\r\n"),
        ("swapdb 99999999999 1", "-ERR invalid first DB index\r\n"),
        ("swapdb 0 2", "-ERR DB index is out of range\r\n"),
        ("swapdb -1 0", "-ERR DB index is out of range\r\n"),
    ] {
        assert_eq!(world.run(request), refused, "{request}");
    }
}
