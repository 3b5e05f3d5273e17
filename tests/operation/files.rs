//! Descriptors: a low limit lowers `maxclients`, clients beyond it are told, and what the server needs is kept for it.

use std::net::TcpStream;

use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};

use crate::limits::info;

const FILES: u64 = 120;

fn limited(shards: usize, args: &[&str]) -> Server {
    Launch::shards(shards).files(FILES).args(args).start()
}

fn maxclients(client: &mut Client) -> usize {
    client.text_at(&["CONFIG", "GET", "maxclients"], 1).parse().expect("a number")
}

#[test]
fn maxclients_follows_the_limit_on_open_files_and_clients_beyond_it_are_told() {
    for shards in [1, 2] {
        let server = limited(shards, &["--maxclients", "10000"]);
        let mut admin = server.connect();
        let fitting = maxclients(&mut admin);
        assert!((50..FILES as usize - 32).contains(&fitting), "{fitting} clients of {FILES} descriptors");
        server.await_log("a warning", |log| log.contains("limit on open files"));
        admin.send(&["CONFIG", "SET", "maxclients", "10000"]);
        assert!(admin.error().contains(&format!("try with {fitting}")));
        let mut clients: Vec<Client> = (1..fitting).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(Client::assert_quiet);
        for _ in 0..200 {
            let mut surplus = server.connect();
            assert_eq!(surplus.error(), "ERR max number of clients reached");
            assert_eq!(surplus.frame(PATIENCE), Frame::Closed);
        }
        // What the server needs itself is there: a snapshot, more of the journal, the configuration.
        admin.request(&["SET", "k", "v"]);
        admin.request(&["BGREWRITEAOF"]);
        wait_for("the snapshot", || {
            let info = admin.text(&["INFO", "persistence"]);
            info.contains("aof_rewrite_in_progress:0").then_some(())
        });
        assert!(admin.text(&["INFO", "persistence"]).contains("aof_last_bgrewrite_status:ok"));
        admin.request(&["SET", "k", "w"]);
        clients.iter_mut().for_each(Client::assert_quiet);
        assert_eq!(info(&mut admin, "rejected_connections"), 200);
    }
}

#[test]
fn a_crowd_that_is_turned_away_costs_few_lines_of_the_log_and_no_service() {
    for shards in [1, 2] {
        let server = limited(shards, &["--maxclients", "5"]);
        let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
        for round in 0..300 {
            // Opened together, so that those not accepted yet wait in the kernel.
            let crowd: Vec<_> = (0..10).map(|_| TcpStream::connect(server.address())).collect();
            drop(crowd);
            clients[round % 5].assert_quiet();
        }
        wait_for("all to be turned away", || {
            (info(&mut clients[0], "rejected_connections") == 3000).then_some(())
        });
        let log = server.await_log("a count of what was left out", |log| log.contains("more of the same"));
        let lines = log.lines().filter(|line| line.contains("max number of clients")).count();
        assert!(lines < 600, "{lines} lines for 3000 connections");
    }
}

#[test]
fn without_room_for_a_single_client_the_server_does_not_start() {
    let ended = Launch::shards(2).files(35).run();
    assert!(!ended.status.success());
    assert!(ended.log.contains("limit on open files"), "{}", ended.log);
}
