//! Keys that tokens are signed with: a file of JSON Web Keys, or of public keys in PEM.
//!
//! The file is read again when it has changed, looked at once a second at most: a new key is there a moment after it was put
//! there, and one that is taken away is not. A file that can't be read lets nobody in.
//!
//! A key belongs to one algorithm, by its type. What a token says of its algorithm chooses among the keys and never how a
//! key is used: so a public key is never taken for the secret of an HMAC, and there is no key for `none`.
//!
//! Source: RFC 7517, 7518, 8037; RFC 5280 for keys in PEM.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value as Json;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Bytes of the file, and keys in it.
const FILE_BYTES_MAX: u64 = 1 << 20;
const KEYS_MAX: usize = 100;

/// Keys that one token is tried with: who names none, or one that several have, could make the server verify as often as there are
/// keys. So many of one algorithm may be without a name, too: any of them may have signed any token.
const TRIED_MAX: usize = 10;

/// Bytes of a secret: an HMAC with less than its hash has is weaker than the hash.
const SECRET_BYTES_MIN: usize = 32;

/// Between two looks at the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keys of one file.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    /// `kid`.
    id: Option<String>,
    what: What,
}

/// A key with its one algorithm.
#[derive(Debug)]
enum What {
    Hs256(hmac::Key),
    /// The modulus and the exponent.
    Rs256(Vec<u8>, Vec<u8>),
    /// A point, not compressed.
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

/// The file as it was last read.
#[derive(Debug, Default)]
pub(crate) struct KeyFile(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    path: PathBuf,
    looked: Instant,
    /// When it was written, how long it was, and which it was.
    version: Option<(SystemTime, u64, u64)>,
    keys: Option<Arc<Keys>>,
}

impl KeyFile {
    /// The keys in the file at `path`; `None`: it can't be used, which the log tells once.
    pub(crate) fn keys(&self, path: &Path) -> Option<Arc<Keys>> {
        let mut known = self.0.lock().ok()?;
        let is_fresh = |known: &Known| known.path == path && known.looked.elapsed() < INTERVAL;
        if let Some(known) = known.as_ref().filter(|known| is_fresh(known)) {
            return known.keys.clone();
        }
        let version = fs::metadata(path).and_then(|of| Ok((of.modified()?, of.len(), of.ino()))).ok();
        if let Some(known) = known.as_mut().filter(|known| known.path == path && known.version == version) {
            known.looked = Instant::now();
            return known.keys.clone();
        }
        let keys = read(path).and_then(|text| Keys::parse(&text)).inspect_err(
            |error| tracing::error!(%error, path = %path.display(), "http-token-keys can't be used"),
        );
        let keys = keys.ok().map(Arc::new);
        *known = Some(Known { path: path.to_owned(), looked: Instant::now(), version, keys: keys.clone() });
        keys
    }
}

/// The text of the file, if it is one and not too long.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    sterna_filesystem::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())
}

impl Keys {
    /// Reads a set of JSON Web Keys, one such key, or public keys in PEM.
    pub(crate) fn parse(text: &[u8]) -> Result<Keys, String> {
        let keys = if text.trim_ascii_start().starts_with(b"{") { of_json(text)? } else { of_pem(text)? };
        if keys.is_empty() {
            return Err("there is no key for HS256, RS256, ES256 or EdDSA in it".to_owned());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("there are more than {KEYS_MAX} keys in it"));
        }
        for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
            let nameless = keys.iter().filter(|key| key.id.is_none() && key.what.algorithm() == algorithm);
            if nameless.count() > TRIED_MAX {
                return Err(format!(
                    "there are more than {TRIED_MAX} keys for {algorithm} without a kid in it"
                ));
            }
        }
        Ok(Keys(keys))
    }

    /// Whether `signature` is of `message`, by a key for this algorithm that is not known to be another than `id`. The likeliest are
    /// tried first: those that are called `id`, or, of a token that names none, those without a name.
    pub(crate) fn verify(&self, algorithm: &str, id: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        let alike = self.0.iter().filter(|key| key.id.as_deref() == id);
        let others = self.0.iter().filter(|key| key.id.is_some() != id.is_some());
        let fitting = alike.chain(others).filter(|key| key.what.algorithm() == algorithm);
        fitting.take(TRIED_MAX).any(|key| key.what.verify(message, signature))
    }
}

