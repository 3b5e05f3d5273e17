//! The boundary of scripts: text that is a script, a reply, JSON or MessagePack. Whatever is returned is one reply that a
//! client reads, and the next script finds nothing of it.

use sterna_protocol::decode::decode;
use sterna_protocol::{Args, Proto, Reply};
use sterna_script::{Engine, Host, Level, Verdict};

/// Answers every command with the same bytes, and lets a script run for a moment.
struct Canned<'a> {
    reply: &'a [u8],
    ticks: usize,
}

impl Host for Canned<'_> {
    fn call(&mut self, _: Args<'_>, _: Proto, out: &mut Vec<u8>) {
        out.extend_from_slice(self.reply);
    }

    fn answers_error(&mut self, _: &[u8], _: bool) {}

    fn is_allowed(&mut self, args: Args<'_>) -> Result<bool, &'static str> {
        Ok(args.len() > 1)
    }

    fn log(&mut self, _: Level, _: &[u8]) {}

    fn tick(&mut self) -> Verdict {
        self.ticks += 1;
        if self.ticks < 20 { Verdict::GoOn } else { Verdict::Stop }
    }
}

/// What is done with the bytes, beside running them.
const SCRIPTS: [&str; 6] = [
    "local r = redis.pcall('x') redis.setresp(3) return {r, redis.pcall('x')}",
    "local ok, t = pcall(cjson.decode, ARGV[1]) return {ok and cjson.encode(t) or t, t}",
    "return {pcall(cmsgpack.unpack, ARGV[1])}",
    "return {pcall(struct.unpack, ARGV[1], ARGV[1])}",
    "return {pcall(string.gsub, ARGV[1], ARGV[1], ARGV[1])}",
    "return {{err = ARGV[1]}, {ok = ARGV[1]}, {big_number = ARGV[1]}, {verbatim_string = {format = ARGV[1], string = ARGV[1]}}}",
];

pub fn run(bytes: &[u8]) {
    let mut engine = Engine::new();
    eval(&mut engine, bytes, bytes);
    for script in SCRIPTS {
        eval(&mut engine, script.as_bytes(), bytes);
    }
    let left = eval(&mut engine, b"return {rawget(_G, 'x') == nil, ('x'):upper(), #_G, type(KEYS)}", b"");
    assert_eq!(left, b"*4\r\n:1\r\n$1\r\nX\r\n:0\r\n$5\r\ntable\r\n");
}

fn eval(engine: &mut Engine, script: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut last = Vec::new();
    for proto in [Proto::Resp3, Proto::Resp2] {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, proto);
        match engine.load(script, false) {
            Err(text) => reply.error(&text),
            Ok(script) => {
                let mut host = Canned { reply: bytes, ticks: 0 };
                let args = std::slice::from_ref(&bytes).iter().copied();
                if let Err(error) = engine.run(script, args.clone(), args, &mut host, &mut reply) {
                    reply.error(&error.text);
                }
            }
        }
        // What nests deeper than a client of ours reads is a reply all the same; so is a number that is none.
        if let Ok(read) = decode(&out) {
            let (_, len) = read.expect("a whole reply");
            assert_eq!(len, out.len(), "one reply");
        }
        last = out;
    }
    last
}
