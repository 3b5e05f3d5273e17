//! What a command costs without a server: parsed arguments in, reply bytes out.
//!
//! `cargo bench -p sterna-keyspace`. Keys are visited in a scattered order, so that large keyspaces miss the caches.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sterna_command::Command;
use sterna_keyspace::{
    COMMANDS, Caller, Changes, Ctx, EventClasses, KeyGroup, KeyHash, Partition, Run, Space, Wants,
};
use sterna_protocol::{Limits, Parser, Proto, Reply};

fn main() {
    divan::main();
}

const NOW_MS: u64 = 1_700_000_000_000;
const CALLER: Caller = Caller {
    client: 1,
    shard: 0,
    proto: Proto::Resp2,
    may_block: true,
    may_yield: true,
    touches: true,
    group: KeyGroup::WHOLE,
};
/// Requests a sample runs through.
const BATCH: usize = 1000;

struct Bench {
    partition: Partition,
    log: Changes,
    out: Vec<u8>,
}

/// A request, parsed again each time as the server does, which costs far less than the command.
struct Request {
    row: &'static Command<Run>,
    bytes: Vec<u8>,
}

impl Bench {
    fn new(wants: Wants, keys: usize) -> Bench {
        let partition = Partition::new(KeyHash::random(), 1);
        let mut bench = Bench { partition, log: Changes::new(wants), out: Vec::new() };
        for number in 0..keys {
            bench.run(&request(&format!("set key:{number:012} value:{number:014}")));
        }
        bench
    }

    fn run(&mut self, request: &Request) {
        let limits = Limits {
            bulk_bytes_max: 1 << 20,
            multibulk_len_max: 64,
            inline_bytes_max: 1 << 16,
            unauthenticated: false,
        };
        let mut parser = Parser::default();
        parser.parse(&request.bytes, &limits).expect("a request");
        let args = parser.args(&request.bytes);
        self.out.clear();
        self.log.clear();
        self.log.logged(None);
        let space = Space::one(&mut self.partition);
        let mut ctx = Ctx { space, db: 0, now_ms: NOW_MS, log: &mut self.log, caller: CALLER };
        let mut reply = Reply::new(&mut self.out, Proto::Resp2);
        let outcome = request.row.run.expect("an ordinary command")(&mut ctx, args, &mut reply);
        black_box(outcome.expect("no error"));
    }
}

fn request(text: &str) -> Request {
    let words: Vec<&str> = text.split(' ').collect();
    let row = COMMANDS.iter().find(|row| row.spec.name == words[0]).expect("a command");
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words
        .iter()
        .for_each(|word| bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes()));
    Request { row, bytes }
}

/// A batch of requests whose keys lie all over `keys` keys.
fn requests(keys: usize, text: impl Fn(String) -> String) -> Vec<Request> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..BATCH).map(|_| request(&text(format!("key:{:012}", random.usize(0..keys))))).collect()
}

fn bench(bencher: Bencher<'_, '_>, wants: Wants, keys: usize, text: impl Fn(String) -> String) {
    let mut bench = Bench::new(wants, keys);
    let requests = requests(keys, text);
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| requests.iter().for_each(|request| bench.run(request)));
}

const KEYS: [usize; 3] = [1_000, 100_000, 1_000_000];

#[divan::bench(args = KEYS)]
fn get(bencher: Bencher<'_, '_>, keys: usize) {
    bench(bencher, Wants::default(), keys, |key| format!("get {key}"));
}

#[divan::bench(args = KEYS)]
fn set(bencher: Bencher<'_, '_>, keys: usize) {
    bench(bencher, Wants::default(), keys, |key| format!("set {key} value:00000000000001"));
}

#[divan::bench(args = KEYS)]
fn set_with_effects_and_events(bencher: Bencher<'_, '_>, keys: usize) {
    let wants = Wants { effects: true, events: EventClasses::ALL, touched: true, edited: false };
    bench(bencher, wants, keys, |key| format!("set {key} value:00000000000001"));
}

#[divan::bench(args = KEYS)]
fn set_with_expiry(bencher: Bencher<'_, '_>, keys: usize) {
    bench(bencher, Wants::default(), keys, |key| format!("set {key} value:00000000000001 EX 100"));
}

#[divan::bench(args = KEYS)]
fn incr(bencher: Bencher<'_, '_>, keys: usize) {
    bench(bencher, Wants::default(), keys, |key| format!("incr counter:{key}"));
}

#[divan::bench(args = KEYS)]
fn scan_count_10(bencher: Bencher<'_, '_>, keys: usize) {
    bench(bencher, Wants::default(), keys, |key| {
        let random = key.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        format!("scan {} count 10", random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)
    });
}

/// Inserting from empty, growth included; the counter is keys.
#[divan::bench(args = [10_000, 300_000])]
fn fill(bencher: Bencher<'_, '_>, keys: usize) {
    bencher.counter(ItemsCount::new(keys)).bench_local(|| Bench::new(Wants::default(), keys).partition);
}
