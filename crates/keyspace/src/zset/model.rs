//! A sorted set as a plain sorted list, to compare with.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::collection::Limits;
use crate::rdb;
use crate::stride::Stride;

type Element = (f64, Vec<u8>);

#[derive(Debug, Clone)]
enum Step {
    Set(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRanks(usize, usize),
    Ranks(ScoreRange),
    Lex(Vec<u8>, Vec<u8>),
    ThroughSnapshot,
    ThroughDump,
    Clone,
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-3i32..3).prop_map(f64::from),
        2 => (-3i32..3).prop_map(|number| f64::from(number) / 4.0),
        1 => any::<f64>().prop_filter("a score is a number", |score| !score.is_nan() && score.to_bits() != 1 << 63),
        1 => Just(f64::INFINITY),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u32..60).prop_map(|number| number.to_string().into_bytes()),
        3 => "[a-c]{0,3}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 30..70),
    ]
}

fn member_of_any_length() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => member(),
        3 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        3 => (any::<i64>(), 1..63u32).prop_map(|(number, bits)| (number >> bits).to_string().into_bytes()),
        2 => "element:[0-9]{1,9}".prop_map(String::into_bytes),
        1 => (100usize..300, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (member(), score()).prop_map(|(member, score)| Step::Set(member, score)),
        6 => member().prop_map(Step::Remove),
        2 => (0usize..40, 0usize..6).prop_map(|(from, count)| Step::RemoveRanks(from, count)),
        3 => (score(), score(), any::<bool>(), any::<bool>())
            .prop_map(|(min, max, above, below)| Step::Ranks(ScoreRange { min, max, above, below })),
        2 => (member(), member()).prop_map(|(min, max)| Step::Lex(min, max)),
        1 => Just(Step::ThroughSnapshot),
        1 => Just(Step::ThroughDump),
        1 => Just(Step::Clone),
    ]
}

fn before(a: &Element, b: &Element) -> bool {
    a.0 < b.0 || a.0 == b.0 && a.1 < b.1
}

fn elements(zset: &Zset, ranks: Range<usize>, direction: Direction) -> Vec<Element> {
    let mut elements = Vec::new();
    zset.view().visit(ranks, direction, |member, score| elements.push((score, member.to_vec())));
    elements
}

fn set(model: &mut Vec<Element>, member: &[u8], score: f64) -> Option<f64> {
    let old = remove(model, member);
    let element = (score, member.to_vec());
    model.insert(model.partition_point(|other| before(other, &element)), element);
    old
}

fn remove(model: &mut Vec<Element>, member: &[u8]) -> Option<f64> {
    let at = model.iter().position(|(_, other)| other == member)?;
    Some(model.remove(at).0)
}

fn check(zset: &Zset, model: &[Element]) {
    zset.check();
    assert_eq!(elements(zset, 0..zset.view().len(), Direction::Forward), model);
    let mut backward = elements(zset, 0..zset.view().len(), Direction::Backward);
    backward.reverse();
    assert_eq!(backward, model);
    for (rank, (score, member)) in model.iter().enumerate() {
        assert_eq!(zset.view().rank(member), Some((rank, *score)));
    }
    let (mut walked, mut from) = (Vec::new(), Some(0));
    while let Some(cursor) = from {
        from = zset.view().scan(cursor, &mut Stride::new(3, 300, None), |_, member, score| {
            walked.push((score, member.to_vec()))
        });
    }
    walked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    walked.dedup();
    let mut all = model.to_vec();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    assert_eq!(walked, all);
}

