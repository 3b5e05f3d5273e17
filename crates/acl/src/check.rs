//! The check of a request against a user's rules.

use sterna_command::{Channels, Flags};
use sterna_protocol::Args;

use super::access::{Access, key_access};
use super::selector::Selector;
use super::user::User;
use sterna_command::Row;

/// What a user may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Run the command.
    Command {
        /// Who.
        user: Vec<u8>,
        /// Its full name.
        command: String,
    },
    /// Access the key.
    Key {
        /// Who.
        user: Vec<u8>,
        /// The first key that is forbidden.
        key: Vec<u8>,
    },
    /// Read keys that patterns name: BY or GET of SORT.
    Patterns {
        /// Who.
        user: Vec<u8>,
        /// The option, in upper case.
        option: &'static str,
    },
    /// Use the channel, or subscribe to the pattern.
    Channel {
        /// Who.
        user: Vec<u8>,
        /// The first channel that is forbidden.
        channel: Vec<u8>,
    },
}

impl Denied {
    /// The error reply, which does not tell the key or the channel.
    pub fn wire(&self) -> Vec<u8> {
        match self {
            Denied::Command { .. } => [b"NOPERM ", self.dry_run().as_slice()].concat(),
            Denied::Key { .. } => b"NOPERM No permissions to access a key".to_vec(),
            Denied::Patterns { option, .. } => {
                format!("ERR {option} option of SORT denied due to insufficient ACL permissions.")
                    .into_bytes()
            }
            Denied::Channel { .. } => b"NOPERM No permissions to access a channel".to_vec(),
        }
    }

    /// ACL DRYRUN's answer, which does.
    pub fn dry_run(&self) -> Vec<u8> {
        let (user, verb, object, noun) = match self {
            Denied::Command { user, command } => (user, "run", command.as_bytes(), "command"),
            Denied::Key { user, key } => (user, "access", key.as_slice(), "key"),
            Denied::Patterns { user, option } => (user, "use", option.as_bytes(), "option"),
            Denied::Channel { user, channel } => (user, "access", channel.as_slice(), "channel"),
        };
        let before = [b"User ", user.as_slice(), b" has no permissions to ", verb.as_bytes()].concat();
        [before.as_slice(), b" the '", object, b"' ", noun.as_bytes()].concat()
    }
}

/// Why a selector does not allow a request: nothing more than the argument's index until it is known that no other does.
/// In ascending order of relevance: of several selectors' reasons the last is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Command,
    Key(usize),
    Patterns(&'static str),
    Channel(usize),
}

/// Tells which channel remembers in the stream under a key, if one does.
pub type ChannelOf<'a> = &'a dyn for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>;

/// Whether `user` may make this request, which `row` describes.
///
/// What a channel remembers may be read by those who may listen to the channel, and by those whose rules name the stream:
/// a pattern that fits it only because it fits everything gives no right to read it.
///
/// Cost: one bool for an unrestricted user; otherwise O(selectors × (keys + channels) × patterns).
#[inline]
pub fn check(user: &User, row: &Row, args: Args<'_>, channel_of: ChannelOf<'_>) -> Result<(), Denied> {
    if user.is_unrestricted() || row.spec.flags.contains(Flags::NO_AUTH) {
        return Ok(());
    }
    check_restricted(user, row, args, channel_of)
}

fn check_restricted(user: &User, row: &Row, args: Args<'_>, channel_of: ChannelOf<'_>) -> Result<(), Denied> {
    let mut told = Reason::Command;
    for selector in user.selectors() {
        match check_selector(selector, row, args, channel_of) {
            Ok(()) => return Ok(()),
            Err(reason) => told = told.max(reason),
        }
    }
    let user = user.name().to_vec();
    let arg = |at| args.get(at).unwrap_or_default().to_vec();
    Err(match told {
        Reason::Command => Denied::Command { user, command: row.full_name.clone() },
        Reason::Key(at) => Denied::Key { user, key: arg(at) },
        Reason::Patterns(option) => Denied::Patterns { user, option },
        Reason::Channel(at) => Denied::Channel { user, channel: arg(at) },
    })
}

