//! What the disk did not take is undone, whatever else goes on: switches, snapshots, libraries of functions, backlogs.

use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::faults::{EIO, Faults};
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};

use crate::pairs::{switch, switch_well};

fn start(shards: usize, args: &[&str]) -> (Server, Faults) {
    let words = ["--dir", "{folder}", "--appendfsync", "always", "--save", ""];
    let (launch, faults) = Faults::under(Launch::shards(shards).args(&words).args(args), "appendonlydir");
    (launch.start(), faults)
}

/// Asks until the keys are there again.
fn ask(client: &mut Client, request: &[&str]) -> Value {
    wait_for("keys to be read back", || match client.try_request(request)? {
        Value::Error(text) if text.starts_with(b"LOADING") => None,
        value => Some(value),
    })
}

fn is_misconf(value: &Value) -> bool {
    matches!(value, Value::Error(text) if text.starts_with(b"MISCONF "))
}

/// Writes until the disk takes it.
fn await_writes(client: &mut Client) {
    wait_for("writes to be taken again", || {
        matches!(client.try_request(&["SET", "probe", "1"])?, Value::Simple(_)).then_some(())
    });
}

/// Turning off waits for what is being undone; whatever comes first, a write that was refused is nowhere, and one that was
/// acknowledged is what is read.
#[test]
fn a_write_that_is_undone_while_appendonly_is_switched_is_refused_and_gone_or_kept_and_answered() {
    for (round, delay_ms) in [0, 0, 1, 2, 5, 10, 30, 60].into_iter().enumerate() {
        let (mut server, faults) = start(1 + round % 3, &[]);
        let (mut writer, mut reader) = (server.connect(), server.connect());
        for (key, value) in [("k", "old"), ("other", "old")] {
            writer.request(&["SET", key, value]);
        }
        writer.request(&["RPUSH", "list", "1", "2"]);
        faults.fail_syncs(EIO);
        // Reading back takes a while, so that the switch meets it at one moment or another.
        faults.delay_reads(Duration::from_millis(10));
        writer.send_bytes(&request_bytes(&["MULTI"]));
        writer.send_bytes(&request_bytes(&["SET", "k", "new"]));
        writer.send_bytes(&request_bytes(&["RPUSH", "list", "3"]));
        writer.send_bytes(&request_bytes(&["EXEC"]));
        thread::sleep(Duration::from_millis(delay_ms));
        let port = server.port;
        let switching = thread::spawn(move || {
            let mut client = Client::to(port);
            wait_for("the switch", || match client.try_request(&["CONFIG", "SET", "appendonly", "no"])? {
                // Nothing is switched while keys are missing.
                Value::Error(text) => {
                    assert!(text.ends_with(b"the journal is being loaded"), "{}", text.escape_ascii());
                    None
                }
                done => Some(done),
            })
        });
        thread::sleep(Duration::from_millis(delay_ms));
        faults.mend();
        assert_eq!(switching.join().expect("no panic"), Value::Simple(b"OK".to_vec()));
        let mut replies = (0..4).map(|_| writer.value());
        let exec = replies.by_ref().last().expect("four replies");
        let (value, len) = match &exec {
            Value::Array(_) => ("new", 3),
            refused if is_misconf(refused) => ("old", 2),
            Value::Error(text) if text.starts_with(b"EXECABORT") => ("old", 2),
            other => panic!("{other:?}"),
        };
        let check = |client: &mut Client, when: &str| {
            let found = ask(client, &["GET", "k"]);
            assert_eq!(found.as_bytes(), Some(value.as_bytes()), "{delay_ms} ms, {when}: {exec:?}");
            assert_eq!(client.int(&["LLEN", "list"]), len, "{delay_ms} ms, {when}");
            assert_eq!(client.text(&["GET", "other"]), "old", "{delay_ms} ms, {when}");
        };
        check(&mut reader, "off");
        // The disk is tried again after a while.
        wait_for("the switch", || {
            (switch(&server, "yes") == Some(Value::Simple(b"OK".to_vec()))).then_some(())
        });
        check(&mut reader, "on again");
        reader.request(&["SET", "last", "1"]);
        server.kill();
        server.start_again();
        let mut client = server.connect();
        check(&mut client, "after a kill");
        assert_eq!(client.text(&["GET", "last"]), "1");
    }
}

