//! One look at a server: what it says of itself at a moment, as counters since its start.
//!
//! Bounds, so that whoever watches costs little: clients are listed only while something is queued for one of them, and where
//! there are more than [`CLIENTS_MAX`] with every [`CLIENTS_EVERY`]th look; keys are walked [`SLICES_MAX`] slices a look, a walk
//! every [`WALK_INTERVAL`]; of the streams found, [`STREAMS_MAX`] are asked for their groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;

use crate::groups::{self, Group, Walk};
use crate::link::{Link, LinkError};

const CLIENTS_MAX: u64 = 10_000;
const CLIENTS_EVERY: u64 = 10;
const SLICES_MAX: usize = 5;
const WALK_INTERVAL: Duration = Duration::from_secs(5);
const STREAMS_MAX: usize = 200;

/// Where samples come from.
pub(super) struct Source {
    link: Link,
    looks: u64,
    walk: Walk,
    /// When the next walk may begin.
    walk_at: Instant,
    /// Streams that the walk has found so far.
    found: BTreeSet<Vec<u8>>,
    /// Those of the last whole walk.
    streams: BTreeSet<Vec<u8>>,
    has_walked: bool,
    clients: Vec<Client>,
}

/// What was seen.
pub(super) struct Sample {
    pub(super) at: Instant,
    /// INFO's fields.
    pub(super) info: HashMap<String, String>,
    pub(super) commands: BTreeMap<String, Calls>,
    /// Clients for whom something is queued; `None`: its user may not see them.
    pub(super) clients: Option<Vec<Client>>,
    /// `None`: its user may not see streams.
    pub(super) groups: Option<Vec<Group>>,
    pub(super) streams: usize,
}

/// A command since the server's start.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    pub(super) calls: u64,
    pub(super) usec: u64,
    /// Microseconds, and how many took at most so long, rising.
    pub(super) took: Vec<(u64, u64)>,
}

/// A client for whom something is queued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) command: String,
    pub(super) age_s: u64,
    pub(super) queued_bytes: u64,
    pub(super) subscriptions: u64,
}

const SECTIONS: [&str; 11] = [
    "INFO",
    "server",
    "clients",
    "connections",
    "memory",
    "persistence",
    "threads",
    "stats",
    "messages",
    "commandstats",
    "keyspace",
];

impl Source {
    pub(super) fn new(link: Link) -> Source {
        Source {
            link,
            looks: 0,
            walk: Walk::new(None),
            walk_at: Instant::now(),
            found: BTreeSet::new(),
            streams: BTreeSet::new(),
            has_walked: false,
            clients: Vec::new(),
        }
    }

    /// Looks once.
    pub(super) fn sample(&mut self) -> Result<Sample, LinkError> {
        let info = self.link.ask(&SECTIONS)?;
        let at = Instant::now();
        let info = fields(&String::from_utf8_lossy(info.as_bytes().unwrap_or_default()));
        let mut commands = commands_of(&info);
        if let Some(histogram) = unless_refused(self.link.ask(&["LATENCY", "HISTOGRAM"]))? {
            add_durations(&mut commands, &histogram);
        }
        let clients = self.clients(&info)?;
        let groups = self.groups()?;
        self.looks += 1;
        Ok(Sample { at, info, commands, clients, groups, streams: self.streams.len() })
    }

    fn clients(&mut self, info: &HashMap<String, String>) -> Result<Option<Vec<Client>>, LinkError> {
        let number = |name| info.get(name).and_then(|text: &String| text.parse().ok()).unwrap_or(0_u64);
        if number("client_recent_max_output_buffer") == 0 {
            return Ok(Some(Vec::new()));
        }
        if number("connected_clients") > CLIENTS_MAX && !self.looks.is_multiple_of(CLIENTS_EVERY) {
            return Ok(Some(self.clients.clone()));
        }
        let Some(list) = unless_refused(self.link.ask(&["CLIENT", "LIST"]))? else { return Ok(None) };
        let list = String::from_utf8_lossy(list.as_bytes().unwrap_or_default()).into_owned();
        self.clients = list.lines().map(client_of).filter(|client| client.queued_bytes > 0).collect();
        Ok(Some(self.clients.clone()))
    }

