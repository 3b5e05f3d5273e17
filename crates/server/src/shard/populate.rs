//! DEBUG POPULATE: many keys, made a part at a time like any long request.

use sterna_command::Row;
use sterna_protocol::{OwnedArgs, Reply};

use super::Shard;
use super::parts::{Next, PartEnd};

/// Keys that are made between two readings of the clock.
const PART_KEYS: u64 = 128;

/// What is still to be made.
#[derive(Debug)]
pub(crate) struct Populate {
    /// SET, by which keys are made.
    pub(crate) set: &'static Row,
    /// What their names begin with.
    pub(crate) prefix: Box<[u8]>,
    /// Bytes of each value; 0: as many as it needs.
    pub(crate) value_bytes: usize,
    /// The number of the next.
    pub(crate) next: u64,
    /// How many there shall be.
    pub(crate) count: u64,
}

impl Populate {
    /// SET of the next key, if it is not there.
    fn request(&self) -> OwnedArgs {
        let key = [&*self.prefix, format!(":{}", self.next).as_bytes()].concat();
        let mut value = format!("value:{}", self.next).into_bytes();
        if self.value_bytes > 0 {
            value.resize(self.value_bytes, 0);
        }
        OwnedArgs::from_slices(&[b"SET", &key, &value, b"NX"])
    }
}

impl Shard {
    /// Makes some keys. The reply goes to `out`.
    pub(super) fn populate_some(&mut self, slot: usize, work: &mut Populate, out: &mut Vec<u8>) -> Next {
        let proto = self.connections[slot].proto;
        for _ in 0..PART_KEYS {
            if work.next == work.count {
                Reply::new(out, proto).ok();
                return Next::End;
            }
            if self.server.memory.has_limit() && self.server.memory.excess_bytes().is_some() {
                Reply::new(out, proto).error(b"OOM command not allowed when used memory > 'maxmemory'.");
                return Next::End;
            }
            if let Some(journal) = &self.durability.journal
                && self.server.admit_write(journal).is_err()
            {
                return Next::Part;
            }
            let (request, before) = (work.request(), out.len());
            match self.run_part(slot, work.set, request.args(), out) {
                PartEnd::Done => out.truncate(before),
                PartEnd::Failed => return Next::End,
                PartEnd::KeysTaken => return Next::Again,
            }
            work.next += 1;
        }
        Next::Part
    }
}
