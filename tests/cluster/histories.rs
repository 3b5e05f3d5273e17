//! What clients of all nodes see of a register and of a group of readers, one after the other, while leaders are killed and stand still.
//!
//! - A register that one client counts up is linearizable: nobody reads what is older than what was acknowledged, or read, before it asked, nor
//!   what nobody had begun to write when it was answered.
//! - A group gives an entry once: to who has it, or to who does not know yet, for whom it is pending. What is acknowledged is pending no more.
//!
//! `STERNA_CRASH_ROUNDS=20` is the long form.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::crash_rounds;
use sterna_tests::server::{PATIENCE, Server, wait_for};

use crate::keys::{Ends, await_same, keys_node, leader, log, reader};
use crate::tools::{await_joined, shown};

const READERS: usize = 3;
const CONSUMERS: usize = 3;

/// Where clients connect to, and whether they are to end.
struct Stage {
    ports: Mutex<Vec<u16>>,
    is_over: AtomicBool,
    register: Mutex<Arc<Register>>,
}

/// A register under a key of its own, in which no write is open: a client that does not know what has become of one takes another.
#[derive(Default)]
struct Register {
    key: String,
    begun: AtomicU64,
    acknowledged: AtomicU64,
    read: AtomicU64,
}

/// A client of one node after the other: of another one whenever it is closed, or answered an error.
struct Wanderer<'a> {
    stage: &'a Stage,
    client: Option<Client>,
    at: usize,
}

impl<'a> Wanderer<'a> {
    fn new(stage: &'a Stage, at: usize) -> Wanderer<'a> {
        Wanderer { stage, client: None, at }
    }

    /// What is answered; `None`: nobody knows what has become of it, or it was not executed.
    fn ask(&mut self, request: &[&str]) -> Option<Value> {
        while self.client.is_none() {
            self.at += 1;
            let ports = self.stage.ports.lock().expect("nothing panics with it").clone();
            self.client = Client::try_to(ports[self.at % ports.len()]).ok();
        }
        let client = self.client.as_mut()?;
        client.send(request);
        match client.frame(PATIENCE) {
            Frame::Bytes(bytes) if bytes[0] != b'-' => Some(value_of(&bytes)),
            _ => {
                self.client = None;
                None
            }
        }
    }
}

impl Stage {
    fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register.lock().expect("nothing panics with it"))
    }

    fn count_up(&self) {
        let (mut client, mut names) = (Wanderer::new(self, 0), 0..);
        while !self.is_over.load(SeqCst) {
            let register = self.register();
            let next = register.begun.fetch_add(1, SeqCst) + 1;
            if client.ask(&["SET", &register.key, &next.to_string()]).is_some() {
                register.acknowledged.store(next, SeqCst);
            } else {
                let key = format!("register:{}", names.next().unwrap_or(0));
                *self.register.lock().expect("nothing panics with it") =
                    Arc::new(Register { key, ..Register::default() });
            }
        }
    }

    fn read_register(&self, at: usize) -> u64 {
        let (mut client, mut reads) = (Wanderer::new(self, at), 0);
        while !self.is_over.load(SeqCst) {
            let register = self.register();
            let least = register.acknowledged.load(SeqCst).max(register.read.load(SeqCst));
            let Some(value) = client.ask(&["GET", &register.key]) else { continue };
            let most = register.begun.load(SeqCst);
            let value = if value == Value::Null { 0 } else { shown(&value).parse().expect("a number") };
            assert!((least..=most).contains(&value), "{}: {value} is not in {least}..={most}", register.key);
            register.read.fetch_max(value, SeqCst);
            reads += 1;
        }
        reads
    }

    /// Adds entries; gives back what was acknowledged.
    fn produce(&self) -> BTreeSet<String> {
        let (mut client, mut added) = (Wanderer::new(self, 1), BTreeSet::new());
        while !self.is_over.load(SeqCst) {
            added.extend(client.ask(&["XADD", "jobs", "*", "n", "x"]).map(|id| shown(&id)));
        }
        added
    }

    /// Reads entries and acknowledges every other one; gives back what it was given, and what was acknowledged to be so.
    fn consume(&self, at: usize) -> (Vec<String>, BTreeSet<String>) {
        let (mut client, name) = (Wanderer::new(self, at), format!("consumer:{at}"));
        let (mut given, mut acknowledged) = (Vec::new(), BTreeSet::new());
        loop {
            let is_over = self.is_over.load(SeqCst);
            let request = [
                "XREADGROUP",
                "GROUP",
                "workers",
                &name,
                "COUNT",
                "2",
                "BLOCK",
                "200",
                "STREAMS",
                "jobs",
                ">",
            ];
            let Some(reply) = client.ask(&request) else { continue };
            if reply == Value::Null {
                if is_over {
                    return (given, acknowledged);
                }
                continue;
            }
            let streams = reply.as_slice().and_then(|streams| streams[0].as_slice()).expect("a stream");
            for entry in streams[1].as_slice().expect("entries") {
                let id = shown(&entry.as_slice().expect("an entry")[0]);
                if given.len() % 2 == 0
                    && client.ask(&["XACK", "jobs", "workers", &id]) == Some(Value::Int(1))
                {
                    acknowledged.insert(id.clone());
                }
                given.push(id);
            }
        }
    }
}