    fn groups(&mut self) -> Result<Option<Vec<Group>>, LinkError> {
        if Instant::now() >= self.walk_at {
            for _ in 0..SLICES_MAX {
                let Some((streams, is_last)) = unless_refused(self.walk.slice(&mut self.link))? else {
                    return Ok(None);
                };
                self.found.extend(streams);
                if is_last {
                    self.streams = std::mem::take(&mut self.found);
                    self.has_walked = true;
                    self.walk_at = Instant::now() + WALK_INTERVAL;
                    break;
                }
            }
        }
        // Until all keys have been seen once, what there is of them.
        let known = if self.has_walked { &self.streams } else { &self.found };
        let streams: Vec<Vec<u8>> = known.iter().take(STREAMS_MAX).cloned().collect();
        let Some(mut groups) = unless_refused(groups::groups(&mut self.link, &streams))? else {
            return Ok(None);
        };
        // Who may not see what is pending sees the rest.
        unless_refused(groups::add_oldest(&mut self.link, &mut groups))?;
        Ok(Some(groups))
    }
}

/// A reply, or `None` where the server does not let this user, or does not know the command.
fn unless_refused<T>(reply: Result<T, LinkError>) -> Result<Option<T>, LinkError> {
    match reply {
        Err(LinkError::Refused { why, .. }) if why.starts_with("NOPERM") || why.starts_with("ERR") => {
            Ok(None)
        }
        reply => reply.map(Some),
    }
}

/// INFO's lines.
fn fields(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A part of a field that has several: `calls=1,usec=2`.
pub(super) fn part(text: &str, name: &str) -> Option<u64> {
    let mut parts = text.split(',').filter_map(|part| part.split_once('='));
    parts.find(|(part, _)| *part == name)?.1.parse().ok()
}

/// Pairs of a field that has many: `1=10,2=15`.
pub(super) fn steps(text: &str) -> Vec<(u64, u64)> {
    let pairs = text.split(',').filter_map(|part| part.split_once('='));
    pairs.filter_map(|(us, count)| Some((us.parse().ok()?, count.parse().ok()?))).collect()
}

fn commands_of(info: &HashMap<String, String>) -> BTreeMap<String, Calls> {
    let rows = info.iter().filter_map(|(name, text)| Some((name.strip_prefix("cmdstat_")?, text)));
    let calls =
        |text| Some(Calls { calls: part(text, "calls")?, usec: part(text, "usec")?, took: Vec::new() });
    rows.filter_map(|(name, text)| Some((name.to_owned(), calls(text)?))).collect()
}

/// Adds what LATENCY HISTOGRAM says, a list of names and values in lists.
fn add_durations(commands: &mut BTreeMap<String, Calls>, histogram: &Value) {
    for pair in histogram.as_slice().unwrap_or_default().chunks_exact(2) {
        let name = String::from_utf8_lossy(pair[0].as_bytes().unwrap_or_default()).into_owned();
        let Some(calls) = commands.get_mut(&name) else { continue };
        let Some([_, _, _, Value::Array(steps)]) = pair[1].as_slice() else { continue };
        let number = |value: &Value| value.as_int().and_then(|n| u64::try_from(n).ok());
        let pairs = steps.chunks_exact(2);
        calls.took = pairs.filter_map(|pair| Some((number(&pair[0])?, number(&pair[1])?))).collect();
    }
}

fn client_of(line: &str) -> Client {
    let mut client = Client::default();
    for (name, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
        let number = || value.parse().unwrap_or(0);
        match name {
            "id" => client.id = number(),
            "addr" => client.address = value.to_owned(),
            "name" => client.name = value.to_owned(),
            "user" => client.user = value.to_owned(),
            "cmd" => client.command = value.to_owned(),
            "age" => client.age_s = number(),
            "omem" => client.queued_bytes = number(),
            "sub" | "psub" | "ssub" => client.subscriptions += number(),
            _ => {}
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_client_list_is_a_client() {
        let line = "id=7 addr=10.0.0.1:5 laddr=10.0.0.2:6379 name=slow age=12 idle=0 flags=P db=0 sub=2 psub=1 \
                    ssub=0 omem=4096 cmd=subscribe user=app";
        let expected = Client {
            id: 7,
            address: "10.0.0.1:5".to_owned(),
            name: "slow".to_owned(),
            user: "app".to_owned(),
            command: "subscribe".to_owned(),
            age_s: 12,
            queued_bytes: 4096,
            subscriptions: 3,
        };
        assert_eq!(client_of(line), expected);
    }

    #[test]
    fn fields_with_parts_are_taken_apart() {
        let info = fields("# Commandstats\r\ncmdstat_get:calls=3,usec=12,usec_per_call=4.00\r\nx:1\r\n");
        let commands = commands_of(&info);
        assert_eq!((commands["get"].calls, commands["get"].usec, commands.len()), (3, 12, 1));
        assert_eq!(steps("1=10,2=15"), [(1, 10), (2, 15)]);
        assert_eq!(part("clients=2,commands=7", "commands"), Some(7));
    }
}
