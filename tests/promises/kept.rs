//! Who names a key that a script elsewhere has to itself waits alone: the script goes on, and so does everybody else.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{PATIENCE, Server, wait_for};

use crate::credit::{MOMENT, many_on_shard, on_shard};

/// Writes to its keys, and goes on until somebody subscribes to `stop`.
const KEEPS: &str = "redis.call('set', KEYS[1], 'new') redis.call('rpush', KEYS[2], 'new') \
     repeat until redis.call('pubsub', 'numsub', 'stop')[2] > 0 return 1";

const ARGS: [&str; 4] = ["--busy-reply-threshold", "600000", "--enable-debug-command", "yes"];

/// Has the first shard run the script, until somebody subscribes to `stop`.
fn run_on_first(server: &Server, admin: &mut Client) -> Client {
    let mut runs = on_shard(server, 0);
    runs.send(&["EVAL", KEEPS, "2", "k", "l"]);
    wait_for("the script", || {
        admin.text(&["INFO", "commandstats"]).contains("cmdstat_pubsub|numsub").then_some(())
    });
    runs
}

fn end_script(admin: &mut Client, runs: &mut Client) {
    admin.request(&["SUBSCRIBE", "stop"]);
    assert_eq!(runs.value(), Value::Int(1));
}

/// A key that lies elsewhere than those of the script: somebody else is answered who names it.
fn free_key(clients: Vec<Client>) -> String {
    let mut asking: Vec<(Client, String)> =
        clients.into_iter().zip(0..).map(|(client, at)| (client, format!("free:{at}"))).collect();
    asking.iter_mut().for_each(|(client, key)| client.send(&["SET", key, "x"]));
    wait_for("a key that is free", || {
        let mut answered =
            asking.iter_mut().filter_map(|(client, key)| match client.frame(Duration::from_millis(1)) {
                Frame::Bytes(_) => Some(key.clone()),
                _ => None,
            });
        answered.next()
    })
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn assert_served(client: &mut Client, free: &str) {
    assert_eq!(client.text(&["ECHO", "x"]), "x");
    assert_eq!(client.int(&["PUBLISH", "c", "m"]), 0);
    assert_eq!(client.text(&["GET", free]), "x");
    assert_eq!(client.request(&["SET", free, "x"]), ok());
    assert!(client.text(&["INFO", "keyspace"]).starts_with("# Keyspace"));
    client.request(&["MULTI"]);
    client.request(&["GET", free]);
    assert_eq!(client.request(&["EXEC"]), Value::Array(vec![bulk("x")]));
}

#[test]
fn whoever_names_a_key_of_a_script_that_runs_elsewhere_waits_alone() {
    for shards in [2, 3] {
        let server = Server::sterna(shards, &ARGS);
        let mut admin = on_shard(&server, 1);
        let mut neighbours: Vec<Client> = (1..shards).map(|shard| on_shard(&server, shard)).collect();
        // No more can connect to the first shard, once it runs the script.
        let mut others = many_on_shard(&server, 1, 23);
        let asking = others.split_off(17);
        let Ok([mut timed_out, mut killed, mut gone]) = <[Client; 3]>::try_from(others.split_off(14)) else {
            unreachable!("there are three")
        };
        let mut clients = others;
        timed_out.send(&["BLPOP", "l", "0.5"]);
        wait_for("who waits", || {
            admin.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        // It is not served while the script goes on, and its time is up.
        let mut runs = run_on_first(&server, &mut admin);
        let free = free_key(asking);
        assert_eq!(timed_out.value(), Value::Null);
        let many: Vec<String> = (0..9_000).map(|at| format!("many:{at}")).collect();
        let del: Vec<&str> = ["DEL", "k:none"].into_iter().chain(many.iter().map(String::as_str)).collect();
        let requests: [(&[&str], Option<Value>); 12] = [
            (&["GET", "k"], Some(bulk("new"))),
            (&["MGET", &free, "k"], Some(Value::Array(vec![bulk("x"), bulk("new")]))),
            (&["WATCH", "k"], Some(ok())),
            (&["LRANGE", "l", "0", "-1"], None),
            (&["DBSIZE"], None),
            (&["SCAN", "0"], None),
            (&["KEYS", "k"], Some(Value::Array(vec![bulk("k")]))),
            (&del, Some(Value::Int(0))),
            (&["BLPOP", "l", "0"], None),
            (&["APPEND", "k", ""], Some(Value::Int(3))),
            (&["DEBUG", "OBJECT", "k"], None),
            (&["EXPIRE", "k", "1000"], Some(Value::Int(1))),
        ];
        for (client, (request, _)) in clients.iter_mut().zip(&requests) {
            client.send(request);
        }
        // One asks for more, and ends its half of the connection; one asks in a transaction.
        let [piped, transacts] = &mut clients[12..] else { unreachable!("there are as many") };
        piped.send(&["ECHO", "before"]);
        piped.send(&["GET", "k"]);
        piped.send(&["ECHO", "behind"]);
        piped.finish();
        assert_eq!(piped.value(), bulk("before"));
        for request in [&["MULTI"][..], &["GET", "k"], &["EXEC"]] {
            transacts.send(request);
        }
        assert_eq!((transacts.value(), transacts.value()), (ok(), Value::Simple(b"QUEUED".to_vec())));
        for _ in 0..3 {
            neighbours.iter_mut().for_each(|neighbour| assert_served(neighbour, &free));
        }
        assert_eq!(admin.request(&["CONFIG", "SET", "hash-max-listpack-entries", "100"]), ok());
        for client in &mut clients {
            assert_eq!(client.frame(Duration::from_millis(1)), Frame::Nothing);
        }
        // One leaves, and is sent what it does not take, one is killed: nobody waits for them.
        let id = killed.int(&["CLIENT", "ID"]).to_string();
        killed.send(&["SET", "k", "killed"]);
        let gone_id = gone.int(&["CLIENT", "ID"]).to_string();
        gone.send(&["ECHO", "x"]);
        gone.send(&["APPEND", "k", "gone"]);
        wait_for("its request", || {
            admin.text(&["CLIENT", "LIST", "ID", &id]).contains("cmd=set ").then_some(())
        });
        assert_eq!(admin.int(&["CLIENT", "KILL", "ID", &id]), 1);
        assert_eq!(killed.frame(PATIENCE), Frame::Closed);
        drop(gone);
        wait_for("the end of who has left", || {
            admin.text(&["CLIENT", "LIST", "ID", &gone_id]).is_empty().then_some(())
        });
        end_script(&mut admin, &mut runs);
        for (client, (request, expected)) in clients.iter_mut().zip(&requests) {
            let value = client.value();
            assert!(!matches!(value, Value::Error(_)), "{:?}: {value:?}", request[0]);
            if let Some(expected) = expected {
                assert_eq!(value, *expected, "{:?}", request[0]);
            }
        }
        let [piped, transacts] = &mut clients[12..] else { unreachable!("there are as many") };
        assert_eq!((piped.value(), piped.value()), (bulk("new"), bulk("behind")));
        assert_eq!(transacts.value(), Value::Array(vec![bulk("new")]));
        assert_eq!(clients[0].text(&["GET", "k"]), "new");
    }
}

#[test]
fn many_who_name_the_keys_of_scripts_on_every_shard_all_come_to_their_end() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 40;
    let script = "for i = 1, ARGV[1] do redis.call('incr', KEYS[1]) end return 1";
    let server = Server::sterna(3, &[]);
    std::thread::scope(|scope| {
        for at in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = format!("n:{}", (at + round) % 3);
                    match (at + round) % 4 {
                        0 => client.send(&["EVAL", script, "1", &key, "2000"]),
                        1 => client.send(&["EVAL", script, "1", &key, "3"]),
                        2 => client.send(&["INCRBY", &key, "10"]),
                        _ => client.send(&["MGET", "n:0", "n:1", "n:2"]),
                    }
                    let value = client.value();
                    assert!(!matches!(value, Value::Error(_)), "{value:?}");
                }
            });
        }
    });
    let all = (0..CLIENTS).flat_map(|at| (0..ROUNDS).map(move |round| (at + round) % 4));
    let expected: i64 = all.map(|kind| [2_000, 3, 10, 0][kind]).sum();
    let mut client = server.connect();
    let sum: i64 = (0..3).map(|at| client.int(&["INCRBY", &format!("n:{at}"), "0"])).sum();
    assert_eq!(sum, expected);
}

