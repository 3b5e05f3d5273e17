//! Sets through their commands: random ones against plain sets, with effects replayed at any moment; walks; copies.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::world::World;

const KEYS: [&str; 3] = ["a", "b", "c"];

/// A key that is never there, by its number behind those.
const MISSING: usize = KEYS.len();

fn name_of(key: usize) -> &'static str {
    if key == MISSING { "missing" } else { KEYS[key] }
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize, Vec<i64>, bool),
    Remove(usize, Vec<i64>),
    Pop(usize, usize),
    Move(usize, usize, i64),
    Store(&'static str, usize, Vec<usize>),
    Copy(usize, usize),
    Rename(usize, usize),
    Replay,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let numbers = || proptest::collection::vec(0i64..400, 1..120);
    prop_oneof![
        4 => (key(), numbers(), any::<bool>()).prop_map(|(key, numbers, text)| Step::Add(key, numbers, text)),
        1 => key().prop_map(|key| Step::Add(key, (0..900).collect(), true)),
        3 => (key(), numbers()).prop_map(|(key, numbers)| Step::Remove(key, numbers)),
        3 => (key(), 1usize..600).prop_map(|(key, count)| Step::Pop(key, count)),
        2 => (key(), key(), 0i64..20).prop_map(|(from, to, member)| Step::Move(from, to, member)),
        3 => (
            prop_oneof![Just("sinterstore"), Just("sunionstore"), Just("sdiffstore")],
            key(),
            proptest::collection::vec(prop_oneof![9 => key(), 1 => Just(MISSING)], 1..6),
        )
            .prop_map(|(command, to, from)| Step::Store(command, to, from)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => Just(Step::Replay),
    ]
}

fn members(world: &mut World, key: &str) -> BTreeSet<String> {
    let reply = world.run(&format!("smembers {key}"));
    let all: Vec<String> = bulks(&reply);
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len(), "a member twice");
    assert_eq!(world.run(&format!("scard {key}")), format!(":{}\r\n", set.len()));
    set
}

fn bulks(reply: &str) -> Vec<String> {
    reply.split("\r\n").skip(1).collect::<Vec<_>>().chunks_exact(2).map(|pair| pair[1].to_owned()).collect()
}

fn add(world: &mut World, key: &str, names: impl IntoIterator<Item = String>) {
    let mut words = vec![b"sadd".to_vec(), key.as_bytes().to_vec()];
    words.extend(names.into_iter().map(String::into_bytes));
    for part in words[2..].chunks(500) {
        let words: Vec<&[u8]> = words[..2].iter().chain(part).map(Vec::as_slice).collect();
        world.run_words(&words);
    }
}

type Model = BTreeMap<&'static str, BTreeSet<String>>;

fn set_of(model: &Model, key: usize) -> BTreeSet<String> {
    KEYS.get(key).and_then(|key| model.get(key)).cloned().unwrap_or_default()
}

