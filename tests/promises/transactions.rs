//! Long transactions go on in slices: who needs no keys is served meanwhile, who needs some waits, and nobody sees half of one.

use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Launch, Server, wait_for};

const COMMANDS: usize = 30_000;

/// A transaction of so many INCRs, of `n` and `m` by turns, without its EXEC: sent and queued.
fn queue_increments(client: &mut Client) {
    let mut bytes = request_bytes(&["MULTI"]);
    for nth in 0..COMMANDS {
        bytes.extend(request_bytes(&["INCR", if nth % 2 == 0 { "n" } else { "m" }]));
    }
    client.send_bytes(&bytes);
    (0..=COMMANDS).for_each(|_| drop(client.value()));
}

/// How many of its questions this client, which speaks RESP3, was answered until it is told of a message.
pub(crate) fn served_until_told(client: &mut Client) -> usize {
    let mut is_told = || {
        client.send(&["PING"]);
        let is_told = matches!(client.value(), Value::Push(_));
        if is_told {
            assert_eq!(client.value(), Value::Simple(b"PONG".to_vec()));
        }
        is_told
    };
    (0..).find(|_| is_told()).expect("it is told")
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("an array, not {other:?}"),
    }
}

/// What EXEC answers to [`queue_increments`], the `nth` time.
fn assert_increments(reply: Value, nth: usize) {
    let numbers = elements(reply);
    assert_eq!(numbers.len(), COMMANDS);
    let before = nth * COMMANDS / 2;
    for (at, number) in numbers.into_iter().enumerate() {
        assert_eq!(number, Value::Int((before + at / 2 + 1) as i64));
    }
}

fn number(client: &mut Client, key: &str) -> usize {
    match client.request(&["GET", key]) {
        Value::Null => 0,
        Value::Bulk(digits) => String::from_utf8_lossy(&digits).parse().expect("a number"),
        other => panic!("a number, not {other:?}"),
    }
}

#[test]
fn a_long_transaction_is_one_moment_and_who_needs_no_keys_is_served_meanwhile() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut client, mut other) = (server.connect(), server.connect());
        let mut most_pings = 0;
        for round in 0..100 {
            // One that was over before this process was given the processor again shows nothing of what goes on meanwhile.
            if round >= 5 && most_pings > 3 {
                break;
            }
            queue_increments(&mut client);
            client.send(&["EXEC"]);
            client.send(&["GET", "n"]);
            thread::scope(|scope| {
                // On each shard one that asks for nothing of the keyspace, and one that reads both numbers.
                for _ in 0..shards {
                    scope.spawn(|| {
                        let mut other = server.connect();
                        let half = COMMANDS / 2;
                        loop {
                            let both = elements(other.request(&["MGET", "n", "m"]));
                            assert_eq!(both[0], both[1], "a state between");
                            if number(&mut other, "m") == half * (round + 1) {
                                break;
                            }
                        }
                    });
                }
                let (watcher, mut pings) = (scope.spawn(|| client.value()), 0);
                while !watcher.is_finished() {
                    assert_eq!(other.request(&["PING"]), Value::Simple(b"PONG".to_vec()));
                    pings += 1;
                }
                assert_increments(watcher.join().expect("a reply"), round);
                most_pings = most_pings.max(pings);
            });
            let half = (COMMANDS / 2 * (round + 1)).to_string();
            assert_eq!(
                client.value(),
                Value::Bulk(half.into_bytes()),
                "the client's requests keep their order"
            );
        }
        assert!(most_pings > 3, "{most_pings} others' requests were answered on {shards} shards");
    }
}

