//! Who waits for a key and finds very much in it is answered apart, as of that moment; who waits behind gets what is left.

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, Server, wait_for};

const MANY: usize = 30_000;

fn fill(client: &mut Client, command: &[&str], element: impl Fn(usize) -> Vec<String>) {
    for from in (0..MANY).step_by(1_000) {
        let elements = (from..from + 1_000).flat_map(&element);
        let request: Vec<String> = command.iter().map(ToString::to_string).chain(elements).collect();
        client.request(&request);
    }
}

fn fill_stream(client: &mut Client, key: &str) {
    for number in 1..=MANY {
        client.send(&["XADD", key, &format!("{number}-0"), "f", "v"]);
        if number % 1_000 == 0 {
            (0..1_000).for_each(|_| drop(client.value()));
        }
    }
}

/// A client that has sent a request and waits for its reply, behind those that wait already.
fn waiting(server: &Server, request: &[&str], before: i64) -> Client {
    let mut client = server.connect();
    client.send(request);
    let mut other = server.connect();
    wait_for("a client that waits", || {
        (other.text(&["INFO", "clients"]).contains(&format!("blocked_clients:{}\r\n", before + 1)))
            .then_some(())
    });
    client
}

/// Entries of the only stream in a reply of XREAD.
fn entries(reply: &Value) -> usize {
    let stream = &reply.as_slice().expect("streams")[0];
    stream.as_slice().expect("key and entries")[1].as_slice().expect("entries").len()
}

/// Elements behind the key in a reply of LMPOP or ZMPOP.
fn popped(reply: &Value) -> usize {
    reply.as_slice().expect("key and elements")[1].as_slice().expect("elements").len()
}

#[test]
fn a_reader_whose_key_becomes_very_long_sees_that_moment_and_holds_nobody() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut writer = server.connect();
        fill_stream(&mut writer, "long");
        let mut readers: Vec<Client> = (0..3)
            .map(|before| waiting(&server, &["XREAD", "BLOCK", "0", "STREAMS", "s", "0"], before))
            .collect();
        let mut other = server.connect();
        writer.send(&["RENAME", "long", "s"]);
        writer.send(&["XADD", "s", "*", "late", "1"]);
        assert_eq!(other.request(&["PING"]), Value::Simple(b"PONG".to_vec()));
        for reader in &mut readers {
            assert_eq!(entries(&reader.value()), MANY, "what comes later is not in it");
            assert_eq!(reader.request(&["PING"]), Value::Simple(b"PONG".to_vec()), "one reply and no more");
        }
    }
}

#[test]
fn of_those_who_wait_to_take_the_first_takes_very_much_and_the_next_what_is_left() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut writer = server.connect();
        fill_stream(&mut writer, "stream");
        fill(&mut writer, &["RPUSH", "list"], |n| vec![n.to_string()]);
        fill(&mut writer, &["ZADD", "zset"], |n| vec![n.to_string(), format!("m{n}")]);
        writer.request(&["XGROUP", "CREATE", "stream", "g", "0"]);
        writer.request(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
        let group = |consumer| ["XREADGROUP", "GROUP", "g", consumer, "BLOCK", "0", "STREAMS", "s", ">"];
        let (mut first, mut next) = (waiting(&server, &group("c"), 0), waiting(&server, &group("d"), 1));
        writer.request(&["RENAME", "stream", "s"]);
        assert_eq!(entries(&first.value()), MANY);
        writer.request(&["XADD", "s", "*", "f", "v"]);
        assert_eq!(entries(&next.value()), 1);
        for (source, command, push) in [
            ("list", &["BLMPOP", "0", "1", "k", "LEFT", "COUNT", "20000"][..], &["RPUSH", "k", "x"][..]),
            ("zset", &["BZMPOP", "0", "1", "k", "MIN", "COUNT", "20000"], &["ZADD", "k", "1", "x"]),
        ] {
            let mut all: Vec<Client> = (0..3).map(|before| waiting(&server, command, before)).collect();
            writer.request(&["RENAME", source, "k"]);
            assert_eq!(popped(&all[0].value()), 20_000, "{source}");
            assert_eq!(popped(&all[1].value()), MANY - 20_000, "{source}");
            assert!(matches!(all[2].frame(std::time::Duration::from_millis(20)), Frame::Nothing));
            writer.request(push);
            assert_eq!(popped(&all[2].value()), 1, "{source}");
        }
        let mut movers: Vec<Client> = (0..2)
            .map(|before| {
                waiting(
                    &server,
                    &["BLMOVEM", "from", "to", "LEFT", "RIGHT", "0", "COUNT", "20000", "BULK"],
                    before,
                )
            })
            .collect();
        fill(&mut writer, &["RPUSH", "list"], |n| vec![n.to_string()]);
        writer.request(&["RENAME", "list", "from"]);
        assert_eq!(movers[0].value().as_slice().expect("elements").len(), 20_000);
        assert_eq!(movers[1].value().as_slice().expect("elements").len(), MANY - 20_000);
        assert_eq!([writer.int(&["LLEN", "to"]), writer.int(&["EXISTS", "from"])], [MANY as i64, 0]);
    }
}

