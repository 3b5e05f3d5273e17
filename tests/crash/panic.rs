//! A bug that panics in one thread ends the process: no half server, and nothing acknowledged is lost.

use std::fs;

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
