//! Subscriptions that resume: whoever comes back under its name gets what it has missed, once, in order, or is told.

mod beside;
mod cut;
mod left;
mod masses;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::line::{End, Line};
use sterna_tests::server::{PATIENCE, Server, wait_for};

const SHARDS: [usize; 2] = [1, 2];

const NOTICES: &str = "__sterna__:resume";

/// What a subscriber got: the subscription it came by, and the payload.
type Got = (String, String);

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().unwrap_or_else(|| panic!("{value:?}")).to_vec()).expect("ASCII")
}

/// A message with the kind and name of its subscription; `None`: something else.
fn message(value: &Value) -> Option<Got> {
    let parts = value.as_slice()?;
    let kind = parts.first()?.as_bytes()?;
    if !kind.ends_with(b"message") {
        return None;
    }
    let name = format!("{} {}", String::from_utf8_lossy(kind), text(&parts[1]));
    Some((name, text(parts.last()?)))
}

/// A client with a name, in RESP2 or RESP3.
fn named(mut client: Client, name: &str, proto: &str) -> Client {
    client.request(&["HELLO", proto, "SETNAME", name]);
    client
}

/// Subscribes, and takes the confirmations.
fn subscribe(client: &mut Client, request: &[&str]) {
    client.send(request);
    for name in &request[1..] {
        let value = client.value();
        assert_eq!(value.as_slice().map(|parts| text(&parts[1])).as_deref(), Some(*name), "{value:?}");
    }
}

fn next(client: &mut Client) -> Got {
    let value = client.value();
    message(&value).unwrap_or_else(|| panic!("{value:?} is no message"))
}

fn got(kind: &str, name: &str, payload: &str) -> Got {
    (format!("{kind} {name}"), payload.to_owned())
}

fn field(client: &mut Client, section: &str, name: &str) -> u64 {
    let info = client.text(&["INFO", section]);
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("a field of INFO");
    line.trim().parse().expect("a number")
}

fn await_detached(client: &mut Client, count: u64) {
    wait_for("detached clients", || (field(client, "clients", "detached_clients") == count).then_some(()));
}

fn server(shards: usize, more: &[&str]) -> Server {
    let args = [&["--resume-window", "3600"][..], more].concat();
    Server::sterna(shards, &args)
}

/// Every way of subscribing, as a client does it after each connect.
const REQUESTS: [&[&str]; 4] =
    [&["SUBSCRIBE", "a", "b"], &["PSUBSCRIBE", "p*"], &["PSUBSCRIBE", "*1"], &["SSUBSCRIBE", "s"]];

/// A subscriber that leaves without a word.
fn detached(server: &Server, name: &str, proto: &str, request: &[&str]) {
    let mut client = named(server.connect(), name, proto);
    subscribe(&mut client, request);
    let mut other = server.connect();
    let before = field(&mut other, "clients", "detached_clients");
    drop(client);
    await_detached(&mut other, before + 1);
}

