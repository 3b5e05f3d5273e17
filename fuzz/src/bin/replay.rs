//! Gives every target what is kept for it in `seeds/`, with any compiler: `cargo run --no-default-features --bin replay`.

use std::error::Error;
use std::fs;
use std::panic;
use std::path::Path;

use sterna_fuzz::targets::TARGETS;

fn main() -> Result<(), Box<dyn Error>> {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        let mut inputs = 0;
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            let bytes = fs::read(&path)?;
            if panic::catch_unwind(|| replay(target.run, &bytes)).is_err() {
                return Err(format!("{}: a promise is broken", path.display()).into());
            }
            inputs += 1;
        }
        if inputs == 0 {
            return Err(format!("nothing to replay in {}", folder.display()).into());
        }
        println!("{}: {inputs} replayed", target.name);
    }
    Ok(())
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
