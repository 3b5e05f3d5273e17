//! JSON Web Tokens: who may what, said by whoever has a key, for a time.
//!
//! ```text
//!   base64url(header) . base64url(claims) . base64url(signature)
//!
//!   claims   exp                      when it ends, in seconds: must be there
//!            nbf, iss, aud            when it begins; compared if configured
//!            sub                      a name, for CLIENT LIST
//!            channels, patterns       what it may listen to, and read of what channels remember
//!            streams                  keys of streams that it may read
//!            publish                  channels that it may publish to
//! ```
//!
//! A token is a user who stands in no file: its claims are rules of ACL, a selector each, and the engine checks them as it does any
//! user's. Names are globs as in ACL, but for patterns, which are what PSUBSCRIBE is given.
//!
//! Nothing of a token is believed before its signature is verified, but for which key to try.
//!
//! Source: RFC 7515, 7519, 8725.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use serde_json::{Map, Value as Json};

use crate::keys::Keys;
use crate::response::Refusal;

/// Bytes of a token; it fits into a header with others.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Names in a token.
const NAMES_MAX: usize = 1000;

/// Bytes of a subject that are shown.
const SUBJECT_BYTES_MAX: usize = 200;

/// Seconds that the clock of whoever signs may be ahead.
const EARLY_S: f64 = 10.0;

/// A user by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// As CLIENT LIST shows it, behind `token:`.
    pub(crate) name: String,
    /// Rules of ACL.
    pub(crate) rules: Vec<String>,
    /// When it ends, Unix time in milliseconds.
    pub(crate) ends_ms: u64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) now_ms: u64,
}

/// Whether this looks like a token, and like no password with its user.
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.starts_with(b"eyJ")
        && text.iter().all(|&byte| is_of_token(byte))
        && text.iter().filter(|&&byte| byte == b'.').count() == 2
}

/// Reads a token.
pub(crate) fn read(token: &[u8], keys: &Keys, expected: Expected<'_>) -> Result<Bearer, Refusal> {
    let refused = |why: &str| Refusal::new(StatusCode::UNAUTHORIZED, format!("WRONGPASS The token {why}"));
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused("is too long"));
    }
    let claims = verified(token, keys).ok_or_else(|| refused("is not signed with a known key"))?;
    let number = |name: &str| claims.get(name).map(|value| value.as_f64());
    let now_s = expected.now_ms as f64 / 1000.0;
    let ends_s = number("exp").flatten().ok_or_else(|| refused("has no end (exp)"))?;
    if ends_s <= now_s {
        return Err(refused("has ended"));
    }
    if number("nbf").is_some_and(|begins_s| begins_s.is_none_or(|begins_s| begins_s > now_s + EARLY_S)) {
        return Err(refused("has not begun"));
    }
    let is_in = |name: &str, wanted: &str| match claims.get(name) {
        Some(Json::String(text)) => text == wanted,
        Some(Json::Array(texts)) => texts.iter().any(|text| text.as_str() == Some(wanted)),
        _ => false,
    };
    if !expected.issuer.is_empty() && claims.get("iss").and_then(Json::as_str) != Some(expected.issuer) {
        return Err(refused("is of another issuer"));
    }
    if !expected.audience.is_empty() && !is_in("aud", expected.audience) {
        return Err(refused("is for another audience"));
    }
    let rules = rules(&claims).ok_or_else(|| refused("has names that can't be rules"))?;
    // Beyond what there is of time it lasts for good.
    Ok(Bearer { name: name(&claims), rules, ends_ms: (ends_s * 1000.0) as u64 })
}

/// The claims of a token whose signature is right.
fn verified(token: &[u8], keys: &Keys) -> Option<Map<String, Json>> {
    let text = str::from_utf8(token).ok()?;
    let (message, signature) = text.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let object = |part: &str| match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?) {
        Ok(Json::Object(object)) => Some(object),
        _ => None,
    };
    let header = object(header)?;
    // What it says must be understood is not.
    if header.contains_key("crit") {
        return None;
    }
    let algorithm = header.get("alg")?.as_str()?;
    let id = header.get("kid").and_then(Json::as_str);
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    keys.verify(algorithm, id, message.as_bytes(), &signature).then(|| object(claims))?
}

/// The subject, with nothing in it that a line could be misread by.
fn name(claims: &Map<String, Json>) -> String {
    let subject = claims.get("sub").and_then(Json::as_str).unwrap_or_default();
    let mut name = String::new();
    for letter in subject.chars() {
        if name.len() >= SUBJECT_BYTES_MAX {
            break;
        }
        name.push(if letter.is_ascii_graphic() { letter } else { '_' });
    }
    name
}

