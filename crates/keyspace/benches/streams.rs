//! What stream commands cost, and that the cost does not grow with the stream: `cargo bench -p sterna-keyspace --bench
//! streams`.
//!
//! A command runs as a shard runs it, from parsed arguments to the reply in a buffer, without a socket. The streams of
//! the size tests hold up to 10⁷ entries (about 280 MB).

use std::hint::black_box;

use divan::Bencher;
use sterna_command::Command;
use sterna_keyspace::{
    COMMANDS, Caller, Changes, Ctx, KeyGroup, KeyHash, Outcome, Partition, Run, Space, Wants,
};
use sterna_protocol::{Args, Limits, Parser, Progress, Proto, Reply};

fn main() {
    divan::main();
}

const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// A keyspace of one partition and one client.
struct Server {
    partition: Partition,
    log: Changes,
    parser: Parser,
    out: Vec<u8>,
    now_ms: u64,
}

impl Server {
    fn new(wants: Wants) -> Server {
        Server {
            partition: Partition::new(KeyHash::random(), 1),
            log: Changes::new(wants),
            parser: Parser::default(),
            out: Vec::new(),
            now_ms: 1_700_000_000_000,
        }
    }

    /// Runs a request as it came from the wire.
    fn run(&mut self, request: &[u8]) {
        self.log.logged(None);
        self.log.clear();
        self.out.clear();
        let progress = self.parser.parse(request, &Limits::default());
        assert_eq!(progress, Ok(Progress::Request { consumed: request.len() }));
        let args = self.parser.args(request);
        let caller = Caller {
            client: 1,
            shard: 0,
            proto: Proto::Resp2,
            may_block: false,
            may_yield: false,
            touches: true,
            group: KeyGroup::WHOLE,
        };
        let space = Space::one(&mut self.partition);
        let mut ctx = Ctx { space, db: 0, now_ms: self.now_ms, log: &mut self.log, caller };
        let mut reply = Reply::new(&mut self.out, Proto::Resp2);
        let outcome = command(args)(&mut ctx, args, &mut reply);
        assert!(matches!(outcome, Ok(Outcome::Replied)), "{outcome:?}");
    }

    /// A stream `s` of `entries` entries, 1-0, 2-0…, of one field with 20 bytes.
    fn fill(&mut self, entries: u64) {
        for ms in 1..=entries {
            self.run(&request(&["XADD", "s", &format!("{ms}-0"), "field", VALUE]));
        }
    }
}

const VALUE: &str = "twenty bytes of text";

/// The server's table is a map; here a scan over the few names that are used.
fn command(args: Args<'_>) -> Run {
    let row =
        COMMANDS.iter().find(|row: &&Command<Run>| args[0].eq_ignore_ascii_case(row.spec.name.as_bytes()));
    let row = row.expect("a command that exists");
    row.run.unwrap_or_else(|| {
        let sub = row.subcommands.iter().find(|sub| args[1].eq_ignore_ascii_case(sub.spec.name.as_bytes()));
        sub.and_then(|sub| sub.run).expect("a subcommand that exists")
    })
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
    bytes
}

/// The table's scan and the parser: what every figure below contains.
#[divan::bench]
fn xlen(bencher: Bencher<'_, '_>) {
    let mut server = Server::new(Wants::default());
    server.fill(100);
    let request = request(&["XLEN", "s"]);
    bencher.bench_local(|| server.run(black_box(&request)));
}

#[divan::bench(args = [false, true])]
fn xadd(bencher: Bencher<'_, '_>, effects: bool) {
    let mut server = Server::new(Wants { effects, ..Wants::default() });
    let request = request(&["XADD", "s", "*", "field", VALUE]);
    bencher.bench_local(|| {
        server.now_ms += 1;
        server.run(black_box(&request));
    });
}

#[divan::bench(args = [false, true])]
fn xadd_maxlen(bencher: Bencher<'_, '_>, effects: bool) {
    let mut server = Server::new(Wants { effects, ..Wants::default() });
    let request = request(&["XADD", "s", "MAXLEN", "~", "10000", "*", "field", VALUE]);
    (0..20_000).for_each(|_| server.run(&request));
    bencher.bench_local(|| {
        server.now_ms += 1;
        server.run(black_box(&request));
    });
}

