//! Requests of a pipeline are read some way ahead of the one that is executed: nobody can tell.

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::server::{Launch, PATIENCE, Server};

/// With few keys nothing is read ahead.
const KEYS: usize = 1_000;

fn fill(client: &mut Client) {
    let pairs = (0..KEYS).flat_map(|key| [format!("key:{key}"), String::new()]);
    client.request(&["MSET".to_owned()].into_iter().chain(pairs).collect::<Vec<_>>());
}

/// What each pipeline is about, and its requests, which leave `a`, `b`, `l` and the other database empty. A word `ID` is the client's own.
const PIPELINES: &[(&str, &[&[&str]])] = &[
    (
        "transactions",
        &[
            &["SET", "a", "1"],
            &["MULTI"],
            &["INCR", "a"],
            &["GET", "a"],
            &["EXEC"],
            &["GET", "a"],
            &["MULTI"],
            &["SET", "a", "5"],
            &["DISCARD"],
            &["WATCH", "a"],
            &["SET", "a", "2"],
            &["MULTI"],
            &["GET", "a"],
            &["EXEC"],
            &["GET", "a"],
            &["MULTI"],
            &["GET", "a", "b"],
            &["GET", "a"],
            &["EXEC"],
            &["GET", "a"],
        ],
    ),
    (
        "another database",
        &[
            &["SET", "a", "zero"],
            &["SELECT", "1"],
            &["GET", "a"],
            &["SET", "a", "one"],
            &["GET", "a"],
            &["SELECT", "0"],
            &["GET", "a"],
            &["SWAPDB", "0", "1"],
            &["GET", "a"],
            &["SWAPDB", "0", "1"],
            &["GET", "a"],
            &["SELECT", "99"],
            &["SELECT", "1"],
            &["DEL", "a"],
            &["GET", "a"],
        ],
    ),
    (
        "scripts",
        &[
            &["SET", "a", "1"],
            &["EVAL", "return redis.call('incr', KEYS[1])", "1", "a"],
            &["GET", "a"],
            &["EVAL", "return redis.call('get', 'a')", "0"],
            &["EVAL", "return redis.call('nosuch')", "1", "a"],
            &["GET", "a"],
        ],
    ),
    (
        "waiting",
        &[
            &["BLPOP", "l", "0.01"],
            &["RPUSH", "l", "1", "2"],
            &["BLPOP", "l", "0"],
            &["LRANGE", "l", "0", "-1"],
            &["BLMOVE", "l", "b", "LEFT", "LEFT", "0"],
            &["BRPOP", "l", "b", "0"],
            &["CLIENT", "PAUSE", "10", "ALL"],
            &["SET", "a", "1"],
            &["GET", "a"],
            &["GET", "a"],
        ],
    ),
    (
        "replies that are not wanted",
        &[
            &["SET", "a", "1"],
            &["CLIENT", "REPLY", "SKIP"],
            &["SET", "a", "2"],
            &["GET", "a"],
            &["CLIENT", "REPLY", "OFF"],
            &["GET", "a"],
            &["SET", "a", "3"],
            &["CLIENT", "REPLY", "ON"],
            &["GET", "a"],
        ],
    ),
    (
        "errors",
        &[
            &["GET"],
            &["NOSUCH", "a"],
            &["RPUSH", "l", "1"],
            &["GET", "l"],
            &["INCR", "l"],
            &["SET", "a", "x", "EX"],
            &["GET", "a"],
            &["MGET", "a", "l", "key:1"],
            &["MSET", "a", "1", "b"],
            &["MSET", "a", "1", "b", "2"],
            &["MGET", "b", "a"],
            &["DEL", "l", "b"],
        ],
    ),
    (
        "rights that change",
        &[
            &["SET", "a", "1"],
            &["ACL", "SETUSER", "default", "-get"],
            &["GET", "a"],
            &["STRLEN", "a"],
            &["ACL", "SETUSER", "default", "+get", "resetkeys", "~key:*"],
            &["GET", "a"],
            &["GET", "key:1"],
            &["ACL", "SETUSER", "default", "~*"],
            &["GET", "a"],
        ],
    ),
    (
        "another user",
        &[
            &["SET", "a", "1"],
            &["ACL", "SETUSER", "u", "on", ">p", "~key:*", "+get", "+select"],
            &["AUTH", "u", "p"],
            &["GET", "a"],
            &["GET", "key:1"],
            &["SELECT", "1"],
            &["AUTH", "default", "p"],
            &["SET", "a", "2"],
            &["GET", "a"],
            &["DEL", "a"],
            &["SELECT", "0"],
            &["ACL", "DELUSER", "u"],
            &["GET", "a"],
        ],
    ),
    (
        "a connection that begins anew",
        &[
            &["SET", "a", "1"],
            &["SELECT", "1"],
            &["SET", "a", "2"],
            &["MULTI"],
            &["DEL", "a"],
            &["RESET"],
            &["GET", "a"],
            &["CLIENT", "REPLY", "OFF"],
            &["RESET"],
            &["GET", "a"],
            &["SELECT", "1"],
            &["DEL", "a"],
        ],
    ),
    (
        "the client's end",
        &[
            &["SET", "a", "1"],
            &["CLIENT", "KILL", "ID", "ID", "SKIPME", "no"],
            &["SET", "a", "2"],
            &["GET", "a"],
        ],
    ),
    ("goodbye", &[&["SET", "a", "1"], &["QUIT"], &["SET", "a", "2"], &["GET", "a"]]),
    ("what is left", &[&["GET", "a"], &["GET", "l"], &["DBSIZE"]]),
];

