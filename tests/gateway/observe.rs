//! What those who watch over the server read: probes, and metrics, as a real Prometheus takes them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sterna_tests::http::HttpServer;
use sterna_tests::server::{PATIENCE, free_port, wait_for};

use crate::tools::{bearer, done};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .join("docs/monitoring")
}

/// Commands of several kinds, some of them wrong.
fn make_use_of(server: &HttpServer) {
    let mut client = server.server.connect();
    client.request(&["SET", "k", "v", "EX", "100"]);
    client.request(&["GET", "k"]);
    client.request(&["PUBLISH", "news", "hello"]);
    client.request(&["XADD", "s", "*", "f", "v"]);
    client.try_request(&["INCR", "s"]);
}

/// The value of a sample, by all that stands before it.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_say_what_has_happened_in_both_forms() {
    let server = HttpServer::start(2, &[]);
    make_use_of(&server);
    let answer = server.get("/metrics", "");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let text = done(answer);
    for (name, value) in [
        ("redis_commands_total{cmd=\"set\"}", 1.0),
        ("redis_commands_failed_calls_total{cmd=\"incr\"}", 1.0),
        ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
        ("redis_db_keys{db=\"db0\"}", 2.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 1.0),
        ("redis_keyspace_hits_total", 1.0),
        ("sterna_command_duration_seconds_count{cmd=\"xadd\"}", 1.0),
        ("sterna_command_duration_seconds_bucket{cmd=\"xadd\",le=\"+Inf\"}", 1.0),
        ("sterna_published_messages_total", 1.0),
        ("sterna_delivered_messages_total", 0.0),
        ("sterna_delivery_latency_seconds_count", 0.0),
        ("redis_aof_last_write_status", 1.0),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name} in\n{text}");
    }
    let shards: f64 = (0..2)
        .filter_map(|shard| sample(&text, &format!("sterna_shard_commands_total{{shard=\"{shard}\"}}")))
        .sum();
    assert!(shards >= 5.0, "{text}");
    let answer =
        server.get("/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(
        answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        answer.head
    );
    let text = done(answer);
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE redis_commands counter\n"), "{text}");
    assert_eq!(server.send("POST", "/metrics", "", "").status, 405);
}

#[test]
fn metrics_are_for_those_who_may_run_info_unless_they_are_for_all() {
    let users = [
        "--requirepass",
        "secret",
        "--user",
        "scraper on >pass -@all +info",
        "--user",
        "other on >pass +get",
    ];
    let server = HttpServer::start(1, &users);
    assert_eq!(server.get("/metrics", "").status, 401);
    assert_eq!(server.get("/metrics", &bearer("scraper", "wrong")).status, 401);
    assert_eq!(server.get("/metrics", &bearer("other", "pass")).status, 403);
    assert_eq!(server.get("/metrics", &bearer("scraper", "pass")).status, 200);
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(done(server.get(probe, "")), r#"{"status":"ok"}"#, "{probe}");
        assert_eq!(server.post(probe, "", "").status, 405, "{probe}");
    }
    let mut client = server.server.connect();
    client.request(&["AUTH", "secret"]);
    client.request(&["CONFIG", "SET", "http-metrics", "all"]);
    assert_eq!(server.get("/metrics", "Host: sterna.internal:8079").status, 200);
}

#[test]
fn labels_are_bounded_however_many_names_clients_make_up() {
    let server = HttpServer::start(1, &[]);
    let before = done(server.get("/metrics", "")).lines().count();
    let mut client = server.server.connect();
    for n in 0..300 {
        client.try_request(&[&format!("NOSUCH{n}"), "x"]);
        client.try_request(&["EVAL", &format!("return redis.error_reply('WORD{n} text')"), "0"]);
        client.request(&["SET", &format!("key:{n}"), "v"]);
        client.request(&["SUBSCRIBE", &format!("channel:{n}")]);
        client.request(&["UNSUBSCRIBE"]);
    }
    let after = done(server.get("/metrics", "")).lines().count();
    assert!(after < before + 300, "{before} lines, then {after}");
}

/// Time that a process has computed for, in ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = text.rsplit_once(')').expect("the name is in parentheses").1;
    fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok()).expect("a number")
}

