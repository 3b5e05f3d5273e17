//! Writes that are longer than a record of the journal may be: a snapshot keeps them, or nothing does, and never a part.
//!
//! The bound is 64 GiB; here it is small (`journal-record-max-bytes`).

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, Server, wait_for};

use crate::pairs::switch_well;
use crate::switch::{crawl, slow_snapshots};

const BOUND: &str = "65536";

fn start(shards: usize, args: &[&str]) -> (Server, Faults) {
    let words = ["--dir", "{folder}", "--save", "", "--journal-record-max-bytes", BOUND];
    let (launch, faults) = Faults::under(Launch::shards(shards).args(&words).args(args), "appendonlydir");
    let server = launch.start();
    server.connect().request(&["SET", "before", "1"]);
    (server, faults)
}

/// Three values that are a record each, and too long for one together.
fn send_transaction(client: &mut Client) {
    client.request(&["MULTI"]);
    for key in ["a", "b", "c"] {
        client.request(&["SET", key, &"v".repeat(40_000)]);
    }
    client.send(&["EXEC"]);
}

fn is_misconf(client: &mut Client) -> bool {
    client.send(&["SET", "probe", "1"]);
    matches!(client.value(), Value::Error(text) if text.starts_with(b"MISCONF "))
}

fn await_refusal(server: &Server) {
    let mut other = server.connect();
    wait_for("the write that no record holds", || is_misconf(&mut other).then_some(()));
}

#[test]
fn a_write_too_long_for_a_record_is_answered_when_a_snapshot_has_it_and_others_are_refused_until_then() {
    for (shards, policy) in [(1, "always"), (2, "everysec")] {
        let (mut server, faults) = start(shards, &["--appendfsync", policy]);
        slow_snapshots(&server, &faults);
        let (mut writer, mut other) = (server.connect(), server.connect());
        send_transaction(&mut writer);
        await_refusal(&server);
        assert_eq!(other.int(&["EXISTS", "before"]), 1, "reads go on");
        let early = writer.frame(Duration::from_millis(1));
        assert!(matches!(early, Frame::Nothing), "nothing keeps it yet, and it is answered: {early:?}");
        faults.mend();
        assert!(matches!(writer.value(), Value::Array(replies) if replies.len() == 3));
        let kept = writer.request(&["WAITAOF", "1", "0", "0"]);
        assert_eq!(
            kept.as_slice().expect("two numbers")[0],
            Value::Int(1),
            "a snapshot is as good as a sync"
        );
        wait_for("writes to be taken again", || (!is_misconf(&mut other)).then_some(()));
        writer.request(&["SET", "after", "1"]);
        server.kill();
        server.start_again();
        assert_eq!(server.connect().int(&["EXISTS", "before", "a", "b", "c", "after"]), 5, "{policy}");
    }
}

#[test]
fn of_a_write_too_long_for_a_record_nothing_is_there_if_no_snapshot_came_to_its_end() {
    let (mut server, faults) = start(2, &[]);
    slow_snapshots(&server, &faults);
    send_transaction(&mut server.connect());
    await_refusal(&server);
    server.kill();
    faults.mend();
    server.start_again();
    assert_eq!(server.connect().int(&["EXISTS", "a", "b", "c"]), 0);
    assert_eq!(server.connect().int(&["EXISTS", "before"]), 1);
}

#[test]
fn a_write_too_long_for_a_record_gives_up_the_switch_that_runs_and_the_next_one_has_it() {
    let (mut server, faults) = start(2, &["--appendonly", "no"]);
    slow_snapshots(&server, &faults);
    let mut switching = server.connect();
    switching.send(&["CONFIG", "SET", "appendonly", "yes"]);
    wait_for("the snapshot to be written", || {
        let files = std::fs::read_dir(server.path("appendonlydir")).ok()?;
        files.flatten().any(|file| file.file_name().to_string_lossy().contains("snapshot")).then_some(())
    });
    let mut writer = server.connect();
    send_transaction(&mut writer);
    assert!(
        matches!(writer.value(), Value::Array(replies) if replies.len() == 3),
        "nothing was promised yet"
    );
    crawl(&faults);
    assert!(matches!(switching.value(), Value::Error(_)), "what it began to keep has a gap");
    faults.mend();
    assert_eq!(server.connect().text_at(&["CONFIG", "GET", "appendonly"], 1), "no");
    switch_well(&server, "yes");
    server.kill();
    server.start_again();
    assert_eq!(server.connect().int(&["EXISTS", "before", "a", "b", "c"]), 4);
}

#[test]
fn turned_off_while_a_write_is_in_no_record_the_journal_ends_before_it() {
    let (mut server, faults) = start(1, &[]);
    slow_snapshots(&server, &faults);
    let mut writer = server.connect();
    send_transaction(&mut writer);
    await_refusal(&server);
    // The snapshot that is due may have begun, and can't be given up within a write.
    crawl(&faults);
    switch_well(&server, "no");
    assert!(
        matches!(writer.value(), Value::Array(replies) if replies.len() == 3),
        "nothing is promised any more"
    );
    server.connect().request(&["SET", "later", "1"]);
    faults.mend();
    server.kill();
    server.start_again();
    assert_eq!(
        server.connect().int(&["EXISTS", "a", "b", "c", "later"]),
        0,
        "what was kept when it was turned off"
    );
    assert_eq!(server.connect().int(&["EXISTS", "before"]), 1);
}
