//! What one shard mails another is bounded, whatever makes the mail: messages of a transaction, keyspace events, invalidations.
//!
//! A script without keys stops one shard; what the other has then been able to answer is what its mail had room for.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::server::{PATIENCE, Server, wait_for};

/// How long the shard stands still, if nobody ends that.
const STILL_MS: &str = "600000";

/// No reply for so long means that what is to be answered has been. One that is slower than this is not counted, no more.
pub(crate) const MOMENT: Duration = Duration::from_millis(300);

/// Bytes mailed to a shard that stands still, at most; one request may pass that (`MAILED_BYTES_MAX`).
const MAIL_BYTES_MAX: usize = 1024 * 1024;

/// Holds its client's shard, and no key, for the milliseconds it is given.
pub(crate) const STAND_STILL: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                           local until_ms = now() + ARGV[1] while now() < until_ms do end return 1";

/// A server of two shards, and a connection on the first.
fn start() -> (Server, Client) {
    let server = Server::sterna(
        2,
        &[
            "--appendonly",
            "no",
            "--busy-reply-threshold",
            "600000",
            "--notify-keyspace-events",
            "KEA",
            "--client-output-buffer-limit",
            "pubsub",
            "0",
            "0",
            "0",
        ],
    );
    let first = on_shard(&server, 0);
    (server, first)
}

pub(crate) fn shard_of(client: &mut Client) -> usize {
    let info = client.text(&["CLIENT", "INFO"]);
    let shard = info.split(' ').find_map(|word| word.trim().strip_prefix("io-thread="));
    shard.and_then(|shard| shard.parse().ok()).expect("CLIENT INFO tells the shard")
}

/// A connection on this shard. New ones go to the shard that has fewest, so one of a few is there.
pub(crate) fn on_shard(server: &Server, shard: usize) -> Client {
    let mut others = Vec::new();
    loop {
        let mut client = server.connect();
        if shard_of(&mut client) == shard {
            return client;
        }
        others.push(client);
        assert!(others.len() < 10, "no connection on shard {shard}");
    }
}

/// So many connections on this shard. There are about as many others until all are there.
pub(crate) fn many_on_shard(server: &Server, shard: usize, count: usize) -> Vec<Client> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    while own.len() < count {
        let mut client = server.connect();
        let is_own = shard_of(&mut client) == shard;
        if is_own { &mut own } else { &mut others }.push(client);
        assert!(others.len() < 2 * count + 10, "no more connections on shard {shard}");
    }
    own
}

/// A connection of this shard, for reading and for writing.
fn both_ends(server: &Server, shard: usize) -> (Client, Client) {
    let mut others = Vec::new();
    loop {
        let stream = TcpStream::connect(server.address()).expect("the server listens");
        let mut reader = Client::over(stream.try_clone().expect("a socket can be read and written at once"));
        if shard_of(&mut reader) == shard {
            return (reader, Client::over(stream));
        }
        others.push(reader);
        assert!(others.len() < 10, "no connection on shard {shard}");
    }
}

/// Has a shard stand still; returns the client that is answered when it goes on.
fn stop(server: &Server, shard: usize, admin: &mut Client) -> Client {
    let mut script = on_shard(server, shard);
    let id = script.int(&["CLIENT", "ID"]).to_string();
    script.send(&["EVAL", STAND_STILL, "0", STILL_MS]);
    wait_for("the script", || admin.text(&["CLIENT", "LIST", "ID", &id]).contains("cmd=eval").then_some(()));
    script
}

