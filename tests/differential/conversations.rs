//! Generated conversations: several clients subscribe, publish, queue and reset at random, and every one of them must see
//! from Sterna, with its clients on different shards, what it would see from Redis.
//!
//! After each request every client is asked, by a PING, whether anything has come for it. A conversation that differs is
//! made shorter until nothing can be left out of it.

use std::time::Instant;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::script::{View, render};
use sterna_tests::server::{Launch, PATIENCE, Server};

use super::reference_is_at_least;

const CLIENTS: usize = 4;
const REQUESTS: usize = 30;

/// However slow the machine is.
const TRIED_MIN: u64 = 6;

/// Who says what.
type Line = (usize, Vec<String>);

/// Few names, so that clients meet; `a*` and `*` match some of them.
const CHANNELS: [&str; 4] = ["a", "ab", "b", ""];
const PATTERNS: [&str; 5] = ["a*", "*", "?b", "[ab]", "b"];

struct Writer {
    random: Rng,
    /// Messages are told apart by their number.
    messages: usize,
}

impl Writer {
    fn pick(&mut self, words: &[&str]) -> String {
        words[self.random.usize(..words.len())].to_owned()
    }

    fn conversation(&mut self) -> Vec<Line> {
        (0..REQUESTS).map(|_| (self.random.usize(..CLIENTS), self.request())).collect()
    }

    fn request(&mut self) -> Vec<String> {
        let names = |writer: &mut Writer, verb: &str, words: &[&str], least: usize| {
            let count = writer.random.usize(least..4);
            [verb.to_owned()].into_iter().chain((0..count).map(|_| writer.pick(words))).collect()
        };
        match self.random.u8(..40) {
            0..5 => names(self, "SUBSCRIBE", &CHANNELS, 1),
            5..8 => names(self, "UNSUBSCRIBE", &CHANNELS, 0),
            8..12 => names(self, "PSUBSCRIBE", &PATTERNS, 1),
            12..14 => names(self, "PUNSUBSCRIBE", &PATTERNS, 0),
            14..16 => names(self, "SSUBSCRIBE", &CHANNELS, 1),
            16 => names(self, "SUNSUBSCRIBE", &CHANNELS, 0),
            17..25 => self.publication("PUBLISH"),
            25..27 => self.publication("SPUBLISH"),
            27..29 => vec!["MULTI".to_owned()],
            29..31 => vec![self.pick(&["EXEC", "EXEC", "DISCARD"])],
            31 => vec!["RESET".to_owned()],
            32 => vec!["HELLO".to_owned(), self.pick(&["2", "3"])],
            33 => vec!["PUBSUB".to_owned(), "NUMPAT".to_owned()],
            34 => ["PUBSUB", "NUMSUB"].into_iter().chain(CHANNELS).map(str::to_owned).collect(),
            35 => ["PUBSUB", "SHARDNUMSUB"].into_iter().chain(CHANNELS).map(str::to_owned).collect(),
            36 => vec!["INCR".to_owned(), "counter".to_owned()],
            37 => vec!["WATCH".to_owned(), "counter".to_owned()],
            38 => vec![self.pick(&["NOSUCH", "GET", "SUBSCRIBE", "UNWATCH"])],
            _ => vec!["PING".to_owned()],
        }
    }

    fn publication(&mut self, verb: &str) -> Vec<String> {
        self.messages += 1;
        vec![verb.to_owned(), self.pick(&CHANNELS), format!("message {}", self.messages)]
    }
}

/// A client, and what must be known of it to tell where its replies end.
struct Listener {
    client: Client,
    is_in_multi: bool,
}

/// What every client sees after each line, as text.
fn play(server: &Server, conversation: &[Line]) -> Vec<Vec<String>> {
    let mut flusher = server.connect();
    flusher.request(&["FLUSHALL"]);
    flusher.leave();
    // Half of them speak RESP3 from the start.
    let connect = |i: usize| if i.is_multiple_of(2) { server.connect() } else { server.connect_resp3() };
    let mut listeners: Vec<Listener> =
        (0..CLIENTS).map(|i| Listener { client: connect(i), is_in_multi: false }).collect();
    let mut seen = Vec::new();
    for (number, (speaker, request)) in conversation.iter().enumerate() {
        let word = format!("behind line {number}.");
        let mut all = vec![String::new(); CLIENTS];
        all[*speaker] = in_order(listeners[*speaker].say(request, &word)).join(" | ");
        for (i, listener) in listeners.iter_mut().enumerate().filter(|(i, _)| i != speaker) {
            all[i] = in_order(listener.listen(&word)).join(" | ");
        }
        seen.push(all);
    }
    listeners.into_iter().for_each(|listener| listener.client.leave());
    seen
}

