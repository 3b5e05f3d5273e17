//! Commands on strings, lists, hashes, sets and sorted sets; and a channel that remembers.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Group, command};
use crate::peer::Settings;
use std::time::Instant;

/// One connection sends one kind of request, pipelined: server CPU of each, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    /// INCR.
    Incr,
    /// EXPIRE.
    Expire,
    /// MGET of ten keys.
    Mget,
    /// LPUSH.
    Lpush,
    /// RPOP.
    Rpop,
    /// LRANGE of 100.
    Lrange,
    /// HSET of one field.
    Hset,
    /// HGET.
    Hget,
    /// HGETALL of 20 fields.
    Hgetall,
    /// SADD.
    Sadd,
    /// SISMEMBER.
    Sismember,
    /// SPOP.
    Spop,
    /// SMEMBERS of 100.
    Smembers,
    /// SINTER of two sets of 10 000 that share 100.
    Sinter,
    /// ZADD of another score.
    Zadd(usize),
    /// ZRANK.
    Zrank(usize),
    /// ZRANGEBYSCORE LIMIT 0 100.
    Zrange(usize),
    /// ZADD of a member, and ZPOPMIN: two requests, which count as one.
    Zpop(usize),
    /// PUBLISH to a channel that remembers.
    Remembered,
    /// PUBLISH, and XADD with the same limit: two requests, which count as one.
    PublishAndAdd,
}

/// Requests sent at once.
const PIPELINE: usize = 256;
/// Keys of small values.
const KEYS: usize = 10_000;
/// Elements that requests which use them up find.
const STOCK: usize = 1_000_000;
const VALUE: &[u8] = b"abcdefghijklmnopqrst";
/// Elements added by one request of a preparation.
const STEP: usize = 50;

impl Measure for Types {
    fn heavy(&self) -> bool {
        matches!(self, Types::Zadd(size) | Types::Zrank(size) | Types::Zrange(size) | Types::Zpop(size) if *size > STOCK)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let most = self.prepare(&mut scene, bench)?;
        scene.pipelined(bench, (PIPELINE, most, self.lines()), |out, n| self.request(out, n))
    }
}

/// `element:` and twelve digits: a permutation of the numbers below `size`.
fn element(n: usize, size: usize) -> Vec<u8> {
    format!("element:{:012}", n.wrapping_mul(7919) % size).into_bytes()
}

/// A score below `size` for the `n`th member, far from the one it had: once all have been through they get others again.
fn another_score(n: usize, size: usize) -> String {
    let round = n / size;
    ((n + round * (size / 3 + 1)).wrapping_mul(104_729) % size).to_string()
}

fn key(prefix: &str, n: usize) -> Vec<u8> {
    format!("{prefix}:{:05}", n.wrapping_mul(7919) % KEYS).into_bytes()
}

