//! A script is one step for everybody else, and one that never ends keeps nobody from being told so, or from ending it.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};

const SHARDS: [usize; 2] = [1, 3];

/// Connections of a test, so that some are on each shard.
const EACH: usize = 6;

fn error_of(client: &mut Client, request: &[&str]) -> String {
    client.send(request);
    client.error()
}

/// A server, and a client whose script is running and answered BUSY to others.
fn with_endless_script(shards: usize, script: &str) -> (Server, Client, Vec<Client>) {
    let server = Server::sterna(shards, &["--busy-reply-threshold", "100", "--appendonly", "yes"]);
    let mut others: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
    let mut runs = server.connect();
    others[0].request(&["SET", "k", "before"]);
    runs.send(&["EVAL", script, "0"]);
    for other in &mut others {
        wait_for("BUSY", || {
            other.send(&["GET", "k"]);
            matches!(other.value(), Value::Error(text) if text.starts_with(b"BUSY")).then_some(())
        });
    }
    (server, runs, others)
}

#[test]
fn what_a_script_writes_is_seen_as_a_whole_or_not_at_all() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &[]);
        let script =
            "for _, key in ipairs({'d', 'b', 'e', 'a', 'c'}) do redis.call('incr', key) end return 1";
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut writer = server.connect();
                scope.spawn(move || (0..300).for_each(|_| assert_eq!(writer.int(&["EVAL", script, "0"]), 1)));
            }
            for round in 0..3 {
                let mut reader = server.connect();
                scope.spawn(move || {
                    for _ in 0..300 {
                        let values = match round {
                            0 => reader.request(&["MGET", "a", "b", "c", "d", "e"]),
                            1 => reader.request(&[
                                "EVAL",
                                "return redis.call('mget','e','d','c','b','a')",
                                "0",
                            ]),
                            _ => reader.request(&["MGET", "e", "c", "a"]),
                        };
                        let values = values.as_slice().expect("an array").to_vec();
                        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn while_a_script_runs_for_ever_everyone_is_told_so_and_anyone_may_end_it() {
    for shards in SHARDS {
        let (server, mut runs, mut others) = with_endless_script(shards, "while true do end");
        let text = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        for request in [
            &["GET", "k"][..],
            &["SET", "k", "x"],
            &["EVAL", "return 1", "0"],
            &["SCRIPT", "LOAD", "return 1"],
            &["PING"],
        ] {
            for other in &mut others {
                assert_eq!(error_of(other, request), text, "{request:?}");
            }
        }
        // Who comes now is served, too; and what is closed is closed.
        let mut late = server.connect();
        assert_eq!(error_of(&mut late, &["GET", "k"]), text);
        late.request(&["WATCH", "k"]);
        drop(late);
        // What the script's own client sends waits behind its reply.
        runs.send(&["GET", "k"]);
        assert_eq!(others[EACH - 1].request(&["SCRIPT", "KILL"]), Value::Simple(b"OK".to_vec()));
        assert!(runs.error().contains("Script killed by user with SCRIPT KILL"));
        assert_eq!(runs.value(), Value::Bulk(b"before".to_vec()));
        assert_eq!(others[0].request(&["GET", "k"]), Value::Bulk(b"before".to_vec()));
        assert_eq!(others[1].int(&["EVAL", "return 7", "0"]), 7);
        assert!(error_of(&mut others[2], &["SCRIPT", "KILL"]).starts_with("NOTBUSY"));
    }
}

#[test]
fn a_script_that_has_written_is_ended_only_with_the_server_and_leaves_nothing() {
    for shards in SHARDS {
        let script = "redis.call('set', 'k', 'half') redis.call('set', 'l', 'half') while true do end";
        let (mut server, _runs, mut others) = with_endless_script(shards, script);
        assert!(error_of(&mut others[1], &["SCRIPT", "KILL"]).starts_with("UNKILLABLE"));
        others[2].send(&["SHUTDOWN", "NOSAVE"]);
        server.wait_and_start_again();
        let mut client = server.connect();
        assert_eq!(client.request(&["GET", "k"]), Value::Bulk(b"before".to_vec()));
        assert_eq!(client.request(&["GET", "l"]), Value::Null);
    }
}

#[test]
fn a_slow_script_that_ends_by_itself_has_done_all_it_did() {
    for shards in SHARDS {
        let script = "redis.call('set', 'k', 'first')
            local from = redis.call('time')
            while redis.call('time')[1] - from[1] < 2 do redis.call('incr', 'n') end
            redis.call('set', 'k', 'last') return redis.call('get', 'n')";
        let (mut server, mut runs, mut others) = with_endless_script(shards, script);
        let Value::Bulk(rounds) = runs.value() else { panic!("no number") };
        assert_eq!(
            others[0].request(&["MGET", "k", "n"]),
            Value::Array(vec![Value::Bulk(b"last".to_vec()), Value::Bulk(rounds.clone())])
        );
        server.restart();
        let mut client = server.connect();
        assert_eq!(
            client.request(&["MGET", "k", "n"]),
            Value::Array(vec![Value::Bulk(b"last".to_vec()), Value::Bulk(rounds)])
        );
    }
}

#[test]
fn of_a_script_that_runs_while_the_server_is_killed_all_is_there_or_nothing() {
    for shards in SHARDS {
        let mut server = Server::sterna(shards, &["--appendonly", "yes", "--appendfsync", "always"]);
        let script =
            "for i = 1, 20 do redis.call('incr', 'key:' .. i) end return redis.call('get', 'key:20')";
        for _ in 0..3 {
            let mut clients: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
            for client in &mut clients {
                (0..50).for_each(|_| client.send(&["EVAL", script, "0"]));
            }
            clients[0].value();
            server.kill();
            server.start_again();
            let mut client = server.connect();
            let values: Vec<String> = (1..=20).map(|i| client.text(&["GET", &format!("key:{i}")])).collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        }
    }
}