#[test]
fn who_comes_back_gets_what_came_by_what_it_subscribes_to_again_and_nothing_else() {
    for (shards, (old, new)) in
        SHARDS.into_iter().flat_map(|shards| [("2", "2"), ("2", "3"), ("3", "2")].map(|way| (shards, way)))
    {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let mut first = named(server.connect(), "me", old);
        REQUESTS.iter().for_each(|request| subscribe(&mut first, request));
        drop(first);
        await_detached(&mut client, 1);
        assert_eq!(client.int(&["PUBLISH", "a", "1"]), 1, "it still listens");
        assert_eq!(client.int(&["PUBLISH", "p1", "2"]), 2);
        client.int(&["SPUBLISH", "s", "3"]);
        client.int(&["PUBLISH", "b", "4"]);
        client.int(&["PUBLISH", "a", "5"]);
        let list = client.text(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| line.contains("name=me")).expect("it is listed");
        assert!(line.contains(" flags=PD ") && line.contains(" sub=2 psub=2 ssub=1 "), "{line}");
        // One of its channels it never subscribes to again, and to one later.
        let mut second = named(server.connect(), "me", new);
        subscribe(&mut second, &["SUBSCRIBE", "a", "c"]);
        assert_eq!(next(&mut second), got("message", "a", "1"));
        assert_eq!(next(&mut second), got("message", "a", "5"));
        client.int(&["PUBLISH", "a", "6"]);
        assert_eq!(next(&mut second), got("message", "a", "6"));
        assert_eq!(client.int(&["PUBLISH", "p1", "7"]), 2);
        subscribe(&mut second, &["PSUBSCRIBE", "p*"]);
        assert_eq!(next(&mut second), got("pmessage", "p*", "2"));
        assert_eq!(next(&mut second), got("pmessage", "p*", "7"));
        subscribe(&mut second, &["PUNSUBSCRIBE", "*1"]);
        subscribe(&mut second, &["PSUBSCRIBE", "*1"]);
        subscribe(&mut second, &["SSUBSCRIBE", "s"]);
        assert_eq!(next(&mut second), got("smessage", "s", "3"));
        second.assert_quiet();
        assert_eq!(field(&mut client, "clients", "detached_clients"), 1);
        subscribe(&mut second, &["SUBSCRIBE", "b"]);
        assert_eq!(next(&mut second), got("message", "b", "4"));
        assert_eq!(field(&mut client, "clients", "detached_clients"), 0, "nothing is left to take over");
        assert_eq!(client.int(&["PUBLISH", "a", "8"]), 1);
        assert_eq!(next(&mut second), got("message", "a", "8"));
        second.assert_quiet();
    }
}

#[test]
fn a_connection_that_breaks_again_and_again_loses_nothing_on_the_way() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        detached(&server, "me", "2", &["SUBSCRIBE", "a", "b", "c"]);
        for (round, channel) in ["a", "b", "a", "c"].into_iter().enumerate() {
            for name in ["a", "b", "c"] {
                client.int(&["PUBLISH", name, &round.to_string()]);
            }
            let mut again = named(server.connect(), "me", "2");
            subscribe(&mut again, &["SUBSCRIBE", channel]);
            let seen = if channel == "a" && round > 0 { 1..=round } else { 0..=round };
            for expected in seen {
                assert_eq!(next(&mut again), got("message", channel, &expected.to_string()));
            }
            again.assert_quiet();
            drop(again);
            wait_for("a break", || {
                client
                    .text(&["CLIENT", "LIST"])
                    .lines()
                    .all(|line| !line.contains("name=me") || line.contains("flags=PD"))
                    .then_some(())
            });
        }
        let mut last = named(server.connect(), "me", "2");
        subscribe(&mut last, &["SUBSCRIBE", "a", "b", "c"]);
        // In the order in which they were published, each by the connection that listened then.
        assert_eq!(next(&mut last), got("message", "b", "2"));
        assert_eq!(next(&mut last), got("message", "b", "3"));
        assert_eq!(next(&mut last), got("message", "a", "3"));
        last.assert_quiet();
        await_detached(&mut client, 0);
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_number_before_what_does() {
    for (shards, proto) in [(1, "2"), (2, "3")] {
        let server = server(shards, &["--resume-buffer", "20kb"]);
        let mut client = server.connect();
        detached(&server, "me", proto, &["SUBSCRIBE", "a"]);
        let payload = "x".repeat(100);
        for number in 0..1000 {
            client.int(&["PUBLISH", "a", &format!("{number}:{payload}")]);
        }
        let list = client.text(&["CLIENT", "LIST"]);
        let mut again = named(server.connect(), "me", proto);
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        let (name, text) = next(&mut again);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped: usize =
            text.strip_prefix("dropped ").and_then(|text| text.parse().ok()).expect("a number");
        assert!((850..900).contains(&dropped), "{dropped} {list}");
        for number in dropped..1000 {
            assert_eq!(next(&mut again), got("message", "a", &format!("{number}:{payload}")));
        }
        again.assert_quiet();
    }
}

