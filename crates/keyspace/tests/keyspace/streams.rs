//! What the stream commands promise beyond what a comparison with a running Redis 8.2 shows: those who wait, events,
//! replay. The options of 8.4 to 8.10 are in `newest`.

use std::sync::Arc;

use sterna_keyspace::stream::effect::Change;
use sterna_keyspace::stream::{BlockLimits, Stream};
use sterna_keyspace::{Retention, Space, Waiter, recheck};

use crate::world::{START_MS, World};

/// A reply for people: `[1-0 [f v] 5 nil]`, maps in braces, errors with their dash.
pub(crate) fn show(reply: &[u8]) -> String {
    let mut lines = std::str::from_utf8(reply).expect("a reply in ASCII").split("\r\n");
    let text = show_one(&mut lines);
    assert_eq!(lines.next(), Some(""), "one reply and no more");
    text
}

fn show_one<'l>(lines: &mut impl Iterator<Item = &'l str>) -> String {
    let line = lines.next().expect("a line");
    let (kind, rest) = line.split_at(1);
    let mut several = |count: usize, open: &str, close: &str| {
        let items: Vec<String> = (0..count).map(|_| show_one(lines)).collect();
        format!("{open}{}{close}", items.join(" "))
    };
    match (kind, rest) {
        ("*" | "$", "-1") | ("_", _) => "nil".to_string(),
        ("*", count) => several(count.parse().unwrap(), "[", "]"),
        ("%", count) => several(2 * count.parse::<usize>().unwrap(), "{", "}"),
        ("$", _) => lines.next().expect("the text").to_string(),
        (":" | "+", text) => text.to_string(),
        ("-", text) => format!("-{text}"),
        other => panic!("an unexpected line {other:?}"),
    }
}

/// A world with some streams, and what it answers.
pub(crate) struct Streams(pub(crate) World);

impl Streams {
    /// After these commands, which must not fail.
    pub(crate) fn after(commands: &[&str]) -> Streams {
        let mut streams = Streams(World::new(4));
        for command in commands {
            let reply = streams.run(command);
            assert!(!reply.starts_with('-'), "{command}: {reply}");
        }
        streams
    }

    pub(crate) fn run(&mut self, command: &str) -> String {
        // An argument written '' is empty.
        let words: Vec<&[u8]> =
            command.split(' ').map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect();
        let reply = self.0.run_words(&words);
        if reply.is_empty() { "waits".to_string() } else { show(&reply) }
    }

    /// Runs each command and compares what it answers.
    pub(crate) fn script(&mut self, script: &[(&str, &str)]) {
        for (command, expected) in script {
            assert_eq!(self.run(command), *expected, "{command}");
        }
    }

    pub(crate) fn sleep(&mut self, ms: u64) {
        self.0.now_ms += ms;
    }

    /// Runs commands as one transaction.
    pub(crate) fn run_at_once(&mut self, commands: &[&str]) {
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|command| command.split(' ').map(str::as_bytes).collect()).collect();
        self.0.run_at_once(&commands);
    }

    /// Runs a command as another client.
    pub(crate) fn run_as(&mut self, client: u64, command: &str) -> String {
        let me = std::mem::replace(&mut self.0.caller.client, client);
        let reply = self.run(command);
        self.0.caller.client = me;
        reply
    }

    /// A command that waits, as another client.
    pub(crate) fn wait(&mut self, client: u64, words: &[&str]) -> Arc<Waiter> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let me = std::mem::replace(&mut self.0.caller.client, client);
        assert!(self.0.run_words(&words).is_empty(), "it has been answered");
        self.0.caller.client = me;
        self.0.waiter.take().expect("a waiter")
    }

    /// What the server does when a waiter's time has come.
    pub(crate) fn recheck(&mut self, waiter: &Waiter) {
        let World { parts, now_ms, log, .. } = &mut self.0;
        log.clear();
        assert!(recheck(Space::some(parts), *now_ms, log, waiter).is_none());
        self.0.note_effects();
    }

    /// Those who were answered by the last command, in order.
    pub(crate) fn served(&mut self) -> Vec<(u64, String)> {
        let served = self.0.log.served();
        served
            .map(|served| (served.waiter.caller.client, show(served.answer.reply().expect("short"))))
            .collect()
    }

    /// That a journal would bring everything back.
    pub(crate) fn check_replay(&mut self, keys: &[&str]) {
        let mut again = Streams(self.0.replayed(2));
        for key in keys {
            let command = format!("XINFO STREAM {key} FULL COUNT 0");
            assert_eq!(without_seen(&again.run(&command)), without_seen(&self.run(&command)));
        }
    }
}

/// Without the times when consumers last asked for something: asking alone changes nothing that is journaled.
fn without_seen(info: &str) -> String {
    let mut words = info.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if word == "seen-time" {
            words.next();
        }
    }
    kept.join(" ")
}