fn run(steps: Vec<Step>, start: Zset, limits: &Limits) {
    let (mut zset, mut model) = (start, Vec::<Element>::new());
    let mut clones = Vec::new();
    for step in steps {
        match step {
            Step::Set(member, score) => {
                assert_eq!(zset.set(&member, score, limits), set(&mut model, &member, score));
            }
            Step::Remove(member) => assert_eq!(zset.remove(&member), remove(&mut model, &member)),
            Step::RemoveRanks(from, count) => {
                let from = from.min(model.len());
                let to = model.len().min(from + count);
                let mut removed = Vec::new();
                zset.remove_ranks(from..to, &mut |member, score| removed.push((score, member.to_vec())));
                assert_eq!(removed, model.drain(from..to).collect::<Vec<_>>());
            }
            Step::Ranks(range) => {
                let is_in = |score: f64| {
                    (score > range.min || score == range.min && !range.above)
                        && (score < range.max || score == range.max && !range.below)
                };
                let expected: Vec<Element> =
                    model.iter().filter(|(score, _)| is_in(*score)).cloned().collect();
                let ranks = zset.view().ranks_by_score(&range);
                assert_eq!(elements(&zset, ranks, Direction::Forward), expected);
            }
            Step::Lex(min, max) => {
                let mut level = Zset::default();
                model.iter().for_each(|(_, member)| {
                    level.set(member, 7.0, limits);
                });
                let range = LexRange { min: Lex::Including(&min), max: Lex::Excluding(&max) };
                let mut expected: Vec<Element> =
                    model.iter().map(|(_, member)| (7.0, member.clone())).collect();
                expected.retain(|(_, member)| *member >= min && *member < max);
                expected.sort_by(|a, b| a.1.cmp(&b.1));
                assert_eq!(elements(&level, level.view().ranks_by_lex(&range), Direction::Forward), expected);
            }
            Step::ThroughSnapshot if !model.is_empty() => {
                let mut bytes = Vec::new();
                zset.view().write(&mut bytes, &mut |_| {});
                zset = snapshot::read(&bytes).expect("what was written is read");
            }
            Step::ThroughDump if !model.is_empty() => {
                let payload = rdb::dump(&zset.into_value());
                let value = rdb::restore(&payload, limits).expect("what was written is read");
                zset = Zset::seen((&value).into()).expect("it is a sorted set").to_zset();
            }
            Step::ThroughSnapshot | Step::ThroughDump => {}
            Step::Clone => clones.push((zset.clone(), model.clone())),
        }
        assert_eq!(zset.view().len(), model.len());
    }
    check(&zset, &model);
    clones.iter().for_each(|(zset, model)| check(zset, model));
}

proptest! {
    #[test]
    fn a_sorted_set_is_a_sorted_list_without_a_member_twice(steps in proptest::collection::vec(step(), 0..200)) {
        let limits = Limits { zset_entries: 16, ..Limits::DEFAULT };
        run(steps, Zset::default(), &limits);
    }

    #[test]
    fn a_small_set_of_any_width_is_one_as_well(
        steps in proptest::collection::vec(step(), 0..200),
        members in proptest::collection::vec(member_of_any_length(), 0..300),
        scale in prop_oneof![Just(1.0), Just(100.0), Just(1e5), Just(1e9), Just(0.1)],
    ) {
        let limits = Limits { zset_entries: 400, zset_value_bytes: 300, ..Limits::DEFAULT };
        let sets = members.into_iter().enumerate().map(|(nth, member)| {
            Step::Set(member, if nth % 37 < 30 { (nth * 7 % 50) as f64 * scale } else { 3.0 })
        });
        run(sets.chain(steps).collect(), Zset::default(), &limits);
    }

    #[test]
    fn a_small_set_is_written_as_the_listpack_of_its_elements(members in proptest::collection::vec((member_of_any_length(), score()), 1..300)) {
        let limits = Limits { zset_entries: 400, zset_value_bytes: 300, ..Limits::DEFAULT };
        let (mut zset, mut packed) = (Zset::default(), crate::packed::Packed::default());
        for (member, score) in &members {
            zset.set(member, *score, &limits);
        }
        zset.view().visit_all(|member, score| {
            let mut digits = Vec::new();
            small::write_score(&mut digits, score);
            packed.push_back([member, &digits]);
        });
        let (mut written, mut expected) = (Vec::new(), vec![0]);
        zset.view().write(&mut written, &mut |_| {});
        packed.view().write_listpack(&mut expected);
        prop_assert_eq!(&written, &expected);
        let read = snapshot::read(&written).expect("what was written is read");
        read.check();
        prop_assert_eq!(read.view().len(), zset.view().len());
    }

    #[test]
    fn members_whose_hashes_are_equal_are_told_apart(steps in proptest::collection::vec(step(), 0..200)) {
        let limits = Limits { zset_entries: 0, ..Limits::DEFAULT };
        let steps = steps.into_iter().filter(|step| !matches!(step, Step::ThroughSnapshot | Step::ThroughDump)).collect();
        run(steps, Zset(Form::Large(Box::new(Large::with_hash(|member| member.last().map_or(u64::MAX, |byte| u64::from(byte % 4)))))),
            &limits);
    }
}