fn play(world: &mut World, model: &mut Model, step: &Step) {
    match step {
        Step::Add(key, numbers, text) => {
            let name = |number: &i64| if *text { format!("name-{number}") } else { number.to_string() };
            add(world, KEYS[*key], numbers.iter().map(name));
            model.entry(KEYS[*key]).or_default().extend(numbers.iter().map(name));
        }
        Step::Remove(key, numbers) => {
            let names: Vec<String> =
                numbers.iter().flat_map(|number| [number.to_string(), format!("name-{number}")]).collect();
            let before = set_of(model, *key);
            let after: BTreeSet<String> =
                before.iter().filter(|name| !names.contains(name)).cloned().collect();
            let reply = world.run(&format!("srem {} {}", KEYS[*key], names.join(" ")));
            assert_eq!(reply, format!(":{}\r\n", before.len() - after.len()));
            model.insert(KEYS[*key], after);
        }
        Step::Pop(key, count) => {
            let popped = bulks(&world.run(&format!("spop {} {count}", KEYS[*key])));
            let set = model.entry(KEYS[*key]).or_default();
            assert_eq!(popped.len(), set.len().min(*count));
            assert!(popped.iter().all(|name| set.remove(name)));
        }
        Step::Move(from, to, member) => {
            let reply = world.run(&format!("smove {} {} {member}", KEYS[*from], KEYS[*to]));
            let is_there = set_of(model, *from).contains(&member.to_string());
            assert_eq!(reply, format!(":{}\r\n", i32::from(is_there)));
            if is_there {
                model.entry(KEYS[*from]).or_default().remove(&member.to_string());
                model.entry(KEYS[*to]).or_default().insert(member.to_string());
            }
        }
        Step::Store(command, to, from) => {
            let result = from.iter().map(|key| set_of(model, *key)).reduce(|left, right| match *command {
                "sinterstore" => &left & &right,
                "sunionstore" => &left | &right,
                _ => &left - &right,
            });
            let result = result.expect("at least one set");
            // What is answered, counted and stored is the same.
            let plain = command.trim_end_matches("store");
            let keys = from.iter().map(|key| name_of(*key)).collect::<Vec<_>>().join(" ");
            let count = from.len();
            let answered: BTreeSet<String> =
                bulks(&world.run(&format!("{plain} {keys}"))).into_iter().collect();
            assert_eq!(answered, result);
            let counted = world.run(&format!("{plain}card {count} {keys}"));
            assert_eq!(counted, format!(":{}\r\n", result.len()));
            let limited = world.run(&format!("{plain}card {count} {keys} limit 3"));
            assert_eq!(limited, format!(":{}\r\n", result.len().min(3)));
            let stored = world.run(&format!("{command} {} {keys}", KEYS[*to]));
            assert_eq!(stored, format!(":{}\r\n", result.len()));
            model.insert(KEYS[*to], result);
        }
        Step::Copy(from, to) => {
            if from != to {
                world.run(&format!("copy {} {} replace", KEYS[*from], KEYS[*to]));
                let set = set_of(model, *from);
                if !set.is_empty() {
                    model.insert(KEYS[*to], set);
                }
            }
        }
        Step::Rename(from, to) => {
            if from != to && !set_of(model, *from).is_empty() {
                assert_eq!(world.run(&format!("rename {} {}", KEYS[*from], KEYS[*to])), "+OK\r\n");
                let set = model.remove(KEYS[*from]).unwrap_or_default();
                model.insert(KEYS[*to], set);
            }
        }
        Step::Replay => *world = replayed(world),
    }
}

/// Another world with what the effects say, in the same encodings.
fn replayed(world: &mut World) -> World {
    let mut other = world.replayed(2);
    other.journal = world.journal.clone();
    for key in KEYS {
        assert_eq!(members(&mut other, key), members(world, key));
        let [one, two] = [&mut other, world].map(|world| world.run(&format!("object encoding {key}")));
        assert_eq!(one, two, "encoding of {key}");
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sets_hold_what_plain_sets_hold_and_effects_tell_it(steps in proptest::collection::vec(step(), 1..25)) {
        let (mut world, mut model) = (World::new(4), Model::new());
        for step in &steps {
            play(&mut world, &mut model, step);
            model.retain(|_, set| !set.is_empty());
            for key in KEYS {
                let expected = model.get(key).cloned().unwrap_or_default();
                prop_assert_eq!(members(&mut world, key), expected);
                prop_assert_eq!(world.run(&format!("exists {key}")), format!(":{}\r\n", u8::from(model.contains_key(key))));
            }
            world.check();
        }
        replayed(&mut world);
    }
}

#[test]
fn a_walk_answers_what_stays_exactly_once_whatever_comes_and_goes() {
    let mut world = World::new(1);
    add(&mut world, "s", (0..3_000).map(|number| format!("stays-{number}")));
    let (mut cursor, mut seen, mut round) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = world.run(&format!("sscan s {cursor} count 50 match stays-*"));
        let lines: Vec<&str> = reply.split("\r\n").collect();
        cursor = lines[2].to_owned();
        seen.extend(lines[4..].chunks_exact(2).map(|pair| pair[1].to_owned()));
        if cursor == "0" {
            break;
        }
        add(&mut world, "s", (0..100).map(|number| format!("comes-{round}-{number}")));
        if round > 20 {
            let gone: Vec<String> = (0..150).map(|number| format!("comes-{}-{number}", round - 20)).collect();
            world.run(&format!("srem s {}", gone.join(" ")));
        }
        round += 1;
    }
    assert!(round > 40);
    seen.sort();
    let before = seen.len();
    seen.dedup();
    assert_eq!((before, seen.len()), (3_000, 3_000));
}

