//! Snapshots that nodes keep for each other (`cluster-snapshots`): who lacks what was removed from the log begins with one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sterna_tests::client::Client;
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, Server, free_port, wait_for};
use sterna_tests::skipped;
use tempfile::TempDir;

use crate::keys::{await_same, keys_node, leader, log, reader};
use crate::tools::{figure, payload, subscribe};

/// A cluster whose log may take a megabyte, and which keeps snapshots in a directory.
struct Cluster {
    nats: Nats,
    name: String,
    place: String,
    folder: TempDir,
}

impl Cluster {
    fn new() -> Option<Cluster> {
        let (nats, name) = log(1)?;
        let folder = tempfile::tempdir().expect("a folder");
        let place = format!("file://{}", folder.path().display());
        Some(Cluster { nats, name, place, folder })
    }

    fn node(&self) -> Launch {
        let args = ["--cluster-log-size", "1mb", "--cluster-snapshots", &self.place];
        keys_node(&self.name, &self.nats.url(0)).args(&args)
    }

    /// What is in the directory, with the oldest first; what is not complete has another name.
    fn snapshots(&self) -> Vec<PathBuf> {
        let mut found = files(self.folder.path());
        found.retain(|path| path.extension().is_some_and(|ending| ending == "snapshot"));
        found.sort();
        found
    }
}

/// All files in a folder and in those within, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

/// Writes until the log has been trimmed so often, at whichever node leads.
fn write_until_trimmed(nodes: &[Server], times: usize) {
    let mut client = leader(nodes).connect();
    let long = vec![b'l'; 50_000];
    let mut n = 0;
    let trimmed = || nodes.iter().map(|node| node.log().matches("the log is trimmed").count()).sum::<usize>();
    let before = trimmed();
    wait_for("the log to be trimmed", || {
        for _ in 0..4 {
            n += 1;
            client.request(&[b"SET", format!("long:{}", n % 40).as_bytes(), &long]);
        }
        (trimmed() >= before + times).then_some(())
    });
}

