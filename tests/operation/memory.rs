//! Memory is what it says: `maxmemory`, `maxmemory-clients`, what is left behind, and what goes back to the system.

use std::fs;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Server, wait_for};

use crate::limits::{field, info, lazy_client};

const MIB: u64 = 1 << 20;

/// Sends SET until it is refused, and returns how many were not.
fn fill(client: &mut Client, value_bytes: usize) -> usize {
    let value = "x".repeat(value_bytes);
    for number in 0.. {
        client.send(&["SET", &format!("k:{number}"), &value]);
        match client.value() {
            Value::Simple(_) => {}
            Value::Error(text) => {
                assert!(text.starts_with(b"OOM "), "{}", text.escape_ascii());
                return number;
            }
            other => panic!("{other:?}"),
        }
    }
    unreachable!("memory is finite");
}

/// Bytes of physical memory that the server takes.
fn resident_bytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn keys_go_at_maxmemory_as_the_policy_says_and_writes_go_on() {
    for (shards, policy) in [
        (1, "allkeys-lru"),
        (3, "allkeys-lru"),
        (3, "allkeys-lfu"),
        (1, "allkeys-lrm"),
        (3, "allkeys-random"),
        (1, "volatile-lru"),
        (3, "volatile-lfu"),
        (1, "volatile-random"),
        (3, "volatile-ttl"),
    ] {
        let options = ["--maxmemory", "32mb", "--appendonly", "no", "--maxmemory-policy", policy];
        let server = Server::sterna(shards, &options);
        let (mut writer, mut admin) = (server.connect(), server.connect());
        let value = "x".repeat(1000);
        for first in (0..60_000).step_by(100) {
            let numbers = first..first + 100;
            for number in numbers.clone() {
                writer.send(&["SET", &format!("k:{number}"), &value, "EX", "10000"]);
            }
            for number in numbers {
                assert_eq!(writer.value(), Value::Simple(b"OK".to_vec()), "{policy}: write {number}");
            }
        }
        let used = info(&mut admin, "used_memory");
        assert!(used < 36 * MIB, "{policy}: {used} bytes are in use");
        // Keys may go for a moment longer, while nobody writes.
        let keys = wait_for("the end of the eviction", || {
            let evicted = info(&mut admin, "evicted_keys");
            let keys = admin.int(&["DBSIZE"]) as u64;
            (evicted + keys == 60_000).then_some(keys)
        });
        assert!(keys > 10_000, "{policy}: {keys} keys are left");
    }
}

/// As in Redis: keys go before a script begins, and it goes by what came of that.
#[test]
fn scripts_write_on_where_keys_may_go_for_that_and_are_told_where_none_may() {
    const WRITES: &str =
        "for i = 1, 20 do redis.call('SET', KEYS[1] .. i, string.rep('x', 5000)) end return 1";
    let library = "#!lua name=l\nredis.register_function('f', function(KEYS) {} end)".replace("{}", WRITES);
    for shards in [1, 2] {
        let options = ["--maxmemory", "16mb", "--appendonly", "no", "--maxmemory-policy", "allkeys-lru"];
        let server = Server::sterna(shards, &options);
        let mut client = server.connect();
        assert_eq!(client.text(&["FUNCTION", "LOAD", &library]), "l");
        for number in 0..300 {
            let key = format!("{number}:");
            let (eval, fcall) = (["EVAL", WRITES, "1", &*key], ["FCALL", "f", "1", &key]);
            let written = match number % 3 {
                0 => client.request(&eval),
                1 => client.request(&fcall),
                _ => {
                    client.request(&["MULTI"]);
                    client.request(&eval);
                    client.request(&["EXEC"])
                }
            };
            let one = if number % 3 == 2 { Value::Array(vec![Value::Int(1)]) } else { Value::Int(1) };
            assert_eq!(written, one, "write {number}, {shards} shards");
        }
        // No key has an expiry.
        for policy in ["noeviction", "volatile-lru"] {
            client.request(&["CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", policy]);
            for writes in
                [["EVAL", WRITES, "1", "a"], ["FCALL", "f", "1", "a"], ["EVAL", "#!lua\nreturn 1", "1", "a"]]
            {
                client.send(&writes);
                assert!(client.error().starts_with("OOM command not allowed"), "{policy}: {writes:?}");
            }
            assert_eq!(client.int(&["EVAL", "#!lua flags=no-writes\nreturn 1", "0"]), 1);
            assert_eq!(client.int(&["EVAL", "return #redis.call('KEYS', '*') > 0 and 1", "0"]), 1);
        }
    }
}