/// The disk fails while it is turned on, and again once it is on.
#[test]
fn a_disk_that_fails_on_both_sides_of_a_switch_leaves_what_was_acknowledged() {
    for shards in [1, 3] {
        let (mut server, faults) = start(shards, &[]);
        let mut client = server.connect();
        client.request(&["SET", "k", "1"]);
        switch_well(&server, "no");
        client.request(&["SET", "k", "2"]);
        faults.fail_syncs(EIO);
        assert!(matches!(switch(&server, "yes"), Some(Value::Error(_))), "it was turned on");
        assert_eq!(client.text(&["GET", "k"]), "2");
        faults.mend();
        wait_for("the switch", || {
            (switch(&server, "yes") == Some(Value::Simple(b"OK".to_vec()))).then_some(())
        });
        client.request(&["SET", "k", "3"]);
        faults.fail_syncs(EIO);
        client.send(&["SET", "k", "4"]);
        assert!(is_misconf(&client.value()));
        assert_eq!(ask(&mut client, &["GET", "k"]).as_bytes(), Some(&b"3"[..]));
        faults.mend();
        await_writes(&mut client);
        server.kill();
        server.start_again();
        assert_eq!(server.connect().text(&["GET", "k"]), "3");
    }
}

/// A snapshot that is asked for while keys are missing, because they are being read back, must not be without them.
#[test]
fn a_snapshot_that_is_due_while_keys_are_read_back_has_them_all() {
    const KEYS: usize = 400;
    for shards in [1, 3] {
        let (mut server, faults) = start(shards, &["--auto-aof-rewrite-min-size", "1kb"]);
        let mut client = server.connect();
        let value = "x".repeat(5_000);
        for number in 0..KEYS {
            client.send(&["SET", &format!("k:{number}"), &value]);
        }
        (0..KEYS).for_each(|_| drop(client.value()));
        client.request(&["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"]);
        faults.delay_reads(Duration::from_millis(100));
        faults.fail_syncs(EIO);
        client.send(&["FLUSHALL"]);
        wait_for("the disk to be found failing", || (faults.failed() > 0).then_some(()));
        // From here on the journal is larger than it may be, and the disk works: a snapshot is due at once.
        faults.fail_syncs(0);
        let mut admin = server.connect();
        admin.request(&["CONFIG", "SET", "auto-aof-rewrite-percentage", "1"]);
        let refused = client.value();
        assert!(is_misconf(&refused) || matches!(refused, Value::Simple(_)), "{refused:?}");
        let expected = if is_misconf(&refused) { KEYS as i64 } else { 0 };
        assert_eq!(ask(&mut client, &["DBSIZE"]).as_int(), Some(expected));
        wait_for("a snapshot", || {
            let info = admin.text(&["INFO", "persistence"]);
            (!info.contains("aof_rewrites:0") && info.contains("aof_rewrite_in_progress:0")).then_some(())
        });
        faults.mend();
        server.kill();
        server.start_again();
        assert_eq!(server.connect().int(&["DBSIZE"]), expected, "{shards} shards");
    }
}

/// What the function `f` answers.
fn answer(client: &mut Client) -> Value {
    ask(client, &["FCALL", "f", "0"])
}

fn code(name: &str, answer: u32) -> String {
    // One that may write would be refused while the disk fails.
    format!(
        "#!lua name={name}\nredis.register_function{{function_name = '{name}', \
         callback = function() return {answer} end, flags = {{'no-writes'}}}}"
    )
}

fn libraries(client: &mut Client) -> usize {
    ask(client, &["FUNCTION", "LIST"]).as_slice().map_or(0, <[_]>::len)
}

#[test]
fn libraries_of_functions_are_undone_if_the_disk_does_not_take_them() {
    for shards in [1, 3] {
        let changes: [Vec<Vec<String>>; 5] = [
            vec![vec!["FUNCTION".into(), "LOAD".into(), "REPLACE".into(), code("f", 2)]],
            vec![vec!["FUNCTION".into(), "LOAD".into(), code("g", 2)]],
            vec![vec!["FUNCTION".into(), "DELETE".into(), "f".into()]],
            vec![vec!["FUNCTION".into(), "FLUSH".into()]],
            vec![
                vec!["MULTI".into()],
                vec!["SET".into(), "k".into(), "2".into()],
                vec!["FUNCTION".into(), "DELETE".into(), "f".into()],
                vec!["FUNCTION".into(), "LOAD".into(), code("h", 2)],
                vec!["EXEC".into()],
            ],
        ];
        let (mut server, faults) = start(shards, &[]);
        let mut client = server.connect();
        client.request(&["FUNCTION", "LOAD", &code("f", 1)]);
        client.request(&["SET", "k", "1"]);
        for change in changes {
            faults.fail_syncs(EIO);
            change.iter().for_each(|request| client.send(request));
            let refused = change.iter().map(|_| client.value()).last().expect("a reply");
            let is_refused = is_misconf(&refused)
                || matches!(&refused, Value::Error(text) if text.starts_with(b"EXECABORT"));
            assert!(is_refused, "{change:?}: {refused:?}");
            assert_eq!(answer(&mut client).as_int(), Some(1), "{change:?}");
            assert_eq!(libraries(&mut client), 1, "{change:?}");
            assert_eq!(ask(&mut client, &["GET", "k"]).as_bytes(), Some(&b"1"[..]), "{change:?}");
            faults.mend();
            await_writes(&mut client);
            assert_eq!(answer(&mut client).as_int(), Some(1), "{change:?}");
        }
        server.kill();
        server.start_again();
        let mut client = server.connect();
        assert_eq!(answer(&mut client).as_int(), Some(1));
        assert_eq!(libraries(&mut client), 1);
        assert_eq!(client.text(&["GET", "k"]), "1");
    }
}