fn check_selector(
    selector: &Selector,
    row: &Row,
    args: Args<'_>,
    channel_of: ChannelOf<'_>,
) -> Result<(), Reason> {
    if !selector.commands.allows(row, args.get(1)) {
        return Err(Reason::Command);
    }
    if row.spec.has_keys() {
        let positions = row.spec.keys.positions(args.len(), |at| args.get(at));
        for (nth, at) in positions.enumerate() {
            let key = args.get(at).unwrap_or_default();
            let uses = row.spec.key_use_in(nth, args.iter());
            let is_allowed = match channel_of(key) {
                Some(channel) => {
                    let access = Access { read: uses.tells_value(), write: uses.needs_write() };
                    allows_remembered(selector, key, channel, access)
                }
                None => selector.keys.allow(key, key_access(uses)),
            };
            if !is_allowed {
                return Err(Reason::Key(at));
            }
        }
    }
    if row.spec.flags.contains(Flags::READS_BY_PATTERN)
        && let Some(option) = reads_by_pattern(args)
        && !selector.keys.allow_reading_all()
    {
        return Err(Reason::Patterns(option));
    }
    let channel_args = match row.spec.channels {
        Channels::None => 0,
        Channels::Published => 1,
        Channels::Subscribed | Channels::SubscribedPatterns => args.len(),
    };
    for (at, channel) in args.iter().enumerate().skip(1).take(channel_args) {
        let allowed = match row.spec.channels {
            Channels::SubscribedPatterns => selector.channels.allow_pattern(channel),
            _ => selector.channels.allow(channel),
        };
        if !allowed {
            return Err(Reason::Channel(at));
        }
    }
    Ok(())
}

/// Whether the stream at `key`, in which `channel` remembers, may be accessed so.
fn allows_remembered(selector: &Selector, key: &[u8], channel: &[u8], access: Access) -> bool {
    let prefix = &key[..key.len() - channel.len()];
    let may_listen = selector.channels.allow(channel);
    let may_read = || may_listen || selector.keys.allow_named(key, prefix, Access::READ);
    match access {
        Access::NEITHER => may_listen || selector.keys.allow(key, access),
        Access { read, write } => {
            (!read || may_read()) && (!write || selector.keys.allow(key, Access::WRITE))
        }
    }
}

