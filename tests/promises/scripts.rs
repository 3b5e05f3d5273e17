//! A script is one step for everybody else, and one that never ends keeps nobody from being told so, or from ending it.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

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

/// Source: Redis, which looks at memory beside no script.
#[test]
fn beside_a_script_that_has_run_for_too_long_who_needs_memory_is_told_of_the_script() {
    for policy in ["noeviction", "allkeys-lru"] {
        let server = Server::sterna(2, &["--busy-reply-threshold", "100", "--maxmemory-policy", policy]);
        let mut others: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        others[0].request(&["SET", "k", "v"]);
        others[0].request(&["CONFIG", "SET", "maxmemory", "1"]);
        let mut runs = server.connect();
        runs.send(&["EVAL", "while true do end", "0"]);
        for other in &mut others {
            wait_for("BUSY", || {
                other.send(&["EXISTS", "k"]);
                matches!(other.value(), Value::Error(text) if text.starts_with(b"BUSY")).then_some(())
            });
            assert!(error_of(other, &["SET", "k", "x"]).starts_with("BUSY"), "{policy}");
        }
        assert_eq!(others[1].request(&["SCRIPT", "KILL"]), Value::Simple(b"OK".to_vec()));
        assert!(runs.error().contains("Script killed"));
        if policy == "noeviction" {
            assert!(error_of(&mut others[0], &["SET", "k", "x"]).starts_with("OOM"));
        }
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
        let mut server = Server::sterna(shards, &["--busy-reply-threshold", "100", "--appendonly", "yes"]);
        let (mut runs, mut others) = (server.connect(), [server.connect()]);
        runs.send(&["EVAL", script, "0"]);
        // Or its end, for who looks too late.
        wait_for("BUSY", || {
            others[0].send(&["GET", "k"]);
            match others[0].value() {
                Value::Error(text) => text.starts_with(b"BUSY").then_some(()),
                value => (value == Value::Bulk(b"last".to_vec())).then_some(()),
            }
        });
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

#[test]
fn a_function_that_runs_for_ever_is_shown_and_ended_as_a_function() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--busy-reply-threshold", "100"]);
        let mut others: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        let code = "#!lua name=lib\nredis.register_function('endless', function() while true do end end)\n\
                    redis.register_function('writes', function() redis.call('set', 'k', 'half') while true do end end)";
        assert_eq!(others[0].text(&["FUNCTION", "LOAD", code]), "lib");
        let mut runs = server.connect();
        runs.send(&["FCALL", "endless", "0", "an argument"]);
        let busy = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
        for other in &mut others {
            wait_for("BUSY", || {
                other.send(&["GET", "k"]);
                matches!(other.value(), Value::Error(text) if text == busy.as_bytes()).then_some(())
            });
            assert_eq!(error_of(other, &["FCALL", "endless", "0"]), busy);
            assert_eq!(error_of(other, &["SCRIPT", "KILL"]), busy);
            let stats = other.request(&["FUNCTION", "STATS"]);
            let running = stats.as_slice().expect("a map")[1].as_slice().expect("what runs").to_vec();
            assert_eq!(running[1], Value::Bulk(b"endless".to_vec()));
            let command = ["FCALL", "endless", "0", "an argument"];
            let command = command.map(|word| Value::Bulk(word.as_bytes().to_vec()));
            assert_eq!(running[3], Value::Array(command.to_vec()));
            assert!(matches!(running[5], Value::Int(100..)), "{running:?}");
        }
        assert_eq!(others[EACH - 1].request(&["FUNCTION", "KILL"]), Value::Simple(b"OK".to_vec()));
        assert!(runs.error().contains("Script killed by user"));
        assert!(error_of(&mut others[2], &["FUNCTION", "KILL"]).starts_with("NOTBUSY"));
        assert_eq!(others[1].request(&["GET", "k"]), Value::Null);
        // A script is none: FUNCTION STATS says so, and FUNCTION KILL leaves it.
        runs.send(&["EVAL", "while true do end", "0"]);
        let busy = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        wait_for("BUSY", || (error_of(&mut others[0], &["FUNCTION", "KILL"]) == busy).then_some(()));
        wait_for("BUSY", || {
            others[0].send(&["FUNCTION", "STATS"]);
            matches!(others[0].value(), Value::Error(text) if text == busy.as_bytes()).then_some(())
        });
        others[1].request(&["SCRIPT", "KILL"]);
        assert!(runs.error().contains("Script killed by user"));
        runs.send(&["FCALL", "writes", "0"]);
        wait_for("UNKILLABLE", || {
            error_of(&mut others[3], &["FUNCTION", "KILL"]).starts_with("UNKILLABLE").then_some(())
        });
        others[2].send(&["SHUTDOWN", "NOSAVE"]);
    }
}

