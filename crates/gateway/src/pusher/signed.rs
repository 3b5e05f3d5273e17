//! Who asks by the API: whoever has the secret of the app that the path names.
//!
//! ```text
//!   POST\n/apps/3/events\nauth_key=…&auth_timestamp=…&auth_version=1.0&body_md5=…      ──► HMAC-SHA256 = auth_signature
//! ```
//!
//! The parameters are those of the query but for the signature, their names in lower case and in order, as they are when they
//! are decoded. Source: Pusher's description of its API.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use md5::{Digest as _, Md5};
use sterna_config::PusherApp;
use sterna_protocol::pusher;

use crate::response::Refusal;

/// How far a service's clock may be off. Source: Pusher's own.
const CLOCK_S: u64 = 600;

/// What has been signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it stood in the request.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(Vec<u8>, Option<Vec<u8>>)],
}

/// What a signature knows of a body.
pub(crate) struct BodyHash {
    md5: String,
    is_empty: bool,
}

impl BodyHash {
    pub(crate) fn of(body: &[u8]) -> BodyHash {
        let md5 = Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        BodyHash { md5, is_empty: body.is_empty() }
    }
}

fn refused(text: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, text)
}

impl Signed<'_> {
    fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self.query.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| value.as_deref())
    }

    /// Checks all but the body.
    pub(crate) fn check(&self, app: &PusherApp, now_s: u64) -> Result<(), Refusal> {
        if self.parameter("auth_key") != Some(app.key.as_bytes()) {
            return Err(refused("ERR auth_key is not that of the app"));
        }
        if self.parameter("auth_version") != Some(b"1.0") {
            return Err(refused("ERR auth_version must be 1.0"));
        }
        let signature = self.parameter("auth_signature").unwrap_or_default();
        if !pusher::is_signed(app.secret.as_bytes(), &[self.text().as_slice()], signature) {
            return Err(refused("ERR auth_signature is wrong"));
        }
        let signed_s =
            self.parameter("auth_timestamp").and_then(|text| str::from_utf8(text).ok()?.parse().ok());
        if signed_s.is_none_or(|signed_s: u64| signed_s.abs_diff(now_s) > CLOCK_S) {
            return Err(refused("ERR auth_timestamp is more than 600 seconds off"));
        }
        Ok(())
    }

    /// Checks the body, whose hash was signed.
    pub(crate) fn check_body(&self, body: &BodyHash) -> Result<(), Refusal> {
        match self.parameter("body_md5") {
            Some(signed) if signed == body.md5.as_bytes() => Ok(()),
            None if body.is_empty => Ok(()),
            _ => Err(refused("ERR body_md5 is not that of the body")),
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut parameters: Vec<(Vec<u8>, &[u8])> = self
            .query
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_deref().unwrap_or_default()))
            .filter(|(name, _)| name != b"auth_signature")
            .collect();
        parameters.sort_by(|one, other| one.0.cmp(&other.0));
        let pairs: Vec<Vec<u8>> =
            parameters.iter().map(|(name, value)| [&name[..], b"=", value].concat()).collect();
        [self.method.as_bytes(), b"\n", self.path.as_bytes(), b"\n", &pairs.join(&b'&')].concat()
    }
}

/// Unix time, seconds.
pub(crate) fn now_s() -> u64 {
    // Before 1970 nothing is signed.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&\
        body_md5=ec365a775a4cd0599faeb73354201b6f&\
        auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";

    fn app() -> PusherApp {
        PusherApp {
            id: "3".to_owned(),
            key: "278d425bdf160c739803".to_owned(),
            secret: "7ad3773142a6692b25b8".to_owned(),
            user: "default".to_owned(),
            prefix: String::new(),
            client_events: 0,
        }
    }

    fn check(method: &str, path: &str, query: &str, body: &[u8], now_s: u64) -> bool {
        let query = crate::url::pairs(query);
        let signed = Signed { method, path, query: &query };
        signed.check(&app(), now_s).is_ok() && signed.check_body(&BodyHash::of(body)).is_ok()
    }

    /// Source: Pusher's documentation.
    #[test]
    fn what_is_signed_is_method_path_query_and_body() {
        let good = |now_s| check("POST", "/apps/3/events", QUERY, BODY, now_s);
        assert!(good(1_353_088_179) && good(1_353_088_179 + 600) && good(1_353_088_179 - 600));
        assert!(!good(1_353_088_179 + 601) && !good(1_353_088_179 - 601));
        let shuffled = QUERY.replace("auth_version=1.0&", "") + "&Auth_Version=1.0";
        assert!(check("POST", "/apps/3/events", &shuffled, BODY, 1_353_088_179));
        for (method, path, query, body) in [
            ("GET", "/apps/3/events", QUERY.to_owned(), BODY),
            ("POST", "/apps/3/event", QUERY.to_owned(), BODY),
            ("POST", "/apps/3/events", format!("{QUERY}&x=1"), BODY),
            ("POST", "/apps/3/events", QUERY.replace("1353088179", "1353088180"), BODY),
            ("POST", "/apps/3/events", QUERY.replace("auth_version=1.0", "auth_version=1.1"), BODY),
            ("POST", "/apps/3/events", QUERY.replace("a32ccc", "a32ccd"), BODY),
            ("POST", "/apps/3/events", QUERY.replace("278d425", "278d426"), BODY),
            ("POST", "/apps/3/events", QUERY.to_owned(), b"{}"),
            ("POST", "/apps/3/events", QUERY.to_owned(), b""),
            ("POST", "/apps/3/events", String::new(), BODY),
        ] {
            assert!(!check(method, path, &query, body, 1_353_088_179), "{method} {path}?{query}");
        }
    }
}
