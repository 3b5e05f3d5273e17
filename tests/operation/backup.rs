//! `sterna backup` and `sterna restore`, and `redis-cli --rdb`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sterna_protocol::decode::Value;
use sterna_tests::server::{Launch, Server, free_port, sterna_binary, sterna_tool, wait_for};
use sterna_tests::skipped;
use sterna_tests::tls::Authority;

use super::moving::{fill, picture, text};

fn port(server: &Server) -> String {
    server.port.to_string()
}

/// Restores a backup beside the server's files, and starts on it.
fn restored(server: &Server, from: &str, shards: usize) -> Server {
    let into = server.path("restored").display().to_string();
    let output = sterna_tool(&["restore", from, "--into", &into]);
    assert!(output.status.success() && text(&output).contains("done: restored"), "{}", text(&output));
    let directory = server.path("").display().to_string();
    Launch::shards(shards).args(&["--dir", &directory, "--appenddirname", "restored"]).start()
}

#[test]
fn a_backup_is_of_one_moment_and_is_restored() {
    for (shards, appendonly) in [(3, "yes"), (1, "no")] {
        let args = ["--dir", "{folder}", "--appendonly", appendonly, "--appendfsync", "no"];
        let server = Launch::shards(shards).args(&args).start();
        let mut client = server.connect();
        fill(&mut client);
        client.request(&["BGREWRITEAOF"]);
        client.request(&["SET", "behind", "the snapshot"]);
        let expected = picture(&mut client);
        let to = server.path("copy").display().to_string();
        let is_done = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Two keys that are equal at any moment, in whichever partitions.
                let mut writer = server.connect();
                for number in 0.. {
                    let number = number.to_string();
                    writer.request(&["MSET", "one", &number, "other", &number]);
                    if is_done.load(Relaxed) {
                        break;
                    }
                }
            });
            let output = sterna_tool(&["backup", &to, "-P", &port(&server)]);
            is_done.store(true, Relaxed);
            output
        });
        let told = text(&output);
        assert!(output.status.success() && told.contains("verified"), "{told}");
        let sums = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&to).output();
        assert!(sums.is_ok_and(|output| output.status.success()));
        let again = sterna_tool(&["backup", &to, "-P", &port(&server)]);
        assert!(!again.status.success() && text(&again).contains("is not empty"), "{}", text(&again));

        // All keys of that moment as a database file.
        let rdb = server.path("of-backup.rdb").display().to_string();
        let exported = sterna_tool(&["export", "--journal", &to, "--rdb", &rdb]);
        assert!(exported.status.success(), "{}", text(&exported));

        let second = restored(&server, &to, shards);
        let mut client = second.connect();
        assert_eq!(client.request(&["GET", "one"]), client.request(&["GET", "other"]));
        assert_eq!(client.text(&["GET", "behind"]), "the snapshot");
        client.request(&["DEL", "one", "other"]);
        let got = picture(&mut client);
        expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{}", second.log()));

        // A bit that flips on the way to the cellar.
        let name = fs::read_dir(&to).unwrap().flatten().map(|entry| entry.path());
        let path =
            name.into_iter().find(|path| path.extension().is_some_and(|end| end == "segment")).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = sterna_tool(&["restore", &to]);
        assert!(
            !refused.status.success() && text(&refused).contains("is not what was backed up"),
            "{}",
            text(&refused)
        );
    }
}