/// Bytes that are no requests as clients send them, in the middle of a pipeline, which a protocol error ends.
const OTHERS: &[&str] =
    &["\r\n", "*0\r\n", "*-1\r\n", "GET a\r\n", "*x\r\n", "*1\r\n$x\r\n", "*1\r\nGET\r\n"];

/// All that is answered to these bytes, to the answer to `ECHO end` or the connection's end.
fn answers(client: &mut Client, bytes: &[u8]) -> Vec<Vec<u8>> {
    client.send_bytes(&[bytes, &request_bytes(&["ECHO", "end"])].concat());
    let mut answers = Vec::new();
    loop {
        match client.frame(PATIENCE) {
            Frame::Bytes(bytes) if bytes == b"$3\r\nend\r\n" => return answers,
            Frame::Bytes(bytes) => answers.push(bytes),
            Frame::Closed => {
                answers.push(b"(closed)".to_vec());
                return answers;
            }
            Frame::Nothing => panic!("no more than {} answers", answers.len()),
        }
    }
}

/// Each pipeline's name, and what is answered to it by a new server of this kind.
fn all_answers(launch: Launch) -> Vec<(String, Vec<Vec<u8>>)> {
    let server = launch.start();
    fill(&mut server.connect());
    let mut all = Vec::new();
    for (about, pipeline) in PIPELINES {
        let mut client = server.connect();
        let id = client.int(&["CLIENT", "ID"]).to_string();
        let words = |request: &&[&str]| -> Vec<String> {
            // The first `ID` is the option's name.
            let is_id = |(nth, word): (usize, &&str)| {
                if nth == 3 && *word == "ID" { id.clone() } else { (*word).into() }
            };
            request.iter().enumerate().map(is_id).collect()
        };
        let bytes: Vec<u8> = pipeline.iter().flat_map(|request| request_bytes(&words(request))).collect();
        all.push(((*about).to_owned(), answers(&mut client, &bytes)));
        server.connect().request(&["DEL", "a", "b", "l"]);
    }
    for other in OTHERS {
        let before: Vec<u8> = ["1", "2", "3"].iter().flat_map(|n| request_bytes(&["SET", "a", n])).collect();
        let behind: Vec<u8> = (0..5).flat_map(|_| request_bytes(&["INCR", "a"])).collect();
        let bytes = [&before, other.as_bytes(), &behind].concat();
        all.push((other.escape_debug().to_string(), answers(&mut server.connect(), &bytes)));
        all.push(("a".into(), vec![server.connect().text(&["GET", "a"]).into_bytes()]));
    }
    let long = "x".repeat(100_000);
    let requests: [&[&str]; 6] = [
        &["GET", "a"],
        &["SET", "a", &long],
        &["STRLEN", "a"],
        &["APPEND", "a", &long],
        &["STRLEN", "a"],
        &["DEL", "a"],
    ];
    let bytes: Vec<u8> = (0..3).flat_map(|_| requests).flat_map(request_bytes).collect();
    all.push(("long requests".into(), answers(&mut server.connect(), &bytes)));
    let names = |command: &str, names: &[String]| request_bytes(&[&[command.to_owned()][..], names].concat());
    let channels: Vec<String> = (0..200).map(|nth| format!("c{nth}")).collect();
    // In all less than is read at once.
    let bytes = [
        request_bytes(&["SET", "a", "1"]),
        names("SUBSCRIBE", &channels),
        names("UNSUBSCRIBE", &channels),
        request_bytes(&["GET", "a"]),
        names("EXISTS", &vec!["a".to_owned(); 8_200]),
        request_bytes(&["GET", "a"]),
    ]
    .concat();
    all.push(("requests in parts".into(), answers(&mut server.connect(), &bytes)));
    all
}

