//! What the clients of the test know: which entries were added, and who has had each.
//!
//! Every client writes down what the server told it, when it was told, and what must never be is caught there and
//! then; [`Ledger::audit`] compares the pages at the end. Where a reply was lost with its connection, the server's own
//! books are the witness: the rescuer finds such an entry pending for a consumer whose connection was cut.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sterna_tests::server::PATIENCE;

use super::{GROUPS, STREAMS, TAILS};

/// An entry's ID.
pub(super) type Id = (u64, u64);

/// How long after the reply of its XADD an entry may reach a reader that waits for it. Anything near it is a lost
/// wake-up: the machine may be busy, but not for so long.
const LATE: Duration = PATIENCE;

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    changed: Condvar,
}

#[derive(Default)]
struct Books {
    streams: [StreamPage; STREAMS.len()],
    /// Consumers whose connection ended in the middle of a request.
    cut: HashSet<String>,
    /// Rises with whatever is written down.
    moment: u64,
}

#[derive(Default)]
struct StreamPage {
    /// With when the XADD was answered.
    added: BTreeMap<Id, Instant>,
    groups: [GroupPage; GROUPS.len()],
    tails: [TailPage; TAILS],
}

/// What one group has had of one stream.
#[derive(Default)]
struct GroupPage {
    /// The consumer that got the entry as a new one, and when.
    received: HashMap<Id, (String, Instant)>,
    /// The consumer that an entry was pending for before anybody claimed it.
    owned: HashMap<Id, String>,
    /// How often an entry was claimed.
    claims: HashMap<Id, u64>,
    /// The moment after which nobody may get an entry again.
    acked: HashMap<Id, u64>,
    /// What the server said XACK did, and of how many entries it could not say.
    acks: u64,
    acks_unheard: u64,
}

/// What one reader without a group has had of one stream.
#[derive(Default)]
struct TailPage {
    read: Vec<(Id, Instant)>,
}

impl TailPage {
    fn last(&self) -> Id {
        self.read.last().map_or((0, 0), |&(id, _)| id)
    }
}

impl StreamPage {
    fn all_have(&self, id: Id) -> bool {
        self.groups.iter().all(|group| group.received.contains_key(&id) || group.owned.contains_key(&id))
            && self.tails.iter().all(|tail| tail.last() >= id)
    }
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no client fails while it writes")
    }

    fn write<T>(&self, write: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.books();
        books.moment += 1;
        let result = write(&mut books);
        drop(books);
        self.changed.notify_all();
        result
    }

    /// Waits for `look` until `deadline`; `None` if it found nothing.
    fn wait<T>(&self, deadline: Instant, mut look: impl FnMut(&Books) -> Option<T>) -> Option<T> {
        let mut books = self.books();
        loop {
            if let Some(found) = look(&books) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            books = self.changed.wait_timeout(books, left).expect("no client fails while it writes").0;
        }
    }

    /// A moment: what was written before it came before.
    pub(super) fn moment(&self) -> u64 {
        self.books().moment
    }

    /// How many entries were added.
    pub(super) fn count(&self) -> usize {
        self.books().streams.iter().map(|page| page.added.len()).sum()
    }

    /// Waits until so many entries were added, or a little while.
    pub(super) fn await_count(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_millis(100);
        let sum = |books: &Books| books.streams.iter().map(|page| page.added.len()).sum::<usize>();
        self.wait(deadline, |books| (sum(books) >= count).then_some(()));
    }

    /// An XADD was answered.
    pub(super) fn added(&self, stream: usize, id: Id) {
        self.write(|books| {
            let twice = books.streams[stream].added.insert(id, Instant::now());
            assert!(twice.is_none(), "{} gave {id:?} twice", STREAMS[stream]);
        });
    }

    /// Waits until every group and every tail reader has an entry whose XADD was answered.
    pub(super) fn await_readers(&self, stream: usize, id: Id) {
        let all = self.wait(Instant::now() + LATE, |books| books.streams[stream].all_have(id).then_some(()));
        assert!(all.is_some(), "somebody sleeps past {id:?}: {}", self.describe(stream, id));
    }

    fn describe(&self, stream: usize, id: Id) -> String {
        let books = self.books();
        let page = &books.streams[stream];
        let groups = GROUPS.iter().zip(&page.groups);
        let groups = groups.map(|(name, group)| {
            format!("{name} received {:?}, owned {:?}", group.received.get(&id), group.owned.get(&id))
        });
        let groups: Vec<String> = groups.collect();
        let tails: Vec<Id> = page.tails.iter().map(TailPage::last).collect();
        format!("{}, {}; tails are at {tails:?}", STREAMS[stream], groups.join("; "))
    }

    /// A consumer got entries of a stream as new ones.
    pub(super) fn received(&self, stream: usize, group: usize, consumer: &str, ids: &[Id]) {
        let now = Instant::now();
        self.write(|books| {
            let page = &mut books.streams[stream].groups[group];
            for &id in ids {
                let before = page.received.insert(id, (consumer.to_owned(), now));
                let place = (STREAMS[stream], GROUPS[group]);
                assert_eq!(before, None, "{id:?} of {place:?} came as new again, to {consumer}");
            }
        });
    }

    /// A reader without a group got entries of a stream.
    pub(super) fn read(&self, stream: usize, tail: usize, ids: &[Id]) {
        let now = Instant::now();
        self.write(|books| {
            let page = &mut books.streams[stream].tails[tail];
            for &id in ids {
                let last = page.last();
                assert!(last < id, "{id:?} of {} came after {last:?}", STREAMS[stream]);
                page.read.push((id, now));
            }
        });
    }

    /// The last entry that a reader without a group got.
    pub(super) fn position(&self, stream: usize, tail: usize) -> Id {
        self.books().streams[stream].tails[tail].last()
    }

    /// A consumer's connection ended before it had its reply.
    pub(super) fn cut(&self, consumer: &str) {
        self.write(|books| books.cut.insert(consumer.to_owned()));
    }

    /// The server says that an entry is pending for a consumer (`None`: for nobody), delivered so often.
    pub(super) fn pending(
        &self,
        stream: usize,
        group: usize,
        id: Id,
        consumer: Option<&str>,
        deliveries: u64,
    ) {
        self.write(|books| {
            let page = &mut books.streams[stream].groups[group];
            let claims = page.claims.get(&id).copied().unwrap_or(0);
            assert_eq!(deliveries, 1 + claims, "deliveries of {id:?}, pending for {consumer:?}");
            if let (0, Some(consumer)) = (claims, consumer) {
                let owner = page.owned.entry(id).or_insert_with(|| consumer.to_owned());
                assert_eq!(owner, consumer, "{id:?} changed hands and nobody claimed it");
            }
        });
    }

    /// Entries were claimed by a request sent after `sent`.
    pub(super) fn claimed(&self, stream: usize, group: usize, ids: &[Id], sent: u64) {
        self.write(|books| {
            let page = &mut books.streams[stream].groups[group];
            for &id in ids {
                *page.claims.entry(id).or_default() += 1;
                let acked = page.acked.get(&id).is_some_and(|&acked| acked < sent);
                assert!(!acked, "{id:?} of {} could be claimed after its ACK", STREAMS[stream]);
            }
        });
    }

    /// XACK said that it acknowledged so many of these entries; `None`: the reply was lost.
    pub(super) fn acked(&self, stream: usize, group: usize, ids: &[Id], count: Option<u64>) {
        self.write(|books| {
            let moment = books.moment;
            let page = &mut books.streams[stream].groups[group];
            match count {
                Some(count) => {
                    page.acks += count;
                    // Of fewer it can't be told which: somebody else had claimed and acknowledged the others.
                    for &id in ids {
                        page.acked.entry(id).or_insert(moment);
                    }
                }
                None => page.acks_unheard += ids.len() as u64,
            }
        });
    }

    /// Asserts that all readers had all entries, each once, and in time; returns what was added to each stream.
    pub(super) fn audit(&self) -> Vec<BTreeSet<Id>> {
        let books = self.books();
        let streams = STREAMS.iter().zip(&books.streams);
        streams.map(|(name, page)| page.audit(name, &books.cut)).collect()
    }
}

