//! What was taken for a client that waits at another node, and that it does not get.

use std::thread;

use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};
use sterna_tests::wire::{Way, Wire};

use crate::passing::{LEADER, await_blocked, await_led, leader, login, pair_with_users};
use crate::tools::{await_joined, figure, name, nats, node, shown, undisturbed};

/// What a client waits in, how it is to end, what is added meanwhile, and how all of it is read.
type Case = (&'static [&'static str], Ends, &'static [&'static str], &'static [&'static str], &'static str);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Leaves,
    IsKilled,
    MayNot,
}

const CASES: [Case; 7] = [
    (
        &["BLPOP", "none", "a", "0"],
        Ends::Leaves,
        &["RPUSH", "a", "1", "2"],
        &["LRANGE", "a", "0", "-1"],
        "[1 2]",
    ),
    (&["BRPOP", "b", "0"], Ends::IsKilled, &["RPUSH", "b", "1", "2"], &["LRANGE", "b", "0", "-1"], "[1 2]"),
    (&["BLPOP", "c", "0"], Ends::MayNot, &["RPUSH", "c", "1"], &["LRANGE", "c", "0", "-1"], "[1]"),
    (
        &["BLMPOP", "0", "1", "d", "RIGHT", "COUNT", "2"],
        Ends::Leaves,
        &["RPUSH", "d", "1", "2", "3"],
        &["LRANGE", "d", "0", "-1"],
        "[1 2 3]",
    ),
    (
        &["BZPOPMAX", "e", "0"],
        Ends::MayNot,
        &["ZADD", "e", "1", "m", "2.5", "n"],
        &["ZRANGE", "e", "0", "-1", "WITHSCORES"],
        "[m 1 n 2.5]",
    ),
    (
        &["BZMPOP", "0", "1", "f", "MIN", "COUNT", "2"],
        Ends::IsKilled,
        &["ZADD", "f", "1", "m", "2.5", "n", "inf", "o"],
        &["ZRANGE", "f", "0", "-1", "WITHSCORES"],
        "[m 1 n 2.5 o inf]",
    ),
    // It is somewhere.
    (
        &["BLMOVE", "g", "h", "LEFT", "LEFT", "0"],
        Ends::Leaves,
        &["RPUSH", "g", "1"],
        &["LRANGE", "h", "0", "-1"],
        "[1]",
    ),
];

/// Ends the client's wait, and returns when its node knows.
fn end(passes: &Server, client: Client, ends: Ends, id: i64) -> Option<Client> {
    let mut admin = passes.connect();
    match ends {
        Ends::Leaves => client.leave(),
        Ends::IsKilled => {
            admin.request(&["CLIENT", "KILL", "ID", &id.to_string()]);
            client.leave();
        }
        Ends::MayNot => {
            admin.request(&["ACL", "SETUSER", "few", "-blpop", "-bzpopmax"]);
            return Some(client);
        }
    }
    None
}

#[test]
fn what_was_taken_for_a_client_of_another_node_that_is_gone_by_then_goes_back_to_where_it_was() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        let name = name();
        let wire = Wire::to_nats(nats.ports()[0]);
        let url = format!("nats://127.0.0.1:{}", wire.port);
        nodes.push(leader(&name, nats).start());
        nodes.push(node(&name, &url).args(&["--cluster-leader", LEADER]).start());
        await_joined(nodes);
        let [leads, passes] = &nodes[..] else { unreachable!("they are two") };
        await_led(passes);
        let mut there = leads.connect();
        there.request(&["SELECT", "3"]);
        passes.connect().request(&["ACL", "SETUSER", "few", "on", "nopass", "~*", "&*", "+@all"]);
        let mut waiting = Vec::new();
        for (at, (waits, ..)) in CASES.iter().enumerate() {
            let mut client = if at % 2 == 0 { passes.connect() } else { passes.connect_resp3() };
            client.request(&["AUTH", "few", "any"]);
            client.request(&["SELECT", "3"]);
            let id = client.int(&["CLIENT", "ID"]);
            client.send(waits);
            waiting.push((client, id));
        }
        await_blocked(leads, CASES.len());
        wire.hold(Way::Back, true);
        CASES.iter().for_each(|(_, _, adds, ..)| drop(there.request(adds)));
        let ended = waiting.into_iter().zip(CASES);
        let denied: Vec<Client> =
            ended.filter_map(|((client, id), (_, ends, ..))| end(passes, client, ends, id)).collect();
        wire.hold(Way::Back, false);
        for mut client in denied {
            let refusal = client.error();
            assert!(refusal.starts_with("NOPERM"), "{refusal}");
        }
        for (waits, _, _, reads, expected) in CASES {
            wait_for(&format!("what {waits:?} has taken to be back"), || {
                (shown(&there.request(reads)) == expected).then_some(())
            });
        }
        // Nobody is left over, and nothing comes twice.
        wait_for("all sessions to end", || {
            (figure(leads, "cluster_sessions").as_deref() == Some("0")).then_some(())
        });
        for (waits, _, _, reads, expected) in CASES {
            assert_eq!(shown(&there.request(reads)), expected, "{waits:?}");
        }
    });
}

#[test]
fn a_client_of_another_node_gets_what_was_taken_for_it_or_it_is_there_still() {
    const ROUNDS: usize = 60;
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair_with_users(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    let mut delivered = 0;
    for round in 0..ROUNDS {
        let element = round.to_string();
        let mut client = login(&passes, "few");
        client.send(&["BLPOP", "mine:list", "0"]);
        await_blocked(&leads, 1);
        let got = thread::scope(|scope| {
            scope.spawn(|| there.request(&["LPUSH", "mine:list", &element]));
            if round % 2 == 0 {
                here.request(&["ACL", "SETUSER", "few", "resetkeys"]);
                shown(&client.value())
            } else {
                client.finish();
                String::from_utf8_lossy(&client.rest()).into_owned()
            }
        });
        if got.contains("mine:list") {
            delivered += 1;
        } else {
            wait_for("the element to be there", || {
                (shown(&there.request(&["LRANGE", "mine:list", "0", "-1"])) == format!("[{element}]"))
                    .then_some(())
            });
            there.request(&["DEL", "mine:list"]);
        }
        here.request(&["ACL", "LOAD"]);
    }
    assert_eq!(there.int(&["EXISTS", "mine:list"]), 0, "{delivered} of {ROUNDS} were delivered");
}
