//! A list as a plain sequence, and the comparison with it.

use proptest::prelude::*;

use super::*;
use crate::effect::write_set;

/// The elements, from the front.
type Model = Vec<Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Push(End, Vec<Vec<u8>>),
    Pop(End, u64),
    Cut(End, u64),
    Set(u64, Vec<u8>),
    Insert(u64, End, Vec<u8>),
    Remove(End, Vec<u8>, u64),
    Visit(u64, End),
    Copy,
    Snapshot,
    Dump,
    Fill(i32),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0i64..20).prop_map(|number| number.to_string().into_bytes()),
        3 => "[a-e]{0,3}".prop_map(String::into_bytes),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => (0usize..4, b'x'..=b'z').prop_map(|(len, byte)| vec![byte; [70, 2000, 5000, 20_000][len]]),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![4 => 0u64..4, 1 => 0u64..200];
    let index = || prop_oneof![2 => 0u64..4, 2 => 0u64..300];
    prop_oneof![
        8 => (end(), proptest::collection::vec(text(), 1..40)).prop_map(|(end, texts)| Step::Push(end, texts)),
        5 => (end(), count()).prop_map(|(end, count)| Step::Pop(end, count)),
        2 => (end(), count()).prop_map(|(end, count)| Step::Cut(end, count)),
        3 => (index(), text()).prop_map(|(index, text)| Step::Set(index, text)),
        4 => (index(), end(), text()).prop_map(|(pivot, side, text)| Step::Insert(pivot, side, text)),
        3 => (end(), text(), 0u64..9).prop_map(|(end, text, max)| Step::Remove(end, text, max)),
        3 => (index(), end()).prop_map(|(from, towards)| Step::Visit(from, towards)),
        1 => Just(Step::Copy),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Dump),
        1 => prop_oneof![Just(-2), Just(-1), Just(0), Just(1), Just(3), Just(50)].prop_map(Step::Fill),
    ]
}

fn texts_of(list: &List) -> Model {
    let mut texts = Vec::new();
    list.view().visit(0, End::Back, |element| {
        texts.push(element.to_bytes());
        true
    });
    texts
}

fn remove_from_model(model: &mut Model, from: End, text: &[u8], max: u64) -> u64 {
    let mut removed = 0;
    let mut keep = |other: &Vec<u8>| {
        let goes = other == text && removed < max;
        removed += u64::from(goes);
        !goes
    };
    if from == End::Back {
        model.reverse();
    }
    model.retain(&mut keep);
    if from == End::Back {
        model.reverse();
    }
    removed
}

/// A list, what it should be, and the one that its changes make when they are read back.
struct Compared {
    list: List,
    replayed: List,
    model: Model,
    limits: Limits,
    copies: Vec<(List, Model)>,
}

impl Compared {
    fn replay(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        change(&mut bytes);
        assert!(self.replayed.apply(&bytes, &self.limits), "{bytes:?}");
    }

