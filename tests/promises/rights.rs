//! Rights end when they end: whoever waits, listens or is shown something is checked again when its user's rules change
//! and when it becomes another user; on its own shard and on others.

use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{PATIENCE, Server, wait_for};

/// How many connections of a test do the same, so that some are on each shard.
const EACH: usize = 4;

/// How a right ends: what the administrator does to alice, whose rules were everything.
const REVOCATIONS: [&str; 4] = [
    "ACL SETUSER alice resetkeys resetchannels",
    "ACL SETUSER alice -@all",
    "ACL SETUSER alice reset on nopass",
    "ACL SETUSER alice resetkeys resetchannels ~other:* &other:*",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// A server with the users alice, who may do everything, and bob, who may do little.
fn server(shards: usize) -> (Server, Client) {
    let server = Server::sterna(shards, &["--appendonly", "yes"]);
    let mut admin = server.connect();
    admin.request(&words("ACL SETUSER alice on nopass ~* &* +@all"));
    admin.request(&words("ACL SETUSER bob on nopass ~bob:* &bob:* +@all -monitor -client|tracking"));
    admin.request(&words("XGROUP CREATE s g $ MKSTREAM"));
    (server, admin)
}

/// Connections of alice that speak this version of the protocol.
fn alices(server: &Server, proto: &str) -> Vec<Client> {
    let of_alice = |_| {
        let mut client = server.connect();
        client.request(&["HELLO", proto, "AUTH", "alice", "x"]);
        client
    };
    (0..EACH).map(of_alice).collect()
}

/// How many are hundreds here.
const WAITING: usize = 400;

/// So many connections of alice that wait in a request.
fn hundreds(server: &Server, admin: &mut Client, request: &str) -> Vec<Client> {
    let mut waiters: Vec<Client> = (0..WAITING).map(|_| server.connect()).collect();
    for waiter in &mut waiters {
        waiter.request(&["AUTH", "alice", "any"]);
        waiter.send(&words(request));
    }
    await_blocked(admin, WAITING);
    waiters
}

fn await_blocked(admin: &mut Client, count: usize) {
    wait_for("clients to block", || {
        admin.text(&["INFO", "clients"]).contains(&format!("blocked_clients:{count}\r\n")).then_some(())
    });
}

/// The error that comes, for a client that was answered nothing else.
fn is_noperm(client: &mut Client) -> bool {
    matches!(client.value(), Value::Error(text) if text.starts_with(b"NOPERM"))
}

/// Whether the server closes the connection, whatever else it sends before.
fn is_closed(client: &mut Client) -> bool {
    loop {
        match client.frame(PATIENCE) {
            Frame::Bytes(_) => {}
            Frame::Closed => return true,
            Frame::Nothing => return false,
        }
    }
}

/// Runs `line` alone, or as the middle of a transaction.
fn run(admin: &mut Client, line: &str, in_exec: bool) {
    if !in_exec {
        admin.request(&words(line));
        return;
    }
    // What is written behind it in the same transaction is for nobody who has lost the right to it.
    let lines = ["MULTI", "SET k 1", line, "XADD s * f v", "EXEC"];
    lines.iter().for_each(|line| admin.send(&words(line)));
    (0..lines.len()).for_each(|_| assert!(!matches!(admin.value(), Value::Error(_)), "{line}"));
}

#[test]
fn a_reader_that_waits_gets_noperm_when_its_right_ends_and_never_the_entry() {
    for (shards, in_exec) in [(1, false), (2, false), (1, true), (2, true)] {
        for revocation in REVOCATIONS {
            for wait in ["XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "XREAD BLOCK 0 STREAMS s $"] {
                let (server, mut admin) = server(shards);
                let mut readers = alices(&server, "3");
                readers.iter_mut().for_each(|reader| reader.send(&words(wait)));
                await_blocked(&mut admin, EACH);
                run(&mut admin, revocation, in_exec);
                readers.iter_mut().for_each(|reader| {
                    assert!(is_noperm(reader), "{shards} shards, {in_exec}, {revocation}, {wait}");
                });
                await_blocked(&mut admin, 0);
                admin.request(&words("XADD s * f v"));
                readers.iter_mut().for_each(|reader| {
                    // Whatever it may still do, no entry comes.
                    reader.send(&["ECHO", "x"]);
                    assert!(matches!(reader.value(), Value::Error(_) | Value::Bulk(_)));
                });
            }
        }
    }
}

#[test]
fn who_loses_the_right_to_wait_or_leaves_gets_what_was_taken_for_it_or_it_is_there_still() {
    const ROUNDS: usize = 200;
    let (server, mut admin) = server(4);
    let mut writers: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for round in 0..ROUNDS {
        let element = round.to_string();
        let mut client = server.connect();
        client.request(&words("AUTH alice x"));
        client.send(&words("BLPOP list 0"));
        await_blocked(&mut admin, 1);
        let writer = &mut writers[round % 8];
        let got = thread::scope(|scope| {
            scope.spawn(|| writer.request(&["RPUSH", "list", &element]));
            if round % 2 == 0 {
                admin.request(&words("ACL SETUSER alice -blpop"));
                client.frame(PATIENCE)
            } else {
                client.finish();
                Frame::Bytes(client.rest())
            }
        });
        let is_delivered = matches!(&got, Frame::Bytes(bytes) if bytes.starts_with(b"*2"));
        if !is_delivered {
            wait_for("the element to be there", || {
                let list = admin.request(&words("LRANGE list 0 -1"));
                (list == Value::Array(vec![Value::Bulk(element.clone().into_bytes())])).then_some(())
            });
            admin.request(&words("DEL list"));
        }
        admin.request(&words("ACL SETUSER alice +blpop"));
    }
    assert_eq!(admin.int(&words("EXISTS list")), 0, "nothing comes twice");
}

#[test]
fn a_reader_whose_user_loses_another_right_waits_on_and_is_served() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut readers = alices(&server, "2");
        readers.iter_mut().for_each(|reader| reader.send(&words("XREAD BLOCK 0 STREAMS s $")));
        await_blocked(&mut admin, EACH);
        admin.request(&words("ACL SETUSER alice resetkeys ~s -set resetchannels"));
        admin.request(&words("XADD s * f v"));
        for reader in &mut readers {
            assert!(matches!(reader.value(), Value::Array(_)));
        }
    }
}