/// The option by which SORT reads keys that it does not name, if it has one.
fn reads_by_pattern(args: Args<'_>) -> Option<&'static str> {
    let mut at = 2;
    while let (Some(word), Some(pattern)) = (args.get(at), args.get(at + 1)) {
        let is = |option: &str| word.eq_ignore_ascii_case(option.as_bytes());
        match () {
            () if is("by") && pattern.contains(&b'*') => return Some("BY"),
            () if is("get") => return Some("GET"),
            () if is("by") || is("store") => at += 2,
            () if is("limit") => at += 3,
            () => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::table;
    use crate::selector::FirstChannels;
    use sterna_protocol::{Limits, Parser, Progress};

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1024,
        multibulk_len_max: 64,
        inline_bytes_max: 1024,
        unauthenticated: false,
    };

    /// What `user` is told for `request`: nothing, or the error reply.
    fn verdict(user: &User, request: &str) -> String {
        let line = format!("{request}\r\n").into_bytes();
        let mut parser = Parser::default();
        assert!(matches!(parser.parse(&line, &LIMITS), Ok(Progress::Request { .. })));
        let args = parser.args(&line);
        let full = [args.get(0).unwrap(), b"|", args.get(1).unwrap_or_default()].concat();
        let row = table().find_full(&full).or_else(|| table().find_full(args.get(0).unwrap())).unwrap();
        check(user, row, args, &|key| key.strip_prefix(b"channel:"))
            .map_or_else(|denied| String::from_utf8(denied.wire()).unwrap(), |()| String::new())
    }

    #[test]
    fn a_request_is_checked_as_redis_checks_it() {
        const KEY: &str = "NOPERM No permissions to access a key";
        const CHANNEL: &str = "NOPERM No permissions to access a channel";
        let user = "on +get +set +del +exists +rename +incr +publish +subscribe +psubscribe +spublish +ssubscribe \
                    +client|id +multi +select|0 ~x* %R~r %W~w &ch &news.*";
        let user = User::with_rules(
            table(),
            b"u",
            &user.split_whitespace().collect::<Vec<_>>(),
            FirstChannels::None,
        )
        .unwrap();
        let rows = [
            ("set x1 1", ""),
            ("set y 1", KEY),
            ("get y", KEY),
            ("set w 1", ""),
            ("set w 1 get", KEY),
            ("get w", KEY),
            ("set r 1", KEY),
            ("get r", ""),
            ("exists r w x", ""),
            ("exists r w y", KEY),
            ("incr w", KEY),
            ("incr x", ""),
            ("del x w", ""),
            ("del x r", KEY),
            ("rename w x", KEY),
            ("rename x w", ""),
            ("append x b", "NOPERM User u has no permissions to run the 'append' command"),
            ("config get x", "NOPERM User u has no permissions to run the 'config|get' command"),
            ("client list", "NOPERM User u has no permissions to run the 'client|list' command"),
            ("client id", ""),
            ("multi", ""),
            ("select 0", ""),
            ("select 1", "NOPERM User u has no permissions to run the 'select' command"),
            ("auth anything", ""),
            ("publish foo x", CHANNEL),
            ("publish ch foo", ""),
            ("subscribe ch news.a", ""),
            ("subscribe ch foo", CHANNEL),
            ("psubscribe news.*", ""),
            ("psubscribe news.a*", CHANNEL),
            ("spublish ch foo", ""),
            ("spublish x foo", CHANNEL),
            ("ssubscribe ch x", CHANNEL),
        ];
        for (request, expected) in rows {
            assert_eq!(verdict(&user, request), expected, "{request}");
        }
    }

    #[test]
    fn one_selector_must_allow_the_whole_request() {
        let user = User::with_rules(
            table(),
            b"u",
            &["+get", "~a", "(+get +set ~b)", "(+publish &c)"],
            FirstChannels::None,
        )
        .unwrap();
        let key = "NOPERM No permissions to access a key";
        for (request, expected) in
            [("get a", ""), ("get b", ""), ("set b 1", ""), ("set a 1", key), ("publish c x", "")]
        {
            assert_eq!(verdict(&user, request), expected, "{request}");
        }
        assert_eq!(verdict(&user, "publish d x"), "NOPERM No permissions to access a channel");
        assert_eq!(verdict(&user, "del a"), "NOPERM User u has no permissions to run the 'del' command");
    }

    #[test]
    fn what_a_channel_remembers_is_read_by_those_who_may_listen_or_are_told_that_they_may_read() {
        let key = "NOPERM No permissions to access a key";
        let rows = [
            // rules, get, set, exists, claim
            ("allkeys resetchannels", key, "", "", key),
            ("~* &news", "", "", "", ""),
            ("~* &other", key, "", "", key),
            ("resetkeys &news", "", key, "", key),
            ("~channel:* resetchannels", "", "", "", ""),
            ("%R~channel:news resetchannels", "", key, "", key),
            ("%W~channel:news resetchannels", key, "", "", key),
            ("~chan* resetchannels", key, "", "", key),
            ("~[c]hannel:news resetchannels", key, "", "", key),
            ("%R~channel:other resetchannels", key, key, key, key),
        ];
        for (rules, get, set, exists, claim) in rows {
            let rules = format!("on nopass +get +set +exists +xclaim +xautoclaim {rules}");
            let words = rules.split_whitespace().collect::<Vec<_>>();
            let user = User::with_rules(table(), b"u", &words, FirstChannels::None).unwrap();
            assert_eq!(verdict(&user, "get channel:news"), get, "get: {rules}");
            assert_eq!(verdict(&user, "set channel:news 1"), set, "set: {rules}");
            assert_eq!(verdict(&user, "exists channel:news"), exists, "exists: {rules}");
            assert_eq!(verdict(&user, "xclaim channel:news g c 0 1-1"), claim, "xclaim: {rules}");
            assert_eq!(verdict(&user, "xautoclaim channel:news g c 0 0"), claim, "xautoclaim: {rules}");
        }
    }

    #[test]
    fn entries_of_other_streams_are_claimed_by_those_who_may_write_as_in_redis() {
        let words = ["on", "nopass", "+@all", "%W~s"];
        let user = User::with_rules(table(), b"u", &words, FirstChannels::None).unwrap();
        assert_eq!(verdict(&user, "xclaim s g c 0 1-1"), "");
        assert_eq!(verdict(&user, "xautoclaim s g c 0 0"), "");
    }

    #[test]
    fn unsubscribing_needs_the_command_and_no_channel() {
        let user =
            User::with_rules(table(), b"u", &["+unsubscribe", "+sunsubscribe"], FirstChannels::None).unwrap();
        assert_eq!(verdict(&user, "unsubscribe a"), "");
        assert_eq!(verdict(&user, "sunsubscribe a"), "");
    }

    #[test]
    fn a_dry_run_names_what_is_denied() {
        let (user, name) = (b"carl".to_vec(), b"y".to_vec());
        let rows = [
            (
                Denied::Command { user: user.clone(), command: "config|get".to_owned() },
                "User carl has no permissions to run the 'config|get' command",
            ),
            (
                Denied::Key { user: user.clone(), key: name.clone() },
                "User carl has no permissions to access the 'y' key",
            ),
            (
                Denied::Channel { user, channel: name },
                "User carl has no permissions to access the 'y' channel",
            ),
        ];
        for (denied, expected) in rows {
            assert_eq!(String::from_utf8(denied.dry_run()).unwrap(), expected);
        }
    }
}
