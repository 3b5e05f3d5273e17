//! Who asks for a script, or a transaction with one, while another shard runs one, waits alone: its neighbours are served.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::faults::{EIO, Faults};
use sterna_tests::server::{Launch, PATIENCE, Server, free_port, wait_for};
use sterna_tests::tls::{Authority, connect};

use crate::credit::{MOMENT, STAND_STILL, on_shard};

/// A script that adds one, so that what it answers says when it ran.
const NEXT: &str = "return redis.call('incr', 'n')";

/// More commands than a transaction may have that is run without the right of a script.
const LONG: usize = 300;

fn id_of(client: &mut Client) -> String {
    client.int(&["CLIENT", "ID"]).to_string()
}

/// Waits until the request of the client has been looked at.
fn await_command(admin: &mut Client, id: &str, name: &str) {
    let word = format!("cmd={name} ");
    wait_for(name, || admin.text(&["CLIENT", "LIST", "ID", id]).contains(&word).then_some(()));
}

/// Has the first shard run a script that names no key, until somebody ends it.
pub(crate) fn run_on_first(server: &Server, admin: &mut Client) -> Client {
    let mut runs = on_shard(server, 0);
    let id = id_of(&mut runs);
    runs.send(&["EVAL", STAND_STILL, "0", "600000"]);
    await_command(admin, &id, "eval");
    runs
}

/// Ends the script; it is answered.
pub(crate) fn end_script(admin: &mut Client, runs: &mut Client) {
    wait_for("the script's end", || {
        matches!(admin.try_request(&["SCRIPT", "KILL"])?, Value::Simple(_)).then_some(())
    });
    assert!(runs.error().contains("Script killed"));
}

#[test]
fn who_scans_in_a_transaction_does_not_wait_for_a_script() {
    let server = Launch::shards(2).args(&["--appendonly", "no", "--busy-reply-threshold", "600000"]).start();
    let (mut admin, mut scans) = (on_shard(&server, 1), on_shard(&server, 1));
    // More than may be walked past in one piece by KEYS.
    for number in 0..10 {
        admin.request(&["SET", &format!("{number}{}", "k".repeat(100_000)), "v"]);
    }
    let mut runs = run_on_first(&server, &mut admin);
    scans.request(&["MULTI"]);
    scans.request(&["SCAN", "0", "COUNT", "1000"]);
    let Value::Array(replies) = scans.request(&["EXEC"]) else { panic!("no array") };
    assert!(matches!(&replies[..], [Value::Array(found)] if found[1].as_slice().map(<[_]>::len) == Some(10)));
    end_script(&mut admin, &mut runs);
}

fn assert_served(neighbour: &mut Client, round: i64) {
    assert_eq!(neighbour.text(&["ECHO", "x"]), "x");
    assert_eq!(neighbour.int(&["PUBLISH", "c", "m"]), 0);
    assert_eq!(neighbour.int(&["INCR", "neighbour"]), round);
    assert_eq!(neighbour.request(&["MULTI"]), Value::Simple(b"OK".to_vec()));
    neighbour.request(&["GET", "neighbour"]);
    let expected = Value::Array(vec![Value::Bulk(round.to_string().into_bytes())]);
    assert_eq!(neighbour.request(&["EXEC"]), expected);
}

/// Sends what needs the Lua state. Returns the command that waits then, and how many replies come before its own.
fn send_waiting(client: &mut Client, what: usize) -> (&'static str, usize) {
    match what {
        0 => {
            client.send(&["EVAL", NEXT, "0"]);
            ("eval", 0)
        }
        1 => {
            client.send(&["MULTI"]);
            client.send(&["EVAL", NEXT, "0"]);
            client.send(&["EXEC"]);
            ("exec", 2)
        }
        2 => {
            client.send(&["MULTI"]);
            client.send(&["INCR", "n"]);
            (0..LONG).for_each(|_| client.send(&["PING"]));
            client.send(&["EXEC"]);
            ("exec", LONG + 2)
        }
        _ => {
            client.send(&["FCALL", "next", "0"]);
            ("fcall", 0)
        }
    }
}

