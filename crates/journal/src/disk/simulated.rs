//! A disk that forgets, by a seed.
//!
//! It keeps what a kernel keeps: for each file what is on the platter, what a reader sees, and the writes in between that no
//! sync has made durable; for the directory the same with names.
//!
//! ```text
//! file    durable  ████████████░░░░           what survives a power loss
//!         dirty              ▒▒▒▒  ▒▒▒        writes since the last sync: any part of them may survive
//!         seen     █████████████▒▒▒▒▒▒▒       what read returns
//!
//! names   durable {a, b}   changes [rename c→b, unlink a]   seen {b}
//! ```
//!
//! Faults, and what each does
//!
//! | fault | effect |
//! |---|---|
//! | [`Crash::Process`] | handles and lock go; the cache stays: unsynced writes are seen, and may still be lost later |
//! | [`Crash::Power`] | of each file's dirty writes survive: none, all, a prefix cut at any byte, single sectors in any combination, or the last sector alone; holes read as zeros, garbage or the bytes of a removed file; of the names' changes: none, all, a prefix, any subset |
//! | [`Fault::Error`] on write | a prefix may have been written |
//! | on sync | some dirty sectors reach the platter, the others are marked clean: a later sync succeeds and does nothing for them; the cache goes on showing them, or shows what was before; a page concerned may turn to garbage on the platter, once the directory was synced again |
//! | on rename, unlink, create, directory sync | done or not done, and reported as failed |
//! | [`Fault::Full`] | writes that lengthen a file and new files fail, now and then a sync does |
//! | [`Fault::LyingSync`] | a sync reports success, and does nothing |
//! | [`SimulatedDisk::flip_bit`], [`truncate`](SimulatedDisk::truncate), [`remove`](SimulatedDisk::remove), [`swap`](SimulatedDisk::swap) | damage at rest |
//!
//! Every operation has a number, reads included; a crash or a fault can be set for any of them.
//!
//! Assumed of the hardware: a power loss leaves bytes alone that were durable and that nothing unsynced overwrites; and a
//! failed sync does not destroy what was durable in the same page at the very moment that the power fails, too.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};
use crate::simulation::Dice;

/// The unit in which a disk writes all or nothing.
const SECTOR_BYTES: usize = 512;
/// The units in which file systems write back, one of which a disk has.
const PAGE_BYTES: [usize; 3] = [4096, 16 << 10, 64 << 10];

/// How a machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what it wrote is in the cache.
    Process,
    /// The power fails: what was not synced is at the mercy of the seed.
    Power,
}

/// What goes wrong with one operation, or from one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with EIO.
    Error,
    /// From this operation on there is no room, until [`SimulatedDisk::set_full`] says otherwise.
    Full,
    /// If the operation is a sync, it succeeds without doing anything.
    LyingSync,
}

/// A directory on a simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

type Inode = usize;

/// What others do while a file is being synced.
pub type DuringSync = Box<dyn FnMut() + Send>;

struct State {
    dice: Dice,
    page_bytes: usize,
    /// Runs in the middle of each sync.
    during_sync: Option<Arc<Mutex<DuringSync>>>,
    files: Vec<FileState>,
    durable_names: BTreeMap<String, Inode>,
    seen_names: BTreeMap<String, Inode>,
    name_changes: Vec<NameChange>,
    /// Operations so far.
    operations: u64,
    crash_at: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    full: bool,
    crashed: bool,
    /// Counts crashes: handles opened before the last one are dead.
    life: u64,
    locked_in_life: Option<u64>,
    /// Pages that a failed sync has left to rot.
    spoilt: Vec<(Inode, usize)>,
    /// Bytes of removed files, for holes to show.
    recycled: Vec<u8>,
}

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    seen: Vec<u8>,
    dirty: Vec<(usize, Vec<u8>)>,
}

enum NameChange {
    Bind(String, Inode),
    Rename(String, String, Inode),
    Unlink(String),
}

/// What an operation is to do, decided before it does anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Go,
    Fail(io::ErrorKind),
    /// The machine stops in the middle of it.
    Crash,
    Lie,
}

