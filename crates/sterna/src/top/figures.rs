//! What happened between two looks at a server: rates, and times of that time alone.

use serde_json::{Value as Json, json};

use super::sample::{Calls, Client, Sample, part, steps};
use crate::groups::Group;
use crate::text;

/// All there is to show.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) uptime_s: u64,
    /// Seconds that rates are of; 0: there is one look so far.
    pub(super) interval_s: f64,
    pub(super) is_loading: bool,
    pub(super) clients: u64,
    pub(super) maxclients: u64,
    pub(super) blocked: u64,
    pub(super) subscribers: u64,
    pub(super) detached: u64,
    /// Closed since the start because they did not read.
    pub(super) slow_closed: u64,
    pub(super) channels: u64,
    pub(super) patterns: u64,
    pub(super) published: f64,
    pub(super) delivered: f64,
    /// From PUBLISH to a subscriber's socket.
    pub(super) delivery: Option<Percentiles>,
    pub(super) commands_per_s: f64,
    pub(super) in_bytes: f64,
    pub(super) out_bytes: f64,
    pub(super) errors: f64,
    pub(super) memory: u64,
    pub(super) memory_max: u64,
    pub(super) resident: u64,
    pub(super) keys: u64,
    pub(super) expired: f64,
    pub(super) evicted: f64,
    pub(super) unsynced: u64,
    pub(super) syncs: f64,
    /// Microseconds of a sync.
    pub(super) sync_us: Option<f64>,
    pub(super) has_journal: bool,
    pub(super) is_write_ok: bool,
    pub(super) shards: Vec<Shard>,
    pub(super) commands: Vec<Command>,
    pub(super) slow: Option<Vec<Client>>,
    pub(super) groups: Option<Vec<Group>>,
    pub(super) streams: usize,
}

/// Times that so many out of a hundred don't exceed: microseconds, at most twice what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
}

/// One shard.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) clients: u64,
    /// Of a hundred; `None`: there is one look so far.
    pub(super) load: Option<f64>,
    pub(super) commands: f64,
    pub(super) published: f64,
    pub(super) delivered: f64,
    pub(super) out_bytes: f64,
}

/// One command.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) calls: f64,
    /// Of a hundred, of one shard's time.
    pub(super) share: f64,
    pub(super) mean_us: Option<f64>,
    pub(super) took: Option<Percentiles>,
}

