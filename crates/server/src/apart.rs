//! Threads on which commands are run that would keep keys locked for too long (see `sterna_keyspace::Apart`), and the keys
//! that such commands are about to write.
//!
//! A command that is run apart has to begin anew if one of its keys is written meanwhile. So that it comes to an end, clients
//! that would write to one of them wait until it has ended, as they would if it kept the keys locked ([`Reserved`]). What can't
//! wait, scripts that did not name the key and the clock, goes on; the command then begins anew.
//!
//! The threads are as many as shards, and nicer than these: what is urgent goes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use sterna_command::{Command, Row};
use sterna_keyspace::{Apart, Error, Fieldset, Run};
use sterna_protocol::{Args, LongRequest, OwnedArgs, Reply};

use crate::connection::state::ConnectionRef;
use crate::lock::{Level, Mutex};
use crate::partitions::Scene;

/// How much nicer than shards the threads are: a little, so that of those who want a core a shard gets the larger share.
pub(crate) const NICENESS: i32 = 1;

/// A command that is run apart. There is one for each client at most.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) who: ConnectionRef,
    pub(crate) row: &'static Row,
    pub(crate) command: &'static Command<Run>,
    /// Handed over by whoever read it.
    pub(crate) request: Request,
    pub(crate) scene: Scene,
    /// What its request names, if it has to begin anew (HIMPORT).
    pub(crate) fieldset: Option<Arc<Fieldset>>,
    /// `None` once it is over: a command that only reads is so when it has been run.
    pub(crate) apart: Option<Box<Apart>>,
    /// What it answers.
    pub(crate) reply: Vec<u8>,
    /// Bytes that it may answer.
    pub(crate) room: usize,
    /// It would answer more: it has no reply, and nothing happens.
    pub(crate) is_cut: bool,
    /// `None`: it has not been run.
    pub(crate) result: Option<Result<(), Error>>,
    /// CLIENT REPLY says that it isn't answered; of one that has just been read, its connection knows.
    pub(crate) is_silent: bool,
    /// Why its client may not run it any more.
    pub(crate) denied: Option<Vec<u8>>,
    /// How long it took, all runs together.
    pub(crate) took: Duration,
    /// How often it was run.
    pub(crate) runs: u32,
}

/// The request of a command that is run apart.
#[derive(Debug)]
pub(crate) enum Request {
    /// As it was read.
    Read(LongRequest),
    /// As MULTI has queued it.
    Queued(OwnedArgs),
}

impl Default for Request {
    fn default() -> Request {
        Request::Read(LongRequest::default())
    }
}

impl Request {
    pub(crate) fn args(&self) -> Args<'_> {
        match self {
            Request::Read(request) => request.args(),
            Request::Queued(args) => args.args(),
        }
    }
}

impl Task {
    /// A command that has yet to be run.
    pub(crate) fn new(
        who: ConnectionRef,
        row: &'static Row,
        command: &'static Command<Run>,
        scene: Scene,
        apart: Box<Apart>,
        room: usize,
    ) -> Task {
        let (request, reply, took) = (Request::default(), Vec::new(), Duration::ZERO);
        let fieldset = apart.fieldset().cloned();
        let (apart, result, denied) = (Some(apart), None, None);
        Task {
            who,
            row,
            command,
            request,
            scene,
            fieldset,
            apart,
            reply,
            room,
            is_cut: false,
            result,
            is_silent: false,
            denied,
            took,
            runs: 0,
        }
    }

    /// It would answer more than it may.
    pub(crate) fn cut(&mut self) {
        (self.reply, self.is_cut) = (Vec::new(), true);
        if let Some(apart) = &mut self.apart {
            apart.call_off();
        }
    }

    /// Runs it.
    fn run(&mut self) {
        let began = Instant::now();
        // A row that runs nothing has never been begun.
        if let (Some(apart), Some(run)) = (&mut self.apart, self.command.run) {
            let mut reply = Reply::new(&mut self.reply, self.scene.caller.proto);
            reply.limit(self.room);
            self.result = Some(apart.run(run, self.request.args(), &mut reply));
            if reply.end_limit() {
                self.cut();
            }
            if let Some(apart) = &self.apart
                && !apart.writes()
            {
                self.apart = None;
            }
        }
        self.took += began.elapsed();
        self.runs += 1;
    }
}