#[divan::bench]
fn xread_100(bencher: Bencher<'_, '_>) {
    let mut server = Server::new(Wants::default());
    server.fill(10_000);
    let request = request(&["XREAD", "COUNT", "100", "STREAMS", "s", "5030-0"]);
    bencher.bench_local(|| server.run(black_box(&request)));
}

#[divan::bench(args = SIZES, max_time = 0.5)]
fn xrange_100_anywhere(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = Server::new(Wants::default());
    server.fill(entries);
    let mut random = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| request(&["XRANGE", "s", &random.u64(1..entries).to_string(), "+", "COUNT", "100"]))
        .bench_local_values(|request| server.run(black_box(&request)));
}

#[divan::bench(args = SIZES, max_time = 0.5)]
fn xdel_anywhere(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = Server::new(Wants::default());
    server.fill(entries);
    let mut random = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| request(&["XDEL", "s", &format!("{}-0", random.u64(1..entries))]))
        .bench_local_values(|request| server.run(black_box(&request)));
}

/// Each round removes the oldest 10 entries of what is left.
#[divan::bench(args = SIZES, max_time = 0.5)]
fn xtrim_minid_10(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = Server::new(Wants::default());
    server.fill(entries);
    let mut min = 0;
    bencher
        .with_inputs(|| {
            min += 10;
            request(&["XTRIM", "s", "MINID", &min.to_string()])
        })
        .bench_local_values(|request| server.run(black_box(&request)));
}

/// A stream with `entries` entries, all pending for one consumer.
fn pending(entries: u64) -> Server {
    let mut server = Server::new(Wants::default());
    server.fill(entries);
    server.run(&request(&["XGROUP", "CREATE", "s", "g", "0"]));
    server.run(&request(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"]));
    server.out.shrink_to(1 << 20);
    server
}

/// Reads ten new entries; the cursor is set back when it comes to the end, outside the measurement.
#[divan::bench(args = [false, true])]
fn xreadgroup_10(bencher: Bencher<'_, '_>, effects: bool) {
    const ENTRIES: u64 = 1_000_000;
    let mut server = Server::new(Wants { effects, ..Wants::default() });
    server.fill(ENTRIES);
    let read = request(&["XREADGROUP", "GROUP", "g", "c", "COUNT", "10", "STREAMS", "s", ">"]);
    server.run(&request(&["XGROUP", "CREATE", "s", "g", "0"]));
    let mut left = ENTRIES;
    let server = std::cell::RefCell::new(server);
    bencher
        .with_inputs(|| {
            left = left.saturating_sub(10);
            if left < 10 {
                left = ENTRIES;
                server.borrow_mut().run(&request(&["XGROUP", "DESTROY", "s", "g"]));
                server.borrow_mut().run(&request(&["XGROUP", "CREATE", "s", "g", "0"]));
            }
        })
        .bench_local_values(|()| server.borrow_mut().run(black_box(&read)));
}

#[divan::bench(args = SIZES, max_time = 0.5)]
fn xack_10(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = pending(entries);
    let mut random = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| {
            let first = random.u64(1..entries - 10);
            let ids: Vec<String> = (first..first + 10).map(|ms| format!("{ms}-0")).collect();
            let mut words = vec!["XACK", "s", "g"];
            words.extend(ids.iter().map(String::as_str));
            request(&words)
        })
        .bench_local_values(|request| server.run(black_box(&request)));
}

#[divan::bench(args = SIZES, max_time = 0.5)]
fn xautoclaim_100(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = pending(entries);
    let mut random = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| {
            let start = random.u64(1..entries).to_string();
            request(&["XAUTOCLAIM", "s", "g", "d", "0", &start, "COUNT", "100"])
        })
        .bench_local_values(|request| server.run(black_box(&request)));
}

/// Reads and acknowledges one entry in one group of many.
#[divan::bench(args = [100, 10_000], max_time = 0.5)]
fn xreadgroup_beside_groups(bencher: Bencher<'_, '_>, groups: u64) {
    let mut server = Server::new(Wants::default());
    server.fill(500_000);
    for group in 0..groups {
        server.run(&request(&["XGROUP", "CREATE", "s", &format!("g{group}"), "0"]));
    }
    let read = request(&["XREADGROUP", "GROUP", "g7", "c", "COUNT", "1", "STREAMS", "s", ">"]);
    bencher.bench_local(|| server.run(black_box(&read)));
}

