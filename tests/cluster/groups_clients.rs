//! What clients hold where several nodes lead groups of keys: what they track, what their users may, what they don't read.

use std::collections::BTreeSet;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Server, wait_for};

use crate::groups::{GROUPS, TAGS, await_spread, leaders, logs, node_of, pipeline, start_spread};
use crate::keys::await_forgotten;
use crate::passing::{await_blocked, key_to_forget, login, shown_push};
use crate::tools::{await_joined, shown};

/// The next reply; what else it is told before goes to `pushes`.
fn reply(client: &mut Client, request: &[&str], pushes: &mut Vec<String>) -> String {
    client.send(request);
    loop {
        match client.value() {
            push @ Value::Push(_) => pushes.push(shown_push(&push)),
            value => return shown(&value),
        }
    }
}

fn keys_named(name: &str) -> [String; GROUPS] {
    TAGS.map(|tag| format!("{tag}{name}"))
}

/// Writes these keys, and reads which of them a client is told of until it has been told of the last: in each group in their order.
fn told_of(writer: &mut Client, client: &mut Client, keys: &[&[String]]) -> BTreeSet<String> {
    for keys in keys {
        keys.iter().for_each(|key| assert_eq!(writer.text(&["SET", key, "v"]), "OK"));
    }
    let last: BTreeSet<String> = keys.last().expect("keys").iter().cloned().collect();
    let mut told = BTreeSet::new();
    while !told.is_superset(&last) {
        let push = key_to_forget(client);
        let key = push.strip_prefix("invalidate [").and_then(|key| key.strip_suffix(']')).expect("keys");
        // A broadcast may tell of several at once.
        told.extend(key.split(' ').map(str::to_owned));
    }
    told
}

fn set_of(keys: &[&[String]]) -> BTreeSet<String> {
    keys.concat().into_iter().collect()
}

#[test]
fn what_a_client_tracks_it_is_told_of_whichever_node_leads_it() {
    let Some((nats, name)) = logs() else { return };
    let (nodes, _) = start_spread(&nats, &name);
    let mut writer = nodes[0].connect();
    for node in &nodes {
        // What it has read; in any order of groups, and again after it was told.
        let mut client = node.connect_resp3();
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON"]), "OK");
        let (read, unread) = (keys_named("read"), keys_named("unread"));
        for _ in 0..3 {
            let mut pushes = Vec::new();
            for key in read.iter().chain(read.iter().rev()) {
                reply(&mut client, &["GET", key], &mut pushes);
            }
            assert_eq!(told_of(&mut writer, &mut client, &[&unread, &read]), set_of(&[&read]));
        }
        // A transaction and a script of each group.
        for tag in TAGS {
            let (one, two) = (format!("{tag}one"), format!("{tag}two"));
            client.send(&["MULTI"]);
            client.send(&["GET", &one]);
            client.send(&["EXEC"]);
            (0..3).for_each(|_| drop(client.value()));
            client.request(&["EVAL", "return redis.call('GET', KEYS[1])", "1", &two]);
            let keys = [one, two];
            assert_eq!(told_of(&mut writer, &mut client, &[&keys]), set_of(&[&keys]));
        }
        // With OFF it is told of nothing, and with OPTIN of what it has asked for.
        read.iter().for_each(|key| drop(client.request(&["GET", key])));
        assert_eq!(client.text(&["CLIENT", "TRACKING", "OFF"]), "OK");
        assert_eq!(client.text(&["CLIENT", "TRACKING", "ON", "OPTIN"]), "OK");
        let asked = keys_named("asked");
        for (key, unread) in asked.iter().zip(&unread) {
            client.request(&["GET", unread]);
            let both: &[&[&str]] = &[&["CLIENT", "CACHING", "YES"], &["GET", key], &["GET", unread]];
            assert_eq!(pipeline(&mut client, both)[0], "OK");
        }
        assert_eq!(told_of(&mut writer, &mut client, &[&unread, &asked]), set_of(&[&asked]));
        // With OPTOUT of what it has not refused.
        client.request(&["CLIENT", "TRACKING", "OFF"]);
        client.request(&["CLIENT", "TRACKING", "ON", "OPTOUT", "NOLOOP"]);
        for (key, refused) in read.iter().zip(&unread) {
            pipeline(&mut client, &[&["CLIENT", "CACHING", "NO"], &["GET", refused], &["GET", key]]);
        }
        let info = client.request(&["CLIENT", "TRACKINGINFO"]);
        for flag in ["optout", "noloop"] {
            let flag = Value::Bulk(flag.as_bytes().to_vec());
            assert!(format!("{info:?}").contains(&format!("{flag:?}")), "{info:?}");
        }
        // Nor of what it has written itself.
        let own = keys_named("own");
        for key in &own {
            client.request(&["GET", key]);
            assert_eq!(client.text(&["SET", key, "mine"]), "OK");
        }
        read.iter().for_each(|key| drop(client.request(&["GET", key])));
        assert_eq!(told_of(&mut writer, &mut client, &[&unread, &read]), set_of(&[&read]));
    }
}