/// How much is pending in the group of `s`.
fn pending(client: &mut Client) -> i64 {
    client.request(&["XPENDING", "s", "g"]).as_slice().expect("a summary")[0].as_int().expect("a number")
}

/// What a client that is gone would have taken is taken for it, or by who waits behind it: it is not forgotten.
#[test]
fn what_a_client_that_leaves_would_have_taken_is_its_own_or_goes_to_the_next() {
    let server = Server::sterna(2, &[]);
    let mut writer = server.connect();
    fill_stream(&mut writer, "long");
    writer.request(&["XGROUP", "CREATE", "long", "g", "0"]);
    for _ in 0..10 {
        writer.request(&["DEL", "s"]);
        writer.request(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
        let group = |consumer| ["XREADGROUP", "GROUP", "g", consumer, "BLOCK", "0", "STREAMS", "s", ">"];
        let (first, mut next) = (waiting(&server, &group("c"), 0), waiting(&server, &group("d"), 1));
        writer.send(&["COPY", "long", "s", "REPLACE"]);
        drop(first);
        assert_eq!(writer.value(), Value::Int(1));
        wait_for("everything to be taken", || (pending(&mut writer) == MANY as i64).then_some(()));
        writer.request(&["XADD", "s", "*", "f", "v"]);
        let got = entries(&next.value());
        assert!(got == 1 || got == MANY, "{got}");
        next.leave();
    }
}

/// The command begins anew when its key was touched meanwhile, and may find nothing then: it waits as it would have at first.
#[test]
fn a_reader_that_finds_nothing_when_it_begins_anew_waits() {
    let server = Server::sterna(2, &[]);
    let (mut writer, mut reader) = (server.connect(), server.connect());
    fill_stream(&mut writer, "s");
    writer.request(&["XGROUP", "CREATE", "s", "g", "0"]);
    let mut waited = 0;
    for _ in 0..30 {
        writer.request(&["XGROUP", "SETID", "s", "g", "0"]);
        reader.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]);
        reader.send(&["PING"]);
        // By a script that does not name the key: it does not wait for the reader.
        writer.request(&["EVAL", "return redis.call('XGROUP', 'SETID', 's', 'g', '$')", "0"]);
        writer.request(&["XADD", "s", "*", "f", "v"]);
        let got = entries(&reader.value());
        assert_eq!(reader.value(), Value::Simple(b"PONG".to_vec()), "its requests keep their order");
        waited += usize::from(got == 1);
        writer.request(&["XTRIM", "s", "MAXLEN", &MANY.to_string()]);
        writer.request(&["XACK", "s", "g", "0-1"]);
        if waited > 2 {
            return;
        }
    }
    println!("it waited {waited} times");
}

