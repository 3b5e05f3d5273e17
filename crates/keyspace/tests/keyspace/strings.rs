//! Commands on strings that came with Redis 8.4 to 8.8, sentence by sentence of their command reference: no Redis to compare
//! with runs them. And what all that change strings in places leave in the journal.

use sterna_protocol::Proto;

use crate::world::{START_MS, World};

/// Runs commands one after the other; lines of a reply stand apart.
fn script(world: &mut World, steps: &[(&str, &str)]) {
    for (command, expected) in steps {
        let reply = world.run(command);
        let lines: Vec<&str> = reply.split("\r\n").filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.join(" "), *expected, "{command}");
    }
}

/// A world that a replay of the journal gives as well, with one partition or several.
fn check_replay(world: &World) {
    for partitions in [1, 4] {
        assert_eq!(world.replayed(partitions).contents(), world.contents());
    }
}

const SYNTAX: &str = "-ERR syntax error";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

mod digests {
    use super::*;

    const HELLO: &str = "9555e8555c62dcfd";

    #[test]
    fn digest_answers_the_hash_of_a_string() {
        script(
            &mut World::new(4),
            &[
                ("set k hello", "+OK"),
                ("digest k", "$16 9555e8555c62dcfd"),
                ("digest nothing", "$-1"),
                ("xadd s 1-1 f v", "$3 1-1"),
                ("digest s", WRONG_TYPE),
            ],
        );
    }

    #[test]
    fn a_digest_is_of_the_bytes_however_they_are_kept() {
        let mut world = World::new(4);
        world.run("set n 123");
        world.run("append m 12");
        world.run("append m 3");
        assert_eq!(world.run("digest n"), world.run("digest m"));
    }

    #[test]
    fn delex_deletes_if_its_condition_holds() {
        let mut world = World::new(4);
        script(
            &mut world,
            &[
                ("set k hello", "+OK"),
                ("delex k ifeq world", ":0"),
                ("delex k IFNE hello", ":0"),
                (&format!("delex k ifdne {HELLO}"), ":0"),
                ("delex k ifdeq 0000000000000000", ":0"),
                (&format!("delex k IFDEQ {}", HELLO.to_uppercase()), ":1"),
                ("delex k ifne x", ":0"),
                ("set k hello", "+OK"),
                ("delex k ifeq hello", ":1"),
                ("set k 12", "+OK"),
                ("delex k ifeq 12", ":1"),
                ("xadd s 1-1 f v", "$3 1-1"),
                ("delex s", ":1"),
                ("delex s", ":0"),
            ],
        );
        world.run("set k hello");
        world.run("delex k ifne x");
        assert_eq!(world.events(), ["del 0 k"]);
        check_replay(&world);
    }

    #[test]
    fn delex_refuses_what_is_no_condition() {
        const LENGTH: &str = "-ERR digest must be exactly 16 hexadecimal characters";
        script(
            &mut World::new(4),
            &[
                ("delex k ifeq", "-ERR wrong number of arguments for 'delex' command"),
                ("delex k nosuch x", ":0"),
                ("delex k ifdeq short", ":0"),
                ("set k hello", "+OK"),
                ("delex k ifeq hello more", "-ERR wrong number of arguments for 'delex' command"),
                ("delex k nosuch x", "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"),
                ("delex k ifdeq 9555e8555c62dcf", LENGTH),
                ("delex k ifdne 09555e8555c62dcfd", LENGTH),
                ("xadd s 1-1 f v", "$3 1-1"),
                ("delex s nosuch x", "-ERR Key should be of string type if conditions are specified"),
                ("exists k s", ":2"),
            ],
        );
    }

