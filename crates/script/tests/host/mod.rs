//! A server of three commands, for tests.
#![allow(dead_code)] // Each test file uses a part of it.

use std::collections::BTreeMap;

use sterna_protocol::{Args, Proto, Reply};
use sterna_script::{Engine, Host, Level, Sha, Verdict};

#[derive(Debug, Default)]
pub struct Fake {
    pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
    pub logged: Vec<String>,
    /// What `reply` answers, as it is.
    pub canned: Vec<u8>,
    /// How often a script is let go on; `None`: always.
    pub ticks_left: Option<usize>,
}

impl Host for Fake {
    fn call(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) {
        let mut reply = Reply::new(out, proto);
        match (&args[0].to_ascii_lowercase()[..], args.len()) {
            (b"echo", 2) => reply.bulk(&args[1]),
            (b"get", 2) => reply.bulk_or_null(self.keys.get(&args[1]).map(|value| &value[..])),
            (b"set", 3) => {
                self.keys.insert(args[1].to_vec(), args[2].to_vec());
                reply.ok();
            }
            (b"fail", _) => reply.error(b"WRONGTYPE Operation against a key"),
            (b"reply", _) => reply.out.extend_from_slice(&self.canned),
            (b"count", _) => reply.int(args.len() as i64 - 1),
            _ => reply.error(b"ERR Unknown Redis command called from script"),
        }
    }

    fn is_allowed(&mut self, args: Args<'_>) -> Result<bool, &'static str> {
        match &args[0] {
            b"get" => Ok(true),
            b"set" => Ok(false),
            _ => Err("ERR Invalid command passed to redis.acl_check_cmd()"),
        }
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        self.logged.push(format!("{level:?}: {}", String::from_utf8_lossy(text)));
    }

    fn tick(&mut self) -> Verdict {
        match &mut self.ticks_left {
            None => Verdict::GoOn,
            Some(0) => Verdict::Stop,
            Some(left) => {
                *left -= 1;
                Verdict::GoOn
            }
        }
    }
}

pub fn eval(script: &str) -> String {
    eval_in(&mut Engine::new(), script)
}

pub fn eval_in(engine: &mut Engine, script: &str) -> String {
    eval_with(engine, script, &mut Fake { ticks_left: Some(TICKS), ..Fake::default() })
}

/// A second or two.
const TICKS: usize = 1000;

pub fn eval_with(engine: &mut Engine, script: &str, host: &mut Fake) -> String {
    eval_as(engine, script, &[], &[], host, Proto::Resp2)
}

pub fn eval_as(
    engine: &mut Engine,
    script: &str,
    keys: &[&str],
    args: &[&str],
    host: &mut Fake,
    proto: Proto,
) -> String {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, proto);
    let sha = Sha::of(script.as_bytes());
    if let Err(text) = engine.load(sha, script.as_bytes(), false) {
        reply.error(&text);
    } else {
        let (keys, args) = (keys.iter().map(|key| key.as_bytes()), args.iter().map(|arg| arg.as_bytes()));
        if let Err(error) = engine.run(sha, keys, args, host, &mut reply) {
            reply.error(&error.text);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
