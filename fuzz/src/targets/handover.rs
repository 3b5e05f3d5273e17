//! A request that becomes a connection of a shard: what it says is read, written again and read as the same; a page is where it
//! was told that it is; and nobody is who no header allows.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Uri};
use sterna_config::Config;
use sterna_gateway::fuzzing::{
    Query, Said, Wanted, asker, handshake, is_host_served, pairs, said, segments, stream_head, wanted,
};
use sterna_keyspace::stream::EntryId;
use sterna_protocol::websocket::accept_key;
use sterna_server::fuzzing::Followed;
use sterna_server::{NAMES_WITH_POSITION_MAX, Since};

use crate::within;

/// Channels, patterns and streams of one request.
const NAMES_MAX: usize = 1000;

/// Servers that differ in whose pages they allow, and in what remembers.
static CONFIGS: LazyLock<[Config; 3]> = LazyLock::new(|| {
    ["", "https://app.example http://127.0.0.1:3000", "*"].map(|origins| {
        let args = ["--http-allow-origin", origins, "--retain", "r*", "maxlen", "5"];
        let loaded = Config::load(&args.map(str::to_owned), sterna_config::LineChecks::NONE);
        loaded.expect("these are options").config
    })
});

/// The first byte says how the server is set up; then comes what follows GET, and headers, a line each.
pub fn run(input: &[u8]) {
    let Some((&setup, bytes)) = input.split_first() else { return };
    LazyLock::force(&CONFIGS);
    within((1 << 17) + 300 * input.len(), || {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let target = lines.next().unwrap_or_default();
        let headers = headers(lines);
        position(bytes);
        check_handshake(&headers);
        if let Ok(uri) = Uri::try_from(target) {
            let config = &CONFIGS[usize::from(setup / 4) % 3];
            request(&uri, &headers, config, setup & 1 == 1, setup & 2 == 2);
        }
    });
}

fn headers<'l>(lines: impl Iterator<Item = &'l [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Each byte that is no letter and no digit as `%XX`.
fn encoded(bytes: &[u8]) -> String {
    let write = |&byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(write).collect()
}

fn query_of<'p>(pairs: impl IntoIterator<Item = (&'p [u8], Option<&'p [u8]>)>) -> String {
    let write = |(name, value): (&[u8], Option<&[u8]>)| match value {
        Some(value) => format!("{}={}", encoded(name), encoded(value)),
        None => encoded(name),
    };
    pairs.into_iter().map(write).collect::<Vec<_>>().join("&")
}

fn request(uri: &Uri, headers: &HeaderMap, config: &Config, tls: bool, takes_tokens: bool) {
    let path = segments(uri.path());
    let written: String = path.iter().map(|segment| format!("/{}", encoded(segment))).collect();
    // A slash at the end begins no segment, so an empty one there needs another.
    let end = if path.last().is_some_and(Vec::is_empty) { "/" } else { "" };
    assert_eq!(segments(&format!("{written}{end}")), path, "a path is written and read as another");
    let query = pairs(uri.query().unwrap_or_default());
    // One without a name or a value is left out where it is read.
    let is_there = |(name, value): &&(Vec<u8>, Option<Vec<u8>>)| !name.is_empty() || value.is_some();
    let borrowed = query.iter().filter(is_there).map(|(name, value)| (&name[..], value.as_deref()));
    assert_eq!(pairs(&query_of(borrowed)), query, "a query is written and read as another");

    let (in_path, in_query) = (uri.path(), uri.query().unwrap_or_default());
    assert_eq!(segments(&in_path.replace('+', "%2B")), path, "a plus in a path is one");
    assert_eq!(pairs(&in_query.replace('+', "%20")), query, "a plus in a query is a space");

    is_host_served_only_as_this_machine(headers);
    let asker = asker(headers, config, tls);
    let own = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = format!("{}://{own}", if tls { "https" } else { "http" });
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    if let (Ok(asker), Some(origin)) = (&asker, origin) {
        let is_own = own.eq_ignore_ascii_case(origin);
        assert!(is_own || config.http_allow_origin.allow(origin), "{origin} is not allowed");
        assert_eq!(asker.may_use_cookie, is_own || config.http_allow_origin.names(origin));
    }
    let Ok(asker) = asker else { return };
    let read = said(headers, &query, takes_tokens, asker.may_use_cookie);
    check_login(read, headers, &query, takes_tokens, asker.may_use_cookie);
    if let Ok(found) = wanted(&query, headers, config) {
        check_wanted(&found, &query, config);
        let head = String::from_utf8(stream_head(headers, asker)).expect("a head is text");
        let (lines, body) = head.split_once("\r\n\r\n").expect("a head ends");
        assert!(body.starts_with("retry: ") && body.ends_with('\n') && body.lines().count() == 1);
        let names: Vec<_> = lines.split("\r\n").skip(1).filter_map(|line| line.split_once(": ")).collect();
        assert_eq!(names.len(), lines.split("\r\n").count() - 1);
        let told =
            names.iter().find(|(name, _)| *name == "access-control-allow-origin").map(|(_, value)| *value);
        assert_eq!(told, origin, "the origin that asks is told, and no other");
        let may_send = names.contains(&("access-control-allow-credentials", "true"));
        assert_eq!(may_send, asker.is_named, "what a browser keeps is for pages that are named");
    }
}

fn is_host_served_only_as_this_machine(headers: &HeaderMap) {
    if is_host_served(headers) {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).expect("it says a host");
        let is_local = host.len() >= 9 && host[..9].eq_ignore_ascii_case("localhost");
        let rest = if is_local { &host[9..] } else { host };
        // No letter but those of an IPv6 address: no name of a host is made of them and a colon or four numbers.
        assert!(
            rest.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:[]".contains(&byte)),
            "{host} is a name"
        );
        assert!(
            rest.contains(':') || is_local || rest.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
        );
    }
}

