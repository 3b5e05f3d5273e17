//! What is long in bytes is as much work as what is long in elements.

use sterna_keyspace::COMMANDS;
use sterna_protocol::{Limits, Parser, Proto};

use super::long::MANY_ARGUMENTS;
use super::*;

const SCENE: Scene = Scene {
    db: 0,
    now_ms: 1_700_000_000_000,
    caller: Caller {
        client: 1,
        shard: 0,
        proto: Proto::Resp2,
        may_block: true,
        may_yield: true,
        touches: true,
        group: KeyGroup::WHOLE,
    },
};

/// Bytes of an element: of few a command has much to copy.
const LONG: usize = 400_000;

fn run(partitions: &Partitions, words: &[&[u8]], may_yield: bool) -> Outcome {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    let limits = Limits { bulk_bytes_max: 1 << 30, ..Limits::default() };
    let mut parser = Parser::default();
    parser.parse(&bytes, &limits).expect("a request");
    let args = parser.args(&bytes);
    let name = args[0].to_ascii_lowercase();
    let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == name).expect("a command");
    let row = row
        .subcommands
        .iter()
        .find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(&args[1]))
        .unwrap_or(row);
    let mut scene = SCENE;
    scene.caller.may_yield = may_yield;
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    partitions.execute(row, args, scene, &mut Changes::default(), &mut reply).expect("no error")
}

/// Sets `s` and `t`, sorted sets `z`, `y` and `g`, a list `l` and a stream `x`, of eight elements of so many bytes each; all of the stream is
/// pending for `c` of the group `g`.
fn filled(bytes: usize) -> Partitions {
    let partitions = Partitions::new(4, 16);
    for number in 0..8_u8 {
        let element = [&[b'0' + number][..], &vec![b'x'; bytes]].concat();
        let (score, id) = (number.to_string(), format!("{}-0", number + 1));
        let fills: [&[&[u8]]; 7] = [
            &[b"SADD", b"s", &element],
            &[b"SADD", b"t", &element],
            &[b"ZADD", b"z", score.as_bytes(), &element],
            &[b"ZADD", b"y", score.as_bytes(), &element],
            &[b"GEOADD", b"g", b"0", b"0", &element],
            &[b"RPUSH", b"l", &element],
            &[b"XADD", b"x", id.as_bytes(), b"f", &element],
        ];
        fills.into_iter().for_each(|words| drop(run(&partitions, words, false)));
    }
    run(&partitions, &[b"XGROUP", b"CREATE", b"x", b"g", b"0"], false);
    run(&partitions, &[b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"x", b">"], false);
    partitions
}

#[test]
fn a_command_that_copies_few_long_elements_is_run_apart_and_one_that_copies_short_ones_is_not() {
    let copying: [&[&[u8]]; 22] = [
        &[b"SUNIONSTORE", b"d", b"s", b"none"],
        &[b"SINTERSTORE", b"d", b"s", b"t"],
        &[b"SDIFFSTORE", b"d", b"s", b"none"],
        &[b"SINTER", b"s", b"t"],
        &[b"ZUNION", b"2", b"z", b"none"],
        &[b"ZINTER", b"2", b"z", b"y"],
        &[b"ZDIFF", b"2", b"z", b"none"],
        &[b"ZUNIONSTORE", b"d", b"2", b"z", b"s"],
        &[b"ZINTERSTORE", b"d", b"2", b"z", b"y"],
        &[b"ZDIFFSTORE", b"d", b"2", b"z", b"none"],
        &[b"ZRANGESTORE", b"d", b"z", b"0", b"-1"],
        &[b"SORT", b"l", b"ALPHA"],
        &[b"SORT", b"s", b"ALPHA", b"STORE", b"d"],
        &[b"SORT", b"z", b"BY", b"nosort"],
        &[b"SORT_RO", b"l", b"ALPHA", b"LIMIT", b"0", b"1"],
        &[b"GEOSEARCH", b"g", b"FROMLONLAT", b"0", b"0", b"BYRADIUS", b"1", b"km"],
        &[b"GEOSEARCHSTORE", b"d", b"g", b"FROMLONLAT", b"0", b"0", b"BYRADIUS", b"1", b"km"],
        &[b"GEORADIUS", b"g", b"0", b"0", b"1", b"km", b"STORE", b"d"],
        &[b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"x", b"0"],
        &[b"XCLAIM", b"x", b"g", b"c", b"0", b"1-0", b"2-0", b"3-0", b"4-0", b"5-0", b"6-0", b"7-0", b"8-0"],
        &[b"XAUTOCLAIM", b"x", b"g", b"c", b"0", b"0"],
        &[b"ZREMRANGEBYRANK", b"z", b"0", b"-1"],
    ];
    for (bytes, is_long) in [(LONG, true), (100, false)] {
        for words in copying {
            let partitions = filled(bytes);
            let is_apart = matches!(run(&partitions, words, true), Outcome::Apart(_));
            assert_eq!(
                is_apart,
                is_long,
                "{} of elements of {bytes} bytes",
                String::from_utf8_lossy(words[0])
            );
        }
    }
    // What copies none of them is as quick as with short ones, and so is what copies one.
    let partitions = filled(LONG);
    let others: [&[&[u8]]; 6] = [
        &[
            b"XCLAIM", b"x", b"g", b"c", b"0", b"1-0", b"2-0", b"3-0", b"4-0", b"5-0", b"6-0", b"7-0",
            b"JUSTID",
        ],
        &[b"XAUTOCLAIM", b"x", b"g", b"c", b"0", b"0", b"JUSTID"],
        &[b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"2", b"STREAMS", b"x", b"0"],
        &[b"ZRANGESTORE", b"d", b"z", b"0", b"1"],
        &[b"ZREMRANGEBYRANK", b"z", b"0", b"1"],
        &[b"SCARD", b"s"],
    ];
    for words in others {
        let outcome = run(&partitions, words, true);
        assert!(matches!(outcome, Outcome::Replied), "{}", String::from_utf8_lossy(words[0]));
    }
}

#[test]
fn a_request_with_2048_arguments_about_one_key_is_run_apart_and_a_shorter_one_at_once() {
    let partitions = Partitions::new(4, 16);
    let names: Vec<Vec<u8>> = (0..MANY_ARGUMENTS).map(|number| number.to_string().into_bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let with = |head: &[&'static [u8]], arguments: usize| -> Vec<&[u8]> {
        head.iter().copied().chain(names.iter().copied()).take(arguments).collect()
    };
    assert_eq!(MANY_ARGUMENTS, 2_048, "docs/limits.md tells of it");
    for head in [&[b"SADD".as_slice(), b"s"][..], &[b"SREM", b"s"], &[b"SMISMEMBER", b"s"], &[b"HMGET", b"h"]]
    {
        let [short, long] = [MANY_ARGUMENTS - 1, MANY_ARGUMENTS].map(|count| with(head, count));
        assert!(matches!(run(&partitions, &short, true), Outcome::Replied), "{}", head[0].escape_ascii());
        assert!(matches!(run(&partitions, &long, true), Outcome::Apart(_)), "{}", head[0].escape_ascii());
        assert!(matches!(run(&partitions, &long, false), Outcome::Replied), "{}", head[0].escape_ascii());
    }
    // Several keys are looked up in parts.
    let exists = with(&[b"EXISTS"], MANY_ARGUMENTS);
    assert!(!matches!(run(&partitions, &exists, true), Outcome::Apart(_)));
}
