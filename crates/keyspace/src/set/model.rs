//! The model test: random edits of a set and of a plain one. Beside it runs a copy of the set that is told only the effects,
//! as a journal would tell it; in the end all three agree, and so does what a snapshot and a payload give back.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;
use crate::changes::{Changes, Wants};
use crate::collection::Edits;
use crate::effect::{Effects, What};
use crate::event::EventClasses;
use crate::rdb;
use crate::stride::Stride;

const LIMITS: Limits = Limits { set_integers: 12, set_entries: 8, set_value_bytes: 10, ..Limits::DEFAULT };

#[derive(Debug, Clone)]
enum Step {
    Add(Vec<Vec<u8>>),
    Discard(Vec<Vec<u8>>),
    Pop(u64),
    KeepOnly(usize),
    Copy,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-20i64..20).prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i32>().prop_map(|number| number.to_string().into_bytes()),
        2 => proptest::collection::vec(b'a'..b'd', 0..3),
        1 => proptest::collection::vec(any::<u8>(), 9..12),
        1 => Just(b"007".to_vec()),
        1 => Just(vec![b'x'; 200]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::collection::vec(name(), 1..8);
    prop_oneof![
        5 => names().prop_map(Step::Add),
        1 => proptest::collection::vec(name(), 8..40).prop_map(Step::Add),
        3 => names().prop_map(Step::Discard),
        2 => any::<u64>().prop_map(Step::Pop),
        1 => (1usize..5).prop_map(Step::KeepOnly),
        1 => Just(Step::Copy),
    ]
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    set.view().for_each(|member| assert!(all.insert(member.to_bytes()), "{member:?} twice"));
    assert_eq!(all.len(), set.view().len());
    all
}

/// What OBJECT ENCODING says after the members were added one by one to an empty set.
fn grown(names: &[Vec<u8>]) -> &'static str {
    let mut set = Set::default();
    names.iter().for_each(|name| {
        set.insert(name, &LIMITS);
    });
    set.view().encoding()
}

fn apply_all(set: &mut Set, log: &mut Changes) {
    for effect in Effects::new(log.effects()) {
        let What::Elements { tag, change } = effect.unwrap().what else { panic!("another effect") };
        assert_eq!(tag, Set::TAG);
        assert!(set.apply(change, &LIMITS));
    }
    log.clear();
}

fn check(set: &Set, model: &BTreeSet<Vec<u8>>) {
    set.check();
    assert_eq!(&members(set), model);
    for name in model {
        assert!(set.view().contains(name));
    }
    assert!(!set.view().contains(b"nobody"));
    let mut walked = HashSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = set
            .view()
            .scan(at, &mut Stride::new(3, 300, None), |_, member| assert!(walked.insert(member.to_bytes())));
    }
    assert_eq!(walked.len(), model.len());
    if model.is_empty() {
        return;
    }
    let mut bytes = Vec::new();
    set.view().write(&mut bytes, &mut |_| {});
    let again = Set::read(&bytes).unwrap();
    again.check();
    assert_eq!((members(&again), again.view().encoding()), (model.clone(), set.view().encoding()));
    for cut in 0..bytes.len() {
        if let Some(other) = Set::read(&bytes[..cut]) {
            other.check();
        }
    }
    let payload = rdb::dump(&Value::Set(set.clone()));
    let Value::Set(again) = rdb::restore(&payload, &LIMITS).unwrap() else { panic!("another type") };
    again.check();
    assert_eq!(&members(&again), model);
}

