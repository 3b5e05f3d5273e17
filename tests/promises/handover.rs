//! Elements of lists that are handed from clients to clients who wait for them, on one shard and across several.

use std::collections::{HashMap, HashSet};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

const SHARDS: [usize; 2] = [1, 3];

fn blocked(client: &mut Client) -> usize {
    let info = client.text(&["INFO", "clients"]);
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).expect("a field of INFO");
    line.trim().parse().expect("a number")
}

/// Waits until so many clients wait.
fn await_blocked(client: &mut Client, count: usize) {
    wait_for("clients that wait", || (blocked(client) == count).then_some(()));
}

/// The text at a place of an array.
fn text_of(value: &Value, index: usize) -> String {
    let text = value.as_slice().and_then(|all| all.get(index)).and_then(Value::as_bytes);
    String::from_utf8(text.unwrap_or_else(|| panic!("{value:?}")).to_vec()).expect("ASCII")
}

/// Takes until it is handed the word to stop; returns what came before.
fn work(server: &Server, command: &[&str], text_at: usize) -> Vec<String> {
    let mut client = server.connect();
    let mut taken = Vec::new();
    loop {
        let text = text_of(&client.request(command), text_at);
        if text == "stop" {
            return taken;
        }
        taken.push(text);
    }
}

/// Under `no` nothing but the waiter's own shard asks whether the record is written.
#[test]
fn who_is_served_from_another_shard_is_answered_though_nothing_else_happens() {
    for policy in ["no", "everysec", "always"] {
        let server = Server::sterna(2, &["--appendfsync", policy]);
        let (mut writer, mut waiters) = (server.connect(), Vec::from_iter((0..4).map(|_| server.connect())));
        for round in 0..200 {
            let waiter = &mut waiters[round % 4];
            waiter.send(&["BLPOP", "k", "0"]);
            writer.request(&["LPUSH", "k", &round.to_string()]);
            assert_eq!(text_of(&waiter.value(), 1), round.to_string());
        }
    }
}

#[test]
fn each_element_reaches_one_worker_and_none_is_lost_whichever_shards_they_are_on() {
    const WORKERS: usize = 8;
    const PRODUCERS: usize = 3;
    const JOBS: usize = 500;
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let taken: Vec<Vec<String>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| scope.spawn(|| work(&server, &["BRPOP", "urgent", "jobs", "0"], 1)))
                .collect();
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let server = &server;
                    scope.spawn(move || {
                        let mut client = server.connect();
                        for job in 0..JOBS {
                            let key = if job % 10 == 0 { "urgent" } else { "jobs" };
                            client.int(&["LPUSH", key, &format!("{producer}:{job}")]);
                        }
                    })
                })
                .collect();
            producers.into_iter().for_each(|producer| producer.join().expect("it ends"));
            let mut client = server.connect();
            for _ in 0..WORKERS {
                client.int(&["LPUSH", "jobs", "stop"]);
            }
            workers.into_iter().map(|worker| worker.join().expect("it ends")).collect()
        });
        let all: Vec<&String> = taken.iter().flatten().collect();
        let distinct: HashSet<&&String> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (PRODUCERS * JOBS, PRODUCERS * JOBS));
        for worker in &taken {
            let mut last: HashMap<(&str, bool), usize> = HashMap::new();
            for text in worker {
                let (producer, job) = text.split_once(':').expect("a job");
                let job: usize = job.parse().expect("a number");
                let before = last.insert((producer, job.is_multiple_of(10)), job);
                assert!(before.is_none_or(|before| before < job), "the jobs of a list stay in order");
            }
        }
    }
}

/// How many of the connections from these ports of this machine are still such to the server's kernel whose clients are there.
fn count_there(server: &Server, ports: &[u16]) -> usize {
    const ESTABLISHED: &str = "01";
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let of = |port: &u16| format!(":{:04X} 0100007F:{port:04X} {ESTABLISHED} ", server.address().port());
    ports.iter().filter(|port| connections.contains(&of(port))).count()
}

