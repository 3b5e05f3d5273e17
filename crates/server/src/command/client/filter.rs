//! Which clients CLIENT LIST and CLIENT KILL mean.
//!
//! A filter is a list of conditions, all of which a client must meet. With `NOT-` before its name a condition is turned
//! round. A condition given twice replaces the first one, except that IDs add up.
//!
//! Source: ID, TYPE, USER, ADDR, LADDR, SKIPME and MAXAGE are Redis 8's, the others and `NOT-` Valkey 9's. Where both
//! refuse something in different words, the words are Redis's.

use std::sync::atomic::Ordering::Relaxed;

use sterna_protocol::{Args, argument};

use super::super::Failure;
use crate::connection::client::{Client, ClientId, ClientType, LETTERS};
use crate::mailbox::GUEST_PREFIX;
use crate::server::Server;

/// Conditions on clients.
#[derive(Debug)]
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// Leave the caller out.
    pub(super) skip_me: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    property: Property,
    is_negated: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Property {
    Ids(Vec<ClientId>),
    Type(ClientType),
    User(Vec<u8>),
    Addr(Vec<u8>),
    Laddr(Vec<u8>),
    Ip(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    /// Letters of CLIENT LIST's `flags`: the client must have each.
    Flags(Vec<u8>),
    Db(u8),
    /// Connected at least so many seconds.
    MaxAge(u64),
    /// Without a request for at least so many seconds.
    Idle(u64),
}

/// How the commands differ in reading their options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    List,
    Kill,
}

impl Filter {
    /// Reads `options`: names, each with its value; after ID one or more numbers.
    pub(super) fn parse(of: Of, options: Args<'_>, server: &Server) -> Result<Filter, Failure> {
        let mut filter = Filter { conditions: Vec::new(), skip_me: of == Of::Kill };
        let mut at = 0;
        while let Some(name) = options.get(at) {
            let Some(value) = options.get(at + 1) else {
                return Err(after_ids(of, &filter, name));
            };
            at += 2;
            if argument::eq_ignore_case(name, "SKIPME") {
                filter.skip_me = yes_or_no(value)?;
                continue;
            }
            let (bare, is_negated) = match name.get(..4) {
                Some(not) if argument::eq_ignore_case(not, "NOT-") => (&name[4..], true),
                _ => (name, false),
            };
            let property = if argument::eq_ignore_case(bare, "ID") {
                let mut ids = vec![first_id(of, value)?];
                while let Some(id) = options.get(at).and_then(argument::int) {
                    ids.push(checked_id(of, id)?);
                    at += 1;
                }
                Property::Ids(ids)
            } else if let Some(property) = Property::parse(bare, value, is_negated, server)? {
                property
            } else {
                return Err(after_ids(of, &filter, name));
            };
            filter.add(Condition { property, is_negated });
        }
        Ok(filter)
    }

    /// What the old form `CLIENT KILL ip:port` means.
    pub(super) fn address(address: &[u8]) -> Filter {
        let property = Property::Addr(address.to_vec());
        Filter { conditions: vec![Condition { property, is_negated: false }], skip_me: false }
    }

    fn add(&mut self, mut new: Condition) {
        let same_kind = |old: &Condition| {
            old.is_negated == new.is_negated
                && std::mem::discriminant(&old.property) == std::mem::discriminant(&new.property)
        };
        let old = self.conditions.iter().position(same_kind).map(|at| self.conditions.remove(at));
        if let (Some(Condition { property: Property::Ids(old), .. }), Property::Ids(new)) =
            (old, &mut new.property)
        {
            new.splice(..0, old);
        }
        self.conditions.push(new);
    }

    /// The IDs asked for, if IDs are asked for.
    pub(super) fn ids(&self) -> Option<&[ClientId]> {
        self.conditions.iter().find_map(|condition| match &condition.property {
            Property::Ids(ids) if !condition.is_negated => Some(ids.as_slice()),
            _ => None,
        })
    }

    /// Whether `client` meets every condition. SKIPME is not looked at.
    pub(super) fn matches(&self, client: &Client, now_ms: u64) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.property.matches(client, now_ms) != condition.is_negated)
    }
}