pub(crate) const THREE: [&str; 4] =
    ["XADD s 1-0 f a", "XADD s 2-0 f b", "XADD s 3-0 f c", "XGROUP CREATE s g 0"];

/// The same, all pending for the consumer `a`.
pub(crate) fn three_pending() -> Streams {
    let mut streams = Streams::after(&THREE);
    streams.run("XREADGROUP GROUP g a STREAMS s >");
    streams
}

mod waiting {
    use super::*;

    #[test]
    fn readers_are_served_in_the_order_they_came_with_what_came() {
        let mut streams = Streams::after(&["XADD s 1-0 f a"]);
        for client in 10..13 {
            assert_eq!(streams.run_as(client, "XREAD BLOCK 0 STREAMS s $"), "waits");
        }
        assert_eq!(streams.run_as(13, "XREAD BLOCK 0 STREAMS s 5-0"), "waits");
        streams.script(&[("XADD s 2-0 f b", "2-0")]);
        let reply = "[[s [[2-0 [f b]]]]]".to_string();
        assert_eq!(streams.served(), [(10, reply.clone()), (11, reply.clone()), (12, reply)]);
        streams.script(&[("XADD s 6-0 f c", "6-0")]);
        assert_eq!(streams.served(), [(13, "[[s [[6-0 [f c]]]]]".to_string())]);
    }

    #[test]
    fn a_reader_of_several_streams_hears_of_the_one_that_moved_once() {
        let mut streams = Streams::after(&["XADD s 1-0 f a"]);
        assert_eq!(streams.run_as(9, "XREAD BLOCK 0 STREAMS s t $ $"), "waits");
        streams.script(&[("XADD t 1-0 f b", "1-0")]);
        assert_eq!(streams.served(), [(9, "[[t [[1-0 [f b]]]]]".to_string())]);
        streams.script(&[("XADD s 2-0 f c", "2-0")]);
        assert_eq!(streams.served(), []);
    }

    #[test]
    fn a_transaction_that_adds_to_several_streams_wakes_a_reader_once_with_all_of_them() {
        let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM", "XGROUP CREATE t g 0 MKSTREAM"]);
        assert_eq!(streams.run_as(5, "XREAD BLOCK 0 STREAMS s none t $ $ $"), "waits");
        assert_eq!(streams.run_as(6, "XREADGROUP GROUP g c BLOCK 0 STREAMS t s > >"), "waits");
        assert_eq!(streams.run_as(7, "XREADGROUP GROUP g d BLOCK 0 STREAMS t >"), "waits");
        streams.run_at_once(&["XADD s 1-0 f a", "XADD t 1-0 f b", "XADD s 2-0 f c"]);
        let (s, t) = ("[s [[1-0 [f a]] [2-0 [f c]]]]", "[t [[1-0 [f b]]]]");
        assert_eq!(streams.served(), [(5, format!("[{s} {t}]")), (6, format!("[{t} {s}]"))]);
        streams.script(&[("XADD t 2-0 f d", "2-0")]);
        assert_eq!(streams.served(), [(7, "[[t [[2-0 [f d]]]]]".to_string())]);
    }

    #[test]
    fn what_is_added_and_gone_within_a_transaction_is_not_in_the_reply() {
        let mut streams = Streams::after(&[]);
        assert_eq!(streams.run_as(5, "XREAD BLOCK 0 MAXCOUNT 1 STREAMS s t u $ $ $"), "waits");
        streams.run_at_once(&["XADD s 1-0 f a", "XADD t 1-0 f b", "XADD u 1-0 f b", "DEL s"]);
        assert_eq!(streams.served(), [(5, "[[t [[1-0 [f b]]]]]".to_string())]);
    }

    #[test]
    fn a_group_that_goes_in_the_same_transaction_is_the_answer() {
        let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM", "XGROUP CREATE t g 0 MKSTREAM"]);
        assert_eq!(streams.run_as(6, "XREADGROUP GROUP g c BLOCK 0 STREAMS s t > >"), "waits");
        streams.run_at_once(&["XADD s 1-0 f a", "XGROUP DESTROY t g"]);
        let gone = "-NOGROUP No such key 't' or consumer group 'g' in XREADGROUP with GROUP option";
        assert_eq!(streams.served(), [(6, gone.to_string())]);
        streams.script(&[("XPENDING s g", "[0 nil nil nil]")]);
    }

    #[test]
    fn a_key_that_goes_or_changes_its_type_wakes_no_reader() {
        let mut streams = Streams::after(&["XADD s 1-0 f a"]);
        assert_eq!(streams.run_as(9, "XREAD BLOCK 0 STREAMS s $"), "waits");
        streams.run("DEL s");
        assert_eq!(streams.served(), []);
        streams.run("SET s text");
        assert_eq!(streams.served(), []);
        streams.run("DEL s");
        streams.run("XADD s 2-0 f b");
        assert_eq!(streams.served(), [(9, "[[s [[2-0 [f b]]]]]".to_string())]);
    }