    fn step(&mut self, step: Step) {
        let Compared { list, model, limits, .. } = self;
        let limits = *limits;
        let len = model.len() as u64;
        match step {
            Step::Push(end, texts) => {
                let all = texts.iter().map(Vec::as_slice);
                list.push(end, all.clone(), &limits);
                match end {
                    End::Back => model.extend(texts.iter().cloned()),
                    End::Front => texts.iter().for_each(|text| model.insert(0, text.clone())),
                }
                self.replay(|out| effect::write_push(out, end, all));
            }
            Step::Pop(end, count) => {
                let mut taken = Vec::new();
                let popped = list.pop(end, count, &limits, |element| taken.push(element.to_bytes()));
                assert_eq!(popped, count.min(len));
                assert_eq!(taken, pop_from_model(model, end, popped));
                self.replay_pop(end, popped);
            }
            Step::Cut(end, count) => {
                list.cut(end, count, &limits);
                let count = count.min(len);
                pop_from_model(model, end, count);
                self.replay_pop(end, count);
            }
            Step::Set(index, text) => {
                assert_eq!(list.set(index, &text, &limits), index < len);
                if index < len {
                    model[index as usize] = text.clone();
                    self.replay(|out| Change::Set { index, text: &text }.write(out));
                }
            }
            Step::Insert(pivot, side, text) => {
                assert_eq!(list.insert(pivot, side, &text, &limits), pivot < len);
                if pivot < len {
                    model.insert(pivot as usize + usize::from(side == End::Back), text.clone());
                    self.replay(|out| Change::Insert { pivot, side, text: &text }.write(out));
                }
            }
            Step::Remove(from, text, max) => {
                let removed = list.remove(from, &text, max, &limits);
                assert_eq!(removed, remove_from_model(model, from, &text, max));
                if removed > 0 {
                    self.replay(|out| Change::Remove { from, max: removed, text: &text }.write(out));
                }
            }
            Step::Visit(from, towards) => self.visit(from.min(len), towards),
            Step::Copy => self.copies.push((list.clone(), model.clone())),
            Step::Snapshot if len > 0 => {
                let mut bytes = Vec::new();
                list.view().write(&mut bytes, &mut |_| {});
                let read = List::read(&bytes).unwrap();
                assert_eq!(read.view().encoding(), list.view().encoding());
                *list = read;
            }
            Step::Dump if len > 0 => {
                let mut bytes = Vec::new();
                list.view().write_rdb(&mut bytes);
                let mut from = &bytes[1..];
                *list = List::read_rdb(bytes[0], &mut from, &limits).unwrap();
                assert!(from.is_empty());
            }
            Step::Snapshot | Step::Dump => {}
            Step::Fill(directive) => self.limits.list_node = directive,
        }
        self.check();
    }

    fn replay_pop(&mut self, end: End, count: u64) {
        if count > 0 {
            self.replay(|out| Change::Pop { end, count }.write(out));
        }
    }

    fn visit(&self, from: u64, towards: End) {
        let mut seen = Vec::new();
        self.list.view().visit(from, towards, |element| {
            seen.push(element.to_bytes());
            true
        });
        let (before, behind) = self.model.split_at(from as usize);
        match towards {
            End::Back => assert_eq!(seen, behind),
            End::Front => assert!(seen.iter().eq(before.iter().rev())),
        }
    }

    fn check(&self) {
        self.list.check();
        self.replayed.check();
        assert_eq!(self.list.view().len(), self.model.len() as u64);
        assert_eq!(texts_of(&self.list), self.model);
        for index in [0, self.model.len() / 2, self.model.len().saturating_sub(1), self.model.len()] {
            assert_eq!(
                self.list.view().get(index as u64).map(Element::to_bytes).as_ref(),
                self.model.get(index)
            );
        }
    }
}

fn pop_from_model(model: &mut Model, end: End, count: u64) -> Model {
    let count = count as usize;
    match end {
        End::Front => model.drain(..count).collect(),
        End::Back => model.drain(model.len() - count..).rev().collect(),
    }
}

proptest! {
    #[test]
    fn a_list_is_a_sequence(steps in proptest::collection::vec(step(), 1..60)) {
        let mut compared = Compared {
            list: List::default(),
            replayed: List::default(),
            model: Vec::new(),
            limits: Limits::DEFAULT,
            copies: Vec::new(),
        };
        for step in steps {
            compared.step(step);
        }
        prop_assert_eq!(texts_of(&compared.replayed), &compared.model[..]);
        for (copy, model) in &compared.copies {
            copy.check();
            prop_assert_eq!(&texts_of(copy), model);
        }
    }

    #[test]
    fn any_bytes_are_a_list_and_a_change_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..40), kind in 0u8..20) {
        let mut list = List::default();
        list.push(End::Back, [&b"a"[..], b"b", b"a"].into_iter(), &Limits::DEFAULT);
        list.apply(&bytes, &Limits::DEFAULT);
        list.check();
        if let Some(list) = List::read_rdb(kind, &mut &bytes[..], &Limits::DEFAULT) {
            list.check();
        }
        if let Some(list) = List::read(&bytes) {
            list.check();
        }
    }
}

/// A list of numbers, each as long as `width`.
fn numbers(count: u64, width: usize, limits: &Limits) -> List {
    let mut list = List::default();
    for number in 0..count {
        list.push(End::Back, std::iter::once(format!("{number:0width$}").as_bytes()), limits);
    }
    list
}

