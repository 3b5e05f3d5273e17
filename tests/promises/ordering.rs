//! Publishers flat out on several connections, subscribers that come and go on every shard.
//!
//! A message says who published it, to which channel, and its number among all that publisher's messages:
//! `publisher number`. A publisher pipelines, and from time to time stops until all is answered; `sent` and
//! `answered` are the numbers below which its messages have been sent and answered, so a subscriber that notes them
//! around a SUBSCRIBE knows which messages must reach it, and which must not:
//!
//! ```text
//!   answered before SUBSCRIBE was sent │ either │ sent after its confirmation was read
//!             must not come            │        │              must come
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{PATIENCE, Server};

const SHARDS: usize = 4;
const PUBLISHERS: usize = 4;
/// Subscribers of each kind; connections are spread evenly, so every shard has some.
const SUBSCRIBERS_PER_KIND: usize = 4;
/// Channels that every publisher publishes to in turn.
const CHANNELS: [&str; 3] = ["room:a", "room:b", "room:c"];
/// Messages that a publisher sends at once.
const BATCH: u64 = 32;

/// How far a publisher is.
#[derive(Default)]
struct Progress {
    /// Messages below this number may have been sent.
    sent: AtomicU64,
    /// Messages below this number have been answered.
    answered: AtomicU64,
}

/// What the threads of a test share.
struct Scene {
    server: Server,
    progress: Vec<Progress>,
    /// Rounds of subscribers that were whole, or messages that they have heard.
    rounds: AtomicU64,
    /// Subscribers stop.
    is_over: AtomicBool,
    /// Publishers stop, which is later: a subscriber may be waiting for one more message.
    is_quiet: AtomicBool,
}