impl StreamPage {
    fn audit(&self, stream: &str, cut: &HashSet<String>) -> BTreeSet<Id> {
        for (name, group) in GROUPS.iter().zip(&self.groups) {
            self.audit_group(group, &format!("{name} of {stream}"), cut);
        }
        let all: BTreeSet<Id> = self.added.keys().copied().collect();
        for (number, tail) in self.tails.iter().enumerate() {
            let read: BTreeSet<Id> = tail.read.iter().map(|&(id, _)| id).collect();
            let missing: Vec<&Id> = all.symmetric_difference(&read).take(5).collect();
            assert!(missing.is_empty(), "tail reader {number} of {stream} missed or dreamt {missing:?}");
            tail.read.iter().for_each(|&(id, at)| self.assert_in_time(id, at, "a tail reader"));
        }
        all
    }

    fn audit_group(&self, group: &GroupPage, name: &str, cut: &HashSet<String>) {
        for &id in self.added.keys() {
            match (group.received.get(&id), group.owned.get(&id)) {
                (Some((consumer, at)), owner) => {
                    self.assert_in_time(id, *at, name);
                    let others = owner.filter(|&owner| owner != consumer);
                    assert_eq!(
                        others, None,
                        "{id:?} of {name} went to {consumer} and was pending for another"
                    );
                }
                (None, Some(owner)) => assert!(cut.contains(owner), "{owner} of {name} never got {id:?}"),
                (None, None) => panic!("{id:?} of {name} was never delivered"),
            }
        }
        let known: HashSet<&Id> = group.received.keys().chain(group.owned.keys()).collect();
        assert_eq!(known.len(), self.added.len(), "{name} was given what nobody added");
        let added = self.added.len() as u64;
        let acks = added.saturating_sub(group.acks_unheard)..=added;
        assert!(acks.contains(&group.acks), "{name}: {} ACKs of {added} entries", group.acks);
    }

    fn assert_in_time(&self, id: Id, at: Instant, reader: &str) {
        let Some(&added) = self.added.get(&id) else { return };
        let late = at.saturating_duration_since(added);
        assert!(late < LATE, "{reader} got {id:?} {late:?} after it was added");
    }
}
