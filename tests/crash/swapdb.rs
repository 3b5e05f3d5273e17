//! Databases that are swapped, also while a snapshot is being taken, are found again as they were.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::Server;

use crate::switch::{await_job, slow_snapshots, start};

const KEYS: usize = 200;

fn in_database(server: &Server, db: usize) -> Client {
    let mut client = server.connect();
    client.request(&["SELECT", &db.to_string()]);
    client
}

fn fill(server: &Server, db: usize, value: &str) {
    let mut client = in_database(server, db);
    (0..KEYS).for_each(|n| drop(client.request(&["SET", &format!("swapped:{n}"), value])));
}

fn assert_holds(server: &Server, db: usize, value: &str) {
    let mut client = in_database(server, db);
    for n in 0..KEYS {
        let found = client.request(&["GET", &format!("swapped:{n}")]);
        assert_eq!(found, Value::Bulk(value.into()), "key {n} of database {db}");
    }
}

#[test]
fn databases_are_as_they_were_swapped_after_a_kill() {
    for shards in [1, 2] {
        let (mut server, _faults) = start(shards, &["--appendonly", "yes"]);
        fill(&server, 1, "one");
        fill(&server, 2, "two");
        let mut client = server.connect();
        client.request(&["SWAPDB", "1", "2"]);
        client.request(&["SWAPDB", "2", "3"]);
        fill(&server, 4, "four");
        client.request(&["SWAPDB", "4", "1"]);
        for round in 0..2 {
            server.kill();
            server.start_again();
            let held = [(4, "two"), (3, "one"), (1, "four")];
            held.iter().for_each(|&(db, value)| assert_holds(&server, db, value));
            assert_eq!(in_database(&server, 2).int(&["DBSIZE"]), 0);
            if round == 0 {
                server.connect().request(&["SAVE"]);
            }
        }
    }
}

#[test]
fn databases_that_are_swapped_while_a_snapshot_is_taken_lose_nothing() {
    for shards in [1, 2] {
        let (mut server, faults) = start(shards, &["--appendonly", "yes"]);
        fill(&server, 1, "one");
        fill(&server, 2, "two");
        slow_snapshots(&server, &faults);
        let mut client = server.connect();
        client.request(&["BGREWRITEAOF"]);
        await_job(&server);
        client.request(&["SWAPDB", "1", "2"]);
        in_database(&server, 1).request(&["SET", "after", "swap"]);
        await_job(&server);
        faults.mend();
        sterna_tests::server::wait_for("the snapshot's end", || {
            let info = client.text(&["INFO", "persistence"]);
            info.contains("aof_rewrite_in_progress:0").then_some(())
        });
        client.request(&["SWAPDB", "2", "5"]);
        server.kill();
        server.start_again();
        assert_holds(&server, 1, "two");
        assert_holds(&server, 5, "one");
        let after = in_database(&server, 1).request(&["GET", "after"]);
        assert_eq!(after, Value::Bulk(b"swap".to_vec()));
    }
}