    #[test]
    fn an_entry_that_is_trimmed_at_once_wakes_nobody() {
        let mut streams = Streams::after(&["XADD s 1-0 f a"]);
        assert_eq!(streams.run_as(9, "XREAD BLOCK 0 STREAMS s $"), "waits");
        streams.script(&[("XADD s MAXLEN 0 2-0 f b", "2-0")]);
        assert_eq!(streams.served(), []);
    }

    #[test]
    fn consumers_of_a_group_share_what_comes() {
        let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM"]);
        for client in 1..=3 {
            let command = format!("XREADGROUP GROUP g c{client} COUNT 1 BLOCK 0 STREAMS s >");
            assert_eq!(streams.run_as(client, &command), "waits");
        }
        streams.script(&[("XADD s 1-0 f a", "1-0")]);
        assert_eq!(streams.served(), [(1, "[[s [[1-0 [f a]]]]]".to_string())]);
        streams.script(&[("XADD s 2-0 f b", "2-0")]);
        assert_eq!(streams.served(), [(2, "[[s [[2-0 [f b]]]]]".to_string())]);
        assert_eq!(streams.run("XPENDING s g"), "[2 1-0 2-0 [[c1 1] [c2 1]]]");
        streams.check_replay(&["s"]);
    }

    #[test]
    fn a_group_or_a_key_that_goes_wakes_its_consumers_with_an_error() {
        let gone = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        let cases = [
            ("XGROUP DESTROY s g", gone),
            ("DEL s", gone),
            ("RENAME s other", gone),
            ("FLUSHALL", gone),
            ("SET s text", wrong),
        ];
        for (command, error) in cases {
            let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM"]);
            assert_eq!(streams.run_as(4, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >"), "waits");
            streams.run(command);
            assert_eq!(streams.served(), [(4, error.to_string())], "{command}");
        }
    }

    #[test]
    fn nobody_waits_who_may_not_or_asks_for_history() {
        let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM"]);
        streams.script(&[("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", "[[s []]]")]);
        streams.0.caller.may_block = false;
        streams.script(&[
            ("XREAD BLOCK 0 STREAMS s $", "nil"),
            ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "nil"),
        ]);
    }

    #[test]
    fn plus_waits_for_the_first_entry_of_an_empty_stream() {
        let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM"]);
        assert_eq!(streams.run_as(4, "XREAD BLOCK 0 STREAMS s +"), "waits");
        streams.script(&[("XADD s 1-0 f a", "1-0")]);
        assert_eq!(streams.served(), [(4, "[[s [[1-0 [f a]]]]]".to_string())]);
        streams.script(&[("XREAD BLOCK 0 STREAMS s +", "[[s [[1-0 [f a]]]]]")]);
    }
}

#[test]
fn every_change_has_its_event() {
    let mut streams = Streams::after(&[]);
    let cases: &[(&str, &[&str])] = &[
        ("XADD s 1-0 f v", &["new 0 s", "xadd 0 s"]),
        ("XADD s MAXLEN 1 2-0 f v", &["xadd 0 s", "xtrim 0 s"]),
        ("XGROUP CREATE s g 0", &["xgroup-create 0 s"]),
        ("XGROUP CREATECONSUMER s g c", &["xgroup-createconsumer 0 s"]),
        ("XGROUP CREATECONSUMER s g c", &[]),
        ("XREADGROUP GROUP g d STREAMS s >", &["xgroup-createconsumer 0 s"]),
        ("XREADGROUP GROUP g d STREAMS s >", &[]),
        ("XACK s g 2-0", &[]),
        ("XGROUP SETID s g 0", &["xgroup-setid 0 s"]),
        ("XGROUP DELCONSUMER s g c", &["xgroup-delconsumer 0 s"]),
        ("XGROUP DELCONSUMER s g c", &[]),
        ("XGROUP DESTROY s g", &["xgroup-destroy 0 s"]),
        ("XGROUP DESTROY s g", &[]),
        ("XSETID s 9-0", &["xsetid 0 s"]),
        ("XDEL s 2-0", &["xdel 0 s"]),
        ("XDEL s 2-0", &[]),
        ("XADD s 10-0 f v", &["xadd 0 s"]),
        ("XTRIM s MAXLEN 0", &["xtrim 0 s"]),
        ("XTRIM s MAXLEN 0", &[]),
        ("XADD s 11-0 f v", &["xadd 0 s"]),
        ("XDELEX s IDS 2 11-0 12-0", &["xdel 0 s"]),
        ("XGROUP CREATE t g $ MKSTREAM", &["new 0 t", "xgroup-create 0 t"]),
    ];
    for (command, events) in cases {
        streams.run(command);
        assert_eq!(streams.0.events(), *events, "{command}");
    }
}

#[test]
fn reading_what_is_pending_does_not_make_a_consumer_active_neither_now_nor_in_a_replay() {
    let mut streams = Streams::after(&["XADD s 1-0 f v", "XGROUP CREATE s g 0"]);
    streams.run("XREADGROUP GROUP g c STREAMS s >");
    streams.sleep(5);
    streams.run("XREADGROUP GROUP g c STREAMS s 0");
    let info = streams.run("XINFO STREAM s FULL");
    assert!(info.contains(&format!("active-time {START_MS}")), "{info}");
    streams.check_replay(&["s"]);
}

#[test]
fn ids_follow_the_clock_of_the_caller() {
    let mut streams = Streams::after(&[]);
    assert_eq!(streams.run("XADD s * f v"), format!("{START_MS}-0"));
    assert_eq!(streams.run("XADD s * f v"), format!("{START_MS}-1"));
    streams.0.now_ms -= 500;
    assert_eq!(streams.run("XADD s * f v"), format!("{START_MS}-2"), "a clock that goes back");
    streams.0.now_ms += 501;
    assert_eq!(streams.run("XADD s * f v"), format!("{}-0", START_MS + 1));
}

#[test]
fn approximate_trims_that_look_at_references_take_whole_blocks_too() {
    let mut streams = Streams::after(&["XGROUP CREATE s g 0 MKSTREAM"]);
    for ms in 1..=250 {
        streams.run(&format!("XADD s {ms}-0 f v"));
    }
    streams.run("XREADGROUP GROUP g c COUNT 150 STREAMS s >");
    for ms in (1..=100).filter(|ms| *ms != 42) {
        streams.run(&format!("XACK s g {ms}-0"));
    }
    streams.script(&[
        ("XTRIM s MAXLEN ~ 10 ACKED", "99"),
        ("XRANGE s - + COUNT 2", "[[42-0 [f v]] [101-0 [f v]]]"),
        ("XTRIM s MAXLEN ~ 10 DELREF", "101"),
        ("XLEN s", "50"),
        ("XPENDING s g", "[0 nil nil nil]"),
    ]);
    streams.check_replay(&["s"]);
}

#[test]
fn entries_of_a_stream_with_an_age_go_by_themselves_and_the_stream_stays() {
    let mut world = World::new(4);
    let retention = Retention { maxlen: None, max_age_ms: 1_000 };
    for _ in 0..450 {
        world.remember("s", "m", retention);
        world.now_ms += 1;
    }
    world.run("xgroup create s g 0");
    world.run("copy s t");
    world.run("hset h f v");
    assert_eq!(world.expire_due(100), 0);
    // The entry with the ID n goes when n + 1 000 is over.
    world.now_ms = START_MS + 1_000 + 230;
    while world.expire_due(100) > 0 {
        world.check();
    }
    let xrange = |world: &mut World, key: &str| world.run(&format!("xrange {key} - + count 1"));
    for key in ["s", "t"] {
        assert_eq!(world.run(&format!("xlen {key}")), ":220\r\n", "{key}");
        assert!(xrange(&mut world, key).contains(&format!("{}-0", START_MS + 230)));
    }
    let mut replayed = world.replayed(2);
    assert_eq!(replayed.run("xlen s"), ":220\r\n");
    for world in [&mut world, &mut replayed] {
        world.now_ms += 10_000;
        while world.expire_due(100) > 0 {}
        assert_eq!(world.run("xlen s"), ":0\r\n");
        assert!(world.run("xinfo groups s").contains("name"), "a group stays");
        world.check();
    }
    // Whoever publishes removes what is due, and may let it stay for good from here on.
    world.remember("s", "old", retention);
    world.now_ms += 2_000;
    world.remember("s", "new", Retention { maxlen: Some(3), max_age_ms: 0 });
    assert_eq!(world.run("xlen s"), ":1\r\n");
    world.now_ms += 1_000_000;
    assert_eq!(world.expire_due(100), 0);
    (0..5).for_each(|_| world.remember("s", "m", Retention { maxlen: Some(3), max_age_ms: 0 }));
    assert_eq!(world.run("xlen s"), ":3\r\n");
}

#[test]
fn a_stream_with_an_age_has_it_in_a_snapshot_too() {
    let mut stream = Stream::new();
    assert!(stream.apply(Change::MaxAge { ms: 5 }, BlockLimits::default()));
    let mut bytes = Vec::new();
    stream.write(&mut bytes, &mut |_| {});
    let read = Stream::read(&bytes).expect("a stream");
    assert_eq!(read.max_age_ms(), 5);
    assert!(Stream::read(&bytes[..bytes.len() - 1]).is_none());
}