/// Kills the node that leads, or has it stand still until another one does.
fn change_leader(nodes: &mut [Server], kills: bool, ports: &Mutex<Vec<u16>>) {
    let leading = leader(&*nodes).pid();
    let at = nodes.iter().position(|node| node.pid() == leading).expect("it is one of them");
    if kills {
        nodes[at].kill();
    } else {
        nodes[at].freeze();
    }
    leader(nodes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, node)| node));
    if kills {
        nodes[at].start_again();
        ports.lock().expect("nothing panics with it")[at] = nodes[at].address().port();
    } else {
        nodes[at].signal(Signal::CONT);
    }
}

#[test]
fn a_register_is_linearizable_and_a_group_gives_each_entry_once_whoever_leads() {
    let Some((nats, name)) = log(3) else { return };
    let mut nodes: Vec<Server> = (0..3).map(|at| keys_node(&name, &nats.url(at)).start()).collect();
    await_joined(&nodes);
    leader(&nodes);
    nodes[0].connect().request(&["XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"]);
    let stage = Stage {
        ports: Mutex::new(nodes.iter().map(|node| node.address().port()).collect()),
        is_over: AtomicBool::new(false),
        register: Mutex::new(Arc::new(Register { key: "register".to_owned(), ..Register::default() })),
    };
    let (reads, added, read) = thread::scope(|scope| {
        let (stage, ends) = (&stage, Ends(&stage.is_over));
        let readers: Vec<_> = (0..READERS).map(|at| scope.spawn(move || stage.read_register(at))).collect();
        let consumers: Vec<_> = (0..CONSUMERS).map(|at| scope.spawn(move || stage.consume(at))).collect();
        let counter = scope.spawn(|| stage.count_up());
        let producer = scope.spawn(|| stage.produce());
        for round in 0..crash_rounds(2) {
            let register = stage.register();
            let before = register.acknowledged.load(SeqCst);
            wait_for("writes", || {
                let same = stage.register();
                let more = same.acknowledged.load(SeqCst);
                (more > if same.key == register.key { before + 20 } else { 20 }).then_some(())
            });
            change_leader(&mut nodes, round % 2 == 1, &stage.ports);
        }
        wait_for("writes", || (stage.register().acknowledged.load(SeqCst) > 20).then_some(()));
        drop(ends);
        counter.join().expect("it counts to the end");
        let reads =
            readers.into_iter().map(|reader| reader.join().expect("all it reads is in order")).sum::<u64>();
        let added = producer.join().expect("it adds to the end");
        let read: Vec<_> = consumers.into_iter().map(|consumer| consumer.join().expect("it ends")).collect();
        (reads, added, read)
    });
    await_same(&nodes);
    let (mut given, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for (of_one, by_one) in read {
        for id in of_one {
            assert!(given.insert(id.clone()), "{id} was given twice");
        }
        acknowledged.extend(by_one);
    }
    for node in &nodes {
        let mut client = reader(node);
        let ids = |reply: &Value| {
            let entries = reply.as_slice().expect("entries").iter();
            entries.map(|entry| shown(&entry.as_slice().expect("an entry")[0])).collect::<BTreeSet<_>>()
        };
        let there = ids(&client.request(&["XRANGE", "jobs", "-", "+"]));
        let pending = ids(&client.request(&["XPENDING", "jobs", "workers", "-", "+", "1000000"]));
        assert!(added.is_subset(&there), "acknowledged entries are lost");
        let known: BTreeSet<String> = given.union(&pending).cloned().collect();
        assert_eq!(there.symmetric_difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(pending.intersection(&acknowledged).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    println!("{reads} reads, {} entries, {} acknowledged by the group", added.len(), acknowledged.len());
}
