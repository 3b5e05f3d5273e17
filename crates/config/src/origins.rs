//! `http-allow-origin`: whose pages may use the HTTP ports.

use super::value::{Kind, Phase, Value, ValueError, utf8};

/// Origins of web pages: scheme, host and port as browsers send them, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// Origins in one list.
const ORIGINS_MAX: usize = 64;

impl Origins {
    /// Whether `origin` is one of them, or all are.
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    /// Whether `origin` is one of them by its own name.
    pub fn names(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// Whether these words are an origin: a scheme and a host, perhaps a port, and no path.
    fn is_origin(text: &str) -> bool {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']))
    }
}

/// An empty word means none.
impl Value for Origins {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let mut origins = Vec::new();
        for word in words.iter().flat_map(|word| word.split(u8::is_ascii_whitespace)) {
            let text = utf8(word)?.to_ascii_lowercase();
            if text.is_empty() {
                continue;
            }
            if origins.len() == ORIGINS_MAX || !Origins::is_origin(&text) {
                return Err(ValueError::Origin);
            }
            origins.push(text);
        }
        self.0 = origins;
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.0.join(" ").into_bytes()
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let words: Vec<_> = self.0.iter().map(|origin| origin.clone().into_bytes()).collect();
        vec![if words.is_empty() { vec![Vec::new()] } else { words }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Origins, ValueError> {
        let mut origins = Origins::default();
        origins.assign(&[text.as_bytes()], Kind::Words(""), Phase::Load).map(|()| origins)
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host_and_no_path() {
        for wrong in
            ["example.com", "https://", "https://a/b", "ftp://a", "https://u@a", "https://*.a", "null"]
        {
            assert_eq!(of(wrong), Err(ValueError::Origin), "{wrong}");
        }
        let origins = of("https://Example.com http://localhost:3000").unwrap();
        assert!(origins.allow("https://example.com") && origins.allow("http://LOCALHOST:3000"));
        assert!(!origins.allow("http://example.com") && !origins.allow("null"));
        assert!(of("*").unwrap().allow("https://anywhere") && !of("").unwrap().allow("https://anywhere"));
    }
}