/// What the request has counted.
fn number_of(value: Value) -> i64 {
    match value {
        Value::Int(number) => number,
        Value::Array(values) => number_of(values[0].clone()),
        other => panic!("{other:?}"),
    }
}

/// Which one leaves that has been sent replies: these reset its connection, where the mere end of what it sends does not.
const LEAVES: usize = 5;

#[test]
fn whoever_waits_for_the_end_of_a_script_elsewhere_waits_alone_and_in_order() {
    let server = Server::sterna(3, &["--busy-reply-threshold", "600000", "--enable-debug-command", "yes"]);
    let mut admin = on_shard(&server, 1);
    let code =
        "#!lua name=lib\nredis.register_function('next', function() return redis.call('incr', 'n') end)";
    admin.text(&["FUNCTION", "LOAD", code]);
    let mut neighbours = [1, 2].map(|shard| on_shard(&server, shard));
    let shards: Vec<usize> = (0..8).map(|at| 1 + at % 2).collect();
    let clients: Vec<Client> = shards.iter().map(|&shard| on_shard(&server, shard)).collect();
    let mut runs = run_on_first(&server, &mut admin);
    // Some on each shard, each behind those before it.
    let mut waiting = Vec::new();
    for (at, (mut client, shard)) in clients.into_iter().zip(shards).enumerate() {
        let id = id_of(&mut client);
        let (name, before) = send_waiting(&mut client, at / 2);
        if at != LEAVES {
            (0..before).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
        }
        await_command(&mut admin, &id, name);
        if at % 3 == 0 {
            // It sends no more, and is answered all the same.
            client.finish();
        }
        waiting.push((client, id, shard));
    }
    for (round, neighbour) in (1..).zip(&mut neighbours) {
        assert_served(neighbour, round);
    }
    // One leaves, and is sent what it does not take, one is killed: nothing of theirs happens, and nobody waits for them.
    let (gone, gone_id, _) = waiting.remove(LEAVES);
    for (client, ..) in &mut waiting {
        assert_eq!(client.frame(Duration::from_millis(1)), Frame::Nothing);
    }
    drop(gone);
    wait_for("the end of who has left", || {
        admin.text(&["CLIENT", "LIST", "ID", &gone_id]).is_empty().then_some(())
    });
    let (mut killed, killed_id, _) = waiting.remove(0);
    assert_eq!(admin.int(&["CLIENT", "KILL", "ID", &killed_id]), 1);
    assert_eq!(killed.frame(PATIENCE), Frame::Closed);
    end_script(&mut admin, &mut runs);
    let numbers: Vec<i64> = waiting.iter_mut().map(|(client, ..)| number_of(client.value())).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(1..=6), "{numbers:?}");
    // On one shard in the order in which they came; of two shards one may do some first.
    for own in [1, 2] {
        let of_shard = waiting.iter().zip(&numbers).filter(|((.., shard), _)| *shard == own);
        assert!(of_shard.map(|(_, number)| number).is_sorted(), "{numbers:?}");
    }
    for (round, neighbour) in (3..).zip(&mut neighbours) {
        assert_served(neighbour, round);
    }
}

#[test]
fn whoever_waits_for_a_script_is_told_when_it_has_run_for_too_long() {
    let server = Server::sterna(2, &["--busy-reply-threshold", "1000"]);
    let mut admin = on_shard(&server, 1);
    let mut waiting: Vec<Client> = (0..3).map(|_| on_shard(&server, 1)).collect();
    waiting[2].request(&["MULTI"]);
    waiting[2].request(&["EVAL", NEXT, "0"]);
    let mut runs = run_on_first(&server, &mut admin);
    waiting[0].send(&["EVAL", NEXT, "0"]);
    waiting[1].send(&["SCRIPT", "LOAD", NEXT]);
    waiting[2].send(&["EXEC"]);
    let busy = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    assert_eq!(waiting[0].error(), busy);
    assert_eq!(waiting[1].error(), busy);
    assert_eq!(waiting[2].error(), format!("EXECABORT Transaction discarded because of: {busy}"));
    end_script(&mut admin, &mut runs);
    waiting[2].send(&["EXEC"]);
    assert_eq!(waiting[2].error(), "ERR EXEC without MULTI");
    assert_eq!(waiting[0].int(&["EVAL", NEXT, "0"]), 1);
}

