//! Turning the journal on and off while clients write: what was durable stays so, and nothing is torn.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::faults::{EIO, EMFILE, Faults};
use sterna_tests::server::{Launch, Server, wait_for};

use crate::pairs::{assert_whole, fill, switch, switch_well, write_during};

/// For ever, as tests go.
pub(crate) const HELD: Duration = Duration::from_secs(600);

pub(crate) fn start(shards: usize, args: &[&str]) -> (Server, Faults) {
    let launch = Launch::shards(shards)
        .args(&[
            "--dir",
            "{folder}",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--enable-debug-command",
            "yes",
        ])
        .args(args);
    let (launch, faults) = Faults::under(launch, "appendonlydir");
    let server = launch.start();
    fill(&mut server.connect());
    (server, faults)
}

fn appendonly(client: &mut Client) -> String {
    let answer = client.request(&["CONFIG", "GET", "appendonly"]);
    let text = answer.as_slice().expect("an array")[1].as_bytes().expect("a text").to_vec();
    let enabled = client.text(&["INFO", "persistence"]).contains("aof_enabled:1");
    let text = String::from_utf8(text).expect("a word");
    assert_eq!(enabled, text == "yes", "INFO and CONFIG GET say the same");
    text
}

/// No snapshot comes to its end, until [`crawl`] or the faults are mended: the next thing happens while the walk is on.
pub(crate) fn slow_snapshots(server: &Server, faults: &Faults) {
    let (mut client, value) = (server.connect(), "x".repeat(40_000));
    for number in 0..80 {
        client.request(&["SET", &format!("bulk:{number}"), &value]);
    }
    faults.only("snapshot");
    faults.delay_writes(HELD);
    faults.delay_syncs(HELD);
}

/// There is so much to write, and every write of a snapshot takes so long, that the next thing happens before its end, mostly.
pub(crate) fn crawl(faults: &Faults) {
    faults.delay_writes(Duration::from_millis(60));
    faults.delay_syncs(Duration::from_millis(60));
}

pub(crate) fn await_job(server: &Server) {
    wait_for("the snapshot to run", || {
        let info = server.connect().text(&["INFO", "persistence"]);
        (info.contains("aof_rewrite_in_progress:1") || info.contains("rdb_bgsave_in_progress:1"))
            .then_some(())
    });
}

#[test]
fn off_and_on_again_while_a_snapshot_runs_loses_nothing() {
    for shards in [1, 3] {
        for command in ["BGREWRITEAOF", "BGSAVE"] {
            let (mut server, faults) = start(shards, &[]);
            slow_snapshots(&server, &faults);
            server.connect().request(&[command]);
            await_job(&server);
            crawl(&faults);
            switch_well(&server, "no");
            assert_eq!(appendonly(&mut server.connect()), "no");
            server.connect().request(&["SET", "between", "1"]);
            switch_well(&server, "yes");
            assert_eq!(appendonly(&mut server.connect()), "yes");
            server.connect().request(&["SET", "after", "1"]);
            faults.mend();
            faults.lose_power_of(&mut server);
            assert_whole(&server, command);
            let mut client = server.connect();
            assert_eq!(client.int(&["EXISTS", "between", "after"]), 2, "{command}");
            for number in 0..80 {
                assert_eq!(
                    client.int(&["STRLEN", &format!("bulk:{number}")]),
                    40_000,
                    "{command}: bulk:{number}"
                );
            }
        }
    }
}