#[test]
fn a_copy_of_a_long_list_shares_its_nodes_and_neither_sees_the_others_changes() {
    let limits = Limits { list_node: 8, ..Limits::DEFAULT };
    let mut list = numbers(20_000, 5, &limits);
    let copy = list.clone();
    assert!(list.set(10_000, b"changed", &limits));
    assert!(list.insert(5_000, End::Front, b"added", &limits));
    list.cut(End::Front, 4_000, &limits);
    list.pop(End::Back, 100, &limits, |_| {});
    list.check();
    copy.check();
    assert_eq!((list.view().len(), copy.view().len()), (15_901, 20_000));
    assert_eq!(copy.view().get(10_000).map(Element::to_bytes).as_deref(), Some(&b"10000"[..]));
    assert_eq!(list.view().get(6_001).map(Element::to_bytes).as_deref(), Some(&b"changed"[..]));
}

#[test]
fn a_small_list_is_one_allocation_and_a_large_one_little_more_than_its_elements() {
    let small = numbers(100, 10, &Limits::DEFAULT);
    assert!(matches!(small.0, Form::Small(_)));
    assert!(small.view().heap_bytes() <= 1202, "{}", small.view().heap_bytes());
    let large = numbers(1_000_000, 10, &Limits::DEFAULT);
    assert!(large.view().heap_bytes() < 12_300_000, "{}", large.view().heap_bytes());
}

#[test]
fn what_stays_in_the_middle_of_a_queue_does_not_grow_its_edges() {
    let limits = Limits::DEFAULT;
    let mut list = numbers(500, 10, &limits);
    list.push(End::Back, std::iter::once(&[b'x'; 3000][..]), &limits);
    for _ in 0..100_000 {
        list.push(End::Back, std::iter::once(&b"0123456789"[..]), &limits);
        list.pop(End::Front, 1, &limits, |_| {});
    }
    list.check();
    assert!(list.view().heap_bytes() < 60_000, "{}", list.view().heap_bytes());
}

#[test]
fn damage_to_a_snapshot_is_refused_or_gives_a_sound_list() {
    let limits = Limits { list_node: 3, ..Limits::DEFAULT };
    for list in [numbers(3, 2, &limits), numbers(10, 2, &limits)] {
        let mut bytes = Vec::new();
        list.view().write(&mut bytes, &mut |_| {});
        for index in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[index] ^= flip;
                if let Some(list) = List::read(&bad) {
                    list.check();
                }
            }
        }
    }
}

#[test]
fn a_set_effect_holds_the_whole_list() {
    let list = numbers(3_000, 10, &Limits::DEFAULT);
    let mut bytes = Vec::new();
    write_set(&mut bytes, 0, b"key", &Value::List(list.clone()), None);
    let effect = crate::Effects::new(&bytes).next().unwrap().unwrap();
    let crate::What::Set { value: Value::List(read), .. } = effect.what else { panic!("{effect:?}") };
    assert_eq!(texts_of(&read), texts_of(&list));
}

/// DUMP payloads of other servers, without version and checksum.
#[test]
fn lists_of_older_servers_are_read() {
    let cases: &[(u8, &[u8], &[&str])] = &[
        (1, b"\x02\x01a\xc0\x05", &["a", "5"]),
        (10, b"\x13\x13\x00\x00\x00\x0f\x00\x00\x00\x02\x00\x00\x03abc\x05\xf3\xff", &[]),
        (10, b"\x12\x12\x00\x00\x00\x0f\x00\x00\x00\x02\x00\x00\x03abc\x05\xf3\xff", &["abc", "2"]),
        (
            14,
            b"\x02\x0e\x0e\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\x01a\xff\x0d\x0d\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\xf1\xff",
            &["a", "0"],
        ),
        (18, b"\x02\x01\x02hi\x02\x09\x09\x00\x00\x00\x01\x00\x07\x01\xff", &["hi", "7"]),
        (18, b"\x00", &[]),
        (18, b"\x01\x03\x01a", &[]),
    ];
    for &(kind, bytes, expected) in cases {
        let list = List::read_rdb(kind, &mut &bytes[..], &Limits::DEFAULT);
        let texts = list.map(|list| texts_of(&list)).unwrap_or_default();
        assert_eq!(
            texts,
            expected.iter().map(|text| text.as_bytes().to_vec()).collect::<Model>(),
            "{bytes:?}"
        );
    }
}
