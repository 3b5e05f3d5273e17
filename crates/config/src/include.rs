//! The files that an `include` directive names: one path, or a pattern that matches several.
//!
//! Source: glob(3), which redis-server uses: `*`, `?` and `[…]` match inside one component of a path, and never a
//! leading dot.

use std::fs;
use std::path::{Path, PathBuf};

use sterna_pubsub::glob;

/// The files, in alphabetical order, relative paths from `base` on. A path without wildcards is returned as it is, whether it exists or not; a pattern
/// that matches nothing gives nothing.
pub(super) fn files(pattern: &str, base: &Path) -> Vec<PathBuf> {
    if !is_pattern(pattern) {
        return vec![PathBuf::from(pattern)];
    }
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
    let mut paths = vec![start];
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        paths = paths.iter().flat_map(|path| children(base, path, component)).collect();
    }
    paths
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The entries of directory `parent` that `component` names, if they exist.
fn children(base: &Path, parent: &Path, component: &str) -> Vec<PathBuf> {
    if !is_pattern(component) {
        let path = parent.join(component);
        return if base.join(&path).exists() { vec![path] } else { Vec::new() };
    }
    let Ok(entries) = fs::read_dir(base.join(parent)) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        (!name.starts_with(b".") || component.starts_with('.')) && glob::matches(component.as_bytes(), name)
    });
    names.sort();
    names.into_iter().map(|name| parent.join(name)).collect()
}