#[test]
fn a_client_that_broadcasts_or_redirects_is_told_of_the_keys_of_every_group() {
    let Some((nats, name)) = logs() else { return };
    let (nodes, _) = start_spread(&nats, &name);
    let mut writer = nodes[1].connect();
    for node in &nodes {
        // Its prefixes, from the moment at which it is answered.
        for round in 0..5 {
            let mut client = node.connect_resp3();
            let (told, other) = (keys_named(&format!("told:{round}")), keys_named("other"));
            let mut request = vec!["CLIENT", "TRACKING", "ON", "BCAST"];
            let prefixes = TAGS.map(|tag| format!("{tag}told"));
            prefixes[..2].iter().for_each(|prefix| request.extend(["PREFIX", prefix]));
            assert_eq!(client.text(&request), "OK");
            assert_eq!(client.text(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &prefixes[2]]), "OK");
            assert_eq!(told_of(&mut writer, &mut client, &[&other, &told]), set_of(&[&told]));
        }
        // A client of RESP2 has another one told.
        let (mut listens, mut reads) = (node.connect(), node.connect());
        let id = listens.int(&["CLIENT", "ID"]).to_string();
        listens.request(&["SUBSCRIBE", "__redis__:invalidate"]);
        assert_eq!(reads.text(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]), "OK");
        assert_eq!(reads.int(&["CLIENT", "GETREDIR"]).to_string(), id);
        let read = keys_named("redirected");
        read.iter().for_each(|key| drop(reads.request(&["GET", key])));
        let mut told = BTreeSet::new();
        read.iter().for_each(|key| assert_eq!(writer.text(&["SET", key, "v"]), "OK"));
        while told.len() < GROUPS {
            let message = shown(&listens.value());
            assert!(message.starts_with("[message __redis__:invalidate "), "{message}");
            told.extend(read.iter().filter(|key| message.contains(&format!("[{key}]"))).cloned());
        }
        // Nothing of it comes to the one that reads.
        assert_eq!(
            pipeline(&mut reads, &[&["PING"], &["GET", &read[0]], &["GET", &read[2]]]),
            ["PONG", "v", "v"]
        );
    }
}

#[test]
fn who_tracks_keys_forgets_them_when_a_group_has_another_leader_and_is_told_of_what_comes_then() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, led) = start_spread(&nats, &name);
    let group = 1;
    let (at, here) = (led[group], (led[group] + 1) % 3);
    let key = format!("{}k", TAGS[group]);
    let (mut reads, mut broadcast) = (nodes[here].connect_resp3(), nodes[here].connect_resp3());
    reads.request(&["CLIENT", "TRACKING", "ON"]);
    reads.request(&["GET", &key]);
    assert_eq!(broadcast.text(&["CLIENT", "TRACKING", "ON", "BCAST"]), "OK");
    // Once it dies, and once it is given its share again.
    nodes[at].kill();
    await_forgotten(&mut reads, None);
    await_forgotten(&mut broadcast, None);
    let others: Vec<&Server> =
        nodes.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, node)| node).collect();
    leaders(&others);
    check_told(others[0], &key, &mut reads, &mut broadcast);
    nodes[at].start_again();
    await_joined(&nodes);
    await_spread(&nodes);
    await_forgotten(&mut reads, None);
    await_forgotten(&mut broadcast, None);
    check_told(&nodes[at], &key, &mut reads, &mut broadcast);
}

