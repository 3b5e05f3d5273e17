//! `retain`: which channels remember their messages, and how many, for how long.
//!
//! ```text
//!   retain PATTERN [maxlen MESSAGES] [maxage SECONDS]
//! ```
//!
//! Lines of a file add up; CONFIG SET takes all of them behind each other. Of several patterns that match a channel the
//! first counts.

use sterna_pubsub::glob;

use super::options::Config;
use super::value::{Kind, Phase, Value, ValueError, integer};

/// What the names of channels of keyspace events begin with: nobody keeps these, so whoever comes back must not be told that
/// nothing is missing.
const OF_EVENTS: [&[u8]; 3] = [b"__keyspace@", b"__keyevent@", b"__subkey"];

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainRule {
    /// A glob over names of channels, without spaces.
    pub pattern: Vec<u8>,
    /// Messages that a channel remembers; all if it isn't said.
    pub maxlen: Option<u64>,
    /// Seconds for which it remembers a message; for good if it isn't said.
    pub maxage_s: Option<u64>,
}

/// The lines, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetainRules(pub Vec<RetainRule>);

impl Config {
    /// The rule for what is sent to `channel`, if it remembers; one of keyspace events never does. Cost: O(rules).
    #[inline]
    pub fn retention_of(&self, channel: &[u8]) -> Option<&RetainRule> {
        let rule = self.retain.0.iter().find(|rule| glob::matches(&rule.pattern, channel));
        rule.filter(|_| !OF_EVENTS.iter().any(|prefix| channel.starts_with(prefix)))
    }

    /// The key of the stream in which `channel` remembers.
    pub fn retained_key(&self, channel: &[u8]) -> Vec<u8> {
        [self.retain_prefix.as_bytes(), channel].concat()
    }

    /// The channel that remembers in the stream at `key`, if one does.
    pub fn retained_channel<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.retain.0.is_empty() {
            return None;
        }
        key.strip_prefix(self.retain_prefix.as_bytes()).filter(|channel| self.retention_of(channel).is_some())
    }
}

impl Value for RetainRules {
    fn assign(&mut self, words: &[&[u8]], _: Kind, phase: Phase) -> Result<(), ValueError> {
        let mut rules = Vec::new();
        let mut words = words.iter().filter(|word| !word.is_empty()).peekable();
        while let Some(pattern) = words.next() {
            let mut rule = RetainRule { pattern: pattern.to_vec(), maxlen: None, maxage_s: None };
            while let Some(limit) = words.peek().and_then(|word| limit_named(&mut rule, word)) {
                words.next();
                let number = words.next().and_then(|word| integer(word)).filter(|&number| number > 0);
                *limit = Some(number.ok_or(ValueError::Retain)?.unsigned_abs());
            }
            rules.push(rule);
        }
        match phase {
            // A line that names no pattern takes those before it back.
            Phase::Load if !rules.is_empty() => self.0.extend(rules),
            _ => self.0 = rules,
        }
        Ok(())
    }

    fn text(&self, kind: Kind) -> Vec<u8> {
        self.lines(kind).concat().join(&b' ')
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let line = |rule: &RetainRule| {
            let limits = [("maxlen", rule.maxlen), ("maxage", rule.maxage_s)];
            let limits = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
            let words =
                limits.flat_map(|(name, limit)| [name.as_bytes().to_vec(), limit.to_string().into_bytes()]);
            std::iter::once(rule.pattern.clone()).chain(words).collect()
        };
        self.0.iter().map(line).collect()
    }
}

/// The limit of `rule` that is called `word`.
fn limit_named<'r>(rule: &'r mut RetainRule, word: &[u8]) -> Option<&'r mut Option<u64>> {
    match word.to_ascii_lowercase().as_slice() {
        b"maxlen" => Some(&mut rule.maxlen),
        b"maxage" => Some(&mut rule.maxage_s),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Kind = Kind::Words("any");

    fn words(text: &str) -> Vec<&[u8]> {
        text.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn lines_add_up_and_what_is_set_replaces_them() {
        let mut rules = RetainRules::default();
        let mut assign = |text: &str, phase| {
            rules.assign(&words(text), ANY, phase).map(|()| String::from_utf8(rules.text(ANY)).unwrap())
        };
        let rows: [(&str, Phase, Result<&str, ValueError>); 10] = [
            ("chat:*", Phase::Load, Ok("chat:*")),
            ("news MAXAGE 60 maxlen 5", Phase::Load, Ok("chat:* news maxlen 5 maxage 60")),
            ("a maxlen", Phase::Load, Err(ValueError::Retain)),
            ("a maxlen 0", Phase::Load, Err(ValueError::Retain)),
            ("a maxage -1", Phase::Set, Err(ValueError::Retain)),
            ("a maxage x", Phase::Set, Err(ValueError::Retain)),
            ("a maxlen 9 b c maxage 7", Phase::Set, Ok("a maxlen 9 b c maxage 7")),
            ("maxlen maxlen 3", Phase::Set, Ok("maxlen maxlen 3")),
            ("", Phase::Set, Ok("")),
            ("d", Phase::Load, Ok("d")),
        ];
        for (text, phase, expected) in rows {
            assert_eq!(assign(text, phase), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_key_belongs_to_a_channel_only_if_that_remembers() {
        let mut config = Config::default();
        assert_eq!(config.retained_channel(b"channel:a"), None);
        config.retain.assign(&words("a* maxlen 1 ab maxlen 2"), ANY, Phase::Set).unwrap();
        assert_eq!(config.retained_key(b"ab"), b"channel:ab");
        assert_eq!(config.retained_channel(b"channel:ab"), Some(&b"ab"[..]));
        assert_eq!(config.retention_of(b"ab").unwrap().maxlen, Some(1), "the first that matches");
        assert_eq!(config.retained_channel(b"channel:b"), None);
        assert_eq!(config.retained_channel(b"ab"), None);
    }

    #[test]
    fn channels_of_keyspace_events_do_not_remember_whatever_matches() {
        let mut config = Config::default();
        config.retain.assign(&words("*"), ANY, Phase::Set).unwrap();
        for channel in ["__keyspace@0__:k", "__keyevent@15__:set", "__subkeyspaceitem@0__:k\nf"] {
            assert_eq!(config.retention_of(channel.as_bytes()), None, "{channel}");
        }
        assert!(config.retention_of(b"__other").is_some());
    }
}