#[test]
fn waitaof_ends_with_noperm_when_its_right_ends() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut waiters = alices(&server, "2");
        waiters.iter_mut().for_each(|waiter| waiter.send(&words("WAITAOF 0 1 0")));
        // A command that has not been read yet would be refused as well: all of them wait first.
        wait_for("clients to wait", || {
            let list = admin.text(&["CLIENT", "LIST"]);
            (list.lines().filter(|line| line.contains("cmd=waitaof")).count() == EACH).then_some(())
        });
        admin.request(&words("ACL SETUSER alice -waitaof"));
        waiters.iter_mut().for_each(|waiter| assert!(is_noperm(waiter)));
        waiters.iter_mut().for_each(Client::assert_quiet);
    }
}

/// What makes a connection of alice listen.
const LISTENERS: [&str; 5] =
    ["SUBSCRIBE news", "PSUBSCRIBE news.*", "SSUBSCRIBE news", "MONITOR", "CLIENT TRACKING ON BCAST"];

/// differs=listeners-rights
#[test]
fn a_listener_is_closed_when_its_user_loses_the_right() {
    for (shards, in_exec) in [(1, false), (2, false), (2, true)] {
        for listen in LISTENERS {
            for revocation in
                ["ACL SETUSER alice reset on nopass", "ACL SETUSER alice -@all", "ACL DELUSER alice"]
            {
                let (server, mut admin) = server(shards);
                let mut listeners = alices(&server, "3");
                for listener in &mut listeners {
                    listener.request(&words(listen));
                }
                run(&mut admin, revocation, in_exec);
                for listener in &mut listeners {
                    assert!(is_closed(listener), "{shards} shards, {in_exec}, {listen}, {revocation}");
                }
            }
        }
    }
}