#[test]
fn who_comes_too_late_is_told_what_it_would_have_got() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        // A window in which not even two messages were published in time shows nothing; then it is a longer one.
        let mut expired = 0;
        let window_s = ["1", "5", "30"].into_iter().find(|window_s| {
            client.request(&["CONFIG", "SET", "resume-window", window_s]);
            let mut first = named(server.connect(), &format!("me-{window_s}"), "2");
            subscribe(&mut first, &["SUBSCRIBE", "a"]);
            drop(first);
            expired += 1;
            wait_for("it to be detached", || {
                let is_detached = field(&mut client, "clients", "detached_clients") == 1;
                (is_detached || field(&mut client, "connections", "closed_expired") == expired).then_some(())
            });
            let reached = client.int(&["PUBLISH", "a", "1"]) + client.int(&["PUBLISH", "a", "2"]);
            wait_for("the end of its window", || {
                (field(&mut client, "connections", "closed_expired") == expired).then_some(())
            });
            await_detached(&mut client, 0);
            reached == 2
        });
        let name = format!("me-{}", window_s.expect("it is waited for"));
        assert_eq!(client.int(&["PUBLISH", "a", "3"]), 0);
        let mut again = named(server.connect(), &name, "2");
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut again), got("message", NOTICES, "expired 2"));
        again.assert_quiet();
        again.request(&["QUIT"]);
        let mut again = named(server.connect(), &name, "2");
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        again.assert_quiet();
    }
}

#[test]
fn who_says_goodbye_has_no_name_or_another_one_or_does_not_want_it_is_closed_as_ever() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let mut quits = named(server.connect(), "quits", "2");
        subscribe(&mut quits, &["SUBSCRIBE", "a"]);
        quits.send(&["QUIT"]);
        quits.rest();
        let mut killed = named(server.connect(), "killed", "3");
        let id = killed.int(&["CLIENT", "ID"]).to_string();
        subscribe(&mut killed, &["SUBSCRIBE", "a"]);
        assert_eq!(client.int(&["CLIENT", "KILL", "ID", &id]), 1);
        killed.rest();
        let mut nameless = server.connect();
        subscribe(&mut nameless, &["SUBSCRIBE", "a"]);
        nameless.leave();
        let mut declines = named(server.connect(), "declines", "2");
        declines.request(&["CLIENT", "RESUME", "OFF"]);
        subscribe(&mut declines, &["SUBSCRIBE", "a"]);
        declines.leave();
        let mut unsubscribed = named(server.connect(), "unsubscribed", "2");
        subscribe(&mut unsubscribed, &["SUBSCRIBE", "a"]);
        subscribe(&mut unsubscribed, &["UNSUBSCRIBE", "a"]);
        unsubscribed.leave();
        assert_eq!(client.int(&["PUBLISH", "a", "1"]), 0);
        assert_eq!(field(&mut client, "clients", "detached_clients"), 0);
        // A name is a user's own.
        client.request(&["ACL", "SETUSER", "other", "on", "nopass", "+@all", "&*"]);
        detached(&server, "me", "2", &["SUBSCRIBE", "a"]);
        client.int(&["PUBLISH", "a", "2"]);
        for (user, name) in [("other", "me"), ("default", "you")] {
            let mut stranger = server.connect();
            stranger.request(&["HELLO", "2", "AUTH", user, "", "SETNAME", name]);
            subscribe(&mut stranger, &["SUBSCRIBE", "a"]);
            stranger.assert_quiet();
        }
    }
}

