//! TLS: certificates, those of clients, and new ones without a dropped connection.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, PATIENCE, Server, free_port, wait_for};
use sterna_tests::tls::{Authority, Hollow, Identity, connect};

/// A server with TLS on a port of its own.
struct TlsServer {
    server: Server,
    port: u16,
}

impl TlsServer {
    fn start(authority: &Authority, shards: usize, args: &[&str]) -> TlsServer {
        let identity = authority.identity();
        let port = free_port();
        let server = Launch::shards(shards)
            .file("ca.pem", &authority.pem)
            .file("cert.pem", &identity.certificate)
            .file("key.pem", &identity.key)
            .args(&["--tls-port", &port.to_string()])
            .args(&["--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/key.pem"])
            .args(&["--tls-ca-cert-file", "{folder}/ca.pem"])
            .args(args)
            .start();
        TlsServer { server, port }
    }

    /// Puts another certificate where the first one was.
    fn replace_certificate(&self, identity: &Identity) {
        fs::write(self.server.path("cert.pem"), &identity.certificate).expect("the folder can be written");
        fs::write(self.server.path("key.pem"), &identity.key).expect("the folder can be written");
    }

    /// A client, if both sides accept each other. In TLS 1.3 a server refuses after the client has shaken hands.
    fn try_client(&self, authority: &Authority, identity: Option<&Identity>) -> Option<Client> {
        let mut client = connect(self.port, authority, identity).ok()?;
        client.try_request(&["PING"]).filter(|reply| *reply == Value::Simple(b"PONG".to_vec()))?;
        Some(client)
    }

    fn client(&self, authority: &Authority) -> Client {
        self.try_client(authority, None).expect("the server is trusted")
    }
}

#[test]
fn messages_of_any_size_travel_over_tls_in_order() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority, 2, &["--tls-auth-clients", "no"]);
    let (mut subscriber, mut publisher) = (server.client(&authority), server.client(&authority));
    let mut plain = server.server.connect();
    subscriber.request(&["SUBSCRIBE", "c"]);
    plain.request(&["SUBSCRIBE", "c"]);
    let sizes = [0, 1, 100, 16_383, 16_384, 16_385, 70_000, 1_000_000];
    for size in sizes {
        assert_eq!(publisher.int(&["PUBLISH", "c", &"x".repeat(size)]), 2);
    }
    for client in [&mut subscriber, &mut plain] {
        for size in sizes {
            let message = client.value();
            let len = message.as_slice().and_then(|parts| parts[2].as_bytes()).map(<[u8]>::len);
            assert_eq!(len, Some(size));
        }
        client.assert_quiet();
    }
}

#[test]
fn bytes_that_are_no_tls_close_their_connection_only() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority, 1, &["--tls-auth-clients", "no"]);
    let mut client = server.client(&authority);
    let mut stranger = Client::to(server.port);
    stranger.send_bytes(b"*1\r\n$4\r\nPING\r\n");
    stranger.rest();
    client.assert_quiet();
}

#[test]
fn clients_are_asked_for_certificates_as_tls_auth_clients_says() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (known, stranger) = (ours.identity(), theirs.identity());
    // Without a certificate, with one of the authority's, with one of another's.
    let cases =
        [("yes", [false, true, false]), ("optional", [true, true, false]), ("no", [true, true, true])];
    for (word, expected) in cases {
        let server = TlsServer::start(&ours, 1, &["--tls-auth-clients", word]);
        let got = [None, Some(&known), Some(&stranger)]
            .map(|identity| server.try_client(&ours, identity).is_some());
        assert_eq!(got, expected, "tls-auth-clients {word}");
    }
}

#[test]
fn sighup_takes_a_new_certificate_and_drops_no_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&old, 2, &["--tls-auth-clients", "no"]);
    let mut before = server.client(&old);
    before.request(&["SUBSCRIBE", "c"]);
    server.replace_certificate(&new.identity());
    assert!(server.try_client(&new, None).is_none(), "it has not been told yet");
    server.server.signal(Signal::HUP);
    let mut after = wait_for("the new certificate", || server.try_client(&new, None));
    assert!(server.try_client(&old, None).is_none(), "the old certificate is still shown");
    assert_eq!(after.int(&["PUBLISH", "c", "x"]), 1);
    before.value();
    before.assert_quiet();
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_one_in_place() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority, 1, &["--tls-auth-clients", "no"]);
    fs::write(server.server.path("cert.pem"), "no certificate\n").expect("the folder can be written");
    server.server.signal(Signal::HUP);
    server.server.await_log("a word about it", |log| log.contains("certificates not changed"));
    let mut client = server.client(&authority);
    client.send(&["CONFIG", "SET", "tls-cert-file", "/none.pem"]);
    let error = client.error();
    assert!(error.starts_with("ERR CONFIG SET failed"), "{error}");
    client.assert_quiet();
    server.client(&authority);
}

#[test]
fn config_set_takes_a_new_certificate_and_drops_no_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&old, 2, &["--tls-auth-clients", "no"]);
    let mut before = server.client(&old);
    let identity = new.identity();
    let [cert, key] = ["other-cert.pem", "other-key.pem"].map(|name| server.server.path(name));
    fs::write(&cert, &identity.certificate).expect("the folder can be written");
    fs::write(&key, &identity.key).expect("the folder can be written");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    before.request(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key]);
    server.client(&new).assert_quiet();
    before.assert_quiet();
}

#[test]
fn a_closed_tls_connection_ends_with_close_notify() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority, 1, &["--tls-auth-clients", "no"]);
    let mut client = server.client(&authority);
    client.send(&["QUIT"]);
    assert_eq!(client.value(), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.frame(PATIENCE), Frame::Closed);
}

/// Each costs the server a decryption and gives it nothing to read. Thirty-two in a row are as many as the TLS library takes
/// for honest; so nobody can keep a shard in its read loop with them.
#[test]
fn records_without_content_end_their_connection_and_hold_nobody() {
    let authority = Authority::new();
    for shards in [1, 2] {
        let server = TlsServer::start(&authority, shards, &["--tls-auth-clients", "no"]);
        let (mut plain, mut secured) = (server.server.connect(), server.client(&authority));
        let mut few = Hollow::connect(server.port, &authority).expect("it is let in");
        few.send(20).expect("the connection is there");
        let began = Instant::now();
        for _ in 0..20 {
            let mut many = Hollow::connect(server.port, &authority).expect("it is let in");
            // It may be closed before all are sent.
            let _ = many.send(5000);
            for client in [&mut plain, &mut secured] {
                client.assert_quiet();
            }
        }
        assert!(began.elapsed() < PATIENCE, "{shards} shards: {:?}", began.elapsed());
        server.server.await_log("the reason", |log| log.contains("TooManyEmptyFragments"));
        few.send(1).expect("a few are no offence");
    }
}
