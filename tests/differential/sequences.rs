//! Sequences of commands on a few keys, made at random.
//!
//! Keys, ids, groups and consumers are so few that commands meet, and the words of options so mixed that many are wrong.

use fastrand::Rng;

use crate::sequences_zset::ZSETS;

pub(crate) type Request = Vec<String>;

/// Commands in a sequence, before those that look at the end.
pub(crate) const COMMANDS: usize = 40;

pub(crate) const KEYS: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 2] = ["g", "h"];
const CONSUMERS: [&str; 3] = ["x", "y", "z"];

/// What makes one sequence.
pub(crate) struct Writer {
    pub(crate) random: Rng,
}

/// Runs commands that are given each behind the number of its words.
const RUN_AND_SHOW: &str = "local at, reply = 1, false
    while at <= #ARGV do
        reply = redis.pcall(unpack(ARGV, at + 1, at + ARGV[at]))
        at = at + ARGV[at] + 1
    end
    return reply";
const RUN_AND_HIDE: &str = "local at, reply = 1, false
    while at <= #ARGV do
        reply = redis.pcall(unpack(ARGV, at + 1, at + ARGV[at]))
        at = at + ARGV[at] + 1
    end
    return type(reply) == 'table' and reply.err or 'done'";

impl Writer {
    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.random.usize(..words.len())]
    }

    pub(crate) fn key(&mut self) -> &'static str {
        self.pick(&KEYS)
    }

    pub(crate) fn maybe(&mut self, one_in: u32) -> bool {
        self.random.u32(..one_in) == 0
    }

    fn id(&mut self) -> String {
        match self.random.u8(..24) {
            0 => "0".to_owned(),
            1 => "-".to_owned(),
            2 => "+".to_owned(),
            3 => "$".to_owned(),
            4 => "nonsense".to_owned(),
            5 => format!("({}-{}", self.random.u8(1..6), self.random.u8(..4)),
            6 => self.random.u8(1..8).to_string(),
            _ => format!("{}-{}", self.random.u8(1..6), self.random.u8(..4)),
        }
    }

    fn count(&mut self) -> &'static str {
        self.pick(&["0", "1", "2", "3", "10", "-1", "x"])
    }

    pub(crate) fn sequence(&mut self) -> Vec<Request> {
        let mut all = Vec::new();
        while all.len() < COMMANDS {
            if self.maybe(12) {
                all.push(words("MULTI"));
                (0..self.random.usize(1..5)).for_each(|_| all.push(self.command()));
                all.push(words(self.pick(&["EXEC", "EXEC", "EXEC", "DISCARD"])));
            } else if self.maybe(12) {
                all.push(self.script());
            } else {
                all.push(self.command());
            }
        }
        for key in KEYS {
            all.push(words(&format!("HPEXPIRETIME {key} FIELDS 3 f g h")));
            for look in [
                "TYPE",
                "OBJECT ENCODING",
                "TTL",
                "XINFO STREAM",
                "XLEN",
                "GET",
                "XINFO GROUPS",
                "SMEMBERS",
                "HLEN",
                "HGETALL",
            ] {
                all.push(words(&format!("{look} {key}")));
            }
            all.push(words(&format!("LRANGE {key} 0 -1")));
            all.push(words(&format!("XINFO STREAM {key} FULL COUNT 0")));
            for group in GROUPS {
                all.push(words(&format!("XPENDING {key} {group} - + 100")));
            }
        }
        for key in KEYS.iter().chain(&ZSETS) {
            all.push(words(&format!("ZRANGE {key} 0 -1 WITHSCORES")));
            all.push(words(&format!("OBJECT ENCODING {key}")));
        }
        all
    }

    /// Some commands as one script, which answers with the last reply, or with its error if it is one of a stream: those
    /// have times in places that only their commands tell.
    fn script(&mut self) -> Request {
        let commands: Vec<Request> = (0..self.random.usize(1..5)).map(|_| self.command()).collect();
        let of_stream = commands.last().is_some_and(|last| last[0].starts_with('X'));
        let script = if of_stream { RUN_AND_HIDE } else { RUN_AND_SHOW };
        let counted = |command: Request| [vec![command.len().to_string()], command].concat();
        let arguments: Request = commands.into_iter().flat_map(counted).collect();
        [vec!["EVAL".to_owned(), script.to_owned(), "0".to_owned()], arguments].concat()
    }

    fn command(&mut self) -> Request {
        if self.maybe(4) {
            return self.zset_command();
        }
        let key = self.key();
        if self.maybe(4) {
            return match self.maybe(2) {
                true => self.set(key),
                false => self.hash(key),
            };
        }
        match self.random.u8(..125) {
            0..22 => self.xadd(key),
            22..27 => self.xgroup(key),
            27..42 => self.xreadgroup(key),
            42..48 => self.xack(key),
            48..54 => self.xclaim(key),
            54..58 => self.xautoclaim(key),
            58..62 => self.xtrim(key),
            62..68 => self.xdel(key),
            68..73 => self.xread(key),
            73..77 => self.xrange(key),
            77..80 => self.xpending(key),
            80..82 => words(&format!("XSETID {key} {}", self.id())),
            82..88 => self.string(key),
            88..92 => self.bits(key),
            92..117 => self.list(key),
            _ => self.generic(key),
        }
    }

    /// Times are absolute, so that both servers compare the same.
    fn hash(&mut self, key: &str) -> Request {
        let field = self.pick(&["f", "g", "h"]);
        let time = self.pick(&["1", "9999999000", "9999999999", "-1", "x"]);
        let condition = self.pick(&["", "", "", "NX ", "XX ", "GT ", "LT "]);
        let value = self.pick(&["1", "-5", "2.5", "text", "0123456789012345678901234567890123456789"]);
        let request = match self.random.u8(..24) {
            0..6 => format!("HSET {key} {field} {value}"),
            6 => format!("HSET {key} f {value} g 2 h"),
            7 => format!("HSETNX {key} {field} {value}"),
            8 => format!("HDEL {key} {field} g"),
            9 => format!("HDEL {key} {field}"),
            10 => format!("HINCRBY {key} {field} 3"),
            11 => format!("HINCRBYFLOAT {key} {field} 0.5"),
            12 => format!("HMGET {key} f g h"),
            13 => format!("HSTRLEN {key} {field}"),
            14..17 => format!("HEXPIREAT {key} {time} {condition}FIELDS 2 {field} g"),
            17 => format!("HPERSIST {key} FIELDS 2 {field} g"),
            18 => format!("HEXPIRETIME {key} FIELDS 3 f g h"),
            19 => format!("HGETEX {key} EXAT {time} FIELDS 1 {field}"),
            20 => format!("HGETEX {key} PERSIST FIELDS 2 {field} g"),
            21 => format!("HGETDEL {key} FIELDS 2 {field} g"),
            22 => format!("HSETEX {key} FXX KEEPTTL FIELDS 1 {field} {value}"),
            _ => format!("HSETEX {key} EXAT {time} FIELDS 1 {field} {value}"),
        };
        words(&request)
    }

    fn xadd(&mut self, key: &str) -> Request {
        let mut all = words(&format!("XADD {key}"));
        if self.maybe(10) {
            all.push("NOMKSTREAM".to_owned());
        }
        if self.maybe(6) {
            // A trim under DELREF differs where there are tombstones: `trimmed-tombstones`.
            all.push(self.pick(&["KEEPREF", "ACKED"]).to_owned());
        }
        if self.maybe(5) {
            self.trim_words(&mut all);
        }
        let id = match self.random.u8(..6) {
            0 => self.id(),
            1 => format!("{}-*", self.random.u8(1..6)),
            _ => format!("{}-{}", self.random.u8(1..9), self.random.u8(..9)),
        };
        all.push(id);
        for _ in 0..self.random.usize(1..3) {
            all.extend([self.pick(&["f", "g"]).to_owned(), self.random.u8(..).to_string()]);
        }
        if self.maybe(20) {
            all.pop();
        }
        all
    }

    fn trim_words(&mut self, all: &mut Request) {
        all.push(self.pick(&["MAXLEN", "MINID"]).to_owned());
        if self.maybe(3) {
            all.push("=".to_owned());
        }
        let threshold = if all.contains(&"MINID".to_owned()) { self.id() } else { self.count().to_owned() };
        all.push(threshold);
        if self.maybe(10) {
            all.extend(["LIMIT".to_owned(), self.count().to_owned()]);
        }
    }

    fn xgroup(&mut self, key: &str) -> Request {
        let group = self.pick(&GROUPS);
        match self.random.u8(..8) {
            0..4 => {
                let mut all = words(&format!("XGROUP CREATE {key} {group} {}", self.id()));
                if self.maybe(3) {
                    all.push("MKSTREAM".to_owned());
                }
                if self.maybe(4) {
                    all.extend(["ENTRIESREAD".to_owned(), self.count().to_owned()]);
                }
                all
            }
            4 => words(&format!("XGROUP SETID {key} {group} {}", self.id())),
            5 => words(&format!("XGROUP CREATECONSUMER {key} {group} {}", self.pick(&CONSUMERS))),
            6 => words(&format!("XGROUP DELCONSUMER {key} {group} {}", self.pick(&CONSUMERS))),
            _ => words(&format!("XGROUP DESTROY {key} {group}")),
        }
    }

    fn xreadgroup(&mut self, key: &str) -> Request {
        let mut all = words(&format!("XREADGROUP GROUP {} {}", self.pick(&GROUPS), self.pick(&CONSUMERS)));
        if self.maybe(2) {
            all.extend(["COUNT".to_owned(), self.count().to_owned()]);
        }
        if self.maybe(6) {
            all.push("NOACK".to_owned());
        }
        all.push("STREAMS".to_owned());
        all.push(key.to_owned());
        let two = self.maybe(5);
        if two {
            all.push(self.key().to_owned());
        }
        for _ in 0..1 + usize::from(two) {
            all.push(if self.maybe(4) { self.id() } else { ">".to_owned() });
        }
        all
    }

    fn ids(&mut self) -> Vec<String> {
        (0..self.random.usize(1..4)).map(|_| self.id()).collect()
    }

    fn xack(&mut self, key: &str) -> Request {
        let group = self.pick(&GROUPS);
        let ids = self.ids();
        if self.maybe(3) {
            let mut all = words(&format!("XACKDEL {key} {group}"));
            if self.maybe(2) {
                all.push(self.pick(&["KEEPREF", "DELREF", "ACKED"]).to_owned());
            }
            all.extend(["IDS".to_owned(), ids.len().to_string()]);
            all.extend(ids);
            return all;
        }
        let mut all = words(&format!("XACK {key} {group}"));
        all.extend(ids);
        all
    }

    fn xclaim(&mut self, key: &str) -> Request {
        let min_idle = self.pick(&["0", "0", "0", "1000000", "x"]);
        let mut all =
            words(&format!("XCLAIM {key} {} {} {min_idle}", self.pick(&GROUPS), self.pick(&CONSUMERS)));
        all.extend(self.ids());
        for (one_in, option) in
            [(3, "JUSTID"), (3, "FORCE"), (5, "RETRYCOUNT 3"), (5, "IDLE 0"), (8, "LASTID 4-0")]
        {
            if self.maybe(one_in) {
                all.extend(words(option));
            }
        }
        all
    }

    fn xautoclaim(&mut self, key: &str) -> Request {
        let mut all = words(&format!(
            "XAUTOCLAIM {key} {} {} 0 {}",
            self.pick(&GROUPS),
            self.pick(&CONSUMERS),
            self.id()
        ));
        if self.maybe(2) {
            all.extend(["COUNT".to_owned(), self.count().to_owned()]);
        }
        if self.maybe(3) {
            all.push("JUSTID".to_owned());
        }
        all
    }

    fn xtrim(&mut self, key: &str) -> Request {
        let mut all = words(&format!("XTRIM {key}"));
        self.trim_words(&mut all);
        if self.maybe(3) {
            all.push(self.pick(&["KEEPREF", "ACKED"]).to_owned());
        }
        all
    }

    fn xdel(&mut self, key: &str) -> Request {
        let ids = self.ids();
        if self.maybe(3) {
            let mut all = words(&format!("XDELEX {key}"));
            if self.maybe(2) {
                all.push(self.pick(&["KEEPREF", "DELREF", "ACKED"]).to_owned());
            }
            all.extend(["IDS".to_owned(), ids.len().to_string()]);
            all.extend(ids);
            return all;
        }
        let mut all = words(&format!("XDEL {key}"));
        all.extend(ids);
        all
    }

    fn xread(&mut self, key: &str) -> Request {
        let mut all = words("XREAD");
        if self.maybe(2) {
            all.extend(["COUNT".to_owned(), self.count().to_owned()]);
        }
        all.extend(["STREAMS".to_owned(), key.to_owned(), self.key().to_owned(), self.id(), self.id()]);
        all
    }

    fn xrange(&mut self, key: &str) -> Request {
        let mut all = words(self.pick(&["XRANGE", "XREVRANGE"]));
        all.extend([key.to_owned(), self.id(), self.id()]);
        if self.maybe(3) {
            all.extend(["COUNT".to_owned(), self.count().to_owned()]);
        }
        all
    }

    fn xpending(&mut self, key: &str) -> Request {
        let mut all = words(&format!("XPENDING {key} {}", self.pick(&GROUPS)));
        if self.maybe(2) {
            if self.maybe(3) {
                all.extend(words("IDLE 0"));
            }
            all.extend([self.id(), self.id(), self.count().to_owned()]);
            if self.maybe(2) {
                all.push(self.pick(&CONSUMERS).to_owned());
            }
        }
        all
    }

    fn string(&mut self, key: &str) -> Request {
        let value = self.pick(&["1", "-5", "text", "3.5", "9223372036854775807"]);
        match self.random.u8(..12) {
            0..3 => {
                let mut all = words(&format!("SET {key} {value}"));
                for (one_in, option) in [(4, "NX"), (4, "XX"), (4, "GET"), (4, "EX 1000"), (6, "KEEPTTL")] {
                    if self.maybe(one_in) {
                        all.extend(words(option));
                    }
                }
                all
            }
            3 => words(&format!("INCRBY {key} {value}")),
            4 => words(&format!("INCRBYFLOAT {key} {value}")),
            5 => words(&format!("APPEND {key} {value}")),
            6 => words(&format!("GETEX {key} {}", self.pick(&["PERSIST", "EX 1000", "EX 0", ""]))),
            7 => words(&format!("GETDEL {key}")),
            8 => words(&format!("MSETNX {key} {value} {} 2", self.key())),
            9 => words(&format!("MGET {key} {}", self.key())),
            10 => words(&format!("GETRANGE {key} {} {}", self.count(), self.count())),
            _ => words(&format!("GETSET {key} {value}")),
        }
    }

    fn members(&mut self) -> String {
        let count = if self.maybe(8) { self.random.usize(10..200) } else { self.random.usize(1..5) };
        let member = |writer: &mut Writer| match writer.random.u8(..8) {
            0..3 => writer.random.u8(..8).to_string(),
            3 => writer.random.i64(..).to_string(),
            4 => format!("0{}", writer.random.u8(..8)),
            _ => writer.pick(&["x", "y", "z", "text"]).to_owned(),
        };
        (0..count).map(|_| member(self)).collect::<Vec<_>>().join(" ")
    }

    fn set(&mut self, key: &str) -> Request {
        let (members, other, third) = (self.members(), self.key(), self.key());
        match self.random.u8(..24) {
            0..7 => words(&format!("SADD {key} {members}")),
            7..9 => words(&format!("SREM {key} {members}")),
            9 => words(&format!("SMISMEMBER {key} {members}")),
            10 => words(&format!("SISMEMBER {key} {}", self.pick(&["1", "x", "01"]))),
            11 => words(&format!("SMOVE {key} {other} {}", self.pick(&["1", "2", "x"]))),
            // What chance would pick can't be compared.
            12 => words(&format!("SPOP {key} {}", self.pick(&["100000", "0", "-1"]))),
            13 => words(&format!("SRANDMEMBER {key} {}", self.pick(&["100000", "0", "x"]))),
            14 => words(&format!("SMEMBERS {key}")),
            15 => words(&format!("SCARD {key}")),
            16 => words(&format!("{} {key} {other}", self.pick(&["SINTER", "SUNION", "SDIFF"]))),
            17 => words(&format!("{} {key} {other} {third}", self.pick(&["SINTER", "SUNION", "SDIFF"]))),
            18..21 => {
                let command = self.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
                words(&format!("{command} {key} {other} {third}"))
            }
            21 => words(&format!("SINTERCARD 2 {key} {other} LIMIT {}", self.count())),
            22 => words(&format!("SSCAN {key} 0 COUNT 10000")),
            _ => words(&format!("OBJECT ENCODING {key}")),
        }
    }

    fn bits(&mut self, key: &str) -> Request {
        let offset = self.pick(&["0", "3", "7", "12", "100", "70000", "600000", "-1", "x"]);
        let field = self.pick(&["u8", "i5", "u1", "i64", "u63", "u13"]);
        let number = self.pick(&["0", "1", "-1", "300", "-9223372036854775808", "9223372036854775807"]);
        match self.random.u8(..11) {
            0..2 => words(&format!("SETBIT {key} {offset} {}", self.pick(&["0", "1", "1", "2"]))),
            2 => words(&format!("GETBIT {key} {offset}")),
            3 => words(&format!("SETRANGE {key} {offset} {}", self.pick(&["abc", "x", "12"]))),
            4 => words(&format!(
                "BITCOUNT {key} {} {} {}",
                self.count(),
                self.count(),
                self.pick(&["", "BIT"])
            )),
            5 => words(&format!("BITPOS {key} {} {}", self.pick(&["0", "1"]), self.count())),
            6 => {
                let operation = self.pick(&["AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE"]);
                words(&format!("BITOP {operation} {key} {} {}", self.key(), self.key()))
            }
            7 => {
                let overflow = self.pick(&["WRAP", "SAT", "FAIL"]);
                words(&format!(
                    "BITFIELD {key} SET {field} {offset} {number} OVERFLOW {overflow} INCRBY {field} 3 {number}"
                ))
            }
            8 => words(&format!("PFADD {key} {offset} {number} {}", self.random.u8(..))),
            9 => words(&format!("PFMERGE {key} {}", self.key())),
            _ => words(&format!("PFCOUNT {key}")),
        }
    }

    /// An element of a list; few are equal to each other, and few are large.
    fn element(&mut self) -> String {
        match self.random.u8(..40) {
            0 => "x".repeat(9000),
            1..4 => "y".repeat(3000),
            _ => self.pick(&["1", "2", "3", "-1", "e", "f", "007"]).to_owned(),
        }
    }

    fn list(&mut self, key: &str) -> Request {
        let index = self.pick(&["0", "1", "2", "-1", "-2", "10", "x"]);
        let other = self.pick(&["0", "1", "3", "-1", "-2", "-10"]);
        let (element, pivot) = (self.element(), self.element());
        let mut ends = || self.pick(&["LEFT", "RIGHT"]).to_owned();
        let (from, to) = (ends(), ends());
        let count = self.count();
        match self.random.u8(..24) {
            0..8 => {
                let mut all = words(self.pick(&["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"]));
                all.push(key.to_owned());
                (0..self.random.usize(1..6)).for_each(|_| all.push(self.element()));
                all
            }
            8..10 => words(&format!("{} {key}", self.pick(&["LPOP", "RPOP"]))),
            10 => words(&format!("{} {key} {count}", self.pick(&["LPOP", "RPOP"]))),
            11 => words(&format!("LRANGE {key} {index} {other}")),
            12 => words(&format!("LINDEX {key} {index}")),
            13 => words(&format!("LLEN {key}")),
            14 => words(&format!("LSET {key} {index} {element}")),
            15 | 16 => {
                words(&format!("LINSERT {key} {} {pivot} {element}", self.pick(&["BEFORE", "AFTER", "AT"])))
            }
            17 => words(&format!("LREM {key} {other} {pivot}")),
            18 => words(&format!("LTRIM {key} {index} {other}")),
            19 => words(&format!(
                "LPOS {key} {pivot} {}",
                self.pick(&["", "RANK 2", "RANK -1 COUNT 0", "COUNT 2 MAXLEN 3", "COUNT x"])
            )),
            20 | 21 => words(&format!("LMOVE {key} {} {from} {to}", self.key())),
            22 => words(&format!("RPOPLPUSH {key} {}", self.key())),
            _ => words(&format!("LMPOP 2 {key} {} {from} COUNT {count}", self.key())),
        }
    }

    fn generic(&mut self, key: &str) -> Request {
        match self.random.u8(..9) {
            0 => words(&format!("DEL {key}")),
            1 => words(&format!("RENAME {key} {}", self.key())),
            2 => words(&format!("RENAMENX {key} {}", self.key())),
            3 => words(&format!("COPY {key} {} {}", self.key(), self.pick(&["", "REPLACE"]))),
            4 => words(&format!(
                "EXPIRE {key} {} {}",
                self.pick(&["1000", "-1", "0"]),
                self.pick(&["", "NX", "XX", "LT"])
            )),
            5 => words(&format!("PERSIST {key}")),
            6 => words(&format!("EXISTS {key} {}", self.key())),
            7 => words(&format!("OBJECT ENCODING {key}")),
            _ => words(&format!("UNLINK {key}")),
        }
    }
}

pub(crate) fn words(text: &str) -> Request {
    text.split_whitespace().map(str::to_owned).collect()
}