    #[test]
    fn set_compares_digests() {
        let mut world = World::new(4);
        script(
            &mut world,
            &[
                ("set k world ifdeq 123", "$-1"),
                ("set k hello ifdne 123", "+OK"),
                ("set k world ifdeq 123", "-ERR digest must be exactly 16 hexadecimal characters"),
                (&format!("set k world ifdne {HELLO}"), "$-1"),
                (&format!("set k world ifdne {HELLO} get"), "$5 hello"),
                (&format!("set k world IFDEQ {HELLO} get ex 10"), "$5 hello"),
                ("ttl k", ":10"),
                ("set k x ifdeq 0000000000000000 nx", SYNTAX),
                ("set k x ifdeq", SYNTAX),
                ("get k", "$5 world"),
                ("xadd s 1-1 f v", "$3 1-1"),
                ("set s x ifdeq 123", WRONG_TYPE),
            ],
        );
    }
}

mod msetex {
    use super::*;

    #[test]
    fn stores_all_with_one_expiry() {
        let mut world = World::new(4);
        script(&mut world, &[("msetex 2 a 1 b two ex 100", ":1"), ("mget a b", "*2 $1 1 $3 two")]);
        script(
            &mut world,
            &[("ttl a", ":100"), ("ttl b", ":100"), ("msetex 1 a 2 keepttl", ":1"), ("ttl a", ":100")],
        );
        world.run("msetex 2 c 1 c 2 px 5");
        let expected = ["new 0 c", "set 0 c", "expire 0 c", "overwritten 0 c", "set 0 c", "expire 0 c"];
        assert_eq!(world.events(), expected);
        script(&mut world, &[("get c", "$1 2"), ("msetex 1 a 3", ":1"), ("ttl a", ":-1")]);
        let at = START_MS / 1000 + 7;
        script(&mut world, &[(&format!("msetex 1 a 3 exat {at} xx"), ":1"), ("ttl a", ":7")]);
        check_replay(&world);
    }

    #[test]
    fn stores_none_if_its_condition_does_not_hold_for_all() {
        script(
            &mut World::new(4),
            &[
                ("set a 1", "+OK"),
                ("msetex 2 b 2 a 2 nx", ":0"),
                ("msetex 2 a 2 b 2 XX", ":0"),
                ("mget a b", "*2 $1 1 $-1"),
                ("msetex 1 b 2 nx ex 10", ":1"),
                ("msetex 2 a 3 b 3 xx", ":1"),
                ("mget a b", "*2 $1 3 $1 3"),
            ],
        );
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        const PAIRS: &str = "-ERR wrong number of key-value pairs";
        const COUNT: &str = "-ERR invalid numkeys value";
        script(
            &mut World::new(4),
            &[
                ("msetex a 1 b 2", COUNT),
                ("msetex 0 a 1", COUNT),
                ("msetex -1 a 1", COUNT),
                ("msetex 2147483648 a 1", COUNT),
                ("msetex 2147483647 a 1", PAIRS),
                ("msetex 2 a 1 b", PAIRS),
                ("msetex 1 a 1 b", SYNTAX),
                ("msetex 1 a 1 nx xx", SYNTAX),
                ("msetex 1 a 1 ex 10 px 10", SYNTAX),
                ("msetex 1 a 1 keepttl ex 10", SYNTAX),
                ("msetex 1 a 1 get", SYNTAX),
                ("msetex 1 a 1 ifeq x", SYNTAX),
                ("msetex 1 a 1 ex", SYNTAX),
                ("msetex 1 a 1 ex 0", "-ERR invalid expire time in 'msetex' command"),
                ("msetex 1 a 1 ex x", "-ERR value is not an integer or out of range"),
                ("exists a", ":0"),
            ],
        );
    }
}

mod increx {
    use super::*;

    #[test]
    fn adds_and_tells_what_it_added() {
        let mut world = World::new(4);
        script(
            &mut world,
            &[
                ("increx k", "*2 :1 :1"),
                ("increx k byint 5", "*2 :6 :5"),
                ("increx k BYINT -10", "*2 :-4 :-10"),
                ("increx k byfloat 0.5", "*2 $4 -3.5 $3 0.5"),
                ("increx k", "-ERR value is not an integer or out of range"),
                ("get k", "$4 -3.5"),
                ("increx f byfloat 1e2", "*2 $3 100 $3 100"),
                ("increx f", "*2 :101 :1"),
            ],
        );
        world.caller.proto = Proto::Resp3;
        script(&mut world, &[("increx f byfloat 0.25", "*2 ,101.25 ,0.25")]);
        check_replay(&world);
    }