#[test]
fn a_listener_whose_user_loses_another_right_stays() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        for listen in LISTENERS {
            let mut listeners = alices(&server, "3");
            listeners.iter_mut().for_each(|listener| {
                listener.request(&words(listen));
            });
            admin.request(&words("ACL SETUSER alice -set resetchannels &news &news.*"));
            for mut listener in listeners {
                listener.send(&["ECHO", "there"]);
                wait_for("the answer", || match listener.frame(PATIENCE) {
                    Frame::Bytes(bytes) => bytes.ends_with(b"$5\r\nthere\r\n").then_some(()),
                    other => panic!("{listen}: {other:?}"),
                });
            }
            admin.request(&words("ACL SETUSER alice reset on nopass ~* &* +@all"));
        }
    }
}

#[test]
fn who_becomes_another_user_keeps_only_what_that_user_may_have() {
    for shards in [1, 2] {
        for login in ["AUTH bob x", "HELLO 3 AUTH bob x"] {
            for listen in LISTENERS {
                let (server, _admin) = server(shards);
                for mut listener in alices(&server, "3") {
                    listener.request(&words(listen));
                    listener.send(&words(login));
                    assert!(is_closed(&mut listener), "{listen}, {login}");
                }
            }
        }
        let (server, mut admin) = server(shards);
        let mut listeners = alices(&server, "3");
        for listener in &mut listeners {
            listener.request(&words("SUBSCRIBE bob:news"));
            listener.request(&words("AUTH bob x"));
        }
        // Alice's end is nothing to them any more, bob's is.
        admin.request(&words("ACL DELUSER alice"));
        assert_eq!(admin.int(&words("PUBLISH bob:news x")), EACH as i64);
        for listener in &mut listeners {
            assert!(matches!(listener.value(), Value::Push(_)));
        }
        admin.request(&words("ACL DELUSER bob"));
        assert!(listeners.iter_mut().all(is_closed));
    }
}

#[test]
fn reset_leaves_nothing_of_the_user_before() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        for listen in LISTENERS {
            for mut listener in alices(&server, "3") {
                listener.request(&words(listen));
                listener.request(&["RESET"]);
                admin.request(&words("PUBLISH news x"));
                admin.request(&words("PUBLISH news.x x"));
                admin.request(&words("SPUBLISH news x"));
                admin.request(&words("SET k v"));
                listener.assert_quiet();
            }
        }
        admin.request(&words("ACL DELUSER alice"));
    }
}

/// differs=told-keys-rights
#[test]
fn who_tracks_hears_no_name_of_a_key_that_it_may_not_read() {
    for shards in [1, 2] {
        for (mode, reads) in [("CLIENT TRACKING ON", true), ("CLIENT TRACKING ON BCAST", false)] {
            let (server, mut admin) = server(shards);
            let mut readers = alices(&server, "3");
            for reader in &mut readers {
                reader.request(&words(mode));
                if reads {
                    reader.request(&words("MGET secret open"));
                }
            }
            admin.request(&words("ACL SETUSER alice resetkeys ~open"));
            admin.request(&words("MSET secret 1 open 1"));
            for reader in &mut readers {
                // What it has may be wrong from now on: it is to forget everything.
                assert_eq!(
                    reader.frame(PATIENCE),
                    Frame::Bytes(b">2\r\n$10\r\ninvalidate\r\n_\r\n".to_vec())
                );
                let about_open = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\nopen\r\n".to_vec();
                assert_eq!(reader.frame(PATIENCE), Frame::Bytes(about_open));
                reader.assert_quiet();
            }
        }
    }
}

#[test]
fn a_watched_key_that_may_not_be_watched_any_more_fails_the_transaction() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut clients = alices(&server, "2");
        for client in &mut clients {
            client.request(&words("WATCH secret"));
            client.request(&["MULTI"]);
            client.request(&["PING"]);
        }
        admin.request(&words("ACL SETUSER alice resetkeys ~open"));
        for client in &mut clients {
            assert_eq!(client.request(&["EXEC"]), Value::Null);
        }
    }
}

#[test]
fn queued_commands_are_checked_by_exec_with_the_rules_of_that_moment() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut clients = alices(&server, "2");
        for client in &mut clients {
            client.request(&["MULTI"]);
            client.request(&words("GET secret"));
            client.request(&words("GET open"));
        }
        admin.request(&words("ACL SETUSER alice resetkeys ~open"));
        for client in &mut clients {
            let Value::Array(replies) = client.request(&["EXEC"]) else { panic!("no array") };
            assert!(matches!(&replies[0], Value::Error(text) if text.starts_with(b"NOPERM")), "{replies:?}");
            assert_eq!(replies[1], Value::Null);
        }
    }
}

