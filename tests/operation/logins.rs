//! Guessing passwords: the address that does it gets slower, on whatever connections, and nobody else does.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use sterna_tests::client::Client;
use sterna_tests::server::Server;

/// Failures that cost nothing.
const FREE: usize = 10;

/// A client of another address.
fn client_from(server: &Server, host: u8) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    socket.bind(&from.into()).expect("every address of 127/8 is this machine");
    socket.connect(&server.address().into()).expect("the server listens");
    Client::over(TcpStream::from(socket))
}

/// Guesses so many times, each on a connection of its own, and returns how long that took.
fn guess(server: &Server, host: u8, times: usize) -> Duration {
    let since = Instant::now();
    for nth in 0..times {
        let mut client = client_from(server, host);
        let request = [&["AUTH", "x"][..], &["HELLO", "3", "AUTH", "default", "x"]][nth % 2];
        client.send(request);
        assert!(client.error().starts_with("WRONGPASS"));
    }
    since.elapsed()
}

/// differs=slow-logins
#[test]
fn an_address_that_guesses_passwords_is_slowed_down_on_all_connections_and_shards() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--requirepass", "secret"]);
        let mut other = client_from(&server, 3);
        other.request(&["AUTH", "secret"]);
        guess(&server, 2, FREE + 1);
        // The next ones wait for 0.1, 0.2, 0.4 and 0.8 seconds.
        let took = guess(&server, 2, 4);
        assert!(took >= Duration::from_millis(1_400), "{took:?}");
        // Who knows the password waits as well, and gets in; whatever it has sent behind it comes after it. Where this process
        // is slow to ask or to look, the wait is over by then: the next one is as long or longer.
        let mut client = client_from(&server, 2);
        let is_seen = (0..10).any(|attempt| {
            if attempt > 0 {
                guess(&server, 2, 1);
                client = client_from(&server, 2);
            }
            let since = Instant::now();
            client.send(&["AUTH", "secret"]);
            client.send(&["SET", "k", "v"]);
            // Nobody else waits meanwhile.
            other.assert_quiet();
            client_from(&server, 3).request(&["AUTH", "secret"]);
            let others_waited = since.elapsed();
            assert_eq!(client.value().as_bytes(), Some(&b"OK"[..]));
            let waited = since.elapsed();
            assert_eq!(client.value().as_bytes(), Some(&b"OK"[..]));
            others_waited < Duration::from_millis(1_000) && waited >= Duration::from_millis(1_000)
        });
        assert!(is_seen, "the guesser's address does not wait, or others do");
        // No transaction gets around it.
        client.request(&["MULTI"]);
        client.request(&["AUTH", "x"]);
        client.request(&["EXEC"]);
        client.request(&["MULTI"]);
        client.request(&["AUTH", "x"]);
        let reply = client.request(&["EXEC"]);
        assert!(format!("{reply:?}").contains("Error"), "{reply:?}");
    }
}
