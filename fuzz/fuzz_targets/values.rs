#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_fuzz::targets;

fuzz_target!(|bytes: &[u8]| targets::values::run(bytes));