impl Property {
    /// Reads a condition other than ID. `None`: no condition has this name.
    fn parse(
        name: &[u8],
        value: &[u8],
        is_negated: bool,
        server: &Server,
    ) -> Result<Option<Property>, Failure> {
        let is = |word: &str| argument::eq_ignore_case(name, word);
        let text = value.to_vec();
        Ok(Some(if is("TYPE") {
            Property::Type(ClientType::parse(value).ok_or_else(|| quoting("ERR Unknown client type", value))?)
        } else if is("USER") {
            // Guests stand in no list.
            if server.users.read().get(value).is_none() && !value.starts_with(GUEST_PREFIX) {
                return Err(quoting("ERR No such user", value));
            }
            Property::User(text)
        } else if is("ADDR") {
            Property::Addr(text)
        } else if is("LADDR") {
            Property::Laddr(text)
        } else if is("IP") {
            Property::Ip(text)
        } else if is("NAME") {
            Property::Name(text)
        } else if is("LIB-NAME") {
            Property::LibName(text)
        } else if is("LIB-VER") {
            Property::LibVer(text)
        } else if is("FLAGS") {
            if !value.iter().all(|&letter| LETTERS.contains(letter as char)) {
                let text = [b"ERR Unknown flags found in the provided filter: ", value].concat();
                return Err(Failure::text(text));
            }
            Property::Flags(text)
        } else if is("DB") {
            Property::Db(database(value, server)?)
        } else if is("MAXAGE") && !is_negated {
            Property::MaxAge(seconds("maxage", value)?)
        } else if is("IDLE") && !is_negated {
            Property::Idle(seconds("idle", value)?)
        } else {
            return Ok(None);
        }))
    }

    fn matches(&self, client: &Client, now_ms: u64) -> bool {
        let seconds_since = |at_ms: u64| now_ms.saturating_sub(at_ms) / 1000;
        let is_named = |name: &str, wanted: &[u8]| !name.is_empty() && name.as_bytes() == wanted;
        match self {
            Property::Ids(ids) => ids.contains(&client.id),
            Property::Type(class) => client.class() == *class,
            Property::User(name) => client.names.lock().user.as_bytes() == name,
            Property::Addr(address) => client.address.peer().as_bytes() == address,
            Property::Laddr(address) => client.address.local().as_bytes() == address,
            Property::Ip(ip) => client.address.ip().as_bytes() == ip,
            Property::Name(name) => is_named(&client.names.lock().name, name),
            Property::LibName(name) => is_named(&client.names.lock().lib_name, name),
            Property::LibVer(version) => is_named(&client.names.lock().lib_ver, version),
            Property::Flags(wanted) => {
                let letters = client.letters();
                wanted.iter().all(|&letter| letters.contains(letter as char))
            }
            Property::Db(db) => client.db.load(Relaxed) == *db,
            Property::MaxAge(age) => seconds_since(client.connected_ms) >= *age,
            Property::Idle(idle) => seconds_since(client.active_ms.load(Relaxed)) >= *idle,
        }
    }
}

/// What is wrong with `word` where an option was expected. After LIST's IDs, Redis takes it for another ID.
fn after_ids(of: Of, filter: &Filter, word: &[u8]) -> Failure {
    let only_ids = !filter.conditions.is_empty() && filter.ids().is_some();
    let is_option =
        ["TYPE", "USER", "ADDR", "LADDR", "SKIPME", "MAXAGE", "IDLE", "NAME", "FLAGS", "DB", "IP"]
            .iter()
            .any(|option| argument::eq_ignore_case(word, option));
    if of == Of::List && only_ids && !is_option { INVALID_ID } else { Failure::SYNTAX }
}

const INVALID_ID: Failure = Failure::of("ERR Invalid client ID");

fn first_id(of: Of, value: &[u8]) -> Result<ClientId, Failure> {
    match argument::int(value) {
        Some(id) => checked_id(of, id),
        None if of == Of::List => Err(INVALID_ID),
        None => checked_id(of, 0),
    }
}

/// No client has an ID below 1: LIST finds none, KILL refuses.
fn checked_id(of: Of, id: i64) -> Result<ClientId, Failure> {
    match u64::try_from(id) {
        Ok(id) if id > 0 => Ok(id),
        _ if of == Of::List => Ok(0),
        _ => Err(Failure::of("ERR client-id should be greater than 0")),
    }
}

fn yes_or_no(value: &[u8]) -> Result<bool, Failure> {
    if argument::eq_ignore_case(value, "YES") {
        Ok(true)
    } else if argument::eq_ignore_case(value, "NO") {
        Ok(false)
    } else {
        Err(Failure::SYNTAX)
    }
}