/// Above what may wait for the disk a write waits, and so does a transaction: in neither is it refused.
#[test]
fn under_backlog_a_write_in_a_transaction_waits_as_a_plain_one_does() {
    const MIB: usize = 1024 * 1024;
    let (server, faults) = start(2, &[]);
    let (mut plain, mut multi) = (server.connect(), server.connect());
    plain.request(&["SELECT", "1"]);
    multi.request(&["SELECT", "2"]);
    assert_eq!(multi.request(&["MULTI"]), Value::Simple(b"OK".to_vec()));
    faults.delay_syncs(PATIENCE);
    // More than may be written and not synced, and as much again that may wait.
    let large = "x".repeat(16 * MIB);
    let mut fillers: Vec<Client> = (0..12).map(|_| server.connect()).collect();
    for (number, client) in fillers.iter_mut().enumerate() {
        client.send(&["SET", &format!("large:{number}"), &large]);
    }
    // As many as there is room for, and one more, are executed.
    let executed = |db: u8| {
        let info = server.connect().text(&["INFO", "keyspace"]);
        let keys = info.lines().find_map(|line| line.strip_prefix(&format!("db{db}:keys=")));
        keys.and_then(|keys| keys.split(',').next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    wait_for("the backlog", || (executed(0) > 4).then_some(()));
    plain.send(&["SET", "plain", "1"]);
    assert_eq!(multi.request(&["SET", "multi", "1"]), Value::Simple(b"QUEUED".to_vec()));
    multi.send(&["EXEC"]);
    let moment = Duration::from_millis(50);
    assert_eq!((plain.frame(moment), multi.frame(moment)), (Frame::Nothing, Frame::Nothing));
    assert_eq!((executed(1), executed(2)), (0, 0), "one of them was executed");
    assert!(executed(0) < fillers.len(), "all are executed: there is no backlog");
    faults.mend();
    assert_eq!(plain.value(), Value::Simple(b"OK".to_vec()));
    let Frame::Bytes(exec) = multi.frame(PATIENCE) else { panic!("no reply") };
    assert_eq!(value_of(&exec), Value::Array(vec![Value::Simple(b"OK".to_vec())]));
    fillers.iter_mut().for_each(|client| assert_eq!(client.value(), Value::Simple(b"OK".to_vec())));
}

/// The head of a long reply has been sent when the disk fails under the write behind it: the reply stays whole, and the write
/// alone is refused.
#[test]
fn a_reply_of_which_a_part_is_sent_stays_whole_when_the_write_behind_it_is_refused() {
    for (shards, proto) in [(1, "2"), (2, "3")] {
        let (server, faults) = start(shards, &[]);
        let mut client = server.connect();
        client.request(&["HELLO", proto]);
        client.request(&["CLIENT", "SETNAME", "slow"]);
        let long = "v".repeat(90_000);
        client.request(&["SET", "long", &long]);
        let mut other = server.connect();
        let mut queued_bytes = || {
            let list = other.text(&["CLIENT", "LIST"]);
            let line = list.lines().find(|line| line.contains("name=slow")).expect("it is there").to_owned();
            let omem = line.split(' ').find_map(|field| field.strip_prefix("omem=")).expect("a field");
            omem.parse::<usize>().expect("a number")
        };
        // More than the sockets take without a reader, by one reply, of which a part is on its way.
        let mut asked = 0;
        while queued_bytes() == 0 {
            client.send(&["GET", "long"]);
            client.send(&["GET", "long"]);
            asked += 2;
            thread::sleep(Duration::from_millis(2));
        }
        faults.fail_syncs(EIO);
        client.send(&["SET", "k", "1"]);
        client.send(&["GET", "k"]);
        wait_for("the failure", || is_misconf(&other.try_request(&["SET", "other", "1"])?).then_some(()));
        for nth in 0..asked {
            assert!(client.value() == Value::Bulk(long.clone().into_bytes()), "reply {nth} of {asked}");
        }
        let refused = client.value();
        assert!(is_misconf(&refused), "{refused:?}");
        let read = client.value();
        assert!(matches!(read, Value::Null | Value::Error(_)), "it is undone: {read:?}");
        faults.mend();
        await_writes(&mut other);
        assert_eq!(client.request(&["PING"]), Value::Simple(b"PONG".to_vec()));
    }
}
