//! A connection that closes, or waits, touches nobody else and costs nothing more.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Server, wait_for};

const LIMIT: &[&str] = &["--client-output-buffer-limit", "pubsub", "1mb", "0", "0"];
const LIMIT_BYTES: usize = 1024 * 1024;

/// A client whose kernel takes little of what it doesn't read.
fn lazy_client(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it can be small");
    socket.connect(&server.address().into()).expect("the server listens");
    Client::over(TcpStream::from(socket))
}

/// What CLIENT LIST says under `field` of the client with this name, if it is there.
fn field_of(admin: &mut Client, name: &str, field: &str) -> Option<usize> {
    let list = admin.text(&["CLIENT", "LIST"]);
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix(&format!("{field}=")))?;
    Some(value.parse().expect("a number"))
}

/// A subscriber of `c` that doesn't read, and whose socket takes no more.
fn stalled_subscriber(server: &Server, publisher: &mut Client, name: &str) -> Client {
    let payload = "x".repeat(64 * 1024);
    for _ in 0..100 {
        let mut lazy = lazy_client(server);
        lazy.request(&["CLIENT", "SETNAME", name]);
        lazy.request(&["SUBSCRIBE", "c"]);
        // Slowly enough that the shard, which notes it ten times a second, says so before the limit is passed. A shard that is
        // not given the processor says so too late: then another one takes its place.
        while let Some(queued) = field_of(publisher, name, "omem") {
            if queued > 0 {
                return lazy;
            }
            publisher.request(&["PUBLISH", "c", &payload]);
            thread::sleep(Duration::from_millis(12));
        }
    }
    panic!("none stays below its limit");
}

#[test]
fn nothing_more_is_queued_for_a_connection_that_closes() {
    for shards in [1, 2] {
        for ending in ["QUIT\r\n", "*x\r\n", "*1\r\n$4\r\nQUIT\r\n"] {
            let server = Server::sterna(shards, LIMIT);
            // Two connections, so that one is on each shard.
            let (mut publisher, mut other) = (server.connect(), server.connect());
            let mut lazy = stalled_subscriber(&server, &mut publisher, "leaver");
            lazy.send_bytes(ending.as_bytes());
            let payload = "y".repeat(64 * 1024);
            for number in 0..100 {
                let by = if number % 2 == 0 { &mut publisher } else { &mut other };
                by.request(&["PUBLISH", "c", &payload]);
                let queued = field_of(by, "leaver", "omem").unwrap_or(0);
                assert!(queued <= LIMIT_BYTES + 128 * 1024, "{ending:?}, {shards} shards: {queued} bytes");
            }
        }
    }
}

#[test]
fn a_subscriber_that_publishes_itself_over_its_limit_is_closed() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, LIMIT);
        let mut admin = server.connect();
        let mut lazy = lazy_client(&server);
        lazy.request(&["HELLO", "3"]);
        lazy.request(&["CLIENT", "SETNAME", "selfish"]);
        lazy.request(&["SUBSCRIBE", "c"]);
        let messages = request_bytes(&["PUBLISH", "c", &"z".repeat(64 * 1024)]).repeat(64);
        let sender = thread::spawn(move || {
            (0..4).for_each(|_| lazy.send_bytes(&messages));
            lazy
        });
        wait_for("the subscriber is closed", || {
            field_of(&mut admin, "selfish", "omem").is_none().then_some(())
        });
        drop(sender.join().expect("sending ends, however it does"));
        assert_eq!(admin.text(&["PING"]), "PONG");
    }
}

#[test]
fn nobody_is_closed_for_the_one_whose_slot_it_took() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, LIMIT);
        let is_over = Arc::new(AtomicBool::new(false));
        let newcomers: Vec<_> = (0..2)
            .map(|_| {
                let (is_over, port) = (Arc::clone(&is_over), server.port);
                thread::spawn(move || {
                    let mut count = 0;
                    loop {
                        let mut clients: Vec<Client> = (0..8).map(|_| Client::to(port)).collect();
                        for client in &mut clients {
                            assert_eq!(client.text(&["PING"]), "PONG", "a newcomer is served");
                            assert_eq!(client.text(&["PING"]), "PONG", "and stays");
                        }
                        count += clients.len();
                        if is_over.load(SeqCst) {
                            return count;
                        }
                    }
                })
            })
            .collect();
        let mut publisher = server.connect();
        let message = "m".repeat(600 * 1024);
        for _ in 0..40 {
            let mut victims: Vec<Client> = (0..4).map(|_| lazy_client(&server)).collect();
            let mut burst = Vec::new();
            for victim in &mut victims {
                let id = victim.int(&["CLIENT", "ID"]).to_string();
                victim.request(&["SUBSCRIBE", "c"]);
                burst.extend(request_bytes(&["CLIENT", "KILL", "ID", &id]));
            }
            let over_the_limit = request_bytes(&["PUBLISH", "c", &message]).repeat(8);
            publisher.send_bytes(&[over_the_limit, burst].concat());
            (0..8 + victims.len()).for_each(|_| drop(publisher.value()));
        }
        is_over.store(true, SeqCst);
        let served: usize = newcomers.into_iter().map(|thread| thread.join().expect("all are served")).sum();
        assert!(served > 0);
    }
}

#[test]
fn the_end_of_a_pause_does_not_end_a_later_wait() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--enable-debug-command", "yes", "--appendonly", "yes"]);
        let mut admin = server.connect();
        for wait in [&["DEBUG", "SLEEP", "0.4"][..], &["WAITAOF", "0", "1", "400"]] {
            for ends_by_itself in [true, false] {
                let mut waiter = server.connect();
                admin.request(&["CLIENT", "PAUSE", "150"]);
                let began = Instant::now();
                waiter.send(wait);
                if !ends_by_itself {
                    // Long enough for the request to be held back; if it isn't, there is nothing to be seen.
                    thread::sleep(Duration::from_millis(30));
                    admin.request(&["CLIENT", "UNPAUSE"]);
                }
                waiter.value();
                let took = began.elapsed();
                assert!(took >= Duration::from_millis(400), "{wait:?} on {shards} shards took {took:?}");
            }
        }
    }
}
