//! What review should not have to look for, in every file of the repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sterna_config::{Config, OPTIONS, Section};
use sterna_tests::difference;

/// Extensions of files that people write.
const TEXT: [&str; 14] =
    ["rs", "md", "toml", "js", "mjs", "py", "html", "css", "json", "script", "txt", "sh", "conf", "yml"];

fn root() -> PathBuf {
    // As cargo says it now; the package may have been moved since it was built.
    let package =
        std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&package).parent().expect("the package is in the workspace").to_owned()
}

/// Folders that hold nothing people write; `.git` is a file where the checkout is a second one.
const PASSED_OVER: [&str; 9] =
    [".git", "target", "node_modules", ".tools", ".venv", "__pycache__", "corpus", "artifacts", "seeds"];

/// Every text file, with its path from the root and its contents.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !PASSED_OVER.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if is_text(&path)
                && !PASSED_OVER.contains(&name.as_str())
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let name = path.strip_prefix(root()).expect("it is below the root").display().to_string();
                files.push((name, text));
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "only {} files", files.len());
    files
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_none_or(|extension| TEXT.contains(&extension)) && !path.ends_with("package-lock.json")
}

/// Every line of every file whose name ends so.
fn lines<'a>(files: &'a [(String, String)], end: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    files.iter().filter(move |(name, _)| name.ends_with(end)).flat_map(|(name, text)| {
        text.lines().enumerate().map(move |(number, line)| (format!("{name}:{}", number + 1), line))
    })
}

fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn no_line_ends_in_a_space_and_every_file_ends_in_one_line_end() {
    let files = files();
    let spaces =
        lines(&files, "").filter(|(_, line)| line.ends_with([' ', '\t', '\r'])).map(|(place, _)| place);
    assert_none("space at the end", spaces.collect());
    let ends = files
        .iter()
        .filter(|(_, text)| !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")));
    assert_none("no line end, or several", ends.map(|(name, _)| name.clone()).collect());
}

#[test]
fn nothing_is_left_over_from_finding_a_bug_or_for_later() {
    // In pieces, so that this file does not find itself.
    let words = [
        concat!("db", "g!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
    ];
    let files = files();
    let found = lines(&files, ".rs")
        .chain(lines(&files, ".js"))
        .chain(lines(&files, ".py"))
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(place, line)| format!("{place}: {}", line.trim()));
    assert_none("left over", found.collect());
}

#[test]
fn every_lock_of_the_server_has_its_place_in_the_order() {
    let words = ["parking_lot::", "sync::Mutex", "sync::RwLock", "sync::Condvar"];
    let files = files();
    let mut found = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("crates/server/src/")) {
        let is_exempt = ["/lock.rs", "/simulation.rs", "/tests.rs"].iter().any(|end| name.ends_with(end));
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_plain = |line: &&str| words.iter().any(|word| line.contains(word));
        let lines = product.lines().filter(|_| !is_exempt).filter(is_plain);
        found.extend(lines.map(|line| format!("{name}: {}", line.trim())));
    }
    assert_none("a lock without a level", found);
}

/// `sterna_filesystem` opens files: who opens one by himself waits for whatever stands in its place.
#[test]
fn every_file_is_opened_as_one_that_nobody_waits_for() {
    let words = ["fs::read(", "fs::read_to_string(", "fs::write(", "fs::copy("];
    let makes = [" File::", "(File::", "fs::File::"]
        .map(|start| ["open(", "create("].map(|end| format!("{start}{end}")));
    // What the system itself has there.
    let exempt = ["/proc/", "/dev/null", "(BOOT)", "(SOURCE)", "read_to_string(file)"];
    let files = files();
    let mut found = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("crates/") && name.contains("/src/"))
    {
        let tests = ["crates/filesystem/", "/simulation/", "/tests.rs", "/on_nats.rs"];
        if tests.iter().any(|part| name.contains(part)) || !name.ends_with(".rs") {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let opens = |line: &&str| {
            words.iter().any(|word| line.contains(word))
                || line.contains(".open(")
                    && ["Options::new()", "File::options()"].iter().any(|word| line.contains(word))
                || makes.iter().flatten().any(|word| line.contains(word.as_str()))
        };
        let lines =
            product.lines().filter(opens).filter(|line| !exempt.iter().any(|part| line.contains(part)));
        found.extend(lines.map(|line| format!("{name}: {}", line.trim())));
    }
    assert_none("a file that may be a pipe or a device", found);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let starts =
        [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let files = files();
    let found = lines(&files, "")
        .filter(|(_, line)| starts.iter().any(|start| line.contains(start)))
        .map(|(place, line)| format!("{place}: {}", line.trim()));
    assert_none("a path of one machine", found.collect());
}

#[test]
fn every_rust_file_is_part_of_a_crate() {
    let files = files();
    let names: BTreeSet<&str> =
        files.iter().map(|(name, _)| name.as_str()).filter(|name| name.ends_with(".rs")).collect();
    let manifests: String = files
        .iter()
        .filter(|(name, _)| name.ends_with("Cargo.toml"))
        .map(|(_, text)| text.as_str())
        .collect();
    let orphans = names.iter().filter(|name| !is_root(name, &manifests) && !is_declared(name, &files));
    assert_none("files that nothing imports", orphans.map(|name| (*name).to_owned()).collect());
}

/// Whether cargo finds the file by itself, or a manifest names it.
fn is_root(name: &str, manifests: &str) -> bool {
    let path = Path::new(name);
    let folder =
        path.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()).unwrap_or_default();
    let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
    (folder == "src" && ["lib.rs", "main.rs"].contains(&file))
        || ["tests", "benches", "examples", "bin", "fuzz_targets"].contains(&folder)
        || file == "main.rs"
        || file == "build.rs"
        || manifests.lines().any(|line| {
            line.trim()
                .strip_prefix("path = \"")
                .is_some_and(|path| name.ends_with(path.trim_end_matches('"')))
        })
}