#[test]
fn commands_that_are_long_by_themselves_answer_in_a_transaction_as_outside() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--appendonly", "yes"]).start();
        let mut client = server.connect();
        let members: Vec<String> = (0..10_500).flat_map(|n| [n.to_string(), format!("member:{n}")]).collect();
        for pairs in members.chunks(2_000) {
            client.request(&[&["ZADD".to_owned(), "z".to_owned()], pairs].concat());
        }
        for elements in members.chunks(7_000) {
            client.request(&[&["RPUSH".to_owned(), "l".to_owned()], elements].concat());
        }
        let dump = match client.request(&["DUMP", "z"]) {
            Value::Bulk(dump) => dump,
            other => panic!("{other:?}"),
        };
        let long = "v".repeat(3 << 20);
        let requests: Vec<Vec<&[u8]>> = vec![
            // What is many elements comes last: the client reads it again from the beginning as more arrives.
            vec![b"SET", b"long", long.as_bytes()],
            vec![b"GETRANGE", b"long", b"1", b"-1"],
            vec![b"APPEND", b"long", b"tail"],
            vec![b"ZUNIONSTORE", b"sum", b"1", b"z"],
            vec![b"ZCARD", b"sum"],
            vec![b"RESTORE", b"copy", b"0", &dump],
            vec![b"RESTORE", b"copy", b"0", &dump],
            vec![b"LRANGE", b"z", b"0", b"-1"],
            vec![b"ZREMRANGEBYRANK", b"copy", b"0", b"-2"],
            vec![b"SORT", b"l", b"ALPHA", b"LIMIT", b"0", b"3"],
            vec![b"BLPOP", b"nothing", b"0"],
            vec![b"PING"],
            vec![b"DEL", b"sum", b"copy", b"long"],
            vec![b"LRANGE", b"l", b"0", b"10100"],
        ];
        let outside: Vec<Value> = requests
            .iter()
            .map(|request| match request[0] {
                b"BLPOP" => Value::Null,
                _ => {
                    client.send(request);
                    client.value()
                }
            })
            .collect();
        client.request(&["MULTI"]);
        requests.iter().for_each(|request| drop(client.request(request)));
        let inside = elements(client.request(&["EXEC"]));
        for ((request, inside), outside) in requests.iter().zip(inside).zip(outside) {
            let name = String::from_utf8_lossy(request[0]);
            assert!(inside == outside, "{name}");
        }
    }
}

#[test]
fn who_waits_for_the_keys_of_a_long_transaction_goes_on_when_it_has_ended() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--notify-keyspace-events", "K$"]).start();
        let (mut client, mut second) = (server.connect(), server.connect());
        let mut watching = server.connect();
        watching.request(&["WATCH", "m"]);
        watching.request(&["MULTI"]);
        watching.request(&["SET", "seen", "1"]);
        queue_increments(&mut client);
        queue_increments(&mut second);
        let mut blocked = server.connect();
        blocked.send(&["BLPOP", "queue", "0"]);
        let mut admin = server.connect();
        wait_for("a blocked reader", || {
            admin.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        // Both are long: one waits for the other, and so do a script, a function of all keys and a watch. On two shards
        // nothing says which of them is first.
        client.send(&["EXEC"]);
        second.send(&["RPUSH", "queue", "never"]);
        second.send(&["EXEC"]);
        let mut script = server.connect();
        script.send(&["EVAL", "return {redis.call('GET', 'n'), redis.call('GET', 'm')}", "0"]);
        watching.send(&["EXEC"]);
        let mut counting = server.connect();
        counting.send(&["DBSIZE"]);
        let replies = elements(client.value());
        let first = usize::from(replies[0] != Value::Int(1));
        assert_increments(Value::Array(replies), first);
        assert_eq!(second.value(), Value::Simple(b"QUEUED".to_vec()));
        let mut replies = elements(second.value());
        assert_eq!(replies.pop(), Some(Value::Int(1)), "what was queued last");
        assert_increments(Value::Array(replies), 1 - first);
        let both = elements(script.value());
        assert_eq!(both[0], both[1], "a script sees no state between");
        assert!(matches!(watching.value(), Value::Null | Value::Array(_)));
        assert!(matches!(counting.value(), Value::Int(0..=3)));
        let popped = elements(blocked.value());
        assert_eq!(popped[1], Value::Bulk(b"never".to_vec()));
    }
}