    #[test]
    fn leaves_a_number_that_would_leave_its_bounds() {
        script(
            &mut World::new(4),
            &[
                ("set k 10", "+OK"),
                ("increx k byint 10 ubound 15 ex 100", "*2 :10 :0"),
                ("ttl k", ":-1"),
                ("increx k byint -10 lbound 5", "*2 :10 :0"),
                ("increx k byint 5 ubound 15 lbound 0", "*2 :15 :5"),
                ("increx k byint -1 ubound 5", "*2 :15 :0"),
                ("increx new byint 15 ubound 10", "*2 :0 :0"),
                ("exists new", ":0"),
                ("increx k byfloat 10 ubound 15.5", "*2 $2 15 $1 0"),
                ("set k 9223372036854775800", "+OK"),
                ("increx k byint 9223372036854775800", "*2 :9223372036854775800 :0"),
            ],
        );
    }

    #[test]
    fn saturates_if_asked_to() {
        script(
            &mut World::new(4),
            &[
                ("set k 10", "+OK"),
                ("increx k byint 10 ubound 15 saturate ex 100", "*2 :15 :5"),
                ("ttl k", ":100"),
                ("increx k byint -20 lbound 0 ubound 10 SATURATE", "*2 :0 :-15"),
                ("set k 200", "+OK"),
                ("increx k byint 1 ubound 100 saturate", "*2 :100 :-100"),
                ("set k 9223372036854775800", "+OK"),
                ("increx k byint 9223372036854775800 saturate", "*2 :9223372036854775807 :7"),
                ("set k -9223372036854775800", "+OK"),
                ("increx k byint -9223372036854775800 saturate", "*2 :-9223372036854775808 :-8"),
                ("increx k ubound -9223372036854775808 saturate", "*2 :-9223372036854775808 :0"),
                ("set k -5", "+OK"),
                (
                    "increx k lbound 9223372036854775807 saturate",
                    "-ERR increment or decrement would overflow",
                ),
                ("set k 10", "+OK"),
                ("increx k byfloat 10 ubound 15.5 saturate", "*2 $4 15.5 $3 5.5"),
                ("increx k byfloat -100 lbound -1.25 saturate", "*2 $5 -1.25 $6 -16.75"),
            ],
        );
    }

    #[test]
    fn sets_keeps_and_clears_the_expiry() {
        let mut world = World::new(4);
        script(
            &mut world,
            &[
                ("increx k ex 100", "*2 :1 :1"),
                ("increx k", "*2 :2 :1"),
                ("ttl k", ":100"),
                ("increx k ex 500 enx", "*2 :3 :1"),
                ("ttl k", ":100"),
                ("increx k exat 1 enx", "*2 :4 :1"),
                ("increx k persist", "*2 :5 :1"),
                ("ttl k", ":-1"),
                ("increx k px 5000 ENX", "*2 :6 :1"),
                ("pttl k", ":5000"),
                ("increx k exat 1", "*2 :7 :1"),
                ("exists k", ":0"),
            ],
        );
        let events = |world: &mut World, command: &str| {
            world.run(command);
            world.events().join(", ")
        };
        assert_eq!(events(&mut world, "increx k ex 10"), "new 0 k, incrby 0 k, expire 0 k");
        assert_eq!(events(&mut world, "increx k ex 20 enx"), "incrby 0 k");
        assert_eq!(events(&mut world, "increx k byfloat 1 persist"), "incrbyfloat 0 k, persist 0 k");
        assert_eq!(events(&mut world, "increx k pxat 1"), "del 0 k");
        check_replay(&world);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let mut world = World::new(4);
        for options in [
            "byint 1 byfloat 1",
            "byint 1 byint 2",
            "lbound 0 lbound 1",
            "ubound 9 ubound 8",
            "saturate saturate",
            "sat",
            "enx enx ex 10",
            "persist persist",
            "persist enx",
            "enx persist",
            "ex 10 px 10",
            "ex 10 ex 10",
            "ex 10 persist",
            "persist ex 10",
            "byint",
            "lbound",
            "ex",
            "nosuch",
            "1",
        ] {
            script(&mut world, &[(&format!("increx k {options}"), SYNTAX)]);
        }
        script(
            &mut world,
            &[
                ("increx k enx", "-ERR ENX flag requires an expiration"),
                ("increx k byint 1.5", "-ERR Increment is not an integer or out of range"),
                ("increx k byfloat x", "-ERR Increment is not a valid float"),
                ("increx k byfloat inf", "-ERR increment would produce NaN or Infinity"),
                ("increx k lbound 1.5", "-ERR LBOUND is not an integer or out of range"),
                ("increx k byfloat 1 ubound x", "-ERR UBOUND is not a valid float"),
                ("increx k lbound 10 ubound 5", "-ERR LBOUND can't be greater than UBOUND"),
                ("increx k byfloat 1 lbound 1.5 ubound 1.25", "-ERR LBOUND can't be greater than UBOUND"),
                ("increx k ex 0", "-ERR invalid expire time in 'increx' command"),
                ("increx k ex x", "-ERR value is not an integer or out of range"),
                ("set k text", "+OK"),
                ("increx k", "-ERR value is not an integer or out of range"),
                ("increx k byfloat 1", "-ERR value is not a valid float"),
                ("xadd s 1-1 f v", "$3 1-1"),
                ("increx s", WRONG_TYPE),
                ("increx s byfloat 1", WRONG_TYPE),
            ],
        );
    }
}

