//! CLIENT PAUSE WRITE: the data stays as it is, whatever the clock says.

use std::thread;
use std::time::Duration;

use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};

fn expired(client: &mut Client) -> (i64, i64) {
    let info = client.text(&["INFO", "stats"]);
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
    };
    (field("expired_keys"), field("expired_subkeys"))
}

/// Makes keys that live for so long, and pauses writes; returns who hears of what expires.
fn fill_and_pause(server: &Server, client: &mut Client, life_ms: u64) -> Client {
    let mut listener = server.connect();
    let life_ms = life_ms.to_string();
    // Two by themselves, one that is looked at, one whose fields go, one alone in its database.
    for key in ["own:1", "own:2", "asked"] {
        client.request(&["SET", key, "v", "PX", &life_ms]);
    }
    client.request(&["HSET", "hash", "gone", "1", "stays", "1"]);
    client.request(&["HPEXPIRE", "hash", &life_ms, "FIELDS", "1", "gone"]);
    client.request(&["SELECT", "1"]);
    client.request(&["SET", "alone", "v", "PX", &life_ms]);
    client.request(&["SELECT", "0"]);
    listener.request(&["PSUBSCRIBE", "__keyevent@0__:*expire*"]);
    client.request(&["CLIENT", "PAUSE", "100000", "WRITE"]);
    listener
}

#[test]
fn while_writes_are_paused_nothing_expires_neither_by_itself_nor_by_a_look_at_it() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--notify-keyspace-events", "KEA"]);
        let mut client = server.connect();
        // Where something has gone before the pause, because this process is slow, it is asked for longer.
        let paused = [60, 1_000, 10_000].into_iter().find_map(|life_ms| {
            let listener = fill_and_pause(&server, &mut client, life_ms);
            let gone = expired(&mut client);
            if gone == (0, 0) {
                thread::sleep(Duration::from_millis(life_ms + 340));
                return Some(listener);
            }
            client.request(&["CLIENT", "UNPAUSE"]);
            client.request(&["FLUSHALL"]);
            client.request(&["CONFIG", "RESETSTAT"]);
            None
        });
        let mut listener = paused.expect("nothing has gone before the pause");
        // Some key, as in Redis, and at once.
        client.request(&["SELECT", "1"]);
        assert_eq!(client.request(&["RANDOMKEY"]).as_bytes(), Some(&b"alone"[..]));
        client.request(&["SELECT", "0"]);
        // Gone for who reads, and still there.
        assert_eq!(client.request(&["GET", "asked"]).as_bytes(), None);
        assert_eq!(client.int(&["EXISTS", "own:1", "asked"]), 0);
        assert_eq!(client.request(&["HGET", "hash", "gone"]).as_bytes(), None);
        assert_eq!(client.int(&["DBSIZE"]), 4);
        assert_eq!(expired(&mut client), (0, 0), "{shards} shards");
        listener.send(&["PING"]);
        let pong = listener.value();
        assert_eq!(pong.as_slice().and_then(|parts| parts[0].as_bytes()), Some(&b"pong"[..]), "{pong:?}");
        client.request(&["CLIENT", "UNPAUSE"]);
        wait_for("the keys to go", || (client.int(&["DBSIZE"]) == 1).then_some(()));
        wait_for("the others to go", || (expired(&mut client) == (4, 1)).then_some(()));
        assert_eq!(client.int(&["HLEN", "hash"]), 1);
        for _ in 0..4 {
            listener.value();
        }
    }
}

/// differs=pause-scripts
#[test]
fn scripts_that_say_that_they_only_read_go_on_while_writes_are_paused() {
    const LIBRARY: &str = "#!lua name=reads\nredis.register_function{function_name='read', \
                           callback=function() return redis.call('get', 'k') end, flags={'no-writes'}} \
                           redis.register_function('write', function() return redis.call('get', 'k') end)";
    const READ: &str = "return redis.call('get', 'k')";
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let (mut client, mut held) = (server.connect(), server.connect());
        client.request(&["SET", "k", "v"]);
        client.request(&["FUNCTION", "LOAD", LIBRARY]);
        let sha = client.text(&["SCRIPT", "LOAD", READ]);
        held.request(&["MULTI"]);
        held.request(&["EVAL_RO", READ, "0"]);
        client.request(&["CLIENT", "PAUSE", "1000000", "WRITE"]);
        let says_so = format!("#!lua flags=no-writes\n{READ}");
        let said = client.text(&["SCRIPT", "LOAD", &says_so]);
        for request in [
            ["EVAL_RO", READ, "0"],
            ["EVALSHA_RO", &sha, "0"],
            ["FCALL_RO", "read", "0"],
            ["EVAL", &says_so, "0"],
            ["EVALSHA", &said, "0"],
            ["FCALL", "read", "0"],
        ] {
            assert_eq!(client.text(&request), "v", "{request:?}");
        }
        let exec = held.request(&["EXEC"]);
        assert_eq!(exec.as_slice().and_then(|replies| replies[0].as_bytes()), Some(&b"v"[..]));
        let is_held =
            |client: &mut Client| client.text(&["INFO", "clients"]).contains("blocked_clients:1\r\n");
        for request in [["EVAL", READ, "0"], ["EVALSHA", &sha, "0"], ["FCALL", "write", "0"]] {
            held.send(&request);
            wait_for("it to be held", || is_held(&mut client).then_some(()));
            client.request(&["CLIENT", "UNPAUSE"]);
            assert_eq!(held.value().as_bytes(), Some(&b"v"[..]), "{request:?}");
            client.request(&["CLIENT", "PAUSE", "1000000", "WRITE"]);
        }
        // What the code says of itself is not asked for.
        held.request(&["MULTI"]);
        held.request(&["EVAL", &says_so, "0"]);
        held.send(&["EXEC"]);
        wait_for("it to be held", || is_held(&mut client).then_some(()));
        client.request(&["CLIENT", "UNPAUSE"]);
        held.value();
    }
}

#[test]
fn writes_that_are_paused_wait_also_where_keys_would_have_to_go_for_them() {
    for (shards, policy) in [(1, "allkeys-lru"), (2, "volatile-ttl"), (2, "noeviction")] {
        let server = Server::sterna(shards, &["--appendonly", "no", "--maxmemory-policy", policy]);
        let mut admin = server.connect();
        admin.request(&["CLIENT", "PAUSE", "100000", "WRITE"]);
        admin.request(&["CONFIG", "SET", "maxmemory", "1mb"]);
        let [mut plain, mut script, mut queues] = [(); 3].map(|()| server.connect());
        plain.send(&["SET", "a", "1"]);
        script.send(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "b"]);
        queues.request(&["MULTI"]);
        assert_eq!(queues.request(&["INCR", "c"]).as_bytes(), Some(&b"QUEUED"[..]));
        queues.send(&["EXEC"]);
        wait_for("all to wait", || {
            (admin.text(&["INFO", "clients"]).contains("blocked_clients:3")).then_some(())
        });
        admin.request(&["CONFIG", "SET", "maxmemory", "0"]);
        admin.request(&["CLIENT", "UNPAUSE"]);
        assert_eq!(plain.value().as_bytes(), Some(&b"OK"[..]));
        assert_eq!(script.value().as_int(), Some(1));
        assert_eq!(queues.value().as_slice().map(<[_]>::len), Some(1));
    }
}
