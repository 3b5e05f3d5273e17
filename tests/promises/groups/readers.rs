//! Those who wait: consumers, tail readers, rescuers and onlookers.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};

use super::ledger::Id;
use super::{Alarm, GROUPS, MAYFLY, PASSING, STREAMS, Scene, Target, list, parse_id, text_of};

/// How long a reader listens before it asks whether the scene is over.
const LISTEN: Duration = Duration::from_millis(500);
/// For how long an entry is its consumer's before the rescuer takes it.
const IDLE_MS: &str = "60";

/// The answer to a reader.
enum Answer {
    /// Keys, and the entries of each.
    Entries(Vec<(Vec<u8>, Vec<Value>)>),
    /// Nothing came in time, or CLIENT UNBLOCK said so.
    Nothing,
    /// An error that a reader of these keys can get.
    Refused,
    /// The connection is gone, and the reply with it, if there was one.
    Cut,
}

impl Target<'_> {
    /// Does `step` again and again until that says no, or the scene is over.
    fn go_on(&mut self, mut step: impl FnMut(&mut Self) -> bool) {
        while step(self) {
            if self.scene.is_over.load(SeqCst) {
                return;
            }
        }
    }

    /// Sends a request and waits for its answer for as long as it takes, or hangs up first.
    fn ask(&mut self, request: &[String], hang_up: Option<Duration>) -> Answer {
        self.client.send(request);
        if let Some(after) = hang_up {
            return match self.client.frame(after) {
                Frame::Bytes(bytes) => self.understand(&bytes),
                Frame::Closed | Frame::Nothing => Answer::Cut,
            };
        }
        loop {
            match self.client.frame(LISTEN) {
                Frame::Bytes(bytes) => return self.understand(&bytes),
                Frame::Closed => return Answer::Cut,
                Frame::Nothing if self.scene.is_over.load(SeqCst) => return Answer::Nothing,
                Frame::Nothing => {}
            }
        }
    }

    fn understand(&self, frame: &[u8]) -> Answer {
        match value_of(frame) {
            Value::Null => Answer::Nothing,
            Value::Error(text) => {
                let known: [&[u8]; 3] = [b"UNBLOCKED", b"NOGROUP", b"WRONGTYPE"];
                assert!(known.iter().any(|prefix| text.starts_with(prefix)), "{}", text.escape_ascii());
                Answer::Refused
            }
            reply => Answer::Entries(streams_of(&reply)),
        }
    }
}

/// The streams of a reply, each with its entries. Panics if one has none: readers don't wait for nothing.
fn streams_of(reply: &Value) -> Vec<(Vec<u8>, Vec<Value>)> {
    let streams = list(reply).iter().map(|stream| match list(stream) {
        [Value::Bulk(key), Value::Array(entries)] if !entries.is_empty() => (key.clone(), entries.clone()),
        _ => panic!("{stream:?} is no stream with its entries"),
    });
    streams.collect()
}

fn index_of(key: &[u8]) -> Option<usize> {
    STREAMS.iter().position(|stream| stream.as_bytes() == key)
}

fn ids_of(entries: &[Value]) -> Vec<Id> {
    entries.iter().map(|entry| parse_id(&list(entry)[0])).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// How long to wait: for ever, if nobody disturbs any more; but only for all streams, or one might be left without readers.
fn patience(scene: &Scene, random: &mut Rng, keys: &[&str]) -> &'static str {
    let choices = ["1", "20", "1000", "0", "0"];
    let waits_for_all = STREAMS.iter().all(|stream| keys.contains(stream));
    match waits_for_all {
        true if scene.is_calm.load(SeqCst) => "0",
        true => choices[random.usize(..choices.len())],
        false => choices[random.usize(..3)],
    }
}

/// Some streams in any order; perhaps also the one that comes and goes.
fn some_keys(scene: &Scene, random: &mut Rng) -> Vec<&'static str> {
    let mut keys = STREAMS.to_vec();
    random.shuffle(&mut keys);
    if scene.is_calm.load(SeqCst) {
        return keys;
    }
    keys.truncate(random.usize(1..=STREAMS.len()));
    if random.u8(..8) == 0 {
        keys.insert(random.usize(..=keys.len()), MAYFLY);
    }
    keys
}

/// Whether and when to leave in the middle of a wait.
fn hang_up(scene: &Scene, random: &mut Rng) -> Option<Duration> {
    let may = !scene.is_written.load(SeqCst) && random.u8(..40) == 0;
    may.then(|| Duration::from_micros(random.u64(..3000)))
}

/// Reads as a consumer of a group, and acknowledges most of it.
pub(super) fn consume(scene: &Scene, group: usize, mut random: Rng) {
    let _alarm = Alarm(scene);
    while !scene.is_over.load(SeqCst) {
        let Some(mut target) = Target::connect(scene, GROUPS[group]) else { continue };
        target.go_on(|target| consume_once(target, group, &mut random));
    }
}