mod patches {
    use super::*;

    #[test]
    fn a_few_bytes_of_a_long_string_are_a_few_bytes_of_journal() {
        let mut world = World::new(1);
        world.run_words(&[b"set", b"k", &[b'x'; 900_000]]);
        let mut copies = 0;
        for command in [
            "setrange k 500000 abc",
            "setbit k 4000000 1",
            "bitfield k set u8 800000 7 incrby i5 3 1",
            "append k y",
        ] {
            world.run("copy k copy replace");
            copies += 1;
            world.journal.clear();
            world.run(command);
            assert!(world.journal.len() < 60, "{command}: {} bytes", world.journal.len());
        }
        assert_eq!(copies, 4);
    }

    #[test]
    fn a_bitmap_takes_memory_where_it_was_written() {
        let mut world = World::new(1);
        world.run("setbit k 4294967295 1");
        let usage: usize = world.run("memory usage k").trim_matches([':', '\r', '\n']).parse().unwrap();
        assert!(usage < 1 << 20, "{usage} bytes");
        assert_eq!(world.run("bitcount k"), ":1\r\n");
        assert_eq!(world.run("bitpos k 1"), ":4294967295\r\n");
        world.journal.clear();
        world.run("copy k l");
        assert!(world.journal.len() < 1 << 20, "gaps are not written");
    }

    #[test]
    fn a_replay_gives_the_same_strings() {
        let mut world = World::new(4);
        for command in [
            "setrange a 5 abc",
            "setrange a 200000 x",
            "setbit b 100 1",
            "set c 12",
            "setbit c 3 1",
            "bitfield d overflow fail incrby u2 0 10",
            "bitfield d set i64 70000 -1 incrby u8 #3 200",
            "bitop not e a",
            "bitop xor f a b",
            "bitop and g nothing",
            "append a tail",
            "setrange c 0 99",
            "expire a 100",
            "setrange a 1 y",
            "pfadd h a b c d e",
            "pfcount h",
            "pfadd h x y z",
            "pfmerge i h",
            "pfdebug todense i",
            "pfadd i 1 2 3 4 5 6",
            "pfmerge h i",
            "copy a z",
            "setrange a 100000 zz",
            "set f short",
            "setrange f 100 end",
            "del b",
        ] {
            let reply = world.run_words(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            assert!(!reply.starts_with(b"-"), "{command}: {}", reply.escape_ascii());
        }
        check_replay(&world);
    }
}
