//! The names of fields that a client has stated (HIMPORT PREPARE), by the names of its fieldsets.

use std::sync::Arc;

use hashbrown::HashMap;
use sterna_keyspace::Fieldset;

/// What a fieldset takes beside its names: its own allocations, and its place in the table.
const FIELDSET_BYTES: usize = 200;

/// See the module. Invariant: `bytes` = sum of [`bytes_of`] its fieldsets.
#[derive(Debug, Default)]
pub(crate) struct Fieldsets {
    by_name: HashMap<Box<[u8]>, Arc<Fieldset>>,
    bytes: usize,
}

/// What it takes under this name.
pub(crate) fn bytes_of(name: &[u8], fieldset: &Fieldset) -> usize {
    FIELDSET_BYTES + name.len() + fieldset.heap_bytes()
}

impl Fieldsets {
    /// The fieldset of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Fieldset>> {
        self.by_name.get(name)
    }

    /// Keeps a fieldset, in the place of one that has its name.
    pub(crate) fn set(&mut self, name: &[u8], fieldset: Fieldset) {
        self.bytes += bytes_of(name, &fieldset);
        if let Some(old) = self.by_name.insert(name.into(), Arc::new(fieldset)) {
            self.bytes -= bytes_of(name, &old);
        }
    }

    /// Forgets a fieldset; false: there is none of this name.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.by_name.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |fieldset| bytes_of(name, fieldset));
        removed.is_some()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fieldset(names: &[&str]) -> Fieldset {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        Fieldset::new(&names).expect("distinct names")
    }

    #[test]
    fn bytes_come_and_go_with_fieldsets() {
        let mut fieldsets = Fieldsets::default();
        fieldsets.set(b"a", fieldset(&["name", "email"]));
        let one = fieldsets.bytes();
        assert!(one > 9);
        fieldsets.set(b"b", fieldset(&["x"]));
        fieldsets.set(b"b", fieldset(&["a rather long name"]));
        assert_eq!(fieldsets.len(), 2);
        assert!(fieldsets.remove(b"b") && !fieldsets.remove(b"b"));
        assert_eq!(fieldsets.bytes(), one);
        assert!(fieldsets.remove(b"a"));
        assert_eq!((fieldsets.bytes(), fieldsets.len()), (0, 0));
    }
}
