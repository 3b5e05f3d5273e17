//! Nobody outruns the shard that has to keep up, and who doesn't read costs what waits for him.

use std::net::TcpStream;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Socket, Type};
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::memory::resident_bytes;
use sterna_tests::server::{Server, wait_for};

use crate::credit::{on_shard, shard_of};
use crate::fairness::figure_in;

#[test]
fn a_subscriber_that_does_not_read_slows_no_publisher() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let mut stalled: Vec<Client> = (0..2).map(|_| lazy_client(&server)).collect();
        stalled.iter_mut().for_each(|client| drop(client.request(&["SUBSCRIBE", "c"])));
        let mut publisher = server.connect();
        let payload = "x".repeat(64 * 1024);
        // Far more than sockets and credit hold; with a publisher that waits this would never end.
        for _ in 0..500 {
            assert_eq!(publisher.int(&["PUBLISH", "c", &payload]), 2);
        }
    }
}

#[test]
fn a_pipeline_of_long_messages_to_many_comes_whole_and_in_order_with_what_its_publisher_asks_between() {
    const MESSAGES: usize = 400;
    const ASKED_EVERY: usize = 7;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let mut subscribers: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        subscribers.iter_mut().for_each(|client| drop(client.request(&["SUBSCRIBE", "c"])));
        // Far more in flight than the shard sends in one turn, so that it is read from while it has yet to send.
        let mut pipeline = Vec::new();
        for number in 0..MESSAGES {
            let payload = format!("{number:05} {}", "x".repeat(16 * 1024));
            pipeline.extend(request_bytes(&["PUBLISH", "c", &payload]));
            if number % ASKED_EVERY == 0 {
                pipeline.extend(request_bytes(&["INCR", "n"]));
            }
        }
        let mut publisher = server.connect();
        let replies = std::thread::scope(|scope| {
            let replies = scope.spawn(|| {
                publisher.send_bytes(&pipeline);
                let count = MESSAGES + MESSAGES.div_ceil(ASKED_EVERY);
                (0..count).map(|_| publisher.value().as_int().expect("a number")).collect::<Vec<_>>()
            });
            for subscriber in &mut subscribers {
                for number in 0..MESSAGES {
                    let message = subscriber.value();
                    let payload = message.as_slice().and_then(|parts| parts.get(2)?.as_bytes());
                    let payload = payload.unwrap_or_else(|| panic!("{message:?} is no message"));
                    assert!(payload.starts_with(format!("{number:05} ").as_bytes()), "number {number}");
                    assert_eq!(payload.len(), 6 + 16 * 1024);
                }
            }
            replies.join().expect("the publisher")
        });
        let mut asked = 0;
        let expected: Vec<i64> = (0..MESSAGES)
            .flat_map(|number| {
                let counted = (number % ASKED_EVERY == 0).then(|| {
                    asked += 1;
                    asked
                });
                [Some(subscribers.len() as i64), counted].into_iter().flatten()
            })
            .collect();
        assert_eq!(replies, expected, "{shards} shards");
    }
}

#[test]
fn a_subscriber_that_does_not_read_holds_its_own_messages_and_not_those_of_others() {
    const MESSAGES: usize = 4000;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let (mut publisher, mut reader) = (server.connect(), server.connect());
        let mut stalled: Vec<Client> = (0..2).map(|_| lazy_client(&server)).collect();
        stalled.iter_mut().for_each(|client| drop(client.request(&["SUBSCRIBE", "small"])));
        reader.request(&["SUBSCRIBE", "large"]);
        // Their sockets are filled first.
        for _ in 0..100 {
            publisher.request(&["PUBLISH", "small", &"x".repeat(64 * 1024)]);
        }
        let before = resident_bytes(server.pid());
        for _ in 0..MESSAGES {
            publisher.request(&["PUBLISH", "small", &"x".repeat(64)]);
            publisher.request(&["PUBLISH", "large", &"y".repeat(60 * 1024)]);
            reader.value();
        }
        let growth = resident_bytes(server.pid()).saturating_sub(before);
        println!("{shards} shards: {growth} bytes for {MESSAGES} messages of 64 bytes");
        assert!(growth < 32 * 1024 * 1024, "{growth} bytes");
    }
}

#[test]
fn short_replies_that_are_not_read_do_not_hold_the_long_ones_of_others() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no"]);
        let mut writer = server.connect();
        writer.request(&["SET", "long", &"x".repeat(8 * 1024 * 1024)]);
        let before = resident_bytes(server.pid());
        let mut lazy: Vec<Client> = (0..4).map(|_| lazy_client(&server)).collect();
        for round in 0..20 {
            for client in &mut lazy {
                // A first reply fills the socket; later ones wait behind it.
                let first = if round == 0 { 1 } else { 0 };
                client.send_bytes(&request_bytes(&["GET", "long"]).repeat(first));
                client.send(&["PING"]);
            }
            writer.request(&["GET", "long"]);
        }
        let growth = resident_bytes(server.pid()).saturating_sub(before);
        println!("{shards} shards: {growth} bytes more");
        assert!(growth < 200 * 1024 * 1024, "{growth} bytes");
    }
}