impl SimulatedDisk {
    /// An empty disk whose luck is `seed`'s.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk {
            state: Arc::new(Mutex::new(State {
                dice: Dice::new(seed),
                page_bytes: PAGE_BYTES[(seed % 3) as usize],
                during_sync: None,
                files: Vec::new(),
                durable_names: BTreeMap::new(),
                seen_names: BTreeMap::new(),
                name_changes: Vec::new(),
                operations: 0,
                crash_at: None,
                faults: BTreeMap::new(),
                full: false,
                crashed: false,
                life: 0,
                locked_in_life: None,
                spoilt: Vec::new(),
                recycled: Vec::new(),
            })),
        }
    }

    /// Number of operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Stops the machine in the middle of operation `operation` (the next one is [`operations`](Self::operations)).
    pub fn crash_at(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// Lets something go wrong at operation `operation`.
    pub fn fault_at(&self, operation: u64, fault: Fault) {
        self.state.lock().faults.insert(operation, fault);
    }

    /// Has `during_sync` run in the middle of each sync of a file; what it writes is not covered by that sync.
    pub fn during_sync(&self, during_sync: Option<DuringSync>) {
        self.state.lock().during_sync = during_sync.map(|run| Arc::new(Mutex::new(run)));
    }

    /// Removes all faults and the crash that are still to come.
    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.crash_at = None;
        state.full = false;
    }

    /// Whether there is no room.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Whether the machine has stopped; every operation fails until [`restart`](Self::restart).
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// Stops the machine between two operations.
    pub fn stop(&self) {
        self.state.lock().crashed = true;
    }

    /// Stops the machine, if it has not, and starts it again with what survived.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.state.lock();
        if crash == Crash::Power {
            state.lose_names();
            state.lose_writes();
            state.spoilt.clear();
        }
        state.crashed = false;
        state.crash_at = None;
        state.life += 1;
        state.locked_in_life = None;
    }

    /// Names in the directory, in order.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().seen_names.keys().cloned().collect()
    }

    /// A file's bytes as a reader sees them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.seen_names.get(name).map(|&inode| state.files[inode].seen.clone())
    }

    /// Damages a file at rest: inverts bit `bit` of it, if it is that long.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        self.damage(name, |bytes| {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        });
    }

    /// Damages a file at rest: cuts it to `length` bytes.
    pub fn truncate(&self, name: &str, length: usize) {
        self.damage(name, |bytes| bytes.truncate(length));
    }

    /// Replaces or makes a file at rest.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let file = FileState { durable: bytes.to_vec(), seen: bytes.to_vec(), dirty: Vec::new() };
        state.files.push(file);
        let inode = state.files.len() - 1;
        state.seen_names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }

    /// Removes a file at rest.
    pub fn remove(&self, name: &str) {
        let mut state = self.state.lock();
        state.seen_names.remove(name);
        state.durable_names.remove(name);
    }

    /// Exchanges the contents of two files at rest: a misdirected write.
    pub fn swap(&self, one: &str, other: &str) {
        if let (Some(first), Some(second)) = (self.bytes(one), self.bytes(other)) {
            self.put(one, &second);
            self.put(other, &first);
        }
    }

    fn damage(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if let Some(&inode) = state.seen_names.get(name) {
            let file = &mut state.files[inode];
            change(&mut file.durable);
            change(&mut file.seen);
        }
    }
}

impl State {
    /// Counts an operation and says how it is to go.
    fn next(&mut self, life: u64) -> io::Result<Verdict> {
        if self.crashed || life != self.life {
            return Err(stopped());
        }
        let operation = self.operations;
        self.operations += 1;
        if self.crash_at == Some(operation) {
            self.crashed = true;
            return Ok(Verdict::Crash);
        }
        Ok(match self.faults.remove(&operation) {
            Some(Fault::Error) => Verdict::Fail(io::ErrorKind::Other),
            Some(Fault::LyingSync) => Verdict::Lie,
            Some(Fault::Full) => {
                self.full = true;
                Verdict::Go
            }
            None => Verdict::Go,
        })
    }

    /// Runs an operation on names that either happens or doesn't.
    fn name_operation(&mut self, life: u64, run: impl FnOnce(&mut State)) -> io::Result<()> {
        match self.next(life)? {
            Verdict::Go | Verdict::Lie => {
                run(self);
                Ok(())
            }
            verdict => {
                if self.dice.once_in(2) {
                    run(self);
                }
                Err(verdict.error())
            }
        }
    }

    fn bind(&mut self, name: &str) -> Inode {
        self.files.push(FileState::default());
        let inode = self.files.len() - 1;
        self.forget(name);
        self.seen_names.insert(name.to_owned(), inode);
        self.name_changes.push(NameChange::Bind(name.to_owned(), inode));
        inode
    }

    /// A name is about to go: its blocks may be given to another file.
    fn forget(&mut self, name: &str) {
        if let Some(&inode) = self.seen_names.get(name) {
            self.recycled.clone_from(&self.files[inode].seen);
        }
    }

