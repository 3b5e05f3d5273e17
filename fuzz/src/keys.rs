//! A keyspace without a server.

use sterna_keyspace::{
    COMMANDS, Caller, Changes, Ctx, Effects, KeyGroup, KeyHash, Partition, Space, Wants, read_state,
    write_set, write_state,
};
use sterna_protocol::{OwnedArgs, Proto, Reply};

const DATABASES: usize = 2;
const CALLER: Caller = Caller {
    client: 1,
    shard: 0,
    proto: Proto::Resp3,
    may_block: false,
    may_yield: false,
    touches: true,
    group: KeyGroup::WHOLE,
};
const NOW_MS: u64 = 1_700_000_000_000;

/// One partition, and what it wants to have journaled.
pub struct Keys {
    hash: KeyHash,
    partition: Partition,
    changes: Changes,
}

impl Default for Keys {
    fn default() -> Keys {
        let hash = KeyHash::random();
        let partition = Partition::new(hash.clone(), DATABASES);
        let changes = Changes::new(Wants { effects: true, ..Wants::default() });
        Keys { hash, partition, changes }
    }
}

impl Keys {
    /// Runs a command; `None` if it is refused, else its reply.
    pub fn run(&mut self, args: &[&[u8]]) -> Option<Vec<u8>> {
        let name = args.first()?.to_ascii_lowercase();
        let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == name)?;
        let run = row.run.or_else(|| {
            let name = args.get(1)?.to_ascii_lowercase();
            row.subcommands.iter().find(|row| row.spec.name.as_bytes() == name)?.run
        })?;
        let owned = OwnedArgs::from_slices(args);
        let (space, log) = (Space::one(&mut self.partition), &mut self.changes);
        let mut ctx = Ctx { space, db: 0, now_ms: NOW_MS, log, caller: CALLER };
        let mut out = Vec::new();
        run(&mut ctx, owned.args(), &mut Reply::new(&mut out, Proto::Resp3)).ok()?;
        Some(out)
    }

    /// What the commands so far would have journaled.
    pub fn effects(&self) -> &[u8] {
        self.changes.effects()
    }

    /// Applies effects up to the first that can't be read; says of each whether it fits.
    pub fn apply(&mut self, effects: &[u8]) -> Vec<bool> {
        let readable = Effects::new(effects).map_while(Result::ok);
        readable.map(|effect| self.partition.apply(self.hash.of(effect.key), effect)).collect()
    }

    /// The keys as they come back from a snapshot.
    pub fn reloaded(&self) -> Keys {
        let mut effects = Vec::new();
        for db in 0..DATABASES {
            for record in self.partition.records(db) {
                write_set(&mut effects, db, record.key(), record.value(), record.expire_at_ms());
            }
        }
        let mut reloaded = Keys::default();
        assert!(reloaded.apply(&effects).into_iter().all(|fits| fits), "a snapshot of our own fits");
        reloaded
    }

    /// Every key with what it holds, in order. Each is read as it was written.
    pub fn states(&self) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
        self.partition.check();
        let mut states = Vec::new();
        for db in 0..DATABASES {
            for record in self.partition.records(db) {
                let (mut bytes, mut again) = (Vec::new(), Vec::new());
                write_state(&mut bytes, record.value(), record.expire_at_ms(), &mut |_| {});
                let (value, expire_at_ms) = read_state(&bytes).expect("a state of our own can be read");
                write_state(&mut again, &value, expire_at_ms, &mut |_| {});
                assert_eq!(bytes, again, "a state is read as another");
                states.push((db, record.key().to_vec(), bytes));
            }
        }
        states.sort();
        states
    }
}