/// A Unix socket is full before a client has anything that it doesn't read in its own kernel's buffers.
#[test]
fn clients_that_stand_still_hold_what_they_wait_for_and_not_the_chunks_it_lies_in() {
    const STALLED: usize = 200;
    let unlimited = ["--client-output-buffer-limit", "pubsub", "0", "0", "0"];
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[&["--unixsocket", "{folder}/socket"][..], &unlimited].concat());
        let (mut publisher, mut reader) = (server.connect(), server.connect());
        let channels: Vec<String> = (0..STALLED).map(|number| format!("own:{number}")).collect();
        let stalled: Vec<Client> = channels
            .iter()
            .map(|channel| {
                let mut client = Client::to_path(&server.path("socket"));
                client.request(&["SUBSCRIBE", channel]);
                client
            })
            .collect();
        reader.request(&["SUBSCRIBE", "large"]);
        for channel in &channels {
            for _ in 0..60 {
                publisher.request(&["PUBLISH", channel, &"x".repeat(8 * 1024)]);
            }
        }
        let before = used_bytes(&mut publisher);
        for channel in &channels {
            publisher.request(&["PUBLISH", channel, &"x".repeat(64)]);
            publisher.request(&["PUBLISH", "large", &"y".repeat(60 * 1024)]);
            reader.value();
        }
        wait_for("what they hold", || (used_bytes(&mut publisher) < before + (4 << 20)).then_some(()));
        drop(stalled);
    }
}

/// `used_memory`.
fn used_bytes(client: &mut Client) -> usize {
    let info = client.text(&["INFO", "memory"]);
    let figure = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a field of INFO");
    figure.trim().parse().expect("a number")
}

/// A client whose kernel takes little of what it doesn't read.
fn lazy_client(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it can be small");
    socket.connect(&server.address().into()).expect("the server listens");
    Client::over(TcpStream::from(socket))
}

/// A connection of this shard whose socket takes so many bytes that nobody reads, where the system lets a test ask for that; and the socket.
fn with_room_for(bytes: usize, server: &Server, shard: usize) -> (Client, TcpStream) {
    let mut others = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // What doesn't fit is left with the server, and its shard holds nobody for it in any case.
        let _ = set_socket_recv_buffer_size_force(&socket, bytes);
        socket.connect(&server.address().into()).expect("the server listens");
        let stream = TcpStream::from(socket);
        let mut client = Client::over(stream.try_clone().expect("a socket can be shared"));
        if shard_of(&mut client) == shard {
            return (client, stream);
        }
        others.push(client);
        assert!(others.len() < 10, "no connection on shard {shard}");
    }
}

#[test]
fn a_reply_of_megabytes_holds_no_publisher_of_its_shard_and_no_mail_to_it_however_fast_it_is_read() {
    const REPLY: usize = 64 << 20;
    // More than one shard mails another at once.
    const MESSAGES: usize = 40;
    const ROUNDS_MAX: usize = 20;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--appendonly", "no"]);
        let (mut subscriber, mut publisher) = (on_shard(&server, shards - 1), on_shard(&server, 0));
        publisher.request(&["SET", "k", &"x".repeat(REPLY)]);
        subscriber.request(&["SUBSCRIBE", "c"]);
        let mut pipeline = request_bytes(&["PUBLISH", "c", &"m".repeat(1 << 16)]).repeat(MESSAGES);
        pipeline.extend(request_bytes(&["INFO", "stats"]));
        let mut round = || {
            let (mut reader, stream) = with_room_for(4 * REPLY, &server, shards - 1);
            let before = publisher.request(&["INFO", "stats"]);
            reader.send(&["GET", "k"]);
            stream.peek(&mut [0]).expect("the reply has begun");
            std::thread::scope(|scope| {
                scope.spawn(|| publisher.send_bytes(&pipeline));
                (0..MESSAGES).for_each(|_| assert!(subscriber.value().as_slice().is_some()));
            });
            (0..MESSAGES).for_each(|_| assert_eq!(publisher.value().as_int(), Some(1)));
            let sent = |info| figure_in(info, "total_net_output_bytes");
            let meanwhile = sent(&publisher.value()) - sent(&before);
            assert_eq!(reader.value().as_bytes().map(<[u8]>::len), Some(REPLY));
            println!("{shards} shards: {meanwhile} bytes sent before the last message was published");
            meanwhile < REPLY / 2
        };
        // The machine may have kept the publisher waiting meanwhile; not each time.
        assert!((0..ROUNDS_MAX).any(|_| round()), "{shards} shards: the reply was sent first each time");
    }
}