#[test]
fn who_waits_for_the_keys_of_a_script_is_not_blocked_and_who_was_blocked_before_is_served_at_its_end() {
    let server = Server::sterna(2, &ARGS);
    let mut admin = on_shard(&server, 1);
    let clients = <[Client; 4]>::try_from(many_on_shard(&server, 1, 4));
    let Ok([mut watches, mut unblocked, mut blocked, mut waits]) = clients else { unreachable!() };
    let [unblocked_id, waits_id] = [&mut unblocked, &mut waits].map(|client| client.int(&["CLIENT", "ID"]));
    watches.request(&["WATCH", "k"]);
    watches.request(&["MULTI"]);
    watches.request(&["GET", "k"]);
    for (client, waiting) in [&mut unblocked, &mut blocked].into_iter().zip(1..) {
        client.send(&["BLPOP", "l", "0"]);
        await_blocked(&mut admin, waiting);
    }
    let mut runs = run_on_first(&server, &mut admin);
    watches.send(&["EXEC"]);
    waits.send(&["GET", "k"]);
    let line = wait_for("its request", || {
        let line = admin.text(&["CLIENT", "LIST", "ID", &waits_id.to_string()]);
        line.contains("cmd=get ").then_some(line)
    });
    assert!(line.contains(" flags=N "), "{line}");
    await_blocked(&mut admin, 2);
    assert_eq!(admin.int(&["CLIENT", "UNBLOCK", &waits_id.to_string()]), 0);
    assert_eq!(admin.int(&["CLIENT", "UNBLOCK", &unblocked_id.to_string()]), 1);
    assert_eq!(unblocked.value(), Value::Null);
    end_script(&mut admin, &mut runs);
    assert_eq!(watches.value(), Value::Null, "the script has written to the key");
    assert_eq!(waits.value(), bulk("new"));
    assert_eq!(blocked.value(), Value::Array(vec![bulk("l"), bulk("new")]));
}