proptest! {
    #[test]
    fn it_is_a_set(steps in proptest::collection::vec(step(), 0..30)) {
        let (mut set, mut told, mut model) = (Set::default(), Set::default(), BTreeSet::new());
        let mut log = Changes::new(Wants { effects: true, events: EventClasses::empty(), touched: false, edited: false });
        let mut copies = Vec::new();
        for step in steps {
            let mut edits =
                Edits { log: &mut log, db: 0, key: b"k", tag: Set::TAG, now_ms: 1, limits: &LIMITS, count: 0, subkeys: 0..0 };
            match step {
                Step::Add(names) => {
                    let before = model.len();
                    model.extend(names.iter().cloned());
                    let added = set.add(names.iter().map(Vec::as_slice), names.len(), &mut edits);
                    prop_assert_eq!(added, model.len() - before);
                    prop_assert_eq!(edits.count, added as u64);
                }
                Step::Discard(names) => {
                    let gone = names.iter().filter(|name| model.remove(*name)).count();
                    prop_assert_eq!(set.discard(names.iter().map(Vec::as_slice), &mut edits), gone);
                    prop_assert_eq!(edits.count, gone as u64);
                }
                Step::Pop(random) => {
                    let name = set.view().sample(random).map(|member| member.to_bytes());
                    prop_assert_eq!(name.is_some(), !model.is_empty());
                    if let Some(name) = name {
                        prop_assert!(model.remove(&name));
                        set.discard(std::iter::once(&name[..]), &mut edits);
                    }
                }
                Step::KeepOnly(count) => {
                    if count < model.len() {
                        let kept: Vec<Vec<u8>> = model.iter().take(count).cloned().collect();
                        let mut few = Set::default();
                        kept.iter().for_each(|name| { few.insert(name, &LIMITS); });
                        let before = set.keep_only(few, &mut edits);
                        prop_assert_eq!(members(&before), std::mem::take(&mut model));
                        model.extend(kept);
                    }
                }
                Step::Copy => copies.push((set.clone(), model.clone())),
            }
            apply_all(&mut told, &mut log);
            check(&set, &model);
            prop_assert_eq!(members(&told), model.clone());
            if model.is_empty() {
                // As the key would go, and begin anew.
                (set, told) = (Set::default(), Set::default());
            }
        }
        for (copy, model) in copies {
            check(&copy, &model);
        }
    }

    #[test]
    fn the_form_after_growth_does_not_depend_on_the_order(
        names in proptest::collection::vec(name(), 1..20),
        seed in any::<u64>(),
    ) {
        let mut other = names.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut other);
        let limits_differ = names.iter().collect::<HashSet<_>>().len() > LIMITS.set_entries as usize;
        // More integers than may be packed, and then a string: the order matters only for what came before.
        if !limits_differ {
            prop_assert_eq!(grown(&names), grown(&other));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40), kind in 0u8..10) {
        if let Some(set) = Set::read(&[&[kind], &bytes[..]].concat()) {
            set.check();
            prop_assert!(set.view().len() > 0);
        }
        for kind in [2, 11, 20] {
            if let Some(set) = Set::read_rdb(kind, &mut &bytes[..], &LIMITS) {
                set.check();
                prop_assert!(set.view().len() > 0);
            }
        }
        let mut set = Set::default();
        set.apply(&bytes, &LIMITS);
        set.check();
    }
}

#[test]
fn a_set_that_keeps_no_member_is_as_one_that_never_had_any() {
    let mut set = Set::default();
    set.insert(b"name", &LIMITS);
    assert!(set.apply(&[4], &LIMITS), "only those that follow: none");
    set.check();
    assert_eq!(set.view().len(), 0);
}

#[test]
fn the_form_changes_when_redis_changes_it() {
    let limits = Limits::DEFAULT;
    let mut set = Set::default();
    let number = |number: i64| number.to_string().into_bytes();
    (0..512).for_each(|n| assert!(set.insert(&number(n), &limits)));
    assert_eq!(set.view().encoding(), "intset");
    assert!(set.insert(b"512", &limits));
    assert_eq!(set.view().encoding(), "hashtable");

    let mut set = Set::default();
    (0..127).for_each(|n| assert!(set.insert(&number(n), &limits)));
    assert!(set.insert(b"a", &limits));
    assert_eq!((set.view().encoding(), set.view().len()), ("listpack", 128));
    assert!(set.insert(b"b", &limits));
    assert_eq!(set.view().encoding(), "hashtable");

    for (name, encoding) in [(vec![b'x'; 64], "listpack"), (vec![b'x'; 65], "hashtable")] {
        let mut set = Set::default();
        assert!(set.insert(&name, &limits));
        assert_eq!(set.view().encoding(), encoding);
    }

    // As many as are named decide, not as many as are new.
    for (first, more, encoding) in
        [("1", 512, "intset"), ("1", 513, "hashtable"), ("a", 128, "listpack"), ("a", 129, "hashtable")]
    {
        let mut set = Set::default();
        set.make_room(first.as_bytes(), more, &limits);
        assert!(set.insert(first.as_bytes(), &limits));
        assert_eq!(set.view().encoding(), encoding, "{first} {more}");
    }
}
