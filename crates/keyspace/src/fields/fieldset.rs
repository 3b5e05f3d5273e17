//! Names of fields that a client states once, to send only values afterwards (HIMPORT).
//!
//! ```text
//! names   [name│name│…]   in the order of the hashes made of them: the shorter first, and equally long ones by their bytes
//! ends    where each of them ends
//! order   which of the values, as the client sends them, is that of each
//! ```
//!
//! Invariants: no name is there twice; `order` is a permutation.
//! Source: the order is that of Redis 8.10, whose hashes share such a list.

/// See the module.
#[derive(Debug)]
pub struct Fieldset {
    names: Box<[u8]>,
    ends: Box<[usize]>,
    order: Box<[usize]>,
}

impl Fieldset {
    /// `None`: a name is there twice. Cost: O(n log n) for n names.
    pub fn new(names: &[&[u8]]) -> Option<Fieldset> {
        let mut order: Box<[usize]> = (0..names.len()).collect();
        order.sort_unstable_by_key(|&at| (names[at].len(), names[at]));
        if order.windows(2).any(|pair| names[pair[0]] == names[pair[1]]) {
            return None;
        }
        let mut all = Vec::with_capacity(names.iter().map(|name| name.len()).sum());
        let ends = order
            .iter()
            .map(|&at| {
                all.extend_from_slice(names[at]);
                all.len()
            })
            .collect();
        Some(Fieldset { names: all.into(), ends, order })
    }

    /// Names.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.names.len() + 2 * size_of::<usize>() * self.order.len()
    }

    /// Each name with its value, of which `value` returns the nth that was sent.
    pub(crate) fn fields<'f>(
        &'f self,
        value: impl Fn(usize) -> &'f [u8] + Clone,
    ) -> impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])> + Clone {
        self.order.iter().enumerate().map(move |(nth, &at)| {
            let start = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
            (&self.names[start..self.ends[nth]], value(at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_find_their_names_whatever_order_these_were_stated_in() {
        let cases = [
            (&["only"][..], &[("only", 0)][..]),
            (&["name", "email", "3"], &[("3", 2), ("name", 0), ("email", 1)]),
            (&["f2", "", "f1", "f"], &[("", 1), ("f", 3), ("f1", 2), ("f2", 0)]),
        ];
        let values: Vec<Vec<u8>> = (0..4_u8).map(|nth| vec![nth]).collect();
        for (names, expected) in cases {
            let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let fieldset = Fieldset::new(&names).expect("distinct names");
            let fields: Vec<_> = fieldset.fields(|at| &values[at]).collect();
            let expected: Vec<_> =
                expected.iter().map(|&(name, at)| (name.as_bytes(), &values[at][..])).collect();
            assert_eq!(fields, expected);
            assert_eq!(fieldset.len(), names.len());
        }
    }

    #[test]
    fn a_name_that_is_stated_twice_is_refused() {
        for names in [&[&b"a"[..], b"b", b"a"][..], &[b"", b""], &[b"same", b"x", b"y", b"same"]] {
            assert!(Fieldset::new(names).is_none());
        }
    }
}
