//! A hash table that never grows all at once.
//!
//! ```text
//!   to 4 096 items     one table
//!   above              256 tables, by bits 32 to 39 of the hash; each grows and shrinks by itself
//! ```
//!
//! A table that doubles moves everything that it holds, and one client can make it hold a million names: that is a
//! tenth of a second in which nobody else on the shard is served. Here at most [`ONE_MAX`] items move at a time, and
//! a 256th of the rest.
//!
//! Invariants: `len` is the sum of the tables' lengths; an item lies in the table that its hash says.
//!
//! Cost: a load and a branch more than one table.

use hashbrown::HashTable;

/// Items that one table holds before it is split.
const ONE_MAX: usize = 4096;
/// Items below which the tables are joined again: far below, so that churn around the border costs nothing.
const ONE_AGAIN: usize = 512;
const STRIPES: usize = 256;

/// A hash table in stripes.
#[derive(Debug)]
pub(crate) struct StripedTable<T> {
    tables: Tables<T>,
    len: usize,
}

#[derive(Debug)]
enum Tables<T> {
    One(HashTable<T>),
    Many(Box<[HashTable<T>]>),
}

impl<T> Default for StripedTable<T> {
    fn default() -> Self {
        StripedTable { tables: Tables::One(HashTable::new()), len: 0 }
    }
}

impl<T> StripedTable<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.table(hash).find(hash, is_it)
    }

    pub(crate) fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.table_mut(hash).find_mut(hash, is_it)
    }

    /// Adds an item that is not in it yet.
    pub(crate) fn insert_unique(&mut self, hash: u64, item: T, hash_of: impl Fn(&T) -> u64) {
        if self.len == ONE_MAX && matches!(self.tables, Tables::One(_)) {
            self.split(&hash_of);
        }
        self.table_mut(hash).insert_unique(hash, item, hash_of);
        self.len += 1;
    }

    /// Takes an item out; memory goes back as items go.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let table = self.table_mut(hash);
        let (item, _) = table.find_entry(hash, is_it).ok()?.remove();
        shrink(table, &hash_of);
        self.taken(&hash_of);
        Some(item)
    }

    /// Takes any item out. A caller that empties the table with it looks at each stripe once.
    pub(crate) fn pop(&mut self, hash_of: impl Fn(&T) -> u64) -> Option<T> {
        let any = self.iter().next()?;
        let hash = hash_of(any);
        let any: *const T = any;
        self.remove(hash, |item| std::ptr::eq(item, any), hash_of)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tables().iter().flat_map(HashTable::iter)
    }

    /// Everything in it, in no particular order.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        let (one, many) = match self.tables {
            Tables::One(table) => (Some(table), Vec::new()),
            Tables::Many(tables) => (None, tables.into_vec()),
        };
        one.into_iter().chain(many).flatten()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let stripes = match &self.tables {
            Tables::One(_) => 0,
            Tables::Many(tables) => size_of_val(&**tables),
        };
        stripes + self.tables().iter().map(HashTable::allocation_size).sum::<usize>()
    }

    fn tables(&self) -> &[HashTable<T>] {
        match &self.tables {
            Tables::One(table) => std::slice::from_ref(table),
            Tables::Many(tables) => tables,
        }
    }

    #[inline]
    fn table(&self, hash: u64) -> &HashTable<T> {
        match &self.tables {
            Tables::One(table) => table,
            Tables::Many(tables) => &tables[stripe(hash)],
        }
    }

    fn table_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        match &mut self.tables {
            Tables::One(table) => table,
            Tables::Many(tables) => &mut tables[stripe(hash)],
        }
    }

    #[cold]
    fn split(&mut self, hash_of: &impl Fn(&T) -> u64) {
        let mut tables: Box<[HashTable<T>]> = (0..STRIPES).map(|_| HashTable::new()).collect();
        if let Tables::One(table) = &mut self.tables {
            for item in table.drain() {
                let hash = hash_of(&item);
                tables[stripe(hash)].insert_unique(hash, item, hash_of);
            }
        }
        self.tables = Tables::Many(tables);
    }

    /// Counts an item that went, and joins the stripes when few are left.
    fn taken(&mut self, hash_of: &impl Fn(&T) -> u64) {
        self.len -= 1;
        if self.len > ONE_AGAIN {
            return;
        }
        let Tables::Many(tables) = &mut self.tables else { return };
        let mut one = HashTable::with_capacity(self.len);
        for item in std::mem::take(tables).into_vec().into_iter().flatten() {
            one.insert_unique(hash_of(&item), item, hash_of);
        }
        self.tables = Tables::One(one);
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(self.len, self.tables().iter().map(HashTable::len).sum::<usize>());
    }
}

fn stripe(hash: u64) -> usize {
    (hash >> 32) as usize % STRIPES
}

fn shrink<T>(table: &mut HashTable<T>, hash_of: &impl Fn(&T) -> u64) {
    if table.len() <= table.capacity() / 8 {
        table.shrink_to(table.len() * 2, hash_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::hash_key;

    fn hash_of(item: &u32) -> u64 {
        hash_key(item)
    }

    #[test]
    fn items_come_and_go_across_the_border_and_leave_nothing() {
        let mut table = StripedTable::default();
        let items = 3 * ONE_MAX as u32;
        for item in 0..items {
            table.insert_unique(hash_of(&item), item, hash_of);
            assert!(table.find(hash_of(&item), |other| *other == item).is_some());
        }
        table.check();
        assert_eq!(table.len(), items as usize);
        let mut seen: Vec<u32> = table.iter().copied().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..items));
        for item in 0..items / 2 {
            assert_eq!(table.remove(hash_of(&item), |other| *other == item, hash_of), Some(item));
            assert_eq!(table.remove(hash_of(&item), |other| *other == item, hash_of), None);
        }
        table.check();
        let mut popped: Vec<u32> = std::iter::from_fn(|| table.pop(hash_of)).collect();
        popped.sort_unstable();
        assert!(popped.into_iter().eq(items / 2..items));
        assert!(table.is_empty());
        assert_eq!(table.heap_bytes(), 0);
    }

    /// The rule that the table is there for: what one insertion may move.
    #[test]
    fn no_stripe_ever_holds_more_than_a_small_part() {
        let mut table = StripedTable::default();
        (0..200_000_u32).for_each(|item| table.insert_unique(hash_of(&item), item, hash_of));
        let largest = table.tables().iter().map(HashTable::len).max();
        assert!(largest < Some(2 * 200_000 / STRIPES), "{largest:?}");
    }
}