    fn apply(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
        match change {
            NameChange::Bind(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
        }
    }

    fn sync_names(&mut self) {
        for change in std::mem::take(&mut self.name_changes) {
            State::apply(&mut self.durable_names, &change);
        }
    }

    /// Turns the pages that a failed sync has left to rot into garbage.
    fn rot(&mut self) {
        for (inode, page) in std::mem::take(&mut self.spoilt) {
            let durable = &mut self.files[inode].durable;
            let end = (page + self.page_bytes).min(durable.len());
            for byte in durable.get_mut(page..end).unwrap_or_default() {
                *byte = self.dice.roll() as u8;
            }
        }
    }

    /// What a power loss leaves of the directory.
    fn lose_names(&mut self) {
        let changes = std::mem::take(&mut self.name_changes);
        let luck = self.dice.below(4);
        let prefix = self.dice.below(changes.len() + 1);
        for (position, change) in changes.iter().enumerate() {
            let survives = match luck {
                0 => false,
                1 => true,
                2 => position < prefix,
                _ => self.dice.once_in(2),
            };
            if survives {
                State::apply(&mut self.durable_names, change);
            }
        }
        self.seen_names.clone_from(&self.durable_names);
    }

    /// What a power loss leaves of each file.
    fn lose_writes(&mut self) {
        let State { files, dice, recycled, .. } = self;
        for file in files.iter_mut() {
            let pieces = file.survivors(dice);
            let filling = Filling::choose(dice, recycled);
            for (offset, bytes) in pieces {
                put(&mut file.durable, offset, &bytes, |at| filling.byte(at));
            }
            if !file.dirty.is_empty() && dice.once_in(4) {
                // The new length became durable, the bytes did not.
                let end = file.dirty.iter().map(|(offset, bytes)| offset + bytes.len()).max().unwrap_or(0);
                let length = file.durable.len();
                put(&mut file.durable, end.max(length), &[], |at| filling.byte(at));
            }
            file.dirty.clear();
            file.seen.clone_from(&file.durable);
        }
    }
}

impl FileState {
    /// The parts of the dirty writes that a power loss leaves.
    fn survivors(&self, dice: &mut Dice) -> Vec<(usize, Vec<u8>)> {
        let sectors = || self.dirty.iter().flat_map(|(offset, bytes)| sectors(*offset, bytes));
        match dice.below(6) {
            0 => Vec::new(),
            1 => self.dirty.clone(),
            2 | 3 => {
                let total: usize = self.dirty.iter().map(|(_, bytes)| bytes.len()).sum();
                let mut left = dice.below(total + 1);
                let mut pieces = Vec::new();
                for (offset, bytes) in &self.dirty {
                    let kept = bytes.len().min(left);
                    left -= kept;
                    pieces.push((*offset, bytes[..kept].to_vec()));
                }
                pieces
            }
            4 => sectors().filter(|_| dice.once_in(2)).collect(),
            _ => sectors().last().into_iter().collect(),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.seen, offset, bytes, |_| 0);
        self.dirty.push((offset, bytes.to_vec()));
    }

    /// Makes the first `writes` that are dirty durable.
    fn sync(&mut self, writes: usize) {
        let writes = writes.min(self.dirty.len());
        for (offset, bytes) in self.dirty.drain(..writes) {
            put(&mut self.durable, offset, &bytes, |_| 0);
        }
    }

    /// A sync that fails: see the table at the top.
    ///
    /// Returns a page that is to rot, if any.
    fn fail_sync(&mut self, dice: &mut Dice, page_bytes: usize) -> Option<usize> {
        let mut spoilt = None;
        for (offset, bytes) in std::mem::take(&mut self.dirty) {
            for (offset, bytes) in sectors(offset, &bytes) {
                if dice.once_in(2) {
                    put(&mut self.durable, offset, &bytes, |_| 0);
                } else if spoilt.is_none() && dice.once_in(3) {
                    spoilt = Some(offset - offset % page_bytes);
                }
            }
        }
        if dice.once_in(3) {
            self.seen.clone_from(&self.durable);
        }
        spoilt
    }
}

/// What a hole reads as.
enum Filling {
    Zeros,
    Garbage(u64),
    Recycled(Vec<u8>),
}

impl Filling {
    fn choose(dice: &mut Dice, recycled: &[u8]) -> Filling {
        match dice.below(3) {
            0 => Filling::Zeros,
            1 => Filling::Garbage(dice.roll()),
            _ => Filling::Recycled(recycled.to_vec()),
        }
    }

    fn byte(&self, at: usize) -> u8 {
        match self {
            Filling::Zeros => 0,
            Filling::Garbage(seed) => Dice::new(seed ^ at as u64).roll() as u8,
            Filling::Recycled(bytes) => bytes.get(at).copied().unwrap_or(0),
        }
    }
}

/// Splits a write at the borders of sectors.
fn sectors(offset: usize, bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
        pieces.push((offset + at, bytes[at..end].to_vec()));
        at = end;
    }
    pieces
}

/// Writes into a file, filling what lies between its end and `offset`.
fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8], filling: impl Fn(usize) -> u8) {
    while file.len() < offset {
        file.push(filling(file.len()));
    }
    let overlap = bytes.len().min(file.len() - offset);
    file[offset..offset + overlap].copy_from_slice(&bytes[..overlap]);
    file.extend_from_slice(&bytes[overlap..]);
}