/// Under `appendfsync no` these are up to 32 MiB, and twice as much while a sync runs.
#[test]
fn records_that_the_journal_keeps_in_memory_are_no_reason_for_keys_to_go() {
    let options = [
        "--maxmemory",
        "32mb",
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
        "--maxmemory-policy",
        "allkeys-lru",
    ];
    let server = Server::sterna(2, &options);
    let (mut writer, mut admin) = (server.connect(), server.connect());
    let value = "x".repeat(10_000);
    for number in 0..8_000 {
        writer.request(&["SET", &format!("k:{}", number % 100), &value]);
    }
    assert_eq!(info(&mut admin, "evicted_keys"), 0);
    assert_eq!(admin.int(&["DBSIZE"]), 100);
    assert!(info(&mut admin, "mem_not_counted_for_evict") <= info(&mut admin, "used_memory"));
}

#[test]
fn a_key_without_an_expiry_stays_where_only_others_may_go() {
    for policy in ["volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu"] {
        let options = ["--maxmemory", "32mb", "--appendonly", "no", "--maxmemory-policy", policy];
        let server = Server::sterna(2, &options);
        let (mut writer, mut admin) = (server.connect(), server.connect());
        let value = "x".repeat(1000);
        for number in 0..10_000 {
            writer.request(&["SET", &format!("k:{number}"), &value]);
            writer.request(&["SET", &format!("e:{number}"), "1", "EX", "10000"]);
        }
        let taken = fill(&mut writer, 1000);
        assert!(taken >= 10_000, "{policy}: {taken}");
        assert_eq!(info(&mut admin, "evicted_keys"), 10_000, "{policy}: all that may go have gone");
        assert_eq!(admin.int(&["EXISTS", "k:0", "k:9999"]), 2);
    }
}

#[test]
fn whoever_holds_a_copy_of_a_key_or_waits_for_events_learns_that_it_went() {
    let options = [
        "--maxmemory",
        "32mb",
        "--appendonly",
        "no",
        "--maxmemory-policy",
        "volatile-ttl",
        "--notify-keyspace-events",
        "Ee",
    ];
    let server = Server::sterna(2, &options);
    let (mut writer, mut listener) = (server.connect(), server.connect());
    writer.request(&["SET", "first", "x", "EX", "100"]);
    listener.request(&["SUBSCRIBE", "__keyevent@0__:evicted"]);
    let mut tracker = server.connect_resp3();
    tracker.request(&["CLIENT", "TRACKING", "ON"]);
    tracker.request(&["GET", "first"]);
    fill(&mut writer, 1 << 16);
    let bulk = |text: &str| Value::Bulk(text.into());
    let event = listener.value();
    assert_eq!(event.as_slice().and_then(<[Value]>::last), Some(&bulk("first")));
    let told = tracker.value();
    assert_eq!(told.as_slice().and_then(<[Value]>::first), Some(&bulk("invalidate")));
    assert_eq!(writer.int(&["EXISTS", "first"]), 0);
}

