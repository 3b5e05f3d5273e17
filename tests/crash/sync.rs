//! What waits for a sync that takes long, and what doesn't.

use std::time::Duration;

use sterna_tests::client::Frame;
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, Server, wait_for};

/// Longer than anything here may take: a sync ends when the faults are mended.
const SYNC: Duration = Duration::from_secs(600);

fn start(shards: usize, appendfsync: &str) -> (Server, Faults) {
    let launch = Launch::shards(shards).args(&["--dir", "{folder}", "--appendfsync", appendfsync]);
    let (launch, faults) = Faults::under(launch.args(&["--notify-keyspace-events", "KEA"]), "appendonlydir");
    (launch.start(), faults)
}

/// differs=written-before-answered
#[test]
fn under_everysec_a_reply_waits_for_no_sync_and_a_kill_loses_nothing_meanwhile() {
    for shards in [1, 2] {
        let (mut server, faults) = start(shards, "everysec");
        let mut clients = [server.connect(), server.connect()];
        faults.delay_syncs(SYNC);
        let (begun, ended) = (faults.syncs_begun(), faults.syncs());
        clients[0].request(&["SET", "before", "1"]);
        wait_for("a sync to begin", || (faults.syncs_begun() > begun).then_some(()));
        for round in 0..100 {
            for (number, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.int(&["INCR", &format!("counter:{number}")]), round + 1);
            }
        }
        assert_eq!(faults.syncs(), ended, "the sync has ended: nothing was shown");
        server.kill();
        faults.mend();
        server.start_again();
        let mut client = server.connect();
        for key in ["counter:0", "counter:1"] {
            assert_eq!(client.text(&["GET", key]), "100", "{shards} shards");
        }
    }
}

/// differs=events-before-sync
#[test]
fn under_always_an_event_of_a_write_comes_before_its_sync_and_the_reply_behind_it() {
    for shards in [1, 2] {
        let (server, faults) = start(shards, "always");
        let (mut listener, mut reader, mut writer) = (server.connect(), server.connect(), server.connect());
        listener.request(&["SUBSCRIBE", "__keyspace@0__:k"]);
        reader.request(&["HELLO", "3"]);
        reader.request(&["CLIENT", "TRACKING", "ON"]);
        reader.request(&["GET", "k"]);
        faults.delay_syncs(SYNC);
        let ended = faults.syncs();
        writer.send(&["SET", "k", "1"]);
        for client in [&mut listener, &mut reader] {
            client.value();
        }
        let early = writer.frame(Duration::from_millis(20));
        assert_eq!(early, Frame::Nothing, "the reply came before the sync, {shards} shards");
        assert_eq!(faults.syncs(), ended, "the sync has ended: nothing was shown");
        faults.mend();
        writer.value();
        assert!(faults.syncs() > ended, "the reply came before the sync");
    }
}

#[test]
fn a_disk_that_takes_long_for_the_files_of_settings_keeps_nobody_waiting_but_who_asked() {
    for shards in [1, 2] {
        for request in [&["ACL", "SAVE"][..], &["CONFIG", "REWRITE"]] {
            let launch = Launch::shards(shards);
            std::fs::create_dir(launch.path("settings")).expect("the folder can be written");
            let launch = launch.file("settings/users.acl", "").file("settings/redis.conf", "");
            let launch = launch.config("{folder}/settings/redis.conf");
            let (launch, faults) =
                Faults::under(launch.args(&["--aclfile", "{folder}/settings/users.acl"]), "settings");
            let server = launch.start();
            let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
            let mut asker = server.connect();
            faults.delay_syncs(SYNC);
            let (begun, ended) = (faults.syncs_begun(), faults.syncs());
            asker.send(request);
            wait_for("a sync to begin", || (faults.syncs_begun() > begun).then_some(()));
            for client in &mut clients {
                client.request(&["PING"]);
                client.request(&["CONFIG", "SET", "timeout", "1000"]);
                client.request(&["ACL", "SETUSER", "alice", "on"]);
            }
            assert_eq!(
                asker.frame(Duration::from_millis(20)),
                Frame::Nothing,
                "{request:?} was answered before its sync"
            );
            assert_eq!(faults.syncs(), ended, "the sync has ended: nothing was shown");
            faults.mend();
            asker.value();
        }
    }
}
