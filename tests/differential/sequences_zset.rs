//! Commands on sorted sets, made at random: see `sequences.rs`.

use crate::sequences::{Request, Writer, words};

/// Keys that are sorted sets most of the time.
pub(crate) const ZSETS: [&str; 2] = ["za", "zb"];

const MEMBERS: [&str; 7] = ["a", "b", "c", "d", "1", "-7", "long-member-that-is-somewhat-longer"];

impl Writer {
    fn zset_key(&mut self) -> &'static str {
        if self.maybe(10) { self.key() } else { self.pick(&ZSETS) }
    }

    fn member(&mut self) -> String {
        if self.maybe(3) { format!("m{}", self.random.u8(..30)) } else { self.pick(&MEMBERS).to_owned() }
    }

    fn score(&mut self) -> String {
        let scores = ["0", "1", "2", "3", "-1", "1.5", "0.1", "1e20", "inf", "-inf", "x", "nan"];
        if self.maybe(2) { self.random.u8(..6).to_string() } else { self.pick(&scores).to_owned() }
    }

    fn score_end(&mut self) -> String {
        let score = self.score();
        if self.maybe(4) { format!("({score}") } else { score }
    }

    fn rank(&mut self) -> String {
        self.random.i8(-8..8).to_string()
    }

    fn words_and(&mut self, text: &str, options: &[(u32, &str)]) -> Request {
        let mut all = words(text);
        for (one_in, option) in options {
            if self.maybe(*one_in) {
                all.extend(words(option));
            }
        }
        all
    }

    pub(crate) fn zset_command(&mut self) -> Request {
        let key = self.zset_key();
        match self.random.u8(..100) {
            0..30 => self.zadd(key),
            30..36 => words(&format!("ZINCRBY {key} {} {}", self.score(), self.member())),
            36..42 => words(&format!("ZREM {key} {} {}", self.member(), self.member())),
            42..50 => self.zrange(key),
            50..56 => self.zpop(key),
            56..60 => words(&format!("ZREMRANGEBYRANK {key} {} {}", self.rank(), self.rank())),
            60..64 => words(&format!("ZREMRANGEBYSCORE {key} {} {}", self.score_end(), self.score_end())),
            64..78 => self.zlook(key),
            78..92 => self.zcombine(),
            92..96 => {
                let by = self.pick(&["", "BYSCORE", "REV", "BYSCORE REV LIMIT 1 3"]);
                words(&format!("ZRANGESTORE {} {key} {} {} {by}", self.zset_key(), self.rank(), self.rank()))
            }
            _ => words(&format!("COPY {key} {} REPLACE", self.zset_key())),
        }
    }

    fn zadd(&mut self, key: &str) -> Request {
        let options = [(5, "NX"), (5, "XX"), (7, "GT"), (7, "LT"), (5, "CH"), (8, "INCR")];
        let mut all = self.words_and(&format!("ZADD {key}"), &options);
        let pairs = if self.maybe(12) { 40 } else { self.random.usize(1..4) };
        for _ in 0..pairs {
            all.extend([self.score(), self.member()]);
        }
        all
    }

    fn zrange(&mut self, key: &str) -> Request {
        let options = [(3, "REV"), (3, "WITHSCORES"), (6, "LIMIT 1 3")];
        match self.random.bool() {
            true => {
                let text = format!("ZRANGE {key} {} {}", self.rank_text(), self.rank_text());
                self.words_and(&text, &options)
            }
            false => {
                let text = format!("ZRANGE {key} {} {} BYSCORE", self.score_end(), self.score_end());
                self.words_and(&text, &options)
            }
        }
    }

    fn rank_text(&mut self) -> String {
        if self.maybe(30) { "x".to_owned() } else { self.rank() }
    }

    fn zpop(&mut self, key: &str) -> Request {
        let end = self.pick(&["MIN", "MAX"]);
        let count = self.random.i8(-1..5);
        match self.random.u8(..4) {
            0 => words(&format!("ZPOP{end} {key}")),
            1 => words(&format!("ZPOP{end} {key} {count}")),
            2 => words(&format!("BZPOP{end} {key} {} 0.001", self.zset_key())),
            _ => words(&format!("ZMPOP 2 {} {key} {end} COUNT {count}", self.zset_key())),
        }
    }

    fn zlook(&mut self, key: &str) -> Request {
        match self.random.u8(..8) {
            0 => words(&format!("ZSCORE {key} {}", self.member())),
            1 => words(&format!("ZMSCORE {key} {} {}", self.member(), self.member())),
            2 => words(&format!("ZRANK {key} {} WITHSCORE", self.member())),
            3 => words(&format!("ZREVRANK {key} {}", self.member())),
            4 => words(&format!("ZCOUNT {key} {} {}", self.score_end(), self.score_end())),
            5 => words(&format!("ZCARD {key}")),
            6 => words(&format!("OBJECT ENCODING {key}")),
            _ => words(&format!("TYPE {key}")),
        }
    }

    fn zcombine(&mut self) -> Request {
        let operation = self.pick(&["UNION", "INTER", "DIFF"]);
        let (one, two) = (self.zset_key(), self.zset_key());
        let options = [(4, "WEIGHTS 2 -1"), (4, "AGGREGATE MAX"), (6, "AGGREGATE MIN")];
        if self.random.bool() {
            let text = format!("Z{operation}STORE {} 2 {one} {two}", self.zset_key());
            return self.words_and(&text, &options);
        }
        let text = format!("Z{operation} 2 {one} {two} WITHSCORES");
        self.words_and(&text, &options)
    }
}
