//! Where a server is: `redis://[[user:]password@]host[:port][/db]`, `rediss://` for TLS, as redis-cli takes it.

use std::fmt;

/// A server and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: u32,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UrlError {
    Scheme,
    Host,
    Port,
    Db,
    Escape,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Scheme => "a URL begins with redis:// or rediss://",
            UrlError::Host => "the URL names no host",
            UrlError::Port => "the port is not a number up to 65535",
            UrlError::Db => "the database is not a number",
            UrlError::Escape => "a % in the URL is not followed by two hexadecimal digits",
        })
    }
}

impl std::error::Error for UrlError {}

/// Port of a URL that names none.
const PORT: u16 = 6379;

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(UrlError::Scheme),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, db) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (host, port) = split_port(address)?;
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or(("", login))) {
            None => (None, None),
            Some((user, password)) => (Some(user).filter(|user| !user.is_empty()), Some(password)),
        };
        Ok(Url {
            tls,
            host: if host.is_empty() { return Err(UrlError::Host) } else { host.to_owned() },
            port,
            user: user.map(unescape).transpose()?,
            password: password.map(unescape).transpose()?,
            db: if db.is_empty() { 0 } else { db.parse().map_err(|_| UrlError::Db)? },
        })
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split_port(address: &str) -> Result<(&str, u16), UrlError> {
    let parse = |port: &str| port.parse().map_err(|_| UrlError::Port);
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, parse(port)?)),
            None => Ok((host, PORT)),
        };
    }
    match address.rsplit_once(':') {
        Some((host, port)) => Ok((host, parse(port)?)),
        None => Ok((address, PORT)),
    }
}

fn unescape(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits =
                tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(UrlError::Escape)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError::Escape)?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(tls: bool, host: &str, port: u16, user: Option<&str>, password: Option<&str>, db: u32) -> Url {
        Url {
            tls,
            host: host.into(),
            port,
            user: user.map(Into::into),
            password: password.map(Into::into),
            db,
        }
    }

    #[test]
    fn urls_mean_what_they_mean_to_redis_cli() {
        let rows = [
            ("redis://localhost", Ok(url(false, "localhost", 6379, None, None, 0))),
            ("rediss://:pass@host:6380", Ok(url(true, "host", 6380, None, Some("pass"), 0))),
            ("rediss://pass@host", Ok(url(true, "host", 6379, None, Some("pass"), 0))),
            ("redis://me:p%40ss@host:1/3", Ok(url(false, "host", 1, Some("me"), Some("p@ss"), 3))),
            ("redis://a:b:c@host", Ok(url(false, "host", 6379, Some("a"), Some("b:c"), 0))),
            ("redis://[::1]:7000/2?x=y", Ok(url(false, "::1", 7000, None, None, 2))),
            ("redis://[::1]", Ok(url(false, "::1", 6379, None, None, 0))),
            ("http://host", Err(UrlError::Scheme)),
            ("redis://", Err(UrlError::Host)),
            ("redis://host:70000", Err(UrlError::Port)),
            ("redis://host/x", Err(UrlError::Db)),
            ("redis://:%4@host", Err(UrlError::Escape)),
            ("redis://:%zz@host", Err(UrlError::Escape)),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
