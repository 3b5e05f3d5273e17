//! What DUMP gives is restored by another server: Redis takes Sterna's payloads, and Sterna those of Redis and Valkey.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::script::{View, render};
use sterna_tests::server::{Launch, Server};

use super::reference_is_at_least;
use super::sequences::words;

/// How a value under `k` comes to be, and how it is looked at.
struct Case {
    setup: &'static [&'static str],
    reads: &'static [&'static str],
    /// Whether what Sterna writes is more than Valkey knows.
    redis_only: bool,
}

const HASH_READS: &[&str] = &["TYPE k", "HGETALL k", "HPEXPIRETIME k FIELDS 3 a b n:7"];

/// What every type is looked at by: the digest is of all that the value is.
const READS: &[&str] = &["TYPE k", "DEBUG DIGEST-VALUE k"];
const STREAM_READS: &[&str] = &["XRANGE k - +", "XPENDING k g", "XLEN k"];

const fn case(setup: &'static [&'static str]) -> Case {
    Case { setup, reads: READS, redis_only: false }
}

const CASES: &[Case] = &[
    case(&["SET k 9223372036854775807"]),
    case(&["SET k short"]),
    case(&["SETRANGE k 5000 end"]),
    case(&["PFADD k a b c d e f g"]),
    case(&[
        "PFADD k a b c",
        "CONFIG SET hll-sparse-max-bytes 0",
        "PFADD k d",
        "CONFIG SET hll-sparse-max-bytes 3000",
    ]),
    case(&["RPUSH k a 1 -70000 0123456789012345678901234567890123456789012345678901234567890123456789"]),
    case(&[
        "CONFIG SET list-max-listpack-size 2",
        "RPUSH k a b c d e f 1 2 3 01",
        "CONFIG SET list-max-listpack-size -2",
    ]),
    case(&["SETRANGE s 9000 end", "RPUSH k a", "LINSERT k BEFORE a x", "SORT k ALPHA GET s GET # STORE k"]),
    case(&["SADD k 1 2 -3"]),
    case(&["SADD k 1 2 70000 9223372036854775807"]),
    case(&["SADD k 1 2 a"]),
    case(&["SADD k 1 0123456789012345678901234567890123456789012345678901234567890123456789"]),
    case(&["ZADD k 1 a 0 b -0 c 1.5 d inf e -inf f 1e300 g 3e-7 h 9007199254740993 i"]),
    // Large for the sake of one member, with a score that a small one would not keep.
    case(&[
        "ZADD k -0 a 0 b inf c 1.5 0123456789012345678901234567890123456789012345678901234567890123456789",
    ]),
    case(&[
        "CONFIG SET zset-max-listpack-entries 3",
        "ZADD k -1 a 0 b 1 c inf d",
        "CONFIG SET zset-max-listpack-entries 128",
    ]),
    case(&["GEOADD k 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"]),
    Case {
        setup: &[
            "XADD k 1-1 a b",
            "XADD k 1-2 a c",
            "XADD k 2-0 d e f g",
            "XGROUP CREATE k g 0",
            "XDEL k 1-2",
        ],
        reads: STREAM_READS,
        redis_only: false,
    },
    Case { setup: &["HSET k a 1 b two n:7 -70000"], reads: HASH_READS, redis_only: false },
    Case {
        setup: &["HSET k a 0123456789012345678901234567890123456789012345678901234567890123456789 b 2"],
        reads: HASH_READS,
        redis_only: false,
    },
    Case {
        setup: &[
            "HSET k a 1 b two n:7 3",
            "HPEXPIREAT k 9999999999001 FIELDS 1 b",
            "HPEXPIREAT k 9999999999000 FIELDS 1 n:7",
        ],
        reads: HASH_READS,
        redis_only: true,
    },
    Case {
        setup: &["HSET k a 1 b two", "HEXPIRE k 1000 FIELDS 1 b", "HPERSIST k FIELDS 1 b"],
        reads: HASH_READS,
        redis_only: false,
    },
    Case {
        setup: &[
            "HSET k a 0123456789012345678901234567890123456789012345678901234567890123456789 b 2",
            "HPEXPIREAT k 9999999999001 FIELDS 2 a b",
        ],
        reads: HASH_READS,
        redis_only: true,
    },
];

