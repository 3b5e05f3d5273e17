//! What is opened by name is a regular file, or an error that names it: a pipe is not waited for, and a device not read without end.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use sterna_tests::server::{Launch, sterna_binary, sterna_tool};

/// What may stand in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Device,
    Directory,
    Socket,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Pipe, Kind::Device, Kind::Directory, Kind::Socket];

    fn name(self) -> &'static str {
        match self {
            Kind::Pipe => "a named pipe",
            Kind::Device => "a device",
            Kind::Directory => "a directory",
            Kind::Socket => "a socket",
        }
    }

    /// Puts it where a file may be.
    fn put(self, path: &Path) {
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        // It may be there from the kind before.
        drop(fs::remove_file(path).or_else(|_| fs::remove_dir(path)));
        match self {
            Kind::Pipe => {
                let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
                assert!(made.success());
            }
            Kind::Device => symlink("/dev/zero", path).expect("a link can be made"),
            Kind::Directory => fs::create_dir(path).expect("a folder can be made"),
            Kind::Socket => drop(UnixListener::bind(path).expect("a socket can be bound")),
        }
    }
}

/// What a start opens, and how it is told to.
const OPENED: &[(&str, &[&str])] = &[
    ("redis.conf", &["{folder}/redis.conf"]),
    ("other.conf", &["{folder}/including.conf"]),
    ("users.acl", &["--aclfile", "{folder}/users.acl"]),
    (
        "cert.pem",
        &["--tls-port", "1", "--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/k"],
    ),
    ("ca.pem", &["--cluster-url", "nats://127.0.0.1:1", "--cluster-tls-ca-cert-file", "{folder}/ca.pem"]),
    (
        "users.creds",
        &["--cluster-url", "nats://127.0.0.1:1", "--cluster-credentials-file", "{folder}/users.creds"],
    ),
    ("appendonlydir/LOCK", &[]),
    ("sterna/tls/.lock", &["--tls-self-signed"]),
];

#[test]
fn a_start_names_what_is_no_regular_file_and_waits_for_nothing() {
    for (name, args) in OPENED {
        // Which of them it is, one row says of all.
        let kinds = if *name == "redis.conf" { &Kind::ALL[..] } else { &Kind::ALL[..2] };
        for kind in kinds {
            let launch = Launch::sterna()
                .file("including.conf", "include {folder}/other.conf\n")
                .without_address()
                .args(args);
            kind.put(&launch.path(name));
            let ended = launch.run();
            let file = name.rsplit('/').next().expect("a name has an end");
            assert!(!ended.status.success(), "{name}: it has started:\n{}", ended.log);
            for part in [file, kind.name()] {
                assert!(ended.log.contains(part), "{name}: '{part}' is missing:\n{}", ended.log);
            }
        }
    }
}

/// What the server can do without, or writes only: it starts, and says so.
#[test]
fn what_it_can_do_without_is_no_reason_not_to_start_and_its_log_may_be_a_device() {
    for kind in [Kind::Pipe, Kind::Device, Kind::Directory] {
        let launch = Launch::sterna().args(&["--pidfile", "{folder}/pid", "--dbfilename", "dump.rdb"]);
        kind.put(&launch.path("pid"));
        kind.put(&launch.path("dump.rdb"));
        kind.put(&launch.path("EPOCH"));
        let server = launch.start();
        assert!(
            server.log().contains(&format!("it is {}, not a regular file", kind.name())),
            "{}",
            server.log()
        );
    }
    for (kind, expected) in
        [(Kind::Pipe, "nobody reads"), (Kind::Directory, "irectory"), (Kind::Socket, "a socket")]
    {
        let launch = Launch::sterna().args(&["--logfile", "{folder}/sterna.log"]);
        kind.put(&launch.path("sterna.log"));
        let ended = launch.run();
        assert!(ended.log.contains("sterna.log") && ended.log.contains(expected), "{}", ended.log);
    }
    for log in ["/dev/null", "/dev/stdout"] {
        assert_eq!(Launch::sterna().args(&["--logfile", log]).start().connect().text(&["ECHO", "x"]), "x");
    }
}

#[test]
fn a_file_that_a_request_opens_may_have_become_something_else() {
    let launch = Launch::shards(1).file("users.acl", "user default on nopass ~* &* +@all\n");
    let launch = launch.file("redis.conf", "timeout 0\n").config("{folder}/redis.conf");
    let server = launch.args(&["--aclfile", "{folder}/users.acl"]).start();
    let mut client = server.connect();
    let requests: [(&str, &[&str]); 3] = [
        ("users.acl", &["ACL", "LOAD"]),
        ("redis.conf", &["CONFIG", "REWRITE"]),
        (
            "cert.pem",
            &["CONFIG", "SET", "tls-port", "1", "tls-cert-file", "{folder}/cert.pem", "tls-key-file", "k"],
        ),
    ];
    for kind in [Kind::Pipe, Kind::Device] {
        for (name, request) in requests {
            let path = server.path(name);
            kind.put(&path);
            let folder = server.path("").display().to_string();
            let request: Vec<String> =
                request.iter().map(|word| word.replace("{folder}/", &folder)).collect();
            client.send(&request.iter().map(String::as_str).collect::<Vec<_>>());
            let error = client.error();
            // Of certificates the log says why.
            let says = |text: &str| text.contains(kind.name());
            assert!(says(&error) || error.contains("server logs") && says(&server.log()), "{name}: {error}");
        }
    }
}

#[test]
fn a_tool_that_is_given_what_is_no_regular_file_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("given");
    let given = path.to_str().expect("a path is text");
    let into = folder.path().join("into").display().to_string();
    // Somebody takes connections, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    for kind in [Kind::Pipe, Kind::Device] {
        kind.put(&path);
        let tools: [&[&str]; 5] = [
            &["import", given, "--into", &into],
            &["import", "--rdb", given, "--into", &into],
            &["journal", "check", given],
            &["restore", given, "--into", &into],
            &["pub", "--tls", "--port", &port, "--cacert", given, "news", "x"],
        ];
        for tool in tools {
            let output = sterna_tool(tool);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("given"), "{tool:?}: {said}");
        }
    }
}

/// As a shell gives what a command writes, and as it is piped.
#[test]
fn a_configuration_may_come_through_a_descriptor() {
    for start in [
        "exec \"$0\" <(echo 'port 70000')",
        "echo 'port 70000' | \"$0\" /dev/stdin",
        "echo 'port 70000' | \"$0\" -",
    ] {
        let output =
            Command::new("bash").args(["-c", start]).arg(sterna_binary()).output().expect("bash runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(":1: 'port 70000'"), "{start}: {said}");
    }
}