impl What {
    fn algorithm(&self) -> &'static str {
        match self {
            What::Hs256(_) => "HS256",
            What::Rs256(..) => "RS256",
            What::Es256(_) => "ES256",
            What::EdDsa(_) => "EdDSA",
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            What::Hs256(key) => hmac::verify(key, message, signature),
            What::Rs256(n, e) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            What::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            What::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

fn of_json(text: &[u8]) -> Result<Vec<Key>, String> {
    let json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let one = [json.clone()];
    let all = json.get("keys").and_then(Json::as_array).map_or(&one[..], Vec::as_slice);
    let mut keys = Vec::new();
    for key in all {
        if let Some(what) = of_jwk(key)? {
            let id = key.get("kid").and_then(Json::as_str).map(str::to_owned);
            keys.push(Key { id, what });
        }
    }
    Ok(keys)
}

/// `None`: it is for something else.
fn of_jwk(key: &Json) -> Result<Option<What>, String> {
    let text = |name: &str| key.get(name).and_then(Json::as_str);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Ok(None);
    }
    let bytes = |name: &str| {
        let bytes = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
        bytes.ok_or_else(|| format!("a key's '{name}' is missing or no base64url"))
    };
    let what = match (text("kty"), text("crv")) {
        (Some("oct"), _) => {
            let secret = bytes("k")?;
            if secret.len() < SECRET_BYTES_MIN {
                return Err(format!("a secret has less than {SECRET_BYTES_MIN} bytes"));
            }
            What::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &secret))
        }
        (Some("RSA"), _) => What::Rs256(bytes("n")?, bytes("e")?),
        (Some("EC"), Some("P-256")) => What::Es256([&[4][..], &bytes("x")?, &bytes("y")?].concat()),
        (Some("OKP"), Some("Ed25519")) => What::EdDsa(bytes("x")?),
        _ => return Ok(None),
    };
    let is_meant = text("alg").is_none_or(|algorithm| algorithm == what.algorithm());
    Ok(is_meant.then_some(what))
}

fn of_pem(text: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for key in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
        let key = key.map_err(|error| error.to_string())?;
        let what = of_der(&key).ok_or("a public key is of a kind that is not known here")?;
        keys.push(Key { id: None, what });
    }
    Ok(keys)
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const EDWARDS: &[u8] = &[0x2b, 0x65, 0x70];

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 6;
const BIT_STRING: u8 = 3;
const INTEGER: u8 = 2;

/// `SEQUENCE { SEQUENCE { algorithm, parameters }, BIT STRING key }`
fn of_der(der: &[u8]) -> Option<What> {
    let (whole, _) = element(der, SEQUENCE)?;
    let (kind, rest) = element(whole, SEQUENCE)?;
    let (algorithm, parameters) = element(kind, OBJECT_ID)?;
    // No bit of the last byte is unused.
    let key = element(rest, BIT_STRING)?.0.strip_prefix(&[0])?;
    match algorithm {
        RSA => {
            let (numbers, _) = element(key, SEQUENCE)?;
            let (n, rest) = element(numbers, INTEGER)?;
            let (e, _) = element(rest, INTEGER)?;
            Some(What::Rs256(unsigned(n), unsigned(e)))
        }
        EC if element(parameters, OBJECT_ID)?.0 == P256 => Some(What::Es256(key.to_vec())),
        EDWARDS => Some(What::EdDsa(key.to_vec())),
        _ => None,
    }
}

fn unsigned(number: &[u8]) -> Vec<u8> {
    number.strip_prefix(&[0]).unwrap_or(number).to_vec()
}

