//! A token: none is believed that was changed after it was signed, and the rules of one that is are those that its claims say.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value};
use sterna_acl::{FirstChannels, User};
use sterna_gateway::fuzzing::{Bearer, TokenKeys, is_token};
use sterna_server::command::table;

use crate::within;

const SECRET: [u8; 32] = [7; 32];
const NOW_MS: u64 = 1_000_000;
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;
const CLAIMS: &[u8] =
    br#"{"exp":2000,"sub":"alice","channels":["news"],"patterns":["chat:*"],"streams":["orders"],"publish":["chat:1"]}"#;

/// A claim, the commands that it allows, and the sign of its names.
const MAY: [(&str, &str, &str); 4] = [
    ("channels", "+subscribe +xread +xrange +xrevrange +xlen", "&"),
    ("patterns", "+psubscribe", "&"),
    ("streams", "+xread +xrange +xrevrange +xlen", "%R~"),
    ("publish", "+publish", "&"),
];

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let key = format!(r#"{{"kty":"oct","kid":"a","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(SECRET));
    TokenKeys::parse(key.as_bytes()).expect("a key of 32 bytes")
});
static SIGNED: LazyLock<String> = LazyLock::new(|| signed(HEADER, CLAIMS));

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The first byte says what the others are: a change to a sound token, a token, claims, a header and claims, or names for all claims.
pub fn run(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    LazyLock::force(&KEYS);
    LazyLock::force(&SIGNED);
    table::table();
    within((1 << 17) + 300 * input.len(), || match (kind % 5, bytes) {
        (0, [at, gone, new @ ..]) => changed(usize::from(*at), usize::from(*gone), new),
        (1, token) => assert!(!is_let_in(token), "nobody has signed it"),
        (2, claims) => claimed(HEADER, claims),
        (3, both) => {
            let end = both.iter().position(|&byte| byte == b'\n').unwrap_or(both.len());
            claimed(&both[..end], both.get(end + 1..).unwrap_or_default());
        }
        (4, names) => {
            let names: Vec<_> = names.split(|&byte| byte == b'\n').map(String::from_utf8_lossy).collect();
            let (exp, names) = (Value::from(2000), Value::from(names));
            let all = MAY.iter().map(|(claim, ..)| ((*claim).to_owned(), names.clone()));
            let claims: Map<String, Value> = all.chain([("exp".to_owned(), exp)]).collect();
            claimed(HEADER, Value::from(claims).to_string().as_bytes());
        }
        _ => {}
    });
}

/// Whether a token is a user's; the one that is signed may be.
fn is_let_in(token: &[u8]) -> bool {
    token != SIGNED.as_bytes() && KEYS.read(token, NOW_MS).is_ok()
}

fn changed(at: usize, gone: usize, new: &[u8]) {
    assert!(KEYS.read(SIGNED.as_bytes(), NOW_MS).is_ok(), "a sound token is read");
    let mut token = SIGNED.clone().into_bytes();
    let at = at * token.len() / 255;
    token.splice(at..(at + gone).min(SIGNED.len()), new.iter().copied());
    assert!(!is_let_in(&token), "it was changed after it was signed");
    // Each byte by itself, in the last characters too, whose bits need not all mean something.
    for (at, &byte) in SIGNED.as_bytes().iter().enumerate() {
        let mut token = SIGNED.clone().into_bytes();
        token[at] = new.first().map_or(byte ^ 1, |new| byte ^ new);
        assert!(!is_let_in(&token), "byte {at} was changed after it was signed");
    }
}

fn claimed(header: &[u8], claims: &[u8]) {
    let token = signed(header, claims);
    let Ok(bearer) = KEYS.read(token.as_bytes(), NOW_MS) else { return };
    let header: Map<String, Value> = serde_json::from_slice(header).expect("what is read is an object");
    assert_eq!(header["alg"], "HS256");
    assert!(!header.contains_key("crit"), "it is not understood");
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("what is read is an object");
    assert!(is_token(token.as_bytes()) || !token.starts_with("eyJ"));
    let name_is_plain = bearer.name.len() <= 200 && bearer.name.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(name_is_plain, "{:?}", bearer.name);
    assert!(bearer.ends_ms >= NOW_MS, "it has ended");
    if bearer.ends_ms < 1 << 50 {
        assert!(KEYS.read(token.as_bytes(), bearer.ends_ms + 2).is_err(), "it does not end");
    }
    check_rules(&bearer, &claims);
}

/// Every rule is of one claim, and names what that names and nothing else; so is the user that is made of them.
fn check_rules(bearer: &Bearer, claims: &Map<String, Value>) {
    let (first, rules) = bearer.rules.split_first().expect("a first rule");
    assert_eq!(first, "resetchannels");
    let mut rules = rules.iter();
    for (claim, commands, sign) in MAY {
        let names = claims.get(claim).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if names.is_empty() {
            continue;
        }
        let rule = rules.next().expect("a rule for each claim that names something");
        let inner = rule.strip_prefix('(').and_then(|rule| rule.strip_suffix(')')).expect("in parentheses");
        let words: Vec<&str> = inner.split(' ').collect();
        let expected: Vec<String> = std::iter::once("resetchannels".to_owned())
            .chain(commands.split(' ').map(str::to_owned))
            .chain(names.iter().map(|name| format!("{sign}{}", name.as_str().expect("a name is text"))))
            .collect();
        assert_eq!(words, expected);
        assert!(!inner.contains(['(', ')', '\0', '\t', '\n', '\r']), "rules of its own: {rule}");
    }
    assert_eq!(rules.next(), None, "a rule that no claim asks for");
    // A name that adds nothing to `*` is no rule.
    let Ok(user) = User::with_rules(table::table(), b"token:", &bearer.rules, FirstChannels::None) else {
        return;
    };
    let user_is = user.describe();
    assert!(!user.is_unrestricted() && !user.is_nopass() && user_is.passwords.is_empty());
    assert_eq!(user_is.root.commands, b"-@all");
    assert!(user_is.root.keys.is_empty() && user_is.root.channels.is_empty());
    assert_eq!(user_is.selectors.len(), bearer.rules.len() - 1);
    for selector in user_is.selectors {
        let commands = String::from_utf8(selector.commands).expect("names of commands");
        let (nothing, allowed) = commands.split_once(' ').expect("some are allowed");
        assert!(
            nothing == "-@all" && MAY.iter().any(|(_, commands, _)| is_same(allowed, commands)),
            "{commands}"
        );
    }
}

/// Whether these are the same words.
fn is_same(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.sort();
        words
    };
    words(one) == words(other)
}