/// The claims as rules. `None`: a claim is no list of names, or there are too many.
fn rules(claims: &Map<String, Json>) -> Option<Vec<String>> {
    const MAY: [(&str, &str, &str); 4] = [
        ("channels", "+subscribe +xread +xrange +xrevrange +xlen", "&"),
        ("patterns", "+psubscribe", "&"),
        ("streams", "+xread +xrange +xrevrange +xlen", "%R~"),
        ("publish", "+publish", "&"),
    ];
    let mut rules = vec!["resetchannels".to_owned()];
    let mut count = 0;
    for (claim, commands, sign) in MAY {
        let names = match claims.get(claim) {
            None => continue,
            Some(Json::Array(names)) => names,
            Some(_) => return None,
        };
        count += names.len();
        if count > NAMES_MAX {
            return None;
        }
        let mut rule = format!("(resetchannels {commands}");
        for name in names {
            // A rule ends where a space or a parenthesis stands: such a name would be rules of its own.
            let is_word = |name: &&str| {
                !name.is_empty()
                    && !name.contains(|letter: char| letter.is_ascii_whitespace() || "()\0".contains(letter))
            };
            rule.extend([" ", sign, name.as_str().filter(is_word)?]);
        }
        rule.push(')');
        if !names.is_empty() {
            rules.push(rule);
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    const SECRET: [u8; 32] = [7; 32];

    fn part(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn secret_key() -> Keys {
        Keys::parse(format!(r#"{{"kty":"oct","kid":"a","k":"{}"}}"#, part(SECRET)).as_bytes()).unwrap()
    }

    fn signed(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = part(sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn by_secret(message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), message).as_ref().to_vec()
    }

    fn of(header: &str, claims: &str) -> Result<Bearer, String> {
        let token = signed(header, claims, by_secret);
        assert!(is_token(token.as_bytes()));
        let expected = Expected { now_ms: 1_000_000, ..Expected::default() };
        read(token.as_bytes(), &secret_key(), expected).map_err(|refusal| refusal.text)
    }

    const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn claims_become_rules() {
        let claims = r#"{"exp":1001,"sub":"al ice","channels":["news","chat:*"],"patterns":["chat:*"],
            "streams":["orders"],"publish":["chat:1"]}"#;
        let bearer = of(HS256, claims).unwrap();
        assert_eq!((&*bearer.name, bearer.ends_ms), ("al_ice", 1_001_000));
        let expected = [
            "resetchannels",
            "(resetchannels +subscribe +xread +xrange +xrevrange +xlen &news &chat:*)",
            "(resetchannels +psubscribe &chat:*)",
            "(resetchannels +xread +xrange +xrevrange +xlen %R~orders)",
            "(resetchannels +publish &chat:1)",
        ];
        assert_eq!(bearer.rules, expected);
        assert_eq!(of(HS256, r#"{"exp":1001.5,"channels":[]}"#).unwrap().rules, ["resetchannels"]);
    }

    #[test]
    fn a_token_that_is_wrong_in_any_way_lets_nobody_in() {
        for (header, claims) in [
            (HS256, "{}"),
            (HS256, "[]"),
            (HS256, r#"{"exp":"1001"}"#),
            (HS256, r#"{"exp":1000}"#),
            (HS256, r#"{"exp":null}"#),
            (HS256, r#"{"exp":2000,"nbf":1011}"#),
            (HS256, r#"{"exp":2000,"nbf":"0"}"#),
            (HS256, r#"{"exp":2000,"channels":"news"}"#),
            (HS256, r#"{"exp":2000,"channels":[1]}"#),
            (HS256, r#"{"exp":2000,"channels":[""]}"#),
            (HS256, r#"{"exp":2000,"channels":["x) (+@all ~* &*"]}"#),
            (HS256, r#"{"exp":2000,"publish":["a\tb"]}"#),
            (r#"{"alg":"none"}"#, r#"{"exp":2000}"#),
            (r#"{"alg":"HS512"}"#, r#"{"exp":2000}"#),
            (r#"{"alg":"RS256"}"#, r#"{"exp":2000}"#),
            (r#"{"typ":"JWT"}"#, r#"{"exp":2000}"#),
            (r#"{"alg":"HS256","kid":"b"}"#, r#"{"exp":2000}"#),
            (r#"{"alg":"HS256","crit":["exp"]}"#, r#"{"exp":2000}"#),
        ] {
            assert!(of(header, claims).is_err(), "{header} {claims}");
        }
        assert!(of(r#"{"alg":"HS256","kid":"a"}"#, r#"{"exp":2000,"nbf":1009}"#).is_ok());
        let expected = Expected { now_ms: 1_000_000, ..Expected::default() };
        let good = signed(HS256, r#"{"exp":2000}"#, by_secret);
        let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
        let other = signed(HS256, r#"{"exp":2000}"#, |_| vec![0; 32]);
        let long = signed(HS256, &format!(r#"{{"exp":2000,"x":"{}"}}"#, "x".repeat(8192)), by_secret);
        for wrong in [&unsigned, &other, &long, "..", "eyJ.eyJ.eyJ", &good[..good.len() - 2]] {
            assert!(read(wrong.as_bytes(), &secret_key(), expected).is_err(), "{wrong:.80}");
        }
        assert!(read(good.as_bytes(), &secret_key(), expected).is_ok());
    }

    #[test]
    fn issuer_and_audience_are_compared_where_they_are_asked_for() {
        let expected = Expected { issuer: "me", audience: "sterna", now_ms: 0 };
        for (claims, is_let_in) in [
            (r#"{"exp":9}"#, false),
            (r#"{"exp":9,"iss":"me"}"#, false),
            (r#"{"exp":9,"iss":"you","aud":"sterna"}"#, false),
            (r#"{"exp":9,"iss":"me","aud":"other"}"#, false),
            (r#"{"exp":9,"iss":"me","aud":"sterna"}"#, true),
            (r#"{"exp":9,"iss":"me","aud":["other","sterna"]}"#, true),
        ] {
            let token = signed(HS256, claims, by_secret);
            assert_eq!(read(token.as_bytes(), &secret_key(), expected).is_ok(), is_let_in, "{claims}");
        }
    }

    #[test]
    fn a_key_verifies_its_own_algorithm_and_no_other() {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let curve =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let edwards = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let point = curve.public_key().as_ref();
        let (x, y) = (part(&point[1..33]), part(&point[33..]));
        let public = part(edwards.public_key().as_ref());
        let set = format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}},{{"kty":"OKP","crv":"Ed25519","x":"{public}"}},
            {{"kty":"RSA","use":"enc","n":"AA","e":"AQAB"}}]}}"#
        );
        let keys = Keys::parse(set.as_bytes()).unwrap();
        let expected = Expected::default();
        let by_curve = |message: &[u8]| curve.sign(&random, message).unwrap().as_ref().to_vec();
        let by_edwards = |message: &[u8]| edwards.sign(message).as_ref().to_vec();
        // The public key taken for a secret, which everybody knows.
        let by_public =
            |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, point), message).as_ref().to_vec();
        let is_let_in = |token: String| read(token.as_bytes(), &keys, expected).is_ok();
        assert!(is_let_in(signed(r#"{"alg":"ES256"}"#, r#"{"exp":9}"#, by_curve)));
        assert!(is_let_in(signed(r#"{"alg":"EdDSA"}"#, r#"{"exp":9}"#, by_edwards)));
        assert!(!is_let_in(signed(r#"{"alg":"EdDSA"}"#, r#"{"exp":9}"#, by_curve)));
        assert!(!is_let_in(signed(r#"{"alg":"ES256"}"#, r#"{"exp":9}"#, by_edwards)));
        assert!(!is_let_in(signed(HS256, r#"{"exp":9}"#, by_public)));
    }

    /// Made by openssl: a key of 2048 bits in PEM, and what it has signed.
    #[test]
    fn keys_in_pem_verify_what_openssl_has_signed() {
        for (algorithm, pem, signature) in include!("openssl_vectors.in") {
            let keys = Keys::parse(pem.as_bytes()).unwrap();
            let message = b"what is signed";
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert!(keys.verify(algorithm, None, message, &signature), "{algorithm}");
            assert!(!keys.verify(algorithm, None, b"what is not", &signature), "{algorithm}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_token_that_was_changed_anywhere_lets_nobody_in(
            at in 0_usize..200, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4), gone in 0_usize..4,
        ) {
            let good = signed(HS256, r#"{"exp":2000,"sub":"alice","channels":["news"],"publish":["chat:*"]}"#, by_secret);
            let mut changed = good.clone().into_bytes();
            let at = at.min(changed.len());
            let end = (at + gone).min(changed.len());
            changed.splice(at..end, bytes);
            let is_same = changed == good.as_bytes();
            proptest::prop_assert_eq!(read(&changed, &secret_key(), Expected::default()).is_ok(), is_same);
        }

        #[test]
        fn whatever_is_signed_is_a_user_with_no_more_than_it_says_or_nobody(claims in "\\PC{0,60}", name in "\\PC{0,12}") {
            let named = format!(r#"{{"exp":2000,"publish":[{}]}}"#, Json::from(name));
            for claims in [claims, named] {
                let token = signed(HS256, &claims, by_secret);
                let Ok(bearer) = read(token.as_bytes(), &secret_key(), Expected::default()) else { continue };
                // One rule each, in parentheses of its own.
                for rule in &bearer.rules[1..] {
                    let inner = rule.strip_prefix("(resetchannels +publish ").and_then(|rest| rest.strip_suffix(')'));
                    proptest::prop_assert!(inner.is_some_and(|inner| !inner.contains(['(', ')', ' '])), "{:?}", rule);
                }
            }
        }

        #[test]
        fn no_bytes_do_harm(text in proptest::collection::vec(proptest::sample::select(b"eyJ.{}\"a0-_=".as_slice()), 0..60)) {
            let _ = is_token(&text);
            proptest::prop_assert!(read(&text, &secret_key(), Expected::default()).is_err());
        }
    }
}