#[test]
fn a_long_transaction_of_a_client_that_is_gone_or_killed_comes_to_its_end() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut other = server.connect();
        for round in 0..4 {
            let mut client = server.connect();
            let id = client.int(&["CLIENT", "ID"]).to_string();
            queue_increments(&mut client);
            client.send(&["EXEC"]);
            match round % 2 {
                0 => drop(client),
                _ => {
                    // It may not have begun, and then nothing of it happens.
                    other.request(&["CLIENT", "KILL", "ID", &id]);
                    drop(client);
                }
            }
            let mut last = number(&mut other, "n");
            for _ in 0..20 {
                let both = elements(other.request(&["MGET", "n", "m"]));
                assert_eq!(both[0], both[1]);
                thread::sleep(Duration::from_millis(5));
                last = last.max(number(&mut other, "n"));
            }
            assert_eq!(last % (COMMANDS / 2), 0, "all of it or nothing");
        }
        wait_for("both of those who were only gone", || (number(&mut other, "n") >= COMMANDS).then_some(()));
    }
}

#[test]
fn after_a_kill_a_long_transaction_is_there_as_a_whole_or_not_at_all() {
    for shards in [1, 2] {
        let mut server =
            Launch::shards(shards).args(&["--appendonly", "yes", "--appendfsync", "always"]).start();
        let mut last = 0;
        for round in 0..6u64 {
            let mut client = server.connect();
            queue_increments(&mut client);
            client.send(&["EXEC"]);
            let is_answered = round == 5;
            if is_answered {
                drop(client.value());
            } else {
                thread::sleep(Duration::from_millis(20 + 40 * round));
            }
            server.kill();
            server.start_again();
            let mut other = server.connect();
            let (n, m) = (number(&mut other, "n"), number(&mut other, "m"));
            assert_eq!(n, m);
            let whole = last + COMMANDS / 2;
            assert!(n == whole || !is_answered && n == last, "{n} after {last}");
            last = n;
        }
    }
}

#[test]
fn a_clean_stop_waits_for_the_end_of_a_long_transaction() {
    for shards in [1, 2] {
        let mut server = Launch::shards(shards).args(&["--appendonly", "yes"]).start();
        let mut client = server.connect();
        queue_increments(&mut client);
        client.send(&["EXEC"]);
        let mut other = server.connect();
        // It has begun, since it is what others wait for.
        wait_for("its beginning", || other.text(&["CLIENT", "LIST"]).contains("cmd=exec").then_some(()));
        drop(other);
        server.restart();
        let mut other = server.connect();
        assert_eq!([number(&mut other, "n"), number(&mut other, "m")], [COMMANDS / 2; 2]);
    }
}

#[test]
fn the_reply_of_a_long_transaction_is_bounded_by_the_output_limit_and_what_it_did_stays() {
    let server = Launch::shards(2).args(&["--client-output-buffer-limit", "normal 3mb 0 0"]).start();
    let mut other = server.connect();
    let value = "v".repeat(10_000);
    other.request(&["SET", "v", &value]);
    let mut client = server.connect();
    let mut bytes = request_bytes(&["MULTI"]);
    (0..20_000).for_each(|_| bytes.extend(request_bytes(&["GET", "v"])));
    bytes.extend(request_bytes(&["SET", "done", "1"]));
    bytes.extend(request_bytes(&["EXEC"]));
    client.send_bytes(&bytes);
    wait_for("its end", || (other.request(&["EXISTS", "done"]) == Value::Int(1)).then_some(()));
    let peak = other.text(&["INFO", "memory"]);
    let peak = peak.lines().find_map(|line| line.strip_prefix("used_memory_peak:")).expect("a figure");
    assert!(peak.trim().parse::<u64>().expect("a number") < 100 << 20, "200 MB were asked for: {peak}");
    client.rest();
    wait_for("the close", || {
        other.text(&["INFO", "everything"]).contains("closed_output_limit:1").then_some(())
    });
}

#[test]
fn messages_of_a_long_transaction_to_its_own_client_follow_its_reply() {
    let server = Launch::shards(2).start();
    let mut client = server.connect_resp3();
    client.send(&["SUBSCRIBE", "news"]);
    client.value();
    let mut bytes = request_bytes(&["MULTI"]);
    for nth in 0..COMMANDS {
        match nth % 100 {
            0 => bytes.extend(request_bytes(&["PUBLISH", "news", &nth.to_string()])),
            _ => bytes.extend(request_bytes(&["INCR", "n"])),
        }
    }
    client.send_bytes(&bytes);
    (0..=COMMANDS).for_each(|_| drop(client.value()));
    client.send(&["EXEC"]);
    assert_eq!(elements(client.value()).len(), COMMANDS, "first the reply");
    for nth in (0..COMMANDS).step_by(100) {
        let Value::Push(push) = client.value() else { panic!("a message") };
        assert_eq!(push[2], Value::Bulk(nth.to_string().into_bytes()));
    }
}