impl Figures {
    /// What lies between two looks; without the first there are no rates.
    pub(super) fn between(before: Option<&Sample>, now: &Sample) -> Figures {
        let run = |sample: &Sample| sample.info.get("run_id").cloned();
        // What another process counted has nothing to do with it.
        let before = before.filter(|before| run(before) == run(now));
        let interval_s = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
        let since = Since { before, now, interval_s };
        let number = |name: &str| now.number(name);
        let syncs = since.more("journal_syncs");
        Figures {
            version: (now.info.get("sterna_version").map(|version| format!("sterna {version}")))
                .or_else(|| now.info.get("redis_version").map(|version| format!("redis {version}")))
                .unwrap_or_default(),
            uptime_s: number("uptime_in_seconds"),
            interval_s,
            is_loading: number("loading") != 0,
            clients: number("connected_clients"),
            maxclients: number("maxclients"),
            blocked: number("blocked_clients"),
            subscribers: number("pubsub_clients"),
            detached: number("detached_clients"),
            slow_closed: number("closed_output_limit")
                .max(number("client_output_buffer_limit_disconnections")),
            channels: number("pubsub_channels") + number("pubsubshard_channels"),
            patterns: number("pubsub_patterns"),
            published: since.rate("published_messages"),
            delivered: since.rate("delivered_messages"),
            delivery: since.delivery(),
            commands_per_s: since.rate("total_commands_processed"),
            in_bytes: since.rate("total_net_input_bytes"),
            out_bytes: since.rate("total_net_output_bytes"),
            errors: since.rate("total_error_replies"),
            memory: number("used_memory"),
            memory_max: number("maxmemory"),
            resident: number("used_memory_rss"),
            keys: now.keys(),
            expired: since.rate("expired_keys"),
            evicted: since.rate("evicted_keys"),
            unsynced: number("aof_buffer_length"),
            syncs: since.rate("journal_syncs"),
            sync_us: (syncs > 0).then(|| since.more("journal_sync_time_usec") as f64 / syncs as f64),
            has_journal: number("aof_enabled") != 0,
            is_write_ok: now.info.get("aof_last_write_status").is_none_or(|status| status == "ok"),
            shards: since.shards(),
            commands: since.commands(),
            slow: now.clients.clone(),
            groups: now.groups.clone(),
            streams: now.streams,
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Json {
        let percentiles =
            |took: &Percentiles| json!({"count": took.count, "p50_us": took.p50, "p99_us": took.p99});
        let shards: Vec<Json> = (self.shards.iter())
            .map(|shard| {
                json!({
                    "shard": shard.index, "clients": shard.clients, "load_percent": shard.load,
                    "commands_per_s": shard.commands, "published_per_s": shard.published,
                    "delivered_per_s": shard.delivered, "out_bytes_per_s": shard.out_bytes,
                })
            })
            .collect();
        let commands: Vec<Json> = (self.commands.iter())
            .map(|command| {
                json!({
                    "command": command.name, "calls_per_s": command.calls, "load_percent": command.share,
                    "mean_us": command.mean_us, "took": command.took.as_ref().map(percentiles),
                })
            })
            .collect();
        let client = |client: &Client| {
            json!({
                "id": client.id, "address": client.address, "name": client.name, "user": client.user,
                "command": client.command, "age_s": client.age_s, "queued_bytes": client.queued_bytes,
                "subscriptions": client.subscriptions,
            })
        };
        let group = |group: &Group| {
            json!({
                "stream": text::string(&group.stream), "group": text::string(&group.name), "lag": group.lag,
                "pending": group.pending, "consumers": group.consumers, "last_delivered": group.last_delivered,
                "oldest_pending_id": group.oldest.as_ref().map(|oldest| &oldest.id),
                "oldest_pending_ms": group.oldest.as_ref().map(|oldest| oldest.idle_ms),
            })
        };
        json!({
            "version": self.version, "uptime_s": self.uptime_s, "interval_s": self.interval_s,
            "loading": self.is_loading,
            "clients": {
                "connected": self.clients, "max": self.maxclients, "blocked": self.blocked,
                "subscribers": self.subscribers, "detached": self.detached, "closed_as_slow": self.slow_closed,
            },
            "messages": {
                "published_per_s": self.published, "delivered_per_s": self.delivered,
                "to_socket": self.delivery.as_ref().map(percentiles),
                "channels": self.channels, "patterns": self.patterns,
            },
            "commands_per_s": self.commands_per_s, "in_bytes_per_s": self.in_bytes,
            "out_bytes_per_s": self.out_bytes, "errors_per_s": self.errors,
            "memory": {
                "used": self.memory, "max": self.memory_max, "resident": self.resident, "keys": self.keys,
                "expired_per_s": self.expired, "evicted_per_s": self.evicted,
            },
            "journal": self.has_journal.then(|| json!({
                "unsynced_bytes": self.unsynced, "syncs_per_s": self.syncs, "sync_us": self.sync_us,
                "last_write_ok": self.is_write_ok,
            })),
            "shards": shards,
            "commands": commands,
            "slow_clients": self.slow.as_ref().map(|slow| slow.iter().map(client).collect::<Vec<_>>()),
            "streams": self.streams,
            "groups": self.groups.as_ref().map(|groups| groups.iter().map(group).collect::<Vec<_>>()),
        })
    }
}

impl Sample {
    fn number(&self, name: &str) -> u64 {
        self.info.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Of all databases.
    fn keys(&self) -> u64 {
        let databases = self.info.iter().filter(|(name, _)| {
            name.strip_prefix("db").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        });
        databases.filter_map(|(_, text)| part(text, "keys")).sum()
    }
}

/// Two looks at one process.
struct Since<'a> {
    before: Option<&'a Sample>,
    now: &'a Sample,
    interval_s: f64,
}

impl Since<'_> {
    fn more(&self, name: &str) -> u64 {
        // CONFIG RESETSTAT makes counters smaller.
        self.before.map_or(0, |before| self.now.number(name).saturating_sub(before.number(name)))
    }

    fn rate(&self, name: &str) -> f64 {
        self.a_second(self.more(name))
    }

    fn a_second(&self, more: u64) -> f64 {
        if self.interval_s > 0.0 { more as f64 / self.interval_s } else { 0.0 }
    }

    fn delivery(&self) -> Option<Percentiles> {
        let of = |sample: &Sample| sample.info.get("delivery_latency_histogram_usec").map(|text| steps(text));
        percentiles(&self.before.map(|before| of(before).unwrap_or_default())?, &of(self.now)?)
    }

    fn shards(&self) -> Vec<Shard> {
        let of = |sample: &'_ Sample, index: usize| sample.info.get(&format!("io_thread_{index}")).cloned();
        let texts = (0..).map_while(|index| Some((index, of(self.now, index)?)));
        let shard = |(index, text): (usize, String)| {
            let before = self.before.and_then(|before| of(before, index));
            let number = |name| part(&text, name).unwrap_or(0);
            let more = |name| {
                before
                    .as_ref()
                    .map_or(0, |before| number(name).saturating_sub(part(before, name).unwrap_or(0)))
            };
            let idle = more("idle_msec") as f64 / 10.0;
            Shard {
                index,
                clients: number("clients"),
                load: before.as_ref().map(|_| (100.0 - idle / self.interval_s).clamp(0.0, 100.0)),
                commands: self.a_second(more("commands")),
                published: self.a_second(more("published")),
                delivered: self.a_second(more("delivered")),
                out_bytes: self.a_second(more("out_bytes")),
            }
        };
        texts.map(shard).collect()
    }

    /// Commands that were called.
    fn commands(&self) -> Vec<Command> {
        let Some(before) = self.before else { return Vec::new() };
        let nothing = Calls::default();
        let command = |(name, now): (&String, &Calls)| {
            let then = before.commands.get(name).unwrap_or(&nothing);
            let (calls, usec) = (now.calls.saturating_sub(then.calls), now.usec.saturating_sub(then.usec));
            (calls > 0).then(|| Command {
                name: name.replace('|', " "),
                calls: self.a_second(calls),
                share: self.a_second(usec) / 10_000.0,
                mean_us: Some(usec as f64 / calls as f64),
                took: percentiles(&then.took, &now.took),
            })
        };
        self.now.commands.iter().filter_map(command).collect()
    }
}

/// Of what was counted between the two; each is a list of microseconds, and how many took at most so long.
fn percentiles(before: &[(u64, u64)], now: &[(u64, u64)]) -> Option<Percentiles> {
    let at_most = |steps: &[(u64, u64)], us: u64| {
        steps.iter().take_while(|&&(step, _)| step <= us).last().map_or(0, |&(_, count)| count)
    };
    let new: Vec<(u64, u64)> =
        now.iter().map(|&(us, count)| (us, count.saturating_sub(at_most(before, us)))).collect();
    let count = new.last()?.1;
    let time = |percent: u64| {
        let wanted = (count * percent).div_ceil(100).max(1);
        new.iter().find(|&&(_, count)| count >= wanted).map_or(0, |&(us, _)| us)
    };
    (count > 0).then(|| Percentiles { count, p50: time(50), p99: time(99) })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::time::{Duration, Instant};

    use super::*;

    fn sample(at: Instant, fields: &[(&str, &str)]) -> Sample {
        let info: HashMap<String, String> =
            fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Sample { at, info, commands: BTreeMap::new(), clients: None, groups: None, streams: 0 }
    }

    #[test]
    fn times_are_those_of_what_came_between() {
        let before = [(1, 90), (4, 100)];
        type Row = (&'static [(u64, u64)], Option<(u64, u64, u64)>);
        let rows: [Row; 4] = [
            (&[(1, 90), (4, 100)], None),
            (&[(1, 91), (4, 101)], Some((1, 1, 1))),
            (&[(1, 90), (4, 100), (8, 110)], Some((10, 8, 8))),
            (&[(1, 140), (4, 199), (64, 200)], Some((100, 1, 4))),
        ];
        for (now, expected) in rows {
            let expected = expected.map(|(count, p50, p99)| Percentiles { count, p50, p99 });
            assert_eq!(percentiles(&before, now), expected, "{now:?}");
        }
        assert_eq!(percentiles(&[], &[]), None);
    }

    #[test]
    fn rates_are_a_second_and_those_of_one_process() {
        let at = Instant::now();
        let shard = |idle, commands| format!("clients=3,commands={commands},idle_msec={idle}");
        let (one, other) = (shard(1000, 10), shard(2500, 30));
        let before = sample(at, &[("run_id", "a"), ("published_messages", "10"), ("io_thread_0", &one)]);
        let now = at + Duration::from_secs(2);
        let after = sample(now, &[("run_id", "a"), ("published_messages", "50"), ("io_thread_0", &other)]);
        let figures = Figures::between(Some(&before), &after);
        assert_eq!(figures.published, 20.0);
        let expected = Shard { clients: 3, load: Some(25.0), commands: 10.0, ..Shard::default() };
        assert_eq!(figures.shards, [expected]);
        // Started anew, or counted anew.
        let anew = sample(now, &[("run_id", "b"), ("published_messages", "50")]);
        assert_eq!(Figures::between(Some(&before), &anew).published, 0.0);
        let reset = sample(now, &[("run_id", "a"), ("published_messages", "5")]);
        assert_eq!(Figures::between(Some(&before), &reset).published, 0.0);
    }
}
