//! The cases of Autobahn's test suite for WebSockets, by their numbers, at a real socket.
//!
//! The suite asks for a server that sends back what it is sent. Here a text is the data of a page's event, which another page
//! gets, and what has no place in such a message differs:
//!
//! - bytes (1.2) are closed with 1003, and what is longer than 32 KiB (1.1.6 to 1.1.8, 7.1.6, most of 9, 10) with 1009;
//! - a text that is no JSON (1.1.1, 6.1.1, 6.7.1) is answered with `pusher:error`, and the connection goes on;
//! - no extension is agreed on, so there is nothing of 12 and 13 to try but that.
//!
//! Source: the list of cases that is published with the suite.

use std::io::{Read, Write};
use std::ops::RangeInclusive;

use serde_json::Value as Json;
use sterna_protocol::websocket::frame_len;
use sterna_tests::http::HttpServer;

use super::tools::{KEY, Page, handshake, masked};

/// The word of the suite's texts, of eleven bytes.
const KOSME: &str = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}";

/// What is to come of a case.
#[derive(Debug, Clone)]
enum Then {
    /// The other page is sent this text.
    Text(Vec<u8>),
    Pong(Vec<u8>),
    /// It is told that this was no message.
    Refused,
    /// It is closed with this code, and nothing comes behind.
    Closed(u16),
}

use Then::{Closed, Pong, Refused, Text};

struct Case {
    number: String,
    /// What is written at once.
    pieces: Vec<Vec<u8>>,
    then: Vec<Then>,
}

fn case(number: impl Into<String>, frames: &[Vec<u8>], then: &[Then]) -> Case {
    Case { number: number.into(), pieces: frames.to_vec(), then: then.to_vec() }
}

/// The same frames written frame by frame, together, and byte by byte.
fn three_ways(numbers: [&str; 3], frames: &[Vec<u8>], then: &[Then]) -> [Case; 3] {
    let whole = frames.concat();
    let bytes: Vec<Vec<u8>> = whole.iter().map(|&byte| vec![byte]).collect();
    [case(numbers[0], &[whole], then), case(numbers[1], frames, then), case(numbers[2], &bytes, then)]
}

