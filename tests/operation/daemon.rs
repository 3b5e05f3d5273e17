//! In the background, and under a service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sterna_tests::client::Client;
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, PATIENCE, free_port, sterna_binary, wait_for};

#[test]
fn a_daemon_serves_when_its_start_returns_and_is_known_by_its_pidfile() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, dir) = (free_port(), folder.path().display().to_string());
    let start = |more: &[&str]| {
        Command::new(sterna_binary())
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", &dir, "--daemonize", "yes"])
            .args(["--pidfile", &format!("{dir}/pid"), "--logfile", &format!("{dir}/log"), "--threads", "1"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    };
    let output = start(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("listening on"), "{output:?}");
    let pid = fs::read_to_string(folder.path().join("pid")).expect("a pidfile");
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a number");
    assert_eq!(Client::to(port).text(&["PING"]), "PONG");
    // A second one finds the port, or the journal, in use, and says so where it was started.
    let second = start(&["--appenddirname", "other"]);
    assert!(
        !second.status.success() && String::from_utf8_lossy(&second.stderr).contains("in use"),
        "{second:?}"
    );
    kill_process(pid, Signal::TERM).expect("it runs");
    wait_for("its end", || (!folder.path().join("pid").exists()).then_some(()));
}

/// What the server has said to its supervisor since the last time.
fn said(manager: &UnixDatagram) -> Option<String> {
    let mut bytes = [0; 4096];
    let n = manager.recv(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
}

#[test]
fn systemd_is_told_when_it_serves_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time above 0");
    for by_command in [false, true] {
        let mut server = Launch::shards(2)
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "600000")
            .args(&["--supervised", "systemd"])
            .start();
        let first =
            std::iter::from_fn(|| said(&manager)).find(|text| text.contains("READY=1")).expect("it is ready");
        assert!(first.contains(&format!("MAINPID={}", server.pid())), "{first}");
        for _ in 0..2 {
            assert_eq!(said(&manager).as_deref(), Some("WATCHDOG=1"));
        }
        let mut client = server.connect();
        if by_command {
            client.send(&["SHUTDOWN"]);
        } else {
            server.signal(Signal::TERM);
        }
        let last = std::iter::from_fn(|| said(&manager)).find(|text| text != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1"));
        assert!(server.wait_for_end().status.success());
        // What was said of the watchdog before its end is not about the next.
        manager.set_nonblocking(true).expect("a socket can be");
        while said(&manager).is_some() {}
        manager.set_nonblocking(false).expect("a socket can be");
    }
}

#[test]
fn systemd_is_asked_for_more_time_while_a_start_takes_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time above 0");
    let args = ["--supervised", "systemd", "--dir", "{folder}", "--import-on-start", "yes"];
    let launch = Launch::shards(1).env("NOTIFY_SOCKET", &path).args(&args);
    let (launch, faults) = Faults::under(launch, "appendonlydir");
    let commands = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    fs::write(launch.path("appendonly.aof"), commands).expect("the folder can be written");
    // What is brought in can't be kept before this is taken back.
    faults.delay_syncs(PATIENCE * 10);
    let watch = thread::spawn(move || {
        for _ in 0..2 {
            let text = said(&manager).expect("it asks");
            assert_eq!(text, "STATUS=Starting\nEXTEND_TIMEOUT_USEC=30000000");
        }
        faults.mend();
        let last = std::iter::from_fn(|| said(&manager)).find(|text| !text.contains("EXTEND_TIMEOUT_USEC"));
        assert!(last.is_some_and(|text| text.starts_with("READY=1")));
    });
    // The thread that starts it is the one that it ends with.
    let server = launch.start();
    watch.join().expect("it has said all that");
    assert_eq!(server.connect().text(&["GET", "k"]), "v");
}

#[test]
fn who_is_not_supervised_tells_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("a socket can be");
    let mut server = Launch::shards(1).env("NOTIFY_SOCKET", &path).args(&["--supervised", "no"]).start();
    server.signal(Signal::TERM);
    assert!(server.wait_for_end().status.success());
    assert_eq!(said(&manager), None);
}