#[test]
fn keys_go_when_the_limit_is_lowered_though_nobody_writes() {
    let server = Server::sterna(2, &["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let mut writer = server.connect();
    let value = "x".repeat(1000);
    for number in 0..30_000 {
        writer.request(&["SET", &format!("k:{number}"), &value]);
    }
    writer.request(&["CONFIG", "SET", "maxmemory", "24mb"]);
    wait_for("keys to go", || (info(&mut writer, "used_memory") < 27 * MIB).then_some(()));
    assert!(writer.int(&["DBSIZE"]) > 3_000);
}

#[test]
fn writes_are_refused_at_maxmemory_and_taken_again_after_a_deletion() {
    for (shards, value_bytes) in [(1, 1 << 20), (2, 1 << 20), (1, 1000), (2, 1000)] {
        let server = Server::sterna(shards, &["--maxmemory", "32mb", "--appendonly", "no"]);
        let (mut writer, mut other) = (server.connect(), server.connect());
        let taken = fill(&mut writer, value_bytes);
        assert!(taken * value_bytes > 8 << 20, "refused after {taken} of {value_bytes} bytes");
        let used = info(&mut other, "used_memory");
        // One write more than fits, and what its request needs.
        assert!(used < 33 * MIB + 3 * value_bytes as u64, "{used} bytes are in use");
        // Room that another client makes is there as soon as it is freed, which for long values is another thread's.
        for round in 0..20 {
            let key = format!("k:{round}");
            let keys: Vec<String> =
                (0..2 + 65536 / value_bytes).map(|n| format!("k:{}", 100 + 80 * round + n)).collect();
            let mut request = vec!["DEL".to_owned(), key];
            request.extend(keys);
            if other.int(&request) * value_bytes as i64 >= 128 << 10 {
                wait_for("room", || {
                    matches!(writer.try_request(&["SET", "small", "x"])?, Value::Simple(_)).then_some(())
                });
            }
        }
    }
}

#[test]
fn who_has_deleted_a_large_value_may_write_at_once() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--maxmemory", "32mb", "--appendonly", "no"]);
        let mut client = server.connect();
        let elements: Vec<String> = (0..500).map(|n| format!("{n:0300}")).collect();
        for round in 0..5 {
            let mut push = vec!["RPUSH".to_owned(), "list".to_owned()];
            push.extend(elements.iter().cloned());
            loop {
                client.send(&push);
                if matches!(client.value(), Value::Error(_)) {
                    break;
                }
            }
            // Thousands of blocks, which another thread frees.
            assert_eq!(client.int(&["DEL", "list"]), 1, "round {round}");
            client.text(&["SET", "small", "x"]);
        }
    }
}

#[test]
fn commands_that_add_more_than_they_say_are_refused_at_the_limit() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--maxmemory", "32mb", "--appendonly", "no"]);
        let mut client = server.connect();
        client.text(&["SET", "source", &"x".repeat(4 << 20)]);
        for round in 0.. {
            client.send(&["BITOP", "NOT", &format!("copy:{round}"), "source"]);
            if matches!(client.value(), Value::Error(_)) {
                break;
            }
        }
        // Not before: INFO reads memory as well, and the next write would go by what it found.
        let used = info(&mut client, "used_memory");
        assert!(used < 48 * MIB, "{used} bytes are in use on {shards} shards");
    }
}

#[test]
fn a_transaction_is_refused_at_maxmemory_command_by_command() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--maxmemory", "32mb", "--appendonly", "no"]);
        let mut client = server.connect();
        fill(&mut client, 1 << 18);
        client.request(&["CONFIG", "SET", "maxmemory", "20mb"]);
        // Who frees memory in a transaction, or reads, may.
        client.request(&["MULTI"]);
        client.request(&["GET", "k:2"]);
        client.request(&["DEL", "k:2"]);
        client.send(&["EXEC"]);
        assert!(matches!(client.value(), Value::Array(replies) if replies.len() == 2));
        client.request(&["MULTI"]);
        client.send(&["SET", "k:1", "v"]);
        assert!(client.error().starts_with("OOM "));
        client.send(&["EXEC"]);
        assert!(client.error().starts_with("EXECABORT"));
        // Queueing much needs memory, whatever is queued.
        client.request(&["MULTI"]);
        client.request(&["GET", &"k".repeat(3 << 18)]);
        client.send(&["GET", &"k".repeat(3 << 18)]);
        assert!(client.error().starts_with("OOM "));
        client.send(&["EXEC"]);
        assert!(client.error().starts_with("EXECABORT"));
        // However short what stands before it is.
        client.request(&["MULTI"]);
        client.request(&["GET", "k:1"]);
        client.send(&["GET", &"k".repeat(3 << 19)]);
        assert!(client.error().starts_with("OOM "));
        client.request(&["DISCARD"]);
        assert_eq!(client.int(&["DEL", "k:1"]), 1);
    }
}

#[test]
fn what_large_values_needed_on_their_way_is_free_again_when_they_are_deleted() {
    const VALUE_BYTES: usize = 32 << 20;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no"]);
        let value = "x".repeat(VALUE_BYTES);
        let mut clients: Vec<Client> = (0..2).map(|_| server.connect()).collect();
        let before = info(&mut clients[0], "used_memory");
        for client in &mut clients {
            client.request(&["SET", "k", &value]);
            client.request(&["APPEND", "k", "tail"]);
            assert_eq!(client.text(&["GET", "k"]).len(), VALUE_BYTES + 4);
            client.request(&["DEL", "k"]);
        }
        wait_for("the memory to be free", || {
            (info(&mut clients[0], "used_memory") < before + 4 * MIB).then_some(())
        });
    }
}

