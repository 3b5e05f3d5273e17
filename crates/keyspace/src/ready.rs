//! Keys that were written to while somebody waits for them, in the order in which their waiters are served.

use hashbrown::HashMap;

/// Database and name of a key.
type Name = (usize, Box<[u8]>);

/// See the module.
///
/// Invariants
/// - None of those that are still to be served stands here twice.
/// - `places` is empty, or has the last place of each.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    keys: Vec<Name>,
    /// Those before it have been served.
    next: usize,
    places: HashMap<Name, usize>,
}

/// Up to so many keys are compared one by one.
const FEW: usize = 16;

impl Ready {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn push(&mut self, db: usize, key: &[u8]) {
        if self.place_of(db, key).is_some_and(|at| at >= self.next) {
            return;
        }
        let name = (db, Box::from(key));
        if !self.places.is_empty() {
            self.places.insert(name.clone(), self.keys.len());
        }
        self.keys.push(name);
        if self.places.is_empty() && self.keys.len() > FEW {
            self.places = self.keys.iter().cloned().zip(0..).collect();
        }
    }

    /// The next key that is to be served.
    pub(crate) fn next(&mut self) -> Option<Name> {
        let name = self.keys.get(self.next)?.clone();
        self.next += 1;
        Some(name)
    }

    /// Whether the key is here, served or not.
    pub(crate) fn has(&self, db: usize, key: &[u8]) -> bool {
        self.place_of(db, key).is_some()
    }

    /// Names of the keys that are still to be served.
    pub(crate) fn left(&self) -> impl Iterator<Item = &[u8]> {
        self.keys[self.next..].iter().map(|(_, key)| &**key)
    }

    fn place_of(&self, db: usize, key: &[u8]) -> Option<usize> {
        if self.keys.len() <= FEW {
            return self.keys.iter().rposition(|(other_db, other)| *other_db == db && **other == *key);
        }
        self.places.get(&Probe(db, key)).copied()
    }
}

/// A name that is looked up.
struct Probe<'a>(usize, &'a [u8]);

impl std::hash::Hash for Probe<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl hashbrown::Equivalent<Name> for Probe<'_> {
    fn equivalent(&self, (db, key): &Name) -> bool {
        self.0 == *db && *self.1 == **key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_served_once_unless_it_becomes_ready_again_when_it_has_been() {
        for others in [0, 2 * FEW] {
            let mut ready = Ready::default();
            let name = |number: usize| format!("other{number}").into_bytes();
            (0..others).for_each(|number| ready.push(0, &name(number)));
            for key in [b"a", b"b", b"a"] {
                ready.push(0, key);
            }
            ready.push(1, b"a");
            assert!(ready.has(1, b"a") && !ready.has(1, b"b"));
            assert_eq!(ready.left().count(), others + 3);
            (0..others).for_each(|number| assert_eq!(ready.next(), Some((0, name(number).into()))));
            assert_eq!(ready.next(), Some((0, b"a"[..].into())));
            ready.push(0, b"a");
            ready.push(0, b"a");
            let left: Vec<_> = std::iter::from_fn(|| ready.next()).collect();
            assert_eq!(left, [(0, b"b"[..].into()), (1, b"a"[..].into()), (0, b"a"[..].into())]);
            assert!(ready.has(0, b"b") && ready.left().next().is_none());
        }
    }
}