/// `false` when the connection has ended.
fn consume_once(target: &mut Target<'_>, group: usize, random: &mut Rng) -> bool {
    let scene = target.scene;
    let keys = some_keys(scene, random);
    let mut request = words(&["XREADGROUP", "GROUP", GROUPS[group], &target.name]);
    match random.u8(..6) {
        0 => request.extend(words(&["COUNT", "1"])),
        1 => request.extend(words(&["COUNT", "5"])),
        2 => request.extend(words(&["MAXCOUNT", "3"])),
        3 => request.extend(words(&["MAXSIZE", "200"])),
        _ => {}
    }
    request.extend(words(&["BLOCK", patience(scene, random, &keys), "STREAMS"]));
    request.extend(words(&keys));
    request.extend(keys.iter().map(|_| ">".to_owned()));
    let hang_up = hang_up(scene, random);
    match target.ask(&request, hang_up) {
        Answer::Entries(streams) => {
            let streams = streams.iter().filter_map(|(key, entries)| Some((index_of(key)?, ids_of(entries))));
            let streams: Vec<(usize, Vec<Id>)> = streams.collect();
            for (stream, ids) in &streams {
                scene.ledger.received(*stream, group, &target.name, ids);
            }
            for (stream, ids) in &streams {
                // Some of it is left to the rescuer, as by a consumer that fails.
                let forgets = !scene.is_written.load(SeqCst) && random.u8(..20) == 0;
                if !forgets && !acknowledge(target, *stream, group, ids) {
                    return false;
                }
            }
            hang_up.is_none()
        }
        Answer::Nothing | Answer::Refused => hang_up.is_none(),
        Answer::Cut => {
            scene.ledger.cut(&target.name);
            false
        }
    }
}

fn acknowledge(target: &mut Target<'_>, stream: usize, group: usize, ids: &[Id]) -> bool {
    let reply = target.client.try_request(&xack(stream, group, ids));
    let count = reply.map(|reply| reply.as_int().unwrap_or_else(|| panic!("{reply:?} is no count")));
    target.scene.ledger.acked(stream, group, ids, count.map(i64::unsigned_abs));
    count.is_some()
}

fn xack(stream: usize, group: usize, ids: &[Id]) -> Vec<String> {
    let mut request = words(&["XACK", STREAMS[stream], GROUPS[group]]);
    request.extend(ids.iter().map(|&id| text_of(id)));
    request
}

/// Reads all streams without a group, from where it was.
pub(super) fn follow(scene: &Scene, tail: usize, mut random: Rng) {
    let _alarm = Alarm(scene);
    while !scene.is_over.load(SeqCst) {
        let Some(mut target) = Target::connect(scene, "tail") else { continue };
        target.go_on(|target| follow_once(target, tail, &mut random));
    }
}

fn follow_once(target: &mut Target<'_>, tail: usize, random: &mut Rng) -> bool {
    let scene = target.scene;
    let mut keys = STREAMS.to_vec();
    random.shuffle(&mut keys);
    let mut request = words(&["XREAD"]);
    match random.u8(..6) {
        0 => request.extend(words(&["COUNT", "1"])),
        1 => request.extend(words(&["MAXCOUNT", "7"])),
        2 => request.extend(words(&["MAXSIZE", "300"])),
        _ => {}
    }
    request.extend(words(&["BLOCK", patience(scene, random, &keys), "STREAMS"]));
    request.extend(words(&keys));
    let positions = keys.iter().filter_map(|key| index_of(key.as_bytes()));
    request.extend(positions.map(|stream| text_of(scene.ledger.position(stream, tail))));
    let hang_up = hang_up(scene, random);
    match target.ask(&request, hang_up) {
        Answer::Entries(streams) => {
            for (key, entries) in streams {
                let stream = index_of(&key).expect("it was asked for");
                scene.ledger.read(stream, tail, &ids_of(&entries));
            }
            hang_up.is_none()
        }
        Answer::Nothing | Answer::Refused => hang_up.is_none(),
        Answer::Cut => false,
    }
}

/// Claims what is pending for too long, in any of the ways there are, and acknowledges it.
pub(super) fn rescue(scene: &Scene, group: usize, mut random: Rng) {
    let _alarm = Alarm(scene);
    let mut client = scene.server.connect();
    while !scene.is_calm.load(SeqCst) {
        for stream in 0..STREAMS.len() {
            rescue_once(scene, &mut client, stream, group, &mut random);
        }
    }
}

