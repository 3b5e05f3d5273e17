//! CONFIG GET and CONFIG SET.

use sterna_pubsub::glob;

use super::fixed::{FIXED, Fixed, fixed};
use super::options::Config;
use super::row::{Mutability, OptionRow};
use super::value::{Phase, ValueError};

/// Bounds that Redis applies silently to `hz`.
const HZ_MIN: u32 = 1;
const HZ_MAX: u32 = 500;

/// Why CONFIG SET changed nothing. The display is the reply, `ERR` included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A name that CONFIG SET does not know.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// A name given twice; as the client spelt it, like the next two.
    #[error("ERR CONFIG SET failed (possibly related to argument '{0}') - duplicate parameter")]
    Duplicate(String),
    /// An option that is read at the start only.
    #[error("ERR CONFIG SET failed (possibly related to argument '{0}') - can't set immutable config")]
    Immutable(String),
    /// An option that no client may set.
    #[error("ERR CONFIG SET failed (possibly related to argument '{0}') - can't set protected config")]
    Protected(String),
    /// A value that the option can't have.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {error}")]
    Value {
        /// The option.
        name: &'static str,
        /// What is wrong.
        error: ValueError,
    },
    /// A value that is right in itself and could not be put into effect: a port in use, an unreadable certificate.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Effect {
        /// The option.
        name: &'static str,
        /// What went wrong.
        reason: String,
    },
}

/// What CONFIG GET and SET know.
#[derive(Debug, Clone, Copy)]
enum Known {
    Row(&'static OptionRow),
    Fixed(&'static Fixed),
}

impl Known {
    /// Each by each of its names.
    fn all() -> impl Iterator<Item = (&'static str, Known)> {
        let rows = OptionRow::names().filter(|(_, row)| row.mutability != Mutability::Line);
        let rows = rows.map(|(name, row)| (name, Known::Row(row)));
        rows.chain(FIXED.iter().map(|fixed| (fixed.name, Known::Fixed(fixed))))
    }

    /// The one of this name, in any case, with the name that it was found by.
    fn found(name: &[u8]) -> Option<(&'static str, Known)> {
        let row = OptionRow::found(name).filter(|(_, row)| row.mutability != Mutability::Line);
        let row = row.map(|(name, row)| (name, Known::Row(row)));
        row.or_else(|| fixed(name).map(|fixed| (fixed.name, Known::Fixed(fixed))))
    }

    fn name(self) -> &'static str {
        match self {
            Known::Row(row) => row.name,
            Known::Fixed(fixed) => fixed.name,
        }
    }

    fn mutability(self) -> Mutability {
        match self {
            Known::Row(row) => row.mutability,
            Known::Fixed(_) => Mutability::RunTime,
        }
    }

    fn text(self, config: &Config) -> Vec<u8> {
        match self {
            Known::Row(row) => row.text(config),
            Known::Fixed(fixed) => fixed.value.as_bytes().to_vec(),
        }
    }
}

impl Config {
    /// The options that `patterns` match, with their values: each once, by pattern and then in the table's order.
    ///
    /// A pattern without wildcards is answered as the client spelt it, as Redis does. Cost O(patterns × options).
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let known: Vec<(&str, Known)> = Known::all().collect();
        let mut found: Vec<(&str, Known, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            let pattern = &*glob::without_runs_of_stars(pattern);
            let exact = !pattern.iter().any(|byte| b"*?[".contains(byte));
            for &(name, option) in &known {
                let is_new = found.iter().all(|(earlier, ..)| *earlier != name);
                if exact && is_new && name.as_bytes().eq_ignore_ascii_case(pattern) {
                    found.push((name, option, pattern.to_vec()));
                } else if !exact && is_new && glob::matches_ignore_case(pattern, name.as_bytes()) {
                    found.push((name, option, name.as_bytes().to_vec()));
                }
            }
        }
        found.into_iter().map(|(_, option, name)| (name, option.text(self))).collect()
    }