#[test]
fn what_happens_while_a_transaction_waits_for_a_script_is_known_to_it() {
    let server = Server::sterna(2, &["--busy-reply-threshold", "600000"]);
    let mut admin = on_shard(&server, 1);
    let (mut watching, mut paused, mut denied) =
        (on_shard(&server, 1), on_shard(&server, 1), on_shard(&server, 1));
    admin.request(&["ACL", "SETUSER", "alice", "on", "nopass", "+@all", "~*"]);
    denied.request(&["AUTH", "alice", "x"]);
    let ids = [&mut watching, &mut paused, &mut denied].map(id_of);
    let mut rules = on_shard(&server, 1);
    let rules_id = id_of(&mut rules);
    watching.request(&["WATCH", "k"]);
    watching.request(&["MULTI"]);
    watching.request(&["EVAL", NEXT, "0"]);
    let mut runs = run_on_first(&server, &mut admin);
    watching.send(&["EXEC"]);
    paused.send(&["EVAL", NEXT, "0"]);
    denied.send(&["EVAL", NEXT, "0"]);
    for (id, name) in ids.iter().zip(["exec", "eval", "eval"]) {
        await_command(&mut admin, id, name);
    }
    admin.request(&["SET", "k", "v"]);
    // It is answered when all shards have followed.
    rules.send(&["ACL", "SETUSER", "alice", "-eval"]);
    await_command(&mut admin, &rules_id, "acl|setuser");
    admin.request(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    end_script(&mut admin, &mut runs);
    assert!(denied.error().starts_with("NOPERM"));
    assert_eq!(rules.value(), Value::Simple(b"OK".to_vec()));
    for waits in [&mut watching, &mut paused] {
        assert_eq!(waits.frame(MOMENT), Frame::Nothing);
    }
    admin.request(&["CLIENT", "UNPAUSE"]);
    assert_eq!(watching.value(), Value::Null);
    assert_eq!(paused.value(), Value::Int(1));
}

#[test]
fn many_who_run_scripts_on_every_shard_all_come_to_their_end() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 60;
    // Some are longer than a shard waits for another one, some are not.
    let script = "for i = 1, ARGV[1] do redis.call('incr', 'n') end return 1";
    let server = Server::sterna(3, &[]);
    std::thread::scope(|scope| {
        for at in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let times = ["1", "2000"][usize::from((at + round) % 4 == 0)];
                    if (at + round) % 3 == 0 {
                        client.send(&["MULTI"]);
                        client.send(&["EVAL", script, "0", times]);
                        client.send(&["EXEC"]);
                    } else {
                        (0..3).for_each(|_| client.send(&["EVAL", script, "0", times]));
                    }
                    for _ in 0..3 {
                        assert!(!matches!(client.value(), Value::Error(_)));
                    }
                }
            });
        }
    });
    let mut expected = 0;
    for (at, round) in (0..CLIENTS).flat_map(|at| (0..ROUNDS).map(move |round| (at, round))) {
        let times = [1, 2000][usize::from((at + round) % 4 == 0)];
        expected += times * if (at + round) % 3 == 0 { 1 } else { 3 };
    }
    assert_eq!(server.connect().int(&["INCRBY", "n", "0"]), expected);
}

