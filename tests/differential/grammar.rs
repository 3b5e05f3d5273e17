//! Requests made from what Redis says of its own commands (COMMAND DOCS): each argument of its kind, options left out, repeated and
//! in the wrong place, numbers at their ends. Every command on keys is among them whose reply says neither a time nor something
//! random; alone, between MULTI and EXEC, and from a script.

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, PATIENCE, Server};

use super::reference_is_at_least;

/// One argument, as COMMAND DOCS describes it.
struct Argument {
    name: String,
    kind: String,
    token: Option<String>,
    is_optional: bool,
    is_multiple: bool,
    repeats_token: bool,
    inner: Vec<Argument>,
}

struct Command {
    words: Vec<String>,
    arguments: Vec<Argument>,
}

const GROUPS: [&str; 10] =
    ["string", "list", "hash", "set", "sorted-set", "bitmap", "hyperloglog", "geo", "stream", "generic"];

/// Commands that answer a time, something random or in no order, wait, or are other servers' affair; those that look for members in
/// a range of names, which means nothing where scores differ; and LSET, see the list of differences.
const LEFT_OUT: &str = "sort sort_ro wait waitaof migrate restore dump randomkey scan keys flushall blmove blmpop blpop brpop \
    brpoplpush bzmpop bzpopmax bzpopmin object|help object|freq object|idletime object|refcount spop srandmember hrandfield \
    zrandmember xinfo|help xgroup|help pfdebug pfselftest restore-asking xadd xclaim xautoclaim xreadgroup xread xpending \
    xinfo|consumers xinfo|stream ttl pttl hpttl httl pexpiretime expiretime hpexpiretime hexpiretime smembers sunion sdiff sinter \
    hgetall hkeys hvals sscan hscan zscan \
    zrangebylex zrevrangebylex zlexcount zremrangebylex lset";

/// Commands that newer Redis takes options of in any order, and refuses with other words: their requests are as the docs have them, and
/// of their errors only that they are errors is compared.
const IN_ANY_ORDER: [&str; 6] = ["hexpire", "hpexpire", "hexpireat", "hpexpireat", "hgetex", "hsetex"];

const KEYS: [&str; 12] = ["k", "none", "s", "l", "h", "z", "x", "i", "", "{t}a", "geo", "bits"];
const SMALL: [&str; 7] = ["0", "1", "-1", "2", "3", "4", "-3"];
const INTEGERS: [&str; 14] = [
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "2147483648",
    "-2147483649",
    "01",
    "+1",
    " 1",
    "",
    "1.5",
    "-0",
    "0x10",
    "abc",
];
const FLOATS: [&str; 20] = [
    "1.5", "-0", "-0.0", "inf", "-inf", "+inf", "nan", "1e308", "1e309", "-1e400", "1e-400", "", " 1",
    "0x10", "(1", "3.0e3", "0.1", ".5", "5.", "infinity",
];
const TEXTS: [&str; 13] = [
    "a",
    "b",
    "c",
    "",
    "\r\n",
    "field",
    "10",
    "-5",
    "1.5",
    "Palermo",
    "FIELDS",
    "COUNT",
    "a text that is longer than forty-four bytes",
];
const BOUNDS: [&str; 8] = ["-", "+", "[a", "(b", "[", "(", "a", ""];
const IDS: [&str; 12] = [
    "0",
    "1-1",
    "1-2",
    "5",
    "5-*",
    "-",
    "+",
    "$",
    "0-0",
    "18446744073709551615-18446744073709551615",
    "1-",
    "(1-1",
];
/// Never so soon that a key is gone on one server and there on the other.
const TIMES: [&str; 7] = [
    "0",
    "-1",
    "100000",
    "99999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775",
];

/// What there is at the beginning.
const SETUP: [&str; 12] = [
    "SET k hello",
    "SET i 10",
    "SADD s a b c 10 field",
    "RPUSH l a b c 10 a",
    "HSET h a 1 b 2 field x",
    "ZADD z 1 a 2 b 3 c 0 field",
    "XADD x 1-1 a b",
    "XADD x 1-2 a b",
    "XADD x 5-0 c d",
    "XGROUP CREATE x a 0",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 a",
    "SETBIT bits 7 1",
];

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(text) | Value::Simple(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

fn field<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    let Value::Map(fields) = map else { return None };
    fields.iter().find(|(key, _)| text(key) == name).map(|(_, value)| value)
}

