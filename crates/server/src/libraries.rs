//! The libraries of functions as they are kept: their code by name.
//!
//! What a library means is the Lua state's to know (`scripts.rs`), which takes over what is here before each script, if it
//! has changed: so a replay, a rollback and a snapshot read and write text, and run nothing.
//!
//! Invariants
//! - It is changed with the first partition locked, and the effect is handed to the journal before that is unlocked: the
//!   records stand in the order of the changes.
//! - `version` rises with each change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sterna_keyspace::What;

use crate::lock::{Level, Mutex};

/// Code by name.
pub(crate) type Codes = BTreeMap<Box<[u8]>, Arc<[u8]>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    codes: Mutex<Codes, { Level::Libraries as u8 }>,
    /// Raised after a change of `codes`, read before they are: who sees the new number sees what it stands for.
    version: AtomicU64,
}

impl Libraries {
    /// How often they have changed.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All of them, and the version that they are.
    pub(crate) fn all(&self) -> (Codes, u64) {
        let codes = self.codes.lock();
        (codes.clone(), self.version())
    }

    /// A library has this code, or is gone. Returns the version.
    pub(crate) fn set(&self, name: &[u8], code: Option<&[u8]>) -> u64 {
        let mut codes = self.codes.lock();
        match code {
            Some(code) => drop(codes.insert(name.into(), code.into())),
            None => drop(codes.remove(name)),
        }
        self.version.fetch_add(1, Ordering::Release) + 1
    }

    /// All are gone. Returns what they were, and the version.
    pub(crate) fn take(&self) -> (Codes, u64) {
        let mut codes = self.codes.lock();
        (std::mem::take(&mut *codes), self.version.fetch_add(1, Ordering::Release) + 1)
    }

    /// All are gone: what is kept is about to be read anew.
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// Applies an effect if it is about a library.
    pub(crate) fn apply(&self, name: &[u8], what: &What<'_>) -> bool {
        match what {
            What::Library { code } => drop(self.set(name, Some(code))),
            What::NoLibrary => drop(self.set(name, None)),
            _ => return false,
        }
        true
    }
}
