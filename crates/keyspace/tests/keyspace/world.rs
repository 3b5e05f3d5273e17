//! A keyspace without a server: some partitions, a clock that stands, and a client.

use std::sync::Arc;

use sterna_command::{Command, Flags};
use sterna_keyspace::{
    Apart, COMMANDS, Caller, Changes, Ctx, Effect, Effects, Error, EventClasses, KeyEvent, KeyGroup, KeyHash,
    Locked, Outcome, Partition, Retention, Run, Space, Waiter, Wants, WhoIsServed, remember, serve_ready,
};
use sterna_protocol::{Args, Limits, Parser, Progress, Proto, Reply};

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) db: usize,
    pub(crate) caller: Caller,
    pub(crate) log: Changes,
    /// The last command that waited.
    pub(crate) waiter: Option<Arc<Waiter>>,
    /// Effects of every command so far.
    pub(crate) journal: Vec<u8>,
    pub(crate) parts: Parts,
    /// Commands that were to be run apart, and were run at once.
    pub(crate) refused: usize,
}

/// Partitions that are all locked by being ours.
pub(crate) struct Parts {
    hash: KeyHash,
    parts: Vec<Partition>,
}

/// Database, key, value and expiry.
pub(crate) type Kept = (usize, Vec<u8>, Vec<u8>, Option<u64>);

pub(crate) const START_MS: u64 = 1_700_000_000_000;

impl World {
    pub(crate) fn new(partitions: usize) -> World {
        let hash = KeyHash::random();
        let parts = std::iter::repeat_with(|| Partition::new(hash.clone(), 2)).take(partitions).collect();
        let caller = Caller {
            client: 1,
            shard: 0,
            proto: Proto::Resp2,
            may_block: true,
            may_yield: true,
            touches: true,
            group: KeyGroup::WHOLE,
        };
        World {
            now_ms: START_MS,
            db: 0,
            caller,
            log: Changes::new(Wants {
                effects: true,
                events: EventClasses::all(),
                touched: true,
                edited: false,
            }),
            waiter: None,
            journal: Vec::new(),
            parts: Parts { hash, parts },
            refused: 0,
        }
    }

    /// Bytes that keys and values take.
    pub(crate) fn used_bytes(&self) -> usize {
        self.parts.parts.iter().map(Partition::used_bytes).sum()
    }