/// What is written from now on both are told of, once they know who leads: whatever they may have missed until then they are told to forget.
fn check_told(node: &Server, key: &str, reads: &mut Client, broadcast: &mut Client) {
    let mut writer = node.connect();
    for client in [reads, broadcast] {
        wait_for("it to be told", || {
            reply(client, &["GET", key], &mut Vec::new());
            assert_eq!(writer.text(&["SET", key, "v"]), "OK");
            let push = client.value();
            let Value::Push(words) = &push else { panic!("no push: {push:?}") };
            (words[1] != Value::Null).then_some(())
        });
    }
}

/// Three nodes, each with users of its own: `few` may ask for keys that begin with `mine:` behind a tag.
fn nodes_with_users(nats: &sterna_tests::nats::Nats, name: &str) -> (Vec<Server>, [usize; GROUPS]) {
    let users =
        "user default on nopass sanitize-payload ~* &* +@all\nuser few on nopass ~{?}mine:* &* +@all\n";
    let launch =
        |at| node_of(nats, name, at).file("users.acl", users).args(&["--aclfile", "{folder}/users.acl"]);
    let nodes: Vec<Server> = (0..3).map(|at| launch(at).start()).collect();
    await_joined(&nodes);
    let led = await_spread(&nodes);
    (nodes, led)
}

#[test]
fn what_waits_at_the_leader_of_a_group_ends_when_the_right_to_it_does() {
    let Some((nats, name)) = logs() else { return };
    let (nodes, led) = nodes_with_users(&nats, &name);
    for (group, tag) in TAGS.iter().enumerate() {
        let (leads, passes) = (&nodes[led[group]], &nodes[(led[group] + 1) % 3]);
        let (mut there, mut here) = (leads.connect(), passes.connect());
        let [list, to, zset, stream] = ["list", "to", "z", "s"].map(|name| format!("{tag}mine:{name}"));
        there.request(&["XGROUP", "CREATE", &stream, "g", "$", "MKSTREAM"]);
        let waits: [&[&str]; 5] = [
            &["BLPOP", &list, "0"],
            &["BLMOVE", &list, &to, "LEFT", "LEFT", "0"],
            &["BZPOPMIN", &zset, "0"],
            &["XREAD", "BLOCK", "0", "STREAMS", &stream, "$"],
            &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", &stream, ">"],
        ];
        let taken: [&[&str]; 2] =
            [&["ACL", "SETUSER", "few", "resetkeys", "~other:*"], &["ACL", "SETUSER", "few", "-@all"]];
        for take in taken {
            let mut waiting: Vec<Client> = waits.iter().map(|_| login(passes, "few")).collect();
            waiting.iter_mut().zip(waits).for_each(|(client, wait)| client.send(wait));
            await_blocked(leads, waits.len());
            // The users of the node that leads are not those of others.
            there.request(&["ACL", "SETUSER", "few", "off", "resetkeys", "-@all"]);
            here.request(take);
            for (client, wait) in waiting.iter_mut().zip(waits) {
                let refusal = client.error();
                assert!(refusal.starts_with("NOPERM"), "{wait:?}: {refusal}");
            }
            await_blocked(leads, 0);
            there.request(&["RPUSH", &list, "kept"]);
            assert_eq!(there.int(&["LLEN", &list]), 1, "nobody takes it");
            there.request(&["DEL", &list]);
            assert_eq!(shown(&here.request(&["ACL", "LOAD"])), "OK");
        }
        // Who keeps the right goes on waiting, and a user that is no more waits for nothing.
        let mut few = login(passes, "few");
        few.send(&["BLPOP", &list, "0"]);
        await_blocked(leads, 1);
        here.request(&["ACL", "SETUSER", "few", "~more:*"]);
        there.request(&["RPUSH", &list, "a"]);
        assert_eq!(shown(&few.value()), format!("[{list} a]"));
        few.send(&["BLPOP", &list, "0"]);
        await_blocked(leads, 1);
        here.request(&["ACL", "DELUSER", "few"]);
        assert!(few.rest().is_empty());
        await_blocked(leads, 0);
        here.request(&["ACL", "LOAD"]);
        there.request(&["ACL", "LOAD"]);
    }
}