fn elements(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(elements) | Value::Set(elements)) => elements,
        _ => &[],
    }
}

fn arguments(of: &Value) -> Vec<Argument> {
    let argument = |described: &Value| {
        let flags: Vec<String> = elements(field(described, "flags")).iter().map(text).collect();
        let has = |flag: &str| flags.iter().any(|it| it == flag);
        Argument {
            name: field(described, "name").map(text).unwrap_or_default(),
            kind: field(described, "type").map(text).unwrap_or_default(),
            token: field(described, "token").map(text),
            is_optional: has("optional"),
            is_multiple: has("multiple"),
            repeats_token: has("multiple_token"),
            inner: arguments(described),
        }
    };
    elements(field(of, "arguments")).iter().map(argument).collect()
}

/// The commands on keys, but for those that are left out.
fn commands(server: &Server) -> Vec<Command> {
    let Value::Map(docs) = server.connect_resp3().request(&["COMMAND", "DOCS"]) else {
        panic!("docs are a map")
    };
    let mut commands = Vec::new();
    let mut add = |name: String, described: &Value| {
        if !LEFT_OUT.split_whitespace().any(|left_out| left_out == name) {
            let words = name.split('|').map(str::to_owned).collect();
            commands.push(Command { words, arguments: arguments(described) });
        }
    };
    for (name, described) in &docs {
        if !field(described, "group").is_some_and(|group| GROUPS.contains(&&*text(group))) {
            continue;
        }
        match field(described, "subcommands") {
            Some(Value::Map(subcommands)) => {
                subcommands.iter().for_each(|(name, described)| add(text(name), described));
            }
            _ => add(text(name), described),
        }
    }
    // Redis tells of them in another order each time it is started.
    commands.sort_by(|one, other| one.words.cmp(&other.words));
    commands
}

struct Writer<'c> {
    random: Rng,
    commands: &'c [Command],
}

impl Writer<'_> {
    fn pick(&mut self, words: &[&str]) -> String {
        words[self.random.usize(..words.len())].to_owned()
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn value(&mut self, argument: &Argument) -> String {
        let name = argument.name.as_str();
        match argument.kind.as_str() {
            "key" => self.pick(&KEYS),
            _ if argument.kind == "unix-time" || name.contains("seconds") => self.pick(&TIMES),
            "integer" if self.percent(65) => self.pick(&SMALL),
            "integer" => self.pick(&INTEGERS),
            "double" if self.percent(40) => self.pick(&SMALL),
            "double" => self.pick(&FLOATS),
            "pattern" => self.pick(&["*", "a*", "[a-c]", "\\", "[", ""]),
            _ if ["min", "max"].contains(&name) => match self.random.u8(..3) {
                0 => self.pick(&BOUNDS),
                1 => self.pick(&FLOATS),
                _ => self.pick(&SMALL),
            },
            _ if name.contains("id") || ["start", "end", "threshold"].contains(&name) => {
                match self.random.u8(..3) {
                    0 => self.pick(&IDS),
                    1 => self.pick(&BOUNDS),
                    _ => self.pick(&SMALL),
                }
            }
            _ if self.percent(80) => self.pick(&TEXTS),
            _ => self.pick(&INTEGERS),
        }
    }

    fn write(&mut self, argument: &Argument) -> Vec<String> {
        let mut words = Vec::new();
        if argument.is_optional && self.percent(55) {
            return words;
        }
        let times = if argument.is_multiple { 1 + self.random.usize(..4) } else { 1 };
        for nth in 0..times {
            if let Some(token) = &argument.token
                && (nth == 0 || argument.repeats_token)
            {
                words.push(if self.percent(90) { token.clone() } else { token.to_lowercase() });
            }
            match argument.kind.as_str() {
                "pure-token" => {}
                "oneof" => {
                    let one = &argument.inner[self.random.usize(..argument.inner.len())];
                    words.append(&mut self.write(one));
                }
                "block" => argument.inner.iter().for_each(|inner| words.append(&mut self.write(inner))),
                _ => words.push(self.value(argument)),
            }
        }
        words
    }

    fn request(&mut self) -> Vec<String> {
        let commands = self.commands;
        let command = &commands[self.random.usize(..commands.len())];
        let mut parts: Vec<Vec<String>> =
            command.arguments.iter().map(|argument| self.write(argument)).collect();
        // How many keys or fields follow is mostly right, so that there is something behind it.
        for at in 0..parts.len() {
            let name = command.arguments[at].name.as_str();
            if name == "numkeys" && at + 1 < parts.len() && self.percent(85) {
                parts[at] = vec![parts[at + 1].len().to_string()];
            }
            if name == "fields" && parts[at].len() > 2 && self.percent(85) {
                let each = if command.words[0] == "hsetex" { 2 } else { 1 };
                parts[at][1] = ((parts[at].len() - 2) / each).to_string();
            }
        }
        let has_order = !IN_ANY_ORDER.contains(&&*command.words[0]);
        if !parts.is_empty() && self.percent(10) && has_order {
            let (from, to) = (self.random.usize(..parts.len()), self.random.usize(..parts.len()));
            parts.swap(from, to);
        }
        if !parts.is_empty() && self.percent(5) && has_order {
            parts.push(parts[self.random.usize(..parts.len())].clone());
        }
        let mut request = [command.words.clone(), parts.concat()].concat();
        if request.len() > 1 && self.percent(4) {
            request.pop();
        }
        if self.percent(4) {
            request.push(self.pick(&TEXTS));
        }
        request
    }

    /// The request alone, in a transaction, or from a script.
    fn requests(&mut self) -> Vec<Vec<String>> {
        let request = loop {
            let request = self.request();
            if !request.iter().any(|word| word.eq_ignore_ascii_case("BYLEX")) {
                break request;
            }
        };
        match self.random.u8(..8) {
            0 => {
                let script = "return redis.call(unpack(ARGV))";
                vec![[vec!["EVAL".to_owned(), script.to_owned(), "0".to_owned()], request].concat()]
            }
            1 => vec![vec!["MULTI".to_owned()], request, vec!["EXEC".to_owned()]],
            _ => vec![request],
        }
    }
}

