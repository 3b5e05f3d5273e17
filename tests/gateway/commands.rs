//! Commands over HTTP: the shape that Upstash's clients speak, and that they are commands like any other.

use std::io::Write;

use sterna_protocol::decode::Value;
use sterna_tests::http::{HttpServer, answer_of};
use sterna_tests::memory::resident_bytes_at_most;
use sterna_tests::server::{Launch, wait_for};

use crate::tools::{bearer, done, info, run};

#[test]
fn a_command_is_an_array_a_path_or_a_path_with_a_body_and_a_query() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--requirepass", "secret"]);
        let token = bearer("default", "secret");
        assert_eq!(done(server.post("/", &token, r#"["SET","k","v"]"#)), r#"{"result":"OK"}"#);
        assert_eq!(done(server.get("/get/k", &token)), r#"{"result":"v"}"#);
        assert_eq!(done(server.get("/set/a%2Fb/x?EXAT=4000000000&NX", &token)), r#"{"result":"OK"}"#);
        assert_eq!(done(server.get("/expiretime/a%2Fb", &token)), r#"{"result":4000000000}"#);
        assert_eq!(done(server.post("/set/body?EX=100", &token, "of a\nrequest")), r#"{"result":"OK"}"#);
        assert_eq!(done(server.post("/get/body", &token, "")), r#"{"result":"of a\nrequest"}"#);
        assert_eq!(done(server.get("/get/k?_token=secret", "")), r#"{"result":"v"}"#);
        assert_eq!(done(server.get("/mget/k/none", &token)), r#"{"result":["v",null]}"#);
        let base64 = format!("{token}\nUpstash-Encoding: base64");
        assert_eq!(done(server.get("/mget/k/none", &base64)), r#"{"result":["dg==",null]}"#);
    }
}

#[test]
fn errors_have_the_engine_s_words_and_a_status() {
    let server = HttpServer::start(1, &[]);
    run(&server, r#"["SET","k","v"]"#);
    for (command, status, error) in [
        (r#"["NOSUCH","x"]"#, 400, "ERR unknown command 'NOSUCH'"),
        (r#"["LPUSH","k","v"]"#, 400, "WRONGTYPE Operation against a key"),
        (r#"["GET"]"#, 400, "ERR wrong number of arguments for 'get' command"),
        ("[]", 400, "ERR empty command"),
        (r#"{"a":1}"#, 400, "ERR The body must be a JSON array of arguments"),
        (r#"["SUBSCRIBE","c"]"#, 400, "ERR Command 'subscribe' is not allowed over HTTP"),
        (r#"["UNSUBSCRIBE"]"#, 400, "ERR Command 'unsubscribe' is not allowed over HTTP"),
        (r#"["MONITOR"]"#, 400, "ERR Command 'monitor' is not allowed over HTTP"),
        (r#"["CLIENT","REPLY","OFF"]"#, 400, "ERR Command 'client' is not allowed over HTTP"),
    ] {
        let answer = run(&server, command);
        assert_eq!(answer.status, status, "{command}: {answer:?}");
        assert!(answer.body.starts_with(&format!(r#"{{"error":"{error}"#)), "{command}: {}", answer.body);
    }
}

#[test]
fn a_pipeline_answers_each_command_and_a_transaction_all_or_nothing() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let commands = r#"[["SET","n","5"],["INCR","n"],["LPUSH","n","x"],["GET","n"]]"#;
        let expected = r#"[{"result":"OK"},{"result":6},{"error":"WRONGTYPE Operation against a key holding the wrong kind of value"},{"result":"6"}]"#;
        assert_eq!(done(server.post("/pipeline", "", commands)), expected);
        assert_eq!(done(server.post("/multi-exec", "", commands)), expected);
        assert_eq!(done(server.post("/multi-exec", "", "[]")), "[]");
        let wrong = server.post("/multi-exec", "", r#"[["SET","n","1"],["GET"]]"#);
        assert_eq!(wrong.status, 400);
        assert!(wrong.body.contains("wrong number of arguments for 'get'"), "{}", wrong.body);
        assert_eq!(done(run(&server, r#"["GET","n"]"#)), r#"{"result":"6"}"#);
        let many = format!("[{}]", vec![r#"["INCR","n"]"#; 5_000].join(","));
        assert!(done(server.post("/pipeline", "", &many)).ends_with(r#"{"result":5006}]"#));
    }
}

#[test]
fn a_long_reply_arrives_whole_and_one_that_is_too_long_is_refused() {
    let server = HttpServer::start(2, &["--proto-max-bulk-len", "100mb"]);
    let mut client = server.server.connect();
    let long = "x".repeat(5_000_000);
    client.request(&["SET", "k", &long]);
    assert_eq!(done(run(&server, r#"["GET","k"]"#)).len(), long.len() + r#"{"result":""}"#.len());
    client.request(&["SETRANGE", "k", "40000000", "x"]);
    let refused = run(&server, r#"["GET","k"]"#);
    assert_eq!(
        (refused.status, &refused.body[..]),
        (400, r#"{"error":"ERR The reply is too long for HTTP"}"#)
    );
    // Whatever was held for it is free again, and so is its connection.
    wait_for("the connection to be closed", || {
        (client.text(&["CLIENT", "LIST"]).lines().count() == 1).then_some(())
    });
}

/// What reads and writes long JSON is another thread than the one that serves everybody.
#[test]
fn long_json_is_read_and_written_beside_the_thread_that_serves_others() {
    let threads = |server: &HttpServer| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.server.pid())).expect("it runs");
        let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name == "gateway-json\n")).count()
    };
    let server = HttpServer::start(1, &[]);
    assert_eq!(done(run(&server, r#"["SET","k","short"]"#)), r#"{"result":"OK"}"#);
    assert_eq!(threads(&server), 0, "what is short is not worth another thread");
    let long = "x".repeat(300_000);
    assert_eq!(done(run(&server, &format!(r#"["SET","k","{long}"]"#))), r#"{"result":"OK"}"#);
    assert!(threads(&server) > 0, "a long request");
    let server = HttpServer::start(1, &[]);
    server.server.connect().request(&["SET", "k", &long]);
    assert_eq!(done(run(&server, r#"["GET","k"]"#)), format!(r#"{{"result":"{long}"}}"#));
    assert!(threads(&server) > 0, "a long reply");
    for path in ["/pipeline", "/multi-exec"] {
        let answer = server.post(path, "", &format!(r#"[["GET","k"],["SET","k","{long}y"]]"#));
        assert_eq!(done(answer), format!(r#"[{{"result":"{long}"}},{{"result":"OK"}}]"#), "{path}");
        server.server.connect().request(&["SET", "k", &long]);
    }
}

#[test]
fn a_blocking_command_waits_and_ends_with_its_http_client() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut client = server.server.connect();
        let mut waiting = server.connect();
        let request = server.request("POST", "/", "", r#"["BLPOP","list","0"]"#);
        waiting.write_all(request.as_bytes()).expect("the server reads");
        let blocked = |client: &mut sterna_tests::client::Client| {
            client.text(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("cmd=blpop")).count()
        };
        wait_for("it to wait", || (blocked(&mut client) == 1).then_some(()));
        client.request(&["RPUSH", "list", "a"]);
        assert_eq!(answer_of(&mut waiting).expect("an answer").body, r#"{"result":["list","a"]}"#);
        wait_for("it to be gone", || (blocked(&mut client) == 0).then_some(()));
        // One that has left takes nothing.
        let mut leaving = server.connect();
        leaving.write_all(request.as_bytes()).expect("the server reads");
        wait_for("it to wait", || (blocked(&mut client) == 1).then_some(()));
        drop(leaving);
        wait_for("it to be gone", || (blocked(&mut client) == 0).then_some(()));
        client.request(&["RPUSH", "list", "b"]);
        assert_eq!(client.int(&["LLEN", "list"]), 1);
    }
}

#[test]
fn a_request_is_a_client_like_any_other() {
    let server = HttpServer::start(2, &["--slowlog-log-slower-than", "0"]);
    let mut monitor = server.server.connect();
    monitor.request(&["MONITOR"]);
    done(run(&server, r#"["SET","k","v"]"#));
    let seen = wait_for("the monitor", || {
        let line = monitor.value();
        let line = String::from_utf8_lossy(line.as_bytes().unwrap_or_default()).into_owned();
        line.contains("\"SET\"").then_some(line)
    });
    assert!(seen.contains("127.0.0.1:"), "{seen}");
    let mut client = server.server.connect();
    let Value::Array(slow) = client.request(&["SLOWLOG", "GET", "-1"]) else { panic!("a list") };
    let of_set = |entry: &&Value| {
        entry.as_slice().is_some_and(|entry| {
            entry[3] == Value::Array(["SET", "k", "v"].map(|word| Value::Bulk(word.into())).to_vec())
        })
    };
    assert_eq!(slow.iter().filter(of_set).count(), 1);
    // CLIENT KILL ends it.
    let mut waiting = server.connect();
    let request = server.request("POST", "/", "", r#"["BLPOP","list","0"]"#);
    waiting.write_all(request.as_bytes()).expect("the server reads");
    wait_for("it to wait", || (info(&mut client, "blocked_clients") == "1").then_some(()));
    // The client of the first request leaves behind its answer.
    wait_for("three clients", || (client.text(&["CLIENT", "LIST"]).lines().count() == 3).then_some(()));
    assert_eq!(client.int(&["CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES"]), 2, "it and the monitor");
    let answer = answer_of(&mut waiting).expect("an answer");
    assert_eq!(
        (answer.status, &answer.body[..]),
        (503, r#"{"error":"ERR The request was ended by the server"}"#)
    );
}

#[test]
fn writes_over_http_are_durable_when_they_are_answered() {
    let mut server = HttpServer::start(2, &["--appendonly", "yes", "--appendfsync", "always"]);
    for n in 1..=50 {
        assert_eq!(done(run(&server, r#"["INCR","n"]"#)), format!(r#"{{"result":{n}}}"#));
    }
    server.server.kill();
    server.server.start_again();
    assert_eq!(done(run(&server, r#"["GET","n"]"#)), r#"{"result":"50"}"#);
}

#[test]
fn the_limits_of_memory_and_of_loading_hold_over_http() {
    let server = HttpServer::start(1, &[]);
    let mut client = server.server.connect();
    client.request(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = wait_for("it to be refused", || {
        Some(run(&server, r#"["SET","k","v"]"#)).filter(|answer| answer.status != 200)
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.starts_with(r#"{"error":"OOM "#), "{refused:?}");
    assert_eq!(done(server.get("/v1/health", "")), r#"{"status":"ok"}"#);
}

#[test]
fn without_a_port_there_is_no_thread_for_http() {
    let threads = |server: &sterna_tests::server::Server| {
        let folder = format!("/proc/{}/task", server.pid());
        let tasks = std::fs::read_dir(folder).expect("the server runs").flatten();
        tasks
            .filter(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "gateway")
            })
            .count()
    };
    assert_eq!(threads(&Launch::shards(1).start()), 0);
    let server = HttpServer::start(1, &[]);
    // A thread has its name a moment after it has begun.
    wait_for("the gateway's thread", || (threads(&server.server) == 1).then_some(()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("it is bound").port();
    let ended = Launch::shards(1).args(&["--http-port", &taken.to_string()]).run();
    assert!(!ended.status.success() && ended.log.contains("cannot listen on"), "{}", ended.log);
}

#[test]
fn beside_a_long_transaction_a_request_waits_for_its_end_and_sees_all_of_it_or_nothing() {
    const COMMANDS: usize = 30_000;
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut client = server.server.connect();
        client.request(&["MULTI"]);
        for nth in 0..COMMANDS {
            client.send(&["INCR", if nth % 2 == 0 { "n" } else { "m" }]);
        }
        (0..COMMANDS).for_each(|_| drop(client.value()));
        client.send(&["EXEC"]);
        let half = COMMANDS / 2;
        let both = |count: usize| format!(r#"{{"result":["{count}","{count}"]}}"#);
        wait_for("the end of the transaction", || {
            let body = run(&server, r#"["MGET","n","m"]"#).body;
            let nothing = r#"{"result":[null,null]}"#;
            assert!(body == nothing || body == both(half), "a state between: {body}");
            (body == both(half)).then_some(())
        });
        assert_eq!(client.value().as_slice().map(<[Value]>::len), Some(COMMANDS));
        // And one that came by HTTP, whose client does not stay for the answer.
        let commands = vec![r#"["INCR","n"],["INCR","m"]"#; half].join(",");
        let mut leaving = server.connect();
        let request = server.request("POST", "/multi-exec", "", &format!("[{commands}]"));
        leaving.write_all(request.as_bytes()).expect("the server reads");
        wait_for("its beginning", || {
            client.text(&["INFO", "commandstats"]).contains("cmdstat_multi:calls=2,").then_some(())
        });
        drop(leaving);
        wait_for("its end", || {
            client.text(&["INFO", "clients"]).contains("connected_clients:1\r\n").then_some(())
        });
        let values = client.request(&["MGET", "n", "m"]);
        let values = values.as_slice().expect("two");
        let number = values[0].as_bytes().map(|digits| String::from_utf8_lossy(digits).into_owned());
        assert_eq!(values[0], values[1], "a state between");
        assert!([half, 2 * half].map(|count| Some(count.to_string())).contains(&number), "{number:?}");
        assert_eq!(server.server.connect().request(&["PING"]), Value::Simple(b"PONG".to_vec()));
    }
}

#[test]
fn of_a_reply_that_is_longer_than_http_takes_no_more_is_made() {
    let server = HttpServer::start(1, &["--appendonly", "no"]);
    let mut client = server.server.connect();
    client.request(&["SET", "k", &"x".repeat(1 << 20)]);
    // 600 MB.
    let mget = format!(r#"["MGET"{}]"#, r#","k""#.repeat(600));
    let refused = run(&server, &mget);
    assert_eq!(
        (refused.status, &refused.body[..]),
        (400, r#"{"error":"ERR The reply is too long for HTTP"}"#)
    );
    let most = resident_bytes_at_most(server.server.pid());
    assert!(most < 250 << 20, "{most} bytes");
    assert_eq!(done(run(&server, r#"["STRLEN","k"]"#)), r#"{"result":1048576}"#);
}
