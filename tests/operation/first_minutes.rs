//! What a newcomer meets: a hint that works as it is printed, and mistakes that are told what to do.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Output, Stdio};

use sterna_tests::server::{Launch, PATIENCE, Server, free_port, sterna_binary, wait_for};

/// Runs the binary with these words and variables, and this on its standard input.
fn run(words: &[&str], env: &[(&str, &str)], input: &str) -> Output {
    let mut program = Command::new(sterna_binary())
        .args(words)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // It may have ended already.
    let _ = program.stdin.take().expect("it is piped").write_all(input.as_bytes());
    program.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words behind `sterna pub` in the hint of a server.
fn hinted(server: &Server) -> Vec<String> {
    let log = server.await_log("the hint", |log| log.contains("sterna pub"));
    let line = log.lines().find(|line| line.contains("try it:")).expect("it was found");
    let words = line.rsplit("sterna pub ").next().expect("the hint has two commands");
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_hint_works_as_it_is_printed() {
    let tls_port = free_port();
    let servers = [
        Server::sterna(1, &[]),
        Server::sterna(1, &["--requirepass", "a secret"]),
        Launch::shards(1)
            .without_address()
            .args(&[
                "--bind",
                "127.0.0.1",
                "--port",
                "0",
                "--tls-self-signed",
                "--tls-port",
                &tls_port.to_string(),
            ])
            .args(&["--requirepass", "a secret", "--unixsocket", "{folder}/socket"])
            .start_at(tls_port),
    ];
    for server in &servers {
        let mut words = vec!["pub".to_owned()];
        words.extend(hinted(server));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let data = server.path("").display().to_string();
        let output = run(&words, &[("XDG_DATA_HOME", &data)], "a secret\n");
        assert_eq!(text(&output.stdout), "0\n", "{words:?}: {}\n{}", text(&output.stderr), server.log());
    }
}

#[test]
fn every_address_is_a_url() {
    let (http, tls) = (free_port().to_string(), free_port().to_string());
    let server = Launch::shards(1)
        .args(&[
            "--http-port",
            &http,
            "--tls-self-signed",
            "--tls-port",
            &tls,
            "--unixsocket",
            "{folder}/socket",
        ])
        .start();
    let log = server.await_log("the hint", |log| log.contains("try it"));
    for url in [
        format!("redis://127.0.0.1:{}", server.port),
        format!("rediss://127.0.0.1:{tls}"),
        format!("http://127.0.0.1:{http}"),
        format!("unix://{}", server.path("socket").display()),
    ] {
        assert!(log.contains(&format!("listening on {url}\n")), "{url} in\n{log}");
    }
}

#[test]
fn help_is_where_it_is_looked_for_and_a_slip_of_the_pen_is_told() {
    for (words, code, says) in [
        (&["help"][..], 0, "sterna sub"),
        (&["help", "sub"], 0, "--pattern"),
        (&["sub", "--help"], 0, "--pattern"),
        (&["help", "nosuch"], 2, "'nosuch' is no command"),
        (&["help", "exprot"], 2, "sterna export"),
        (&["subb", "news"], 2, "did you mean `sterna sub`?"),
        (&["top1"], 2, "did you mean `sterna top`?"),
        (&["back-up", "/srv/copy"], 2, "did you mean `sterna backup`?"),
        (&["Restor"], 2, "did you mean `sterna restore`?"),
        (&["jurnal", "check", "x"], 2, "did you mean `sterna journal`?"),
        (&["monitor"], 2, "`sterna help` lists the commands"),
        (&["journal", "chek", "x"], 2, "'check'"),
        (&["nosuch.conf"], 1, "nosuch.conf"),
        (&["sub", "-p", "room:*"], 2, "-g PATTERN"),
        (&["sub"], 2, "CHANNEL"),
    ] {
        let output = run(words, &[], "");
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {printed}");
        assert!(printed.contains(says), "{words:?}: {printed}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_sentence_or_a_message() {
    let wrong = OsStr::from_bytes(b"caf\xe9");
    let output = Command::new(sterna_binary()).arg("--port").arg(wrong).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("argument 2") && text(&output.stderr).contains("UTF-8"),
        "{output:?}"
    );
    let server = Server::sterna(1, &[]);
    let mut subscriber = server.connect();
    subscriber.send(&["PSUBSCRIBE", "caf*"]);
    subscriber.value();
    let words = ["pub", "-p", &server.port.to_string()];
    let output =
        Command::new(sterna_binary()).args(words).args([wrong, wrong]).output().expect("the binary runs");
    assert_eq!(text(&output.stdout), "1\n", "{output:?}");
    let message = subscriber.value();
    assert_eq!(message.as_slice().and_then(|parts| parts[3].as_bytes()), Some(&b"caf\xe9"[..]));
}

#[test]
fn pub_sends_each_line_of_its_input() {
    let server = Server::sterna(1, &[]);
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "news"]);
    let output = run(&["pub", "-p", &server.port.to_string(), "news"], &[], "one\r\ntwo words\n\nlast");
    assert_eq!(text(&output.stdout), "4\n", "{}", text(&output.stderr));
    for expected in ["one", "two words", "", "last"] {
        let message = subscriber.value();
        assert_eq!(message.as_slice().and_then(|parts| parts[2].as_bytes()), Some(expected.as_bytes()));
    }
}

/// `sterna sub` with what it prints.
struct Sub {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Sub {
    fn start(words: &[&str]) -> Sub {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(sterna_binary())
            .arg("sub")
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Sub { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("lines are text");
        line
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sub_connects_again_when_the_server_comes_back() {
    let port = free_port();
    let launch = || {
        Launch::shards(1)
            .without_address()
            .args(&["--bind", "127.0.0.1", "--port", &port.to_string()])
            .start_at(port)
    };
    let server = launch();
    let mut sub = Sub::start(&["-p", &port.to_string(), "news"]);
    let publish_until_heard = |server: &Server, message: &str| {
        let mut client = server.connect();
        wait_for("sub to listen", || (client.int(&["PUBLISH", "news", message]) == 1).then_some(()));
    };
    publish_until_heard(&server, "first");
    assert_eq!(sub.line(), "news first\n");
    drop(server);
    let server = launch();
    publish_until_heard(&server, "second");
    assert_eq!(sub.line(), "news second\n");
}

#[test]
fn tls_at_a_port_without_it_and_the_other_way_round_are_told_what_to_do() {
    let (tls_port, https_port) = (free_port(), free_port());
    let server = Launch::shards(1)
        .args(&[
            "--tls-self-signed",
            "--tls-port",
            &tls_port.to_string(),
            "--https-port",
            &https_port.to_string(),
        ])
        .start();
    let ca = server.path("sterna/tls/ca.crt").display().to_string();
    let plain_port = server.port.to_string();
    let to_plain = run(&["pub", "--tls", "--cacert", &ca, "-p", &plain_port, "a", "b"], &[], "");
    let names = |output: &Output, port: &str| text(&output.stderr).contains(&format!("127.0.0.1:{port}: "));
    assert!(text(&to_plain.stderr).contains("does not speak TLS"), "{to_plain:?}");
    assert!(names(&to_plain, &plain_port), "{to_plain:?}");
    server.await_log("a line", |log| log.contains("speaks TLS to a port without it"));
    let to_tls = run(&["pub", "-p", &tls_port.to_string(), "a", "b"], &[], "");
    assert!(text(&to_tls.stderr).contains("rediss://"), "{to_tls:?}");
    assert!(names(&to_tls, &tls_port.to_string()), "{to_tls:?}");
    let strange =
        run(&["pub", "--tls", "-p", &tls_port.to_string(), "a", "b"], &[("XDG_DATA_HOME", "/nowhere")], "");
    assert!(text(&strange.stderr).contains("--cacert FILE"), "{strange:?}");
    assert!(names(&strange, &tls_port.to_string()), "{strange:?}");
    server.await_log("a line", |log| log.contains("the client speaks no TLS"));
    // Redis's own client shows the words.
    let shown = answer(tls_port, b"*1\r\n$4\r\nPING\r\n");
    assert!(shown.starts_with("-ERR this port speaks TLS"), "{shown}");
    let shown = answer(https_port, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(shown.starts_with("HTTP/1.1 400") && shown.contains("https://"), "{shown}");
    // A handshake that breaks off before a line end is answered, too.
    let shown = answer(server.port, &[0x16, 0x03, 0x01, 0x02]);
    assert!(shown.starts_with("-ERR Protocol error: this port does not speak TLS"), "{shown}");
}

/// All that is answered to these bytes until the connection is closed.
fn answer(port: u16, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time above 0");
    socket.write_all(bytes).expect("the server reads");
    let mut answer = Vec::new();
    // It may be closed with a reset behind the answer.
    let _ = socket.read_to_end(&mut answer);
    text(&answer)
}

#[test]
fn a_password_that_is_missing_is_told_how_to_give() {
    let server = Server::sterna(1, &["--requirepass", "secret"]);
    let port = server.port.to_string();
    let output = run(&["pub", "-p", &port, "a", "b"], &[("REDISCLI_AUTH", "secret")], "");
    assert_eq!(text(&output.stdout), "0\n", "{output:?}");
    let output = Command::new(sterna_binary())
        .args(["pub", "-p", &port, "a", "b"])
        .env_remove("REDISCLI_AUTH")
        .output()
        .expect("the binary runs");
    assert!(text(&output.stderr).contains("--askpass"), "{output:?}");
    // The server says who failed.
    let output = run(&["pub", "-p", &port, "--user", "eve", "-a", "guess", "a", "b"], &[], "");
    assert!(!output.status.success());
    server.await_log("the failed login", |log| log.contains("login failed user=eve addr=127.0.0.1:"));
}

#[test]
fn a_configuration_can_be_checked_without_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |text_of_file: &str| {
        let path = folder.path().join("redis.conf");
        std::fs::write(&path, text_of_file).expect("the folder can be written");
        run(&["--check-config", &path.display().to_string()], &[], "")
    };
    let good = check("port 7000\nio-threads 4\nactiverehashing yes\n");
    assert!(good.status.success(), "{good:?}");
    assert_eq!(text(&good.stderr).lines().count(), 1, "one line for all that has no effect: {good:?}");
    assert!(text(&good.stderr).contains("io-threads, activerehashing"), "{good:?}");
    for (wrong, says) in [
        ("port seven\n", "redis.conf:1:"),
        ("replicaof 10.0.0.1 6379\n", "replicaof"),
        ("user eve on +nosuch\n", "redis.conf:1: 'user'"),
        // What only a start would meet.
        ("bind no.such.host.invalid\n", "no.such.host.invalid"),
        ("port 0\n", "nothing to listen on"),
        ("logfile /nowhere/sterna.log\n", "/nowhere/sterna.log"),
        ("unixsocket /nowhere/socket\n", "/nowhere/socket"),
        ("tls-port 1\ntls-cert-file /nowhere/cert.pem\ntls-key-file /nowhere/key.pem\n", "/nowhere/"),
    ] {
        let output = check(wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {output:?}");
        assert!(text(&output.stderr).contains(says), "{wrong}: {output:?}");
    }
}