/// A script that increments `n` and `m`.
const BOTH: &str = "redis.call('INCR', 'n') for i = 1, 2000 do end return redis.call('INCR', 'm')";

/// A transaction of so many of these, with another one in their middle, without its EXEC.
fn queue_scripts(client: &mut Client, scripts: usize, between: &str) {
    let mut bytes = request_bytes(&["MULTI"]);
    for nth in 0..scripts {
        let text = if nth == scripts / 2 { between } else { BOTH };
        bytes.extend(request_bytes(&["EVAL", text, "0"]));
    }
    client.send_bytes(&bytes);
    (0..=scripts).for_each(|_| drop(client.value()));
}

/// The same, slow: longer than a few milliseconds on any machine.
const SLOW: &str = "redis.call('INCR', 'n') for i = 1, 20000000 do end return redis.call('INCR', 'm')";

#[test]
fn scripts_are_steps_of_a_long_transaction_between_which_others_are_served() {
    const SCRIPTS: usize = 1_000;
    for (shards, between) in [(1, BOTH), (1, SLOW), (2, SLOW)] {
        let server = Launch::shards(shards).args(&["--busy-reply-threshold", "5"]).start();
        let (mut client, mut other) = (server.connect(), server.connect());
        let mut was_seen = false;
        for round in 0..100 {
            // As above: one that was over too soon shows nothing.
            if was_seen {
                break;
            }
            queue_scripts(&mut client, SCRIPTS, between);
            client.send(&["EXEC"]);
            let (before, after) = (round * SCRIPTS, (round + 1) * SCRIPTS);
            thread::scope(|scope| {
                for _ in 0..shards {
                    scope.spawn(|| assert_no_state_between(&mut server.connect(), after));
                }
                let watcher = scope.spawn(|| client.value());
                while !watcher.is_finished() {
                    // On the transaction's own shard nobody could see this if all of it were one piece.
                    was_seen |= scripts_run(&mut other).is_some_and(|run| before < run && run < after);
                }
                let numbers = elements(watcher.join().expect("a reply"));
                assert!(numbers.into_iter().eq((before + 1..=after).map(|n| Value::Int(n as i64))));
            });
        }
        assert!(was_seen, "nobody was served between two scripts on {shards} shards");
    }
}

/// How many scripts have been run; `None` beside one that has run for too long.
fn scripts_run(client: &mut Client) -> Option<usize> {
    client.send(&["INFO", "commandstats"]);
    let Value::Bulk(info) = client.value() else { return None };
    let info = String::from_utf8_lossy(&info).into_owned();
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_eval:calls="));
    calls.and_then(|calls| calls.split(',').next()?.parse().ok())
}

/// What others are told beside a script that has run for too long.
fn is_busy(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"BUSY "))
}

/// Reads `n` and `m`, which are the same at any time, until they have come to `end`.
fn assert_no_state_between(client: &mut Client, end: usize) {
    let end = Value::Bulk(end.to_string().into_bytes());
    loop {
        client.send(&["MGET", "n", "m"]);
        match client.value() {
            busy if is_busy(&busy) => {}
            both => {
                let both = elements(both);
                assert_eq!(both[0], both[1], "a state between");
                if both[0] == end {
                    return;
                }
            }
        }
    }
}