    /// The reply to a command; words are separated by blanks.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.run_words(&words)).into_owned()
    }

    pub(crate) fn run_words(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.log.clear();
        let out = self.execute(words);
        self.finish();
        out
    }

    /// Runs commands as EXEC does: readers that wait are served after the last.
    pub(crate) fn run_at_once(&mut self, commands: &[Vec<&[u8]>]) {
        self.log.clear();
        for words in commands {
            let reply = self.execute(words);
            assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
        }
        self.finish();
    }

    /// The reply to a command that is run apart, with `between` done to this world before it is committed; `None`: that touched
    /// one of its keys.
    pub(crate) fn run_apart(&mut self, command: &str, between: impl FnOnce(&mut World)) -> Option<String> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let out = self.run_words_apart(&words, between)?;
        // A dump is bytes of any kind.
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    pub(crate) fn run_words_apart(
        &mut self,
        words: &[&[u8]],
        between: impl FnOnce(&mut World),
    ) -> Option<Vec<u8>> {
        let request = encode(words);
        let mut parser = Parser::default();
        let args = parse(&mut parser, &request);
        let row = row_of(words);
        let keys = row.spec.keys.positions(args.len(), |index| args.get(index));
        let keys = keys.map(|index| args.get(index).unwrap_or_default());
        let writes = row.spec.flags.contains(Flags::WRITE);
        let scene = (self.db, self.now_ms, self.caller);
        let mut apart = Apart::new(&mut Space::some(&mut self.parts), keys, writes, scene, &self.log);
        between(self);
        self.log.clear();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, self.caller.proto);
        let result = apart.run(row.run.expect("no container"), args, &mut reply);
        let is_done = apart.commit(&mut Space::some(&mut self.parts), self.now_ms, &mut self.log);
        self.finish();
        if let Err(error) = result {
            Reply::new(&mut out, self.caller.proto).error(&error.text());
        }
        is_done.then_some(out)
    }

    fn execute(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let request = encode(words);
        let mut parser = Parser::default();
        let args = parse(&mut parser, &request);
        let row = row_of(words);
        assert!(row.spec.accepts(args.len()), "{} takes other arguments", row.spec.name);
        let World { now_ms, db, caller, log, parts, waiter: waits, refused, .. } = self;
        let mut out = Vec::new();
        let mut ctx = Ctx { space: Space::some(parts), db: *db, now_ms: *now_ms, log, caller: *caller };
        let run = row.run.expect("no container");
        let mut outcome = run(&mut ctx, args, &mut Reply::new(&mut out, caller.proto));
        if outcome.as_ref().is_err_and(|error| *error == Error::TooLong) {
            assert!(out.is_empty(), "a refusal after a reply");
            *refused += 1;
            (ctx.caller.may_block, ctx.caller.may_yield) = (false, false);
            outcome = run(&mut ctx, args, &mut Reply::new(&mut out, caller.proto));
        }
        if outcome.as_ref().is_err_and(|error| *error == Error::NeedsAll) {
            assert!(out.is_empty(), "a refusal after a reply");
            *refused += 1;
            ctx.caller.may_block = false;
            outcome = run(&mut ctx, args, &mut Reply::new(&mut out, caller.proto));
        }
        if let Ok(Outcome::Held(mut steps)) = outcome {
            outcome = loop {
                match steps.step(&mut ctx, &mut Reply::new(&mut out, caller.proto)) {
                    Ok(true) => {}
                    Ok(false) => break Ok(Outcome::Replied),
                    Err(error) => break Err(error),
                }
            };
        }
        match outcome {
            Ok(Outcome::Replied) => {}
            Ok(Outcome::Long(mut steps)) => while steps.step(&mut Reply::new(&mut out, caller.proto)) {},
            Ok(Outcome::Wait(waiter)) => *waits = Some(waiter),
            Ok(Outcome::Held(_) | Outcome::Apart(_)) => {
                unreachable!("it has ended, or it is the server that copies")
            }
            Err(error) => {
                assert!(out.is_empty(), "an error after a reply");
                Reply::new(&mut out, caller.proto).error(&error.text());
            }
        }
        out
    }

    fn finish(&mut self) {
        let mut unserved = serve_ready(Space::some(&mut self.parts), self.now_ms, &mut self.log);
        while let Some(rest) = &mut unserved
            && rest.go_on(Space::some(&mut self.parts), &mut self.log, WhoIsServed::All)
        {}
        self.note_effects();
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.log
            .events()
            .map(|KeyEvent { event, db, key, subkeys }| {
                let [key, subkeys] = [key, subkeys.list()].map(String::from_utf8_lossy);
                format!("{} {db} {key} {subkeys}", event.name).trim_end().to_owned()
            })
            .collect()
    }

    /// Keeps a message in the stream at `key`.
    pub(crate) fn remember(&mut self, key: &str, message: &str, retention: Retention) {
        self.log.clear();
        let World { now_ms, db, caller, log, parts, .. } = self;
        let mut ctx = Ctx { space: Space::some(parts), db: *db, now_ms: *now_ms, log, caller: *caller };
        remember(&mut ctx, key.as_bytes(), message.as_bytes(), retention).expect("a stream, or nothing");
        self.finish();
    }

    /// Removes what is due, as the active cycle does.
    pub(crate) fn expire_due(&mut self, keys_max: usize) -> usize {
        self.log.clear();
        let removed =
            self.parts.parts.iter_mut().map(|p| p.expire_due(self.now_ms, keys_max, &mut self.log)).sum();
        self.note_effects();
        removed
    }

    pub(crate) fn note_effects(&mut self) {
        self.journal.extend_from_slice(self.log.effects());
        self.log.logged(None);
    }

    pub(crate) fn partition_of(&mut self, key: &[u8]) -> (&mut Partition, u64, &mut Changes) {
        let hash = self.parts.hash.of(key);
        let index = KeyHash::partition(hash, self.parts.parts.len());
        (&mut self.parts.parts[index], hash, &mut self.log)
    }

    /// Another world in which the journal so far was applied, with as many partitions as wanted.
    pub(crate) fn replayed(&self, partitions: usize) -> World {
        let mut world = World { now_ms: self.now_ms, ..World::new(partitions) };
        for effect in Effects::new(&self.journal) {
            let effect = effect.expect("effects as they were written");
            world.apply(effect);
        }
        world
    }

    fn apply(&mut self, effect: Effect<'_>) {
        if let Some(of_all) = effect.of_all() {
            for part in &mut self.parts.parts {
                assert!(part.apply(0, of_all()));
            }
        } else {
            let (part, hash, _) = self.partition_of(effect.key);
            assert!(part.apply(hash, effect));
        }
    }

    /// Panics if what is counted is not what is there.
    pub(crate) fn check(&self) {
        self.parts.parts.iter().for_each(Partition::check);
    }

    /// Every key that is there, with its database, value and expiry, in order.
    pub(crate) fn contents(&self) -> Vec<Kept> {
        self.check();
        let mut all = Vec::new();
        for part in &self.parts.parts {
            for db in 0..part.databases() {
                let live = part.records(db).filter(|record| !record.is_expired(self.now_ms));
                all.extend(live.map(|record| {
                    let text = record.value().text().expect("a string").to_vec();
                    (db, record.key().to_vec(), text, record.expire_at_ms())
                }));
            }
        }
        all.sort();
        all
    }
}

fn row_of(words: &[&[u8]]) -> &'static Command<Run> {
    let named = |rows: &'static [Command<Run>], word: &[u8]| {
        let word = word.to_ascii_lowercase();
        rows.iter().find(|row| row.spec.name.as_bytes() == word)
    };
    let row = named(COMMANDS, words[0]).expect("a command");
    match row.run {
        Some(_) => row,
        None => named(row.subcommands, words[1]).expect("a subcommand"),
    }
}

impl Locked for Parts {
    fn count(&self) -> usize {
        self.parts.len()
    }

    fn hash(&self) -> &KeyHash {
        &self.hash
    }

    fn holds(&self, _index: usize) -> bool {
        true
    }

    fn partition(&mut self, index: usize) -> &mut Partition {
        &mut self.parts[index]
    }

    fn partition_ref(&self, index: usize) -> &Partition {
        &self.parts[index]
    }
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn parse<'a>(parser: &'a mut Parser, request: &'a [u8]) -> Args<'a> {
    let limits = Limits {
        bulk_bytes_max: 1 << 20,
        multibulk_len_max: 1 << 10,
        inline_bytes_max: 1 << 10,
        unauthenticated: false,
    };
    let progress = parser.parse(request, &limits).expect("a request");
    assert_eq!(progress, Progress::Request { consumed: request.len() });
    parser.args(request)
}
