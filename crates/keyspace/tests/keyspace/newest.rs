//! Options of streams that came with Redis 8.4 to 8.10, sentence by sentence of their command reference: XNACK, CLAIM,
//! idempotent XADD and XCFGSET, MAXCOUNT and MAXSIZE. No Redis to compare with runs them; what the reference leaves open
//! is as Redis's sources have it (t_stream.c before 8.10).

use sterna_protocol::Proto;

use crate::streams::{Streams, THREE, three_pending};
use crate::world::START_MS;

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
    fn an_entry_that_is_claimed_above_the_cursor_comes_once_in_a_reply() {
        let mut streams = Streams::after(&THREE);
        streams.script(&[
            ("XNACK s g FAIL IDS 1 2-0 FORCE RETRYCOUNT 4", "1"),
            (
                "XREADGROUP GROUP g c CLAIM 0 STREAMS s >",
                "[[s [[2-0 [f b] 1700000000000 4] [1-0 [f a] 0 0] [3-0 [f c] 0 0]]]]",
            ),
            ("XPENDING s g - + 10", "[[1-0 c 0 1] [2-0 c 0 5] [3-0 c 0 1]]"),
            ("XREADGROUP GROUP g c STREAMS s >", "nil"),
            ("XACK s g 1-0 2-0 3-0", "3"),
            // The last one alone: the cursor passes it all the same.
            ("XADD s 4-0 f d", "4-0"),
            ("XNACK s g FAIL IDS 1 4-0 FORCE", "1"),
            ("XREADGROUP GROUP g c COUNT 5 CLAIM 0 STREAMS s >", "[[s [[4-0 [f d] 1700000000000 0]]]]"),
            ("XREADGROUP GROUP g c STREAMS s >", "nil"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn released_entries_are_counted_and_can_be_acknowledged() {
        let mut streams = three_pending();
        streams.run("XNACK s g FAIL IDS 2 1-0 2-0");
        assert!(
            streams.run("XINFO STREAM s FULL").contains("pel-count 3 nacked-count 2 pending [[1-0  0 1]")
        );
        streams.script(&[("XACK s g 1-0", "1"), ("XGROUP DELCONSUMER s g a", "1")]);
        assert!(streams.run("XINFO STREAM s FULL").contains("nacked-count 1"));
    }

    #[test]
    fn it_is_refused_without_a_mode_ids_or_a_group() {
        let mut streams = three_pending();
        streams.script(&[
            ("XNACK s g MAYBE IDS 1 1-0", "-ERR mode must be SILENT, FAIL, or FATAL"),
            ("XNACK s g FAIL ID 1 1-0", "-ERR Unrecognized XNACK option 'ID'"),
            ("XNACK s g FAIL FORCE RETRYCOUNT 1", "-ERR syntax error, expected IDS keyword"),
            ("XNACK s g FAIL IDS 0 1-0", "-ERR numids must be a positive integer"),
            ("XNACK s g FAIL IDS x 1-0", "-ERR numids must be a positive integer"),
            ("XNACK s g FAIL IDS 2147483648 1-0", "-ERR numids must be a positive integer"),
            ("XNACK s g FAIL IDS 2 1-0", "-ERR number of IDs doesn't match numids"),
            ("XNACK s g FAIL IDS 1 x", "-ERR Invalid stream ID specified as stream command argument"),
            ("XNACK s g FAIL IDS 1 1-0 2-0", "-ERR Unrecognized XNACK option '2-0'"),
            ("XNACK s g FAIL IDS 1 1-0 RETRYCOUNT", "-ERR Unrecognized XNACK option 'RETRYCOUNT'"),
            ("XNACK s g FAIL IDS 1 1-0 RETRYCOUNT -1", "-ERR Invalid RETRYCOUNT value, must be >= 0"),
            ("XNACK s g FAIL IDS 1 1-0 RETRYCOUNT x", "-ERR value is not an integer or out of range"),
            // Whether there is a group is asked first.
            ("XNACK s nobody MAYBE IDS 1 1-0", "-NOGROUP No such key 's' or consumer group 'nobody'"),
            ("XNACK none g FAIL IDS 1 1-0", "-NOGROUP No such key 'none' or consumer group 'g'"),
            ("XPENDING s g", "[3 1-0 3-0 [[a 3]]]"),
        ]);
    }

    #[test]
    fn its_options_come_in_any_order() {
        let mut streams = three_pending();
        streams.script(&[
            ("XNACK s g FAIL FORCE RETRYCOUNT 4 IDS 1 1-0", "1"),
            ("XNACK s g FAIL RETRYCOUNT 5 IDS 1 2-0 FORCE", "1"),
            ("XPENDING s g - 2 10", "[[1-0  -1 4] [2-0  -1 5]]"),
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
            // They count as delivered at the beginning of time.
            (
                "XREADGROUP GROUP g b CLAIM 5 STREAMS s >",
                &format!("[[s [[3-0 [f c] {} 1] [1-0 [f a] 10 1] [2-0 [f b] 10 1]]]]", START_MS + 10),
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
    fn entries_that_are_gone_are_not_claimed_and_stay_pending() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XTRIM s MAXLEN 0", "3"),
            ("XREADGROUP GROUP g b CLAIM 5 STREAMS s >", "nil"),
            ("XPENDING s g", "[3 1-0 3-0 [[a 3]]]"),
            ("XADD s 4-0 f d", "4-0"),
            ("XREADGROUP GROUP g b CLAIM 5 STREAMS s >", "[[s [[4-0 [f d] 0 0]]]]"),
            ("XAUTOCLAIM s g b 5 0", "[0-0 [] [1-0 2-0 3-0]]"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn what_it_refuses() {
        let mut streams = three_pending();
        streams.script(&[
            (
                "XREAD CLAIM 5 STREAMS s 0",
                "-ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.",
            ),
            (
                "XREADGROUP GROUP g b CLAIM x STREAMS s >",
                "-ERR min-idle-time is not an integer or out of range",
            ),
            ("XREADGROUP GROUP g b CLAIM -1 STREAMS s >", "-ERR min-idle-time must be a positive integer"),
        ]);
    }

    #[test]
    fn a_cursor_set_back_passes_what_the_same_reply_claims() {
        let mut streams = three_pending();
        streams.sleep(10);
        streams.script(&[
            ("XGROUP SETID s g 1-0", "OK"),
            (
                "XREADGROUP GROUP g b CLAIM 5 STREAMS s >",
                "[[s [[1-0 [f a] 10 1] [2-0 [f b] 10 1] [3-0 [f c] 10 1]]]]",
            ),
            ("XPENDING s g - + 10", "[[1-0 b 0 2] [2-0 b 0 2] [3-0 b 0 2]]"),
            ("XREADGROUP GROUP g b STREAMS s >", "nil"),
        ]);
        streams.check_replay(&["s"]);
    }

    #[test]
    fn a_waiting_consumer_gets_what_becomes_idle_while_it_waits() {
        let mut streams = three_pending();
        streams.sleep(30);
        let waiter = streams
            .wait(7, &["XREADGROUP", "GROUP", "g", "b", "BLOCK", "0", "CLAIM", "100", "STREAMS", "s", ">"]);
        assert_eq!(waiter.recheck_ms(), Some(START_MS + 100));
        streams.sleep(70);
        streams.recheck(&waiter);
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
        streams.recheck(&waiter);
        assert_eq!(streams.served(), []);
        assert_eq!(waiter.recheck_ms(), Some(START_MS + 200));
        streams.run("XADD s 4-0 f d");
        assert_eq!(streams.served(), [(7, "[[s [[4-0 [f d] 0 0]]]]".to_string())]);
        let reader = streams.wait(8, &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
        assert_eq!(reader.recheck_ms(), None, "only a write wakes a reader");
    }

    #[test]
    fn a_waiting_consumer_gets_what_xnack_gives_back() {
        let mut streams = three_pending();
        assert_eq!(streams.run_as(7, "XREADGROUP GROUP g b BLOCK 0 CLAIM 60000 STREAMS s >"), "waits");
        streams.script(&[("XNACK s g FAIL IDS 1 2-0", "1")]);
        assert_eq!(streams.served(), [(7, format!("[[s [[2-0 [f b] {START_MS} 1]]]]"))]);
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
        let twice = "-ERR syntax error, IDMP/IDMPAUTO specified multiple times";
        let explicit = "-ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
        streams.script(&[
            ("XADD s IDMP p * f v", "-ERR Invalid stream ID specified as stream command argument"),
            ("XADD s IDMP p 1 5-0 f v", explicit),
            ("XADD s IDMPAUTO p 5-* f v", explicit),
            ("XADD s IDMP p 1 IDMP p 2 * f v", twice),
            ("XADD s IDMPAUTO p IDMP p 2 * f v", twice),
            // Before anything that is wrong behind it or with it.
            ("XADD s IDMP p 1 LIMIT 5 0-0", explicit),
            ("XADD s IDMP '' 1 * f v", "-ERR syntax error, IDMP requires a non-empty producer ID"),
            ("XADD s IDMP p '' * f v", "-ERR syntax error, IDMP requires a non-empty idempotent ID"),
            ("XADD s IDMPAUTO '' * f v", "-ERR syntax error, IDMPAUTO requires a non-empty producer ID"),
            ("XCFGSET s", "-ERR At least one parameter must be specified"),
            ("XCFGSET s IDMP-MAXSIZE 5 IDMP-MAXSIZE 5", "-ERR IDMP-MAXSIZE specified multiple times"),
            ("XCFGSET s IDMP-DURATION 5 IDMP-DURATION x", "-ERR IDMP-DURATION specified multiple times"),
            ("XCFGSET s IDMP-DURATION", "-ERR syntax error"),
            ("XCFGSET s IDMP-DURATION 0", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
            ("XCFGSET s IDMP-DURATION 86401", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
            ("XCFGSET s IDMP-MAXSIZE -1", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries"),
            ("XCFGSET s IDMP-MAXSIZE 10001", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries"),
            ("XCFGSET s IDMP-MAXSIZE x", "-ERR value is not an integer or out of range"),
            // Whether there is a stream is asked first.
            ("XCFGSET none", "-ERR no such key"),
            (
                "XCFGSET str IDMP-MAXSIZE",
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
    fn maxsize_ends_the_reply_with_the_entry_that_reaches_it() {
        let mut streams = two_streams();
        // `*2 $1 s` begins a stream, `*2 $3 1-0 *2 $1 f $1 a` is an entry; a header counts when its array is complete.
        let (key, entry, header) = (4 + 7, 4 + 9 + 4 + 7 + 7, 4);
        let stream = key + header + 2 * entry;
        let (s1, s2) = ("[[s [[1-0 [f a]]]]]", "[[s [[1-0 [f a]] [2-0 [f b]]]]]");
        let t1 = "[[s [[1-0 [f a]] [2-0 [f b]]]] [t [[1-0 [f c]]]]]";
        let t2 = "[[s [[1-0 [f a]] [2-0 [f b]]]] [t [[1-0 [f c]] [2-0 [f d]]]]]";
        let cases = [
            (1, s1),
            (key + entry, s1),
            (key + entry + 1, s2),
            (stream, s2),
            (stream + key + 1, t1),
            (stream + key + entry, t1),
            (stream + key + entry + 1, t2),
            (1000, t2),
        ];
        for (max, expected) in cases {
            assert_eq!(streams.run(&format!("XREAD MAXSIZE {max} STREAMS s t 0 0")), expected, "{max}");
        }
        streams.script(&[
            ("XREADGROUP GROUP g c MAXSIZE 1 STREAMS s t > >", "[[s [[1-0 [f a]]]]]"),
            ("XPENDING s g", "[1 1-0 1-0 [[c 1]]]"),
            // The streams behind are not even looked at: there is no consumer in them yet.
            ("XINFO CONSUMERS t g", "[]"),
            ("XREADGROUP GROUP g c MAXSIZE 1 STREAMS s t 0 0", "[[s [[1-0 [f a]]]]]"),
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