#[test]
fn a_switch_that_finds_no_room_answers_an_error_and_changes_nothing() {
    for (what, fail) in [
        ("no room", (|faults| faults.room(0)) as fn(&Faults)),
        ("no snapshot's file", |faults| {
            faults.only("snapshot");
            faults.fail_creations(EMFILE);
        }),
        ("no sync", |faults| {
            faults.only("snapshot");
            faults.fail_syncs(EIO);
        }),
        ("no manifest", |faults| {
            faults.only("MANIFEST");
            faults.fail_renames(EIO);
        }),
    ] {
        let (mut server, faults) = start(2, &[]);
        switch_well(&server, "no");
        server.connect().request(&["SET", "unrecorded", "1"]);
        fail(&faults);
        let answer = switch(&server, "yes");
        assert!(
            matches!(&answer, Some(Value::Error(text)) if text.starts_with(b"ERR CONFIG SET failed")),
            "{what}: {answer:?}"
        );
        let mut client = server.connect();
        assert_eq!(appendonly(&mut client), "no", "{what}");
        // Nobody is refused anything, and nothing waits for the disk.
        client.request(&["SET", "unrecorded", "2"]);
        server.kill();
        faults.mend();
        server.start_again();
        assert_whole(&server, what);
        assert_eq!(
            server.connect().int(&["EXISTS", "unrecorded"]),
            0,
            "{what}: as it was when it was turned off"
        );
        // And with the disk mended a switch succeeds.
        switch_well(&server, "no");
        server.connect().request(&["SET", "unrecorded", "3"]);
        switch_well(&server, "yes");
        faults.lose_power_of(&mut server);
        assert_whole(&server, what);
        assert_eq!(server.connect().text(&["GET", "unrecorded"]), "3", "{what}");
    }
}

#[test]
fn what_was_answered_while_it_was_being_turned_on_is_not_undone_by_a_disk_that_fails_then() {
    let (server, faults) = start(2, &[]);
    switch_well(&server, "no");
    faults.only(".segment");
    faults.delay_syncs(Duration::from_millis(50));
    let answered = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.connect();
            let mut answered = 0;
            loop {
                client.send(&["INCR", "n"]);
                match client.value() {
                    Value::Int(number) => answered = number,
                    Value::Error(text) if text.starts_with(b"MISCONF") => return answered,
                    other => panic!("{other:?}"),
                }
            }
        });
        switch_well(&server, "yes");
        faults.fail_syncs(EIO);
        writer.join().expect("it is refused")
    });
    assert_eq!(server.connect().text(&["GET", "n"]), answered.to_string());
}

/// At every operation on the files that a switch makes, one after the other.
#[test]
fn a_kill_at_any_moment_of_turning_on_leaves_what_was_or_what_is() {
    for shards in [1, 3] {
        for operation in 1..26 {
            let (mut server, faults) = start(shards, &[]);
            switch_well(&server, "no");
            server.connect().request(&["SET", "state", "later"]);
            faults.count_anew();
            faults.kill_at(operation);
            let mut answer = None;
            write_during(&mut server, |server| answer = switch(server, "yes"));
            let when = format!("{shards} shards, killed at operation {operation}");
            if operation % 2 == 0 {
                server.kill();
                faults.lose_power();
            } else {
                server.kill();
            }
            faults.mend();
            server.start_again();
            assert_whole(&server, &when);
            if answer.is_some() {
                assert_eq!(server.connect().text(&["GET", "state"]), "later", "{when}");
            }
        }
    }
}

#[test]
fn switched_to_and_fro_under_load_nothing_is_torn_by_a_kill_or_a_stop() {
    for shards in [1, 3] {
        let (mut server, _faults) = start(shards, &["--auto-aof-rewrite-min-size", "20kb"]);
        for round in 0..12 {
            write_during(&mut server, |server| {
                for _ in 0..3 {
                    switch_well(server, "no");
                    switch_well(server, "yes");
                }
                if round % 3 == 0 {
                    switch_well(server, "no");
                }
                match round % 2 {
                    0 => server.kill(),
                    _ => server.signal(Signal::TERM),
                }
            });
            if round % 2 == 0 {
                server.start_again();
            } else {
                server.wait_and_start_again();
            }
            assert_whole(&server, &format!("{shards} shards, round {round}"));
            assert_eq!(appendonly(&mut server.connect()), "yes");
        }
    }
}