/// Sends `rounds` times `requests`, each round with `replies` replies, on the first shard while the second stands still.
/// Asserts that no more rounds were answered then than fit into its mail, each being `mailed` bytes, and that all are in the
/// end.
fn held_while_the_other_stands_still(
    server: &Server,
    admin: &mut Client,
    what: &str,
    (rounds, replies, mailed): (usize, usize, usize),
    request: impl Fn(usize) -> Vec<u8>,
) {
    assert!(rounds * mailed > 8 * MAIL_BYTES_MAX, "{what}: not enough to be held");
    let bytes: Vec<u8> = (0..rounds).flat_map(&request).collect();
    let (mut reader, mut writer) = both_ends(server, 0);
    let mut script = stop(server, 1, admin);
    let sender = thread::spawn(move || writer.send_bytes(&bytes));
    let mut answered = 0;
    let mut patience = PATIENCE;
    while answered < rounds * replies
        && let Frame::Bytes(frame) = reader.frame(patience)
    {
        assert!(!matches!(value_of(&frame), Value::Error(_)), "{what}: {}", frame.escape_ascii());
        answered += 1;
        patience = MOMENT;
    }
    assert_eq!(
        script.frame(Duration::from_millis(1)),
        Frame::Nothing,
        "{what}: the shard has gone on already"
    );
    wait_for("the script's end", || {
        matches!(admin.try_request(&["SCRIPT", "KILL"])?, Value::Simple(_)).then_some(())
    });
    assert!(script.error().contains("Script killed"), "{what}");
    let most = (MAIL_BYTES_MAX / mailed + 3) * replies;
    println!("{what}: {answered} of {} replies, at most {most}", rounds * replies);
    assert!(answered > 0 && answered <= most, "{what}: {answered} replies, {most} at most");
    for _ in answered..rounds * replies {
        assert!(!matches!(reader.value(), Value::Error(_)), "{what}");
    }
    sender.join().expect("everything is sent");
}

#[test]
fn messages_of_transactions_are_held_back_by_a_shard_that_stands_still() {
    const ROUNDS: usize = 200;
    const MESSAGES: usize = 8;
    let payload = "x".repeat(8 * 1024);
    let (server, mut first) = start();
    let mut subscriber = on_shard(&server, 1);
    subscriber.request(&["SUBSCRIBE", "c"]);
    held_while_the_other_stands_still(
        &server,
        &mut first,
        "EXEC",
        (ROUNDS, MESSAGES + 2, MESSAGES * payload.len()),
        |round| {
            let mut bytes = request_bytes(&["MULTI"]);
            for number in 0..MESSAGES {
                let text = format!("{} {payload}", round * MESSAGES + number);
                bytes.extend(request_bytes(&["PUBLISH", "c", &text]));
            }
            bytes.extend(request_bytes(&["EXEC"]));
            bytes
        },
    );
    for expected in 0..ROUNDS * MESSAGES {
        let message = subscriber.value();
        let text = message.as_slice().and_then(|parts| parts[2].as_bytes()).expect("a message");
        assert!(text.starts_with(format!("{expected} ").as_bytes()), "a message is missing");
    }
}

#[test]
fn writes_with_keyspace_events_are_held_back_by_a_shard_that_stands_still() {
    const ROUNDS: usize = 1500;
    let name = "k".repeat(4 * 1024);
    let (server, mut first) = start();
    let mut listener = on_shard(&server, 1);
    listener.request(&["SUBSCRIBE", "__keyevent@0__:set"]);
    held_while_the_other_stands_still(&server, &mut first, "events", (2 * ROUNDS, 1, name.len()), |round| {
        request_bytes(&["SET", &format!("{round} {name}"), "v"])
    });
    for expected in 0..2 * ROUNDS {
        let event = listener.value();
        let text = event.as_slice().and_then(|parts| parts[2].as_bytes()).expect("an event");
        assert!(text.starts_with(format!("{expected} ").as_bytes()), "an event is missing");
    }
}

#[test]
fn writes_with_invalidations_are_held_back_by_a_shard_that_stands_still() {
    const ROUNDS: usize = 3000;
    let name = "k".repeat(4 * 1024);
    let (server, mut first) = start();
    let mut caching = on_shard(&server, 1);
    caching.request(&["HELLO", "3"]);
    caching.request(&["CLIENT", "TRACKING", "ON", "BCAST"]);
    held_while_the_other_stands_still(
        &server,
        &mut first,
        "invalidations",
        (ROUNDS, 1, name.len()),
        |round| request_bytes(&["SET", &format!("{round} {name}"), "v"]),
    );
    let mut told = 0;
    while told < ROUNDS {
        let Value::Push(parts) = caching.value() else { panic!("no push") };
        told += parts[1].as_slice().expect("keys").len();
    }
    assert_eq!(told, ROUNDS);
}