impl Scene {
    fn new() -> Arc<Scene> {
        // Whoever falls behind, because its test is slower than the server, has as much queued as it takes.
        let server = Server::sterna(SHARDS, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let progress = (0..PUBLISHERS).map(|_| Progress::default()).collect();
        Arc::new(Scene {
            server,
            progress,
            rounds: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
        })
    }

    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    fn sent(&self) -> Vec<u64> {
        self.progress.iter().map(|progress| progress.sent.load(SeqCst)).collect()
    }

    fn answered(&self) -> Vec<u64> {
        self.progress.iter().map(|progress| progress.answered.load(SeqCst)).collect()
    }

    /// Publishes until nobody listens any more; every batch is answered before the next, so that `sent` and `answered`
    /// are never far apart.
    fn publish(&self, publisher: usize) -> u64 {
        let mut client = self.server.connect();
        let progress = &self.progress[publisher];
        let mut next = 0;
        while !self.is_quiet.load(SeqCst) {
            let batch = (next..next + BATCH).map(|number| {
                let channel = CHANNELS[number as usize % CHANNELS.len()];
                request_bytes(&["PUBLISH", channel, &format!("{publisher} {number}")])
            });
            let batch: Vec<u8> = batch.collect::<Vec<_>>().concat();
            progress.sent.store(next + BATCH, SeqCst);
            client.send_bytes(&batch);
            for _ in 0..BATCH {
                let reply = client.value();
                assert!(matches!(reply, Value::Int(0..)), "{reply:?}");
            }
            next += BATCH;
            progress.answered.store(next, SeqCst);
        }
        next
    }
}

/// A message as a subscriber sees it.
struct Message {
    publisher: usize,
    number: u64,
    /// The pattern it came by, if it did.
    is_by_pattern: bool,
}

/// Reads a message, or a confirmation as `None`.
fn message_of(value: &Value) -> Option<Message> {
    let parts = value.as_slice().unwrap_or_else(|| panic!("{value:?} is no push"));
    let kind = parts[0].as_bytes()?;
    let (channel, payload) = match kind {
        b"message" => (&parts[1], &parts[2]),
        b"pmessage" => (&parts[2], &parts[3]),
        _ => return None,
    };
    let payload = std::str::from_utf8(payload.as_bytes()?).expect("payloads are text");
    let (publisher, number) = payload.split_once(' ').expect("two words");
    let (publisher, number) =
        (publisher.parse().expect("a number"), number.parse::<u64>().expect("a number"));
    let expected = CHANNELS[number as usize % CHANNELS.len()];
    assert_eq!(channel.as_bytes(), Some(expected.as_bytes()), "message {number} is on another channel");
    Some(Message { publisher, number, is_by_pattern: kind == b"pmessage" })
}

/// What a subscription to all channels has brought so far, per publisher: the number of the last message.
#[derive(Default)]
struct Heard {
    last: [Option<u64>; PUBLISHERS],
    first: [Option<u64>; PUBLISHERS],
}

impl Heard {
    /// Every message of a publisher follows the one before it: none missing, none twice, none out of order.
    fn note(&mut self, message: &Message) {
        let last = &mut self.last[message.publisher];
        if let Some(last) = *last {
            assert_eq!(message.number, last + 1, "publisher {}: after {last}", message.publisher);
        }
        *last = Some(message.number);
        self.first[message.publisher].get_or_insert(message.number);
    }
}

/// Runs publishers and `subscriber`s until the time is up, and something has been shown.
fn run(subscriber: impl Fn(&Scene, usize) + Send + Sync + Copy + 'static, subscribers: usize) {
    let scene = Scene::new();
    let deadline = Instant::now() + sterna_tests::duration(5);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.publish(publisher))
        })
        .collect();
    let subscribers: Vec<_> = (0..subscribers)
        .map(|index| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || subscriber(&scene, index))
        })
        .collect();
    // A thread that fails ends the test at once.
    let is_too_late = deadline + PATIENCE;
    while (Instant::now() < deadline || scene.rounds.load(SeqCst) == 0 && Instant::now() < is_too_late)
        && !publishers.iter().any(thread::JoinHandle::is_finished)
        && !subscribers.iter().any(thread::JoinHandle::is_finished)
    {
        thread::sleep(Duration::from_millis(20));
    }
    scene.is_over.store(true, SeqCst);
    subscribers.into_iter().for_each(|thread| thread.join().expect("a subscriber failed"));
    let rounds = scene.rounds.load(SeqCst);
    scene.is_quiet.store(true, SeqCst);
    let messages: u64 = publishers.into_iter().map(|thread| thread.join().expect("a publisher failed")).sum();
    println!("{messages} messages published, {rounds} rounds of subscribers");
    assert!(messages > 0 && rounds > 0, "nothing has been shown");
}

#[test]
fn every_subscriber_sees_each_publisher_s_messages_in_order_across_channels_and_patterns() {
    run(
        |scene, index| {
            let mut client =
                if index % 2 == 0 { scene.server.connect() } else { scene.server.connect_resp3() };
            let request: Vec<&str> = if index % 4 < 2 {
                ["SUBSCRIBE"].into_iter().chain(CHANNELS).collect()
            } else {
                vec!["PSUBSCRIBE", "room:[abc]"]
            };
            client.send(&request);
            read_confirmations(&mut client, request.len() - 1);
            // While its names are joined one by one, it has some of the messages.
            let sent_at_confirmation = scene.sent();
            let mut heard = Heard::default();
            while !scene.is_over() {
                let Some(message) = message_of(&client.value()) else { continue };
                assert_eq!(message.is_by_pattern, index % 4 >= 2);
                if message.number >= sent_at_confirmation[message.publisher] {
                    heard.note(&message);
                    scene.rounds.fetch_add(1, SeqCst);
                }
            }
        },
        2 * SUBSCRIBERS_PER_KIND,
    );
}