/// CVE-2026-23631: the state of a slow function is thrown away while it runs.
#[test]
fn nobody_takes_away_the_code_that_runs() {
    let server = Server::sterna(2, &["--busy-reply-threshold", "50", "--enable-debug-command", "yes"]);
    let (mut runs, mut other) = (server.connect(), server.connect());
    let code = "#!lua name=lib\nredis.register_function('endless', function(keys) \
                local held = {} while true do held[#held % 100 + 1] = string.rep('x', 100) end end)\n\
                redis.register_function('quick', function() return 'here' end)";
    other.request(&["FUNCTION", "LOAD", code]);
    let dumped = match other.request(&["FUNCTION", "DUMP"]) {
        Value::Bulk(payload) => payload,
        dumped => panic!("{dumped:?} is no payload"),
    };
    runs.send(&["FCALL", "endless", "0"]);
    wait_for("BUSY", || is_busy(&mut other, &[b"GET", b"k"]));
    let requests: [&[&[u8]]; 9] = [
        &[b"FUNCTION", b"FLUSH", b"SYNC"],
        &[b"FUNCTION", b"FLUSH", b"ASYNC"],
        &[b"FUNCTION", b"DELETE", b"lib"],
        &[b"FUNCTION", b"LOAD", b"REPLACE", code.as_bytes()],
        &[b"FUNCTION", b"RESTORE", &dumped, b"FLUSH"],
        &[b"SCRIPT", b"FLUSH"],
        &[b"FLUSHALL"],
        &[b"DEBUG", b"RELOAD"],
        &[b"DEBUG", b"LOADAOF"],
    ];
    for request in requests {
        assert!(is_busy(&mut other, request).is_some(), "{request:?} is answered BUSY");
    }
    other.request(&["FUNCTION", "KILL"]);
    assert!(runs.error().contains("Script killed by user"));
    assert_eq!(runs.text(&["FCALL", "quick", "0"]), "here");
}

/// The request is answered BUSY.
fn is_busy(client: &mut Client, request: &[&[u8]]) -> Option<()> {
    client.send(request);
    matches!(client.value(), Value::Error(text) if text.starts_with(b"BUSY ")).then_some(())
}

#[test]
fn a_library_that_loads_for_ever_is_refused_and_nothing_of_it_is_there() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)\nwhile true do end";
    let error = error_of(&mut client, &["FUNCTION", "LOAD", code]);
    assert_eq!(error, "ERR Error registering functions: ERR FUNCTION LOAD timeout");
    assert!(error_of(&mut client, &["FCALL", "f", "0"]).starts_with("ERR Function not found"));
    assert_eq!(client.int(&["EVAL", "return 7", "0"]), 7);
}

/// Each library is refused that would be one too many, and what is there goes on.
#[test]
fn libraries_have_an_end_in_bytes_and_in_functions() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    let code = |name: &str, bytes: usize| {
        let comment = "x".repeat(bytes);
        format!("#!lua name={name}\nredis.register_function('{name}', function() return 1 end) -- {comment}")
    };
    assert!(error_of(&mut client, &["FUNCTION", "LOAD", &code("a", 1 << 20)]).contains("too long"));
    for name in ["a", "b", "c", "d"] {
        assert_eq!(client.text(&["FUNCTION", "LOAD", &code(name, 1_000_000)]), name);
    }
    assert!(error_of(&mut client, &["FUNCTION", "LOAD", &code("e", 1_000_000)]).contains("4 MiB"));
    assert_eq!(client.text(&["FUNCTION", "LOAD", "REPLACE", &code("b", 10)]), "b");
    let dumped = match client.request(&["FUNCTION", "DUMP"]) {
        Value::Bulk(dumped) => dumped,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        client.request(&[&b"FUNCTION"[..], b"RESTORE", &dumped, b"FLUSH"]),
        Value::Simple(b"OK".to_vec())
    );
    let many = "#!lua name=many\nfor i = 1, 1001 do redis.register_function('f' .. i, function() end) end";
    assert!(
        error_of(&mut client, &["FUNCTION", "LOAD", many]).starts_with("ERR Error registering functions")
    );
    let many = "#!lua name=many\nlocal i = 0\nwhile i < 1000 do i = i + 1 redis.register_function('f' .. i, function() end) end";
    assert_eq!(client.text(&["FUNCTION", "LOAD", many]), "many");
    assert_eq!(client.int(&["FCALL", "a", "0"]), 1);
    let thousand = |number: usize| {
        let register = "redis.register_function(prefix .. i, function() return i end)";
        format!("#!lua name=t{number}\nlocal prefix = 't{number}_' for i = 1, 1000 do {register} end")
    };
    (0..8).for_each(|number| drop(client.text(&["FUNCTION", "LOAD", &thousand(number)])));
    assert!(error_of(&mut client, &["FUNCTION", "LOAD", &thousand(9)]).contains("more than 10000 functions"));
    assert_eq!([client.int(&["FCALL", "t7_1000", "0"]), client.int(&["FCALL", "d", "0"])], [1000, 1]);
    // What takes the place of others needs no more room than these had.
    assert_eq!(client.text(&["FUNCTION", "LOAD", "REPLACE", &thousand(7)]), "t7");
    let dumped = match client.request(&["FUNCTION", "DUMP"]) {
        Value::Bulk(dumped) => dumped,
        other => panic!("{other:?}"),
    };
    for policy in [&b"FLUSH"[..], b"REPLACE"] {
        let restored = client.request(&[&b"FUNCTION"[..], b"RESTORE", &dumped, policy]);
        assert_eq!(restored, Value::Simple(b"OK".to_vec()));
    }
    assert_eq!(client.int(&["FCALL", "t7_1000", "0"]), 1000);
}

