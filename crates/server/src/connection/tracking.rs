//! What CLIENT TRACKING asked for.

use std::collections::BTreeSet;

use sterna_command::{SERVER_ARGUMENTS_MAX, SERVER_REQUEST_BYTES_MAX};
use sterna_protocol::encode;

use super::Connection;
use super::client::ClientId;

/// What a connection asked for. Exists only while it tracks.
#[derive(Debug)]
pub(crate) struct Mode {
    /// The connection that gets the messages instead of this one.
    pub(crate) redirect: Option<ClientId>,
    /// It is not told of changes of its own.
    pub(crate) no_loop: bool,
    pub(crate) reads: Reads,
    /// Of its prefixes, here and where all prefixes are.
    pub(crate) prefix_bytes: usize,
    /// CLIENT CACHING was called, for the next command or transaction.
    pub(crate) is_caching: bool,
}

/// Which keys a connection is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reads {
    /// What it reads.
    All,
    /// What it reads after CLIENT CACHING YES.
    OptIn,
    /// What it reads, but not after CLIENT CACHING NO.
    OptOut,
    /// What begins with one of these, whoever reads it. No prefix of a connection begins with another.
    Broadcast(BTreeSet<Box<[u8]>>),
}

/// What a prefix is counted as beside its bytes.
const PREFIX_BYTES: usize = 64;

/// Where a prefix is kept: here, in its shard's list and in that of the server.
const PREFIX_COPIES: usize = 3;

/// Prefixes that another node is asked for in one request, which has some more words, and their bytes.
const REQUEST_PREFIXES: usize = 256;
const REQUEST_PREFIX_BYTES: usize = 512 << 10;
const _: () = assert!(
    2 * REQUEST_PREFIXES + 8 <= SERVER_ARGUMENTS_MAX && REQUEST_PREFIX_BYTES < SERVER_REQUEST_BYTES_MAX
);

impl Reads {
    /// How many prefixes there are.
    pub(crate) fn prefixes(&self) -> usize {
        if let Reads::Broadcast(prefixes) = self { prefixes.len() } else { 0 }
    }

    /// About what its prefixes are in memory.
    pub(crate) fn prefix_bytes(&self) -> usize {
        let Reads::Broadcast(prefixes) = self else { return 0 };
        prefixes.iter().map(|prefix| PREFIX_BYTES + PREFIX_COPIES * prefix.len()).sum()
    }
}

impl Connection {
    /// How many prefixes are broadcast to it.
    pub(crate) fn prefixes(&self) -> usize {
        self.tracking.as_ref().map_or(0, |mode| mode.reads.prefixes())
    }
}

impl Mode {
    /// Whether what the connection reads now is to be remembered.
    pub(crate) fn remembers(&self) -> bool {
        match self.reads {
            Reads::All => true,
            Reads::OptIn => self.is_caching,
            Reads::OptOut => !self.is_caching,
            Reads::Broadcast(_) => false,
        }
    }

    pub(crate) fn is_broadcast(&self) -> bool {
        matches!(self.reads, Reads::Broadcast(_))
    }

    /// Requests by which another node is asked to track the same for the connection, but for whom it tells. `client`: what the command is
    /// called. Many prefixes are several requests, as they were here.
    pub(crate) fn requests(&self, client: &[u8]) -> Vec<Vec<u8>> {
        let request = |prefixes: &[&[u8]]| {
            let mut words: Vec<&[u8]> = vec![client, b"TRACKING", b"ON"];
            match &self.reads {
                Reads::All => {}
                Reads::OptIn => words.push(b"OPTIN"),
                Reads::OptOut => words.push(b"OPTOUT"),
                Reads::Broadcast(_) => words.push(b"BCAST"),
            }
            if self.no_loop {
                words.push(b"NOLOOP");
            }
            prefixes.iter().for_each(|prefix| words.extend([&b"PREFIX"[..], *prefix]));
            let mut bytes = Vec::new();
            encode::request(&mut bytes, words);
            bytes
        };
        let prefixes: Vec<&[u8]> = match &self.reads {
            // The empty one is every key, and stands alone.
            Reads::Broadcast(prefixes) => {
                prefixes.iter().map(|prefix| &**prefix).filter(|prefix| !prefix.is_empty()).collect()
            }
            _ => Vec::new(),
        };
        if prefixes.is_empty() {
            return vec![request(&[])];
        }
        let (mut requests, mut rest) = (Vec::new(), &prefixes[..]);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |prefix: &&&[u8]| {
                bytes += prefix.len();
                bytes <= REQUEST_PREFIX_BYTES
            };
            let count = rest.iter().take(REQUEST_PREFIXES).take_while(fits).count().max(1);
            requests.push(request(&rest[..count]));
            rest = &rest[count..];
        }
        requests
    }

    /// About what it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Mode>() + self.prefix_bytes
    }
}

#[cfg(test)]
mod tests {
    use sterna_protocol::decode::decode;

    use super::*;

    fn words(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        while let Ok(Some((value, len))) = decode(bytes) {
            let request = value.as_slice().expect("an array").to_vec();
            words.extend(request.iter().filter_map(|word| word.as_bytes().map(<[u8]>::to_vec)));
            bytes = &bytes[len..];
        }
        words
    }

    #[test]
    fn another_node_is_asked_for_the_same_in_requests_that_it_takes() {
        let mode =
            |reads| Mode { redirect: Some(7), no_loop: true, reads, prefix_bytes: 0, is_caching: true };
        let of = |reads: Reads| {
            mode(reads).requests(b"client").iter().map(|bytes| words(bytes)).collect::<Vec<_>>()
        };
        assert_eq!(
            of(Reads::OptIn),
            [["client", "TRACKING", "ON", "OPTIN", "NOLOOP"].map(|word| word.as_bytes().to_vec())]
        );
        let every_key = Reads::Broadcast(BTreeSet::from([Box::default()]));
        assert_eq!(of(every_key)[0][3..], [b"BCAST".to_vec(), b"NOLOOP".to_vec()]);
        let name =
            |n: usize| -> Box<[u8]> { format!("{n:04}{}", "x".repeat(n % 7 * 50_000)).into_bytes().into() };
        let prefixes: BTreeSet<Box<[u8]>> = (0..3000).step_by(3).map(name).collect();
        let requests = mode(Reads::Broadcast(prefixes.clone())).requests(b"client");
        let asked: Vec<Vec<u8>> = requests.iter().flat_map(|bytes| words(bytes)[5..].to_vec()).collect();
        let asked: BTreeSet<Box<[u8]>> = asked.chunks(2).map(|pair| pair[1].clone().into()).collect();
        assert_eq!(asked, prefixes);
        for request in requests {
            let words = words(&request);
            assert!(words.len() <= SERVER_ARGUMENTS_MAX && request.len() < SERVER_REQUEST_BYTES_MAX);
        }
    }
}