/// What an element of this kind holds, and what is behind it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[kind])?;
    let (&length, rest) = rest.split_first()?;
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if digits.len() > 4 {
        return None;
    }
    let length = digits.iter().fold(0_usize, |length, &digit| length << 8 | usize::from(digit));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_keys_is_known() {
        let secret = URL_SAFE_NO_PAD.encode([7; 31]);
        let short = format!(r#"{{"kty":"oct","k":"{secret}"}}"#);
        for wrong in [
            "",
            "{",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct"}]}"#,
            r#"{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}"#,
            r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA","use":"enc"}"#,
            &short,
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(Keys::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        for path in ["/dev/zero", "/"] {
            assert!(KeyFile::default().keys(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_token_that_names_no_key_is_tried_with_so_many_and_no_more() {
        let secret = |n: usize| [n as u8; 32];
        let key =
            |n: usize| format!(r#"{{"kty":"oct","kid":"{n}","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(secret(n)));
        let all = (0..2 * TRIED_MAX).map(key).collect::<Vec<_>>().join(",");
        let keys = Keys::parse(format!(r#"{{"keys":[{all}]}}"#).as_bytes()).unwrap();
        for n in 0..2 * TRIED_MAX {
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret(n)), b"message");
            let verify = |id: Option<&str>| keys.verify("HS256", id, b"message", signature.as_ref());
            assert_eq!(verify(None), n < TRIED_MAX, "{n}");
            assert!(verify(Some(&n.to_string())) && !verify(Some("other")), "{n}");
        }
    }

    #[test]
    fn a_key_without_a_name_hides_none_that_has_one_and_each_is_tried() {
        let key = |n: usize, name: &str| {
            format!(r#"{{"kty":"oct",{name}"k":"{}"}}"#, URL_SAFE_NO_PAD.encode([n as u8; 32]))
        };
        let mut all: Vec<String> = (0..TRIED_MAX).map(|n| key(n, "")).collect();
        all.push(key(77, r#""kid":"a","#));
        all.extend((100..100 + TRIED_MAX).map(|n| key(n, r#""kid":"b","#)));
        let keys = |all: &[String]| Keys::parse(format!(r#"{{"keys":[{}]}}"#, all.join(",")).as_bytes());
        let set = keys(&all).unwrap();
        let verifies = |n: u8, id: Option<&str>| {
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[n; 32]), b"message");
            set.verify("HS256", id, b"message", signature.as_ref())
        };
        assert!(verifies(77, Some("a")), "it stands behind ten without a name");
        for n in 0..TRIED_MAX as u8 {
            assert!(verifies(n, None), "{n}");
        }
        // A token with a name, by a key without: it is tried where there is room.
        assert!(verifies(0, Some("a")) && verifies(0, Some("unknown")));
        all.insert(3, key(200, ""));
        assert!(keys(&all).is_err_and(|why| why.contains("without a kid")));
    }

    proptest::proptest! {
        #[test]
        fn a_file_that_was_changed_somewhere_is_read_or_refused(
            at in 0_usize..200, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4), gone in 0_usize..4,
        ) {
            let text = format!(r#"{{"keys":[{{"kty":"oct","k":"{0}"}},{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}]}}"#, "A".repeat(43));
            let mut text = text.into_bytes();
            let at = at.min(text.len());
            let end = (at + gone).min(text.len());
            text.splice(at..end, bytes);
            if let Ok(keys) = Keys::parse(&text) {
                proptest::prop_assert!(!keys.verify("ES256", None, b"message", &[7; 64]));
            }
        }

        #[test]
        fn no_bytes_do_harm(der in proptest::collection::vec(proptest::sample::select(&[0x30, 6, 3, 2, 0x82, 0, 1, 4, 0x2b, 0x65, 0x70, 0xff][..]), 0..40)) {
            let _ = of_der(&der);
        }
    }
}