/// What is done with a task that has been run.
type Deliver = Box<dyn FnOnce(Box<Task>) + Send>;

/// The way to the threads; they end when this goes.
#[derive(Debug)]
pub(crate) struct Threads(Sender<Job>);

/// What waits to be run: whoever waits for the next holds it meanwhile, and nothing else.
type Tasks = Mutex<Receiver<Job>, { Level::Tasks as u8 }>;

struct Job {
    task: Box<Task>,
    deliver: Deliver,
}

impl Threads {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> Threads {
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Tasks::new(receiver));
        for number in 0..count {
            let receiver = Arc::clone(&receiver);
            let work = move || {
                // Where it can't be had, they are as urgent as shards.
                let _ = rustix::process::nice(NICENESS);
                while let Some(Job { mut task, deliver }) = next(&receiver) {
                    task.run();
                    deliver(task);
                }
            };
            let thread = std::thread::Builder::new().name(format!("apart-{number}")).spawn(work);
            if let Err(error) = thread {
                tracing::warn!(%error, "no thread to run long commands on");
            }
        }
        Threads(sender)
    }

    /// Has the task run, and then delivered from the thread that ran it. Without threads both happen here.
    pub(crate) fn run(&self, task: Box<Task>, deliver: Deliver) {
        if let Err(refused) = self.0.send(Job { task, deliver }) {
            let Job { mut task, deliver } = refused.0;
            task.run();
            deliver(task);
        }
    }
}

fn next(receiver: &Tasks) -> Option<Job> {
    receiver.lock().recv().ok()
}

/// Keys that commands are about to write which are run apart.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// How many there are. Relaxed: who misses one only has the command begin anew.
    count: AtomicUsize,
    list: Mutex<ReservedKeys, { Level::Reserved as u8 }>,
}

#[derive(Debug, Default)]
struct ReservedKeys {
    /// With their databases, and how often each is reserved.
    keys: HashMap<(usize, Box<[u8]>), usize>,
    /// Somebody waits for one of them to be free.
    is_awaited: bool,
}

impl Reserved {
    /// Reserves keys of a database, once for each time they are named.
    pub(crate) fn add<'k>(&self, db: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let mut list = self.list.lock();
        keys.for_each(|key| *list.keys.entry((db, key.into())).or_default() += 1);
        self.count.store(list.keys.len(), Ordering::Relaxed);
    }

    /// Takes back what was reserved. True: somebody waits, and is to be told.
    pub(crate) fn remove<'k>(&self, db: usize, keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let mut list = self.list.lock();
        for key in keys {
            if let Entry::Occupied(mut times) = list.keys.entry((db, key.into())) {
                *times.get_mut() -= 1;
                if *times.get() == 0 {
                    times.remove();
                }
            }
        }
        self.count.store(list.keys.len(), Ordering::Relaxed);
        std::mem::take(&mut list.is_awaited)
    }

    /// Whether there is none at all.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether one of these is reserved; then the caller waits until somebody has been told by [`Reserved::remove`].
    pub(crate) fn has_any<'k>(&self, db: usize, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let mut list = self.list.lock();
        let has_any = keys.any(|key| list.keys.contains_key(&(db, Box::from(key))));
        list.is_awaited |= has_any;
        has_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_reserved_until_everybody_who_reserved_it_is_done() {
        let reserved = Reserved::default();
        let keys = |keys: &'static [&'static str]| keys.iter().map(|key| key.as_bytes());
        reserved.add(0, keys(&["a", "b"]));
        reserved.add(0, keys(&["b", "c"]));
        reserved.add(1, keys(&["d"]));
        assert!(!reserved.remove(0, keys(&["a", "b"])), "nobody waits");
        assert!(reserved.has_any(0, keys(&["x", "b"])) && reserved.has_any(0, keys(&["c"])));
        assert!(!reserved.has_any(0, keys(&["a", "d"])) && reserved.has_any(1, keys(&["d"])));
        assert!(reserved.remove(0, keys(&["b", "c"])), "somebody has asked for b");
        assert!(!reserved.is_empty());
        reserved.remove(1, keys(&["d"]));
        assert!(reserved.is_empty() && !reserved.has_any(0, keys(&["b"])));
    }
}