/// Whether a file beside it or above it has `mod` with its name.
fn is_declared(name: &str, files: &[(String, String)]) -> bool {
    let path = Path::new(name);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let (module, folder) = match (stem, path.parent()) {
        ("mod", Some(folder)) => {
            (folder.file_name().and_then(|name| name.to_str()).unwrap_or_default(), folder.parent())
        }
        (stem, folder) => (stem, folder),
    };
    let Some(folder) = folder.and_then(Path::to_str) else { return false };
    let parents = [
        format!("{folder}/mod.rs"),
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
        format!("{folder}.rs"),
    ];
    let by_name = [format!("mod {module};"), format!("mod r#{module};")];
    // `#[path = "…"]` names the file itself.
    let by_path = format!("#[path = \"{stem}.rs\"]");
    files.iter().filter(|(file, _)| parents.contains(file)).any(|(_, text)| {
        text.lines().any(|line| {
            let line = line.trim();
            by_name.iter().any(|declaration| line.ends_with(declaration.as_str())) || line == by_path
        })
    })
}

/// Set to write generated pages anew instead of comparing them.
const WRITE: &str = "STERNA_WRITE_DOCS";

#[test]
fn the_page_of_differences_is_the_list_of_the_tests() {
    let path = root().join("docs/differences.md");
    let page = difference::page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/differences.md is not current: run this test with {WRITE}=1");
}

#[test]
fn every_difference_is_met_by_a_test() {
    let files = files();
    let used = |name: &str| {
        let mark = format!("differs={name}");
        files.iter().any(|(file, text)| {
            // What needs a disk that fails, or a kill, is a test in Rust, and says so above it.
            (file.ends_with(".script") || file.starts_with("tests/"))
                && text.split_whitespace().any(|word| word.trim_end_matches(':') == mark)
        })
    };
    let unused = difference::DIFFERENCES.iter().filter(|difference| !used(difference.name));
    assert_none(
        "no test meets the difference",
        unused.map(|difference| difference.name.to_owned()).collect(),
    );
}

#[test]
fn the_page_of_limits_says_what_the_options_constants_and_tests_say() {
    let files = files();
    let text = |end: &str| &files.iter().find(|(name, _)| name == end).expect("the file is there").1;
    let page = text("docs/limits.md");
    let rows: Vec<Vec<&str>> =
        (page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what grows")))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
    let mut wrong = Vec::new();
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        // A directive is followed by its default.
        for (at, _) in row[2].match_indices('`').step_by(2) {
            let (name, behind) = row[2][at + 1..].split_once('`').expect("backticks come in pairs");
            wrong.extend(wrong_limit(name, behind, text("crates/server/src/limits.rs")));
        }
        for test in row[4].split('`').skip(1).step_by(2) {
            let declared = format!("fn {test}(");
            if !lines(&files, ".rs").any(|(_, line)| line.contains(&declared)) {
                wrong.push(format!("no test {test}"));
            }
        }
    }
    let mentions = |name: &str| page.contains(&format!("`{name}`"));
    let of_clients = OPTIONS.iter().filter(|row| row.section == Section::Clients);
    wrong.extend(of_clients.filter(|row| !mentions(row.name)).map(|row| format!("{} is missing", row.name)));
    let constants =
        text("crates/server/src/limits.rs").lines().filter_map(|line| line.strip_prefix("pub(crate) const "));
    let names = constants.filter_map(|line| line.split(':').next());
    wrong.extend(names.filter(|name| !mentions(name)).map(|name| format!("{name} is missing")));
    assert_none("docs/limits.md", wrong);
}

/// What is wrong with a limit in the page: `name`, with `behind` following it.
fn wrong_limit(name: &str, behind: &str, constants: &str) -> Option<String> {
    if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
        let is_there = constants.contains(&format!("const {name}:"));
        return (!is_there).then(|| format!("no constant {name}"));
    }
    let Some(row) = OPTIONS.iter().find(|row| row.name == name) else {
        // A class of clients.
        return (name != "pubsub").then(|| format!("no directive {name}"));
    };
    let default = String::from_utf8_lossy(&row.text(&Config::default())).into_owned();
    let is_said = behind.trim_start().starts_with(&default)
        || behind.is_empty() && name == "client-output-buffer-limit";
    (!is_said).then(|| format!("the default of {name} is {default}"))
}
