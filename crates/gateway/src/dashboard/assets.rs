//! The parts of the page, which are part of the binary.
//!
//! They are plain modules, as they are written: what a browser loads is what stands in `assets/`. A strict policy of contents goes
//! with all of them: nothing from elsewhere, no script or style but these files, no frame around the page, and no text that
//! becomes markup (`require-trusted-types-for`).

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::response::{Payload, empty};

/// A part: its path, what it is, its text.
type Asset = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: &[Asset] = &[
    ("/", HTML, include_str!("assets/index.html")),
    ("/dashboard/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("/dashboard/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("/dashboard/app.js", SCRIPT, include_str!("assets/app.js")),
    ("/dashboard/api.js", SCRIPT, include_str!("assets/api.js")),
    ("/dashboard/dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("/dashboard/chart.js", SCRIPT, include_str!("assets/chart.js")),
    ("/dashboard/overview.js", SCRIPT, include_str!("assets/overview.js")),
    ("/dashboard/channels.js", SCRIPT, include_str!("assets/channels.js")),
    ("/dashboard/streams.js", SCRIPT, include_str!("assets/streams.js")),
    ("/dashboard/tail.js", SCRIPT, include_str!("assets/tail.js")),
];

/// Of all parts together. A page should be there at once over a slow line.
const BYTES_MAX: usize = 150 * 1024;

const _: () = {
    let (mut sum, mut i) = (0, 0);
    while i < ASSETS.len() {
        sum += ASSETS[i].2.len();
        i += 1;
    }
    assert!(sum <= BYTES_MAX, "the dashboard has become too large");
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What else every part says of itself.
const HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The part of the page that is asked for, if one is.
pub(crate) fn asset(method: &Method, path: &str) -> Option<Response<Payload>> {
    if method != Method::GET {
        return None;
    }
    let (_, kind, text) = ASSETS.iter().find(|(name, ..)| *name == path)?;
    let mut response = empty(StatusCode::OK);
    *response.body_mut() = Payload::Whole { bytes: Some(Bytes::from_static(text.as_bytes())), held: None };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_a_part_names_is_there_and_nothing_is_from_elsewhere() {
        for (path, _, text) in ASSETS {
            for named in text.split(['"', '\'']).filter(|word| word.starts_with("/dashboard/")) {
                assert!(ASSETS.iter().any(|(name, ..)| *name == named), "{path} names {named}");
            }
            for named in text.split('\'').filter(|word| word.starts_with("./") && word.ends_with(".js")) {
                let named = format!("/dashboard/{}", &named[2..]);
                assert!(ASSETS.iter().any(|(name, ..)| *name == named), "{path} imports {named}");
            }
            let elsewhere = text.split("//").skip(1).filter(|rest| rest.starts_with(char::is_alphanumeric));
            let hosts: Vec<&str> = elsewhere.filter(|rest| !rest.starts_with("www.w3.org/")).collect();
            assert!(hosts.is_empty(), "{path} names {hosts:?}");
        }
    }
}