/// The message of a page whose event has this data.
fn event(data: &[u8]) -> Vec<u8> {
    [br#"{"event":"client-e","channel":"private-c","data":""#, data, br#""}"#].concat()
}

fn text(data: &[u8]) -> Vec<u8> {
    masked(0x81, &event(data))
}

/// A message of so many bytes, and the data in it.
fn text_of(len: usize) -> (Vec<u8>, Vec<u8>) {
    let data = vec![b'*'; len - event(b"").len()];
    (text(&data), data)
}

/// The frames of one message, cut at these places.
fn fragments(data: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let message = event(data);
    let ends = cuts.iter().copied().chain([message.len()]);
    let mut begin = 0;
    let mut frames = Vec::new();
    for end in ends {
        let opcode = u8::from(begin == 0);
        let last = if end == message.len() { 0x80 } else { 0 };
        frames.push(masked(last | opcode, &message[begin..end]));
        begin = end;
    }
    frames
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

fn messages_1() -> Vec<Case> {
    let mut cases = vec![case("1.1.1", &[masked(0x81, b"")], &[Refused])];
    for (number, len) in [(2, 125), (3, 126), (4, 127), (5, 128)] {
        let (frame, data) = text_of(len);
        cases.push(case(format!("1.1.{number}"), &[frame], &[Text(data)]));
    }
    for (number, len) in [(6, 65_535), (7, 65_536), (8, 65_536)] {
        let frame = masked(0x81, &vec![b'*'; len]);
        let step = if number == 8 { 997 } else { frame.len() };
        let pieces: Vec<Vec<u8>> = frame.chunks(step).map(<[u8]>::to_vec).collect();
        cases.push(case(format!("1.1.{number}"), &pieces, &[Closed(1009)]));
    }
    for (number, len) in [(1, 0), (2, 125), (3, 126), (4, 127), (5, 128)] {
        cases.push(case(format!("1.2.{number}"), &[masked(0x82, &vec![0xFE; len])], &[Closed(1003)]));
    }
    for (number, len) in [(6, 65_535), (7, 65_536), (8, 65_536)] {
        cases.push(case(format!("1.2.{number}"), &[masked(0x82, &vec![0xFE; len])], &[Closed(1009)]));
    }
    cases
}

fn pings_2() -> Vec<Case> {
    let bytes = |frame: &[u8]| frame.iter().map(|&byte| vec![byte]).collect::<Vec<_>>();
    let odd = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    let ten: Vec<Vec<u8>> = (0..10).map(|n| masked(0x89, format!("payload-{n}").as_bytes())).collect();
    let ten_pongs: Vec<Then> = (0..10).map(|n| Pong(format!("payload-{n}").into_bytes())).collect();
    vec![
        case("2.1", &[masked(0x89, b"")], &[Pong(vec![])]),
        case("2.2", &[masked(0x89, b"Hello, world!")], &[Pong(b"Hello, world!".to_vec())]),
        case("2.3", &[masked(0x89, &odd)], &[Pong(odd.to_vec())]),
        case("2.4", &[masked(0x89, &[0xfe; 125])], &[Pong(vec![0xfe; 125])]),
        case("2.5", &[masked(0x89, &[0xfe; 126])], &[Closed(1002)]),
        case("2.6", &bytes(&masked(0x89, &[0xfe; 125])), &[Pong(vec![0xfe; 125])]),
        case("2.7", &[masked(0x8A, b"")], &[]),
        case("2.8", &[masked(0x8A, b"unsolicited")], &[]),
        case("2.9", &[masked(0x8A, b"unsolicited"), masked(0x89, b"ping")], &[Pong(b"ping".to_vec())]),
        case("2.10", &ten, &ten_pongs),
        case("2.11", &bytes(&ten.concat()), &ten_pongs),
    ]
}

fn reserved_3_and_4() -> Vec<Case> {
    let (first, ping) = (text(b"Hello"), masked(0x89, b""));
    let mut cases = vec![case("3.1", &[masked(0xC1, b"Hello")], &[Closed(1002)])];
    for (number, bits) in [("3.2", 0x20), ("3.3", 0x30), ("3.4", 0x40)] {
        let frames = [first.clone(), masked(0x81 | bits, b"Hello"), ping.clone()];
        cases.push(case(number, &frames, &[Text(b"Hello".to_vec()), Closed(1002)]));
    }
    cases.push(case("3.5", &[masked(0xD2, &[0, 0xff])], &[Closed(1002)]));
    cases.push(case("3.6", &[masked(0xE9, b"Hello")], &[Closed(1002)]));
    cases.push(case("3.7", &[masked(0xF8, b"")], &[Closed(1002)]));
    for (group, opcodes) in [(1, 3..=7_u8), (2, 11..=15)] {
        for (number, opcode) in (1..).zip(opcodes) {
            let payload: &[u8] = if number % 2 == 0 { b"reserved" } else { b"" };
            let wrong = masked(0x80 | opcode, payload);
            let (frames, then) = match number {
                1 | 2 => (vec![wrong], vec![Closed(1002)]),
                _ => (vec![first.clone(), wrong, ping.clone()], vec![Text(b"Hello".to_vec()), Closed(1002)]),
            };
            cases.push(case(format!("4.{group}.{number}"), &frames, &then));
        }
    }
    cases
}

fn fragments_5() -> Vec<Case> {
    let two = fragments(b"fragment1fragment2", &[30]);
    let (whole, hello) = ([Text(b"fragment1fragment2".to_vec())], text(b"Hello"));
    let between = [two[0].clone(), masked(0x89, b"ping"), two[1].clone()];
    let pong_first = [Pong(b"ping".to_vec()), whole[0].clone()];
    let of_nothing = |first: u8| [masked(first, b"non-continuation"), hello.clone()];
    let nothing_twice = |first: u8| [vec![masked(first, b"fragment1")], two.clone()].concat();
    let five = fragments(b"fragment1fragment2fragment3fragment4fragment5", &[8, 16, 32, 40]);
    let pings: Vec<Vec<u8>> =
        ["1", "2"].iter().map(|n| masked(0x89, format!("pongme {n}!").as_bytes())).collect();
    let slowly = [&five[..2], &pings[..1], &five[2..4], &pings[1..], &five[4..]].concat();
    let slowly_then = [
        Pong(b"pongme 1!".to_vec()),
        Pong(b"pongme 2!".to_vec()),
        Text(b"fragment1fragment2fragment3fragment4fragment5".to_vec()),
    ];
    let mut cases = vec![
        case("5.1", &[masked(0x09, b"fragment1"), masked(0x80, b"fragment2")], &[Closed(1002)]),
        case("5.2", &[masked(0x0A, b"fragment1"), masked(0x80, b"fragment2")], &[Closed(1002)]),
    ];
    cases.extend(three_ways(["5.3", "5.4", "5.5"], &two, &whole));
    cases.extend(three_ways(["5.6", "5.7", "5.8"], &between, &pong_first));
    cases.extend(three_ways(["5.9", "5.10", "5.11"], &of_nothing(0x80), &[Closed(1002)]));
    cases.extend(three_ways(["5.12", "5.13", "5.14"], &of_nothing(0x00), &[Closed(1002)]));
    let behind = [two.clone(), of_nothing(0x00).to_vec()].concat();
    cases.push(case("5.15", &behind, &[whole[0].clone(), Closed(1002)]));
    cases.push(case("5.16", &[nothing_twice(0x00), nothing_twice(0x00)].concat(), &[Closed(1002)]));
    cases.push(case("5.17", &[nothing_twice(0x80), nothing_twice(0x80)].concat(), &[Closed(1002)]));
    cases.push(case("5.18", &[masked(0x01, b"fragment1"), masked(0x81, b"fragment2")], &[Closed(1002)]));
    cases.push(case("5.19", &slowly, &slowly_then));
    cases.push(case(
        "5.20",
        &slowly.concat().chunks(1).map(<[u8]>::to_vec).collect::<Vec<_>>(),
        &slowly_then,
    ));
    cases
}

/// Sequences of 6.5 to 6.23, from Markus Kuhn's list; whether they are UTF-8 is asked of the standard library.
fn sequences() -> Vec<(u8, Vec<Vec<u8>>)> {
    let list = |all: &[&[u8]]| all.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>();
    let kosme = KOSME.as_bytes();
    let alone = |starts: RangeInclusive<u8>| starts.flat_map(|start| [start, b' ']).collect::<Vec<u8>>();
    let incomplete = list(&[
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ]);
    let continuations = |len: usize| [0x80, 0xbf].into_iter().cycle().take(len).collect::<Vec<u8>>();
    let (high, low): ([&[u8]; 4], [&[u8]; 2]) = (
        [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"],
        [b"\xed\xb0\x80", b"\xed\xbf\xbf"],
    );
    let planes = (0..=16_u32).flat_map(|plane| [plane << 16 | 0xFFFE, plane << 16 | 0xFFFF]);
    let character = |code: u32| char::from_u32(code).expect("no surrogate").to_string().into_bytes();
    vec![
        (
            5,
            list(&[
                b"hello$world",
                "hello¢world".as_bytes(),
                "hello€world".as_bytes(),
                "hello\u{24B62}world".as_bytes(),
                kosme,
            ]),
        ),
        (6, (1..=kosme.len()).map(|len| kosme[..len].to_vec()).collect()),
        (7, list(&[b"\0", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"])),
        (8, list(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"])),
        (9, list(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"])),
        (10, list(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"])),
        (
            11,
            list(&[
                b"\xed\x9f\xbf",
                b"\xee\x80\x80",
                b"\xef\xbf\xbd",
                b"\xf4\x8f\xbf\xbf",
                b"\xf4\x90\x80\x80",
            ]),
        ),
        (
            12,
            (1..=7)
                .map(|n| if n == 2 { vec![0xbf] } else { continuations(n.max(2) - 1) })
                .chain([(0x80..=0xbf).collect()])
                .collect(),
        ),
        (
            13,
            vec![
                alone(0xc0..=0xdf),
                alone(0xe0..=0xef),
                alone(0xf0..=0xf7),
                alone(0xf8..=0xfb),
                alone(0xfc..=0xfd),
            ],
        ),
        (14, incomplete.clone()),
        (15, vec![incomplete.concat()]),
        (16, list(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"])),
        (
            17,
            list(&[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ]),
        ),
        (
            18,
            list(&[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ]),
        ),
        (
            19,
            list(&[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ]),
        ),
        (20, [&list(&high)[..], &list(&[low[0], b"\xed\xbe\x80", low[1]])].concat()),
        (21, high.iter().flat_map(|high| low.map(|low| [high, low].concat())).collect()),
        (22, planes.map(character).collect()),
        (23, (0xFFF9..=0xFFFF).map(character).collect()),
    ]
}

fn utf8_6() -> Vec<Case> {
    let good = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let bad = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    let each = |data: &[u8]| fragments(data, &(1..event(data).len()).collect::<Vec<_>>());
    let parts: [&[u8]; 3] = [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", b"\xf4\x90\x80\x80", b"edited"];
    // So far and no further: the code has to come though the message has not ended.
    let fails_fast = |bytes: &[&[u8]]| {
        let message = event(&bytes.concat());
        let sent = message[..message.len() - 2].to_vec();
        let (header, pieces) = (masked(0x81, &vec![0; sent.len() + 100]), bytes.len());
        // Its mask changes every byte as that of `masked` does: only the length is another.
        let mut frame = header[..header.len() - sent.len() - 100].to_vec();
        frame.extend(sent.iter().enumerate().map(|(i, byte)| byte ^ [1, 2, 3, 4][i % 4]));
        frame.chunks(frame.len().div_ceil(pieces)).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let unended = fragments(
        &parts.concat(),
        &[event(&parts[..1].concat()).len() - 2, event(&parts[..2].concat()).len() - 2],
    );
    let one_early = fragments(
        &parts.concat(),
        &[
            event(&parts[..1].concat()).len() - 2,
            event(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90").len() - 2,
        ],
    );
    let mut cases = vec![
        case("6.1.1", &[masked(0x81, b"")], &[Refused]),
        case("6.1.2", &[masked(0x01, b""), masked(0x00, b""), masked(0x80, b"")], &[Refused]),
        case(
            "6.1.3",
            &[masked(0x01, b""), masked(0x00, &event(b"middle")), masked(0x80, b"")],
            &[Text(b"middle".to_vec())],
        ),
        case("6.2.1", &[text(good)], &[Text(good.to_vec())]),
        case("6.2.2", &fragments(good, &[event(&good[..7]).len() - 2]), &[Text(good.to_vec())]),
        case("6.2.3", &each(good), &[Text(good.to_vec())]),
        case("6.2.4", &each(KOSME.as_bytes()), &[Text(KOSME.as_bytes().to_vec())]),
        case("6.3.1", &[text(bad)], &[Closed(1007)]),
        case("6.3.2", &each(bad), &[Closed(1007)]),
        case("6.4.1", &unended[..2], &[Closed(1007)]),
        case("6.4.2", &one_early[..2], &[Closed(1007)]),
        case("6.4.3", &fails_fast(&parts), &[Closed(1007)]),
        case("6.4.4", &fails_fast(&[parts[0], b"\xf4\x90"]), &[Closed(1007)]),
    ];
    for (group, all) in sequences() {
        for (number, bytes) in (1..).zip(all) {
            let then = match str::from_utf8(&bytes) {
                // JSON has no such letter.
                Ok("\0") => Refused,
                Ok(_) => Text(bytes.clone()),
                Err(_) => Closed(1007),
            };
            cases.push(case(format!("6.{group}.{number}"), &[text(&bytes)], &[then]));
        }
    }
    cases
}

fn closing_7() -> Vec<Case> {
    let (hello, end, ping) = (text(b"Hello"), close(1000, b""), masked(0x89, b""));
    let mut cases = vec![
        case("7.1.1", &[hello.clone(), end.clone()], &[Text(b"Hello".to_vec()), Closed(1000)]),
        case("7.1.2", &[end.clone(), end.clone()], &[Closed(1000)]),
        case("7.1.3", &[end.clone(), ping.clone()], &[Closed(1000)]),
        case("7.1.4", &[end.clone(), hello.clone()], &[Closed(1000)]),
        case(
            "7.1.5",
            &[masked(0x01, b"fragment1"), end.clone(), masked(0x80, b"fragment2")],
            &[Closed(1000)],
        ),
        case("7.1.6", &[masked(0x81, &[b'*'; 256 * 1024]), hello, end, ping], &[Closed(1009)]),
        case("7.3.1", &[masked(0x88, b"")], &[Closed(1000)]),
        case("7.3.2", &[masked(0x88, b"a")], &[Closed(1002)]),
        case("7.3.3", &[close(1000, b"")], &[Closed(1000)]),
        case("7.3.4", &[close(1000, b"Hello World!")], &[Closed(1000)]),
        case("7.3.5", &[close(1000, &[b'*'; 123])], &[Closed(1000)]),
        case("7.3.6", &[close(1000, &[b'*'; 124])], &[Closed(1002)]),
        case("7.5.1", &[close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited")], &[Closed(1007)]),
    ];
    let may = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    let may_not = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    cases.extend(
        (1..).zip(may).map(|(n, code)| case(format!("7.7.{n}"), &[close(code, b"")], &[Closed(code)])),
    );
    cases.extend(
        (1..).zip(may_not).map(|(n, code)| case(format!("7.9.{n}"), &[close(code, b"")], &[Closed(1002)])),
    );
    cases.extend(
        (1..)
            .zip([5000, 65_535])
            .map(|(n, code)| case(format!("7.13.{n}"), &[close(code, b"")], &[Closed(1002)])),
    );
    cases
}

/// What is long, and many messages one behind the other.
fn long_9_and_10() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, opcode) in [(1, 0x81), (2, 0x82)] {
        for (number, kib) in (1..).zip([64, 256, 1024]) {
            cases.push(case(
                format!("9.{group}.{number}"),
                &[masked(opcode, &vec![b'*'; kib * 1024])],
                &[Closed(1009)],
            ));
        }
    }
    for (group, opcode) in [(3, 0x01), (4, 0x02)] {
        let frames: Vec<Vec<u8>> =
            (0..64).map(|n| masked(if n == 0 { opcode } else { 0 }, &[b'*'; 1024])).collect();
        cases.push(case(format!("9.{group}"), &frames, &[Closed(1009)]));
    }
    for (number, len) in (1..).zip([64, 256, 1024, 4096, 10_000]) {
        let (frame, data) = text_of(len);
        cases.push(case(format!("9.7.{number}"), &vec![frame; 100], &vec![Text(data); 100]));
    }
    cases.push(case(
        "10.1.1",
        &fragments(&[b'*'; 9_000], &[1300, 2600, 3900, 5200, 6500, 7800]),
        &[Text(vec![b'*'; 9_000])],
    ));
    cases
}

fn start() -> HttpServer {
    HttpServer::start(2, &["--pusher-app", "1 app-key app-secret client-events 1000000"])
}

/// Has each case happen on a connection of its own.
fn try_all(cases: &[Case]) {
    let server = start();
    let mut reader = Page::open(&server);
    reader.subscribe("private-c");
    for Case { number, pieces, then } in cases {
        let mut page = Page::open(&server);
        page.subscribe("private-c");
        for piece in pieces {
            // It may have been closed before it has said all.
            let _ = page.stream().write_all(piece);
        }
        for then in then {
            match then {
                Text(data) => {
                    let (name, _, told) = reader.event();
                    let data = String::from_utf8(data.clone()).expect("UTF-8");
                    assert_eq!((name.as_str(), told), ("client-e", Json::String(data)), "{number}");
                }
                Pong(data) => assert_eq!(page.frame(), (0x8A, data.clone()), "{number}"),
                Refused => assert_eq!(page.event().0, "pusher:error", "{number}"),
                Closed(code) => assert_eq!(page.closed(), *code, "{number}"),
            }
        }
        if !matches!(then.last(), Some(Closed(_))) {
            page.assert_quiet();
        }
    }
    reader.assert_quiet();
}

#[test]
fn messages_pings_and_reserved_bits_are_as_autobahn_s_cases_1_to_4_have_them() {
    try_all(&[messages_1(), pings_2(), reserved_3_and_4()].into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn fragments_and_closing_are_as_autobahn_s_cases_5_and_7_have_them() {
    try_all(&[fragments_5(), closing_7()].into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn text_is_utf8_as_autobahn_s_cases_6_have_it() {
    let cases = utf8_6();
    assert_eq!(cases.len(), 145, "the suite has as many");
    try_all(&cases);
}

#[test]
fn long_messages_and_many_are_as_autobahn_s_cases_9_and_10_have_them() {
    try_all(&long_9_and_10());
}

/// Cases 12 and 13 are about compression.
#[test]
fn no_extension_is_agreed_on() {
    let server = start();
    let mut socket = server.connect();
    let asked = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let request = handshake(&format!("/app/{KEY}?protocol=7"), asked);
    socket.write_all(request.as_bytes()).expect("the server reads");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("extensions"), "{head}");
    // What is compressed all the same is refused.
    socket.write_all(&masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).expect("the server reads");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("an end");
    let first = frame_len(&rest).expect("it is told its name");
    assert_eq!(&rest[first..first + 4], [&[0x88, rest[first + 1]][..], &1002_u16.to_be_bytes()].concat());
}
