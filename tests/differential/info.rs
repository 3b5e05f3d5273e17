//! INFO: sections and fields that clients and exporters read.

use std::collections::BTreeMap;

use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server};

use super::reference_is_at_least;

/// Fields by section, each read by a client library, by redis-cli or by an exporter.
const READ: &[(&str, &[&str])] = &[
    (
        "Server",
        &[
            "redis_version",
            "redis_mode",
            "os",
            "arch_bits",
            "process_id",
            "run_id",
            "tcp_port",
            "uptime_in_seconds",
            "uptime_in_days",
            "hz",
            "executable",
            "config_file",
        ],
    ),
    ("Clients", &["connected_clients", "maxclients", "blocked_clients", "pubsub_clients"]),
    (
        "Memory",
        &[
            "used_memory",
            "used_memory_human",
            "used_memory_rss",
            "used_memory_peak",
            "maxmemory",
            "maxmemory_policy",
            "mem_fragmentation_ratio",
            "mem_clients_normal",
            "mem_allocator",
        ],
    ),
    ("Persistence", &["loading"]),
    (
        "Stats",
        &[
            "total_connections_received",
            "total_commands_processed",
            "instantaneous_ops_per_sec",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "rejected_connections",
            "expired_keys",
            "evicted_keys",
            "keyspace_hits",
            "keyspace_misses",
            "pubsub_channels",
            "pubsub_patterns",
            "pubsubshard_channels",
            "eventloop_cycles",
            "eventloop_duration_sum",
            "eventloop_duration_cmd_sum",
            "instantaneous_eventloop_cycles_per_sec",
            "instantaneous_eventloop_duration_usec",
        ],
    ),
    ("Replication", &["role", "connected_slaves", "master_repl_offset"]),
    ("CPU", &["used_cpu_sys", "used_cpu_user"]),
    ("Cluster", &["cluster_enabled"]),
];

/// The fields of each section. Panics if a line is neither heading, field nor empty, or doesn't end in CRLF.
fn sections(info: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = String::new();
    for line in info.split("\r\n") {
        assert!(!line.contains('\n'), "a bare line end in {line:?}");
        if let Some(name) = line.strip_prefix("# ") {
            current = name.to_owned();
            assert!(sections.insert(current.clone(), BTreeMap::new()).is_none(), "{name} comes twice");
        } else if !line.is_empty() {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            sections.entry(current.clone()).or_default().insert(name.to_owned(), value.to_owned());
        }
    }
    sections
}

fn info(client: &mut Client, words: &[&str]) -> BTreeMap<String, BTreeMap<String, String>> {
    sections(&client.text(&[&["INFO"], words].concat()))
}

#[test]
fn info_has_the_fields_that_clients_and_exporters_read() {
    let mut servers = vec![Server::sterna(2, &[])];
    if reference_is_at_least(8) {
        servers.push(Launch::reference().start());
    }
    for server in servers {
        let all = info(&mut server.connect(), &[]);
        for (section, fields) in READ {
            let found =
                all.get(*section).unwrap_or_else(|| panic!("{} has no section {section}", server.name()));
            let missing: Vec<&&str> = fields.iter().filter(|field| !found.contains_key(**field)).collect();
            assert!(missing.is_empty(), "{}: section {section} lacks {missing:?}", server.name());
        }
    }
}

#[test]
fn every_field_of_info_that_redis_has_too_is_in_the_same_section() {
    let (redis, sterna) = (Launch::reference().start(), Server::sterna(2, &[]));
    let [expected, got] = [&redis, &sterna].map(|server| info(&mut server.connect(), &["everything"]));
    let place =
        |field: &str| expected.iter().find(|(_, fields)| fields.contains_key(field)).map(|(name, _)| name);
    let mut misplaced = Vec::new();
    for (section, fields) in &got {
        for field in fields.keys() {
            if place(field).is_some_and(|redis| redis != section) {
                misplaced
                    .push(format!("{field}: {section} instead of {}", place(field).expect("just found")));
            }
        }
    }
    assert!(misplaced.is_empty(), "{misplaced:?}");
}