#[test]
fn of_hundreds_whom_one_transaction_wakes_each_is_answered_once_with_what_is_his() {
    const EACH: usize = 150;
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--appendonly", "yes"]).start();
        let mut writer = server.connect();
        let mut readers = Vec::new();
        let mut takers = Vec::new();
        for number in 0..EACH {
            let mut reader = if number % 3 == 0 { server.connect_resp3() } else { server.connect() };
            reader.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", if number % 2 == 0 { "$" } else { "0" }]);
            readers.push(reader);
            let mut taker = server.connect();
            taker.send(&["BLPOP", "l", "0"]);
            takers.push(taker);
        }
        wait_for("clients to block", || {
            let blocked = format!("blocked_clients:{}\r\n", 2 * EACH);
            writer.text(&["INFO", "clients"]).contains(&blocked).then_some(())
        });
        let elements: Vec<String> = (0..EACH).map(|number| format!("element:{number}")).collect();
        writer.request(&["MULTI"]);
        writer.request(&["XADD", "s", "1-0", "f", "v"]);
        writer.request(&[&["RPUSH".to_owned(), "l".to_owned()], &elements[..]].concat());
        writer.request(&["XADD", "s", "2-0", "f", "v"]);
        writer.request(&["EXEC"]);
        for reader in &mut readers {
            let entries = match reader.value() {
                Value::Array(streams) => format!("{streams:?}"),
                Value::Map(streams) => format!("{streams:?}"),
                other => panic!("{other:?}"),
            };
            let has = |id: &str| entries.contains(&format!("{:?}", id.as_bytes()));
            assert!(has("1-0") && has("2-0"), "{entries}");
        }
        let mut taken: Vec<String> = takers
            .iter_mut()
            .map(|taker| match taker.value() {
                Value::Array(pair) => match &pair[1] {
                    Value::Bulk(element) => String::from_utf8_lossy(element).into_owned(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect();
        taken.sort_unstable();
        let mut expected = elements;
        expected.sort_unstable();
        assert_eq!(taken, expected, "{shards} shards");
        readers.iter_mut().chain(&mut takers).for_each(Client::assert_quiet);
        assert_eq!(writer.int(&["EXISTS", "l"]), 0);
    }
}

/// Thousands are served in slices; so many are more than one.
const MORE_THAN_A_SLICE: usize = 700;

/// Clients that wait with a request, all of them.
fn hundreds_waiting(server: &Server, request: &[&str]) -> Vec<Client> {
    let connect = |_| {
        let mut client = server.connect();
        client.send(request);
        client
    };
    let clients: Vec<Client> = (0..MORE_THAN_A_SLICE).map(connect).collect();
    let mut other = server.connect();
    let blocked = format!("blocked_clients:{MORE_THAN_A_SLICE}\r\n");
    wait_for("clients to block", || other.text(&["INFO", "clients"]).contains(&blocked).then_some(()));
    clients
}

/// Whichever way a write comes, and whoever asks next: between the write and the last who is answered nobody sees the key.
#[test]
fn nobody_sees_a_key_between_a_write_and_the_last_of_hundreds_who_take_what_it_wrote() {
    let elements: Vec<String> = (0..MORE_THAN_A_SLICE).map(|number| format!("e{number}")).collect();
    let push = [&["RPUSH".to_owned(), "k".to_owned()], &elements[..]].concat();
    let scripted = "redis.call('RPUSH', KEYS[1], unpack(ARGV)) return redis.call('LLEN', KEYS[1])";
    let script = [&["EVAL", scripted, "1", "k"].map(str::to_owned), &elements[..]].concat();
    let has_all = Value::Int(MORE_THAN_A_SLICE as i64);
    let len_of = |key: &str| vec!["LLEN".to_owned(), key.to_owned()];
    let within_script = ["EVAL", "return redis.call('LLEN', 'k')", "0"].map(str::to_owned).to_vec();
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--appendonly", "yes"]).start();
        let mut writer = server.connect();
        let mut others: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for (wait, write, target) in [
            (&["BLPOP", "k", "0"][..], vec![push.clone()], None),
            (&["BLMOVE", "k", "to", "LEFT", "RIGHT", "0"], vec![push.clone()], Some("to")),
            (&["BLPOP", "k", "0"], vec![vec!["MULTI".into()], push.clone(), vec!["EXEC".into()]], None),
            (&["BLMPOP", "0", "1", "k", "LEFT"], vec![script.clone()], None),
        ] {
            let mut takers = hundreds_waiting(&server, wait);
            // Others ask all the time, for the key and for something else.
            for other in &mut others {
                for _ in 0..20 {
                    other.send(&len_of("k"));
                    other.send(&within_script);
                    other.send(&["PING"]);
                }
            }
            write.iter().for_each(|request| writer.send(request));
            writer.send(&len_of("k"));
            writer.send(&within_script);
            writer.send(&len_of(target.unwrap_or("k")));
            for _ in 0..write.len() - 1 {
                writer.value();
            }
            match writer.value() {
                Value::Array(replies) => assert_eq!(replies, std::slice::from_ref(&has_all)),
                reply => assert_eq!(reply, has_all, "{wait:?}"),
            }
            assert_eq!([writer.value(), writer.value()], [Value::Int(0), Value::Int(0)], "{wait:?}");
            let moved = if target.is_some() { has_all.clone() } else { Value::Int(0) };
            assert_eq!(writer.value(), moved, "{wait:?}");
            for other in &mut others {
                for _ in 0..20 {
                    assert_eq!([other.value(), other.value()], [Value::Int(0), Value::Int(0)], "{wait:?}");
                    assert_eq!(other.value(), Value::Simple(b"PONG".to_vec()));
                }
            }
            let mut taken: Vec<String> =
                takers.iter_mut().map(|taker| format!("{:?}", taker.value())).collect();
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), MORE_THAN_A_SLICE, "each has got another element");
            writer.request(&["DEL", "to"]);
        }
    }
}
