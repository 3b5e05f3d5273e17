//! `sterna import --from URL --follow`, `sterna export --to URL --follow` and `--check`: a server that is moved while it runs, or left.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sterna_tests::server::{Launch, Server, free_port, sterna_binary, sterna_tool, wait_for};
use sterna_tests::skipped;
use sterna_tests::tls::Authority;

use super::landing::{all, change};
use super::moving::{fill, text};

/// The tool while it runs.
pub(super) struct Following {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Following {
    pub(super) fn start(source: &Server, target: &Server, more: &[&str]) -> Following {
        let (url, port) = (url(source), target.port.to_string());
        Following::run(&[&["import", "--from", &url, "--follow", "-p", &port], more].concat())
    }

    fn export(source: &Server, target: &Server, more: &[&str]) -> Following {
        let (url, port) = (url(target), source.port.to_string());
        Following::run(&[&["export", "--to", &url, "--follow", "-p", &port], more].concat())
    }

    fn run(args: &[&str]) -> Following {
        let mut child = Command::new(sterna_binary())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Following { child, out, said: String::new() }
    }

    /// Waits until it says this, in a line that it has not said before.
    pub(super) fn await_line(&mut self, part: &str) {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "it ended without {part:?}: {}", self.said);
            self.said += &line;
            if line.contains(part) {
                return;
            }
        }
    }

    /// Waits for its end. Returns whether it was content, and all it said.
    fn end(mut self) -> (bool, String) {
        let status = self.child.wait().expect("it ends");
        self.out.read_to_string(&mut self.said).expect("it can be read");
        let mut err = self.child.stderr.take().expect("it is a pipe");
        err.read_to_string(&mut self.said).expect("it can be read");
        (status.success(), self.said)
    }

    pub(super) fn stop(self) -> (bool, String) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("it runs");
        kill_process(pid, Signal::INT).expect("it can be signalled");
        self.end()
    }
}

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

#[test]
fn a_server_is_moved_while_it_is_written_to() {
    let launches = [Some(Launch::reference()), Launch::valkey()];
    for (launch, shards) in launches.into_iter().zip([1, 3]) {
        let Some(launch) = launch else {
            skipped("needs Valkey; ./test installs it");
            continue;
        };
        // One sends its file as it is made, with a mark behind it, the other when it is whole.
        let diskless = if shards == 1 { "yes" } else { "no" };
        let args = ["--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0", "--dir", "{folder}"];
        let source = launch.args(&args).start();
        let target = Launch::shards(shards).args(&["--dir", "{folder}"]).start();
        let mut client = source.connect();
        fill(&mut client);
        let mut following = Following::start(&source, &target, &[]);
        following.await_line("following");
        change(&mut client);
        // The connection breaks, and what happens meanwhile comes, too.
        client.request(&["CLIENT", "KILL", "TYPE", "replica"]);
        client.request(&["SET", "meanwhile", "1"]);
        following.await_line("following");
        client.request(&["INCR", "meanwhile"]);
        let expected = all(&mut client);
        let (is_content, said) = following.stop();
        assert!(is_content && said.contains("done:") && said.contains("nothing left"), "{said}");
        assert!(said.contains("0 bytes ahead") && !said.contains("copied anew"), "{said}");
        let mut moved = target.connect();
        assert_eq!(moved.text(&["GET", "meanwhile"]), "2");
        let got = all(&mut moved);
        expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{said}"));

        let check =
            || sterna_tool(&["import", "--from", &url(&source), "--check", "-p", &target.port.to_string()]);
        let same = check();
        assert!(same.status.success() && text(&same).contains("all are the same"), "{}", text(&same));
        moved.request(&["HSET", "large:hash", "name 7", "changed"]);
        moved.request(&["SET", "only here", "x"]);
        moved.request(&["XACK", "s", "g", "3-1"]);
        client.request(&["PEXPIREAT", "later", "33000000000000"]);
        let different = check();
        let told = text(&different);
        assert!(!different.status.success() && told.contains("4 differ"), "{told}");
        for key in ["large:hash", "s", "only here", "later"] {
            assert!(told.contains(&format!("differs: {key} in database 0")), "{told}");
        }
    }
}