#[test]
fn a_confirmed_subscription_hears_every_later_message_and_nothing_answered_before_it_was_asked_for() {
    run(
        |scene, index| {
            let mut client = scene.server.connect_resp3();
            let (join, leave) =
                if index % 2 == 0 { ("PSUBSCRIBE", "PUNSUBSCRIBE") } else { ("SUBSCRIBE", "UNSUBSCRIBE") };
            let names: Vec<&str> = if index % 2 == 0 { vec!["room:*"] } else { CHANNELS.to_vec() };
            while !scene.is_over() {
                let is_whole = stay_a_while(scene, &mut client, join, leave, &names);
                scene.rounds.fetch_add(u64::from(is_whole), SeqCst);
            }
        },
        2 * SUBSCRIBERS_PER_KIND,
    );
}

/// Subscribes, listens, unsubscribes, and checks every message against what the publishers had done at each step.
/// Whether the round was whole.
fn stay_a_while(scene: &Scene, client: &mut Client, join: &str, leave: &str, names: &[&str]) -> bool {
    let request = |verb| [verb].into_iter().chain(names.iter().copied()).collect::<Vec<_>>();
    let answered_before = scene.answered();
    client.send(&request(join));
    let mut messages = read_confirmations(client, names.len());
    let sent_at_confirmation = scene.sent();
    // Stays until every publisher is well past that.
    let goal: Vec<u64> = sent_at_confirmation.iter().map(|sent| sent + 2 * BATCH).collect();
    while !scene.is_over() && scene.answered().iter().zip(&goal).any(|(answered, goal)| answered < goal) {
        if let Some(message) = message_of(&client.value()) {
            messages.push(message);
        }
    }
    let answered_at_leave = scene.answered();
    client.send(&request(leave));
    messages.extend(read_confirmations(client, names.len()));
    // Behind the last confirmation there is nothing.
    client.assert_quiet();

    let mut heard = Heard::default();
    for message in &messages {
        let before = answered_before[message.publisher];
        assert!(
            message.number >= before,
            "message {} had been answered before SUBSCRIBE: {before}",
            message.number
        );
        // While names are being joined or left one by one, messages on the others may be missing in between.
        let is_whole = (sent_at_confirmation[message.publisher]..answered_at_leave[message.publisher])
            .contains(&message.number);
        if is_whole {
            heard.note(message);
        }
    }
    for publisher in 0..PUBLISHERS {
        let due = sent_at_confirmation[publisher]..answered_at_leave[publisher];
        if due.is_empty() {
            continue;
        }
        assert_eq!(
            heard.first[publisher],
            Some(due.start),
            "publisher {publisher}: the first after SUBSCRIBE"
        );
        assert_eq!(
            heard.last[publisher],
            Some(due.end - 1),
            "publisher {publisher}: the last before UNSUBSCRIBE"
        );
    }
    !scene.is_over()
}

/// Reads until so many confirmations have come; returns the messages between them.
fn read_confirmations(client: &mut Client, count: usize) -> Vec<Message> {
    let (mut messages, mut confirmed) = (Vec::new(), 0);
    while confirmed < count {
        match message_of(&client.value()) {
            Some(message) => messages.push(message),
            None => confirmed += 1,
        }
    }
    messages
}

