//! Every target gets what is kept for it in `seeds/`, with any compiler.

use std::fs;
use std::panic;
use std::path::Path;

use sterna_fuzz::targets::TARGETS;

// One test, since the limit on memory is the process's.
#[test]
fn what_is_kept_for_the_targets_breaks_no_promise() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        let inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|file| file.expect("a file").path())
            .collect();
        assert!(!inputs.is_empty(), "nothing to replay in {}", folder.display());
        for path in inputs {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let replayed = panic::catch_unwind(|| replay(target.run, &bytes));
            assert!(replayed.is_ok(), "{}: a promise is broken", path.display());
        }
    }
}

/// The input, and what is nearest to it: its beginning, and one bit of it flipped.
fn replay(run: fn(&[u8]), bytes: &[u8]) {
    run(bytes);
    run(&bytes[..bytes.len() / 2]);
    let mut flipped = bytes.to_vec();
    if let Some(byte) = flipped.last_mut() {
        *byte ^= 1;
    }
    run(&flipped);
}
