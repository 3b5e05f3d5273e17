//! WATCH: told of every change, and of nothing else.

use std::sync::Arc;

use sterna_keyspace::Watch;

use crate::world::World;

fn watch(world: &mut World, key: &str) -> Arc<Watch> {
    let watch = Arc::new(Watch::default());
    let (db, now_ms) = (world.db, world.now_ms);
    let (part, hash, log) = world.partition_of(key.as_bytes());
    part.watch(db, hash, key.as_bytes(), now_ms, &watch, log);
    watch
}

#[test]
fn every_command_that_writes_breaks_the_watch_of_its_keys() {
    let writes = [
        "set a 2",
        "set a 1",
        "setex a 10 2",
        "getset a 2",
        "getdel a",
        "getex a ex 10",
        "del a",
        "unlink a",
        "append a 2",
        "append a",
        "incr a",
        "incrbyfloat a 1",
        "mset b 1 a 2",
        "expire a 10",
        "expire a -1",
        "rename a b",
        "rename b a",
        "copy b a replace",
        "flushall",
        "flushdb",
    ];
    for command in writes {
        let mut world = World::new(4);
        world.run("mset a 1 b 2");
        let a = watch(&mut world, "a");
        assert!(!a.is_broken());
        // An argument that is empty is written as two blanks or one at the end.
        world.run(if command == "append a" { "append a " } else { command });
        assert!(a.is_broken(), "{command}");
    }
}

#[test]
fn what_changes_nothing_breaks_nothing() {
    let mut world = World::new(4);
    world.run("mset a 1 b 2");
    let a = watch(&mut world, "a");
    let other_database = {
        world.db = 1;
        let watch = watch(&mut world, "b");
        world.db = 0;
        watch
    };
    for command in [
        "get a",
        "setnx a 2",
        "set a 2 nx",
        "set missing 2 xx",
        "expire a 10 xx",
        "persist a",
        "copy a b",
        "renamenx b a",
        "rename a a",
        "incrby a 9223372036854775807",
        "msetnx b 1 c 2",
        "touch a",
        "set b 3",
        "del b",
        "scan 0",
        "object encoding a",
        "getex a",
        "getex a persist",
    ] {
        world.run(command);
        assert!(!a.is_broken(), "{command}");
    }
    assert!(!other_database.is_broken());
}

#[test]
fn an_expiry_breaks_the_watch_of_a_key_that_was_there() {
    let mut world = World::new(1);
    world.run("set a 1 px 10");
    let alive = watch(&mut world, "a");
    world.now_ms += 11;
    assert!(!alive.is_broken(), "nobody has looked");
    world.run("exists a");
    assert!(alive.is_broken());

    world.run("set b 1 px 10");
    world.now_ms += 11;
    let dead = watch(&mut world, "b");
    world.run("exists b");
    world.expire_due(usize::MAX);
    assert!(!dead.is_broken(), "it was gone already");
    world.run("set b 1");
    assert!(dead.is_broken());
}

#[test]
fn flushing_breaks_only_the_watches_of_keys_that_were_there() {
    let mut world = World::new(4);
    world.run("set a 1");
    let (there, missing) = (watch(&mut world, "a"), watch(&mut world, "missing"));
    world.db = 1;
    world.run("flushdb");
    assert!(!there.is_broken(), "another database");
    world.run("flushall");
    assert!(there.is_broken());
    assert!(!missing.is_broken());
}

#[test]
fn several_watch_one_key_and_one_stops() {
    let mut world = World::new(1);
    let (first, second) = (watch(&mut world, "a"), watch(&mut world, "a"));
    let (part, hash, _) = world.partition_of(b"a");
    part.unwatch(0, hash, b"a", &first);
    world.run("set a 1");
    assert!(!first.is_broken());
    assert!(second.is_broken());
}