impl Verdict {
    fn error(self) -> io::Error {
        match self {
            Verdict::Fail(kind) => io::Error::new(kind, "simulated fault"),
            Verdict::Go | Verdict::Lie | Verdict::Crash => stopped(),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

struct Handle {
    disk: SimulatedDisk,
    inode: Inode,
    life: u64,
}

impl DiskFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = &mut *self.disk.state.lock();
        let verdict = state.next(self.life)?;
        let offset = offset as usize;
        let file = &mut state.files[self.inode];
        let lengthens = offset + bytes.len() > file.seen.len();
        let verdict = match verdict {
            Verdict::Go if state.full && lengthens => Verdict::Fail(io::ErrorKind::StorageFull),
            verdict => verdict,
        };
        if matches!(verdict, Verdict::Go | Verdict::Lie) {
            file.write(offset, bytes);
            return Ok(());
        }
        let prefix = state.dice.below(bytes.len() + 1);
        file.write(offset, &bytes[..prefix]);
        Err(verdict.error())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.disk.state.lock();
        match state.next(self.life)? {
            Verdict::Go | Verdict::Lie => {}
            verdict => return Err(verdict.error()),
        }
        let seen = state.files[self.inode].seen.get(offset as usize..).unwrap_or_default();
        let read = seen.len().min(into.len());
        into[..read].copy_from_slice(&seen[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        let (covered, during) = {
            let state = self.disk.state.lock();
            (state.files[self.inode].dirty.len(), state.during_sync.clone())
        };
        if let Some(mut run) = during.as_ref().and_then(|during| during.try_lock()) {
            run();
        }
        let state = &mut *self.disk.state.lock();
        let verdict = state.next(self.life)?;
        let page_bytes = state.page_bytes;
        let file = &mut state.files[self.inode];
        match verdict {
            Verdict::Go if state.full && !file.dirty.is_empty() && state.dice.once_in(4) => {
                let spoilt = file.fail_sync(&mut state.dice, page_bytes);
                state.spoilt.extend(spoilt.map(|page| (self.inode, page)));
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Verdict::Go => {
                file.sync(covered);
                Ok(())
            }
            Verdict::Lie => Ok(()),
            Verdict::Crash => {
                if state.dice.once_in(2) {
                    file.sync(covered);
                }
                Err(verdict.error())
            }
            Verdict::Fail(_) => {
                let spoilt = file.fail_sync(&mut state.dice, page_bytes);
                state.spoilt.extend(spoilt.map(|page| (self.inode, page)));
                Err(verdict.error())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        if state.crashed || self.life != state.life {
            return Err(stopped());
        }
        Ok(state.files[self.inode].seen.len() as u64)
    }
}

struct Lock {
    disk: SimulatedDisk,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.locked_in_life == Some(self.life) {
            state.locked_in_life = None;
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        let life = state.life;
        if state.full && state.dice.once_in(2) {
            state.next(life)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let mut inode = 0;
        state.name_operation(life, |state| inode = state.bind(name))?;
        Ok(Box::new(Handle { disk: self.clone(), inode, life }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        let life = state.life;
        match state.next(life)? {
            Verdict::Go | Verdict::Lie => {}
            verdict => return Err(verdict.error()),
        }
        let inode = *state.seen_names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { disk: self.clone(), inode, life }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        let inode = *state.seen_names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name_operation(life, |state| {
            state.forget(to);
            let change = NameChange::Rename(from.to_owned(), to.to_owned(), inode);
            State::apply(&mut state.seen_names, &change);
            state.name_changes.push(change);
        })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        if !state.seen_names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        state.name_operation(life, |state| {
            state.forget(name);
            let change = NameChange::Unlink(name.to_owned());
            State::apply(&mut state.seen_names, &change);
            state.name_changes.push(change);
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        let life = state.life;
        match state.next(life)? {
            Verdict::Go | Verdict::Lie => Ok(state.seen_names.keys().cloned().collect()),
            verdict => Err(verdict.error()),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        match state.next(life)? {
            Verdict::Lie => Ok(()),
            Verdict::Go => {
                state.sync_names();
                state.rot();
                Ok(())
            }
            verdict => {
                if state.dice.once_in(2) {
                    state.sync_names();
                }
                Err(verdict.error())
            }
        }
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Send>> {
        let mut state = self.state.lock();
        let life = state.life;
        if state.locked_in_life.is_some() {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        match state.next(life)? {
            Verdict::Go | Verdict::Lie => {}
            verdict => return Err(verdict.error()),
        }
        state.locked_in_life = Some(life);
        Ok(Box::new(Lock { disk: self.clone(), life }))
    }
}