#[test]
fn turned_off_while_a_snapshot_runs_and_stopped_in_order_no_pair_is_torn() {
    for shards in [1, 3] {
        let (mut server, faults) = start(shards, &[]);
        slow_snapshots(&server, &faults);
        write_during(&mut server, |server| {
            server.connect().request(&["BGSAVE"]);
            await_job(server);
            crawl(&faults);
            switch_well(server, "no");
            server.signal(Signal::TERM);
        });
        faults.mend();
        server.wait_and_start_again();
        assert_whole(&server, "turned off, then stopped");
    }
}

#[test]
fn stopped_in_order_while_it_is_turned_on_what_was_kept_before_is_there() {
    for shards in [1, 3] {
        let (mut server, faults) = start(shards, &[]);
        switch_well(&server, "no");
        slow_snapshots(&server, &faults);
        write_during(&mut server, |server| {
            server.connect().send(&["CONFIG", "SET", "appendonly", "yes"]);
            wait_for("the switch to begin", || {
                server
                    .connect()
                    .text(&["INFO", "persistence"])
                    .contains("aof_switch_in_progress:1")
                    .then_some(())
            });
            server.signal(Signal::TERM);
            crawl(&faults);
        });
        faults.mend();
        server.wait_and_start_again();
        assert_whole(&server, "stopped while it was turned on");
    }
}

#[test]
fn two_switches_at_once_come_one_after_the_other() {
    for shards in [1, 3] {
        let (mut server, _faults) = start(shards, &[]);
        write_during(&mut server, |server| {
            for _ in 0..10 {
                let (mut one, mut other) = (server.connect(), server.connect());
                one.send(&["CONFIG", "SET", "appendonly", "no"]);
                other.send(&["CONFIG", "SET", "appendonly", "yes"]);
                // Turning on may have been called off by turning off; either way each is answered.
                one.value();
                other.value();
                appendonly(&mut server.connect());
            }
            switch_well(server, "yes");
            server.connect().request(&["SET", "last", "1"]);
            server.kill();
        });
        server.start_again();
        assert_whole(&server, "two switches at once");
        assert_eq!(server.connect().int(&["EXISTS", "last"]), 1);
    }
}

#[test]
fn a_switch_in_a_transaction_is_refused_and_the_rest_of_it_runs() {
    let (server, _faults) = start(3, &[]);
    let mut client = server.connect();
    client.request(&["MULTI"]);
    client.request(&["SET", "k", "1"]);
    client.request(&["CONFIG", "SET", "appendonly", "no"]);
    client.request(&["SET", "k", "2"]);
    let answer = client.request(&["EXEC"]);
    let parts = answer.as_slice().expect("an array");
    assert!(
        matches!(&parts[1], Value::Error(text) if text.starts_with(b"ERR CONFIG SET failed")),
        "{parts:?}"
    );
    assert_eq!(client.text(&["GET", "k"]), "2");
    assert_eq!(appendonly(&mut client), "yes");
}

#[test]
fn a_switch_together_with_other_options_changes_all_or_none() {
    let (server, faults) = start(2, &[]);
    let mut client = server.connect();
    client.request(&["CONFIG", "SET", "appendonly", "no", "timeout", "5"]);
    faults.only("snapshot");
    faults.fail_creations(EMFILE);
    let Some(Value::Error(_)) = client.try_request(&["CONFIG", "SET", "timeout", "6", "appendonly", "yes"])
    else {
        panic!("it was turned on");
    };
    let timeout = |client: &mut Client| client.request(&["CONFIG", "GET", "timeout"]);
    assert_eq!(timeout(&mut client).as_slice().expect("an array")[1].as_bytes(), Some(&b"5"[..]));
    faults.mend();
    client.request(&["CONFIG", "SET", "timeout", "6", "appendonly", "yes"]);
    assert_eq!(timeout(&mut client).as_slice().expect("an array")[1].as_bytes(), Some(&b"6"[..]));
    assert_eq!(appendonly(&mut client), "yes");
}
