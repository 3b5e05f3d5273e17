//! A hash against a plain map: every change through its effect as well, every form it is written in read back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::changes::{Changes, Wants};
use crate::collection::Edits;
use crate::effect::{Effects, What};
use crate::event::EventClasses;
use crate::stride::Stride;

const LIMITS: Limits = Limits { hash_entries: 4, hash_value_bytes: 8, ..Limits::DEFAULT };
const NOW_MS: u64 = 1_000;

/// Value and expiry by name.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Debug, Clone)]
enum Step {
    Set { fields: Vec<(Vec<u8>, Vec<u8>)>, expiry: Expiry },
    Delete(Vec<Vec<u8>>),
    Change { names: Vec<Vec<u8>>, at_ms: Option<u64> },
    RemoveDue { most: usize },
    PassTime(u64),
    Copy,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..12).prop_map(|name| vec![b'a' + name]),
        2 => (-3i64..3).prop_map(|name| name.to_string().into_bytes()),
        1 => Just(Vec::new()),
        1 => (0u16..600).prop_map(|name| format!("name:{name}").into_bytes()),
        1 => Just(vec![b'n'; 300]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        (-5000i64..5000).prop_map(|value| value.to_string().into_bytes()),
        (200usize..300).prop_map(|len| vec![b'v'; len]),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        4 => Just(Expiry::Clear),
        2 => Just(Expiry::Keep),
        1 => (NOW_MS..NOW_MS + 50).prop_map(Expiry::At),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec(name(), 1..4);
    prop_oneof![
        8 => (prop::collection::vec((name(), value()), 1..5), expiry())
            .prop_map(|(fields, expiry)| Step::Set { fields, expiry }),
        1 => (1u16..600, value()).prop_map(|(many, value)| {
            let fields = (0..many).map(|nth| (format!("name:{nth}").into_bytes(), value.clone())).collect();
            Step::Set { fields, expiry: Expiry::Clear }
        }),
        1 => (0u16..600).prop_map(|many| Step::Delete((0..many).map(|nth| format!("name:{nth}").into_bytes()).collect())),
        4 => names().prop_map(Step::Delete),
        3 => (names(), prop::option::of(NOW_MS..NOW_MS + 50)).prop_map(|(names, at_ms)| Step::Change { names, at_ms }),
        2 => (0usize..4).prop_map(|most| Step::RemoveDue { most }),
        2 => (0u64..20).prop_map(Step::PassTime),
        1 => Just(Step::Copy),
    ]
}

/// Takes a step of the model; returns how many fields it changed.
fn take(model: &mut Model, step: &Step, now_ms: u64) {
    let is_live =
        |model: &Model, name: &[u8]| model.get(name).is_some_and(|(_, at)| at.is_none_or(|at| now_ms <= at));
    match step {
        Step::Set { fields, expiry } => {
            for (name, value) in fields {
                let old = if is_live(model, name) { model[name].1 } else { None };
                let at_ms = match expiry {
                    Expiry::Clear => None,
                    Expiry::Keep => old,
                    Expiry::At(at_ms) => Some(*at_ms),
                };
                model.insert(name.clone(), (value.clone(), at_ms));
            }
        }
        Step::Delete(names) => {
            for name in names {
                if is_live(model, name) {
                    model.remove(name);
                }
            }
        }
        Step::Change { names, at_ms } => {
            for name in names {
                if is_live(model, name) {
                    model.get_mut(name).unwrap().1 = *at_ms;
                }
            }
        }
        Step::RemoveDue { .. } | Step::PassTime(_) | Step::Copy => {}
    }
}

fn contents(hash: &Hash) -> Model {
    let entry = |field: Field<'_>| (field.name.to_bytes(), (field.value.to_bytes(), field.expiry()));
    hash.view().stored_fields().map(entry).collect()
}

/// The same hash, had it come from elsewhere.
fn through(hash: &Hash, write: fn(&Hash, &mut Vec<u8>), read: fn(&[u8]) -> Option<Hash>) -> Hash {
    let mut bytes = Vec::new();
    write(hash, &mut bytes);
    let same = read(&bytes).expect("it reads what it wrote");
    same.check();
    same
}