#[test]
fn a_confirmed_subscription_is_counted_by_the_next_publish_and_an_ended_one_is_not() {
    let server = Server::sterna(SHARDS, &[]);
    let deadline = Instant::now() + sterna_tests::duration(2);
    let mut publishers: Vec<Client> = (0..SHARDS).map(|_| server.connect()).collect();
    let mut rounds = 0_usize;
    while Instant::now() < deadline || rounds <= 3 {
        let mut counts = |expected: i64, when: &str| {
            for publisher in &mut publishers {
                assert_eq!(publisher.int(&["PUBLISH", "c", "x"]), expected, "{when}");
            }
        };
        counts(0, "before");
        let mut subscriber = server.connect_resp3();
        subscriber.request(&["SUBSCRIBE", "c"]);
        counts(1, "after SUBSCRIBE");
        subscriber.request_past_pushes(&["PSUBSCRIBE", "c*"]);
        counts(2, "after PSUBSCRIBE");
        subscriber.request_past_pushes(&["UNSUBSCRIBE", "c"]);
        counts(1, "after UNSUBSCRIBE");
        match rounds % 3 {
            0 => {
                subscriber.request_past_pushes(&["PUNSUBSCRIBE"]);
            }
            1 => subscriber.leave(),
            _ => {
                let id =
                    subscriber.request_past_pushes(&["CLIENT", "ID"]).as_int().expect("a number").to_string();
                let killer = &mut publishers[rounds % SHARDS];
                assert_eq!(killer.int(&["CLIENT", "KILL", "ID", &id]), 1);
            }
        }
        let mut publisher = server.connect();
        assert_eq!(publisher.int(&["PUBLISH", "c", "x"]), 0, "after it has gone, round {rounds}");
        rounds += 1;
    }
    println!("{rounds} rounds");
}

/// Subscribers of every form that a message of RESP has; returns them with what each has subscribed to.
fn listeners_of_every_form(server: &Server, count: usize) -> Vec<(&'static str, Client)> {
    const FORMS: [&[&str]; 4] =
        [&["SUBSCRIBE", "long"], &["PSUBSCRIBE", "l*"], &["PSUBSCRIBE", "*g"], &["SSUBSCRIBE", "long"]];
    let mut listeners = Vec::new();
    for _ in 0..count {
        for (form, proto) in FORMS.into_iter().flat_map(|form| [(form, "2"), (form, "3")]) {
            let mut client = server.connect();
            client.request(&["HELLO", proto]);
            client.request(form);
            listeners.push((form[0], client));
        }
    }
    listeners
}

/// Payloads that come to a listener by one kind of message, as length and first byte, as many as asked for.
fn payloads(client: &mut Client, kind: &str, count: usize) -> Vec<(usize, u8)> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let value = client.value();
        let parts = value.as_slice().expect("a message");
        if parts[0].as_bytes() == Some(kind.as_bytes()) {
            let payload = parts.last().and_then(Value::as_bytes).expect("a payload");
            assert!(payload.iter().all(|&byte| byte == payload[0]), "a message that is mixed up");
            payloads.push((payload.len(), payload[0]));
        }
    }
    payloads
}

#[test]
fn a_message_of_megabytes_comes_whole_to_everybody_and_in_its_place() {
    let messages: Vec<String> = [("a", 1), ("b", 9 << 20), ("c", 20 << 10), ("d", (1 << 20) + 1), ("e", 2)]
        .map(|(letter, len)| letter.repeat(len))
        .to_vec();
    let expected: Vec<(usize, u8)> =
        messages.iter().map(|message| (message.len(), message.as_bytes()[0])).collect();
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let mut listeners = listeners_of_every_form(&server, 2);
        let mut publisher = server.connect();
        for command in ["PUBLISH", "SPUBLISH"] {
            for message in &messages {
                publisher.send(&[command, "long", message]);
            }
        }
        publisher.send(&["PING"]);
        let deliveries = |command: usize| if command == 0 { 2 * 6 } else { 2 * 2 };
        for command in 0..2 {
            for _ in &messages {
                assert_eq!(publisher.value().as_int(), Some(deliveries(command)), "{shards} shards");
            }
        }
        assert_eq!(publisher.value().as_bytes(), Some(&b"PONG"[..]));
        for (command, client) in &mut listeners {
            let kind = match *command {
                "SUBSCRIBE" => "message",
                "SSUBSCRIBE" => "smessage",
                _ => "pmessage",
            };
            assert_eq!(payloads(client, kind, expected.len()), expected, "{kind}, {shards} shards");
        }
    }
}

