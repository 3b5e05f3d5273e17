//! Blocked commands: answered by the write that makes their key ready, in the order they came, once.
//!
//! The waiter here is one of the test's own, which waits for a string: how streams wait is theirs to test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sterna_keyspace::{Blocked, Ctx, Error, Outcome, Space, Waiter, serve_ready};
use sterna_protocol::{Proto, Reply};

use crate::world::World;

/// Waits until its key holds a string; answers it, or takes it away as well.
#[derive(Debug)]
struct Wants {
    takes: bool,
    /// How often a reply was encoded, over all waiters.
    encoded: Arc<AtomicUsize>,
}

impl Blocked for Wants {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        ctx.peek(key).is_some()
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let text = ctx.peek(key).and_then(|record| record.value().text()).ok_or(Error::WrongType)?;
        reply.bulk(&text);
        if self.takes {
            let mut slot = ctx.slot(key);
            slot.delete(sterna_keyspace::EventKind {
                class: sterna_keyspace::EventClasses::GENERIC,
                name: "taken",
            });
        }
        Ok(())
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        (!self.takes).then_some([0; 3])
    }
}

struct Queue {
    world: World,
    encoded: Arc<AtomicUsize>,
}

impl Queue {
    fn new(partitions: usize) -> Queue {
        Queue { world: World::new(partitions), encoded: Arc::default() }
    }

    fn wait(&mut self, client: u64, keys: &[&str], takes: bool) -> Arc<Waiter> {
        let World { now_ms, db, caller, log, parts, .. } = &mut self.world;
        let caller = sterna_keyspace::Caller { client, ..*caller };
        let mut ctx = Ctx { space: Space::some(parts), db: *db, now_ms: *now_ms, log, caller };
        let keys = keys.iter().map(|key| key.as_bytes().into()).collect();
        match ctx.wait(keys, None, Box::new(Wants { takes, encoded: self.encoded.clone() })) {
            Outcome::Wait(waiter) => waiter,
            Outcome::Replied | Outcome::Long(_) | Outcome::Held(_) | Outcome::Apart(_) => {
                unreachable!("wait() waits")
            }
        }
    }

    /// Who is answered by a command, and with what.
    fn run(&mut self, command: &str) -> Vec<(u64, String)> {
        self.world.run(command);
        let served = self.world.log.served();
        served
            .map(|s| {
                (
                    s.waiter.caller.client,
                    String::from_utf8(s.answer.reply().expect("short").to_vec()).unwrap(),
                )
            })
            .collect()
    }
}

fn hello(client: u64) -> (u64, String) {
    (client, "$5\r\nhello\r\n".to_owned())
}

#[test]
fn a_write_answers_all_readers_in_their_order_with_one_encoding() {
    let mut queue = Queue::new(4);
    for client in 1..=1000 {
        queue.wait(client, &["a"], false);
    }
    assert_eq!(queue.run("set b 1"), []);
    assert_eq!(queue.run("get a"), []);
    let served = queue.run("set a hello");
    assert_eq!(served, (1..=1000).map(hello).collect::<Vec<_>>());
    assert_eq!(queue.encoded.load(Ordering::Relaxed), 1);
    assert_eq!(queue.run("set a hello"), [], "each is answered once");
}

#[test]
fn protocols_do_not_share_a_reply() {
    let mut queue = Queue::new(1);
    queue.wait(1, &["a"], false);
    queue.world.caller.proto = Proto::Resp3;
    queue.wait(2, &["a"], false);
    assert_eq!(queue.run("set a hello").len(), 2);
    assert_eq!(queue.encoded.load(Ordering::Relaxed), 2);
}

#[test]
fn who_takes_leaves_nothing_for_those_behind() {
    let mut queue = Queue::new(1);
    for client in 1..=3 {
        queue.wait(client, &["a"], true);
    }
    for client in 1..=3 {
        assert_eq!(queue.run("set a hello"), [hello(client)]);
        assert_eq!(queue.world.run("exists a"), ":0\r\n");
    }
    assert_eq!(queue.run("set a hello"), []);
}

#[test]
fn a_waiter_for_several_keys_is_answered_by_the_first_and_only_once() {
    let mut queue = Queue::new(4);
    let waiter = queue.wait(1, &["a", "b"], false);
    assert_eq!(queue.run("mset c 1 b hello a hello"), [hello(1)]);
    assert!(waiter.is_claimed());
    assert_eq!(queue.run("set a hello"), []);
}

#[test]
fn a_waiter_that_somebody_else_claimed_is_passed_over() {
    let mut queue = Queue::new(1);
    let (gone, stays) = (queue.wait(1, &["a"], false), queue.wait(2, &["a"], false));
    assert!(gone.claim());
    assert!(!gone.claim());
    assert_eq!(queue.run("set a hello"), [hello(2)]);
    assert!(stays.is_claimed());
}

#[test]
fn a_waiter_that_is_forgotten_leaves_nothing_behind() {
    let mut queue = Queue::new(1);
    let waiter = queue.wait(1, &["a"], false);
    let (part, hash, _) = queue.world.partition_of(b"a");
    part.forget_waiter(hash, b"a", &waiter);
    assert_eq!(Arc::strong_count(&waiter), 1);
    assert_eq!(queue.run("set a hello"), []);
}

#[test]
fn every_way_to_write_a_key_wakes_its_waiters() {
    for command in ["set a hello", "mset a hello", "rename b a", "copy b a", "append a hello", "restore a 0 "]
    {
        let mut queue = Queue::new(4);
        queue.world.run("set b hello");
        queue.wait(1, &["a"], false);
        if command.starts_with("restore") {
            let dump = queue.world.run_words(&[b"dump", b"b"]);
            let payload = &dump[5..dump.len() - 2];
            assert_eq!(queue.world.run_words(&[b"restore", b"a", b"0", payload]), b"+OK\r\n");
            assert_eq!(queue.world.log.served().count(), 1);
        } else {
            assert_eq!(queue.run(command), [hello(1)], "{command}");
        }
    }
}

#[test]
fn waiters_are_served_after_the_last_command_of_a_transaction() {
    let mut queue = Queue::new(1);
    queue.wait(1, &["a"], false);
    // What World::run does is one command; a transaction runs several before it serves.
    let World { now_ms, db, caller, log, parts, .. } = &mut queue.world;
    log.clear();
    for value in [&b"first"[..], b"hello"] {
        let mut ctx = Ctx { space: Space::some(parts), db: *db, now_ms: *now_ms, log, caller: *caller };
        let event = sterna_keyspace::EventKind { class: sterna_keyspace::EventClasses::STRING, name: "set" };
        ctx.slot(b"a").overwrite(sterna_keyspace::Value::string(value), None, event);
    }
    assert!(serve_ready(Space::some(parts), *now_ms, log).is_none());
    let served: Vec<_> = log.served().map(|served| served.answer.reply().expect("short").to_vec()).collect();
    assert_eq!(served, [b"$5\r\nhello\r\n".to_vec()]);
}
