//! A bug that panics in one thread ends the process: no half server, and nothing acknowledged is lost.

use std::fs;

use sterna_tests::faults::{EIO, Faults};
use sterna_tests::server::Launch;

#[test]
fn a_panic_in_any_shard_ends_the_process_says_so_and_loses_nothing() {
    for shards in [1, 3] {
        let launch = Launch::shards(shards).args(&[
            "--dir",
            "{folder}",
            "--appendfsync",
            "always",
            "--enable-debug-command",
            "yes",
            "--logfile",
            "{folder}/sterna.log",
        ]);
        let mut server = launch.start();
        for round in 0..shards as i64 {
            // Connections go round the shards; each round the panic meets another.
            let mut others: Vec<_> = (0..round).map(|_| server.connect()).collect();
            others.iter_mut().for_each(|client| drop(client.request(&["INCR", "n"])));
            let mut client = server.connect();
            client.request(&["INCR", "n"]);
            let before = client.text(&["GET", "n"]);
            assert_eq!(client.try_request(&["DEBUG", "PANIC"]), None);
            let ended = server.wait_for_end();
            assert!(!ended.status.success());
            let log = fs::read_to_string(server.path("sterna.log")).expect("the log");
            for text in [&ended.log, &log] {
                assert!(text.contains("asked for by DEBUG PANIC"), "not said:\n{text}");
            }
            server.start_again();
            assert_eq!(server.connect().text(&["GET", "n"]), before);
        }
    }
}

/// A thread of its own for each: none of them is a shard, and none may die unseen.
#[test]
fn a_panic_in_a_thread_of_the_journal_or_of_snapshots_ends_the_process_says_so_and_loses_nothing() {
    for thread in ["journal", "snapshot", "rollback"] {
        let launch = Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", "always"]);
        let (launch, faults) = Faults::under(launch, "appendonlydir");
        let mut server = launch.start();
        let mut client = server.connect();
        client.request(&["SET", "kept", "1"]);
        faults.break_thread(thread);
        match thread {
            "snapshot" => client.send(&["BGREWRITEAOF"]),
            "rollback" => {
                faults.fail_syncs(EIO);
                client.send(&["SET", "refused", "1"]);
            }
            _ => client.send(&["SET", "unsynced", "1"]),
        }
        let ended = server.wait_for_end();
        assert!(!ended.status.success(), "{thread}");
        let said = ended.log.lines().any(|line| {
            line.contains("this is a bug in Sterna, and the server stops") && line.contains(thread)
        });
        assert!(said, "{thread}: not said:\n{}", ended.log);
        faults.mend();
        server.start_again();
        assert_eq!(server.connect().text(&["GET", "kept"]), "1", "{thread}");
    }
}
