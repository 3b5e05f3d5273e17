//! What name servers say of the names that `bind` has. They may take long to say it, so a thread asks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::config::BindAddress;

/// Names, and what was said of them.
#[derive(Debug)]
pub(crate) struct Names {
    bind: Vec<BindAddress>,
    addresses: Vec<io::Result<Vec<SocketAddr>>>,
}

impl Names {
    /// Whether anybody has to be asked about these.
    pub(crate) fn are_in(bind: &[BindAddress]) -> bool {
        bind.iter().any(|name| is_name(&name.host))
    }

    /// The same of a value of `bind`.
    pub(crate) fn may_be_in(value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value);
        value.split_ascii_whitespace().any(|word| is_name(word.strip_prefix('-').unwrap_or(word)))
    }

    pub(crate) fn ask(bind: &[BindAddress]) -> Names {
        Names { bind: bind.to_vec(), addresses: bind.iter().map(|name| name.resolve(0)).collect() }
    }

    /// Whether these were asked about.
    pub(crate) fn is_about(&self, bind: &[BindAddress]) -> bool {
        self.bind == bind
    }

    /// The addresses in the place of the names, without those that are optional and unknown. Error: nobody knows one that is not.
    pub(crate) fn addresses(&self) -> Result<Vec<BindAddress>, String> {
        let mut all = Vec::new();
        for (name, addresses) in self.bind.iter().zip(&self.addresses) {
            match addresses {
                Ok(addresses) => {
                    all.extend(addresses.iter().map(|address| BindAddress {
                        host: address.ip().to_string(),
                        optional: name.optional,
                    }))
                }
                Err(_) if name.optional => {}
                Err(error) => {
                    return Err(format!("cannot resolve the bind address '{}': {error}", name.host));
                }
            }
        }
        Ok(all)
    }
}

fn is_name(host: &str) -> bool {
    !["*", "::*"].contains(&host) && host.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(words: &[&str]) -> Vec<BindAddress> {
        let address = |word: &&str| {
            let host = word.trim_start_matches('-');
            BindAddress { host: host.to_owned(), optional: host.len() < word.len() }
        };
        words.iter().map(address).collect()
    }

    #[test]
    fn addresses_take_the_place_of_names_and_only_names_are_asked_about() {
        assert!(!Names::are_in(&bind(&["*", "::*", "127.0.0.1", "-::1"])));
        // No name server is asked about a name that can't be one.
        let unknown = "x".repeat(300);
        let names = bind(&["127.0.0.1", "-localhost", &format!("-{unknown}"), "*"]);
        assert!(Names::are_in(&names) && Names::may_be_in(b"127.0.0.1 -localhost"));
        assert!(!Names::may_be_in(b"* ::* 127.0.0.1 -::1") && !Names::may_be_in(b""));
        let asked = Names::ask(&names);
        assert!(asked.is_about(&names) && !asked.is_about(&names[1..]));
        let addresses = asked.addresses().expect("all others are optional");
        assert!(addresses.len() >= 2 && !Names::are_in(&addresses), "{addresses:?}");
        assert!(addresses.iter().any(|address| address.host == "0.0.0.0"));
        let error = Names::ask(&bind(&[&unknown])).addresses().unwrap_err();
        assert!(error.starts_with("cannot resolve the bind address 'xxx"), "{error}");
    }
}
