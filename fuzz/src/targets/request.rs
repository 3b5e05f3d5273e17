//! What a client sends: however it is cut, the same requests; what was read is written and read again.

use crate::within;
use sterna_protocol::{Limits, Parser, Progress, ProtocolError, encode};

type Request = Vec<Vec<u8>>;

fn owned(parser: &Parser, bytes: &[u8]) -> Request {
    parser.args(bytes).iter().map(<[u8]>::to_vec).collect()
}

/// The requests in `bytes`, of which so many arrive at a time, and the error that they end in.
fn requests(mut bytes: &[u8], at_a_time: usize, limits: &Limits) -> (Vec<Request>, Option<ProtocolError>) {
    let (mut parser, mut requests, mut arrived) = (Parser::default(), Vec::new(), 0);
    loop {
        arrived = bytes.len().min(arrived + at_a_time);
        match parser.parse(&bytes[..arrived], limits) {
            Ok(Progress::Request { consumed }) => {
                requests.push(owned(&parser, &bytes[..arrived]));
                bytes = &bytes[consumed..];
                arrived -= consumed;
            }
            Ok(Progress::Incomplete { .. }) => {
                parser.check(&bytes[..arrived]);
                if arrived == bytes.len() {
                    return (requests, None);
                }
            }
            Err(error) => return (requests, Some(error)),
        }
    }
}

pub fn run(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    let limits = Limits {
        bulk_bytes_max: 1 << 20,
        multibulk_len_max: 1 << 20,
        inline_bytes_max: 1 << 10,
        unauthenticated: first & 1 == 1,
    };
    within((1 << 16) + 500 * input.len(), || {
        let (whole, error) = requests(bytes, bytes.len(), &limits);
        let (parts, part_error) = requests(bytes, usize::from(first / 2) + 1, &limits);
        // A line that is too long is noticed before its end has come, and not if that is there.
        let len = if part_error.is_some() { parts.len() } else { whole.len() };
        assert_eq!(parts, whole[..len], "cut otherwise, other requests");
        assert!(error.is_none() || part_error.is_some(), "cut otherwise, no {error:?}");
        for request in whole.iter().filter(|request| !request.is_empty()) {
            let mut written = Vec::new();
            encode::request(&mut written, request);
            let mut parser = Parser::default();
            let progress = parser.parse(&written, &Limits::default());
            assert_eq!(progress, Ok(Progress::Request { consumed: written.len() }));
            assert_eq!(owned(&parser, &written), *request);
        }
    });
}