/// Sends `requests` over and over on one shard while the other stands still, and asserts that the second round waits for it.
fn second_round_waits_for(still: usize, requests: &[&[&str]], counted: &str) {
    const ROUNDS: usize = 20;
    let (server, _) = start();
    let mut admin = on_shard(&server, 1 - still);
    let (mut reader, mut writer) = both_ends(&server, 1 - still);
    let mut script = stop(&server, still, &mut admin);
    let round: Vec<u8> = requests.iter().flat_map(|request| request_bytes(request)).collect();
    writer.send_bytes(&round.repeat(ROUNDS));
    let mut has_run_once = || admin.text(&["INFO", "commandstats"]).contains(counted);
    wait_for("the first transaction", || has_run_once().then_some(()));
    assert_eq!(reader.frame(MOMENT), Frame::Nothing);
    assert!(has_run_once(), "its shard goes on with the next though the other has not followed");
    wait_for("the script's end", || {
        matches!(admin.try_request(&["SCRIPT", "KILL"])?, Value::Simple(_)).then_some(())
    });
    assert!(script.error().contains("Script killed"));
    for _ in 0..ROUNDS * requests.len() {
        assert!(!matches!(reader.value(), Value::Error(_)));
    }
}

#[test]
fn a_transaction_that_changes_users_waits_for_a_shard_that_stands_still() {
    let requests: [&[&str]; 4] = [
        &["MULTI"],
        &["ACL", "SETUSER", "alice", "on", "nopass", "+@all"],
        &["ACL", "DELUSER", "alice"],
        &["EXEC"],
    ];
    second_round_waits_for(1, &requests, "cmdstat_acl|setuser:calls=1,");
}

#[test]
fn a_transaction_that_changes_the_addresses_waits_for_the_shard_that_accepts() {
    let requests: [&[&str]; 4] = [
        &["MULTI"],
        &["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"],
        &["CONFIG", "SET", "bind", "127.0.0.1"],
        &["EXEC"],
    ];
    second_round_waits_for(0, &requests, "cmdstat_config|set:calls=2,");
}

/// Each direction has far more under way than credit, in pieces that are above it by themselves: with shards that waited for
/// each other, this would never end.
#[test]
fn two_shards_that_publish_to_each_other_do_not_hold_each_other_for_ever() {
    const ROUNDS: usize = 12;
    const MESSAGES: usize = 40;
    let (server, _first) = start();
    let payload = "x".repeat(64 * 1024);
    let began = Instant::now();
    thread::scope(|scope| {
        for (from, to) in [(0, 1), (1, 0)] {
            let channel = format!("to {to}");
            let mut subscriber = on_shard(&server, to);
            subscriber.request(&["SUBSCRIBE", &channel]);
            let mut publisher = on_shard(&server, from);
            let payload = &payload;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let plain = round % 2 == 0;
                    if !plain {
                        publisher.send(&["MULTI"]);
                    }
                    (0..MESSAGES).for_each(|_| publisher.send(&["PUBLISH", &channel, payload]));
                    if !plain {
                        publisher.send(&["EXEC"]);
                    }
                    for _ in 0..if plain { MESSAGES } else { MESSAGES + 2 } {
                        assert!(!matches!(publisher.value(), Value::Error(_)));
                    }
                }
            });
            scope.spawn(move || {
                for _ in 0..ROUNDS * MESSAGES {
                    subscriber.value();
                }
            });
        }
    });
    println!("{} ms", began.elapsed().as_millis());
}

pub(crate) fn used_memory(client: &mut Client) -> u64 {
    let info = client.text(&["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a field of INFO");
    line.trim().parse().expect("a number")
}

#[test]
fn what_is_asked_for_again_and_again_is_one_letter_to_a_shard_that_stands_still() {
    const REQUESTS: usize = 20_000;
    let (server, mut admin) = start();
    let mut script = stop(&server, 1, &mut admin);
    let before = used_memory(&mut admin);
    for _ in 0..5 {
        admin.send_bytes(&request_bytes(&["CLIENT", "UNPAUSE"]).repeat(REQUESTS));
        for _ in 0..REQUESTS {
            assert_eq!(admin.value(), Value::Simple(b"OK".to_vec()));
        }
    }
    let growth = used_memory(&mut admin).saturating_sub(before);
    assert!(growth < 4 << 20, "{growth} bytes for {} requests", 5 * REQUESTS);
    wait_for("the script's end", || {
        matches!(admin.try_request(&["SCRIPT", "KILL"])?, Value::Simple(_)).then_some(())
    });
    assert!(script.error().contains("Script killed"));
}