#[test]
fn messages_of_megabytes_of_a_script_or_to_a_channel_that_remembers_come_whole_and_in_their_place() {
    // More than the shard of a script keeps in its own mail.
    let messages: Vec<String> =
        [("a", 1), ("b", 8 << 20), ("c", 20 << 10), ("d", (8 << 20) - 1), ("e", 2), ("f", 3 << 20), ("g", 3)]
            .map(|(letter, len)| letter.repeat(len))
            .to_vec();
    let expected: Vec<(usize, u8)> =
        messages.iter().map(|message| (message.len(), message.as_bytes()[0])).collect();
    let script =
        "local n = {} for i, m in ipairs(ARGV) do n[i] = redis.call('PUBLISH', 'long', m) end return n";
    for (shards, remembers) in [(1, false), (2, false), (1, true), (2, true)] {
        let retain: &[&str] = if remembers { &["--retain", "long"] } else { &[] };
        let args = [&["--client-output-buffer-limit", "pubsub", "0", "0", "0"], retain].concat();
        let server = Server::sterna(shards, &args);
        let mut listeners = listeners_of_every_form(&server, 1);
        let mut publisher = server.connect();
        let request: Vec<&str> =
            ["EVAL", script, "0"].into_iter().chain(messages.iter().map(String::as_str)).collect();
        publisher.send(&request);
        messages.iter().for_each(|message| publisher.send(&["PUBLISH", "long", message]));
        let all = Value::Int(6);
        assert_eq!(publisher.value(), Value::Array(vec![all.clone(); messages.len()]), "{shards} shards");
        messages.iter().for_each(|_| assert_eq!(publisher.value(), all));
        for (command, client) in listeners.iter_mut().filter(|(command, _)| *command != "SSUBSCRIBE") {
            let kind = if *command == "SUBSCRIBE" { "message" } else { "pmessage" };
            let came = payloads(client, kind, 2 * expected.len());
            assert_eq!(came, [&expected[..], &expected].concat(), "{kind}, {shards} shards, {remembers}");
        }
    }
}

#[test]
fn messages_of_megabytes_in_a_transaction_come_whole_to_everybody_and_between_what_is_beside_them() {
    let payload = "x".repeat(5 << 20);
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let mut listeners = listeners_of_every_form(&server, 2);
        let mut publisher = server.connect();
        let each = ["PUBLISH", "SPUBLISH"];
        publisher.send(&["MULTI"]);
        for command in each {
            publisher.send(&[command, "long", "b"]);
            publisher.send(&[command, "long", &payload]);
            publisher.send(&["INCR", "counted"]);
            publisher.send(&[command, "long", "a"]);
        }
        publisher.send(&["EXEC"]);
        publisher.send(&["PING"]);
        (0..1 + 4 * each.len()).for_each(|_| drop(publisher.value()));
        let [of_all, of_sharded] = [2 * 6, 2 * 2].map(Value::Int);
        let expected = [
            &of_all,
            &of_all,
            &Value::Int(1),
            &of_all,
            &of_sharded,
            &of_sharded,
            &Value::Int(2),
            &of_sharded,
        ];
        assert_eq!(publisher.value(), Value::Array(expected.map(Clone::clone).to_vec()), "{shards} shards");
        assert_eq!(publisher.value(), Value::Simple(b"PONG".to_vec()));
        for (command, client) in &mut listeners {
            let kind = match *command {
                "SUBSCRIBE" => "message",
                "SSUBSCRIBE" => "smessage",
                _ => "pmessage",
            };
            assert_eq!(payloads(client, kind, 3), [(1, b'b'), (payload.len(), b'x'), (1, b'a')], "{kind}");
        }
    }
}