#[divan::bench(args = [100, 10_000], max_time = 0.5)]
fn xadd_idmp_beside_producers(bencher: Bencher<'_, '_>, producers: u64) {
    let mut server = Server::new(Wants::default());
    let mut iid = 0;
    let mut add = |producer: u64| {
        iid += 1;
        request(&["XADD", "s", "IDMP", &format!("p{producer}"), &iid.to_string(), "*", "field", VALUE])
    };
    (0..producers).for_each(|producer| server.run(&add(producer)));
    bencher.with_inputs(|| add(7)).bench_local_values(|request| server.run(black_box(&request)));
}

/// A trim that may remove only what is acknowledged, behind entries of which none is: not read, or only read.
fn acked(bencher: Bencher<'_, '_>, mut server: Server) {
    let add = request(&["XADD", "s", "MAXLEN", "~", "10", "ACKED", "*", "field", VALUE]);
    (0..1000).for_each(|_| server.run(&add));
    bencher.bench_local(|| {
        server.now_ms += 1;
        server.run(black_box(&add));
    });
}

#[divan::bench(args = [1000, 500_000], max_time = 0.5)]
fn xadd_acked_behind_unread(bencher: Bencher<'_, '_>, lag: u64) {
    let mut server = Server::new(Wants::default());
    server.fill(lag);
    server.run(&request(&["XGROUP", "CREATE", "s", "g", "0"]));
    acked(bencher, server);
}

#[divan::bench(args = [1000, 500_000], max_time = 0.5)]
fn xadd_acked_behind_pending(bencher: Bencher<'_, '_>, lag: u64) {
    acked(bencher, pending(lag));
}

/// Claims nothing, where the PEL is full of entries that are gone: trimmed, or deleted before the last.
#[divan::bench(args = [("trimmed", 1000), ("trimmed", 300_000), ("deleted", 1000), ("deleted", 300_000)], max_time = 0.5)]
fn xreadgroup_claim_beside_stale(bencher: Bencher<'_, '_>, (how, stale): (&str, u64)) {
    let mut server = pending(stale);
    match how {
        "trimmed" => server.run(&request(&["XTRIM", "s", "MAXLEN", "1"])),
        _ => (2..stale).for_each(|ms| server.run(&request(&["XDEL", "s", &format!("{ms}-0")]))),
    }
    let claim = ["XREADGROUP", "GROUP", "g", "d", "COUNT", "1", "CLAIM", "1000", "STREAMS", "s", ">"];
    let claim = request(&claim);
    server.now_ms += 1_000_000;
    (0..100).for_each(|_| server.run(&claim));
    bencher.bench_local(|| server.run(black_box(&claim)));
}

/// A consumer joins a group of many.
#[divan::bench(args = [100, 100_000], max_time = 0.5)]
fn new_consumer_beside_consumers(bencher: Bencher<'_, '_>, consumers: u64) {
    let mut server = pending(100);
    let create = |name: u64| request(&["XGROUP", "CREATECONSUMER", "s", "g", &format!("c{name:07}")]);
    let delete = |name: u64| request(&["XGROUP", "DELCONSUMER", "s", "g", &format!("c{name:07}")]);
    (0..consumers).for_each(|name| server.run(&create(name)));
    let requests = [delete(consumers / 2), create(consumers / 2)];
    bencher.bench_local(|| requests.iter().for_each(|request| server.run(black_box(request))));
}

/// COPY of a stream of which everything is pending; and a write to it afterwards, which must copy little.
#[divan::bench(args = [1000, 3_000_000], max_time = 0.5)]
fn copy_with_pending(bencher: Bencher<'_, '_>, entries: u64) {
    let mut server = pending(entries);
    let copy = request(&["COPY", "s", "t", "REPLACE"]);
    let ack = request(&["XACK", "s", "g", "5-0"]);
    bencher.bench_local(|| [&copy, &ack].into_iter().for_each(|request| server.run(black_box(request))));
}