#[test]
fn whoever_dies_while_a_server_is_moved_is_named() {
    let mut source = Launch::reference().args(&["--repl-diskless-sync-delay", "0"]).start();
    let mut target = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    source.connect().request(&["SET", "k", "v"]);
    target.connect().request(&["SET", "mine", "x"]);
    let (is_content, said) = Following::start(&source, &target, &[]).end();
    assert!(!is_content && said.contains("holds keys"), "{said}");

    let mut following = Following::start(&source, &target, &["--replace"]);
    following.await_line("following");
    target.kill();
    source.connect().request(&["SET", "k", "w"]);
    let (is_content, said) = following.end();
    assert!(!is_content && said.contains(&format!("127.0.0.1:{}", target.port)), "{said}");

    target.start_again();
    let mut following = Following::start(&source, &target, &["--replace", "--away", "1"]);
    following.await_line("following");
    source.kill();
    following.await_line("waiting for the source");
    let (is_content, said) = following.end();
    assert!(!is_content && said.contains(&format!("127.0.0.1:{}", source.port)), "{said}");
    // What had come is there, and nothing else.
    let mut client = target.connect();
    wait_for("the target to have it", || (client.text(&["GET", "k"]) == "w").then_some(()));
    assert_eq!(client.int(&["DBSIZE"]), 1);
}

#[test]
fn a_source_that_has_lost_its_history_is_copied_anew() {
    let args =
        ["--requirepass", "secret", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];
    let source = Launch::reference().args(&args).start();
    let target = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let login = |server: &Server| {
        let mut client = server.connect();
        client.request(&["AUTH", "secret"]);
        client
    };
    login(&source).request(&["SET", "before", "1"]);
    let wrong = Following::start(&source, &target, &["--away", "1"]).end();
    assert!(
        !wrong.0 && wrong.1.contains("NOAUTH") && wrong.1.contains(&source.port.to_string()),
        "{}",
        wrong.1
    );
    let url = format!("redis://:secret@127.0.0.1:{}", source.port);
    let mut following =
        Following::run(&["import", "--from", &url, "--follow", "-p", &target.port.to_string()]);
    following.await_line("following");
    target.connect().request(&["SET", "strange", "x"]);
    let mut client = login(&source);
    client.request(&["DEBUG", "CHANGE-REPL-ID"]);
    client.request(&["CLIENT", "KILL", "TYPE", "replica"]);
    client.request(&["SET", "after", "2"]);
    following.await_line("copied anew");
    following.await_line("following");
    let (is_content, said) = following.stop();
    assert!(is_content, "{said}");
    let mut client = target.connect();
    assert_eq!(client.text(&["GET", "after"]), "2");
    assert_eq!(client.int(&["DBSIZE"]), 2, "{said}");
}

/// `--replace` empties the target, but not before there is something to take its place, and never the source itself.
#[test]
fn nothing_is_emptied_for_a_source_that_is_not_there_or_that_is_the_target() {
    let target = Launch::shards(2).start();
    let mut client = target.connect();
    client.request(&["SET", "k", "v"]);
    client.request(&[
        "FUNCTION",
        "LOAD",
        "#!lua name=lib\nredis.register_function('f', function() return 1 end)",
    ]);
    let port = target.port.to_string();
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    for from in [&nowhere, &url(&target)] {
        let tried = sterna_tool(&["import", "--from", from, "--follow", "--replace", "-p", &port]);
        assert!(!tried.status.success(), "{}", text(&tried));
        assert_eq!(client.text(&["GET", "k"]), "v", "{}", text(&tried));
        assert_eq!(
            client.request(&["FUNCTION", "LIST"]).as_slice().map(<[_]>::len),
            Some(1),
            "{}",
            text(&tried)
        );
    }
}

