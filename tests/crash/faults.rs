//! What the fault layer itself promises; see `sterna_tests::faults`.

use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::faults::{EIO, Faults};
use sterna_tests::server::{Launch, Server, wait_for};

fn start(appendfsync: &str) -> (Server, Faults) {
    let launch = Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", appendfsync]);
    let (launch, faults) = Faults::under(launch, "appendonlydir");
    (launch.start(), faults)
}

#[test]
fn a_power_loss_takes_what_was_written_and_keeps_what_was_synced() {
    let (mut server, faults) = start("no");
    let mut client = server.connect();
    client.request(&["SET", "synced", "1"]);
    client.request(&["WAITAOF", "1", "0", "0"]);
    let written = faults.written_bytes();
    client.request(&["SET", "written", "1"]);
    wait_for("the write", || (faults.written_bytes() > written).then_some(()));
    faults.lose_power_of(&mut server);
    let mut client = server.connect();
    assert_eq!((client.int(&["EXISTS", "synced"]), client.int(&["EXISTS", "written"])), (1, 0));
}

#[test]
fn a_snapshot_survives_a_power_loss_with_all_its_files() {
    let (mut server, faults) = start("always");
    let mut client = server.connect();
    for number in 0..1000 {
        client.request(&["SET", &format!("key:{number}"), "value"]);
    }
    client.request(&["SAVE"]);
    client.request(&["SET", "after", "1"]);
    faults.lose_power_of(&mut server);
    assert_eq!(server.connect().int(&["DBSIZE"]), 1001);
}

#[test]
fn syncs_are_delayed_and_failed() {
    let (server, faults) = start("always");
    let mut client = server.connect();
    let delay = Duration::from_millis(100);
    faults.delay_syncs(delay);
    let began = Instant::now();
    client.request(&["SET", "k", "1"]);
    assert!(began.elapsed() >= delay);
    faults.delay_syncs(Duration::ZERO);
    faults.fail_syncs(EIO);
    client.send(&["SET", "k", "2"]);
    wait_for("a sync that fails", || (faults.failed() > 0).then_some(()));
    faults.mend();
    wait_for("writes to be taken again", || {
        matches!(server.connect().try_request(&["SET", "k", "3"]), Some(Value::Simple(_))).then_some(())
    });
    // The write that met the fault was answered, one way or the other.
    client.value();
}

#[test]
fn the_process_is_killed_at_an_operation_by_its_number() {
    let (mut server, faults) = start("always");
    let mut client = server.connect();
    client.request(&["SET", "before", "1"]);
    faults.kill_at(faults.operations() + 1);
    assert_eq!(client.try_request(&["SET", "k", "1"]), None);
    faults.mend();
    server.kill();
    server.start_again();
    let mut client = server.connect();
    assert_eq!((client.int(&["EXISTS", "before"]), client.int(&["EXISTS", "k"])), (1, 0));
}