#[test]
fn payloads_are_restored_crosswise() {
    if !reference_is_at_least(8) {
        return;
    }
    const DEBUG: &[&str] = &["--enable-debug-command", "yes"];
    let (sterna, redis) = (Server::sterna(1, DEBUG), Launch::reference().args(DEBUG).start());
    exchange(&sterna, &redis, |_| true);
    exchange(&redis, &sterna, |_| true);
    match Launch::valkey().map(|valkey| valkey.args(DEBUG).start()) {
        Some(valkey) => {
            exchange(&sterna, &valkey, |case| !case.redis_only);
            exchange(&valkey, &sterna, |_| true);
        }
        None => sterna_tests::skipped("needs VALKEY_SERVER; ./test installs one"),
    }
}

/// The libraries of one server are another's, and do there what they did.
#[test]
fn libraries_of_functions_are_restored_crosswise() {
    if !reference_is_at_least(8) {
        return;
    }
    let (sterna, redis) = (Server::sterna(2, &[]), Launch::reference().start());
    // One that is compressed there, and one that is not.
    let long = format!(
        "#!lua name=long\n{}\nredis.register_function{{function_name='reads', flags={{'no-writes'}}, description='d', \
         callback=function(keys) return redis.call('get', keys[1]) end}}",
        "-- a comment that is there many times\n".repeat(50)
    );
    let short = "#!lua name=short\nredis.register_function('one', function() return 1 end)";
    let load = |server: &Server| {
        for code in [&*long, short] {
            server.connect().text(&["FUNCTION", "LOAD", "REPLACE", code]);
        }
    };
    let valkey = Launch::valkey().map(Launch::start);
    if valkey.is_none() {
        sterna_tests::skipped("needs VALKEY_SERVER; ./test installs one");
    }
    let pairs = [(&sterna, &redis), (&redis, &sterna)].into_iter();
    let with_valkey = valkey.iter().flat_map(|valkey| [(&sterna, valkey), (valkey, &sterna)]);
    for (from, to) in pairs.chain(with_valkey) {
        load(from);
        let mut to = to.connect();
        let payload = from.connect().request(&["FUNCTION", "DUMP"]);
        let payload = payload.as_bytes().expect("a payload").to_vec();
        for policy in [&b"FLUSH"[..], b"REPLACE"] {
            let restored = to.request(&[&b"FUNCTION"[..], b"RESTORE", &payload, policy]);
            assert_eq!(render(&restored), "+OK");
        }
        to.request(&["SET", "k", "v"]);
        assert_eq!(to.text(&["FCALL_RO", "reads", "1", "k"]), "v");
        assert_eq!(to.int(&["FCALL", "one", "0"]), 1);
        let list = |client: &mut Client| {
            let libraries = client.request(&["FUNCTION", "LIST", "WITHCODE"]);
            render(&View::DeepSorted.apply(libraries))
        };
        assert_eq!(list(&mut to), list(&mut from.connect()));
        to.send(&[&b"FUNCTION"[..], b"RESTORE", &payload]);
        assert!(to.error().ends_with("already exists"));
        to.request(&["FUNCTION", "FLUSH"]);
    }
}

fn exchange(from: &Server, to: &Server, is_meant: fn(&Case) -> bool) {
    let (mut from, mut to) = (from.connect_resp3(), to.connect_resp3());
    for case in CASES.iter().filter(|case| is_meant(case)) {
        from.request(&["DEL", "k"]);
        for command in case.setup {
            let reply = from.request(&words(command));
            assert!(!matches!(reply, Value::Error(_)), "{command}: {}", render(&reply));
        }
        let payload = from.request(&["DUMP", "k"]);
        let payload = payload.as_bytes().expect("it was set").to_vec();
        let restored = to.request(&[&b"RESTORE"[..], b"k", b"0", &payload, b"REPLACE"]);
        assert_eq!(render(&restored), "+OK", "{:?}", case.setup);
        assert_eq!(reads(&mut to, case), reads(&mut from, case), "{:?}", case.setup);
    }
}

fn reads(client: &mut Client, case: &Case) -> Vec<String> {
    case.reads.iter().map(|read| render(&View::Pairs.apply(client.request(&words(read))))).collect()
}
