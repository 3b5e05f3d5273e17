//! What a message and a subscription cost in this crate, per operation.
//!
//! `cargo bench -p sterna-pubsub`, or with a name behind it for one group.

use std::fmt::Write;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sterna_pubsub::{ChannelIndex, Kind, MatchScratch, PatternTrie, SubscriberSet, Subscriptions, glob};

fn main() {
    divan::main();
}

/// Matching a channel against all patterns at once. None of the patterns match, unless the name says so.
mod matching {
    use super::*;

    const CHANNEL: &str = "bench:channel:000017";

    fn trie_of(patterns: impl Iterator<Item = String>) -> PatternTrie<u64> {
        let mut trie = PatternTrie::new();
        for pattern in patterns {
            trie.insert(pattern.as_bytes());
        }
        trie
    }

    fn bench_match(bencher: Bencher, trie: &PatternTrie<u64>, channels: &[String]) {
        let mut scratch = MatchScratch::default();
        let mut channels = channels.iter().cycle();
        bencher.bench_local(|| {
            let channel = channels.next().map_or(&b""[..], |channel| channel.as_bytes());
            let mut matches = 0;
            trie.for_each_match(black_box(channel), &mut scratch, |_, _| matches += 1);
            matches
        });
    }

    fn prefixes(patterns: u32) -> PatternTrie<u64> {
        trie_of((0..patterns).map(|n| format!("user:{n}:*")))
    }

    fn hostile(patterns: u32) -> PatternTrie<u64> {
        trie_of((0..patterns).map(|n| format!("*{n}*a*b")))
    }

    #[divan::bench(args = [0, 1_000, 1_000_000])]
    fn past_prefixes(bencher: Bencher, patterns: u32) {
        bench_match(bencher, &prefixes(patterns), &[CHANNEL.to_string()]);
    }

    /// Each time another channel, which shares all but its last byte with a pattern: nothing is in cache.
    #[divan::bench(args = [1_000_000])]
    fn past_prefixes_nearly_matching(bencher: Bencher, patterns: u32) {
        let channels: Vec<_> =
            (0..100_000).map(|_| format!("user:{}/x", fastrand::u32(..patterns))).collect();
        bench_match(bencher, &prefixes(patterns), &channels);
    }

    #[divan::bench(args = [1_000_000])]
    fn one_of_the_prefixes_matches(bencher: Bencher, patterns: u32) {
        let channels: Vec<_> =
            (0..100_000).map(|_| format!("user:{}:x", fastrand::u32(..patterns))).collect();
        bench_match(bencher, &prefixes(patterns), &channels);
    }

    #[divan::bench(args = [1_000, 10_000])]
    fn past_hostile(bencher: Bencher, patterns: u32) {
        bench_match(bencher, &hostile(patterns), &[CHANNEL.to_string()]);
    }

    /// Many of the numbers occur, some followed by an `a`, but no `b` is at the end.
    #[divan::bench(args = [10_000])]
    fn past_hostile_in_a_channel_full_of_numbers(bencher: Bencher, patterns: u32) {
        bench_match(bencher, &hostile(patterns), &["1234:98765:a:5647382910:a:0192837465:x".to_string()]);
    }

    /// What the trie is measured against: each pattern by itself.
    #[divan::bench(args = [10_000])]
    fn past_hostile_one_by_one(bencher: Bencher, patterns: u32) {
        let patterns: Vec<_> = (0..patterns).map(|n| format!("*{n}*a*b")).collect();
        bencher.bench(|| {
            let matching = patterns
                .iter()
                .filter(|pattern| glob::matches(pattern.as_bytes(), black_box(CHANNEL.as_bytes())));
            matching.count()
        });
    }

    #[divan::bench(args = [10_000])]
    fn past_different_classes(bencher: Bencher, patterns: u32) {
        let classes = (0..patterns).map(|n| format!("[{:x}]{n}*", u128::from(n) * 0x9E37_79B9_7F4A_7C15));
        bench_match(bencher, &trie_of(classes), &[CHANNEL.to_string()]);
    }

    #[divan::bench]
    fn one_pattern_matches(bencher: Bencher) {
        bench_match(bencher, &trie_of(["bench:*".to_string()].into_iter()), &[CHANNEL.to_string()]);
    }
}

/// Patterns coming and going beside many others.
mod patterns {
    use super::*;

    #[divan::bench(args = [1_000, 1_000_000])]
    fn insert_and_remove_one(bencher: Bencher, patterns: u32) {
        let mut trie = PatternTrie::<u64>::new();
        let mut name = String::new();
        for n in 0..patterns {
            name.clear();
            write!(name, "user:{n}:*").expect("a string can be written to");
            trie.insert(name.as_bytes());
        }
        let mut n = 0;
        bencher.bench_local(|| {
            name.clear();
            n = (n + 7919) % patterns;
            write!(name, "user:{n}:?*").expect("a string can be written to");
            trie.insert(name.as_bytes());
            trie.remove(name.as_bytes())
        });
    }
}

/// One connection that takes 100 000 channels and leaves them again; time per channel.
mod subscriptions {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("bench:channel:{n:06}")).collect()
    }

    #[divan::bench(args = [1_000, 100_000])]
    fn subscribe_and_leave(bencher: Bencher, channels: usize) {
        let names = names(channels);
        bencher.counter(ItemsCount::new(channels)).bench(|| {
            let (mut index, mut held) = (ChannelIndex::new(), Subscriptions::new());
            for name in &names {
                let (name, _) = index.subscribe(name.as_bytes(), 7u32);
                held.insert(Kind::Channel, name);
            }
            for name in &names {
                held.remove(Kind::Channel, name.as_bytes());
                index.unsubscribe(name.as_bytes(), 7);
            }
            (index, held)
        });
    }

    #[divan::bench(args = [1, 8, 32, 100_000])]
    fn join_and_leave_one_channel(bencher: Bencher, subscribers: usize) {
        bencher.counter(ItemsCount::new(subscribers)).bench(|| {
            let mut set = SubscriberSet::new();
            (0..subscribers).for_each(|subscriber| assert!(set.insert(subscriber)));
            (0..subscribers).for_each(|subscriber| assert!(set.remove(subscriber)));
            set
        });
    }

    #[divan::bench(args = [1, 2_000, 100_000])]
    fn look_up_a_channel(bencher: Bencher, channels: usize) {
        let names = names(channels);
        let mut index = ChannelIndex::new();
        let _held: Vec<Arc<[u8]>> =
            names.iter().map(|name| index.subscribe(name.as_bytes(), 7u32).0).collect();
        let mut names = names.iter().cycle();
        bencher.bench_local(|| {
            let name = names.next().map_or(&b""[..], |name| name.as_bytes());
            index.subscribers(black_box(name)).map(|set| set.as_slice().len())
        });
    }
}

/// One pattern against one text.
#[divan::bench(args = ["user:*", "user:[0-9]*:?ews", "*a*a*a*a*b"])]
fn glob_matches(pattern: &str) -> bool {
    glob::matches(black_box(pattern.as_bytes()), black_box(b"user:1234567:aaaaaaaaaaaa:news"))
}