#[test]
fn a_backup_goes_through_tls_and_a_pipe_and_not_without_the_password() {
    let authority = Authority::new();
    let identity = authority.identity();
    let tls_port = free_port().to_string();
    let server = Launch::shards(2)
        .file("ca.pem", &authority.pem)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .args(&["--tls-port", &tls_port, "--tls-auth-clients", "no", "--dir", "{folder}"])
        .args(&["--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/key.pem"])
        .args(&["--requirepass", "secret"])
        .start();
    let mut client = server.connect();
    client.request(&["AUTH", "secret"]);
    client.request(&["SET", "k", "v"]);
    let to = server.path("copy").display().to_string();
    for password in [&["-a", "wrong"][..], &[]] {
        let refused = sterna_tool(&[&["backup", &to, "-P", &port(&server)], password].concat());
        let told = text(&refused);
        assert!(!refused.status.success() && told.contains(&format!("127.0.0.1:{}", server.port)), "{told}");
        assert!(!server.path("copy").exists() && !server.path("copy.part").exists());
    }
    let ca = server.path("ca.pem").display().to_string();
    let url = format!("rediss://:secret@127.0.0.1:{tls_port}");
    let output = sterna_tool(&["backup", "-", "-u", &url, "--cacert", &ca]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(server.path("copy.tar"), &output.stdout).unwrap();
    fs::create_dir(server.path("copy")).unwrap();
    let unpacked = Command::new("tar").args(["xf", "../copy.tar"]).current_dir(&to).status();
    assert!(unpacked.is_ok_and(|status| status.success()));
    let second = restored(&server, &to, 1);
    assert_eq!(second.connect().text(&["GET", "k"]), "v");
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_an_error_and_no_backup() {
    let mut server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let mut client = server.connect();
    client.request(&["SET", "large", &"x".repeat(30 << 20)]);
    let mut tool = Command::new(sterna_binary())
        .args(["backup", "-", "-P", &port(&server)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    // It is under way, and waits for this end to read on.
    let mut out = tool.stdout.take().unwrap();
    out.read_exact(&mut [0; 1024]).unwrap();
    server.kill();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let output = tool.wait_with_output().unwrap();
    let told = text(&output);
    assert!(!output.status.success() && told.contains("the connection broke"), "{told}");
    assert!(rest.len() < 30 << 20);
}

#[test]
fn a_fifth_copy_at_a_time_is_refused() {
    let server = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    server.connect().request(&["SET", "large", &"x".repeat(30 << 20)]);
    let begin = || {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(b"BACKUP STREAM\r\n").unwrap();
        let mut first = [0];
        socket.read_exact(&mut first).unwrap();
        (socket, first[0])
    };
    // None of them is read to its end.
    let copies: Vec<_> = std::iter::repeat_with(begin).take(4).collect();
    assert!(copies.iter().all(|(_, first)| *first == b'*'));
    assert_eq!(begin().1, b'-');
    drop(copies);
    wait_for("a place to be free again", || (begin().1 == b'*').then_some(()));
}

#[test]
fn who_speaks_while_a_copy_is_sent_gets_all_of_it() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let bytes = 8 << 20;
    server.connect().request(&["SET", "large", &"x".repeat(bytes)]);
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(b"BACKUP STREAM\r\n").unwrap();
    socket.read_exact(&mut [0]).unwrap();
    // As tools do that take it for a stream of changes.
    socket.write_all(b"REPLCONF ACK 0\r\n").unwrap();
    let mut copy = Vec::new();
    socket.read_to_end(&mut copy).expect("it ends in order");
    assert!(copy.len() > bytes, "{}", copy.len());
    // The ends of both directions have been seen, and the place is free.
    drop(socket);
    wait_for("the copy to be counted", || {
        server.connect().text(&["INFO", "everything"]).contains("closed_copied:1").then_some(())
    });
}

#[test]
fn redis_cli_gets_a_database_file_of_every_type() {
    let server = Launch::shards(3).args(&["--dir", "{folder}"]).start();
    let mut client = server.connect();
    fill(&mut client);
    client.request(&["SWAPDB", "3", "4"]);
    let expected = picture(&mut client);
    let launch = Launch::reference().args(&["--dir", "{folder}"]);
    let file = launch.path("dump.rdb").display().to_string();
    let copied = Command::new("redis-cli").args(["-p", &port(&server), "--rdb", &file]).output();
    let Ok(output) = copied else { return skipped("needs redis-cli; ./test installs it") };
    assert!(output.status.success(), "{}", text(&output));
    let reference = launch.start();
    let got = picture(&mut reference.connect());
    expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{}", reference.log()));
    wait_for("the copy to be counted", || {
        server.connect().text(&["INFO", "everything"]).contains("closed_copied:1").then_some(())
    });
}

#[test]
fn a_replica_is_told_that_there_is_no_stream() {
    let server = Launch::shards(2).start();
    let (host, port) = ("127.0.0.1", port(&server));
    let replica = Launch::reference().args(&["--replicaof", &format!("{host} {port}")]).start();
    replica.await_log("the refusal", |log| log.contains("Sterna has no replicas"));
    let mut client = server.connect();
    client.send(&["SYNC"]);
    let Value::Error(refused) = client.value() else { panic!("SYNC is refused") };
    assert!(String::from_utf8_lossy(&refused).contains("capa eof"));
}