#[test]
fn what_is_tracked_and_watched_at_several_leaders_follows_the_rights() {
    let Some((nats, name)) = logs() else { return };
    let (nodes, led) = nodes_with_users(&nats, &name);
    let passes = &nodes[led[0]];
    let (mut writer, mut here) = (nodes[led[1]].connect(), passes.connect());
    let (mine, other) = (keys_named("mine:1"), keys_named("other:1"));
    // Its sessions are at two other nodes, and those follow whichever was used last.
    for options in [&["CLIENT", "TRACKING", "ON"][..], &["CLIENT", "TRACKING", "ON", "BCAST"]] {
        let mut client = login(passes, "few");
        assert_eq!(client.text(options), "OK");
        mine.iter().for_each(|key| drop(client.request(&["GET", key])));
        here.request(&["ACL", "SETUSER", "few", "resetkeys", "~{?}other:*"]);
        await_forgotten(&mut client, None);
        if options.len() == 3 {
            for key in &other {
                reply(&mut client, &["GET", key], &mut Vec::new());
            }
        }
        assert_eq!(told_of(&mut writer, &mut client, &[&mine, &other]), set_of(&[&other]));
        here.request(&["ACL", "LOAD"]);
    }
    // Without the right to track, it is closed, and nobody tracks for it.
    let mut client = login(passes, "few");
    assert_eq!(client.text(&["CLIENT", "TRACKING", "ON", "BCAST"]), "OK");
    here.request(&["ACL", "SETUSER", "few", "-client|tracking"]);
    client.rest();
    for node in &nodes {
        wait_for("nobody to track keys", || {
            node.connect().text(&["INFO", "clients"]).contains("tracking_clients:0").then_some(())
        });
    }
    here.request(&["ACL", "LOAD"]);
    // A watched key that it could not read for a time may have been touched.
    for key in &mine {
        let mut client = login(passes, "few");
        client.request(&["WATCH", key]);
        here.request(&["ACL", "SETUSER", "few", "resetkeys"]);
        here.request(&["ACL", "SETUSER", "few", "~{?}mine:*"]);
        let transaction: &[&[&str]] = &[&["MULTI"], &["SET", key, "v"], &["EXEC"]];
        assert_eq!(pipeline(&mut client, transaction)[2], "Null");
        assert_eq!(pipeline(&mut client, transaction)[2], "[OK]");
    }
}

#[test]
fn a_client_that_reads_nothing_stops_its_own_sessions_and_nobody_else() {
    const VALUE: usize = 100_000;
    const ROUNDS: usize = 200;
    let Some((nats, name)) = logs() else { return };
    let (nodes, led) = start_spread(&nats, &name);
    let node = &nodes[led[0]];
    let mut other = node.connect();
    let large = keys_named("large");
    large.iter().for_each(|key| drop(other.request(&["SET", key, &"x".repeat(VALUE)])));
    let mut slow = node.connect();
    // Far more than room, window and sockets hold; nothing is read meanwhile.
    let requests: Vec<u8> =
        (0..ROUNDS).flat_map(|_| large.iter().flat_map(|key| request_bytes(&["GET", key]))).collect();
    slow.send_bytes(&requests);
    let counts = keys_named("n");
    for n in 0..100 {
        counts.iter().for_each(|key| assert_eq!(other.int(&["INCR", key]), n + 1));
    }
    for _ in 0..ROUNDS * GROUPS {
        assert_eq!(slow.value().as_bytes().map(<[u8]>::len), Some(VALUE));
    }
}