/// The end of a client that was killed is in its socket, whether or not its shard has come to read it.
#[test]
fn an_element_that_comes_behind_the_end_of_a_client_is_there_for_the_next() {
    const KILLED: usize = 20;
    const ROUNDS: usize = 14;
    let commands: [(&[&str], &[&str], &[&str]); 7] = [
        (&["BLPOP", "k", "0"], &["RPUSH", "k", "a"], &["LLEN", "k"]),
        (&["BRPOP", "j", "k", "0"], &["LPUSH", "k", "a"], &["LLEN", "k"]),
        (&["BLMPOP", "0", "2", "j", "k", "LEFT"], &["RPUSH", "k", "a"], &["LLEN", "k"]),
        (&["BLMOVE", "k", "to", "LEFT", "RIGHT", "0"], &["RPUSH", "k", "a"], &["LLEN", "k"]),
        (&["BZPOPMIN", "k", "0"], &["ZADD", "k", "1", "a"], &["ZCARD", "k"]),
        (&["BZMPOP", "0", "1", "k", "MAX"], &["ZADD", "k", "1", "a"], &["ZCARD", "k"]),
        (
            &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "k", ">"],
            &["XADD", "k", "*", "a", "b"],
            &[],
        ),
    ];
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let mut writers: Vec<_> = (0..shards).map(|_| server.connect()).collect();
        for round in 0..ROUNDS {
            let (wait, write, count) = commands[round % commands.len()];
            let writer = &mut writers[round % shards];
            writer.request(&["FLUSHALL"]);
            if count.is_empty() {
                writer.request(&["XGROUP", "CREATE", "k", "g", "$", "MKSTREAM"]);
            }
            let mut ports = Vec::new();
            let killed: Vec<Client> = (0..KILLED)
                .map(|_| {
                    let socket = TcpStream::connect(server.address()).expect("the server listens");
                    ports.push(socket.local_addr().expect("it is connected").port());
                    if round % 2 == 0 {
                        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("it can be reset");
                    }
                    let mut client = Client::over(socket);
                    client.send(wait);
                    client
                })
                .collect();
            await_blocked(writer, KILLED);
            if round == 0 {
                assert_eq!(count_there(&server, &ports), KILLED);
            }
            drop(killed);
            wait_for("the ends", || (count_there(&server, &ports) == 0).then_some(()));
            writer.request(write);
            let left = match count {
                [] => match writer.request(&["XPENDING", "k", "g"]).as_slice() {
                    Some([Value::Int(pending), ..]) => 1 - pending,
                    other => panic!("{other:?}"),
                },
                count => writer.int(count),
            };
            assert_eq!(left, 1, "{wait:?} on {shards} shards");
            await_blocked(writer, 0);
        }
    }
}

#[test]
fn who_waits_on_any_shard_is_answered_with_the_write_and_not_with_a_sync() {
    const WAITERS: usize = 6;
    let commands: [(&[&str], &[&str]); 4] = [
        (&["BLPOP", "KEY", "0"], &["RPUSH", "KEY", "a"]),
        (&["BLMOVE", "KEY", "moved", "LEFT", "RIGHT", "0"], &["RPUSH", "KEY", "a"]),
        (&["BZPOPMIN", "KEY", "0"], &["ZADD", "KEY", "1", "a"]),
        (&["XREAD", "BLOCK", "0", "STREAMS", "KEY", "$"], &["XADD", "KEY", "*", "a", "b"]),
    ];
    for shards in SHARDS {
        // Nothing is synced here, and no other write comes by.
        let server = Launch::shards(shards).args(&["--appendonly", "yes", "--appendfsync", "no"]).start();
        let mut writer = server.connect();
        let mut waiters: Vec<_> = (0..WAITERS).map(|_| server.connect()).collect();
        for (number, (wait, write)) in commands.into_iter().enumerate() {
            let about = |words: &[&str], waiter: usize| -> Vec<String> {
                words.iter().map(|word| word.replace("KEY", &format!("{number}:{waiter}"))).collect()
            };
            for (index, waiter) in waiters.iter_mut().enumerate() {
                waiter.send(&about(wait, index));
            }
            await_blocked(&mut writer, WAITERS);
            for (index, waiter) in waiters.iter_mut().enumerate() {
                writer.request(&about(write, index));
                assert_ne!(waiter.value(), Value::Null, "{wait:?}");
            }
        }
    }
}

