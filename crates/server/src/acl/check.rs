//! The check of a request against a user's rules.

use sterna_command::Flags;
use sterna_protocol::Args;

use super::access::{ChannelUse, channel_use, key_access};
use super::selector::Selector;
use super::user::User;
use crate::command::table::Row;

/// What a user may not do. In ascending order of relevance: of several selectors' reasons the last is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// Run the command.
    Command,
    /// Access the key that is this argument.
    Key(usize),
    /// Use the channel that is this argument.
    Channel(usize),
}

impl Denied {
    /// The error reply.
    pub fn wire_text(self, user: &User, row: &Row) -> Vec<u8> {
        match self {
            Denied::Command => {
                let mut text = b"NOPERM ".to_vec();
                text.extend(self.dry_run_text(user, row, b""));
                text
            }
            Denied::Key(_) => b"NOPERM No permissions to access a key".to_vec(),
            Denied::Channel(_) => b"NOPERM No permissions to access a channel".to_vec(),
        }
    }

    /// ACL DRYRUN's answer, which tells the key or channel; `arg` is the argument that the reason names.
    pub fn dry_run_text(self, user: &User, row: &Row, arg: &[u8]) -> Vec<u8> {
        let (verb, object, noun) = match self {
            Denied::Command => ("run", row.full_name.as_bytes(), "command"),
            Denied::Key(_) => ("access", arg, "key"),
            Denied::Channel(_) => ("access", arg, "channel"),
        };
        let parts = [
            b"User ",
            user.name(),
            b" has no permissions to ",
            verb.as_bytes(),
            b" the '",
            object,
            b"' ",
            noun.as_bytes(),
        ];
        parts.concat()
    }

    /// The argument that the reason names.
    pub fn arg(self) -> Option<usize> {
        match self {
            Denied::Command => None,
            Denied::Key(at) | Denied::Channel(at) => Some(at),
        }
    }
}

/// Whether `user` may make this request, which `row` describes.
///
/// Cost: one bool for an unrestricted user; otherwise O(selectors × (keys + channels) × patterns).
pub fn check(user: &User, row: &Row, args: Args<'_>) -> Result<(), Denied> {
    if user.is_unrestricted() || row.spec.flags.contains(Flags::NO_AUTH) {
        return Ok(());
    }
    let mut reason = Denied::Command;
    for selector in user.selectors() {
        match check_selector(selector, row, args) {
            Ok(()) => return Ok(()),
            Err(denied) => reason = reason.max(denied),
        }
    }
    Err(reason)
}

fn check_selector(selector: &Selector, row: &Row, args: Args<'_>) -> Result<(), Denied> {
    if !selector.commands.allows(row, args.get(1)) {
        return Err(Denied::Command);
    }
    let channels = channel_use(row);
    // What a sharded channel's row calls a key is a channel: its slot is what cluster clients want to know.
    if channels == ChannelUse::None && row.full_name != "sunsubscribe" {
        let positions = row.spec.keys.positions(args.len(), |at| args.get(at));
        for (nth, at) in positions.enumerate() {
            let key = args.get(at).unwrap_or_default();
            if !selector.keys.allow(key, key_access(row, args, nth)) {
                return Err(Denied::Key(at));
            }
        }
    }
    let channel_args = match channels {
        ChannelUse::None => 0,
        ChannelUse::First => 1,
        ChannelUse::Each | ChannelUse::EachPattern => args.len(),
    };
    for (at, channel) in args.iter().enumerate().skip(1).take(channel_args) {
        let allowed = match channels {
            ChannelUse::EachPattern => selector.channels.allow_pattern(channel),
            _ => selector.channels.allow(channel),
        };
        if !allowed {
            return Err(Denied::Channel(at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;
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
        check(user, row, args)
            .map_or_else(|denied| String::from_utf8(denied.wire_text(user, row)).unwrap(), |()| String::new())
    }

    #[test]
    fn a_request_is_checked_as_redis_checks_it() {
        const KEY: &str = "NOPERM No permissions to access a key";
        const CHANNEL: &str = "NOPERM No permissions to access a channel";
        let user = "on +get +set +del +exists +rename +incr +xread +publish +subscribe +psubscribe +spublish +ssubscribe \
                    +client|id +multi +select|0 ~x* %R~r %W~w &ch &news.*";
        let user = User::with_rules(b"u", &user.split_whitespace().collect::<Vec<_>>()).unwrap();
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
            ("xread count 1 streams x r 0 0", ""),
            ("xread count 1 streams x w 0 0", KEY),
            ("xadd x * a b", "NOPERM User u has no permissions to run the 'xadd' command"),
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
        let user = User::with_rules(b"u", &["+get", "~a", "(+get +set ~b)", "(+publish &c)"]).unwrap();
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
    fn unsubscribing_needs_the_command_and_no_channel() {
        let user = User::with_rules(b"u", &["+unsubscribe", "+sunsubscribe"]).unwrap();
        assert_eq!(verdict(&user, "unsubscribe a"), "");
        assert_eq!(verdict(&user, "sunsubscribe a"), "");
    }

    #[test]
    fn a_dry_run_names_what_is_denied() {
        let user = User::with_rules(b"carl", &["+get"]).unwrap();
        let row = table().find_full(b"get").unwrap();
        let told = |denied: Denied| String::from_utf8(denied.dry_run_text(&user, row, b"y")).unwrap();
        assert_eq!(told(Denied::Command), "User carl has no permissions to run the 'get' command");
        assert_eq!(told(Denied::Key(1)), "User carl has no permissions to access the 'y' key");
        assert_eq!(told(Denied::Channel(1)), "User carl has no permissions to access the 'y' channel");
    }
}