#[test]
fn pipelines_are_answered_as_by_redis_whatever_their_requests_change_for_those_behind_them() {
    let expected = all_answers(Launch::reference());
    for shards in [1, 2] {
        for (mine, redis) in all_answers(Launch::shards(shards)).into_iter().zip(&expected) {
            let texts = |answers: &(String, Vec<Vec<u8>>)| -> Vec<String> {
                answers.1.iter().map(|bytes| bytes.escape_ascii().to_string()).collect()
            };
            assert_eq!(texts(&mine), texts(redis), "{}, with {shards} shards", redis.0);
        }
    }
}

#[test]
fn a_pipeline_is_answered_as_one_request_after_the_other_would_be_wherever_it_is_cut() {
    let long = "x".repeat(300);
    let requests: Vec<Vec<u8>> = [
        &["SET", "a", "1"][..],
        &["GET", "a"],
        &["GET", "a"],
        &["SELECT", "1"],
        &["APPEND", "a", &long],
        &["SELECT", "0"],
        &["GET", "a"],
        &["MULTI"],
        &["INCR", "a"],
        &["EXEC"],
        &["EVAL", "return redis.call('get', KEYS[1])", "1", "a"],
        &["MSET", "b", "2", "c", "3"],
        &["MGET", "a", "b", "none", "c"],
        &["GET"],
        &["RPUSH", "l", "1"],
        &["BLPOP", "l", "0"],
        &["GET", "c"],
    ]
    .iter()
    .map(|words| request_bytes(words))
    .chain([
        b"GET a\r\n".to_vec(),
        request_bytes(&["DEL", "a", "b", "c"]),
        request_bytes(&["MOVE", "a", "0"]),
        b"*x\r\n".to_vec(),
    ])
    .collect();
    let ends: Vec<usize> = requests
        .iter()
        .scan(0, |end, request| {
            *end += request.len();
            Some(*end)
        })
        .collect();
    let bytes = requests.concat();
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut other = server.connect();
        fill(&mut other);
        let forget = |other: &mut Client| {
            other.request(&["SELECT", "1"]);
            other.request(&["DEL", "a"]);
            other.request(&["SELECT", "0"]);
        };
        let mut alone = server.connect();
        let expected: Vec<Value> = requests
            .iter()
            .map(|request| {
                alone.send_bytes(request);
                alone.value()
            })
            .collect();
        forget(&mut other);
        for cut in (1..bytes.len()).step_by(13) {
            let mut client = server.connect();
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            client.send_bytes(&bytes[..cut]);
            let mut replies: Vec<Value> = (0..whole).map(|_| client.value()).collect();
            client.send_bytes(&bytes[cut..]);
            replies.extend((whole..requests.len()).map(|_| client.value()));
            assert_eq!(replies, expected, "cut at {cut}, with {shards} shards");
            forget(&mut other);
        }
    }
}

/// Names so long that so many are more than a processor's own caches hold: fewer are fetched by development builds only.
const ELEMENTS: usize = 32_000;

fn element(nth: usize) -> String {
    format!("{nth:0>100}")
}

/// A hash `h`, a set `s` and a sorted set `z`, which are large; `t` is small.
fn fill_collections(client: &mut Client) {
    for first in (0..ELEMENTS).step_by(400) {
        let all = first..first + 400;
        let pairs = all.clone().flat_map(|nth| [element(nth), nth.to_string()]);
        let scored = all.clone().flat_map(|nth| [nth.to_string(), element(nth)]);
        let members = all.map(element);
        for (command, key, words) in [
            ("HSET", "h", pairs.collect::<Vec<_>>()),
            ("ZADD", "z", scored.collect()),
            ("SADD", "s", members.collect()),
        ] {
            let words = [command.to_owned(), key.to_owned()].into_iter().chain(words);
            assert_eq!(client.int(&words.collect::<Vec<_>>()), 400);
        }
    }
    client.request(&["ZADD", "t", "1", "one", "2", "two"]);
}