#[test]
fn clients_that_wait_are_served_in_the_order_they_began_to() {
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        let mut waiting: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        for (nth, one) in waiting.iter_mut().enumerate() {
            match nth % 3 {
                0 => one.send(&["BLPOP", "l", "0"]),
                1 => one.send(&["BRPOP", "other", "l", "0"]),
                _ => one.send(&["BLMOVE", "l", &format!("mine:{nth}"), "LEFT", "RIGHT", "0"]),
            }
            await_blocked(&mut client, nth + 1);
        }
        for nth in 0..waiting.len() {
            client.int(&["RPUSH", "l", &nth.to_string()]);
        }
        for (nth, one) in waiting.iter_mut().enumerate() {
            let got = match (one.value(), nth % 3) {
                (Value::Bulk(text), 2) => String::from_utf8(text).expect("ASCII"),
                (pair, _) => text_of(&pair, 1),
            };
            assert_eq!(got, nth.to_string());
            if nth % 3 == 2 {
                assert_eq!(client.text(&["LPOP", &format!("mine:{nth}")]), nth.to_string());
            }
        }
        assert_eq!(client.int(&["EXISTS", "l"]), 0);
        await_blocked(&mut client, 0);
    }
}

#[test]
fn a_chain_of_clients_that_move_what_they_wait_for_keeps_the_order_and_loses_nothing() {
    const STAGES: usize = 6;
    const JOBS: usize = 1_000;
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        thread::scope(|scope| {
            for stage in 0..STAGES {
                let server = &server;
                scope.spawn(move || {
                    let (from, to) = (format!("stage:{stage}"), format!("stage:{}", stage + 1));
                    let mut client = server.connect();
                    loop {
                        let moved = client.text(&["BLMOVE", &from, &to, "LEFT", "RIGHT", "0"]);
                        if moved == "stop" {
                            return;
                        }
                    }
                });
            }
            let last = format!("stage:{STAGES}");
            let end = scope.spawn({
                let server = &server;
                move || work(server, &["BLPOP", &last, "0"], 1)
            });
            let mut client = server.connect();
            for job in 0..JOBS {
                client.int(&["RPUSH", "stage:0", &job.to_string()]);
            }
            client.int(&["RPUSH", "stage:0", "stop"]);
            let arrived = end.join().expect("it ends");
            assert!(
                arrived.iter().map(String::as_str).eq((0..JOBS)
                    .map(|job| job.to_string())
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str))
            );
        });
    }
}

#[test]
fn moves_in_both_directions_between_two_lists_neither_stop_nor_lose_an_element() {
    const ROUNDS: usize = 500;
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        for token in 0..4 {
            client.int(&["RPUSH", "left", &token.to_string()]);
        }
        thread::scope(|scope| {
            for (from, to) in [("left", "right"), ("right", "left"), ("left", "right"), ("right", "left")] {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    for _ in 0..ROUNDS {
                        client.text(&["BLMOVE", from, to, "LEFT", "RIGHT", "60"]);
                    }
                });
            }
        });
        let mut tokens: Vec<String> = ["left", "right"]
            .iter()
            .flat_map(|list| {
                let all = client.request(&["LRANGE", list, "0", "-1"]);
                let len = all.as_slice().map_or(0, <[Value]>::len);
                (0..len).map(|index| text_of(&all, index)).collect::<Vec<_>>()
            })
            .collect();
        tokens.sort();
        assert_eq!(tokens, ["0", "1", "2", "3"]);
    }
}

#[test]
fn a_wait_for_a_list_that_the_user_may_not_touch_any_more_ends_and_takes_nothing() {
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        client.text(&["ACL", "SETUSER", "worker", "on", "nopass", "~*", "+@all"]);
        let mut waiting = server.connect();
        waiting.text(&["AUTH", "worker", "x"]);
        waiting.send(&["BLMOVE", "l", "mine", "LEFT", "LEFT", "0"]);
        await_blocked(&mut client, 1);
        client.text(&["ACL", "SETUSER", "worker", "resetkeys", "~l"]);
        assert!(waiting.error().starts_with("NOPERM"));
        assert_eq!(client.int(&["RPUSH", "l", "x"]), 1);
        assert_eq!(client.int(&["LLEN", "l"]), 1);
    }
}
