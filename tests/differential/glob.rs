//! `sterna_pubsub::glob` against the glob of a real Redis, over random patterns and names.

use sterna_pubsub::glob;
use sterna_tests::client::request_bytes;
use sterna_tests::server::Launch;

/// Names matched against each pattern.
const NAMES_PER_PATTERN: usize = 32;

/// Patterns tried.
const PATTERNS: usize = 3_000;

/// What names and patterns are made of: few letters, so that they meet, and every byte that means something.
const NAME_BYTES: &[u8] = b"aaabbc-^\\[]*?\x00\xff";
const PATTERN_BYTES: &[u8] = b"aaabbc-^^\\\\[[]]**?\x00\xff";

fn random_text(random: &mut fastrand::Rng, bytes: &[u8], len_max: usize) -> Vec<u8> {
    (0..random.usize(..=len_max)).map(|_| bytes[random.usize(..bytes.len())]).collect()
}

#[test]
fn the_glob_matches_what_the_glob_of_redis_matches() {
    let mut random = fastrand::Rng::with_seed(sterna_tests::seed(0x61_6c_6f_62));
    let server = Launch::reference().start();
    let mut subscriber = server.connect_resp3();
    let mut asker = server.connect();
    let mut compared = 0;
    let mut matched = 0;
    for _ in 0..PATTERNS {
        let pattern = random_text(&mut random, PATTERN_BYTES, 10);
        subscriber.request(&[b"PSUBSCRIBE".as_slice(), &pattern]);
        let names: Vec<Vec<u8>> =
            (0..NAMES_PER_PATTERN).map(|_| random_text(&mut random, NAME_BYTES, 6)).collect();
        let publishes = names.iter().map(|name| request_bytes(&[b"PUBLISH".as_slice(), name, b""]));
        asker.send_bytes(&publishes.collect::<Vec<_>>().concat());
        for name in &names {
            let redis = asker.value().as_int() == Some(1);
            assert_eq!(
                glob::matches(&pattern, name),
                redis,
                "pattern \"{}\", name \"{}\": Redis says {redis}",
                pattern.escape_ascii(),
                name.escape_ascii()
            );
            compared += 1;
            matched += usize::from(redis);
            if redis {
                subscriber.value();
            }
        }
        subscriber.request(&[b"PUNSUBSCRIBE".as_slice(), &pattern]);
    }
    println!("{compared} pairs, {matched} of them match");
    assert!(matched > compared / 50, "patterns that match nothing show little");
}