#[test]
fn random_members_leave_no_effect_and_spop_says_what_it_took() {
    let mut world = World::new(1);
    add(&mut world, "s", (0..1_000).map(|number| number.to_string()));
    let before = world.journal.len();
    for count in ["", " 1", " 10", " 999", " 5000", " -20"] {
        let reply = bulks(&world.run(&format!("srandmember s{count}")));
        let different: BTreeSet<&String> = reply.iter().collect();
        assert!(count == " -20" || different.len() == reply.len());
    }
    assert_eq!(world.journal.len(), before);
    for count in ["", " 3", " 900", " 50"] {
        world.run(&format!("spop s{count}"));
        let mut other = world.replayed(1);
        assert_eq!(members(&mut other, "s"), members(&mut world, "s"), "after SPOP s{count}");
    }
}

#[test]
fn a_negative_count_of_srandmember_is_bounded() {
    let mut world = World::new(1);
    world.run("sadd s a");
    assert_eq!(bulks(&world.run("srandmember s -1000000")).len(), 1_000_000);
    for count in ["-1000001", "-9223372036854775807"] {
        assert_eq!(world.run(&format!("srandmember s {count}")), "-ERR value is out of range\r\n");
    }
}

#[test]
fn a_long_reply_made_in_steps_is_the_whole_reply() {
    let mut world = World::new(1);
    add(&mut world, "s", (0..30_000).map(|number| format!("member:{number}")));
    add(&mut world, "t", (15_000..50_000).map(|number| format!("member:{number}")));
    let numbers = |range: std::ops::Range<i32>| range.map(|number| format!("member:{number}")).collect();
    let cases: [(&str, BTreeSet<String>); 6] = [
        ("smembers s", numbers(0..30_000)),
        ("sinter s t", numbers(15_000..30_000)),
        ("sunion s t", numbers(0..50_000)),
        ("sdiff s t", numbers(0..15_000)),
        ("sdiff t s", numbers(30_000..50_000)),
        ("sinter s s s", numbers(0..30_000)),
    ];
    for (command, expected) in cases {
        // In steps, and at once, as between MULTI and EXEC.
        for may_block in [true, false] {
            (world.caller.may_block, world.caller.may_yield) = (may_block, may_block);
            let reply = world.run(command);
            assert!(reply.starts_with(&format!("*{}\r\n", expected.len())), "{command}");
            let answered = bulks(&reply);
            assert_eq!(answered.len(), expected.len());
            assert_eq!(answered.into_iter().collect::<BTreeSet<_>>(), expected, "{command}");
        }
    }
}

#[test]
fn a_copy_of_a_large_set_takes_no_time_and_goes_its_own_way() {
    let mut world = World::new(1);
    add(&mut world, "s", (0..50_000).map(|number| format!("member:{number}")));
    world.run("copy s t");
    world.run("srem t member:1 member:2");
    world.run("sadd s new");
    assert_eq!(world.run("scard s"), ":50001\r\n");
    assert_eq!(world.run("scard t"), ":49998\r\n");
    assert_eq!(world.run("sismember s member:1"), ":1\r\n");
    assert_eq!(world.run("sismember t new"), ":0\r\n");
    world.check();
    world.run("del s");
    assert_eq!(world.log.take_garbage().len(), 1, "what is slow to free is handed over");
    world.run("sadd other x");
    world.run("sinterstore t t other");
    assert_eq!(world.log.take_garbage().len(), 1);
    assert_eq!(world.run("exists t"), ":0\r\n");
}

#[test]
fn events_tell_of_each_change_and_of_nothing_else() {
    let mut world = World::new(1);
    let cases: [(&str, &[&str]); 17] = [
        ("sadd s a b", &["new 0 s", "sadd 0 s"]),
        ("sadd s a", &[]),
        ("srem s nobody", &[]),
        ("srem nothing a", &[]),
        ("srem s a", &["srem 0 s"]),
        ("smove s t b", &["srem 0 s", "del 0 s", "new 0 t", "sadd 0 t"]),
        ("sadd u b c", &["new 0 u", "sadd 0 u"]),
        ("smove u t b", &["srem 0 u"]),
        ("smove t t b", &[]),
        ("sunionstore d t u", &["new 0 d", "sunionstore 0 d"]),
        ("sinterstore d t u", &["del 0 d"]),
        ("sinterstore d t u", &[]),
        ("sdiffstore t t nothing", &["keymiss 0 nothing", "overwritten 0 t", "sdiffstore 0 t"]),
        ("spop t", &["spop 0 t", "del 0 t"]),
        ("spop t", &[]),
        ("spop u 5", &["spop 0 u", "del 0 u"]),
        ("spop u 5", &[]),
    ];
    for (command, events) in cases {
        world.run(command);
        assert_eq!(world.events(), events, "{command}");
    }
}