#[test]
fn two_at_once_with_one_name_go_on_beside_each_other_and_the_last_to_subscribe_has_it() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let mut first = named(server.connect(), "me", "2");
        subscribe(&mut first, &["SUBSCRIBE", "a"]);
        client.int(&["PUBLISH", "a", "1"]);
        let mut second = named(server.connect(), "me", "2");
        subscribe(&mut second, &["SUBSCRIBE", "a"]);
        second.assert_quiet();
        assert_eq!(client.int(&["PUBLISH", "a", "2"]), 2);
        assert_eq!(next(&mut first), got("message", "a", "1"));
        assert_eq!(next(&mut first), got("message", "a", "2"));
        assert_eq!(next(&mut second), got("message", "a", "2"));
        first.leave();
        assert_eq!(client.int(&["PUBLISH", "a", "3"]), 1, "the first has no name any more");
        assert_eq!(next(&mut second), got("message", "a", "3"));
        drop(second);
        await_detached(&mut client, 1);
        client.int(&["PUBLISH", "a", "4"]);
        let mut third = named(server.connect(), "me", "2");
        let mut fourth = named(server.connect(), "me", "2");
        subscribe(&mut third, &["SUBSCRIBE", "a"]);
        subscribe(&mut fourth, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut third), got("message", "a", "4"));
        fourth.assert_quiet();
    }
}

#[test]
fn a_connection_whose_end_nobody_has_told_the_server_is_given_up_when_its_client_is_back() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let line = Line::to(server.address().port());
        let mut first = named(Client::to(line.port), "me", "2");
        subscribe(&mut first, &["SUBSCRIBE", "a"]);
        client.int(&["PUBLISH", "a", "1"]);
        assert_eq!(next(&mut first), got("message", "a", "1"));
        line.cut(End::Silence(PATIENCE));
        let mut sent = || {
            let list = client.text(&["CLIENT", "LIST"]);
            let line = list.lines().find(|line| line.contains(" name=me ")).expect("it is there");
            let bytes = line.split("tot-net-out=").nth(1).and_then(|rest| rest.split(' ').next());
            bytes.and_then(|bytes| bytes.parse::<u64>().ok()).expect("a number")
        };
        let before = sent();
        server.connect().int(&["PUBLISH", "a", "2"]);
        // Before it is sent nothing tells the line from one that is silent.
        wait_for("it to be sent", || (sent() > before).then_some(()));
        let mut second = named(server.connect(), "me", "2");
        let began = Instant::now();
        subscribe(&mut second, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut second), got("message", "a", "2"));
        assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
        client.int(&["PUBLISH", "a", "3"]);
        assert_eq!(next(&mut second), got("message", "a", "3"));
        second.assert_quiet();
        wait_for("the others to be gone", || {
            (field(&mut client, "clients", "connected_clients") == 2).then_some(())
        });
    }
}

#[test]
fn of_several_that_wait_for_a_silent_one_who_has_left_meanwhile_takes_nothing_from_who_has_not() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let line = Line::to(server.address().port());
        let mut first = named(Client::to(line.port), "me", "2");
        subscribe(&mut first, &["SUBSCRIBE", "a"]);
        line.cut(End::Silence(PATIENCE));
        (1..=5).for_each(|number| _ = client.int(&["PUBLISH", "a", &number.to_string()]));
        for _ in 0..2 {
            let mut leaves = named(server.connect(), "me", "2");
            leaves.send(&["SUBSCRIBE", "a"]);
        }
        let mut stays = named(server.connect(), "me", "2");
        subscribe(&mut stays, &["SUBSCRIBE", "a"]);
        (6..=9).for_each(|number| _ = client.int(&["PUBLISH", "a", &number.to_string()]));
        (1..=9).for_each(|number| assert_eq!(next(&mut stays), got("message", "a", &number.to_string())));
        drop(stays);
        await_detached(&mut client, 1);
        client.int(&["PUBLISH", "a", "10"]);
        let mut last = named(server.connect(), "me", "2");
        subscribe(&mut last, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut last), got("message", "a", "10"));
        last.assert_quiet();
    }
}