impl Types {
    /// Fills the keys. Returns how many requests they are good for.
    fn prepare(self, scene: &mut Scene, bench: &Bench<'_>) -> Result<usize, Failure> {
        let stock = bench.count(STOCK).next_multiple_of(STEP);
        let set = |scene: &mut Scene, name: &'static [u8], size: usize, shift: usize| {
            scene.ask("a set", size.div_ceil(STEP), 1, |out, n| {
                let members: Vec<_> =
                    (0..STEP).map(|at| element(n * STEP + at + shift, usize::MAX)).collect();
                let words: Vec<&[u8]> =
                    [&b"SADD"[..], name].into_iter().chain(members.iter().map(Vec::as_slice)).collect();
                command(out, &words);
            })
        };
        match self {
            Types::Expire | Types::Mget => {
                scene.ask("keys", KEYS, 1, |out, n| command(out, &[b"SET", &key("key", n), VALUE]))?;
            }
            Types::Rpop | Types::Lrange => {
                let size = if self == Types::Rpop { stock } else { 600 };
                scene.ask("a list", size, 1, |out, n| command(out, &[b"LPUSH", b"l", &element(n, stock)]))?;
            }
            Types::Hget | Types::Hgetall => {
                scene
                    .ask("a hash", 20, 1, |out, n| command(out, &[b"HSET", b"h", &element(n, 20), VALUE]))?;
            }
            Types::Sismember | Types::Smembers => set(scene, b"s", 100, 0)?,
            Types::Spop => set(scene, b"s", stock, 0)?,
            Types::Sinter => {
                set(scene, b"s", 10_000, 0)?;
                set(scene, b"t", 10_000, 9_900)?;
            }
            Types::Zadd(size) | Types::Zrank(size) | Types::Zrange(size) | Types::Zpop(size) => {
                let size = size.min(bench.count(size).max(100)).next_multiple_of(STEP);
                scene.ask("a sorted set", size / STEP, 1, |out, n| {
                    let numbers =
                        (n * STEP..(n + 1) * STEP).map(|n| (n.to_string().into_bytes(), element(n, size)));
                    let pairs: Vec<_> = numbers.flat_map(|(score, member)| [score, member]).collect();
                    let words: Vec<&[u8]> =
                        [&b"ZADD"[..], b"z"].into_iter().chain(pairs.iter().map(Vec::as_slice)).collect();
                    command(out, &words);
                })?;
            }
            Types::Remembered => drop(scene.text(&[b"CONFIG", b"SET", b"retain", b"c maxlen 10000"])?),
            Types::Incr | Types::Lpush | Types::Hset | Types::Sadd | Types::PublishAndAdd => {}
        }
        Ok(if matches!(self, Types::Rpop | Types::Spop) { stock } else { usize::MAX })
    }

    /// Lines that answer one request: one for a number, two for a string, and an array's one more.
    fn lines(self) -> u64 {
        match self {
            Types::Mget => 1 + 2 * 10,
            Types::Rpop | Types::Hget | Types::Spop => 2,
            Types::Lrange | Types::Smembers | Types::Sinter | Types::Zrange(_) => 1 + 2 * 100,
            Types::Hgetall => 1 + 2 * 40,
            // A number; an array of member and score.
            Types::Zpop(_) => 1 + 5,
            Types::PublishAndAdd => 1 + 2,
            _ => 1,
        }
    }

    /// Appends the `n`th request.
    fn request(self, out: &mut Vec<u8>, n: usize) {
        match self {
            Types::Incr => command(out, &[b"INCR", &key("n", n)]),
            Types::Expire => command(out, &[b"EXPIRE", &key("key", n), b"1000"]),
            Types::Mget => {
                let keys: Vec<_> = (0..10).map(|at| key("key", 10 * n + at)).collect();
                let words: Vec<&[u8]> =
                    std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
                command(out, &words);
            }
            Types::Lpush => command(out, &[b"LPUSH", b"l", VALUE]),
            Types::Rpop => command(out, &[b"RPOP", b"l"]),
            Types::Lrange => command(out, &[b"LRANGE", b"l", b"0", b"99"]),
            Types::Hset => command(out, &[b"HSET", &key("h", n), &element(n, 10), VALUE]),
            Types::Hget => command(out, &[b"HGET", b"h", &element(n, 20)]),
            Types::Hgetall => command(out, &[b"HGETALL", b"h"]),
            Types::Sadd => command(out, &[b"SADD", b"s", &element(n, usize::MAX)]),
            Types::Sismember => command(out, &[b"SISMEMBER", b"s", &element(n % 100, usize::MAX)]),
            Types::Spop => command(out, &[b"SPOP", b"s"]),
            Types::Smembers => command(out, &[b"SMEMBERS", b"s"]),
            Types::Sinter => command(out, &[b"SINTER", b"s", b"t"]),
            Types::Zadd(size) => {
                command(out, &[b"ZADD", b"z", another_score(n, size).as_bytes(), &element(n, size)]);
            }
            Types::Zrank(size) => command(out, &[b"ZRANK", b"z", &element(n, size)]),
            Types::Zrange(size) => {
                let from = (n.wrapping_mul(7919) % (size - 99)).to_string();
                command(out, &[b"ZRANGEBYSCORE", b"z", from.as_bytes(), b"+inf", b"LIMIT", b"0", b"100"]);
            }
            Types::Zpop(size) => {
                let score = (size + n).to_string();
                command(out, &[b"ZADD", b"z", score.as_bytes(), format!("new:{n:012}").as_bytes()]);
                command(out, &[b"ZPOPMIN", b"z"]);
            }
            Types::Remembered => command(out, &[b"PUBLISH", b"c", VALUE]),
            Types::PublishAndAdd => {
                command(out, &[b"PUBLISH", b"c", VALUE]);
                command(out, &[b"XADD", b"s", b"MAXLEN", b"10000", b"*", b"message", VALUE]);
            }
        }
    }
}

/// So many clients blocked in BLPOP on one list; each element serves the one that has waited longest, and once all are
/// served they wait again: CPU of one hand-over in nanoseconds, from the push to the reply and to the next wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandOver {
    pub clients: usize,
}

/// Array, name of the list, element.
const SERVED_LINES: u64 = 5;

impl Measure for HandOver {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let pusher = scene.connect(Group::Publisher)?;
        let mut waiting = Vec::new();
        for _ in 0..bench.count(self.clients) {
            waiting.push(scene.connect(Group::Subscriber)?);
        }
        round(&mut scene, pusher, &waiting)?;
        let cpu = scene.cpu()?;
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < bench.time() {
            round(&mut scene, pusher, &waiting)?;
            rounds += 1;
        }
        let served = (rounds * waiting.len()) as f64;
        Ok(Figures::new(scene.cpu()?.since(&cpu) as f64 / served)
            .also("hand-overs/s", served / begun.elapsed().as_secs_f64()))
    }
}

/// Has everybody wait, and pushes an element for each.
fn round(scene: &mut Scene, pusher: ConnId, waiting: &[ConnId]) -> Result<(), Failure> {
    let (mut wait, mut push) = (Vec::new(), Vec::new());
    command(&mut wait, &[b"BLPOP", b"l", b"0"]);
    waiting.iter().try_for_each(|&id| scene.swarm.send(id, &wait))?;
    waiting.iter().for_each(|_| command(&mut push, &[b"RPUSH", b"l", VALUE]));
    let due = scene.swarm.total(Group::Subscriber) + SERVED_LINES * waiting.len() as u64;
    scene.swarm.send(pusher, &push)?;
    let limit = scene.batch_limit("waiting clients");
    scene.swarm.until(&limit, |swarm| swarm.total(Group::Subscriber) >= due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_member_never_gets_the_score_that_it_has() {
        for size in [100, 100_000] {
            let mut scores: HashMap<Vec<u8>, String> = HashMap::new();
            for n in 0..5 * size {
                let score = another_score(n, size);
                assert_ne!(scores.insert(element(n, size), score.clone()), Some(score), "{n} of {size}");
            }
        }
    }
}