/// The reply; without the words of an error, if these may differ.
fn reply(client: &mut Client, request: &[String], words_differ: bool) -> Vec<u8> {
    client.send(request);
    match client.frame(PATIENCE) {
        Frame::Bytes(bytes) if words_differ && bytes.windows(5).any(|part| part == b"-ERR ") => {
            b"-ERR".to_vec()
        }
        Frame::Bytes(bytes) => bytes,
        other => panic!("{request:?} is answered {other:?}"),
    }
}

fn begin(client: &mut Client) {
    client.request(&["FLUSHALL"]);
    for line in SETUP {
        client.request(&line.split(' ').collect::<Vec<_>>());
    }
}

/// Requests between which everything begins anew.
const ROUND: u32 = 60;

#[test]
fn requests_made_from_redis_s_own_grammar_are_answered_alike() {
    if !reference_is_at_least(8) {
        return;
    }
    let servers = [Launch::reference().start(), Server::sterna(2, &[])];
    let commands = commands(&servers[0]);
    assert!(commands.len() > 130, "{} commands", commands.len());
    let seed = sterna_tests::seed(0x67_72_61_6d);
    let mut writer = Writer { random: Rng::with_seed(seed), commands: &commands };
    for connect in [Server::connect, Server::connect_resp3] {
        let [redis, sterna] = &mut servers.each_ref().map(connect);
        let mut round: Vec<Vec<String>> = Vec::new();
        for nth in 0..1_500 {
            if nth % ROUND == 0 {
                round.clear();
                [&mut *redis, &mut *sterna].into_iter().for_each(begin);
            }
            let requests = writer.requests();
            let words_differ = requests.iter().flatten().any(|word| IN_ANY_ORDER.contains(&&**word));
            for request in requests {
                round.push(request);
                let request = &round[round.len() - 1];
                let [expected, got] =
                    [&mut *redis, &mut *sterna].map(|client| reply(client, request, words_differ));
                assert_eq!(
                    expected.escape_ascii().to_string(),
                    got.escape_ascii().to_string(),
                    "seed {seed}, {request:?} behind {:#?}",
                    &round[..round.len() - 1]
                );
            }
        }
    }
}