#[test]
fn who_breaks_before_it_has_read_how_much_is_lost_is_told_when_it_is_back() {
    for shards in SHARDS {
        let server = server(shards, &["--resume-buffer", "20kb"]);
        let mut client = server.connect();
        detached(&server, "me", "2", &["SUBSCRIBE", "a"]);
        let payload = "x".repeat(100);
        (0..1000).for_each(|_| _ = client.int(&["PUBLISH", "a", &payload]));
        for round in 1..=2 {
            let mut deaf = TcpStream::connect(server.address()).expect("it listens");
            SockRef::from(&deaf).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).expect("a filter");
            let requests = [["HELLO", "2", "SETNAME", "me"].as_slice(), &["SUBSCRIBE", "a"]];
            let bytes: Vec<u8> = requests.iter().flat_map(|request| request_bytes(request)).collect();
            deaf.write_all(&bytes).expect("it is connected");
            wait_for("it to be resumed", || {
                (field(&mut client, "clients", "resumed_clients") == round).then_some(())
            });
            drop(deaf);
            await_detached(&mut client, 1);
        }
        let mut again = named(server.connect(), "me", "2");
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        let (name, text) = next(&mut again);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped: usize =
            text.strip_prefix("dropped ").and_then(|text| text.parse().ok()).expect("a number");
        (dropped..1000).for_each(|_| assert_eq!(next(&mut again), got("message", "a", &payload)));
        again.assert_quiet();
    }
}

#[test]
fn rights_that_are_lost_meanwhile_are_lost() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        for (lost, back) in [
            ("resetchannels", "allchannels"),
            ("-subscribe", "+subscribe"),
            ("-client|resume", "+client|resume"),
        ] {
            client.request(&["ACL", "SETUSER", "bob", "reset", "on", "nopass", "allchannels", "+@all"]);
            let connect = || {
                let mut bob = server.connect();
                bob.request(&["HELLO", "2", "AUTH", "bob", "", "SETNAME", "me"]);
                bob
            };
            let mut bob = connect();
            subscribe(&mut bob, &["SUBSCRIBE", "a"]);
            drop(bob);
            await_detached(&mut client, 1);
            client.int(&["PUBLISH", "a", "1"]);
            client.request(&["ACL", "SETUSER", "bob", lost]);
            assert_eq!(client.int(&["PUBLISH", "a", "2"]), 0, "{lost}");
            assert_eq!(field(&mut client, "clients", "detached_clients"), 0);
            client.request(&["ACL", "SETUSER", "bob", back]);
            let mut bob = connect();
            subscribe(&mut bob, &["SUBSCRIBE", "a"]);
            bob.assert_quiet();
            bob.request(&["QUIT"]);
        }
        // Without the right, nobody waits from the start.
        client.request(&["ACL", "SETUSER", "bob", "-client|resume"]);
        let mut bob = server.connect();
        bob.request(&["HELLO", "2", "AUTH", "bob", "", "SETNAME", "me"]);
        subscribe(&mut bob, &["SUBSCRIBE", "a"]);
        bob.leave();
        assert_eq!(client.int(&["PUBLISH", "a", "3"]), 0);
    }
}

