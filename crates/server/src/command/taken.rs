//! The request that puts back what a command has taken for a client that does not get it: see `shard/undelivered.rs`.

use sterna_command::Taken;
use sterna_protocol::decode::{Value, decode};
use sterna_protocol::{Args, Limits, OwnedArgs, Parser, Progress, argument, encode};

use super::table::{Row, table};
use crate::acl::{FirstChannels, User};
use crate::mailbox::Guest;
use crate::shard::Shard;

/// Who puts it back, for those who look.
const NAME: &[u8] = b"(undelivered)";

impl Shard {
    /// Puts back what was taken by the last of these requests, to which that was answered.
    pub(crate) fn put_back_undelivered(&mut self, db: u8, requests: &[u8], reply: &[u8]) {
        let Some(request) = last_request(requests) else { return };
        let Ok(row) = self.server.renames.resolve(self.server.table, request.args()) else { return };
        let Ok(Some((reply, _))) = decode(reply) else { return };
        let Some(words) = putting_back(row, request.args(), &reply) else { return };
        let (mut bytes, lines) = (Vec::new(), if db == 0 { 1 } else { 2 });
        if db != 0 {
            self.write_request(&mut bytes, "select", &[db.to_string().into_bytes()]);
        }
        self.write_request(&mut bytes, words.0, &words.1);
        let rules: [&[u8]; 3] = [b"+@all", b"~*", b"&*"];
        if let Ok(user) = User::with_rules(table(), NAME, &rules, FirstChannels::None) {
            self.send_requests(Guest { user: user.into(), ends_ms: u64::MAX }, &bytes, lines);
        }
    }

    /// Appends the request, whose command is called so in the table.
    fn write_request(&self, into: &mut Vec<u8>, name: &'static str, args: &[Vec<u8>]) {
        // Whoever has taken a command from its clients has not taken it from the server.
        let name = self.server.renames.name_of(name).unwrap_or(name.as_bytes());
        let words: Vec<&[u8]> = std::iter::once(name).chain(args.iter().map(Vec::as_slice)).collect();
        encode::request(into, words);
    }
}

/// The last of some whole requests.
pub(super) fn last_request(mut requests: &[u8]) -> Option<OwnedArgs> {
    let limits = Limits { bulk_bytes_max: usize::MAX, ..Limits::default() };
    let mut last = None;
    while !requests.is_empty() {
        let mut parser = Parser::default();
        let Ok(Progress::Request { consumed }) = parser.parse(requests, &limits) else { return None };
        last = Some(parser.args(requests).to_owned());
        requests = &requests[consumed..];
    }
    last
}

/// The command that puts back what this one has taken, and its arguments; `None`: it has taken nothing.
fn putting_back(row: &Row, args: Args<'_>, reply: &Value) -> Option<(&'static str, Vec<Vec<u8>>)> {
    let name = match row.spec.taken {
        Taken::Nothing => return None,
        Taken::First => "lpush",
        Taken::Last => "rpush",
        Taken::FromNamedEnd => {
            let behind = row.spec.keys.positions(args.len(), |at| args.get(at)).last()? + 1;
            if argument::eq_ignore_case(args.get(behind)?, "left") { "lpush" } else { "rpush" }
        }
        Taken::Members => "zadd",
    };
    let Value::Array(parts) = reply else { return None };
    let mut words = Vec::new();
    parts.iter().for_each(|part| flatten(part, &mut words));
    let (key, taken) = words.split_first()?;
    let mut request = vec![key.clone()];
    if row.spec.taken == Taken::Members {
        // Who has added it meanwhile knows better.
        request.push(b"NX".to_vec());
        taken.chunks_exact(2).for_each(|pair| request.extend([pair[1].clone(), pair[0].clone()]));
    } else {
        // The one that was taken last comes first.
        request.extend(taken.iter().rev().cloned());
    }
    Some((name, request))
}

fn flatten(part: &Value, into: &mut Vec<Vec<u8>>) {
    match part {
        Value::Array(parts) => parts.iter().for_each(|part| flatten(part, into)),
        Value::Double(score) => into.push(score.to_string().into_bytes()),
        part => into.extend(part.as_bytes().map(<[u8]>::to_vec)),
    }
}

#[cfg(test)]
mod tests {
    use sterna_command::{Flags, KeyUse, KeyUses};

    use super::*;

    #[test]
    fn each_command_that_waits_to_take_something_says_what() {
        for row in table().rows() {
            let takes = row.has(Flags::BLOCKING) && row.spec.uses == KeyUses::Each(KeyUse::TAKES);
            assert_eq!(takes, row.spec.taken != Taken::Nothing, "{}", row.full_name);
        }
    }

    #[test]
    fn what_was_taken_goes_back_to_where_it_was() {
        let put_back = |request: &str, reply: &[u8]| {
            let args: OwnedArgs = request.split(' ').collect();
            let row = table().resolve(args.args().len(), |at| args.args().get(at)).unwrap();
            let (name, words) = putting_back(row, args.args(), &decode(reply).unwrap().unwrap().0)?;
            let words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
            Some(std::iter::once(name.to_owned()).chain(words).collect::<Vec<_>>().join(" "))
        };
        let two = b"*2\r\n$1\r\nk\r\n$1\r\na\r\n";
        let several = b"*2\r\n$1\r\nk\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        for (request, reply, expected) in [
            ("BLPOP k l 0", &two[..], Some("lpush k a")),
            ("BRPOP k 0", two, Some("rpush k a")),
            ("BLMPOP 0 2 j k left COUNT 2", several, Some("lpush k b a")),
            ("BLMPOP 0 1 k RIGHT COUNT 2", several, Some("rpush k b a")),
            ("BZPOPMIN k 0", b"*3\r\n$1\r\nk\r\n$1\r\nm\r\n$3\r\n1.5\r\n", Some("zadd k NX 1.5 m")),
            ("BZPOPMAX k 0", b"*3\r\n$1\r\nk\r\n$1\r\nm\r\n,-inf\r\n", Some("zadd k NX -inf m")),
            (
                "BZMPOP 0 1 k MIN COUNT 2",
                b"*2\r\n$1\r\nk\r\n*2\r\n*2\r\n$1\r\nm\r\n,1\r\n*2\r\n$1\r\nn\r\n,2.5\r\n",
                Some("zadd k NX 1 m 2.5 n"),
            ),
            ("BLPOP k 0", b"*-1\r\n", None),
            ("BLPOP k 0", b"_\r\n", None),
            ("BLPOP k 0", b"-UNBLOCKED\r\n", None),
            ("BLMOVE k l LEFT LEFT 0", b"$1\r\na\r\n", None),
            ("XREAD BLOCK 0 STREAMS k $", several, None),
        ] {
            assert_eq!(put_back(request, reply).as_deref(), expected, "{request}");
        }
    }

    #[test]
    fn of_several_requests_the_last_counts() {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, [&b"CLIENT"[..], b"CACHING", b"YES"]);
        encode::request(&mut bytes, [&b"BLPOP"[..], b"k", b"0"]);
        let last = last_request(&bytes).unwrap();
        assert_eq!(last.args().iter().collect::<Vec<_>>(), [&b"BLPOP"[..], b"k", b"0"]);
        assert!(last_request(&bytes[..bytes.len() - 1]).is_none() && last_request(b"").is_none());
    }
}
