//! What MONITOR and SLOWLOG show of a request: everything but what its row, or the row of an option, calls secret.
//!
//! What nobody can vouch for is not shown: the value of an option that Sterna doesn't have (it may be another server's
//! `masterauth`), the arguments of a command that it doesn't have, and requests in requests in requests.

use sterna_command::{Row, Secrecy};
use sterna_protocol::Args;

use super::table::table;
use crate::config::OptionRow;

/// Stands for what is not shown. Source: Redis's word.
const REDACTED: &[u8] = b"(redacted)";

/// Requests that stand in another's arguments (ACL DRYRUN, COMMAND GETKEYS) are looked into this deep.
const DEPTH_MAX: usize = 2;

/// Argument `index` of the request that `row` describes, as it may be shown.
pub(super) fn shown<'a>(row: &Row, args: Args<'a>, index: usize) -> &'a [u8] {
    let arg = args.get(index).unwrap_or_default();
    if is_secret(row, args, index) { REDACTED } else { arg }
}

fn is_secret(row: &Row, args: Args<'_>, index: usize) -> bool {
    let (mut row, mut args, mut index) = (row, args, index);
    for _ in 0..DEPTH_MAX {
        match row.spec.secrets.of(index, args.len(), |at| args.get(at)) {
            Secrecy::Open => return false,
            Secrecy::Secret => return true,
            Secrecy::OptionName => return args.get(index).and_then(OptionRow::named).is_none(),
            Secrecy::OfOption(name) => {
                return args.get(name).and_then(OptionRow::named).is_none_or(OptionRow::is_secret);
            }
            Secrecy::OfRequest(first) => {
                index -= first;
                args = args.from(first);
                let found = args.get(0).and_then(|name| table().find_request(name, args.get(1)));
                let Some(inner) = found else { return index > 0 };
                row = inner;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_protocol::{Limits, Parser, Progress};

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1024,
        multibulk_len_max: 64,
        inline_bytes_max: 1024,
        unauthenticated: false,
    };

    /// The request as it is shown, with `*` for what is not.
    fn view(request: &str) -> String {
        let line = format!("{request}\r\n").into_bytes();
        let mut parser = Parser::default();
        assert!(matches!(parser.parse(&line, &LIMITS), Ok(Progress::Request { .. })));
        let args = parser.args(&line);
        let row = table().find_request(args.get(0).unwrap(), args.get(1)).unwrap();
        let word = |index| match shown(row, args, index) {
            REDACTED => "*".to_owned(),
            arg => String::from_utf8_lossy(arg).into_owned(),
        };
        (0..args.len()).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_request_is_shown_without_its_secrets() {
        for (request, expected) in [
            ("get key", "get key"),
            ("AUTH pw", "AUTH *"),
            ("auth user pw", "auth * *"),
            ("HELLO 3 AUTH user pw SETNAME me", "HELLO 3 AUTH * * SETNAME me"),
            ("acl setuser eve on >pw", "acl setuser * * *"),
            ("acl getuser eve", "acl getuser *"),
            ("acl deluser eve bob", "acl deluser * *"),
            ("acl whoami", "acl whoami"),
            ("config set timeout 5 requirepass pw", "config set timeout 5 requirepass *"),
            ("config set masterauth pw timeout 5", "config set masterauth * timeout 5"),
            ("config set tls-key-file-pass pw", "config set tls-key-file-pass *"),
            ("CONFIG SET reqirepass pw", "CONFIG SET reqirepass *"),
            ("CONFIG SET requirepass correct horse", "CONFIG SET requirepass * *"),
            ("CONFIG SET requirepass correct horse battery", "CONFIG SET requirepass * * *"),
            ("config get requirepass", "config get requirepass"),
            ("acl dryrun eve AUTH user pw", "acl dryrun * AUTH * *"),
            ("acl dryrun eve get key", "acl dryrun * get key"),
            ("acl dryrun eve config set masterauth pw", "acl dryrun * config set masterauth *"),
            ("acl dryrun eve nosuch pw", "acl dryrun * nosuch *"),
            ("acl dryrun eve acl dryrun bob auth pw", "acl dryrun * acl dryrun * * *"),
            ("command getkeys auth pw", "command getkeys auth *"),
            ("command getkeysandflags set k v", "command getkeysandflags set k v"),
        ] {
            assert_eq!(view(request), expected, "{request}");
        }
    }

    /// Whoever adds an option or a command that takes a password meets this.
    #[test]
    fn whatever_takes_a_password_has_secrets() {
        use sterna_command::Secrets;
        for row in table().rows().iter().filter(|row| !row.is_container) {
            let takes = ["password", "rule", "username"].iter().any(|word| row.spec.syntax.contains(word));
            let exempt = ["client|", "acl|log"].iter().any(|name| row.full_name.starts_with(name));
            assert!(!takes || exempt || row.spec.secrets != Secrets::None, "{}", row.full_name);
        }
    }
}