    /// A copy with every one of `pairs` (name, value) set, or the first error and no copy.
    ///
    /// Names are checked before any value, as in Redis. Nothing takes effect: that is the caller's to do.
    pub fn set(&self, pairs: &[(&[u8], &[u8])]) -> Result<Config, SetError> {
        let mut options: Vec<(&'static str, Known)> = Vec::new();
        for (name, _) in pairs {
            let spelt = || String::from_utf8_lossy(name).into_owned();
            let (name, option) = Known::found(name).ok_or_else(|| SetError::Unknown(spelt()))?;
            match option.mutability() {
                Mutability::Start => return Err(SetError::Immutable(spelt())),
                Mutability::Protected => return Err(SetError::Protected(spelt())),
                Mutability::RunTime | Mutability::Line => {}
            }
            if options.iter().any(|(_, earlier)| earlier.name() == option.name()) {
                return Err(SetError::Duplicate(spelt()));
            }
            options.push((name, option));
        }
        let mut changed = self.clone();
        for ((name, option), (_, value)) in options.into_iter().zip(pairs) {
            let failed = |error| SetError::Value { name, error };
            let row = match option {
                Known::Row(row) => row,
                Known::Fixed(fixed) if fixed.is(value) => continue,
                Known::Fixed(fixed) => return Err(failed(ValueError::Fixed(fixed.value))),
            };
            let words: Vec<&[u8]> = if row.kind.takes_several() {
                value.split(|&byte| byte == b' ').collect()
            } else {
                vec![value]
            };
            row.assign(&mut changed, &words, Phase::Set).map_err(failed)?;
        }
        changed.clamp();
        Ok(changed)
    }

    /// Brings values that Redis accepts and then bounds within their bounds.
    pub(super) fn clamp(&mut self) {
        self.hz = self.hz.clamp(HZ_MIN, HZ_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OPTIONS;

    fn text(config: &Config, pattern: &str) -> String {
        let words: Vec<String> = config
            .get(&pattern.split(' ').map(str::as_bytes).collect::<Vec<_>>())
            .into_iter()
            .map(|(name, value)| {
                format!("{}={}", String::from_utf8(name).unwrap(), String::from_utf8(value).unwrap())
            })
            .collect();
        words.join(" ")
    }

    /// CONFIG SET of `words`: name, value, name, value …
    fn set(words: &[&str]) -> Result<Config, String> {
        let pairs: Vec<(&[u8], &[u8])> =
            words.chunks(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes())).collect();
        Config::default().set(&pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn get_answers_each_option_once() {
        let config = Config::default();
        let rows = [
            ("timeout", "timeout=0"),
            ("TIMEOUT timeout time*", "TIMEOUT=0"),
            ("time* TIMEOUT", "timeout=0"),
            ("[t]imeout", "timeout=0"),
            ("nosuch", ""),
            ("user", ""),
            ("bind", "bind=127.0.0.1 -::1"),
            (
                "client-out*",
                "client-output-buffer-limit=normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            ),
            (
                "lua-time-limit busy-reply-threshold LUA-TIME-LIMIT",
                "lua-time-limit=5000 busy-reply-threshold=5000",
            ),
            ("save appendonly", "save=3600 1 300 100 60 10000 appendonly=yes"),
            (
                "maxmemory*",
                "maxmemory-clients=0 maxmemory=0 maxmemory-policy=noeviction maxmemory-samples=5 \
                 maxmemory-eviction-tenacity=10",
            ),
        ];
        for (patterns, expected) in rows {
            assert_eq!(text(&config, patterns), expected, "{patterns}");
        }
        let lines = OPTIONS.iter().filter(|row| row.mutability == Mutability::Line).count();
        let former = OptionRow::names().count() - OPTIONS.len();
        assert_eq!(config.get(&[b"*"]).len(), OPTIONS.len() - lines + former + FIXED.len());
    }

    #[test]
    fn a_run_of_stars_is_one_star_however_long_it_is() {
        let config = Config::default();
        let stars = "*".repeat(16_000);
        assert_eq!(text(&config, &format!("maxmem{stars}ory")), text(&config, "maxmemory"));
        assert_eq!(config.get(&[stars.as_bytes()]).len(), config.get(&[b"*"]).len());
        assert_eq!(text(&config, &format!("{stars}\\*")), "");
    }

    #[test]
    fn an_option_is_set_by_a_former_name_and_only_once() {
        assert_eq!(set(&["lua-time-limit", "7"]).unwrap().busy_reply_threshold, 7);
        assert_eq!(
            set(&["hash-max-ziplist-value", "7"]).unwrap().get(&[b"hash-max-listpack-value"])[0].1,
            b"7"
        );
        let twice = set(&["lua-time-limit", "7", "busy-reply-threshold", "8"]).unwrap_err();
        assert!(twice.contains("duplicate parameter"), "{twice}");
    }

    #[test]
    fn an_option_with_one_value_shows_it_and_takes_no_other() {
        let config = Config::default();
        assert_eq!(text(&config, "ACTIVEdefrag list-comp*"), "ACTIVEdefrag=no list-compress-depth=0");
        assert_eq!(set(&["activedefrag", "NO", "timeout", "7"]).unwrap().timeout, 7);
        let refused = set(&["timeout", "7", "list-compress-depth", "1"]).unwrap_err();
        assert_eq!(
            refused,
            "ERR CONFIG SET failed (possibly related to argument 'list-compress-depth') - argument must be '0', which it is always"
        );
        assert!(set(&["activedefrag", "no", "activedefrag", "no"]).unwrap_err().contains("duplicate"));
    }

    #[test]
    fn set_refuses_with_the_words_of_redis() {
        let failed = |name: &str, why: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
        };
        let rows: &[(&[&str], String)] = &[
            (&["x", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'x'".into()),
            (&["user", "bob on"], "ERR Unknown option or number of arguments for CONFIG SET - 'user'".into()),
            (
                &["bogus", "2", "port", "abc"],
                "ERR Unknown option or number of arguments for CONFIG SET - 'bogus'".into(),
            ),
            (&["port", "abc"], failed("port", "argument couldn't be parsed into an integer")),
            (&["port", "99999"], failed("port", "argument must be between 0 and 65535 inclusive")),
            (&["daemonize", "yes"], failed("daemonize", "can't set immutable config")),
            (&["databases", "abc"], failed("databases", "can't set immutable config")),
            (&["dir", "/tmp"], failed("dir", "can't set protected config")),
            (&["timeout", "1", "TIMEOUT", "2"], failed("TIMEOUT", "duplicate parameter")),
            (&["timeout", "-1"], failed("timeout", "argument must be between 0 and 2147483647 inclusive")),
            (&["maxmemory", "1zz"], failed("maxmemory", "argument must be a memory value")),
            (
                &["maxmemory", "18446744073709551615"],
                failed("maxmemory", "argument must be greater or equal to 0"),
            ),
            (
                &["set-max-intset-entries", "-1"],
                failed("set-max-intset-entries", "argument must be greater or equal to 0"),
            ),
            (
                &["HASH-MAX-ziplist-entries", "x"],
                failed("hash-max-ziplist-entries", "argument couldn't be parsed into an integer"),
            ),
            (
                &["set-max-listpack-value", "1kb"],
                failed("set-max-listpack-value", "argument couldn't be parsed into an integer"),
            ),
            (&["protected-mode", "maybe"], failed("protected-mode", "argument must be 'yes' or 'no'")),
            (
                &["loglevel", "foo"],
                failed(
                    "loglevel",
                    "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
                ),
            ),
            (
                &["proto-max-bulk-len", "1"],
                failed("proto-max-bulk-len", "argument must be between 1048576 and 1073741823 inclusive"),
            ),
            (
                &["client-output-buffer-limit", "normal  4  5 6"],
                failed(
                    "client-output-buffer-limit",
                    "Wrong number of arguments in buffer limit configuration.",
                ),
            ),
            (&["timeout", "7", "save", "a"], failed("save", "Invalid save parameters")),
            (&["appendonly", "maybe"], failed("appendonly", "argument must be 'yes' or 'no'")),
        ];
        for (words, expected) in rows {
            assert_eq!(set(words).unwrap_err(), *expected, "{words:?}");
        }
    }

    #[test]
    fn set_changes_everything_it_was_given() {
        let config = set(&[
            "TimeOut",
            "7",
            "hz",
            "501",
            "save",
            "1 2 3 4",
            "bind",
            "",
            "maxmemory",
            "1kb",
            "client-output-buffer-limit",
            "pubsub 1mb 2k 3",
            "notify-keyspace-events",
            "KEA",
            "requirepass",
            "a b",
        ])
        .unwrap();
        assert_eq!(
            text(&config, "timeout hz save bind maxmemory client-output-buffer-limit notify* requirepass"),
            "timeout=7 hz=500 save=1 2 3 4 bind= maxmemory=1024 client-output-buffer-limit=normal 0 0 0 slave \
             268435456 67108864 60 pubsub 1048576 2000 3 notify-keyspace-events=AKE requirepass=a b"
        );
    }
}