impl Listener {
    /// Sends a request and gives back all that comes up to the answer to a PING behind it.
    fn say(&mut self, request: &[String], word: &str) -> Vec<Value> {
        // Which name is left first has no order, and inside EXEC's reply none could be put in it.
        let leaves_all = request.len() == 1 && request[0].ends_with("UNSUBSCRIBE");
        if leaves_all && self.is_in_multi {
            self.client.send(&["UNSUBSCRIBE", "a"]);
        } else {
            self.client.send(request);
        }
        let mut values = Vec::new();
        match request[0].as_str() {
            "EXEC" | "DISCARD" | "RESET" => self.is_in_multi = false,
            // An answer each before the one to PING.
            _ if self.is_in_multi => values.extend(self.reply()),
            "MULTI" => {
                values.extend(self.reply());
                self.is_in_multi = values.last() == Some(&Value::Simple(b"OK".to_vec()));
            }
            _ => {}
        }
        values.extend(self.listen(word));
        values
    }

    /// Gives back all that comes up to the answer to a PING.
    fn listen(&mut self, word: &str) -> Vec<Value> {
        self.client.send(&["PING", word]);
        if self.is_in_multi {
            return self.reply();
        }
        let mut values = Vec::new();
        loop {
            let Frame::Bytes(bytes) = self.client.frame(PATIENCE) else {
                panic!("no answer behind {values:?}")
            };
            values.push(View::Hello.apply(value_of(&bytes)));
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                return values;
            }
        }
    }

    /// The next reply, with the pushes before it. Between MULTI and EXEC nothing else comes.
    fn reply(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        loop {
            values.push(self.client.value());
            if !matches!(values.last(), Some(Value::Push(_))) {
                return values;
            }
        }
    }
}

/// Replies as text, with what has no order put in one: the patterns by which one message came, and the names that a
/// request without names unsubscribes from.
fn in_order(values: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut rest = &values[..];
    while let Some(first) = rest.first() {
        let key = group_of(first);
        let len = match &key {
            None => 1,
            Some(_) => rest.iter().take_while(|value| group_of(value) == key).count(),
        };
        let (group, after) = rest.split_at(len);
        rest = after;
        if len == 1 {
            texts.push(render(first));
        } else {
            // Column by column: the counts of confirmations stay in their order, and the names are compared as a set.
            let columns = group[0].as_slice().map_or(0, <[Value]>::len);
            for column in 0..columns {
                let mut cells: Vec<String> =
                    group.iter().filter_map(|value| Some(render(value.as_slice()?.get(column)?))).collect();
                if column == 1 {
                    cells.sort();
                }
                texts.push(cells.join(" "));
            }
        }
    }
    texts
}

/// What a frame may change places with: its kind, and for a message what it brings.
fn group_of(value: &Value) -> Option<(Vec<u8>, String)> {
    let parts = value.as_slice()?;
    let kind = parts.first()?.as_bytes()?;
    if kind == b"pmessage" {
        return Some((kind.to_vec(), render(parts.get(3)?)));
    }
    kind.ends_with(b"unsubscribe").then(|| (kind.to_vec(), String::new()))
}

/// Where two plays of a conversation part, as text.
fn difference(redis: &Server, sterna: &Server, conversation: &[Line]) -> Option<String> {
    let (expected, got) = (play(redis, conversation), play(sterna, conversation));
    let at = (0..conversation.len()).find(|&at| expected[at] != got[at])?;
    let client = (0..CLIENTS).find(|&client| expected[at][client] != got[at][client])?;
    Some(format!("client {client} sees\n  redis  {}\n  sterna {}", expected[at][client], got[at][client]))
}

fn shrink(redis: &Server, sterna: &Server, mut conversation: Vec<Line>) -> Vec<Line> {
    let mut at = 0;
    while at < conversation.len() {
        let mut shorter = conversation.clone();
        shorter.remove(at);
        if difference(redis, sterna, &shorter).is_some() {
            conversation = shorter;
        } else {
            at += 1;
        }
    }
    conversation
}

#[test]
fn generated_conversations_are_heard_as_redis_would_have_them_heard() {
    if !reference_is_at_least(8) {
        return;
    }
    let (redis, sterna) = (Launch::reference().start(), Server::sterna(3, &[]));
    let seed = sterna_tests::seed(0x74_61_6c_6b);
    let deadline = Instant::now() + sterna_tests::duration(8);
    let mut tried = 0;
    while tried < TRIED_MIN || Instant::now() < deadline {
        let conversation = Writer { random: Rng::with_seed(seed + tried), messages: 0 }.conversation();
        if let Some(first) = difference(&redis, &sterna, &conversation) {
            let conversation = shrink(&redis, &sterna, conversation);
            let found = difference(&redis, &sterna, &conversation).unwrap_or(first);
            let text: Vec<String> =
                conversation.iter().map(|(who, request)| format!("{who}: {}", request.join(" "))).collect();
            panic!("STERNA_TEST_SEED={}: after\n  {}\n{found}", seed + tried, text.join("\n  "));
        }
        tried += 1;
    }
    println!("{tried} conversations");
}
