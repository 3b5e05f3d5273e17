//! Effects as bytes: what a journal keeps must be readable by every later version, and nothing in a file may harm.

use proptest::prelude::*;
use sterna_keyspace::{Effects, KeyHash, Partition, What};

use crate::world::World;

/// The format is on people's disks: this test may grow, and no line of it may change.
#[test]
fn effects_are_written_as_they_always_were() {
    let mut world = World::new(1);
    let written = [
        ("set a 1", "010001610a000101000000000000 00"),
        ("set b hello px 1000", "01000162 0c e9d795ffbc31 00 68656c6c6f"),
        ("append b !", "04000162 01 21"),
        ("pexpireat b 1700000005000", "03000162 06 89f795ffbc31"),
        ("persist b", "03000162 01 00"),
        ("rename b c", "02000162 00 01000163 08 00 00 68656c6c6f21"),
        ("incrbyfloat a 0.5", "01000161 05 00 00 312e35"),
        ("getdel a", "02000161 00"),
        ("setrange c 2 LL", "0b000163 03 02 4c4c"),
        ("setbit d 300 1", "0b000164 02 25 08"),
        ("flushdb", "050000 00"),
        ("flushall", "05ff00 00"),
        ("get c", ""),
        ("rpush l a 7 bc", "0700016c 08 01 0161 0137 026263"),
        ("lpush l x", "0700016c 03 00 0178"),
        ("lset l 1 y", "0700016c 04 04 01 0179"),
        ("linsert l before bc z", "0700016c 04 05 03 017a"),
        ("lrem l -1 x", "0700016c 04 08 01 0178"),
        ("lmove l m left right", "0700016c 02 02 01 0700016d 03 01 0179"),
        ("rpop l", "0700016c 02 03 01"),
        ("rpushx l y y", "0700016c 05 01 0179 0179"),
        ("lrem l 0 y", "0700016c 04 07 02 0179"),
        ("copy l n", "0100016e 10 00 07 01 00 0c0000000200 0701 817a02 ff"),
        ("rpush l w", "0700016c 03 01 0177"),
        ("ltrim l 1 -1", "0700016c 02 02 01"),
        ("ltrim l 1 0", "0200016c 00"),
        // A counter is set in place; what is written is the same as of SET.
        ("set i 41", "01000169 0a 00 01 2900000000000000"),
        ("incr i", "01000169 0a 00 01 2a00000000000000"),
        ("decrby i 50", "01000169 0a 00 01 f8ffffffffffffff"),
        ("pexpireat i 1700000005000", "03000169 06 89f795ffbc31"),
        ("incrby i 8", "01000169 0f 89f795ffbc31 01 0000000000000000"),
    ];
    for (command, expected) in written {
        world.journal.clear();
        world.run(command);
        let hex: String = world.journal.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""), "{command}");
    }
}

#[test]
fn long_bodies_carry_longer_lengths() {
    let mut world = World::new(1);
    for len in [0, 1, 100, 125, 126, 127, 128, 1_000, 20_000, 100_000] {
        world.journal.clear();
        let value = vec![b'x'; len];
        world.run_words(&[b"set", b"key", &value]);
        let effects: Vec<_> = Effects::new(&world.journal).collect();
        let [Ok(effect)] = &effects[..] else { panic!("one effect for {len} bytes") };
        let What::Set { value: read, expire_at_ms: None } = &effect.what else { panic!("a set") };
        assert_eq!(read.text().as_deref(), Some(&value[..]));
    }
}

#[test]
fn an_effect_that_does_not_fit_is_refused() {
    let mut world = World::new(1);
    for command in ["expire a 100", "append a x"] {
        world.run("set a 1");
        world.journal.clear();
        world.run(command);
        let mut part = Partition::new(KeyHash::random(), 1);
        let effect = Effects::new(&world.journal).next().unwrap().unwrap();
        // An append to nothing makes a string, as the command does; an expiry of nothing is no state at all.
        assert_eq!(part.apply(0, effect), command == "append a x");
    }
    world.db = 1;
    world.journal.clear();
    world.run("set a 1");
    let effect = Effects::new(&world.journal).next().unwrap().unwrap();
    assert!(!Partition::new(KeyHash::random(), 1).apply(0, effect), "a database that is not there");
}