#[test]
fn sections_of_info_are_chosen_by_name_in_any_case() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    let names = |client: &mut Client, words: &[&str]| info(client, words).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&mut client, &["REPLICATION"]), ["Replication"]);
    assert_eq!(names(&mut client, &["server", "Clients"]), ["Clients", "Server"]);
    assert_eq!(client.text(&["INFO", "nosuch"]), "");
    let (default, everything) = (names(&mut client, &[]), names(&mut client, &["everything"]));
    assert!(default.iter().all(|name| everything.contains(name)));
    assert!(everything.contains(&"Commandstats".to_owned()) && !default.contains(&"Commandstats".to_owned()));
}

#[test]
fn the_figures_of_info_are_true() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    let field = |client: &mut Client, section: &str, name: &str| {
        info(client, &["everything"])
            .remove(section)
            .and_then(|mut fields| fields.remove(name))
            .unwrap_or_default()
    };
    let mut subscriber = server.connect_resp3();
    subscriber.request(&["SUBSCRIBE", "a"]);
    subscriber.request(&["PSUBSCRIBE", "a*"]);
    subscriber.request(&["SSUBSCRIBE", "s"]);
    client.request(&["SET", "k", "v"]);
    client.request(&["SET", "l", "v", "EX", "1000"]);
    client.request(&["GET", "k"]);
    client.request(&["GET", "nothing"]);
    for _ in 0..3 {
        client.request(&["PUBLISH", "a", "x"]);
    }
    client.send(&["INCR", "k"]);
    client.error();
    let figures = [
        ("Clients", "connected_clients", "2"),
        ("Clients", "pubsub_clients", "1"),
        ("Stats", "pubsub_channels", "1"),
        ("Stats", "pubsub_patterns", "1"),
        ("Stats", "pubsubshard_channels", "1"),
        ("Stats", "keyspace_hits", "1"),
        ("Stats", "keyspace_misses", "1"),
        ("Errorstats", "errorstat_ERR", "count=1"),
    ];
    for (section, name, expected) in figures {
        assert_eq!(field(&mut client, section, name), expected, "{name}");
    }
    let keys = field(&mut client, "Keyspace", "db0");
    assert!(keys.starts_with("keys=2,expires=1,avg_ttl="), "{keys}");
    let publish = field(&mut client, "Commandstats", "cmdstat_publish");
    assert!(
        publish.starts_with("calls=3,usec=") && publish.ends_with("rejected_calls=0,failed_calls=0"),
        "{publish}"
    );
    let incr = field(&mut client, "Commandstats", "cmdstat_incr");
    assert!(incr.ends_with("rejected_calls=0,failed_calls=1"), "{incr}");
    client.request(&["CONFIG", "RESETSTAT"]);
    assert_eq!(field(&mut client, "Commandstats", "cmdstat_publish"), "");
    assert_eq!(field(&mut client, "Stats", "keyspace_hits"), "0");
}

#[test]
fn messages_are_counted_on_every_shard_and_timed_to_the_socket() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    let field = |client: &mut Client, name: &str| {
        info(client, &["Messages"])
            .remove("Messages")
            .and_then(|mut fields| fields.remove(name))
            .unwrap_or_default()
    };
    let mut subscribers: Vec<Client> = std::iter::repeat_with(|| server.connect_resp3()).take(4).collect();
    for subscriber in &mut subscribers {
        subscriber.request(&["SUBSCRIBE", "a"]);
    }
    for _ in 0..100 {
        assert_eq!(client.int(&["PUBLISH", "a", "hello"]), 4);
    }
    client.request(&["PUBLISH", "nobody", "hello"]);
    for subscriber in &mut subscribers {
        for _ in 0..100 {
            subscriber.value();
        }
    }
    let figures = ["published_messages", "published_bytes", "delivered_messages"];
    assert_eq!(figures.map(|name| field(&mut client, name)), ["101", "505", "400"]);
    // The last byte is sent before its time is taken.
    let samples = |client: &mut Client| field(client, "delivery_latency_samples").parse::<u64>();
    while samples(&mut client).is_ok_and(|samples| samples == 0) {
        client.request(&["PUBLISH", "a", "x"]);
    }
    let percentiles = field(&mut client, "delivery_latency_percentiles_usec");
    assert!(percentiles.starts_with("p50=") && percentiles.contains(",p99="), "{percentiles}");
    client.request(&["CONFIG", "RESETSTAT"]);
    assert_eq!(field(&mut client, "published_messages"), "0");
}