/// A script of so many bytes that returns its first argument and a number, and nothing else.
fn long_script(bytes: usize, number: usize) -> String {
    let mut text = String::with_capacity(bytes + 100);
    for line in 0.. {
        if text.len() >= bytes {
            break;
        }
        text += &format!("do local a, b = {line}, 'x{number}' if a == 'y' then return a .. b end end\n");
    }
    text + &format!("return ARGV[1] .. ':{number}'")
}

#[test]
fn a_script_is_as_long_as_a_mebibyte() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    let text = |bytes: usize| format!("return 7 -- {}", "x".repeat(bytes - 12));
    assert_eq!(client.int(&["EVAL", &text(1 << 20), "0"]), 7);
    for request in [&["EVAL", &text((1 << 20) + 1), "0"][..], &["SCRIPT", "LOAD", &text(2 << 20)]] {
        assert_eq!(error_of(&mut client, request), "ERR the script is too long: it may have 1048576 bytes");
    }
}

/// It is compiled by a thread: replies keep their order, errors are those of short ones, and short scripts of others are answered.
#[test]
fn a_long_script_is_compiled_before_its_request_is_executed_and_answers_as_a_short_one() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--appendonly", "yes"]).start();
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                let script = long_script(200 << 10, 10 * round + number);
                let broken = format!("{script}\nx = = 1");
                client.send(&["SET", &format!("k{number}"), "before"]);
                client.send(&["EVAL", &script, "0", "first"]);
                client.send(&["GET", &format!("k{number}")]);
                client.send(&["EVAL", &broken, "0", "first"]);
                client.send(&[
                    "EVAL",
                    "return redis.call('APPEND', KEYS[1], ARGV[1])",
                    "1",
                    &format!("k{number}"),
                    "+",
                ]);
                client.send(&["MULTI"]);
                client.send(&["EVAL", &format!("-- in MULTI\n{script}"), "0", "queued"]);
                client.send(&["SCRIPT", "LOAD", &format!("-- loaded\n{script}")]);
                client.send(&["EXEC"]);
                client.send(&["EVAL", &script, "0", "again"]);
            }
            // Some that leave before they are answered.
            let mut leaves = server.connect();
            leaves.send(&["EVAL", &long_script(300 << 10, 1000 + round), "0", "x"]);
            leaves.send(&[
                "FUNCTION",
                "LOAD",
                &format!("#!lua name=gone{round}\n{}", long_script(30 << 10, 1)),
            ]);
            drop(leaves);
            for (number, client) in clients.iter_mut().enumerate() {
                let answer = |word: &str| Value::Bulk(format!("{word}:{}", 10 * round + number).into_bytes());
                assert_eq!(client.value(), Value::Simple(b"OK".to_vec()));
                assert_eq!(client.value(), answer("first"));
                assert_eq!(client.value(), Value::Bulk(b"before".to_vec()));
                let error = client.error();
                assert!(
                    error.starts_with("ERR Error compiling script (new function): user_script:"),
                    "{error}"
                );
                assert_eq!(client.value(), Value::Int(7));
                assert_eq!(client.value(), Value::Simple(b"OK".to_vec()));
                (0..2).for_each(|_| assert_eq!(client.value(), Value::Simple(b"QUEUED".to_vec())));
                let Value::Array(replies) = client.value() else { panic!("an array") };
                assert_eq!(replies[0], answer("queued"));
                let Value::Bulk(sha) = &replies[1] else { panic!("{replies:?}") };
                assert_eq!(client.value(), answer("again"));
                let sha = String::from_utf8_lossy(sha).into_owned();
                assert_eq!(client.request(&["EVALSHA", &sha, "0", "loaded"]), answer("loaded"));
            }
        }
    }
}