fn rescue_once(scene: &Scene, client: &mut Client, stream: usize, group: usize, random: &mut Rng) {
    let (key, name) = (STREAMS[stream], GROUPS[group]);
    let pending = client.request(&["XPENDING", key, name, "-", "+", "1000"]);
    let mut idle: Vec<Id> = Vec::new();
    for row in list(&pending) {
        let [id, consumer, idle_ms, deliveries] = list(row) else { panic!("{row:?} is not pending") };
        let owner = std::str::from_utf8(consumer.as_bytes().unwrap_or_default()).expect("names are ASCII");
        let deliveries = deliveries.as_int().map_or(0, i64::unsigned_abs);
        let id = parse_id(id);
        scene.ledger.pending(stream, group, id, Some(owner).filter(|owner| !owner.is_empty()), deliveries);
        let idle_ms = idle_ms.as_int().expect("a number of milliseconds");
        if !(0..=60).contains(&idle_ms) {
            idle.push(id);
        }
    }
    let sent = scene.ledger.moment();
    let claimed = match random.u8(..4) {
        0 => claim_by_reading(scene, client, stream, group),
        1 if !idle.is_empty() => {
            let mut request = words(&["XCLAIM", key, name, "rescuer", IDLE_MS]);
            request.extend(idle.iter().map(|&id| text_of(id)));
            ids_of(list(&client.request(&request)))
        }
        _ => {
            let reply = client.request(&["XAUTOCLAIM", key, name, "rescuer", IDLE_MS, "0", "COUNT", "100"]);
            ids_of(list(&list(&reply)[1]))
        }
    };
    scene.ledger.claimed(stream, group, &claimed, sent);
    if claimed.is_empty() {
        return;
    }
    if !scene.is_written.load(SeqCst) && random.u8(..6) == 0 {
        // Given back: nobody's, and there for the next claim.
        let mut request = words(&["XNACK", key, name, "FAIL", "IDS", &claimed.len().to_string()]);
        request.extend(claimed.iter().map(|&id| text_of(id)));
        // Its consumer may be slow instead of gone, and acknowledge it meanwhile.
        let count = client.int(&request);
        assert!(count <= claimed.len() as i64, "{count} of {claimed:?} were given back");
    } else {
        let count = client.int(&xack(stream, group, &claimed));
        scene.ledger.acked(stream, group, &claimed, Some(count.unsigned_abs()));
    }
}

/// Reads with CLAIM, which may bring new entries as well: they were never delivered before.
fn claim_by_reading(scene: &Scene, client: &mut Client, stream: usize, group: usize) -> Vec<Id> {
    let (key, name) = (STREAMS[stream], GROUPS[group]);
    let request =
        ["XREADGROUP", "GROUP", name, "rescuer", "BLOCK", "5", "CLAIM", IDLE_MS, "STREAMS", key, ">"];
    let reply = client.request(&request);
    if reply == Value::Null {
        return Vec::new();
    }
    let (mut new, mut claimed) = (Vec::new(), Vec::new());
    for (_, entries) in streams_of(&reply) {
        for entry in &entries {
            let before = list(entry).get(3).and_then(Value::as_int).expect("how often it was delivered");
            let which = if before == 0 { &mut new } else { &mut claimed };
            which.push(parse_id(&list(entry)[0]));
        }
    }
    scene.ledger.received(stream, group, "rescuer", &new);
    if !new.is_empty() {
        let count = client.int(&xack(stream, group, &new));
        scene.ledger.acked(stream, group, &new, Some(count.unsigned_abs()));
    }
    claimed
}

/// Waits for what comes and goes: whatever is answered, something is.
pub(super) fn observe(scene: &Scene, mut random: Rng) {
    let _alarm = Alarm(scene);
    while !scene.is_calm.load(SeqCst) {
        let Some(mut target) = Target::connect(scene, "onlooker") else { continue };
        while !scene.is_calm.load(SeqCst) {
            let request = match random.u8(..4) {
                0 => words(&["XREAD", "BLOCK", "50", "STREAMS", MAYFLY, "$"]),
                1 => words(&["XREAD", "BLOCK", "50", "STREAMS", MAYFLY, STREAMS[1], "$", "$"]),
                2 => words(&[
                    "XREADGROUP",
                    "GROUP",
                    GROUPS[0],
                    "onlooker",
                    "BLOCK",
                    "50",
                    "STREAMS",
                    MAYFLY,
                    ">",
                ]),
                _ => words(&[
                    "XREADGROUP",
                    "GROUP",
                    PASSING,
                    &target.name,
                    "BLOCK",
                    "50",
                    "STREAMS",
                    STREAMS[0],
                    ">",
                ]),
            };
            let hang_up = hang_up(scene, &mut random);
            if matches!(target.ask(&request, hang_up), Answer::Cut) || hang_up.is_some() {
                break;
            }
        }
    }
}
