#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_fuzz::journal::{MANIFEST, with_file};

fuzz_target!(|bytes: &[u8]| with_file(MANIFEST, bytes));
