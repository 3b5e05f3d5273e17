//! A redis.conf: what CONFIG REWRITE makes of it is read as the same.

use std::path::PathBuf;
use std::sync::LazyLock;

use sterna_config::{Config, LineChecks};

/// Overwritten each time, and left behind in the folder of temporary files.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("sterna-fuzz-{}.conf", std::process::id())));

fn load(text: &[u8]) -> Option<Config> {
    std::fs::write(&*FILE, text).expect("a temporary file can be written");
    reload()
}

fn reload() -> Option<Config> {
    Config::load(&[FILE.display().to_string()], LineChecks::NONE).ok().map(|loaded| loaded.config)
}

pub fn run(text: &[u8]) {
    // What other files hold is not the input's to choose.
    if text.to_ascii_lowercase().windows(7).any(|word| word == b"include") {
        return;
    }
    let Some(config) = load(text) else { return };
    if config.rewrite(Some(&FILE), LineChecks::NONE).is_err() {
        return;
    }
    let again = reload().expect("a rewritten file can be read");
    assert_eq!(again.get(&[b"*"]), config.get(&[b"*"]));
    // Another's file comes to say the same.
    load(b"# empty").expect("an empty file is a configuration");
    config.rewrite(Some(&FILE), LineChecks::NONE).expect("a comment can be kept");
    assert_eq!(reload().expect("a rewritten file can be read").get(&[b"*"]), config.get(&[b"*"]));
}