fn seconds(option: &str, value: &[u8]) -> Result<u64, Failure> {
    let value = argument::int(value)
        .ok_or_else(|| Failure::text(format!("ERR {option} is not an integer or out of range")))?;
    match u64::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(Failure::text(format!("ERR {option} should be greater than 0"))),
    }
}

fn database(value: &[u8], server: &Server) -> Result<u8, Failure> {
    let db = argument::int(value).ok_or(Failure::of("ERR DB is not an integer or out of range"))?;
    let databases = server.partitions.databases();
    let is_there = usize::try_from(db).is_ok_and(|db| db < databases);
    u8::try_from(db).ok().filter(|_| is_there).ok_or_else(|| {
        Failure::text(format!("ERR DB number should be between 0 and {}", databases.saturating_sub(1)))
    })
}

fn quoting(text: &str, word: &[u8]) -> Failure {
    Failure::text([text.as_bytes(), b" '", word, b"'"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Users;
    use crate::command::table::table;
    use crate::config::Config;
    use crate::connection::client::{Address, mark};
    use sterna_protocol::OwnedArgs;

    fn server() -> Server {
        Server::new(table(), Config::default(), None, Users::new(table()), None, Vec::new())
    }

    fn parse(of: Of, options: &str) -> Result<Filter, String> {
        let options: OwnedArgs = options.split_whitespace().collect();
        let filter = Filter::parse(of, options.args(), &server());
        filter.map_err(|failure| String::from_utf8_lossy(failure.wire()).into_owned())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_the_words_of_redis_or_valkey() {
        let rows = [
            (Of::List, "foo", "ERR syntax error"),
            (Of::List, "type", "ERR syntax error"),
            (Of::List, "type foo", "ERR Unknown client type 'foo'"),
            (Of::List, "id x", "ERR Invalid client ID"),
            (Of::List, "id 1 x", "ERR Invalid client ID"),
            (Of::Kill, "id x", "ERR client-id should be greater than 0"),
            (Of::Kill, "id 0 type foo", "ERR client-id should be greater than 0"),
            (Of::Kill, "id 1 x", "ERR syntax error"),
            (Of::Kill, "user nobody", "ERR No such user 'nobody'"),
            (Of::Kill, "skipme maybe", "ERR syntax error"),
            (Of::Kill, "not-skipme yes", "ERR syntax error"),
            (Of::Kill, "not-maxage 1", "ERR syntax error"),
            (Of::Kill, "maxage 0", "ERR maxage should be greater than 0"),
            (Of::Kill, "idle x", "ERR idle is not an integer or out of range"),
            (Of::List, "db 16", "ERR DB number should be between 0 and 15"),
            (Of::List, "flags Q", "ERR Unknown flags found in the provided filter: Q"),
        ];
        for (of, options, expected) in rows {
            assert_eq!(parse(of, options).unwrap_err(), expected, "{of:?} {options}");
        }
    }

    #[test]
    fn a_client_must_meet_every_condition() {
        let address =
            Address::Tcp { peer: "1.2.3.4:5".parse().unwrap(), local: "[::1]:6379".parse().unwrap() };
        let client = Client::new(7, 0, 3, address, 1_000, std::sync::Arc::default());
        client.names.lock().name = "bob".into();
        client.set_mark(mark::PUBSUB, true);
        let now_ms = 61_500;
        let rows = [
            ("", true),
            ("id 7", true),
            ("id 6 8", false),
            ("id 6 id 7", true),
            ("not-id 7", false),
            ("id 7 not-id 6", true),
            ("type pubsub", true),
            ("TYPE normal", false),
            ("type normal type pubsub", true),
            ("not-type normal", true),
            ("addr 1.2.3.4:5 laddr [::1]:6379 ip 1.2.3.4", true),
            ("ip 1.2.3.5", false),
            ("name bob", true),
            ("not-name bob", false),
            ("lib-name bob", false),
            ("flags P", true),
            ("flags Px", false),
            ("user default db 0", true),
            ("db 1", false),
            ("maxage 60", true),
            ("maxage 61", false),
            ("idle 60", true),
            ("idle 61", false),
        ];
        for (options, expected) in rows {
            let filter = parse(Of::Kill, options).unwrap();
            assert_eq!(filter.matches(&client, now_ms), expected, "{options}");
            assert!(filter.skip_me, "{options}");
        }
        assert!(!parse(Of::Kill, "id 7 skipme no").unwrap().skip_me);
        assert!(!parse(Of::List, "id 7").unwrap().skip_me);
    }
}
