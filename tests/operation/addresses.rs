//! Where the server listens, and whom it lets in.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, free_port};

#[test]
fn a_unix_socket_serves_as_tcp_does_and_is_gone_afterwards() {
    let server = Server::sterna(2, &["--unixsocket", "{folder}/socket", "--unixsocketperm", "700"]);
    let path = server.path("socket");
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut client = Client::to_path(&path);
    client.request(&["SUBSCRIBE", "c"]);
    let mut publisher = server.connect();
    assert_eq!(publisher.int(&["PUBLISH", "c", "x"]), 1);
    client.value();
    let list = publisher.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert!(list.contains(&format!("addr={}:0", path.display())) && list.contains("flags=PU"), "{list}");
    server.signal(Signal::TERM);
    let folder = path.parent().expect("a folder").to_owned();
    let ended = server.wait();
    assert!(ended.status.success());
    assert!(!folder.join("socket").exists());
}

#[test]
fn a_socket_file_of_a_server_that_died_is_no_hindrance() {
    let launch = Launch::shards(1).args(&["--unixsocket", "{folder}/socket"]);
    drop(std::os::unix::net::UnixListener::bind(launch.path("socket")).expect("a socket file"));
    let server = launch.start();
    Client::to_path(&server.path("socket")).assert_quiet();
}

#[test]
fn several_addresses_are_listened_at_ipv6_among_them() {
    if TcpListener::bind("[::1]:0").is_err() {
        sterna_tests::skipped("this machine has no IPv6");
        return;
    }
    let port = free_port();
    let port_text = port.to_string();
    let server = Launch::shards(2)
        .without_address()
        .args(&["--port", &port_text, "--bind", "127.0.0.1", "::1"])
        .start_at(port);
    let mut client = Client::over(TcpStream::connect(("::1", port)).expect("it listens at ::1"));
    client.request(&["SUBSCRIBE", "c"]);
    let mut publisher = server.connect();
    assert_eq!(publisher.int(&["PUBLISH", "c", "x"]), 1);
    let list = publisher.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert!(list.contains("addr=[::1]:"), "{list}");
}

/// An address of this machine that isn't the loopback one. Nothing is sent to find it.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn protected_mode_refuses_strangers_as_redis_does_unless_there_is_a_password() {
    let Some(address) = outer_address() else {
        sterna_tests::skipped("this machine has no address but the loopback one");
        return;
    };
    let greeted = |launch: Launch| {
        let port = free_port();
        let port_text = port.to_string();
        let server =
            launch.without_address().args(&["--port", &port_text, "--bind", "0.0.0.0"]).start_at(port);
        let mut client =
            Client::over(TcpStream::connect(SocketAddr::new(address, port)).expect("it listens"));
        client.send(&["PING"]);
        let reply = match client.value() {
            Value::Error(text) => String::from_utf8_lossy(&text).into_owned(),
            value => format!("{value:?}"),
        };
        drop(server);
        reply
    };
    // The rest is for people, and each server's own.
    for refusal in [greeted(Launch::shards(1)), greeted(Launch::reference())] {
        assert!(refusal.starts_with("DENIED "), "{refusal}");
        assert!(refusal.contains(" is running in protected mode "), "{refusal}");
    }
    let open = greeted(Launch::shards(1).args(&["--protected-mode", "no"]));
    assert_eq!(open, format!("{:?}", Value::Simple(b"PONG".to_vec())));
    let asked = greeted(Launch::shards(1).args(&["--requirepass", "secret"]));
    assert_eq!(asked, "NOAUTH Authentication required.");
}

/// Whoever connects meanwhile to an address that stays gets in, and after an error it listens where it did, and nowhere else.
#[test]
fn a_change_of_bind_happens_as_a_whole_or_not_at_all() {
    for shards in [1, 2] {
        let port = free_port();
        let text = port.to_string();
        let server = Launch::shards(shards)
            .without_address()
            .args(&["--port", &text, "--bind", "127.0.0.1"])
            .start_at(port);
        let listens = |host: &str| TcpStream::connect((host, port)).is_ok();
        let mut client = server.connect();
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                loop {
                    Client::to(port).assert_quiet();
                    if enough.load(Relaxed) {
                        break;
                    }
                }
            });
            for _ in 0..20 {
                client.request(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2 127.0.0.3"]);
                assert!(listens("127.0.0.1") && listens("127.0.0.2") && listens("127.0.0.3"));
                client.request(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.3"]);
                assert!(listens("127.0.0.1") && !listens("127.0.0.2") && listens("127.0.0.3"));
                // The first two could be had, the third is none of this machine's.
                client.send(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2 192.0.2.1"]);
                assert!(client.error().contains("Failed to bind to specified addresses"));
                assert!(listens("127.0.0.1") && !listens("127.0.0.2") && listens("127.0.0.3"));
                assert_eq!(client.text_at(&["CONFIG", "GET", "bind"], 1), "127.0.0.1 127.0.0.3");
                client.request(&["CONFIG", "SET", "bind", "127.0.0.1"]);
                assert!(listens("127.0.0.1") && !listens("127.0.0.3"));
            }
            enough.store(true, Relaxed);
            connecting.join().expect("every connection is taken");
        });
    }
}

/// Who takes an address away from strangers takes it away from those who speak HTTP as well.
#[test]
fn http_moves_with_bind() {
    for shards in [1, 2] {
        let [port, http] = [free_port(), free_port()];
        let text = [port, http].map(|port| port.to_string());
        let server = Launch::shards(shards)
            .without_address()
            .args(&["--port", &text[0], "--http-port", &text[1], "--bind", "127.0.0.1"])
            .start_at(port);
        let serves = |host: &str| {
            let Ok(stream) = TcpStream::connect((host, http)) else { return false };
            let mut client = Client::over(stream);
            client.send_bytes(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            client.rest().starts_with(b"HTTP/1.1 ")
        };
        let mut client = server.connect();
        assert!(serves("127.0.0.1") && !serves("127.0.0.2"));
        client.request(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"]);
        assert!(serves("127.0.0.1") && serves("127.0.0.2"));
        let taken = TcpListener::bind(("127.0.0.3", http)).expect("nobody listens there");
        client.send(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.3"]);
        assert!(client.error().contains("Failed to bind to specified addresses"));
        assert!(serves("127.0.0.2"), "after an error it is as it was");
        drop(taken);
        client.request(&["CONFIG", "SET", "bind", "127.0.0.1"]);
        assert!(serves("127.0.0.1") && !serves("127.0.0.2"));
    }
}