#[test]
fn a_reply_takes_no_more_memory_than_it_has_bytes() {
    const VALUE_BYTES: usize = 32 << 20;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no"]);
        let mut client = server.connect();
        client.request(&["SET", "k", &"x".repeat(VALUE_BYTES)]);
        let before = info(&mut client, "used_memory");
        let mut lazy = lazy_client(&server);
        lazy.send(&["GET", "k"]);
        wait_for("the reply to be queued", || {
            (crate::limits::greatest(&mut client, "omem") > VALUE_BYTES as u64 / 2).then_some(())
        });
        let grown = info(&mut client, "used_memory").saturating_sub(before);
        assert!(grown < VALUE_BYTES as u64 + 4 * MIB, "{grown} bytes for a reply of {VALUE_BYTES}");
    }
}

#[test]
fn what_a_client_watches_or_waits_for_counts_as_much_as_it_takes() {
    const KEYS: usize = 2_000;
    for (command, last) in [("WATCH", None), ("BLPOP", Some("0"))] {
        let server = Server::sterna(1, &["--appendonly", "no"]);
        let mut admin = server.connect();
        let before = info(&mut admin, "used_memory");
        let clients: Vec<Client> = (0..10)
            .map(|number| {
                let mut client = server.connect();
                let keys: Vec<String> = (0..KEYS).map(|key| format!("{number}:{key}")).collect();
                let request = [command].into_iter().chain(keys.iter().map(String::as_str)).chain(last);
                client.send(&request.collect::<Vec<_>>());
                client
            })
            .collect();
        wait_for("all of them to watch or to wait", || {
            (info(&mut admin, "watching_clients") + info(&mut admin, "blocked_clients") == 10).then_some(())
        });
        // What a client holds is counted at the next look at it.
        wait_for(&format!("{command} to count"), || {
            let counted = crate::limits::greatest(&mut admin, "tot-mem") * clients.len() as u64;
            let taken = info(&mut admin, "used_memory") - before;
            (taken / 2..taken * 2).contains(&counted).then_some(())
        });
    }
}