#[test]
fn detached_ones_can_be_killed_and_are_closed_when_nobody_is_to_be_waited_for_and_at_the_end() {
    for shards in SHARDS {
        let mut server = server(shards, &["--maxclients", "20"]);
        let mut client = server.connect();
        detached(&server, "me", "2", &["SUBSCRIBE", "a"]);
        client.int(&["PUBLISH", "a", "1"]);
        assert_eq!(client.int(&["CLIENT", "KILL", "FLAGS", "D"]), 1);
        assert_eq!(field(&mut client, "clients", "detached_clients"), 0);
        let mut again = named(server.connect(), "me", "2");
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut again), got("message", NOTICES, "expired 1"));
        again.request(&["QUIT"]);
        // They take nobody's place, and there are no more of them than of others.
        for number in 0..20 {
            detached(&server, &format!("client-{number}"), "2", &["SUBSCRIBE", "a"]);
        }
        let mut one_more = named(server.connect(), "one-more", "2");
        subscribe(&mut one_more, &["SUBSCRIBE", "a"]);
        one_more.leave();
        await_detached(&mut client, 20);
        let await_alone = |client: &mut Client| {
            wait_for("places", || (field(client, "clients", "connected_clients") == 1).then_some(()));
        };
        await_alone(&mut client);
        let others: Vec<Client> = (0..19).map(|_| named(server.connect(), "other", "2")).collect();
        drop(others);
        await_alone(&mut client);
        client.request(&["CONFIG", "SET", "resume-window", "0"]);
        await_detached(&mut client, 0);
        assert_eq!(client.int(&["PUBLISH", "a", "2"]), 0);
        // Who listens already when it is turned on can be resumed, too.
        let mut early = named(server.connect(), "early", "2");
        subscribe(&mut early, &["SUBSCRIBE", "a"]);
        client.request(&["CONFIG", "SET", "resume-window", "60"]);
        // Its shard has taken that over when it answers.
        early.assert_quiet();
        drop(early);
        await_detached(&mut client, 1);
        client.int(&["PUBLISH", "a", "3"]);
        let mut early = named(server.connect(), "early", "2");
        subscribe(&mut early, &["SUBSCRIBE", "a"]);
        assert_eq!(next(&mut early), got("message", "a", "3"));
        drop(early);
        await_detached(&mut client, 1);
        client.int(&["PUBLISH", "a", "4"]);
        let began = Instant::now();
        server.restart();
        assert!(began.elapsed() < PATIENCE, "nobody waits for what nobody reads");
    }
}

#[test]
fn a_slow_subscriber_that_is_closed_at_its_limit_comes_back_and_is_told_what_it_has_missed() {
    for shards in SHARDS {
        let limits = ["--client-output-buffer-limit", "pubsub", "200kb", "0", "0", "--resume-buffer", "50kb"];
        let server = server(shards, &limits);
        let mut client = server.connect();
        let mut slow = named(server.connect(), "slow", "2");
        subscribe(&mut slow, &["SUBSCRIBE", "a"]);
        let payload = "x".repeat(10_000);
        let mut sent = 0;
        wait_for("the limit", || {
            for _ in 0..100 {
                client.int(&["PUBLISH", "a", &format!("{sent}:{payload}")]);
                sent += 1;
            }
            (field(&mut client, "clients", "detached_clients") == 1).then_some(())
        });
        let mut numbers = Vec::new();
        while let Frame::Bytes(bytes) = slow.frame(PATIENCE) {
            let (_, text) = message(&value_of(&bytes)).expect("a message");
            numbers
                .push(text.split(':').next().and_then(|text| text.parse::<usize>().ok()).expect("a number"));
        }
        let mut slow = named(server.connect(), "slow", "2");
        subscribe(&mut slow, &["SUBSCRIBE", "a"]);
        let (name, text) = next(&mut slow);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped: usize =
            text.strip_prefix("dropped ").and_then(|text| text.parse().ok()).expect("a number");
        client.int(&["PUBLISH", "a", "end:"]);
        let read = numbers.len();
        assert!(numbers.iter().copied().eq(0..read));
        // What the kernel had taken and the client had not read counts as delivered, if it was acknowledged.
        let (mut count, mut last) = (0, String::new());
        while last != "end:" {
            last = next(&mut slow).1;
            count += 1;
        }
        // What it had not acknowledged yet when it was closed counts as missed, though it was read after that.
        let missed = dropped + count - 1;
        assert!(read + missed >= sent && missed <= sent, "{sent} sent, {read} read, {dropped} dropped");
    }
}

#[test]
fn a_thousand_detached_ones_on_a_channel_hold_one_copy() {
    // With nothing else to send, and where most of what is sent is for others.
    for other_bytes in [0, 3000] {
        hold_one_copy(other_bytes);
    }
}