/// How many snapshots a node has loaded since its start; it says so once it has looked at the log.
fn loaded(node: &Server) -> u64 {
    figure(node, "cluster_snapshots_loaded").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Of every kind, in more than one database, and what is no key.
fn write_all_kinds(client: &mut Client) {
    let requests: &[&[&str]] = &[
        &["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 7 end)"],
        &["SET", "text", "v", "EX", "100000"],
        &["RPUSH", "list", "a", "b"],
        &["HSET", "hash", "f", "v"],
        &["SADD", "set", "m"],
        &["ZADD", "sorted", "1", "m"],
        &["XADD", "stream", "*", "f", "v"],
        &["XGROUP", "CREATE", "stream", "g", "0"],
        &["XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">"],
        &["SELECT", "3"],
        &["SET", "in", "3"],
        &["SWAPDB", "3", "5"],
        &["SELECT", "0"],
    ];
    for request in requests {
        client.request(request);
    }
}

#[test]
fn a_node_that_is_new_or_was_away_begins_with_a_snapshot_and_goes_on_with_the_log() {
    let Some(cluster) = Cluster::new() else { return };
    let mut nodes: Vec<Server> = (0..2).map(|_| cluster.node().start()).collect();
    let at = usize::from(leader(&nodes).pid() == nodes[0].pid());
    let mut away = nodes.remove(at);
    let mut client = leader(&nodes).connect();
    client.request(&["SET", "gone", "before"]);
    await_same(nodes.iter().chain([&away]));
    away.kill();
    client.request(&["DEL", "gone"]);
    write_all_kinds(&mut client);
    write_until_trimmed(&nodes, 1);

    // Messages go through a node from its start on.
    let fresh = cluster.node().start();
    let mut listens = fresh.connect();
    subscribe(&mut listens, "SUBSCRIBE", "news");
    client.request(&["PUBLISH", "news", "hello"]);
    assert_eq!(payload(&mut listens), b"hello");
    away.start_again();
    nodes.extend([away, fresh]);
    for node in &nodes[1..] {
        wait_for("a snapshot to be loaded", || (loaded(node) == 1).then_some(()));
    }
    await_same(&nodes);
    assert_eq!(nodes[1].connect().int(&["EXISTS", "gone"]), 0);
    client.request(&["SET", "text", "later"]);
    await_same(&nodes);
    for node in &nodes[1..] {
        let mut reader = reader(node);
        assert_eq!(reader.text(&["GET", "text"]), "later");
        reader.request(&["SELECT", "5"]);
        assert_eq!(reader.text(&["GET", "in"]), "3");
    }

    // From then on they have it in journals of their own, and lead from there.
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes[1..] {
        node.start_again();
    }
    let mut client = leader(&nodes[1..]).connect();
    assert_eq!(client.text(&["GET", "text"]), "later");
    assert_eq!(client.int(&["FCALL", "f", "0"]), 7);
    assert_eq!(nodes[1..].iter().map(loaded).sum::<u64>(), 0, "the journal has it");
    client.request(&["SET", "text", "last"]);
    nodes[0].start_again();
    await_same(&nodes);
}

#[test]
fn a_snapshot_that_is_damaged_is_refused_and_the_one_before_is_used() {
    let Some(cluster) = Cluster::new() else { return };
    let nodes = [cluster.node().start()];
    write_until_trimmed(&nodes, 2);
    let mut client = leader(&nodes).connect();
    // One that a node was writing when it was killed, one of which a part is there, and one with another byte.
    let kept = cluster.snapshots();
    let (folder, bytes) = (kept[0].parent().expect("a folder"), fs::read(&kept[0]).expect("it can be read"));
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    let damaged: [(&str, &[u8]); 3] = [
        ("00000000000000000001-00000000.snapshot#1", b"unfinished"),
        ("09999999999999999998-00000000.snapshot", &bytes[..bytes.len() - 20]),
        ("09999999999999999999-00000000.snapshot", &other),
    ];
    for (name, bytes) in damaged {
        fs::write(folder.join(name), bytes).expect("it can be written");
    }
    let second = cluster.node().start();
    wait_for("a snapshot to be loaded", || (loaded(&second) == 1).then_some(()));
    assert_eq!(second.log().matches("a snapshot can't be used").count(), 2, "{}", second.log());
    await_same(nodes.iter().chain([&second]));
    // By the next one that is begun; a trim may follow one from before.
    wait_for("what was begun to be removed", || {
        write_until_trimmed(&nodes, 1);
        (!folder.join(damaged[0].0).exists()).then_some(())
    });
    wait_for("old ones to be removed", || (cluster.snapshots().len() <= 2 + 2).then_some(()));

    // Where there is none a node waits for one, serves messages, and passes commands on.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let place = format!("file://{}", elsewhere.path().display());
    let third = cluster.node().args(&["--cluster-snapshots", &place]).start();
    third.await_log("it to find none", |log| log.contains("there is no snapshot that goes as far"));
    let (mut there, mut listens) = (third.connect(), third.connect());
    subscribe(&mut listens, "SUBSCRIBE", "news");
    client.request(&["PUBLISH", "news", "hello"]);
    assert_eq!(payload(&mut listens), b"hello");
    there.request(&["SET", "key", "passed on"]);
    assert_eq!(client.text(&["GET", "key"]), "passed on");
    assert_eq!(figure(&third, "cluster_log_role").as_deref(), Some("restoring"));
    wait_for("a snapshot to be loaded", || {
        for path in cluster.snapshots() {
            let to = elsewhere.path().join(path.strip_prefix(cluster.folder.path()).expect("it is there"));
            fs::create_dir_all(to.parent().expect("a folder")).expect("it can be made");
            // It may be removed meanwhile.
            let _ = fs::copy(&path, &to);
        }
        (loaded(&third) == 1).then_some(())
    });
    await_same(nodes.iter().chain([&second, &third]));
}

#[test]
fn a_node_without_snapshots_stops_where_it_lacks_something_and_goes_on_with_them() {
    let Some(cluster) = Cluster::new() else { return };
    let nodes = [cluster.node().start()];
    write_until_trimmed(&nodes, 1);
    let ended = keys_node(&cluster.name, &cluster.nats.url(0)).run();
    assert!(
        ended.log.contains("put a backup of another node in the place of its directory"),
        "{}",
        ended.log
    );
    // A place that is none is refused at the start.
    let refused =
        keys_node(&cluster.name, &cluster.nats.url(0)).args(&["--cluster-snapshots", "/var/lib"]).run();
    assert!(refused.log.contains("cluster-snapshots: it must be file:///directory or s3://bucket/prefix"));
    let joins = cluster.node().start();
    wait_for("a snapshot to be loaded", || (loaded(&joins) == 1).then_some(()));
    await_same(nodes.iter().chain([&joins]));
}

/// A server of S3's protocol, with a bucket; `None`: this machine has none.
fn s3() -> Option<(Background, u16)> {
    let python = std::env::var_os("PYTHON")?;
    let has_one =
        Command::new(&python).args(["-c", "import moto.server, flask_cors"]).stderr(Stdio::null()).status();
    if !has_one.is_ok_and(|status| status.success()) {
        return None;
    }
    let port = free_port();
    let run = format!("from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])");
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&python)
        .args(["-c", &run])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv is there");
    let server = Background(child);
    wait_for("a bucket", || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request =
            "PUT /shelf HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
    Some((server, port))
}

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn snapshots_can_be_kept_in_s3() {
    let Some(cluster) = Cluster::new() else { return };
    let Some((_s3, port)) = s3() else { return skipped("needs PYTHON with moto; ./test installs it") };
    let node = || {
        let endpoint = format!("http://127.0.0.1:{port}");
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        let launch = cluster.node().args(&["--cluster-snapshots", "s3://shelf/of/sterna"]);
        environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    };
    let nodes = [node().start()];
    let mut client = leader(&nodes).connect();
    // More than one part of an upload.
    client.request(&[b"SET".as_slice(), b"long", &vec![b'l'; 40 << 20]]);
    write_all_kinds(&mut client);
    write_until_trimmed(&nodes, 1);
    let fresh = node().start();
    wait_for("a snapshot to be loaded", || (loaded(&fresh) == 1).then_some(()));
    await_same(nodes.iter().chain([&fresh]));
    assert!(cluster.snapshots().is_empty());
}