#[test]
fn above_maxmemory_clients_the_largest_are_closed_and_no_protected_one() {
    for shards in [1, 2, 3] {
        let server = Server::sterna(
            shards,
            &["--maxmemory-clients", "16mb", "--client-output-buffer-limit", "normal", "0", "0", "0"],
        );
        let mut admin = server.connect();
        admin.request(&["SET", "k", &"x".repeat(1 << 20)]);
        let unfinished = |name: &str, bytes: usize| {
            let mut client = server.connect();
            client.request(&["CLIENT", "SETNAME", name]);
            if name == "protected" {
                client.request(&["CLIENT", "NO-EVICT", "on"]);
            }
            client.send_bytes(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 2 * bytes).as_bytes());
            client.send_bytes(&vec![b'x'; bytes]);
            client
        };
        let names = |admin: &mut Client| -> Vec<String> {
            let list = admin.text(&["CLIENT", "LIST"]);
            list.lines().map(|line| field(line, "name").to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let held = |admin: &mut Client, name: &str, bytes: usize| {
            wait_for(&format!("what {name} sent to be there"), || {
                let list = admin.text(&["CLIENT", "LIST"]);
                let line = list.lines().find(|line| field(line, "name") == name)?;
                field(line, "qbuf").parse::<usize>().is_ok_and(|qbuf| qbuf >= bytes).then_some(())
            });
        };
        let _protected = unfinished("protected", 3 << 20);
        held(&mut admin, "protected", 3 << 20);
        let _small = unfinished("small", 1 << 18);
        held(&mut admin, "small", 1 << 18);
        let mut middle = unfinished("middle", 1 << 20);
        held(&mut admin, "middle", 1 << 20);
        assert_eq!(info(&mut admin, "evicted_clients"), 0);
        let mut large = unfinished("large", 12 << 20);
        large.rest();
        wait_for("the largest to be closed", || (info(&mut admin, "evicted_clients") == 1).then_some(()));
        assert_eq!(names(&mut admin), ["protected", "small", "middle"]);
        // The limit comes down to what only the small ones fit into: percent of maxmemory.
        admin.request(&["CONFIG", "SET", "maxmemory", "100gb", "maxmemory-clients", "1%"]);
        assert_eq!(admin.text_at(&["CONFIG", "GET", "maxmemory-clients"], 1), "1%");
        assert_eq!(names(&mut admin).len(), 3);
        // How much room a buffer has beyond what was sent depends on how that came in: the limit goes by what is held.
        let list = admin.text(&["CLIENT", "LIST"]);
        let held_bytes = |line: &str| field(line, "tot-mem").parse::<u64>().unwrap();
        let all: u64 = list.lines().map(held_bytes).sum();
        let of_middle = list.lines().find(|line| field(line, "name") == "middle").map(held_bytes).unwrap();
        let limit = (all - of_middle / 2).to_string();
        admin.request(&["CONFIG", "SET", "maxmemory-clients", &limit]);
        middle.rest();
        assert_eq!(names(&mut admin), ["protected", "small"]);
        server.await_log("a line about it", |log| {
            log.contains("evicting a client") && log.contains("name=large")
        });
    }
}

#[test]
fn what_multi_queues_counts_and_is_limited() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-query-buffer-limit", "2mb"]);
        let mut admin = server.connect();
        let mut client = server.connect();
        let argument = "x".repeat(100_000);
        client.request(&["CLIENT", "SETNAME", "queueing"]);
        client.request(&["MULTI"]);
        for _ in 0..5 {
            client.request(&["SET", "k", &argument]);
        }
        let list = admin.text(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| field(line, "name") == "queueing").expect("it is there");
        let number = |name: &str| field(line, name).parse::<u64>().expect("a number");
        assert!((500_000..520_000).contains(&number("multi-mem")), "{line}");
        wait_for("it to be counted", || {
            let list = admin.text(&["CLIENT", "LIST"]);
            let line = list.lines().find(|line| field(line, "name") == "queueing")?;
            (field(line, "tot-mem").parse::<u64>().ok()? > 500_000).then_some(())
        });
        for _ in 0..600 {
            client.send(&["SET", "k", &argument]);
        }
        client.rest();
        assert_eq!(info(&mut admin, "client_query_buffer_limit_disconnections"), 1);
        admin.assert_quiet();
    }
}

#[test]
fn a_transaction_that_will_not_run_keeps_nothing() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-query-buffer-limit", "1mb"]);
        let (mut client, mut other) = (server.connect(), server.connect());
        let argument = "x".repeat(100_000);
        for spoil in ["error", "watch"] {
            client.request(&["WATCH", "watched"]);
            client.request(&["MULTI"]);
            if spoil == "error" {
                client.send(&["NOSUCH"]);
                client.error();
            } else {
                other.request(&["SET", "watched", "x"]);
            }
            for _ in 0..50 {
                client.request(&["SET", "k", &argument]);
            }
            client.send(&["EXEC"]);
            match client.value() {
                Value::Error(text) => assert!(spoil == "error" && text.starts_with(b"EXECABORT")),
                value => assert!(spoil == "watch" && value == Value::Null, "{value:?}"),
            }
        }
    }
}

#[test]
fn freed_memory_goes_back_to_the_system_when_asked_for() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no"]);
        let mut client = server.connect();
        for number in 0..200 {
            client.request(&["SET", &format!("k:{number}"), &"x".repeat(1 << 20)]);
        }
        let full = resident_bytes(&server);
        assert!(full > 200 * MIB);
        client.request(&["FLUSHALL"]);
        wait_for("the values to be freed", || (info(&mut client, "used_memory") < 40 * MIB).then_some(()));
        client.request(&["MEMORY", "PURGE"]);
        let purged = resident_bytes(&server);
        assert!(purged < 80 * MIB, "{purged} bytes are resident, {full} were");
        client.request(&["MULTI"]);
        client.request(&["MEMORY", "PURGE"]);
        assert_eq!(client.request(&["EXEC"]), Value::Array(vec![Value::Simple(b"OK".to_vec())]));
    }
}

