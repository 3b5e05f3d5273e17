//! SCAN as a client walks it.

use std::collections::HashMap;

use crate::world::World;

/// The cursor and the keys of a reply.
fn parse(reply: &str) -> (String, Vec<String>) {
    let mut lines = reply.split("\r\n");
    assert_eq!(lines.next(), Some("*2"));
    let mut bulks = lines.filter(|line| !line.starts_with(['$', '*']) && !line.is_empty()).map(str::to_owned);
    (bulks.next().expect("a cursor"), bulks.collect())
}

fn walk(world: &mut World, options: &str, mut between: impl FnMut(&mut World)) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys) = parse(&world.run(format!("scan {cursor} {options}").trim_end()));
        keys.into_iter().for_each(|key| *seen.entry(key).or_default() += 1);
        if next == "0" {
            return seen;
        }
        assert!(next.parse::<u64>().unwrap() < 1 << 53, "a double holds the cursor");
        cursor = next;
        between(world);
    }
}

#[test]
fn a_walk_over_all_partitions_returns_each_key_once() {
    for partitions in [1, 2, 16, 256] {
        let mut world = World::new(partitions);
        (0..700).for_each(|number| drop(world.run(&format!("set key:{number} {number}"))));
        for options in ["", "count 1", "count 33", "count 1000000"] {
            let seen = walk(&mut world, options, |_| {});
            assert_eq!(seen.len(), 700, "{partitions} partitions, {options}");
            assert!(seen.values().all(|&times| times == 1));
        }
    }
}

#[test]
fn keys_that_stay_are_returned_whatever_else_happens() {
    let mut world = World::new(4);
    (0..500).for_each(|number| drop(world.run(&format!("set stay:{number} 1"))));
    let mut passing = 0..0;
    let seen = walk(&mut world, "count 7", |world| {
        // Three quarters of the walk grow the keyspace, then it shrinks again.
        for _ in 0..50 {
            world.run(&format!("set pass:{} 1", passing.end));
            passing.end += 1;
        }
        if passing.end > 4_000 {
            for _ in 0..200 {
                world.run(&format!("del pass:{}", passing.start));
                passing.start += 1;
            }
        }
    });
    for number in 0..500 {
        assert_eq!(seen.get(&format!("stay:{number}")), Some(&1));
    }
}

#[test]
fn patterns_types_and_databases_filter() {
    let mut world = World::new(4);
    (0..100).for_each(|number| drop(world.run(&format!("set key:{number} 1"))));
    world.run("set other 1");
    assert_eq!(walk(&mut world, "match key:1?", |_| {}).len(), 10);
    assert_eq!(walk(&mut world, "match * count 1000", |_| {}).len(), 101);
    assert_eq!(walk(&mut world, "type string", |_| {}).len(), 101);
    assert_eq!(walk(&mut world, "type list", |_| {}).len(), 0);
    world.db = 1;
    assert_eq!(walk(&mut world, "", |_| {}).len(), 0);
}

#[test]
fn a_cursor_of_nobody_ends_the_walk() {
    let mut world = World::new(2);
    world.run("set a 1");
    for cursor in ["18446744073709551615", "9007199254740991", "4398046511103999"] {
        assert_eq!(world.run(&format!("scan {cursor}")), "*2\r\n$1\r\n0\r\n*0\r\n");
    }
    for cursor in ["", "x", "-1", "1.5", "18446744073709551616"] {
        assert_eq!(world.run(&format!("scan {cursor}")), "-ERR invalid cursor\r\n");
    }
}

#[test]
fn keys_that_are_due_are_not_returned_but_removed() {
    let mut world = World::new(2);
    world.run("set a 1");
    world.run("set b 1 px 10");
    world.now_ms += 11;
    assert_eq!(walk(&mut world, "count 100", |_| {}).len(), 1);
    assert_eq!(world.events(), ["expired 0 b"]);
    assert_eq!(world.run("dbsize"), ":1\r\n");
}
