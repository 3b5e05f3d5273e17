#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_fuzz::journal::{SEGMENTS, with_file};

fuzz_target!(|bytes: &[u8]| {
    // The number in its header says which; the last, if any other.
    let number = bytes.get(32).map_or(4, |&number| usize::from(number).clamp(2, 4));
    with_file(SEGMENTS[number - 2], bytes);
});