#[test]
fn of_a_transaction_whose_script_the_stop_has_ended_nothing_is_left() {
    for (shards, is_long) in [(1, false), (2, true)] {
        let args = ["--appendonly", "yes", "--busy-reply-threshold", "5"];
        let mut server = Launch::shards(shards).args(&args).start();
        let mut client = server.connect();
        let mut blocked = server.connect();
        blocked.send(&["BLMOVE", "from", "to", "LEFT", "LEFT", "0"]);
        let mut other = server.connect();
        wait_for("a blocked reader", || {
            other.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        client.request(&["MULTI"]);
        client.request(&["SET", "before", "1"]);
        client.request(&["RPUSH", "from", "1"]);
        if is_long {
            client.request(&["EVAL", "for i = 1, 2000000 do end", "0"]);
        }
        client.request(&["EVAL", "redis.call('SET', 'inside', '1') while true do end", "0"]);
        client.request(&["SET", "behind", "1"]);
        client.send(&["EXEC"]);
        wait_for("the script", || {
            other.send(&["GET", "before"]);
            is_busy(&other.value()).then_some(())
        });
        drop(other);
        server.restart();
        let reply = client.rest();
        let text = b"-ERR the server stops: nothing of the request is kept\r\n";
        assert!(
            reply.is_empty() || reply == text,
            "what is not kept was acknowledged: {}",
            reply.escape_ascii()
        );
        let mut other = server.connect();
        assert_eq!(other.request(&["DBSIZE"]), Value::Int(0));
    }
}

/// Every command and subcommand that can be queued, with what may be taken for its arguments: one that locked keys by itself would wait
/// for those that the transaction has.
#[test]
fn no_command_waits_for_the_keys_of_the_transaction_that_it_is_in() {
    const DEBUG: [&str; 13] = [
        "RELOAD",
        "LOADAOF",
        "DIGEST",
        "DIGEST-VALUE",
        "POPULATE",
        "LISTPACK",
        "OBJECT",
        "PROTOCOL",
        "SET-ACTIVE-EXPIRE",
        "ERROR",
        "LOG",
        "SLEEP",
        "HELP",
    ];
    const ARGUMENTS: [&[&str]; 8] = [
        &[],
        &["0"],
        &["k"],
        &["0", "0"],
        &["k", "k"],
        &["1", "0", "0"],
        &["k", "0", "1"],
        &["k", "1", "k", "2"],
    ];
    let server = Launch::shards(2).args(&["--enable-debug-command", "yes", "--retain", "news 100"]).start();
    let mut client = server.connect();
    let mut names: Vec<Vec<String>> =
        DEBUG.iter().map(|name| vec!["debug".to_owned(), (*name).to_owned()]).collect();
    for row in elements(client.request(&["COMMAND"])) {
        let row = elements(row);
        let (Some(Value::Bulk(name)), Some(Value::Array(subcommands))) = (row.first(), row.get(9)) else {
            panic!("a row of COMMAND has a name and subcommands");
        };
        let name = String::from_utf8_lossy(name).into_owned();
        // These end the transaction, the connection or the server.
        if ["exec", "discard", "multi", "reset", "quit", "shutdown", "debug"].contains(&name.as_str()) {
            continue;
        }
        for row in subcommands {
            let Value::Array(row) = row else { panic!("a row") };
            let Some(Value::Bulk(full)) = row.first() else { panic!("a row has a name") };
            names.push(String::from_utf8_lossy(full).split('|').map(str::to_owned).collect());
        }
        if subcommands.is_empty() {
            names.push(vec![name]);
        }
    }
    assert!(names.len() > 300, "{} commands", names.len());
    let mut taken = 0;
    for name in &names {
        for arguments in ARGUMENTS {
            let request: Vec<&str> =
                name.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
            let mut client = server.connect();
            client.request(&["MULTI"]);
            client.send(&request);
            if matches!(client.value(), Value::Error(_)) {
                continue;
            }
            // So many that all keys are taken.
            client.send_bytes(&request_bytes(&["SET", "k", "1"]).repeat(80));
            client.send(&["EXEC"]);
            (0..80).for_each(|_| drop(client.value()));
            let reply = elements(client.value());
            assert_eq!(reply.len(), 81, "{request:?}");
            taken += 1;
        }
    }
    assert!(taken > 500, "{taken} requests were queued");
}

#[test]
fn keys_in_a_transaction_are_found_in_slices_and_are_those_of_its_moment() {
    const KEYS: usize = 12_000;
    /// Many slices of any build.
    const WALKS: usize = 50;
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut client, mut other) = (server.connect(), server.connect_resp3());
        for from in (0..KEYS).step_by(6_000) {
            let pairs = (from..from + 6_000).flat_map(|number| [format!("key:{number}"), "v".to_owned()]);
            client.request(&["MSET".to_owned()].into_iter().chain(pairs).collect::<Vec<_>>());
        }
        other.request(&["SUBSCRIBE", "done"]);
        let is_seen = (0..100).any(|_| {
            let first = [&["MULTI"][..], &["SET", "inside", "1"], &["KEYS", "*"]];
            let last = [&["DEL", "inside"][..], &["PUBLISH", "done", "x"]];
            let requests = first.into_iter().chain([&["KEYS", "key:1?"][..]; WALKS]).chain(last);
            requests.for_each(|request| drop(client.request(request)));
            client.send(&["EXEC"]);
            // It needs no keys.
            let served = served_until_told(&mut other);
            let replies = elements(client.value());
            let names = elements(replies[1].clone());
            assert_eq!(names.len(), KEYS + 1);
            assert!(names.contains(&Value::Bulk(b"inside".to_vec())));
            for walk in 0..WALKS {
                assert_eq!(elements(replies[2 + walk].clone()).len(), 10);
            }
            served > 1
        });
        assert!(is_seen, "nobody was served before it was done, {shards} shards");
    }
}