proptest! {
    #[test]
    fn a_hash_is_a_map_and_so_is_what_its_effects_make(steps in prop::collection::vec(step(), 1..40)) {
        let (mut hash, mut replayed) = (Hash::default(), Hash::default());
        let (mut model, mut now_ms) = (Model::new(), NOW_MS);
        let mut copies: Vec<(Hash, Model)> = Vec::new();
        for step in steps {
            // Commands set no expiry that is over.
            let step = &match step {
                Step::Set { fields, expiry: Expiry::At(at_ms) } => {
                    Step::Set { fields, expiry: Expiry::At(at_ms.max(now_ms)) }
                }
                step => step,
            };
            let mut log = Changes::new(Wants { effects: true, events: EventClasses::empty(), touched: false, edited: false });
            let mut edits =
                Edits { log: &mut log, db: 0, key: b"k", tag: Hash::TAG, now_ms, limits: &LIMITS, count: 0, subkeys: 0..0 };
            let live = |model: &Model, name: &Vec<u8>| model.get(name).is_some_and(|(_, at)| at.is_none_or(|at| now_ms <= at));
            let before: std::collections::BTreeSet<_> = model.keys().filter(|name| live(&model, name)).cloned().collect();
            take(&mut model, step, now_ms);
            match step {
                Step::Set { fields, expiry } => {
                    let pairs = fields.iter().map(|(name, value)| (&name[..], &value[..]));
                    let added = hash.set(&mut edits, pairs, *expiry);
                    let names: std::collections::BTreeSet<_> = fields.iter().map(|(name, _)| name).collect();
                    prop_assert_eq!(added > 0, names.iter().any(|name| !before.contains(*name)));
                }
                Step::Delete(names) => {
                    let removed = hash.delete(&mut edits, names.iter().map(Vec::as_slice));
                    prop_assert_eq!(removed, before.iter().filter(|name| names.contains(name)).count());
                }
                Step::Change { names, at_ms } => {
                    let change = FieldChange::Expire(*at_ms);
                    hash.change_each(&mut edits, names.iter().map(Vec::as_slice), change, |_| true);
                }
                Step::RemoveDue { most } => {
                    let due = model.values().filter(|(_, at)| at.is_some_and(|at| now_ms > at)).count();
                    let removed = hash.remove_due(&mut edits, *most);
                    prop_assert_eq!(removed, due.min(*most));
                    let left = contents(&hash);
                    model.retain(|name, (_, at)| left.contains_key(name) || at.is_none_or(|at| now_ms <= at));
                }
                Step::PassTime(ms) => now_ms += ms,
                Step::Copy => copies.push((hash.clone(), model.clone())),
            }
            hash.check();
            prop_assert_eq!(&contents(&hash), &model);
            prop_assert_eq!(hash.view().len(), model.len());
            let soonest = model.values().filter_map(|(_, at)| *at).min();
            prop_assert_eq!(hash.view().soonest_ms(), soonest.unwrap_or(NEVER));
            for effect in Effects::new(log.effects()) {
                let What::Elements { tag: Hash::TAG, change } = effect.unwrap().what else { panic!("of a hash") };
                prop_assert!(replayed.apply(change, &LIMITS));
            }
            replayed.check();
            prop_assert_eq!(&contents(&replayed), &model);
            prop_assert_eq!(replayed.view().encoding(), hash.view().encoding());
        }
        for (copy, then) in copies {
            copy.check();
            prop_assert_eq!(contents(&copy), then, "a copy stays as it was");
        }
        let live: Vec<_> = model.iter().filter(|(_, (_, at))| at.is_none_or(|at| now_ms <= at)).collect();
        prop_assert_eq!(hash.view().fields(now_ms).count(), live.len());
        for (name, (value, at)) in &model {
            let found = hash.view().get(name, now_ms).map(Element::to_bytes);
            prop_assert_eq!(found, at.is_none_or(|at| now_ms <= at).then(|| value.clone()));
        }
        let (mut walked, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            from = hash.view().scan(at, &mut Stride::new(3, 300, None), now_ms, |_, field| walked.push(field.name.to_bytes()));
        }
        walked.sort();
        prop_assert_eq!(walked, live.iter().map(|(name, _)| (*name).clone()).collect::<Vec<_>>());
        if !model.is_empty() {
            let write = |hash: &Hash, out: &mut Vec<u8>| hash.view().write_snapshot(out, &mut |_| {});
            let same = through(&hash, write, Hash::read);
            prop_assert_eq!((contents(&same), same.view().encoding()), (contents(&hash), hash.view().encoding()));
            let write = |hash: &Hash, out: &mut Vec<u8>| {
                hash.view().write_payload(out);
            };
            let read = |mut bytes: &[u8]| {
                let kind = *bytes.split_off_first()?;
                Hash::read_rdb(kind, &mut bytes, &LIMITS).filter(|_| bytes.is_empty())
            };
            prop_assert_eq!(contents(&through(&hash, write, read)), contents(&hash));
        }
    }

    #[test]
    fn any_bytes_are_a_hash_or_none(kind in prop_oneof![Just(4u8), Just(16), Just(22), Just(24), Just(25)], mut bytes in prop::collection::vec(0u8..40, 0..60)) {
        if let Some(hash) = Hash::read_rdb(kind, &mut &bytes[..], &LIMITS) {
            hash.check();
        }
        bytes.insert(0, 1);
        if let Some(hash) = Hash::read(&bytes) {
            hash.check();
        }
        let mut hash = Hash::default();
        let before = contents(&hash);
        if !hash.apply(&bytes[1..], &LIMITS) {
            prop_assert_eq!(contents(&hash), before);
        }
        hash.check();
    }
}