#[test]
fn a_server_is_left_while_it_is_written_to() {
    let launches = [Some(Launch::reference()), Launch::valkey()];
    for (launch, shards) in launches.into_iter().zip([1, 3]) {
        let Some(launch) = launch else {
            skipped("needs Valkey; ./test installs it");
            continue;
        };
        let source = Launch::shards(shards).args(&["--dir", "{folder}"]).start();
        let target = launch.start();
        let mut client = source.connect();
        fill(&mut client);
        let mut following = Following::export(&source, &target, &[]);
        following.await_line("following");
        change(&mut client);
        // Groups alone, which tracking does not tell of; a database that is emptied.
        client.request(&["SELECT", "9"]);
        client.request(&["SET", "emptied", "x"]);
        client.request(&["FLUSHDB"]);
        following.await_line("copied again");
        client.request(&["SELECT", "0"]);
        // The connections break, and what happens meanwhile comes, too.
        client.request(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        client.request(&["SET", "meanwhile", "1"]);
        client.request(&["DEL", "large:list"]);
        following.await_line("following");
        client.request(&["INCR", "meanwhile"]);
        client.request(&["XACK", "s", "g", "3-1"]);
        let expected = all(&mut client);
        let (is_content, said) = following.stop();
        assert!(is_content && said.contains("done:") && said.contains("nothing left"), "{said}");
        let mut left = target.connect();
        let got = all(&mut left);
        expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{said}"));

        let check =
            || sterna_tool(&["export", "--to", &url(&target), "--check", "-p", &source.port.to_string()]);
        let same = check();
        assert!(same.status.success() && text(&same).contains("all are the same"), "{}", text(&same));
        left.request(&["SET", "only here", "x"]);
        left.request(&["XGROUP", "DESTROY", "s", "g"]);
        let different = check();
        assert!(!different.status.success() && text(&different).contains("2 differ"), "{}", text(&different));
    }
}

#[test]
fn whoever_dies_while_a_server_is_left_is_named_and_nothing_is_emptied_in_vain() {
    let mut source = Launch::shards(2).start();
    let target = Launch::reference().start();
    source.connect().request(&["SET", "k", "v"]);
    target.connect().request(&["SET", "mine", "x"]);
    let (is_content, said) = Following::export(&source, &target, &[]).end();
    assert!(!is_content && said.contains("holds keys"), "{said}");
    let once = sterna_tool(&["export", "--to", &url(&target), "-p", &source.port.to_string()]);
    assert!(once.status.success() && text(&once).contains("done: 1 keys exported"), "{}", text(&once));
    let again = sterna_tool(&["export", "--to", &url(&target), "-p", &source.port.to_string()]);
    assert!(
        !again.status.success() && text(&again).contains("1 that were there already"),
        "{}",
        text(&again)
    );

    let mut following = Following::export(&source, &target, &["--replace", "--away", "1"]);
    following.await_line("following");
    source.kill();
    following.await_line("waiting for the source");
    let (is_content, said) = following.end();
    assert!(!is_content && said.contains(&format!("127.0.0.1:{}", source.port)), "{said}");
    let mut client = target.connect();
    assert_eq!((client.text(&["GET", "k"]), client.int(&["DBSIZE"])), ("v".to_owned(), 1));
    // A source that is not there empties nothing.
    let (is_content, said) = Following::export(&source, &target, &["--replace"]).end();
    assert!(!is_content, "{said}");
    assert_eq!(client.text(&["GET", "k"]), "v");
}

#[test]
fn a_server_is_moved_and_left_over_tls_at_both_ends() {
    let Some(other) = Launch::with_tls() else {
        skipped("needs a redis-server that speaks TLS; ./test installs Debian's");
        return;
    };
    let authority = Authority::new();
    let launch = |launch: Launch| {
        let (identity, port) = (authority.identity(), free_port());
        let server = launch
            .file("ca.pem", &authority.pem)
            .file("cert.pem", &identity.certificate)
            .file("key.pem", &identity.key)
            .args(&["--tls-port", &port.to_string(), "--tls-ca-cert-file", "{folder}/ca.pem"])
            .args(&["--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/key.pem"])
            .start();
        (server, format!("rediss://127.0.0.1:{port}"))
    };
    let (source, from) = launch(other.args(&["--repl-diskless-sync-delay", "0", "--tls-auth-clients", "no"]));
    let (target, to) = launch(Launch::shards(2));
    // One of them asks for a certificate.
    let [ca, cert, key] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| target.path(name).display().to_string());
    let certificates = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    source.connect().request(&["SET", "k", "v"]);
    let follow = ["import", "--from", &from, "--follow", "-u", &to];
    let (is_content, said) = Following::run(&[&follow[..], &["--cacert", &ca]].concat()).end();
    assert!(!is_content && said.contains("127.0.0.1:"), "{said}");
    let mut following = Following::run(&[&follow[..], &certificates].concat());
    following.await_line("following");
    source.connect().request(&["SET", "later", "w"]);
    let (is_content, said) = following.stop();
    assert!(is_content && said.contains("nothing left"), "{said}");
    assert_eq!(target.connect().text(&["GET", "later"]), "w");

    // And back: strings are of a form that this server knows, too.
    source.connect().request(&["FLUSHALL"]);
    let mut following =
        Following::run(&[&["export", "--to", &from, "--follow", "-u", &to][..], &certificates].concat());
    following.await_line("following");
    target.connect().request(&["SET", "back", "x"]);
    let (is_content, said) = following.stop();
    assert!(is_content && said.contains("nothing left"), "{said}");
    assert_eq!(source.connect().text(&["GET", "back"]), "x");
    let check = [&["export", "--to", &from, "--check", "-u", &to][..], &certificates].concat();
    let same = sterna_tool(&check);
    assert!(same.status.success() && text(&same).contains("all are the same"), "{}", text(&same));
}