#[test]
fn channels_are_walked_past_and_left_in_the_slices_of_a_transaction() {
    const CHANNELS: usize = 12_000;
    const WALKS: usize = 50;
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut client, mut other) = (server.connect_resp3(), server.connect_resp3());
        other.request(&["SUBSCRIBE", "done"]);
        let is_seen = (0..100).any(|_| {
            for from in (0..CHANNELS).step_by(1_000) {
                let names = (from..from + 1_000).map(|number| format!("channel:{number}"));
                client.send(&["SUBSCRIBE".to_owned()].into_iter().chain(names).collect::<Vec<_>>());
                (0..1_000).for_each(|_| drop(client.value()));
            }
            let first = [&["MULTI"][..], &["PUBSUB", "CHANNELS"]];
            let last = [&["UNSUBSCRIBE"][..], &["PUBLISH", "done", "x"]];
            let walks = [&["PUBSUB", "CHANNELS", "channel:1?"][..]; WALKS];
            first.into_iter().chain(walks).chain(last).for_each(|request| drop(client.request(request)));
            client.send(&["EXEC"]);
            let served = served_until_told(&mut other);
            let left = |value: &Value| matches!(value, Value::Push(_));
            let replies = elements(client.value());
            assert_eq!(elements(replies[0].clone()).len(), CHANNELS + 1);
            for walk in &replies[1..=WALKS] {
                assert_eq!(elements(walk.clone()).len(), 10);
            }
            // Each is confirmed, two of them in the place of as many replies.
            assert_eq!(replies[WALKS + 1..].iter().filter(|value| left(value)).count(), 2);
            assert!((2..CHANNELS).all(|_| left(&client.value())));
            assert_eq!(client.value(), Value::Int(1));
            assert_eq!(elements(client.request(&["PUBSUB", "CHANNELS"])).len(), 1);
            served > 1
        });
        assert!(is_seen, "nobody was served before it was done, {shards} shards");
    }
}

#[test]
fn clients_and_users_are_listed_in_the_slices_of_a_transaction_as_outside() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut client, mut other) = (server.connect(), server.connect_resp3());
        let others: Vec<Client> = (0..600).map(|_| server.connect()).collect();
        (0..100)
            .for_each(|nth| drop(client.request(&["ACL", "SETUSER", &format!("user{nth}"), "on", ">pw"])));
        let users = client.request(&["ACL", "LIST"]);
        other.request(&["SUBSCRIBE", "done"]);
        let is_seen = (0..100).any(|_| {
            client.request(&["MULTI"]);
            (0..20).for_each(|_| drop(client.request(&["CLIENT", "LIST"])));
            client.request(&["ACL", "LIST"]);
            client.request(&["PUBLISH", "done", "x"]);
            client.send(&["EXEC"]);
            let served = served_until_told(&mut other);
            let replies = elements(client.value());
            for list in &replies[..20] {
                let text = String::from_utf8_lossy(list.as_bytes().expect("a text")).into_owned();
                assert_eq!(text.lines().count(), 2 + others.len());
            }
            assert_eq!(replies[20], users);
            served > 1
        });
        assert!(is_seen, "nobody was served before it was done, {shards} shards");
    }
}