#[test]
fn a_message_of_megabytes_follows_the_reply_to_who_sends_it_to_himself_and_comes_though_its_sender_leaves() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let (mut listener, mut publisher) = (server.connect(), server.connect());
        listener.request(&["SUBSCRIBE", "long"]);
        publisher.request(&["HELLO", "3"]);
        publisher.request(&["SUBSCRIBE", "long"]);
        let payload = "x".repeat(5 << 20);
        assert_eq!(publisher.int(&["PUBLISH", "long", &payload]), 2, "{shards} shards");
        assert_eq!(payloads(&mut publisher, "message", 1), [(payload.len(), b'x')]);
        assert_eq!(payloads(&mut listener, "message", 1), [(payload.len(), b'x')]);
        publisher.send(&["PUBLISH", "long", &payload]);
        publisher.finish();
        assert_eq!(payloads(&mut listener, "message", 1), [(payload.len(), b'x')]);
        let mut admin = server.connect();
        admin.request(&["ACL", "SETUSER", "default", "resetchannels", "&long"]);
        admin.send(&["PUBLISH", "other", &payload]);
        assert!(admin.error().starts_with("NOPERM"));
    }
}

/// There are more events than are told at once: they come in slices, on other shards too, and what is published behind the write behind them.
#[test]
fn the_events_of_a_write_come_between_what_a_script_or_a_transaction_publishes_before_and_behind_it() {
    const KEYS: usize = 3_000;
    const SCRIPT: &str = "redis.call('PUBLISH', 'c', 'before') \
        redis.call('MSET', unpack(ARGV)) \
        return redis.call('PUBLISH', 'c', 'behind')";
    let pairs: Vec<String> = (0..2 * KEYS).map(|number| number.to_string()).collect();
    let with_pairs = |words: &[&str]| -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).chain(pairs.iter().cloned()).collect()
    };
    let queued = |last: &[&str]| -> Vec<Vec<String>> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (before, behind) = (["PUBLISH", "c", "before"], ["PUBLISH", "c", "behind"]);
        vec![
            owned(&["MULTI"]),
            owned(&before),
            with_pairs(&["MSET"]),
            owned(&behind),
            owned(last),
            owned(&["EXEC"]),
        ]
    };
    for shards in [1, 2] {
        let server = Server::sterna(
            shards,
            &["--notify-keyspace-events", "E$", "--client-output-buffer-limit", "pubsub", "0", "0", "0"],
        );
        // One on each shard, if there are two.
        let mut listeners = [server.connect(), server.connect()];
        for listener in &mut listeners {
            listener.send(&["SUBSCRIBE", "c", "__keyevent@0__:set"]);
            (0..2).for_each(|_| drop(listener.value()));
        }
        let mut client = server.connect();
        for (way, requests) in [
            ("a script", vec![with_pairs(&["EVAL", SCRIPT, "0"])]),
            ("a transaction", queued(&["PING"])),
            // It is one piece.
            ("a transaction that changes settings", queued(&["CONFIG", "SET", "timeout", "0"])),
        ] {
            requests.iter().for_each(|request| client.send(request));
            let replies: Vec<Value> = requests.iter().map(|_| client.value()).collect();
            assert!(replies.iter().all(|reply| !matches!(reply, Value::Error(_))), "{way}: {replies:?}");
            assert_eq!(client.int(&["PUBLISH", "c", "last"]), 2);
            for (nth, listener) in listeners.iter_mut().enumerate() {
                let mut of_channel = Vec::new();
                for at in 0..KEYS + 3 {
                    let message = listener.value();
                    let parts = message.as_slice().expect("a message");
                    if parts[1].as_bytes() == Some(b"c") {
                        let payload = parts[2].as_bytes().expect("a payload");
                        of_channel.push((at, String::from_utf8_lossy(payload).into_owned()));
                    }
                }
                let expected = [(0, "before"), (KEYS + 1, "behind"), (KEYS + 2, "last")];
                assert!(
                    of_channel.iter().map(|(at, text)| (*at, text.as_str())).eq(expected),
                    "listener {nth} on {shards} shards, {way}: {of_channel:?}"
                );
            }
        }
    }
}