/// A server whose files of settings are on a disk that can be slow.
fn with_files(shards: usize) -> (Server, Faults) {
    let launch = Launch::shards(shards).args(&["--appendonly", "no"]);
    std::fs::create_dir(launch.path("settings")).expect("a folder can be made");
    let launch = launch.file("settings/users.acl", "user default on nopass ~* &* +@all\n");
    let launch = launch.file("settings/redis.conf", "aclfile {folder}/settings/users.acl\n");
    let (launch, faults) = Faults::under(launch, "settings");
    (launch.config("{folder}/settings/redis.conf").start(), faults)
}

/// differs=files-of-exec
#[test]
fn a_transaction_with_a_file_of_settings_waits_for_the_disk_alone_and_is_answered_as_a_whole() {
    const HOUR: Duration = Duration::from_secs(3600);
    let ok = || Value::Simple(b"OK".to_vec());
    for shards in [1, 2] {
        let (server, faults) = with_files(shards);
        let (mut client, mut neighbour) = (on_shard(&server, 0), on_shard(&server, 0));
        // Its file is read before it begins.
        faults.delay_reads(HOUR);
        for request in [&["MULTI"][..], &["INCR", "n"], &["ACL", "LOAD"], &["EXEC"], &["ECHO", "behind"]] {
            client.send(request);
        }
        (0..3).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
        assert_served(&mut neighbour, 1);
        neighbour.request(&["ACL", "SETUSER", "bob", "on"]);
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        assert_eq!(neighbour.request(&["GET", "n"]), Value::Null);
        faults.mend();
        assert_eq!(client.value(), Value::Array(vec![Value::Int(1), ok()]));
        assert_eq!(client.value(), Value::Bulk(b"behind".to_vec()));
        assert_eq!(neighbour.request(&["ACL", "GETUSER", "bob"]), Value::Null);
        // A file is written when it has been run, and then all of it is answered, and what it has published to its own client.
        let mut resp3 = server.connect_resp3();
        resp3.request(&["SUBSCRIBE", "own"]);
        for (file, error) in [(&["CONFIG", "REWRITE"], "ERR "), (&["ACL", "SAVE"], "ERR There was an error")]
        {
            for fails in [false, true] {
                faults.delay_syncs(HOUR);
                if fails {
                    faults.fail_syncs(EIO);
                }
                let change = ["CONFIG", "SET", "timeout", if fails { "7000" } else { "8000" }];
                // One by one: what is answered before in the same batch waits with EXEC.
                for request in [&["MULTI"][..], &change, file, &["PUBLISH", "own", "x"]] {
                    assert!(matches!(resp3.request(request), Value::Simple(_)));
                }
                resp3.send(&["EXEC"]);
                wait_for("the transaction", || {
                    (neighbour.text_at(&["CONFIG", "GET", "timeout"], 1) == change[3]).then_some(())
                });
                assert_eq!(neighbour.request(&["CONFIG", "SET", "maxmemory", "1gb"]), ok());
                assert_eq!(resp3.frame(MOMENT), Frame::Nothing);
                faults.delay_syncs(Duration::ZERO);
                let Value::Array(replies) = resp3.value() else { panic!("no array") };
                assert_eq!((&replies[0], &replies[2]), (&ok(), &Value::Int(1)));
                match &replies[1] {
                    Value::Error(text) if fails => assert!(text.starts_with(error.as_bytes()), "{text:?}"),
                    reply => assert!(!fails && *reply == ok(), "{fails} {reply:?}"),
                }
                assert!(matches!(resp3.value(), Value::Push(_)));
                faults.mend();
            }
        }
    }
}