/// The header counts before the query, and that before the cookie, which counts only where it may; and who is found is found
/// where it is written again.
fn check_login(
    read: Result<Said, String>,
    headers: &HeaderMap,
    query: &Query,
    takes_tokens: bool,
    may_use_cookie: bool,
) {
    let (nobodys, empty) = (Query::new(), HeaderMap::new());
    let mut without_cookie = headers.clone();
    without_cookie.remove(COOKIE);
    let has_token = query.iter().any(|(name, value)| name == b"_token" && value.is_some());
    if headers.contains_key(AUTHORIZATION) {
        assert_eq!(
            read,
            said(&without_cookie, &nobodys, takes_tokens, may_use_cookie),
            "the header counts alone"
        );
    } else if has_token || !may_use_cookie || !takes_tokens {
        assert_eq!(read, said(&empty, query, takes_tokens, may_use_cookie), "the cookie does not count");
    }
    let header = match &read {
        Ok(Said::Token(token)) => {
            assert!(takes_tokens, "tokens are not taken");
            [b"Bearer ", &token[..]].concat()
        }
        // Basic has no name for nobody.
        Ok(Said::Password { user, password }) if !user.is_empty() => {
            assert!(!user.contains(&b':'));
            let pair = STANDARD.encode([&user[..], b":", password].concat());
            format!("Basic {pair}").into_bytes()
        }
        _ => return,
    };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&header).expect("a header can hold it"));
    assert_eq!(said(&headers, &nobodys, takes_tokens, false), read, "who is written is read as another");
}

/// What is found stands in the query, is no more than may be, and is found again where it is written.
fn check_wanted(found: &Wanted, query: &Query, config: &Config) {
    let Wanted { channels, patterns, streams, since } = found;
    let remembering = channels.iter().filter(|name| config.retention_of(name).is_some()).count();
    assert!((1..=NAMES_MAX).contains(&(channels.len() + patterns.len() + streams.len())));
    assert!(remembering + streams.len() <= NAMES_WITH_POSITION_MAX);
    let named = [(&b"channel"[..], channels), (b"pattern", patterns), (b"stream", streams)];
    for (kind, names) in named {
        let values = query.iter().filter(|(name, _)| name == kind);
        assert!(
            values.map(|(_, value)| value.as_deref().unwrap_or_default()).eq(names.iter().map(Vec::as_slice))
        );
    }
    let all =
        named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, Some(&name[..]))));
    let again = wanted(&pairs(&query_of(all)), &HeaderMap::new(), config).expect("it can be asked for again");
    assert_eq!((&again.channels, &again.patterns, &again.streams), (channels, patterns, streams));
    assert!(again.since.is_none());
    let bytes = since.as_ref().map_or(0, heap_bytes);
    assert!(bytes <= NAMES_WITH_POSITION_MAX * 64, "a position holds {bytes} bytes");
}

/// What a position may hold: those of so many names, each with a number and an ID.
fn heap_bytes(since: &Since) -> usize {
    // Its text names each ID once.
    format!("{since:?}").matches("Id(").count() * 32
}

/// A position that a page was told, of as many channels as there are lines.
fn position(bytes: &[u8]) {
    let names: Vec<_> =
        bytes.split(|&byte| byte == b'\n').take(NAMES_WITH_POSITION_MAX).map(<[u8]>::to_vec).collect();
    let number = |at: usize| {
        bytes.iter().cycle().skip(at).take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let query = query_of(names.iter().map(|name| (&b"channel"[..], Some(&name[..]))));
    let mut followed = Followed::new(names);
    let (epoch, count) = (number(0), followed.count());
    // No ID is 0-0 where something has been handed out.
    let ids: Vec<_> = (0..count).map(|at| EntryId::new(number(at + 1), number(at + 5) | 1)).collect();
    let told = followed.position(epoch, &ids);
    let text = HeaderValue::from_bytes(&told).expect("a header can hold a position");
    let config = &CONFIGS[0];
    let (mut headers, nothing) = (HeaderMap::new(), HeaderMap::new());
    headers.insert("last-event-id", text);
    let value = encoded(&told);
    for (query, headers) in [
        (query.clone(), &headers),
        (format!("since=earliest&last_event_id=0&{query}"), &headers),
        (format!("{query}&last_event_id={value}&since=earliest"), &nothing),
        (format!("since={value}&{query}"), &nothing),
    ] {
        let Ok(found) = wanted(&pairs(&query), headers, config) else {
            panic!("a page may ask for what it has had: {query}");
        };
        let since = found.since.expect("it says where it was");
        assert!(followed.goes_on_at(&since, epoch, &ids), "it goes on elsewhere");
        assert!(!followed.goes_on_at(&since, epoch ^ 1, &ids), "a position of another epoch");
    }
}

fn check_handshake(headers: &HeaderMap) {
    let Ok(head) = handshake(headers) else { return };
    let head = String::from_utf8(head).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 101 ") && head.find("\r\n\r\n") == Some(head.len() - 4));
    let says = |name: &str, word: &str| {
        let values = headers.get_all(name).iter().map(|value| value.as_bytes().to_ascii_lowercase());
        values.into_iter().any(|value| value.windows(word.len()).any(|found| found == word.as_bytes()))
    };
    assert!(
        says("upgrade", "websocket") && says("connection", "upgrade") && says("sec-websocket-version", "13")
    );
    let key = headers.get("sec-websocket-key").expect("a handshake has a key").as_bytes();
    assert!(STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    assert!(
        head.contains(&format!("\r\nsec-websocket-accept: {}\r\n", accept_key(key))),
        "the proof is of this key"
    );
}
