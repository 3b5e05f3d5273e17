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

#[test]
fn while_writes_are_paused_nothing_expires_neither_by_itself_nor_by_a_look_at_it() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--notify-keyspace-events", "KEA"]);
        let (mut listener, mut client) = (server.connect(), server.connect());
        // Two by themselves, one that is looked at, one whose fields go.
        for key in ["own:1", "own:2", "asked"] {
            client.request(&["SET", key, "v", "PX", "60"]);
        }
        client.request(&["HSET", "hash", "gone", "1", "stays", "1"]);
        client.request(&["HPEXPIRE", "hash", "60", "FIELDS", "1", "gone"]);
        listener.request(&["PSUBSCRIBE", "__keyevent@0__:*expire*"]);
        client.request(&["CLIENT", "PAUSE", "100000", "WRITE"]);
        thread::sleep(Duration::from_millis(400));
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
