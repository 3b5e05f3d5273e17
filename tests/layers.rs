//! One way down inside the server: a module names only those below it.
//!
//! The list is the map of `crates/server/src`. Whoever adds a module gives it a place; whoever wants to name one from
//! above moves what both need below both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of the server, the lowest first. Those on one line may name each other.
const LAYERS: &[&[&str]] = &[
    &["lock"],
    &["signal"],
    &["ticks"],
    &["prefetch"],
    &["slab"],
    &["time"],
    &["hooks"],
    &["process"],
    &["files"],
    &["log_limit"],
    &["limits"],
    &["rates"],
    &["pause"],
    &["tls"],
    &["names"],
    &["position"],
    &["placed"],
    &["connection"],
    &["resumable"],
    &["pages"],
    &["budget"],
    &["net"],
    &["directory"],
    &["libraries"],
    &["partitions"],
    &["slots"],
    &["reclaim"],
    &["apart"],
    &["parcel"],
    &["matching"],
    &["nodes"],
    &["invalidation"],
    &["late_events"],
    &["replication"],
    &["mailbox"],
    &["logins"],
    &["scripts"],
    &["renames"],
    &["settings_files"],
    &["purge"],
    &["histogram"],
    &["stats"],
    &["history"],
    &["tracking"],
    &["journaling"],
    &["server"],
    &["persistence"],
    &["overview"],
    &["shard"],
    &["command"],
    &["metrics"],
    &["inlet"],
    // What the fuzz targets ask of it.
    &["fuzzing"],
    // What the crates above ask of it.
    &["engine"],
    &["start"],
];

fn source() -> PathBuf {
    let package =
        std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&package).parent().expect("the package is in the workspace").join("crates/server/src")
}

/// The height of a module's layer.
fn height(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Every file with the path of its module from the crate's root, and its text without comments and tests.
fn modules() -> Vec<(Vec<String>, String)> {
    let (mut modules, mut folders) = (Vec::new(), vec![source()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let module = path.strip_prefix(source()).expect("it is below the source").with_extension("");
            let mut module: Vec<String> =
                module.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            if module != ["lib"] {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                modules.push((module, code_of(&text)));
            }
        }
    }
    modules
}

fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of the crate's root that the code of `module` names: behind `crate::`, or behind as many `super::` as
/// lead there. `crate::{a, b}` names both.
fn named_in(module: &[String], code: &str) -> BTreeSet<String> {
    let to_root = "super::".repeat(module.len());
    let mut named = BTreeSet::new();
    for root in ["crate::", &to_root] {
        for (at, _) in code.match_indices(root) {
            let is_longer = code[..at].ends_with("super::") || code[..at].ends_with(is_of_name);
            let rest = &code[at + root.len()..];
            if is_longer || rest.starts_with("super::") {
                continue;
            }
            match rest.strip_prefix('{') {
                Some(list) => {
                    let list = list.split('}').next().unwrap_or_default();
                    named.extend(list.split(',').map(|part| first_name(part.trim())));
                }
                None => _ = named.insert(first_name(rest)),
            }
        }
    }
    named
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|letter| is_of_name(*letter)).collect()
}

#[test]
fn a_module_of_the_server_names_only_those_below_it() {
    let mut upward = Vec::new();
    for (module, code) in modules() {
        let place = module.join("/");
        let from = height(&module[0]).unwrap_or_else(|| panic!("{place} has no layer"));
        for name in named_in(&module, &code).into_iter().filter(|name| *name != module[0]) {
            // What has no layer is a constant or a function of `lib.rs`, or another crate by its short name.
            if height(&name).is_some_and(|to| to > from) {
                upward.push(format!("{place} names {name}"));
            }
        }
    }
    assert!(upward.is_empty(), "arrows that run up:\n{}", upward.join("\n"));
}

#[test]
fn every_layer_is_a_module() {
    let modules: BTreeSet<String> = modules().into_iter().map(|(module, _)| module[0].clone()).collect();
    let listed: Vec<&str> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    assert_eq!(modules, listed.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>());
    assert_eq!(listed.len(), modules.len(), "a module is listed twice");
}

#[test]
fn paths_to_other_modules_are_found_however_they_are_written() {
    let module = ["command".to_owned(), "acl".to_owned()];
    let code = "use crate::shard::Shard;\nuse crate::{net, persistence};\nlet x = super::super::fanout::Space::A;\n\
                use super::table;\nmacro_crate::lock::x();\n";
    let named: Vec<String> = named_in(&module, code).into_iter().collect();
    assert_eq!(named, ["fanout", "net", "persistence", "shard"]);
    assert_eq!(code_of("a // crate::b\n#[cfg(test)]\nmod tests { crate::c }"), "a ");
}
