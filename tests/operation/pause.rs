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
    // Two by themselves, one that is looked at, one whose fields go.
    for key in ["own:1", "own:2", "asked"] {
        client.request(&["SET", key, "v", "PX", &life_ms]);
    }
    client.request(&["HSET", "hash", "gone", "1", "stays", "1"]);
    client.request(&["HPEXPIRE", "hash", &life_ms, "FIELDS", "1", "gone"]);
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
        wait_for("the field to go", || (expired(&mut client) == (3, 1)).then_some(()));
        assert_eq!(client.int(&["HLEN", "hash"]), 1);
        for _ in 0..4 {
            listener.value();
        }
    }
}