fn hold_one_copy(other_bytes: usize) {
    const CLIENTS: usize = 1000;
    let server = server(1, &["--resume-buffer", "4mb", "--save", "", "--appendonly", "no"]);
    let mut client = server.connect();
    for number in 0..CLIENTS {
        let mut one = named(server.connect(), &format!("client-{number}"), "2");
        subscribe(&mut one, &["SUBSCRIBE", "a"]);
    }
    await_detached(&mut client, CLIENTS as u64);
    let before = field(&mut client, "memory", "used_memory");
    let payload = "x".repeat(1000);
    let mut other = server.connect();
    subscribe(&mut other, &["SUBSCRIBE", "b"]);
    for _ in 0..2000 {
        assert_eq!(client.int(&["PUBLISH", "a", &payload]), CLIENTS as i64);
        if other_bytes > 0 {
            client.int(&["PUBLISH", "b", &"y".repeat(other_bytes)]);
            next(&mut other);
        }
    }
    // A list of clients may be a moment old.
    let queued = wait_for("1.9 GB that they wait for", || {
        let list = client.text(&["CLIENT", "LIST"]);
        let detached = list.lines().filter(|line| line.contains("flags=PD"));
        let omem = |line: &str| line.split(" omem=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        Some(detached.filter_map(omem).sum::<u64>()).filter(|&queued| queued > 1_900_000_000)
    });
    let grown = field(&mut client, "memory", "used_memory").saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for 2 MB of messages beside {other_bytes}");
    println!("{CLIENTS} detached clients wait for {queued} bytes and hold {grown}");
    for number in [0, CLIENTS - 1] {
        let mut again = named(server.connect(), &format!("client-{number}"), "2");
        subscribe(&mut again, &["SUBSCRIBE", "a"]);
        for _ in 0..2000 {
            next(&mut again);
        }
        again.assert_quiet();
    }
}

/// The numbers of messages that arrive, until the connection ends or the last has come.
fn numbers(client: &mut Client, last: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Frame::Bytes(bytes) = client.frame(PATIENCE) {
        if let Some((_, payload)) = message(&value_of(&bytes)) {
            numbers.push(payload.parse().expect("a number"));
            if numbers.last() == Some(&last) {
                break;
            }
        }
    }
    numbers
}

/// What a transaction publishes to its own client follows its reply: also to one that is detached before the reply is there.
#[test]
fn who_breaks_amid_its_own_long_transaction_gets_its_messages_when_it_is_back() {
    const MESSAGES: usize = 5_000;
    for (shards, end) in SHARDS.into_iter().zip([End::Reset, End::Closed]) {
        let server = server(shards, &["--resume-buffer", "16mb"]);
        let line = Line::to(server.address().port());
        let mut first = named(Client::to(line.port), "me", "3");
        subscribe(&mut first, &["SUBSCRIBE", "a"]);
        first.request(&["MULTI"]);
        for number in 1..=MESSAGES {
            // Each is some work, so that it takes slices.
            first.send(&["SET", &format!("k{number}"), "v"]);
            first.send(&["PUBLISH", "a", &number.to_string()]);
        }
        (0..2 * MESSAGES).for_each(|_| drop(first.value()));
        let mut other = server.connect();
        first.send(&["EXEC"]);
        // A line that is cut before it has come would lose it.
        wait_for("EXEC", || other.text(&["CLIENT", "LIST"]).contains("cmd=exec").then_some(()));
        line.cut(end);
        let before = numbers(&mut first, MESSAGES);
        let mut second = named(server.connect(), "me", "3");
        subscribe(&mut second, &["SUBSCRIBE", "a"]);
        wait_for("its end", || (other.request(&["GET", "k1"]) == Value::Bulk(b"v".to_vec())).then_some(()));
        other.int(&["PUBLISH", "a", &(MESSAGES + 1).to_string()]);
        let after = numbers(&mut second, MESSAGES + 1);
        let all: Vec<usize> = before.iter().chain(&after).copied().collect();
        assert!(all.iter().copied().eq(1..=MESSAGES + 1), "{} before the end: {all:?}", before.len());
    }
}

/// Its transaction comes to its end as a whole, and what did not fit is counted, whenever the limit was passed.
#[test]
fn who_passes_its_output_limit_amid_its_own_long_transaction_is_told_how_much_it_has_missed() {
    const MESSAGES: usize = 2_000;
    for shards in SHARDS {
        let limits = ["--client-output-buffer-limit", "pubsub", "200kb", "0", "0", "--resume-buffer", "50kb"];
        let server = server(shards, &limits);
        let mut slow = named(server.connect(), "slow", "3");
        subscribe(&mut slow, &["SUBSCRIBE", "a"]);
        slow.request(&["MULTI"]);
        let padding = "x".repeat(1_000);
        for number in 0..MESSAGES {
            // Each is some work, so that it takes slices.
            slow.send(&["SET", &format!("k{number}"), "v"]);
            slow.send(&["PUBLISH", "a", &format!("{number}:{padding}")]);
        }
        (0..2 * MESSAGES).for_each(|_| drop(slow.value()));
        slow.send(&["EXEC"]);
        let mut client = server.connect();
        wait_for("the limit", || (field(&mut client, "clients", "detached_clients") == 1).then_some(()));
        assert_eq!(client.int(&["EXISTS", "k0", &format!("k{}", MESSAGES - 1)]), 2, "all of it has happened");
        let number = |text: &str| text.split(':').next().and_then(|text| text.parse::<usize>().ok());
        let mut read = 0;
        while let Frame::Bytes(bytes) = slow.frame(PATIENCE) {
            // Or its reply.
            let Some((_, text)) = message(&value_of(&bytes)) else { continue };
            assert_eq!(number(&text), Some(read));
            read += 1;
        }
        let mut slow = named(server.connect(), "slow", "3");
        subscribe(&mut slow, &["SUBSCRIBE", "a"]);
        client.int(&["PUBLISH", "a", "end:"]);
        let (name, text) = next(&mut slow);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped = text.strip_prefix("dropped ").and_then(|text| text.parse::<usize>().ok());
        let first = MESSAGES - std::iter::from_fn(|| number(&next(&mut slow).1)).count();
        let dropped = dropped.expect("a number");
        // What was read and had not been acknowledged when the limit was passed counts as missed.
        assert!(
            first >= dropped && first <= read + dropped,
            "{read} read, {dropped} dropped, then from {first} on"
        );
    }
}

/// A connection that takes over from a detached one of another shard is between two shards for a moment, in which it is killed
/// all the same: once CLIENT KILL has answered, it is gone, and the name is free.
#[test]
fn who_is_killed_while_it_moves_to_another_shard_is_gone() {
    let server = server(3, &[]);
    let mut client = server.connect();
    let mut killed = 0;
    for round in 0..60 {
        let name = format!("me-{round}");
        detached(&server, &name, "2", &["SUBSCRIBE", "a"]);
        let mut back = named(server.connect(), &name, "2");
        let id = back.int(&["CLIENT", "ID"]).to_string();
        back.send(&["SUBSCRIBE", "a"]);
        if round % 3 == 0 {
            client.request(&["PING"]);
        }
        let count = client.int(&["CLIENT", "KILL", "ID", &id]);
        assert_eq!(count, 1, "it is known at any moment");
        killed += count;
        back.rest();
        // With it, or before it came, its name has gone: nothing is left but what waits for the name.
        assert!(!client.text(&["CLIENT", "LIST"]).contains(&format!("id={id} ")), "round {round}");
        client.request(&["CLIENT", "KILL", "FLAGS", "D"]);
        await_detached(&mut client, 0);
    }
    assert_eq!(killed, 60);
    assert_eq!(client.int(&["PUBLISH", "a", "1"]), 0);
}
