//! What the stream commands promise beyond what a comparison with a running Redis 8.2 shows: the options of 8.4 to 8.10,
//! sentence by sentence of their command reference; those who wait; events; replay.

use std::sync::Arc;

use sterna_keyspace::{Space, Waiter, look_again};
use sterna_protocol::Proto;

use crate::world::{START_MS, World};

/// A reply for people: `[1-0 [f v] 5 nil]`, maps in braces, errors with their dash.
fn show(reply: &[u8]) -> String {
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
struct Streams(World);

impl Streams {
    /// After these commands, which must not fail.
    fn after(commands: &[&str]) -> Streams {
        let mut streams = Streams(World::new(4));
        for command in commands {
            let reply = streams.run(command);
            assert!(!reply.starts_with('-'), "{command}: {reply}");
        }
        streams
    }

    fn run(&mut self, command: &str) -> String {
        // An argument written '' is empty.
        let words: Vec<&[u8]> =
            command.split(' ').map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect();
        let reply = self.0.run_words(&words);
        if reply.is_empty() { "waits".to_string() } else { show(&reply) }
    }

    /// Runs each command and compares what it answers.
    fn script(&mut self, script: &[(&str, &str)]) {
        for (command, expected) in script {
            assert_eq!(self.run(command), *expected, "{command}");
        }
    }

    fn sleep(&mut self, ms: u64) {
        self.0.now_ms += ms;
    }

    /// Runs a command as another client.
    fn run_as(&mut self, client: u64, command: &str) -> String {
        let me = std::mem::replace(&mut self.0.caller.client, client);
        let reply = self.run(command);
        self.0.caller.client = me;
        reply
    }

    /// A command that waits, as another client.
    fn wait(&mut self, client: u64, words: &[&str]) -> Arc<Waiter> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let me = std::mem::replace(&mut self.0.caller.client, client);
        assert!(self.0.run_words(&words).is_empty(), "it has been answered");
        self.0.caller.client = me;
        self.0.waiter.take().expect("a waiter")
    }

    /// What the server does when a waiter's time has come.
    fn look_again(&mut self, waiter: &Waiter) {
        let World { parts, now_ms, log, .. } = &mut self.0;
        log.clear();
        look_again(Space::some(parts), *now_ms, log, waiter);
        self.0.note_effects();
    }

    /// Those who were answered by the last command, in order.
    fn served(&mut self) -> Vec<(u64, String)> {
        let served = self.0.log.served();
        served.map(|served| (served.waiter.caller.client, show(&served.reply))).collect()
    }

    /// That a journal would bring everything back.
    fn check_replay(&mut self, keys: &[&str]) {
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

const THREE: [&str; 4] = ["XADD s 1-0 f a", "XADD s 2-0 f b", "XADD s 3-0 f c", "XGROUP CREATE s g 0"];

/// The same, all pending for the consumer `a`.
fn three_pending() -> Streams {
    let mut streams = Streams::after(&THREE);
    streams.run("XREADGROUP GROUP g a STREAMS s >");
    streams
}

mod xnack {
    use super::*;

    #[test]
    fn releases_entries_from_their_consumer_and_makes_them_idle_for_ever() {
        let mut streams = three_pending();
        streams.sleep(5);
        streams.script(&[
            ("XNACK s g FAIL IDS 2 1-0 2-0", "2"),
            ("XPENDING s g - + 10", "[[1-0  -1 1] [2-0  -1 1] [3-0 a 5 1]]"),
            ("XPENDING s g", "[3 1-0 3-0 [[a 1]]]"),
            ("XPENDING s g IDLE 100000 - + 10", "[[1-0  -1 1] [2-0  -1 1]]"),
            // Claimable whatever the minimum: XCLAIM, XAUTOCLAIM and XREADGROUP CLAIM alike.
            ("XCLAIM s g b 100000 1-0", "[[1-0 [f a]]]"),
            ("XAUTOCLAIM s g b 100000 0", "[0-0 [[2-0 [f b]]] []]"),
            ("XPENDING s g - + 10", "[[1-0 b 0 2] [2-0 b 0 2] [3-0 a 5 1]]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn the_mode_says_what_becomes_of_the_delivery_count() {
        let mut streams = three_pending();
        streams.run("XCLAIM s g a 0 1-0 2-0 3-0 RETRYCOUNT 4");
        streams.script(&[
            ("XNACK s g SILENT IDS 1 1-0", "1"),
            ("XNACK s g fail IDS 1 2-0", "1"),
            ("XNACK s g FATAL IDS 1 3-0", "1"),
            ("XPENDING s g - + 10", "[[1-0  -1 3] [2-0  -1 4] [3-0  -1 9223372036854775807]]"),
            // A counter at its top stays there.
            ("XCLAIM s g a 0 3-0 JUSTID", "[3-0]"),
            ("XCLAIM s g a 0 3-0", "[[3-0 [f c]]]"),
            ("XPENDING s g 3 3 10", "[[3-0 a 0 9223372036854775807]]"),
            // RETRYCOUNT wins over the mode.
            ("XNACK s g FATAL IDS 2 1-0 2-0 RETRYCOUNT 7", "2"),
            ("XPENDING s g - 2 10", "[[1-0  -1 7] [2-0  -1 7]]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn a_silent_release_does_not_count_below_nothing() {
        let mut streams = three_pending();
        streams.script(&[
            ("XNACK s g SILENT IDS 1 1-0", "1"),
            ("XNACK s g SILENT IDS 1 1-0", "1"),
            ("XPENDING s g - 1 10", "[[1-0  -1 0]]"),
        ]);
    }

    #[test]
    fn only_force_releases_what_is_not_pending_and_only_what_is_there() {
        let mut streams = Streams::after(&THREE);
        streams.script(&[
            ("XNACK s g FAIL IDS 2 1-0 2-0", "0"),
            ("XNACK s g FAIL IDS 2 1-0 9-0 FORCE", "1"),
            ("XNACK s g FATAL IDS 1 2-0 FORCE", "1"),
            ("XNACK s g FAIL IDS 1 3-0 FORCE RETRYCOUNT 5", "1"),
            ("XPENDING s g - + 10", "[[1-0  -1 0] [2-0  -1 9223372036854775807] [3-0  -1 5]]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn released_entries_are_counted_and_can_be_acknowledged() {
        let mut streams = three_pending();
        streams.run("XNACK s g FAIL IDS 2 1-0 2-0");
        assert!(streams.run("XINFO STREAM s FULL").contains("nacked-count 2"));
        streams.script(&[("XACK s g 1-0", "1"), ("XGROUP DELCONSUMER s g a", "1")]);
        assert!(streams.run("XINFO STREAM s FULL").contains("nacked-count 1"));
    }

    #[test]
    fn it_is_refused_without_a_mode_ids_or_a_group() {
        let mut streams = three_pending();
        streams.script(&[
            ("XNACK s g MAYBE IDS 1 1-0", "-ERR mode must be SILENT, FAIL, or FATAL"),
            ("XNACK s g FAIL ID 1 1-0", "-ERR syntax error"),
            ("XNACK s g FAIL IDS 0 1-0", "-ERR Number of IDs must be a positive integer"),
            ("XNACK s g FAIL IDS 2 1-0", "-ERR The `numids` parameter must match the number of arguments"),
            ("XNACK s g FAIL IDS 1 x", "-ERR Invalid stream ID specified as stream command argument"),
            ("XNACK s g FAIL IDS 1 1-0 2-0", "-ERR syntax error"),
            ("XNACK s nobody FAIL IDS 1 1-0", "-NOGROUP No such key 's' or consumer group 'nobody'"),
            ("XNACK none g FAIL IDS 1 1-0", "-NOGROUP No such key 'none' or consumer group 'g'"),
            ("XPENDING s g", "[3 1-0 3-0 [[a 3]]]"),
        ]);
    }
}

mod claim {
    use super::*;

    #[test]
    fn idle_entries_come_first_with_their_idle_time_and_earlier_deliveries_then_new_ones() {
        let mut streams = three_pending();
        streams.sleep(100);
        streams.script(&[
            ("XADD s 4-0 f d", "4-0"),
            (
                "XREADGROUP GROUP g b CLAIM 50 STREAMS s >",
                "[[s [[1-0 [f a] 100 1] [2-0 [f b] 100 1] [3-0 [f c] 100 1] [4-0 [f d] 0 0]]]]",
            ),
            ("XPENDING s g - + 10", "[[1-0 b 0 2] [2-0 b 0 2] [3-0 b 0 2] [4-0 b 0 1]]"),
            ("XREADGROUP GROUP g a CLAIM 50 STREAMS s >", "nil"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn the_longest_idle_come_first_and_count_counts_both() {
        let mut streams = three_pending();
        streams.script(&[
            ("XCLAIM s g a 0 1-0 IDLE 1000 JUSTID", "[1-0]"),
            ("XCLAIM s g a 0 2-0 IDLE 3000 JUSTID", "[2-0]"),
            ("XCLAIM s g a 0 3-0 IDLE 2000 JUSTID", "[3-0]"),
            ("XADD s 4-0 f d", "4-0"),
            ("XADD s 5-0 f e", "5-0"),
            (
                "XREADGROUP GROUP g b COUNT 3 CLAIM 1500 STREAMS s >",
                "[[s [[2-0 [f b] 3000 1] [3-0 [f c] 2000 1] [4-0 [f d] 0 0]]]]",
            ),
            ("XREADGROUP GROUP g b COUNT 1 CLAIM 1001 STREAMS s >", "[[s [[5-0 [f e] 0 0]]]]"),
            ("XREADGROUP GROUP g b COUNT 1 CLAIM 1000 STREAMS s >", "[[s [[1-0 [f a] 1000 1]]]]"),
        ]);
    }

    #[test]
    fn released_entries_come_before_all_others() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XNACK s g FAIL IDS 1 3-0", "1"),
            (
                "XREADGROUP GROUP g b CLAIM 5 STREAMS s >",
                "[[s [[3-0 [f c] -1 1] [1-0 [f a] 10 1] [2-0 [f b] 10 1]]]]",
            ),
        ]);
    }

    #[test]
    fn noack_does_not_apply_to_what_is_claimed() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XADD s 4-0 f d", "4-0"),
            (
                "XREADGROUP GROUP g b NOACK CLAIM 5 COUNT 4 STREAMS s >",
                "[[s [[1-0 [f a] 10 1] [2-0 [f b] 10 1] [3-0 [f c] 10 1] [4-0 [f d] 0 0]]]]",
            ),
            ("XPENDING s g - + 10", "[[1-0 b 0 2] [2-0 b 0 2] [3-0 b 0 2]]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn it_is_ignored_when_history_is_read() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XREADGROUP GROUP g b CLAIM 5 STREAMS s 0", "[[s []]]"),
            ("XREADGROUP GROUP g a COUNT 1 CLAIM 5 STREAMS s 0", "[[s [[1-0 [f a]]]]]"),
        ]);
    }

    #[test]
    fn entries_that_are_gone_are_not_claimed() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XTRIM s MAXLEN 0", "3"),
            ("XREADGROUP GROUP g b CLAIM 5 STREAMS s >", "nil"),
            ("XPENDING s g", "[0 nil nil nil]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn a_cursor_set_back_delivers_what_was_claimed_once_more() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XGROUP SETID s g 1-0", "OK"),
            (
                "XREADGROUP GROUP g b CLAIM 5 STREAMS s >",
                "[[s [[1-0 [f a] 10 1] [2-0 [f b] 10 1] [3-0 [f c] 10 1] [2-0 [f b] 0 0] [3-0 [f c] 0 0]]]]",
            ),
            ("XPENDING s g - + 10", "[[1-0 b 0 2] [2-0 b 0 1] [3-0 b 0 1]]"),
        ]);
    }

    #[test]
    fn a_waiting_consumer_gets_what_becomes_idle_while_it_waits() {
        let mut streams = three_pending();
        streams.sleep(30);
        let waiter = streams
            .wait(7, &["XREADGROUP", "GROUP", "g", "b", "BLOCK", "0", "CLAIM", "100", "STREAMS", "s", ">"]);
        assert_eq!(waiter.look_again_ms(), Some(START_MS + 100));
        streams.sleep(70);
        streams.look_again(&waiter);
        let claimed = "[[s [[1-0 [f a] 100 1] [2-0 [f b] 100 1] [3-0 [f c] 100 1]]]]";
        assert_eq!(streams.served(), [(7, claimed.to_string())]);
        assert_eq!(streams.run("XPENDING s g"), "[3 1-0 3-0 [[b 3]]]");
    }

    #[test]
    fn a_consumer_that_finds_nothing_idle_looks_again_later() {
        let mut streams = three_pending();
        let waiter = streams
            .wait(7, &["XREADGROUP", "GROUP", "g", "b", "BLOCK", "0", "CLAIM", "100", "STREAMS", "s", ">"]);
        streams.sleep(60);
        streams.run("XACK s g 1-0 2-0 3-0");
        streams.sleep(40);
        streams.look_again(&waiter);
        assert_eq!(streams.served(), []);
        assert_eq!(waiter.look_again_ms(), Some(START_MS + 200));
        streams.run("XADD s 4-0 f d");
        assert_eq!(streams.served(), [(7, "[[s [[4-0 [f d] 0 0]]]]".to_string())]);
        let reader = streams.wait(8, &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
        assert_eq!(reader.look_again_ms(), None, "only a write wakes a reader");
    }

    #[test]
    fn a_waiting_consumer_gets_what_xnack_gives_back() {
        let mut streams = three_pending();
        assert_eq!(streams.run_as(7, "XREADGROUP GROUP g b BLOCK 0 CLAIM 60000 STREAMS s >"), "waits");
        streams.script(&[("XNACK s g FAIL IDS 1 2-0", "1")]);
        assert_eq!(streams.served(), [(7, "[[s [[2-0 [f b] -1 1]]]]".to_string())]);
    }
}

mod idempotence {
    use super::*;

    #[test]
    fn a_message_sent_again_gets_the_first_ones_id_and_adds_nothing() {
        let mut streams = Streams::after(&[]);
        let first = streams.run("XADD s IDMP p 1 * amount 100");
        streams.sleep(10);
        assert_eq!(streams.run("XADD s IDMP p 1 * amount 200"), first);
        assert_eq!(streams.run("XRANGE s - +"), format!("[[{first} [amount 100]]]"));
        // The original may be gone; it was sent all the same.
        assert_eq!(streams.run(&format!("XDEL s {first}")), "1");
        assert_eq!(streams.run("XADD s IDMP p 1 * amount 100"), first);
        assert_eq!(streams.run("XLEN s"), "0");
    }

    #[test]
    fn producers_do_not_share_ids_and_any_bytes_are_one() {
        let mut streams = Streams::after(&[
            "XADD s IDMP p 1 * f v",
            "XADD s IDMP q 1 * f v",
            "XADD s IDMP p * * f v",
            "XADD s IDMP p IDMP * f v",
            "XADD s IDMP p 123-456 * f v",
        ]);
        assert_eq!(streams.run("XLEN s"), "5");
        streams.check_replay(&["s"]);
    }

    #[test]
    fn the_content_can_be_the_id() {
        let mut streams = Streams::after(&[]);
        let first = streams.run("XADD s IDMPAUTO p * a 1 b 2");
        assert_eq!(streams.run("XADD s IDMPAUTO p * a 1 b 2"), first);
        assert_ne!(streams.run("XADD s IDMPAUTO p * a 1 b 3"), first);
        assert_ne!(streams.run("XADD s IDMPAUTO q * a 1 b 2"), first);
        assert_eq!(streams.run("XLEN s"), "3");
        streams.check_replay(&["s"]);
    }

    #[test]
    fn an_id_is_forgotten_after_its_duration_or_when_there_are_too_many() {
        let mut streams =
            Streams::after(&["XADD s IDMP p 1 * f v", "XCFGSET s IDMP-DURATION 10 IDMP-MAXSIZE 2"]);
        let first = streams.run("XADD s IDMP p 1 * f v");
        streams.sleep(9999);
        assert_eq!(streams.run("XADD s IDMP p 1 * f v"), first);
        streams.sleep(1);
        let second = streams.run("XADD s IDMP p 1 * f v");
        assert_ne!(second, first);
        streams.run("XADD s IDMP p 2 * f v");
        assert_eq!(streams.run("XADD s IDMP p 1 * f v"), second);
        streams.run("XADD s IDMP p 3 * f v");
        assert_ne!(streams.run("XADD s IDMP p 1 * f v"), second, "three are one too many");
    }

    #[test]
    fn only_a_change_of_the_settings_forgets() {
        let mut streams = Streams::after(&["XADD s IDMP p 1 * f v"]);
        streams.script(&[("XCFGSET s IDMP-DURATION 100 IDMP-MAXSIZE 100", "OK")]);
        assert!(streams.run("XINFO STREAM s").contains("pids-tracked 1 iids-tracked 1 iids-added 1"));
        streams.script(&[("XCFGSET s IDMP-MAXSIZE 99", "OK")]);
        let info = streams.run("XINFO STREAM s");
        assert!(
            info.contains("idmp-duration 100 idmp-maxsize 99 pids-tracked 0 iids-tracked 0 iids-added 1"),
            "{info}"
        );
        streams.check_replay(&["s"]);
    }

    #[test]
    fn counters_are_shown_with_every_stream() {
        let mut streams = Streams::after(&["XADD s 1-0 f v"]);
        let none =
            "idmp-duration 100 idmp-maxsize 100 pids-tracked 0 iids-tracked 0 iids-added 0 iids-duplicates 0";
        assert!(streams.run("XINFO STREAM s").contains(none));
        assert!(streams.run("XINFO STREAM s FULL").contains(none));
        streams.run("XADD s IDMP p 1 * f v");
        streams.run("XADD s IDMP p 1 * f v");
        streams.run("XADD s IDMP q 1 * f v");
        assert!(
            streams
                .run("XINFO STREAM s")
                .contains("pids-tracked 2 iids-tracked 2 iids-added 2 iids-duplicates 1")
        );
    }

    #[test]
    fn other_options_go_with_it_in_any_order() {
        let mut streams = Streams::after(&[]);
        assert_eq!(streams.run("XADD s NOMKSTREAM IDMP p 1 * f v"), "nil");
        assert_eq!(streams.run("EXISTS s"), "0");
        let first = streams.run("XADD s IDMP p 1 MAXLEN ~ 100 KEEPREF * f v");
        assert_eq!(streams.run("XADD s MAXLEN ~ 100 IDMP p 1 * f v"), first);
        streams.run("XADD s IDMP p 2 MAXLEN = 1 * f v");
        assert_eq!(streams.run("XLEN s"), "1");
        streams.check_replay(&["s"]);
    }

    #[test]
    fn what_it_refuses() {
        let mut streams = Streams::after(&["XADD s 1-0 f v", "SET str x"]);
        let twice = "-ERR IDMP/IDMPAUTO specified multiple times";
        let explicit = "-ERR IDMP/IDMPAUTO can be used only with auto-generated IDs";
        streams.script(&[
            ("XADD s IDMP p * f v", "-ERR Invalid stream ID specified as stream command argument"),
            ("XADD s IDMP p 1 5-0 f v", explicit),
            ("XADD s IDMPAUTO p 5-* f v", explicit),
            ("XADD s IDMP p 1 IDMP p 2 * f v", twice),
            ("XADD s IDMPAUTO p IDMP p 2 * f v", twice),
            ("XADD s IDMP '' 1 * f v", "-ERR IDMP requires a non-empty producer ID"),
            ("XADD s IDMP p '' * f v", "-ERR IDMP requires a non-empty idempotent ID"),
            ("XADD s IDMPAUTO '' * f v", "-ERR IDMPAUTO requires a non-empty producer ID"),
            ("XCFGSET s", "-ERR syntax error"),
            ("XCFGSET s IDMP-DURATION", "-ERR syntax error"),
            ("XCFGSET s IDMP-DURATION 0", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
            ("XCFGSET s IDMP-DURATION 86401", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
            ("XCFGSET s IDMP-MAXSIZE -1", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries"),
            ("XCFGSET s IDMP-MAXSIZE 10001", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries"),
            ("XCFGSET s IDMP-MAXSIZE x", "-ERR value is not an integer or out of range"),
            ("XCFGSET none IDMP-MAXSIZE 5", "-ERR no such key"),
            (
                "XCFGSET str IDMP-MAXSIZE 5",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            ("XLEN s", "1"),
        ]);
    }
}

mod caps {
    use super::*;

    fn two_streams() -> Streams {
        Streams::after(&[
            "XADD s 1-0 f a",
            "XADD s 2-0 f b",
            "XADD t 1-0 f c",
            "XADD t 2-0 f d",
            "XADD u 1-0 f e",
            "XGROUP CREATE s g 0",
            "XGROUP CREATE t g 0",
        ])
    }

    #[test]
    fn maxcount_bounds_all_streams_together_in_the_order_they_are_named() {
        let mut streams = two_streams();
        streams.script(&[
            (
                "XREAD COUNT 2 MAXCOUNT 3 STREAMS s t u 0 0 0",
                "[[s [[1-0 [f a]] [2-0 [f b]]]] [t [[1-0 [f c]]]]]",
            ),
            ("XREAD COUNT 1 MAXCOUNT 2 STREAMS s t u 0 0 0", "[[s [[1-0 [f a]]]] [t [[1-0 [f c]]]]]"),
            ("XREAD MAXCOUNT 1 STREAMS u s 0 0", "[[u [[1-0 [f e]]]]]"),
            ("XREAD MAXCOUNT 100 STREAMS u none 0 0", "[[u [[1-0 [f e]]]]]"),
            ("XREAD MAXCOUNT 1 STREAMS s 2-0", "nil"),
        ]);
    }

    #[test]
    fn what_maxcount_leaves_out_is_not_delivered() {
        let mut streams = two_streams();
        streams.script(&[
            (
                "XREADGROUP GROUP g c MAXCOUNT 3 STREAMS s t > >",
                "[[s [[1-0 [f a]] [2-0 [f b]]]] [t [[1-0 [f c]]]]]",
            ),
            ("XPENDING t g", "[1 1-0 1-0 [[c 1]]]"),
            ("XREADGROUP GROUP g c MAXCOUNT 3 STREAMS s t > >", "[[t [[2-0 [f d]]]]]"),
        ]);
        streams.check_replay(&["s", "t"]);
    }

    #[test]
    fn maxsize_bounds_the_reply_but_lets_one_entry_pass() {
        let mut streams = two_streams();
        let whole = streams.0.run_words(&[b"XREAD", b"STREAMS", b"s", b"t", b"0", b"0"]).len();
        let one = streams.0.run_words(&[b"XREAD", b"COUNT", b"1", b"STREAMS", b"s", b"0"]).len();
        for max in 1..=whole {
            let command = format!("XREAD MAXSIZE {max} STREAMS s t 0 0");
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            let reply = streams.0.run_words(&words);
            assert!(reply.len() <= max.max(one), "{max}: {}", show(&reply));
            assert!(show(&reply).starts_with("[[s [[1-0 [f a]]"), "{max}: {}", show(&reply));
        }
        streams.script(&[
            (
                &format!("XREAD MAXSIZE {whole} STREAMS s t 0 0")[..],
                "[[s [[1-0 [f a]] [2-0 [f b]]]] [t [[1-0 [f c]] [2-0 [f d]]]]]",
            ),
            ("XREADGROUP GROUP g c MAXSIZE 1 STREAMS s t > >", "[[s [[1-0 [f a]]]]]"),
            ("XPENDING s g", "[1 1-0 1-0 [[c 1]]]"),
            ("XREAD MAXSIZE 1 STREAMS s 2-0", "nil"),
        ]);
    }

    #[test]
    fn they_hold_in_resp3_and_for_those_who_wait() {
        let mut streams = two_streams();
        streams.0.caller.proto = Proto::Resp3;
        streams.script(&[("XREAD MAXCOUNT 1 STREAMS s t 0 0", "{s [[1-0 [f a]]]}")]);
        assert_eq!(streams.run_as(5, "XREAD BLOCK 0 MAXCOUNT 1 STREAMS s $"), "waits");
        streams.script(&[("XADD s 3-0 f v", "3-0")]);
        assert_eq!(streams.served(), [(5, "{s [[3-0 [f v]]]}".to_string())]);
    }

    #[test]
    fn what_they_refuse() {
        let mut streams = two_streams();
        streams.script(&[
            ("XREAD MAXCOUNT 0 STREAMS s 0", "-ERR MAXCOUNT must be a positive integer"),
            ("XREAD MAXSIZE 0 STREAMS s 0", "-ERR MAXSIZE must be a positive integer"),
            ("XREAD MAXCOUNT x STREAMS s 0", "-ERR value is not an integer or out of range"),
            ("XREAD COUNT 3 MAXCOUNT 2 STREAMS s 0", "-ERR MAXCOUNT must be greater than or equal to COUNT"),
        ]);
    }
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