/// Requests on these, `#n` being an element's name; some take away what those behind them are about.
const ON_ELEMENTS: &[&str] = &[
    "ZADD z 5.5 #7",
    "ZSCORE z #7",
    "ZRANK z #7",
    "ZADD z NX CH 3 #9 -inf #10",
    "ZADD z GT 100000 #11",
    "ZREVRANK z #11 WITHSCORE",
    "ZADD z INCR 2 #12",
    "ZINCRBY z 1.5 #12",
    "ZINCRBY z one #12",
    "ZADD z 1 new 2 newer",
    "ZADD z x #13",
    "ZADD z 1",
    "ZREM z #14 new nosuch",
    "ZRANK z #14",
    "ZPOPMIN z 3",
    "ZPOPMAX z",
    "ZPOPMAX z 2",
    "ZPOPMIN z",
    "ZADD z -5 least",
    "ZPOPMIN z",
    "ZPOPMIN h",
    "ZPOPMIN t 5",
    "ZPOPMIN t",
    "ZADD t 1 one 2 two",
    "HGET h #7",
    "HSET h #7 x new y",
    "HMGET h #7 new nosuch",
    "HINCRBY h #8 5",
    "HINCRBY h new 5",
    "HDEL h #9 nosuch",
    "HEXISTS h #9",
    "HGET h",
    "HSTRLEN h #8",
    "SADD s #1 new",
    "SISMEMBER s #1",
    "SMISMEMBER s #1 nosuch new",
    "SREM s #2 nosuch",
    "SISMEMBER s #2",
    "HGET z #1",
    "ZSCORE h #1",
    "SISMEMBER nosuch #1",
    "ZADD t 3 three",
    "ZSCORE t one",
    "MULTI",
    "ZADD z 7 #20",
    "HGET h #20",
    "EXEC",
    "ZSCORE z #20",
    "SELECT 1",
    "ZSCORE z #20",
    "SELECT 0",
    "RENAME z was",
    "ZSCORE z #21",
    "ZADD z 1 #21",
    "ZSCORE was #21",
    "ZRANK was #22",
    "DEL z",
    "RENAME was z",
    "ZRANK z #22",
    "COPY h i",
    "HSET h #23 copied",
    "HGET i #23",
    "HGET h #23",
    "UNLINK i",
    "HGET i #23",
    "PEXPIRE s 100000000",
    "SISMEMBER s #24",
    "EVAL return{redis.call('zscore',KEYS[1],ARGV[1]),redis.call('zadd',KEYS[1],9,ARGV[1])} 1 z #25",
    "ZSCORE z #25",
    "FLUSHALL",
    "ZSCORE z #26",
    "ZADD z 1 #26",
    "ZADD z 2 #26",
    "HGET h #26",
    "SADD s #26",
];

#[test]
fn pipelines_that_name_elements_of_large_collections_are_answered_as_by_redis() {
    let words = |line: &&str| -> Vec<String> {
        let word = |word: &str| match word.strip_prefix('#') {
            Some(nth) => element(nth.parse().expect("a number")),
            None => word.to_owned(),
        };
        line.split(' ').map(word).collect()
    };
    // From each of the first eight on, so that those which are read together are others each time.
    let pipeline = |from: usize| -> Vec<u8> {
        ON_ELEMENTS.iter().skip(from).flat_map(|line| request_bytes(&words(line))).collect()
    };
    let all_answers = |launch: Launch| -> Vec<Vec<Vec<u8>>> {
        let server = launch.start();
        let mut client = server.connect();
        let mut all = Vec::new();
        for from in [0, 1, 3, 6] {
            fill_collections(&mut client);
            all.push(answers(&mut client, &pipeline(from)));
            client.request(&["FLUSHALL"]);
        }
        all
    };
    let expected = all_answers(Launch::reference());
    for shards in [1, 2] {
        for (mine, redis) in all_answers(Launch::shards(shards)).iter().zip(&expected) {
            assert_eq!(mine.len(), redis.len());
            for (nth, (mine, redis)) in mine.iter().zip(redis).enumerate() {
                let texts = [mine, redis].map(|bytes| bytes.escape_ascii().to_string());
                assert_eq!(texts[0], texts[1], "answer {nth}, with {shards} shards");
            }
        }
    }
}
