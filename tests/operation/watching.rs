//! `sterna top`, `sterna tail` and `sterna lag`: what one sees of a server from outside, while it works.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use sterna_tests::server::{PATIENCE, Server, sterna_binary, sterna_tool, wait_for};

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

/// A tool that prints lines, ended when this is dropped.
struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    fn of(words: &[&str]) -> Lines {
        let mut child = Command::new(sterna_binary())
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Lines { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn tail_prints_a_stream_from_where_it_is_told_and_goes_on_after_a_restart_with_nothing_twice() {
    let mut server = Server::sterna(2, &["--appendfsync", "always"]);
    let url = url(&server);
    let mut client = server.connect();
    for n in 1..=3 {
        client.request(&words(&format!("XADD s {n}-0 n {n}")));
    }
    let all = Lines::of(&["tail", "-u", &url, "--from", "0", "--json", "s"]);
    let last = Lines::of(&["tail", "-u", &url, "-n", "1", "s"]);
    assert_eq!(last.next(), "s 3-0 n=3");
    for n in 1..=3 {
        assert_eq!(all.next(), format!(r#"{{"stream":"s","id":"{n}-0","fields":[["n","{n}"]]}}"#));
    }
    client.request(&["XADD", "s", "4-0", "two words", "a\nb"]);
    assert_eq!(last.next(), r#"s 4-0 "two words"="a\nb""#);
    assert_eq!(all.next(), r#"{"stream":"s","id":"4-0","fields":[["two words","a\u000ab"]]}"#);
    for n in 5..7 {
        server.kill();
        // The tools come back to the same port.
        server.start_again_at(server.port);
        server.connect().request(&words(&format!("XADD s {n}-0 n {n}")));
        assert_eq!(last.next(), format!("s {n}-0 n={n}"));
        assert!(all.next().contains(&format!(r#""id":"{n}-0""#)));
    }
}

#[test]
fn tail_tells_channels_from_streams_and_prints_a_line_for_each_message() {
    let server = Server::sterna(2, &[]);
    let url = url(&server);
    let mut client = server.connect();
    client.request(&words("XADD stream 1-0 f v"));
    let mixed = sterna_tool(&["tail", "-u", &url, "stream", "channel"]);
    assert!(
        !mixed.status.success() && String::from_utf8_lossy(&mixed.stderr).contains("--stream"),
        "{mixed:?}"
    );
    for (tool, expected) in [
        (vec!["tail", "-u", &url, "channel"], r"channel a\x1b\nb"),
        (
            vec!["tail", "-u", &url, "-g", "chan*", "--json"],
            r#"{"pattern":"chan*","channel":"channel","message":"a\u001b\u000ab"}"#,
        ),
        (vec!["tail", "-u", &url, "--channel", "channel", "stream"], r"channel a\x1b\nb"),
    ] {
        let lines = Lines::of(&tool);
        wait_for("tail to listen", || (client.int(&["PUBLISH", "channel", "a\x1b\nb"]) == 1).then_some(()));
        assert_eq!(lines.next(), expected);
        drop(lines);
        wait_for("tail to be gone", || (client.int(&["PUBLISH", "channel", "a\x1b\nb"]) == 0).then_some(()));
    }
    // A stream that is not there yet.
    let lines = Lines::of(&["tail", "-u", &url, "--stream", "later", "stream"]);
    wait_for("tail to wait", || client.text(&["CLIENT", "LIST"]).contains("cmd=xread").then_some(()));
    client.request(&words("XADD later 1-0 f v"));
    assert_eq!(lines.next(), "later 1-0 f=v");
}

#[test]
fn lag_says_how_far_groups_are_behind_and_ends_with_2_where_that_is_too_far() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--user", "watcher on >pw -@all %R~* +scan +xinfo +xpending"]);
        let url = url(&server);
        let mut client = server.connect();
        for key in ["a", "b", "c"] {
            (1..=5).for_each(|n| drop(client.request(&words(&format!("XADD {key} {n}-0 f v")))));
        }
        client.request(&words("XGROUP CREATE a slow 0"));
        client.request(&words("XGROUP CREATE a done $"));
        client.request(&words("XGROUP CREATE b g 0"));
        client.request(&words("XREADGROUP GROUP g one COUNT 2 STREAMS b >"));
        client.request(&words("SET text x"));
        let lag = |more: &[&str]| -> Output { sterna_tool(&[&["lag", "-u", &url], more].concat()) };
        let all = lag(&["--json"]);
        assert_eq!(all.status.code(), Some(0), "{all:?}");
        let rows: Vec<Json> = String::from_utf8_lossy(&all.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect();
        let figures: Vec<_> = (rows.iter())
            .map(|row| {
                (row["stream"].as_str(), row["group"].as_str(), row["lag"].as_u64(), row["pending"].as_u64())
            })
            .collect();
        let row = |stream, group, lag, pending| (Some(stream), Some(group), Some(lag), Some(pending));
        assert_eq!(figures, [row("a", "slow", 5, 0), row("b", "g", 3, 2), row("a", "done", 0, 0)]);
        assert_eq!(rows[1]["oldest_pending"]["id"], "1-0");
        assert_eq!(rows[1]["consumers"][0]["name"], "one");
        let status = |more: &[&str]| lag(more).status.code();
        assert_eq!(status(&["--max", "5"]), Some(0));
        assert_eq!(status(&["--max", "4"]), Some(2));
        assert_eq!(status(&["--max", "4", "b"]), Some(0));
        assert_eq!(status(&["--max", "0", "--user", "watcher", "-a", "pw"]), Some(2));
        assert_eq!(status(&["--max-pending", "3600"]), Some(0));
        assert_eq!(sterna_tool(&["lag", "-p", "1", "--max", "4"]).status.code(), Some(1));
        let table = String::from_utf8_lossy(&lag(&[]).stdout).into_owned();
        assert!(table.starts_with("STREAM  GROUP  BEHIND"), "{table}");
    }
}

/// Publishes and subscribes until it is dropped.
struct Load(Arc<Mutex<bool>>, Vec<thread::JoinHandle<()>>);

impl Load {
    fn on(server: &Server) -> Load {
        let goes_on = Arc::new(Mutex::new(true));
        let is_on = || {
            let goes_on = Arc::clone(&goes_on);
            move || *goes_on.lock().expect("nobody panics with it")
        };
        let mut subscriber = server.connect();
        subscriber.request(&["SUBSCRIBE", "news"]);
        let (mut publisher, publishes, reads) = (server.connect(), is_on(), is_on());
        let publish = move || {
            while publishes() {
                publisher.request(&["PUBLISH", "news", "hello"]);
            }
        };
        let read = move || {
            while reads() {
                subscriber.frame(std::time::Duration::from_millis(50));
            }
        };
        Load(goes_on, vec![thread::spawn(publish), thread::spawn(read)])
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        *self.0.lock().expect("nobody panics with it") = false;
        self.1.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Whether messages were published and delivered in this interval, and each place says so.
fn has_happened(figures: &Json, shards: usize) -> bool {
    let number =
        |at: &str| figures.pointer(at).and_then(Json::as_f64).unwrap_or_else(|| panic!("{at} in {figures}"));
    assert_eq!(figures["shards"].as_array().map(Vec::len), Some(shards), "{figures}");
    let by_shard: f64 = (0..shards).map(|shard| number(&format!("/shards/{shard}/published_per_s"))).sum();
    let rates = [number("/messages/published_per_s"), number("/messages/delivered_per_s"), by_shard];
    let commands = figures["commands"].as_array().expect("a list");
    let publish = commands.iter().find(|row| row["command"] == "publish");
    rates.iter().all(|&rate| rate > 0.0)
        && figures["messages"]["to_socket"]["p99_us"].as_u64() > Some(0)
        && publish.is_some_and(|row| row["took"]["p99_us"].as_u64() > Some(0))
}

#[test]
fn top_as_json_says_what_happens_to_whom() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--user", "info on >pw -@all +info"]);
        let url = url(&server);
        let mut client = server.connect();
        client.request(&words("XGROUP CREATE jobs workers 0 MKSTREAM"));
        (0..7).for_each(|_| drop(client.request(&words("XADD jobs * f v"))));
        let _load = Load::on(&server);
        let figures = wait_for("an interval in which all of it happens", || {
            let output = sterna_tool(&["top", "-u", &url, "--once", "--json", "-i", "0.2"]);
            assert!(output.status.success(), "{output:?}");
            let figures: Json = serde_json::from_slice(&output.stdout).expect("JSON");
            has_happened(&figures, shards).then_some(figures)
        });
        assert_eq!(
            (&figures["groups"][0]["group"], &figures["groups"][0]["lag"]),
            (&"workers".into(), &7.into())
        );
        // Who may see little sees that.
        let output =
            sterna_tool(&["top", "-u", &url, "--user", "info", "-a", "pw", "--once", "--json", "-i", "0.1"]);
        let figures: Json = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(figures["groups"].is_null() && figures["commands_per_s"].as_f64() > Some(0.0), "{figures}");
    }
}

/// A terminal of 80 by 24, and what is on it.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs `sterna top`, and then says how the terminal was left.
    fn of(words: &[&str]) -> Terminal {
        let run = format!(
            "stty rows 24 cols 80; sh -c 'echo pid=$$.; exec \"{}\" {}'; echo; echo status=$?.; stty -a",
            sterna_binary().display(),
            words.join(" ")
        );
        let mut child = Command::new("script")
            .args(["-qfec", &run, "/dev/null"])
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        let (keys, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = output.read(&mut bytes) {
                if n == 0 {
                    return;
                }
                sink.lock().expect("nobody panics with it").extend_from_slice(&bytes[..n]);
            }
        });
        Terminal { child, keys, seen }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("nobody panics with it")).into_owned()
    }

    /// The lines of the screen.
    fn screen(&self) -> String {
        let mut screen = vec![vec![' '; 80]; 24];
        let (mut x, mut y) = (0, 0);
        let text = self.text();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\x1b' if letters.next_if_eq(&'[').is_some() => {
                    let mut numbers = String::new();
                    let end = letters.find(|letter| {
                        numbers.push(*letter);
                        letter.is_ascii_alphabetic()
                    });
                    let mut numbers =
                        numbers.trim_end_matches(char::is_alphabetic).split(';').map(str::parse::<usize>);
                    match end {
                        Some('H') => {
                            y = numbers.next().and_then(Result::ok).unwrap_or(1) - 1;
                            x = numbers.next().and_then(Result::ok).unwrap_or(1) - 1;
                        }
                        Some('J') => screen.iter_mut().for_each(|line| line.fill(' ')),
                        _ => {}
                    }
                }
                letter if letter.is_control() => {}
                letter => {
                    if let Some(cell) = screen.get_mut(y).and_then(|line| line.get_mut(x)) {
                        *cell = letter;
                    }
                    x += 1;
                }
            }
        }
        screen.iter().map(|line| line.iter().collect::<String>() + "\n").collect()
    }

    fn await_screen(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        wait_for(what, || Some(self.screen()).filter(|screen| is_there(screen)))
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it reads");
    }

    /// Waits for the end, and that the terminal is as it was.
    fn is_left_as_it_was(&self) {
        let text = wait_for("its end", || {
            Some(self.text()).filter(|text| text.contains("cchar") || text.contains("iutf8"))
        });
        let left = &text[text.rfind("status=").expect("it has ended")..];
        assert!(text.contains("\x1b[?1049l") && text.contains("\x1b[?25h"), "{left}");
        assert!(left.contains(" icanon") && left.contains(" echo ") && !left.contains("-icanon"), "{left}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- the screen ---\n{}", self.screen());
        }
    }
}

#[test]
fn top_in_a_terminal_shows_figures_obeys_keys_comes_back_and_leaves_the_terminal_as_it_was() {
    if Command::new("script").arg("--version").output().is_err() {
        return sterna_tests::skipped("needs script, of bsdutils");
    }
    let mut server = Server::sterna(2, &[]);
    let port = server.port;
    let mut client = server.connect();
    client.request(&words("XGROUP CREATE jobs workers 0 MKSTREAM"));
    (0..7).for_each(|_| drop(client.request(&words("XADD jobs * f v"))));
    let load = Load::on(&server);
    let mut terminal = Terminal::of(&["top", "-p", &port.to_string(), "-i", "0.2"]);
    let is_working = |screen: &str| {
        let line =
            |start: &str| screen.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        !line("messages").contains(" 0/s published")
            && line("messages").contains("/s published")
            && line("publish").contains("us")
            && line("jobs").contains("workers")
            && line("SHARD").contains("by number")
    };
    let screen = terminal.await_screen("figures", is_working);
    assert!(screen.lines().nth(23).is_some_and(|line| line.starts_with("q quit")), "{screen}");
    assert!((1..8).all(|colour| !terminal.text().contains(&format!(";3{colour}m"))), "a colour");
    // Every table sorts by the next, and one may have all lines.
    terminal.press("s");
    terminal.await_screen("another order", |screen| screen.contains("COMMAND by load"));
    terminal.press("z");
    terminal
        .await_screen("one table", |screen| !screen.contains("SHARD") && screen.contains("COMMAND by load"));
    terminal.press("z p");
    terminal.await_screen("all tables", |screen| screen.contains("SHARD"));
    terminal.press("p");
    terminal.await_screen("a pause", |screen| screen.contains("PAUSED"));
    terminal.press("p");
    drop((load, client));
    server.kill();
    terminal.await_screen("that it is away", |screen| screen.contains("AWAY"));
    server.start_again_at(port);
    terminal.await_screen("that it is back", |screen| !screen.contains("AWAY") && screen.contains("q quit"));
    terminal.press("q");
    terminal.is_left_as_it_was();

    let terminal = Terminal::of(&["top", "-p", &port.to_string(), "-i", "0.2"]);
    terminal.await_screen("figures", |screen| screen.contains("q quit"));
    let text = terminal.text();
    let pid = text.split("pid=").nth(1).and_then(|text| text.split('.').next()?.parse().ok());
    kill_process(pid.and_then(Pid::from_raw).expect("a number"), Signal::INT).expect("it runs");
    terminal.is_left_as_it_was();
}