#[test]
fn a_small_set_takes_no_more_bytes_than_its_listpack() {
    let members: [fn(u32) -> String; 3] =
        [|n| format!("element:{n:012}"), |n| n.to_string(), |n| (1_000_000_007 + 7 * n).to_string()];
    let scores: [fn(u32) -> f64; 6] = [
        |n| f64::from(n),
        |n| f64::from(n) / 4.0,
        |n| f64::from(n) / 10.0,
        |n| 1.7e9 + f64::from(n),
        |n| 1.7e12 + f64::from(n),
        |n| 1.0 / f64::from(n + 3),
    ];
    for count in [1, 2, 5, 10, 16, 17, 64, 127] {
        for (member, score) in
            members.iter().flat_map(|member| scores.iter().map(move |score| (member, score)))
        {
            let (mut zset, mut listpack) = (Zset::default(), Vec::new());
            for n in 0..count {
                zset.set(member(n).as_bytes(), score(n), &Limits::DEFAULT);
            }
            zset.view().write(&mut listpack, &mut |_| {});
            let (own, other) = (zset.packed().map_or(usize::MAX, <[u8]>::len), listpack.len());
            assert!(own < other, "{own} of {other} bytes: {count} of {} with {}", member(1), score(1));
        }
    }
}

#[test]
fn members_longer_than_a_leaf_come_and_go_beside_short_ones() {
    let limits = Limits { zset_entries: 0, ..Limits::DEFAULT };
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut zset, mut model) = (Zset::default(), Vec::new());
        for step in 0..3_000 {
            let number = random.u32(..400);
            let len = [0, 10, 100, 300, 2_000, 5_000, 20_000][number as usize % 7];
            let mut member = number.to_string().into_bytes();
            member.resize(member.len() + len, b'x');
            if random.u32(..1_000) < if step / 500 % 2 == 0 { 700 } else { 300 } {
                let score = f64::from(random.u32(..200));
                assert_eq!(
                    zset.set(&member, score, &limits),
                    set(&mut model, &member, score),
                    "{seed} {step}"
                );
            } else {
                assert_eq!(zset.remove(&member), remove(&mut model, &member), "{seed} {step}");
            }
            if step % 10 == 0 {
                zset.check();
            }
        }
        check(&zset, &model);
    }
}

#[test]
fn a_small_set_that_has_been_larger_is_searched_down_to_its_last_member() {
    let names = |n: u8| vec![b'a' + n % 26; usize::from(n / 26) + 1];
    for last_first in [true, false] {
        let mut zset = Zset::default();
        for n in 0..60 {
            zset.set(&names(n), f64::from(n), &Limits::DEFAULT);
        }
        for n in 0..60 {
            let n = if last_first { 59 - n } else { n };
            zset.check();
            assert_eq!(zset.view().score(b"not there"), None);
            assert_eq!(zset.view().score(b"c"), zset.view().rank(b"c").map(|(_, score)| score));
            zset.remove(&names(n));
        }
        assert_eq!(zset.view().len(), 0);
    }
}