/// A snapshot that runs leaves out what is gone when its turn comes; of what was done to it before, the log has a part. How a
/// collection lost its last element must leave nothing of that part.
#[test]
fn a_collection_that_loses_its_last_element_is_gone_wherever_that_is_applied() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("rpush k a b c", "rpush k d", &["ltrim k 5 -1", "lpop k 4", "lmpop 1 k left count 9"]),
        ("rpush k a a", "lpush k a", &["lrem k 0 a", "lrem k -3 a"]),
        ("rpush k a", "rpush k b", &["lmovem k other left right count 2 bulk", "sort nothing store k"]),
        ("sadd k a b c", "sadd k d", &["spop k 4", "srem k a b c d", "sinterstore k k nothing"]),
        ("hset k a 1 b 2", "hset k c 3", &["hdel k a b c", "hgetdel k fields 3 a b c"]),
        (
            "zadd k 1 a 2 b",
            "zadd k 3 c",
            &["zpopmin k 3", "zrem k a b c", "zremrangebyrank k 0 -1", "zmpop 1 k max count 5"],
        ),
    ];
    for (before, since, commands) in cases {
        for command in commands {
            let mut world = World::new(1);
            world.run(before);
            world.journal.clear();
            world.run(since);
            world.run(command);
            assert_eq!(world.run("exists k"), ":0\r\n", "{command}");
            let mut part = Partition::new(KeyHash::random(), 2);
            for effect in Effects::new(&world.journal) {
                part.apply(0, effect.expect("an effect"));
            }
            let others = usize::from(command.contains("other"));
            assert_eq!(part.records(0).count(), others, "{before}, {since}, {command}");
        }
    }
}

/// What is done to the bytes of a journal.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: prop::sample::Index, bit: u8 },
    Cut { at: prop::sample::Index },
    Insert { at: prop::sample::Index, byte: u8 },
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        (at(), 0u8..8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        at().prop_map(|at| Damage::Cut { at }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert { at, byte }),
    ]
}

/// Reads and applies what can be; only that it comes back matters.
fn apply_all(bytes: &[u8]) {
    let hash = KeyHash::random();
    let mut part = Partition::new(hash.clone(), 16);
    let mut effects = Effects::new(bytes);
    while let Some(Ok(effect)) = effects.next() {
        let hash = hash.of(effect.key);
        part.apply(hash, effect);
    }
    assert!(effects.next().is_none(), "nothing is read behind what can't be");
    part.check();
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        apply_all(&bytes);
    }

    #[test]
    fn damaged_effects_are_read_or_refused(damages in prop::collection::vec(damage(), 1..4)) {
        let mut world = World::new(1);
        for command in [
            "set a 1", "set b hello px 1000", "append b !", "persist b", "rename b c", "copy c d", "del a", "flushdb",
            "xadd s 1-1 f v g w", "xadd s 1-2 f v g w", "xgroup create s group 0", "copy s t", "xdel s 1-1",
            "setrange k 300000 x", "setbit k 9 1", "copy k l", "pfadd h a b", "pfcount h",
        ] {
            world.run(command);
        }
        let mut bytes = std::mem::take(&mut world.journal);
        for damage in damages {
            match damage {
                Damage::Flip { at, bit } if !bytes.is_empty() => {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
                Damage::Cut { at } => bytes.truncate(at.index(bytes.len() + 1)),
                Damage::Insert { at, byte } => bytes.insert(at.index(bytes.len() + 1), byte),
                Damage::Flip { .. } => {}
            }
        }
        apply_all(&bytes);
    }
}
