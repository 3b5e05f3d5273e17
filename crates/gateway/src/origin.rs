//! Whose page asks. A browser lends a page the user's network: what it asks for on a page's behalf is told by the headers that
//! the page can't change, and refused unless `http-allow-origin` names the page's origin.
//!
//! - `Origin` other than the server's own must be allowed. Browsers send it with everything but plain GETs.
//! - `Sec-Fetch-Site` tells plain GETs of other sites' pages, such as images.
//! - A page can make its own name mean this machine's address (DNS rebinding), and then is no other site. It has no password,
//!   though: so who sends none must say an address or `localhost` in `Host`.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Response, StatusCode};
use sterna_config::Origins;

use crate::response::{Payload, Refusal, empty};

/// What may be read of a response: an origin, if a page asks.
pub(crate) struct Asker {
    /// An origin that is allowed.
    origin: Option<HeaderValue>,
    /// By its own name, and not as any other.
    pub(crate) is_named: bool,
    /// It is that of the server itself.
    is_own: bool,
}

/// Checks who asks. `tls`: how the request came.
pub(crate) fn check(headers: &HeaderMap, allowed: &Origins, tls: bool) -> Result<Asker, Refusal> {
    let refused = || Refusal::new(StatusCode::FORBIDDEN, "ERR Origin not allowed (http-allow-origin)");
    let Some(origin) = headers.get(ORIGIN) else {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        return match site {
            Some(b"cross-site" | b"same-site") => Err(refused()),
            _ => Ok(Asker { origin: None, is_named: false, is_own: true }),
        };
    };
    let text = origin.to_str().map_err(|_| refused())?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = format!("{}://{host}", if tls { "https" } else { "http" });
    let (is_own, is_named) = (own.eq_ignore_ascii_case(text), allowed.names(text));
    if is_own || allowed.allow(text) {
        return Ok(Asker { origin: Some(origin.clone()), is_named, is_own });
    }
    Err(refused())
}

/// Whether who sends no credentials may be served: see the module.
pub(crate) fn check_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let is_address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok(),
    };
    if is_address || name.eq_ignore_ascii_case("localhost") {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNAUTHORIZED, "NOAUTH Under a name the server asks for credentials"))
}

impl Asker {
    /// Whether a cookie says who asks: a browser sends it with whatever a page asks for, and `*` allows any page.
    pub(crate) fn may_use_cookie(&self) -> bool {
        self.is_named || self.is_own
    }

    /// Answers what a browser asks before it sends a page's request; `None`: it is no such question.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Payload>> {
        if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = empty(StatusCode::NO_CONTENT);
        let answer = response.headers_mut();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT"));
        if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }

    /// Lets the page read the response.
    pub(crate) fn allow(self, response: &mut Response<Payload>) {
        if let Some(origin) = self.origin {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
            if self.is_named {
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn is_served(pairs: &[(&'static str, &'static str)]) -> bool {
        check(&headers(pairs), &Origins::default(), false).is_ok()
    }

    #[test]
    fn pages_of_other_origins_are_refused_by_whatever_tells_of_them() {
        assert!(is_served(&[]) && is_served(&[("sec-fetch-site", "none")]));
        assert!(is_served(&[("origin", "http://a:1"), ("host", "a:1")]));
        for (name, value) in [
            ("origin", "https://a:1"),
            ("origin", "http://b:1"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!is_served(&[(name, value), ("host", "a:1")]), "{name}: {value}");
        }
    }

    #[test]
    fn without_credentials_the_host_is_an_address() {
        for host in ["127.0.0.1:80", "[::1]:80", "[::1]", "10.0.0.1", "localhost:8079", "LOCALHOST"] {
            assert!(check_host(&headers(&[("host", host)])).is_ok(), "{host}");
        }
        for host in [
            "evil.example:80",
            "localhost.evil.example",
            "",
            ":80",
            "127.0.0.1.evil.example",
            "127.0.0.1]",
            "[10.0.0.1]",
            "[[::1]]",
        ] {
            assert!(check_host(&headers(&[("host", host)])).is_err(), "{host}");
        }
    }
}