#[test]
fn a_client_that_reads_nothing_of_what_it_is_told_by_several_leaders_is_closed_and_nobody_waits_for_it() {
    let Some((nats, name)) = logs() else { return };
    let (nodes, led) = start_spread(&nats, &name);
    let node = &nodes[led[0]];
    let mut admin = node.connect();
    admin.request(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut slow = node.connect_resp3();
    assert_eq!(slow.text(&["CLIENT", "TRACKING", "ON", "BCAST"]), "OK");
    // Long names, in every group, until the limit is passed; whoever writes is answered.
    let name = "k".repeat(20_000);
    let keys = keys_named(&name);
    let mut writer = nodes[led[1]].connect();
    wait_for("the client to be closed", || {
        keys.iter().for_each(|key| assert_eq!(writer.text(&["SET", key, "v"]), "OK"));
        admin.text(&["INFO", "clients"]).contains("tracking_clients:0").then_some(())
    });
    for node in &nodes {
        wait_for("its sessions to end", || {
            node.connect().text(&["INFO", "clients"]).contains("tracking_clients:0").then_some(())
        });
    }
}

#[test]
fn a_pipeline_that_goes_from_group_to_group_is_answered_in_its_order_whatever_takes_long() {
    const ROUNDS: usize = 50;
    let Some((nats, name)) = logs() else { return };
    let (nodes, _) = start_spread(&nats, &name);
    for (nth, node) in nodes.iter().enumerate() {
        let mut client = node.connect();
        let (counts, lists) = (keys_named(&format!("n:{nth}")), keys_named(&format!("l:{nth}")));
        let slow = "for n = 1, 20000 do redis.call('GET', KEYS[1]) end return redis.call('INCR', KEYS[1])";
        let mut requests: Vec<Vec<&str>> = Vec::new();
        for round in 0..ROUNDS {
            // One of the groups is slow, one after the other, and something is executed here, too.
            for (group, key) in counts.iter().enumerate() {
                match round % 10 == group {
                    true => requests.push(vec!["EVAL", slow, "1", key]),
                    false => requests.push(vec!["INCR", key]),
                }
            }
            match round % 7 {
                1 => requests.push(vec!["ECHO", "here"]),
                2 => requests.push(vec!["GET", &lists[0], "too many"]),
                3 => requests.push(vec!["LPOP", &counts[1]]),
                4 => requests.extend([vec!["MULTI"], vec!["GET", &counts[2]], vec!["EXEC"]]),
                5 => requests.extend([
                    vec!["RPUSH", &lists[1], "x"],
                    vec!["BLPOP", &lists[1], "0"],
                    vec!["GET", &counts[0]],
                ]),
                _ => {}
            }
        }
        let bytes: Vec<u8> = requests.iter().flat_map(|words| request_bytes(words)).collect();
        client.send_bytes(&bytes);
        for round in 0..ROUNDS {
            let count = (round + 1).to_string();
            let mut next = || shown(&client.value());
            assert_eq!([next(), next(), next()], [&*count, &count, &count]);
            match round % 7 {
                1 => assert_eq!(next(), "here"),
                2 => assert!(next().contains("wrong number of arguments")),
                3 => assert!(next().starts_with("WRONGTYPE")),
                4 => assert_eq!([next(), next(), next()], ["OK", "QUEUED", &format!("[{count}]")]),
                5 => assert_eq!([next(), next(), next()], ["1", &format!("[{} x]", lists[1]), &count]),
                _ => {}
            }
        }
    }
}