#[test]
fn privileges_of_a_connection_end_with_the_right_to_them() {
    let (server, mut admin) = server(2);
    for mut client in alices(&server, "2") {
        client.request(&words("CLIENT NO-EVICT ON"));
        client.request(&words("CLIENT NO-TOUCH ON"));
        assert!(client.text(&["CLIENT", "INFO"]).contains(" flags=eT "), "both are on");
        admin.request(&words("ACL SETUSER alice -client|no-evict -client|no-touch"));
        assert!(client.text(&["CLIENT", "INFO"]).contains(" flags=N "), "both are off");
        admin.request(&words("ACL SETUSER alice +@all"));
    }
}

#[test]
fn a_user_of_hundreds_of_connections_is_gone_with_all_of_them() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut admin = server.connect();
        admin.request(&["ACL", "SETUSER", "many", "on", "nopass", "~*", "&*", "+@all"]);
        let mut clients: Vec<Client> = (0..300).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.request(&["AUTH", "many", "any"]);
            match number % 3 {
                0 => drop(client.request(&["SUBSCRIBE", "channel"])),
                1 => client.send(&["BLPOP", "key", "0"]),
                _ => {}
            }
        }
        admin.request(&["ACL", "DELUSER", "many"]);
        for client in &mut clients {
            client.rest();
        }
        assert_eq!(admin.int(&["PUBLISH", "channel", "message"]), 0, "{shards} shards");
        assert_eq!(admin.int(&["RPUSH", "key", "element"]), 1, "{shards} shards");
        let list = admin.text(&["CLIENT", "LIST"]);
        assert!(!list.contains("user=many"), "{shards} shards");
    }
}

#[test]
fn while_hundreds_lose_the_right_to_wait_no_element_is_lost_and_none_comes_afterwards() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut waiters = hundreds(&server, &mut admin, "BLPOP list 0");
        // Some are served before the change, some while it is followed, and the rest is not.
        let mut writer = server.connect();
        (0..WAITING / 2).for_each(|number| writer.send(&["RPUSH", "list", &number.to_string()]));
        admin.request(&words("ACL SETUSER alice -blpop"));
        let is_late = |element: &[u8]| element.starts_with(b"late");
        admin.request(&["RPUSH", "list", "late-1", "late-2"]);
        (0..WAITING / 2).for_each(|_| drop(writer.value()));
        let mut elements: Vec<Vec<u8>> = Vec::new();
        for waiter in &mut waiters {
            match waiter.value() {
                Value::Array(pair) => match &pair[..] {
                    [_, Value::Bulk(element)] if !is_late(element) => elements.push(element.clone()),
                    other => panic!("{other:?}"),
                },
                Value::Error(text) => assert!(text.starts_with(b"NOPERM")),
                other => panic!("{other:?}"),
            }
        }
        // What was on its way to somebody who had lost the right by then is put back.
        wait_for("every element to be somewhere", || {
            let length = usize::try_from(admin.int(&["LLEN", "list"])).expect("a length");
            (elements.len() + length == WAITING / 2 + 2).then_some(())
        });
        let Value::Array(left) = admin.request(&["LRANGE", "list", "0", "-1"]) else { panic!("no list") };
        elements.extend(left.into_iter().filter_map(|element| match element {
            Value::Bulk(element) if !is_late(&element) => Some(element),
            _ => None,
        }));
        elements.sort_unstable();
        elements.dedup();
        assert_eq!(elements.len(), WAITING / 2, "{shards} shards");
    }
}

#[test]
fn of_hundreds_who_wait_none_gets_what_a_transaction_writes_behind_the_end_of_their_right() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut waiters = hundreds(&server, &mut admin, "XREAD BLOCK 0 STREAMS s $");
        run(&mut admin, "ACL SETUSER alice resetkeys", true);
        waiters.iter_mut().for_each(|waiter| assert!(is_noperm(waiter), "{shards} shards"));
    }
}