#[test]
fn a_script_that_holds_keys_delays_metrics_and_nobody_else() {
    let server = HttpServer::start(2, &["--busy-reply-threshold", "0"]);
    let mut client = server.server.connect();
    client.send(&[
        "EVAL",
        "redis.call('SET', KEYS[1], 'v') while redis.call('GET', KEYS[1]) do end",
        "1",
        "k",
    ]);
    let before = cpu_ticks(server.server.pid());
    wait_for("the script to run", || (cpu_ticks(server.server.pid()) > before + 10).then_some(()));
    let scrape = std::thread::spawn({
        let (port, request) = (server.port, server.request("GET", "/metrics", "", ""));
        move || {
            let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            socket.write_all(request.as_bytes()).expect("the server reads");
            sterna_tests::http::answer_of(&mut socket)
        }
    });
    assert_eq!(server.get("/healthz", "").status, 200);
    assert_eq!(server.get("/readyz", "").status, 200);
    // It is killed with its server, whatever the scrape waits for.
    drop((client, server));
    let _ = scrape.join();
}

/// A Prometheus that scrapes a server, for as long as a test lasts.
struct Prometheus {
    child: Child,
    port: u16,
    #[expect(dead_code, reason = "its files go with it")]
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// `None`: there is none on this machine.
    fn start(server: &HttpServer) -> Option<Prometheus> {
        Command::new("prometheus")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let (port, path) = (free_port(), folder.path().display().to_string());
        let config = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nrule_files: ['{}']\nscrape_configs:\n  - job_name: sterna\n    \
             static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            docs().join("alerts.yml").display(),
            server.port,
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("the folder can be written");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "prometheus"])
            .arg(format!("--config.file={path}/prometheus.yml"))
            .arg(format!("--storage.tsdb.path={path}/data"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be run");
        Some(Prometheus { child, port, folder })
    }

    fn ask(&self, path: &str) -> Option<String> {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        Some(sterna_tests::http::answer_of(&mut socket).ok()?.body)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_prometheus_scrapes_it_and_knows_what_its_rules_ask_for() {
    let server = HttpServer::start(1, &[]);
    make_use_of(&server);
    let Some(prometheus) = Prometheus::start(&server) else {
        return sterna_tests::skipped("metrics against a real Prometheus: there is none");
    };
    wait_for("a scrape", || {
        let answer = prometheus.ask("/api/v1/query?query=redis_commands_total%7Bcmd%3D%22publish%22%7D")?;
        answer.contains("\"1\"").then_some(())
    });
    let targets = prometheus.ask("/api/v1/targets").expect("it answers");
    assert!(targets.contains(r#""lastError":"""#) && targets.contains(r#""health":"up""#), "{targets}");
    let rules =
        wait_for("the rules", || prometheus.ask("/api/v1/rules").filter(|text| text.contains("SternaDown")));
    assert!(!rules.contains(r#""health":"err""#), "{rules}");
}

#[test]
fn promtool_finds_nothing_wrong_with_metrics_and_rules() {
    let server = HttpServer::start(1, &[]);
    make_use_of(&server);
    let text = done(server.get("/metrics", ""));
    let check = |what: &str, path: Option<PathBuf>, input: &str| {
        let mut tool = Command::new("promtool")
            .args(["check", what])
            .args(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        tool.stdin.take().expect("it has one").write_all(input.as_bytes()).expect("it reads");
        let output = tool.wait_with_output().expect("it ends");
        Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let Some(metrics) = check("metrics", None, &text) else {
        return sterna_tests::skipped("metrics and rules with promtool: there is none");
    };
    assert_eq!(metrics, (true, String::new()), "{text}");
    let rules = check("rules", Some(docs().join("alerts.yml")), "").expect("it was there");
    assert!(rules.0, "{}", rules.1);
}

#[test]
fn the_dashboard_and_the_alerts_ask_only_for_what_there_is() {
    let server = HttpServer::start(1, &[]);
    make_use_of(&server);
    let text = done(server.get("/metrics", ""));
    let families: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in ["grafana.json", "alerts.yml"] {
        let asked = std::fs::read_to_string(docs().join(file)).expect("the file is there");
        let words = asked.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let mut named = 0;
        for word in words.filter(|word| word.starts_with("redis_") || word.starts_with("sterna_")) {
            let family = word.trim_end_matches("_bucket");
            assert!(families.contains(family), "{file} asks for {word}");
            named += 1;
        }
        assert!(named > 5, "{file}");
    }
    let dashboard = std::fs::read(docs().join("grafana.json")).expect("the file is there");
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).expect("it is JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 8));
}