#[test]
fn who_sets_certificates_waits_for_the_disk_alone() {
    const HOUR: Duration = Duration::from_secs(3600);
    let ok = || Value::Simple(b"OK".to_vec());
    for shards in [1, 2] {
        let authorities = [Authority::new(), Authority::new()];
        let mut launch = Launch::shards(shards);
        std::fs::create_dir(launch.path("settings")).expect("a folder can be made");
        for (number, authority) in authorities.iter().enumerate() {
            let identity = authority.identity();
            launch = launch.file(&format!("settings/cert-{number}"), &identity.certificate);
            launch = launch.file(&format!("settings/key-{number}"), &identity.key);
        }
        let (launch, faults) = Faults::under(launch, "settings");
        let port = free_port();
        let server = launch
            .args(&["--tls-port", &port.to_string(), "--tls-auth-clients", "no"])
            .args(&[
                "--tls-cert-file",
                "{folder}/settings/cert-0",
                "--tls-key-file",
                "{folder}/settings/key-0",
            ])
            .start();
        let path = |name: &str| server.path("settings").join(name).display().to_string();
        let paths = [0, 1].map(|number| [path(&format!("cert-{number}")), path(&format!("key-{number}"))]);
        let set = |number: usize| {
            let [cert, key] = &paths[number];
            ["CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key]
        };
        let is_served = |number: usize| {
            let pings = |mut client: Client| client.try_request(&["PING"]).is_some();
            connect(port, &authorities[number], None).is_ok_and(pings)
        };
        let (mut client, mut neighbour) = (on_shard(&server, 0), on_shard(&server, 0));
        assert!(is_served(0) && !is_served(1));
        faults.delay_reads(HOUR);
        client.send(&set(1));
        client.send(&["ECHO", "behind"]);
        assert_served(&mut neighbour, 1);
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        // What it goes by changes meanwhile: it is read again.
        assert_eq!(neighbour.request(&["CONFIG", "SET", "timeout", "7000"]), ok());
        neighbour.send(&["CONFIG", "SET", "tls-protocols", "TLSv1.3"]);
        assert_eq!(neighbour.frame(MOMENT), Frame::Nothing);
        assert!(is_served(0) && !is_served(1));
        faults.mend();
        assert_eq!(client.value(), ok());
        assert_eq!(client.value(), Value::Bulk(b"behind".to_vec()));
        assert_eq!(neighbour.value(), ok());
        assert!(!is_served(0) && is_served(1));
        let expected = [&paths[1][0], "TLSv1.3"].map(|text| text.as_bytes().to_vec());
        let got = ["tls-cert-file", "tls-protocols"]
            .map(|name| client.text_at(&["CONFIG", "GET", name], 1).into_bytes());
        assert_eq!(got, expected);
        // Of a transaction they are read before it begins, each as its options are then.
        faults.delay_reads(HOUR);
        let none = path("none");
        let requests: [&[&str]; 6] = [
            &["MULTI"],
            &["INCR", "n"],
            &set(0),
            &["CONFIG", "SET", "tls-cert-file", &none],
            &set(0),
            &["EXEC"],
        ];
        requests.iter().for_each(|request| client.send(request));
        (0..5).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
        assert_served(&mut neighbour, 2);
        assert_eq!(neighbour.request(&["CONFIG", "SET", "timeout", "8000"]), ok());
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        assert_eq!(neighbour.request(&["GET", "n"]), Value::Null);
        assert!(is_served(1));
        faults.mend();
        let error = "ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update TLS configuration. \
                     Check server logs.";
        let replies = vec![Value::Int(1), ok(), Value::Error(error.as_bytes().to_vec()), ok()];
        assert_eq!(client.value(), Value::Array(replies));
        assert!(is_served(0) && !is_served(1));
    }
}

#[test]
fn who_listens_at_a_name_waits_for_the_name_server_alone() {
    const HOUR: Duration = Duration::from_secs(3600);
    let ok = || Value::Simple(b"OK".to_vec());
    for shards in [1, 2] {
        let (launch, faults) = Faults::under(Launch::shards(shards).args(&["--appendonly", "no"]), "journal");
        let server = launch.start();
        let (mut client, mut neighbour) = (on_shard(&server, 0), on_shard(&server, 0));
        faults.delay_reads(HOUR);
        client.send(&["CONFIG", "SET", "bind", "127.0.0.1 -localhost"]);
        client.send(&["ECHO", "behind"]);
        assert_served(&mut neighbour, 1);
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        faults.mend();
        assert_eq!(client.value(), ok());
        assert_eq!(client.value(), Value::Bulk(b"behind".to_vec()));
        assert_eq!(client.text_at(&["CONFIG", "GET", "bind"], 1), "127.0.0.1 -localhost");
        // Of a transaction it is asked before it begins. A name that can't be one is known to nobody.
        faults.delay_reads(HOUR);
        let unknown = format!("127.0.0.1 {}", "x".repeat(300));
        let requests: [&[&str]; 5] = [
            &["MULTI"],
            &["INCR", "n"],
            &["CONFIG", "SET", "bind", &unknown],
            &["CONFIG", "SET", "bind", "-localhost 127.0.0.1"],
            &["EXEC"],
        ];
        requests.iter().for_each(|request| client.send(request));
        (0..4).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
        assert_served(&mut neighbour, 2);
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        assert_eq!(neighbour.request(&["GET", "n"]), Value::Null);
        faults.mend();
        let Value::Array(replies) = client.value() else { panic!("no array") };
        assert_eq!((&replies[0], &replies[2]), (&Value::Int(1), &ok()));
        let error = "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.";
        assert_eq!(replies[1], Value::Error(error.as_bytes().to_vec()));
        server.connect().assert_quiet();
    }
}

/// A transaction is one piece: what a change in it needs to know is asked for before, also where one in front of it will fail.
#[test]
fn a_port_behind_a_name_that_is_unknown_waits_for_the_name_server_before_its_transaction_begins() {
    const HOUR: Duration = Duration::from_secs(3600);
    let ok = || Value::Simple(b"OK".to_vec());
    for shards in [1, 2] {
        let (launch, faults) = Faults::under(Launch::shards(shards).args(&["--appendonly", "no"]), "journal");
        let server = launch.start();
        let (mut client, mut neighbour) = (on_shard(&server, 0), on_shard(&server, 0));
        assert_eq!(client.request(&["CONFIG", "SET", "bind", "localhost"]), ok());
        // The new port is for the addresses as they are; the unknown name is answered at once.
        faults.only("localhost");
        faults.delay_reads(HOUR);
        let (unknown, port) = ("x".repeat(300), free_port());
        let requests: [&[&str]; 5] = [
            &["MULTI"],
            &["INCR", "n"],
            &["CONFIG", "SET", "bind", &unknown],
            &["CONFIG", "SET", "port", &port.to_string()],
            &["EXEC"],
        ];
        requests.iter().for_each(|request| client.send(request));
        (0..4).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
        assert_served(&mut neighbour, 1);
        assert_eq!(client.frame(MOMENT), Frame::Nothing);
        assert_eq!(neighbour.request(&["GET", "n"]), Value::Null);
        assert_served(&mut neighbour, 2);
        faults.mend();
        let Value::Array(replies) = client.value() else { panic!("no array") };
        assert!(
            matches!(&replies[1], Value::Error(text) if text.ends_with(b"specified addresses.")),
            "{replies:?}"
        );
        assert_eq!((&replies[0], &replies[2]), (&Value::Int(1), &ok()));
        Client::to(port).assert_quiet();
    }
}

#[test]
fn a_client_that_is_killed_just_before_its_script_has_run_for_too_long_is_closed_when_that_ends() {
    let server = Server::sterna(2, &["--busy-reply-threshold", "300"]);
    let mut killer = on_shard(&server, 1);
    wait_for("a kill that comes before the threshold", || {
        let mut runs = on_shard(&server, 0);
        let id = id_of(&mut runs);
        runs.send(&["EVAL", STAND_STILL, "0", "600"]);
        // The shard of the script reads of it while it serves others beside that.
        killer.send(&["CLIENT", "KILL", "ID", &id]);
        let is_taken = killer.value().as_int() == Some(1);
        wait_for("the script's end", || (killer.try_request(&["INCR", "n"])?.as_int()? > 0).then_some(()));
        if is_taken {
            runs.rest();
        }
        is_taken.then_some(())
    });
    assert_eq!(on_shard(&server, 0).text(&["ECHO", "x"]), "x");
}