/// Each waits for something that only one can have, and loses the right to a key of its request: to what it takes from, or to what it
/// moves that to.
const TAKERS: [(&str, &str, &str); 9] = [
    ("BLPOP l 0", "RPUSH l x", "LLEN l"),
    ("BRPOP other l 0", "RPUSH l x", "LLEN l"),
    ("BLMPOP 0 1 l LEFT", "RPUSH l x", "LLEN l"),
    ("BLMOVE l to LEFT RIGHT 0", "RPUSH l x", "LLEN l"),
    ("BRPOPLPUSH l to 0", "RPUSH l x", "LLEN l"),
    ("BLMOVEM l to LEFT RIGHT 0 COUNT 5 BULK", "RPUSH l x", "LLEN l"),
    ("BLMOVEM l to LEFT RIGHT 0 EXACTLY 1 OBO", "RPUSH l x", "LLEN l"),
    ("BZPOPMIN l 0", "ZADD l 1 x", "ZCARD l"),
    ("BZMPOP 0 1 l MAX", "ZADD l 1 x", "ZCARD l"),
];

#[test]
fn what_a_waiter_without_the_right_to_it_does_not_get_is_there_for_others() {
    for (shards, in_exec) in [(1, false), (2, false), (1, true), (2, true)] {
        let (server, mut admin) = server(shards);
        for (wait, write, count) in TAKERS {
            let moves = wait.contains(" to ");
            for revocation in [
                Some("ACL SETUSER alice resetkeys ~l ~other"),
                Some("ACL SETUSER alice resetkeys ~to %W~l"),
                Some("ACL SETUSER alice -@blocking"),
                Some("ACL DELUSER alice"),
                None,
            ] {
                let keeps = revocation.is_none_or(|line| line.ends_with("other") && !moves);
                admin.request(&words("ACL SETUSER alice on nopass ~* &* +@all"));
                let mut takers = alices(&server, "2");
                takers.iter_mut().for_each(|taker| taker.send(&words(wait)));
                await_blocked(&mut admin, EACH);
                let change = revocation.unwrap_or("ACL SETUSER alice -set");
                let lines = [&["MULTI"], &[change, write][..], &["EXEC"]].concat();
                let lines = if in_exec { &lines[..] } else { &lines[1..3] };
                lines.iter().for_each(|line| admin.send(&words(line)));
                lines.iter().for_each(|line| assert!(!matches!(admin.value(), Value::Error(_)), "{line}"));
                let about = format!("{shards} shards, {in_exec}, {wait}, {change}");
                if keeps {
                    // One of them is served.
                    await_blocked(&mut admin, EACH - 1);
                    assert_eq!(admin.int(&words(count)), 0, "{about}");
                } else {
                    let is_over = if change.contains("DELUSER") { is_closed } else { is_noperm };
                    takers.iter_mut().for_each(|taker| assert!(is_over(taker), "{about}"));
                    // A transaction lets nobody take it. What was taken meanwhile is put back by a client inside the server.
                    wait_for(&about, || {
                        let is_there = admin.int(&words(count)) == 1;
                        assert!(is_there || !in_exec, "{about}");
                        is_there.then_some(())
                    });
                }
                drop(takers);
                await_blocked(&mut admin, 0);
                admin.request(&words("DEL l to"));
            }
        }
    }
}

#[test]
fn an_entry_that_a_transaction_adds_goes_to_no_consumer_whose_right_the_transaction_takes() {
    for shards in [1, 2] {
        let (server, mut admin) = server(shards);
        let mut readers = alices(&server, "2");
        readers.iter_mut().for_each(|reader| reader.send(&words("XREADGROUP GROUP g c BLOCK 0 STREAMS s >")));
        await_blocked(&mut admin, EACH);
        // It is one of alice's own.
        let mut own = server.connect();
        own.request(&words("AUTH alice x"));
        for line in ["MULTI", "ACL SETUSER alice -xreadgroup", "XADD s * f v", "EXEC"] {
            own.request(&words(line));
        }
        readers.iter_mut().for_each(|reader| assert!(is_noperm(reader), "{shards} shards"));
        let pending = admin.request(&words("XPENDING s g"));
        assert_eq!(pending.as_slice().and_then(|figures| figures[0].as_int()), Some(0), "{shards} shards");
    }
}