/// Others of the only shard are served many times before EXEC of so many requests is done, or it is tried again.
fn assert_served_beside_exec(server: &Server, requests: &[&[&str]]) {
    let (mut client, mut other) = (server.connect(), server.connect_resp3());
    other.request(&["SUBSCRIBE", "done"]);
    let is_seen = (0..100).any(|_| {
        client.request(&["MULTI"]);
        requests.iter().for_each(|request| drop(client.request(request)));
        client.request(&["PUBLISH", "done", "x"]);
        client.send(&["EXEC"]);
        let served = served_until_told(&mut other);
        assert_eq!(elements(client.value()).len(), requests.len() + 1);
        served >= 4
    });
    assert!(is_seen, "nobody was served before {:?} was done", &requests[0][..1]);
}

#[test]
fn a_transaction_that_asks_for_much_about_the_server_goes_on_in_slices() {
    let server = Launch::shards(1).start();
    for report in [&["INFO", "everything"][..], &["COMMAND"], &["MEMORY", "STATS"]] {
        assert_served_beside_exec(&server, &[report; 200]);
    }
}

#[test]
fn a_transaction_that_draws_keys_of_which_all_are_due_goes_on_in_slices() {
    let server = Launch::shards(1).args(&["--enable-debug-command", "yes"]).start();
    let mut client = server.connect();
    client.request(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    // Each draw removes a key, and a transaction draws 25 000 times at most.
    for from in (0..100_000).step_by(1_000) {
        let pairs = (from..from + 1_000).flat_map(|number| [format!("key:{number}"), "x".to_owned()]);
        let head = ["MSETEX", "1000"].into_iter().map(str::to_owned);
        let tail = ["PX", "1"].into_iter().map(str::to_owned);
        client.request(&head.chain(pairs).chain(tail).collect::<Vec<_>>());
    }
    assert_served_beside_exec(&server, &[&["RANDOMKEY"][..]; 250]);
}

#[test]
fn a_transaction_that_looks_for_many_patterns_goes_on_in_slices() {
    let server = Launch::shards(1).start();
    let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let push: Vec<&str> = ["RPUSH", "list"].into_iter().chain(numbers.iter().map(String::as_str)).collect();
    server.connect().request(&push);
    let patterns = (0..300).flat_map(|_| ["GET", "none:*"]);
    let sort: Vec<&str> = ["SORT", "list", "BY", "nosort"].into_iter().chain(patterns).collect();
    assert_served_beside_exec(&server, &[&sort]);
}

/// differs=settings-of-exec
#[test]
fn a_transaction_that_changes_settings_is_short() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        for from in (0..12_000).step_by(4_000) {
            let members = (from..from + 4_000).map(|number| format!("member:{number}"));
            let request = ["SADD", "set"].into_iter().map(str::to_owned).chain(members);
            client.request(&request.collect::<Vec<_>>());
        }
        client.request(&["MULTI"]);
        for request in [
            &["CONFIG", "SET", "timeout", "7"][..],
            &["SUNIONSTORE", "copy", "set"],
            &["SMEMBERS", "set"],
            &["SCARD", "set"],
        ] {
            client.request(request);
        }
        let refused =
            || Value::Error(b"ERR it would take too long in a transaction that changes settings".to_vec());
        let replies = [Value::Simple(b"OK".to_vec()), refused(), refused(), Value::Int(12_000)];
        assert_eq!(client.request(&["EXEC"]), Value::Array(replies.to_vec()));
        assert_eq!(client.int(&["EXISTS", "copy"]), 0);
        client.request(&["MULTI"]);
        client.request(&["CONFIG", "SET", "timeout", "8"]);
        (0..256).for_each(|_| drop(client.request(&["INCR", "counted"])));
        client.send(&["EXEC"]);
        assert!(client.error().starts_with("EXECABORT Transaction discarded because of: one that changes"));
        assert_eq!(client.int(&["EXISTS", "counted"]), 0);
        let timeout = client.request(&["CONFIG", "GET", "timeout"]);
        assert_eq!(elements(timeout)[1], Value::Bulk(b"7".to_vec()));
    }
}