#[test]
fn a_flush_of_scripts_leaves_the_functions_and_one_of_functions_the_scripts() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let sha = client.text(&["SCRIPT", "LOAD", "return 2"]);
    client.request(&["FUNCTION", "LOAD", code]);
    client.request(&["FUNCTION", "FLUSH"]);
    assert_eq!(client.int(&["EVALSHA", &sha, "0"]), 2);
    assert_eq!(error_of(&mut client, &["FCALL", "f", "0"]), "ERR Function not found");
    client.request(&["FUNCTION", "LOAD", code]);
    client.request(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.int(&["FCALL", "f", "0"]), 1);
    assert!(error_of(&mut client, &["EVALSHA", &sha, "0"]).starts_with("NOSCRIPT"));
}

#[test]
fn a_reply_that_a_script_has_no_memory_for_is_not_made() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &[]);
        let mut client = server.connect();
        // Once it is 8 MiB; as often as a command asks for it, twice as much as the Lua state may hold.
        client.request(&["SETRANGE", "k", "8388607", "x"]);
        let copy = "local v = redis.call('get', 'k')
            redis.call('hset', 'h', 'f', v) redis.call('sadd', 's', v) redis.call('zadd', 'z', 1, v) redis.call('rpush', 'l', 'k')";
        assert_eq!(client.request(&["EVAL", copy, "0"]), Value::Null);
        for (ask, each) in [
            ("'mget'", "'k'"),
            ("'hmget', 'h'", "'f'"),
            ("'hgetex', 'h', 'fields', 64", "'f'"),
            ("'srandmember', 's', -64", ""),
            ("'zrandmember', 'z', -64", ""),
            ("'hrandfield', 'h', -64, 'withvalues'", ""),
            ("'sort', 'l', 'by', 'nosort'", "'get', '*'"),
        ] {
            let script = format!(
                "local args = {{{ask}}} if ARGV[1] ~= '' then for i = 1, 64 do for _, word in ipairs({{{each}}}) do table.insert(args, word) end end end
                 local caught = redis.pcall(unpack(args))
                 return {{caught.err or 'a reply', redis.call('strlen', 'k')}}"
            );
            let answer = client.request(&["EVAL", &script, "0", each]);
            let expected = Value::Bulk(b"ERR the reply is longer than a script has memory for".to_vec());
            assert_eq!(answer, Value::Array(vec![expected, Value::Int(8_388_608)]), "{ask}");
        }
        // What a function makes of a little is bounded as well, and the value is there for who asks once.
        assert_eq!(client.int(&["EVAL", "return #redis.call('get', 'k')", "0"]), 8_388_608);
    }
}

/// What is compiled ahead is kept for 64 requests.
#[test]
fn a_transaction_that_needs_more_compiled_than_is_kept_comes_to_its_end() {
    let filler = "x".repeat(24 << 10);
    let library = |number: usize| {
        format!("#!lua name=lib{number}\nredis.register_function('f{number}', function() end)")
    };
    let script = |number: usize| format!("return #'{filler}' + {number}");
    let wrong = |number: usize| format!("return '{filler}' {number}");
    for shards in SHARDS {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        client.request(&["MULTI"]);
        (0..100).for_each(|number| drop(client.request(&["FUNCTION", "LOAD", &library(number)])));
        (0..100).for_each(|number| drop(client.request(&["EVAL", &script(number), "0"])));
        (0..100).for_each(|number| drop(client.request(&["EVAL", &wrong(number), "0"])));
        client.send(&["EXEC"]);
        let Value::Array(replies) = client.value() else { panic!("no replies") };
        let (loaded, rest) = replies.split_at(100);
        assert!(
            loaded.iter().enumerate().all(|(n, reply)| *reply == Value::Bulk(format!("lib{n}").into_bytes()))
        );
        let (sums, errors) = rest.split_at(100);
        let sum = |number: usize| Value::Int((24 << 10) + number as i64);
        assert!(sums.iter().enumerate().all(|(number, reply)| *reply == sum(number)));
        assert!(errors.len() == 100 && errors.iter().all(|reply| matches!(reply, Value::Error(_))));
        assert_eq!(client.text(&["FUNCTION", "LOAD", "REPLACE", &library(7)]), "lib7");
    }
}