#[test]
fn however_many_ask_for_memory_to_go_back_there_is_one_thread_for_it() {
    const ASKED: usize = 5_000;
    // Those that are about to end may be there beside the one.
    const FEW: usize = 50;
    let server = Server::sterna(2, &[]);
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server runs");
        // One that has ended meanwhile has no name.
        let names = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "purge").count()
    };
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    let asked = request_bytes(&["MEMORY", "PURGE"]).repeat(ASKED);
    clients[0].send_bytes(&[request_bytes(&["MULTI"]), asked, request_bytes(&["EXEC"])].concat());
    clients[1..].iter_mut().for_each(|client| client.send(&["MEMORY", "PURGE"]));
    clients[1..].iter_mut().for_each(|client| assert_eq!(client.value(), Value::Simple(b"OK".to_vec())));
    for _ in 0..=ASKED {
        clients[0].value();
        assert!(threads() <= FEW);
    }
    let Value::Array(replies) = clients[0].value() else { panic!("EXEC answers an array") };
    assert!(replies.len() == ASKED && replies.iter().all(|reply| *reply == Value::Simple(b"OK".to_vec())));
    assert!(threads() <= FEW);
}

#[test]
fn freed_memory_goes_back_to_the_system_without_traffic() {
    let server = Server::sterna(2, &["--appendonly", "no"]);
    let mut client = server.connect();
    for number in 0..200 {
        client.request(&["SET", &format!("k:{number}"), &"x".repeat(1 << 20)]);
    }
    client.request(&["FLUSHALL"]);
    // Nothing is sent any more: the kernel is asked, not the server.
    wait_for("the memory to go back", || (resident_bytes(&server) < 80 * MIB).then_some(()));
}

#[test]
fn readers_that_have_left_are_forgotten_by_client_side_caching() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut stays = server.connect_resp3();
        stays.request(&["CLIENT", "TRACKING", "on"]);
        stays.request(&["GET", "shared"]);
        for _ in 0..20 {
            let mut reader = server.connect_resp3();
            reader.request(&["CLIENT", "TRACKING", "on"]);
            for number in 0..50 {
                reader.request(&["GET", &format!("k:{number}")]);
            }
            reader.request(&["GET", "shared"]);
            reader.leave();
        }
        wait_for("those who left to be forgotten", || {
            (info(&mut stays, "tracking_total_items") == 1 && info(&mut stays, "tracking_total_keys") == 1)
                .then_some(())
        });
        // And who stayed is still told.
        server.connect().request(&["SET", "shared", "x"]);
        assert!(matches!(stays.value(), Value::Push(_)));
    }
}

/// Each is made in its key's record, moved out of it by a change, copied, renamed and removed.
#[test]
fn small_collections_that_come_and_go_leave_nothing_behind() {
    const KEYS: usize = 400;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no", "--save", ""]);
        let mut client = server.connect();
        let words: Vec<String> = ('a'..='j').map(String::from).collect();
        let pairs: Vec<String> = words.iter().flat_map(|word| [word.clone(), word.clone()]).collect();
        let round = |client: &mut Client| {
            let mut requests: Vec<Vec<String>> = Vec::new();
            let mut add = |parts: &[&[String]]| requests.push(parts.concat());
            for number in 0..KEYS {
                let word = |text: &str| vec![text.replace('#', &number.to_string())];
                add(&[&word("RPUSH"), &word("l#"), &words]);
                add(&[&word("HSET"), &word("h#"), &pairs]);
                add(&[&word("SADD"), &word("s#"), &words]);
                add(&[&word("RPUSH"), &word("l#"), &word("z")]);
                add(&[&word("SADD"), &word("s#"), &word("a")]);
                add(&[&word("COPY"), &word("h#"), &word("c#")]);
                add(&[&word("HDEL"), &word("h#"), &word("a")]);
                add(&[&word("RENAME"), &word("h#"), &word("r#")]);
                add(&[&word("DEL"), &word("l#"), &word("s#"), &word("c#"), &word("r#")]);
            }
            for some in requests.chunks(900) {
                some.iter().for_each(|request| client.send(request));
                some.iter().for_each(|_| drop(client.value()));
            }
            assert_eq!(client.int(&["DBSIZE"]), 0);
        };
        round(&mut client);
        let after_one = info(&mut client, "used_memory");
        (0..6).for_each(|_| round(&mut client));
        // Four collections of some 250 bytes that stayed would be 2.4 MB by now.
        wait_for("what is freed apart", || {
            (info(&mut client, "used_memory") < after_one + MIB).then_some(())
        });
    }
}