fn await_blocked(admin: &mut Client, clients: usize) {
    let line = format!("blocked_clients:{clients}\r");
    wait_for(&line, || admin.text(&["INFO", "clients"]).contains(&line).then_some(()));
}

#[test]
fn who_waits_for_the_keys_of_a_script_that_is_killed_goes_on() {
    let server = Server::sterna(2, &ARGS);
    let mut admin = on_shard(&server, 1);
    let clients = <[Client; 3]>::try_from(many_on_shard(&server, 1, 3));
    let Ok([mut writes, mut transacts, mut scripts]) = clients else { unreachable!() };
    let mut runs = on_shard(&server, 0);
    runs.send(&["EVAL", "redis.call('get', KEYS[1]) while true do end", "1", "k"]);
    wait_for("the script", || admin.text(&["INFO", "commandstats"]).contains("cmdstat_get:").then_some(()));
    writes.send(&["APPEND", "k", "w"]);
    transacts.send(&["MULTI"]);
    transacts.send(&["APPEND", "k", "t"]);
    transacts.send(&["EXEC"]);
    scripts.send(&["EVAL", "return redis.call('append', KEYS[1], 's')", "1", "k"]);
    assert_eq!((transacts.value(), transacts.value()), (ok(), Value::Simple(b"QUEUED".to_vec())));
    for client in [&mut writes, &mut transacts, &mut scripts] {
        assert_eq!(client.frame(Duration::from_millis(1)), Frame::Nothing);
    }
    assert_eq!(admin.request(&["SCRIPT", "KILL"]), ok());
    assert!(runs.error().contains("Script killed"));
    let mut lengths: Vec<i64> = [writes.value(), transacts.value(), scripts.value()].map(length_of).into();
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 2, 3]);
}

fn length_of(value: Value) -> i64 {
    match value {
        Value::Int(length) => length,
        Value::Array(values) if values.len() == 1 => length_of(values[0].clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_waits_for_the_keys_of_a_script_does_not_happen_when_the_server_ends_meanwhile() {
    let half = "redis.call('set', KEYS[1], 'half') while true do end";
    for end in [&[][..], &["SHUTDOWN"], &["SHUTDOWN", "NOSAVE", "NOW"]] {
        let args = ["--busy-reply-threshold", "300", "--appendonly", "yes", "--appendfsync", "always"];
        let mut server = Server::sterna(2, &args);
        let mut admin = on_shard(&server, 1);
        admin.request(&["SET", "k", "before"]);
        let mut waiting = many_on_shard(&server, 1, 3);
        let mut runs = on_shard(&server, 0);
        runs.send(&["EVAL", half, "1", "k"]);
        wait_for("the script", || {
            admin.text(&["INFO", "commandstats"]).contains("cmdstat_set:calls=2").then_some(())
        });
        waiting[0].send(&["SET", "k", "w"]);
        waiting[1].send(&["EVAL", "return redis.call('set', KEYS[1], 's')", "1", "k"]);
        for request in [&["MULTI"][..], &["SET", "k", "t"], &["EXEC"]] {
            waiting[2].send(request);
        }
        // A script that has run for too long has it refused.
        if end.is_empty() || matches!(admin.try_request(end), Some(Value::Error(_))) {
            server.kill();
            server.start_again();
        } else {
            server.wait_and_start_again();
        }
        assert_eq!(server.connect().text(&["GET", "k"]), "before", "{end:?}");
    }
}

#[test]
fn who_needs_memory_while_a_script_has_all_keys_that_may_go_waits_for_its_end() {
    let server = Server::sterna(2, &[&ARGS[..], &["--appendonly", "no"]].concat());
    let mut admin = on_shard(&server, 1);
    let mut writes = on_shard(&server, 1);
    admin.request(&["RPUSH", "l", &"x".repeat(4 << 20)]);
    let mut runs = run_on_first(&server, &mut admin);
    let used = admin.text(&["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok());
    let limit = used.expect("INFO says it") - (2 << 20);
    admin.request(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", &limit.to_string()]);
    writes.send(&["SET", "x", "y"]);
    assert_eq!(writes.frame(MOMENT), Frame::Nothing);
    end_script(&mut admin, &mut runs);
    assert_eq!(writes.value(), ok());
}
