//! What the data path pays for one request and for one frame.
//!
//! `cargo bench -p sterna-protocol`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sterna_protocol::{Limits, Parser, Progress, Proto, encode, frame};

fn main() {
    divan::main();
}

/// PUBLISH with a payload of so many bytes.
fn publish(payload_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, [&b"PUBLISH"[..], b"chan", &vec![b'x'; payload_len]]);
    out
}

#[divan::bench(args = [64, 1024, 16 * 1024])]
fn parse_publish(bencher: Bencher<'_, '_>, payload_len: usize) {
    let input = publish(payload_len);
    let mut parser = Parser::default();
    let limits = Limits::default();
    bencher.counter(BytesCount::of_slice(&input)).bench_local(|| {
        let progress = parser.parse(black_box(&input), &limits);
        assert!(matches!(progress, Ok(Progress::Request { .. })));
        parser.args(&input).len()
    });
}

/// As a shard does it: a pipeline of mixed requests, the lengths of whose arguments the CPU can't predict.
#[divan::bench]
fn parse_pipeline_of_64(bencher: Bencher<'_, '_>) {
    let mut input = Vec::new();
    let mut seed = 1u64;
    for _ in 0..64 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let channel = vec![b'c'; 1 + (seed >> 33) as usize % 30];
        let payload = vec![b'p'; (seed >> 40) as usize % 300];
        encode::request(&mut input, [&b"PUBLISH"[..], &channel, &payload]);
    }
    let mut parser = Parser::default();
    let limits = Limits::default();
    bencher.counter(divan::counter::ItemsCount::new(64usize)).bench_local(|| {
        let mut rest = black_box(&input[..]);
        let mut args = 0;
        while let Ok(Progress::Request { consumed }) = parser.parse(rest, &limits) {
            args += parser.args(rest).len();
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
        args
    });
}

#[divan::bench]
fn parse_xadd_of_20_fields(bencher: Bencher<'_, '_>) {
    let mut input = Vec::new();
    let fields = (0..40).map(|n| format!("field-{n}"));
    let args: Vec<String> = ["XADD", "stream", "*"].into_iter().map(String::from).chain(fields).collect();
    encode::request(&mut input, &args);
    let mut parser = Parser::default();
    let limits = Limits::default();
    bencher.bench_local(|| parser.parse(black_box(&input), &limits));
}

#[divan::bench]
fn parse_inline_ping(bencher: Bencher<'_, '_>) {
    let mut parser = Parser::default();
    let limits = Limits::default();
    bencher.bench_local(|| parser.parse(black_box(b"PING\r\n"), &limits));
}

/// The same request arriving in pieces of 1460 bytes: the parser goes on where it stopped.
#[divan::bench]
fn parse_64_kib_in_segments(bencher: Bencher<'_, '_>) {
    let input = publish(64 * 1024);
    let mut parser = Parser::default();
    let limits = Limits::default();
    bencher.counter(BytesCount::of_slice(&input)).bench_local(|| {
        let mut end = 0;
        loop {
            end = (end + 1460).min(input.len());
            if let Ok(Progress::Request { consumed }) = parser.parse(black_box(&input[..end]), &limits) {
                break consumed;
            }
        }
    });
}

#[divan::bench(args = [16, 64, 1024])]
fn encode_message(bencher: Bencher<'_, '_>, payload_len: usize) {
    let payload = vec![b'x'; payload_len];
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        frame::message(&mut out, black_box(Proto::Resp2), black_box(b"chan"), black_box(&payload));
        out.len()
    });
}

#[divan::bench]
fn encode_pmessage(bencher: Bencher<'_, '_>) {
    let payload = vec![b'x'; 64];
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        frame::pmessage(&mut out, black_box(Proto::Resp3), black_box(b"ch*"), black_box(b"chan"), &payload);
        out.len()
    });
}
