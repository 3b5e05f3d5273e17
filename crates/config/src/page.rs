//! The reference page, `docs/configuration.md`: the table for people.

use std::fmt::Write;

use super::fixed::FIXED;
use super::options::{Config, OPTIONS};
use super::row::{Mutability, OptionRow, Section};
use super::words;

const INTRODUCTION: &str = "\
<!-- Written by `cargo test -p sterna-config reference_page` with STERNA_WRITE_DOCS=1; change the table instead. -->
# Configuration

Sterna reads redis.conf's language:

```
sterna [path/to/redis.conf] [--name value ...]
```

- A line of a file is a name and its values; `--name value` is the same line on the command line. The command line comes
  last and wins; within a file, later lines win.
- Values with spaces stand in double quotes (with `\\n`, `\\xHH` and the like as escapes) or in single quotes. A line that
  starts with `#` is a comment. `-` instead of a path reads the file from standard input.
- `include PATH` reads another file at this place; the path may have the wildcards `*`, `?` and `[...]`.
- Memory is in bytes, or with a unit: `1k` is 1000, `1kb` is 1024, and so on for `m`, `mb`, `g` and `gb`.
- Options of Redis that Sterna doesn't have are named in one warning and ignored, where that does no harm. One that protects
  (`replicaof`, `loadmodule`, `masterauth` …), a name that is no option, and a wrong value stop the start with the file and
  the line.
- `CONFIG GET`, `CONFIG SET` and `CONFIG REWRITE` work on all options; those marked *start* can't be set at run time.
";

const FIXED_INTRODUCTION: &str = "
## Options of Redis that have one value here

`CONFIG GET` shows it, and `CONFIG SET` takes it and no other; a file may have another one, which is named in the warning
about what is ignored.

| option | value | |
|---|---|---|
";

const SECTIONS: &[(Section, &str)] = &[
    (Section::Network, "Network"),
    (Section::Tls, "TLS"),
    (Section::Security, "Security"),
    (Section::Cluster, "Cluster"),
    (Section::Clients, "Clients"),
    (Section::Channels, "Channels that remember"),
    (Section::Data, "Data"),
    (Section::Persistence, "Persistence"),
    (Section::Observability, "Observability"),
    (Section::Process, "Process"),
];

/// The whole page.
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let defaults = Config::default();
    for (section, title) in SECTIONS {
        page.push_str(&format!("\n## {title}\n"));
        for row in OPTIONS.iter().filter(|row| row.section == *section) {
            describe(&mut page, row, &defaults);
        }
    }
    page.push_str(FIXED_INTRODUCTION);
    for fixed in FIXED {
        page.push_str(&format!("| `{}` | `{}` | {} |\n", fixed.name, fixed.value, fixed.doc));
    }
    page
}

const FILE_INTRODUCTION: &str = "\
# Sterna's options, each with its default. Remove the `#` in front of a line to change it; docs/configuration.md says what
# values look like. Written by `cargo test -p sterna-config sample_file` with STERNA_WRITE_DOCS=1.
";

/// A commented sterna.conf: every option with its default, switched off.
pub fn sample_file() -> String {
    let mut file = FILE_INTRODUCTION.to_owned();
    let defaults = Config::default();
    for (section, title) in SECTIONS {
        file.push_str(&format!("\n################ {title} ################\n"));
        for row in OPTIONS.iter().filter(|row| row.section == *section) {
            file.push('\n');
            wrapped(row.doc).lines().for_each(|line| file.push_str(&format!("# {line}\n")));
            let lines = row.lines(&defaults);
            for words in &lines {
                let words = std::iter::once(row.name.as_bytes()).chain(words.iter().map(Vec::as_slice));
                file.push_str(&format!("#{}\n", String::from_utf8_lossy(&words::join(words))));
            }
            if lines.is_empty() {
                file.push_str(&format!("# None is set; a line is: {} {}\n", row.name, row.kind));
            }
        }
    }
    file
}

fn describe(page: &mut String, row: &OptionRow, defaults: &Config) {
    let default = String::from_utf8_lossy(&row.text(defaults)).into_owned();
    let default = if default.is_empty() { "empty".to_owned() } else { format!("`{default}`") };
    let change = match row.mutability {
        Mutability::RunTime => "",
        Mutability::Start | Mutability::Protected => " · *start*",
        Mutability::Line => " · *start; several lines*",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "\n### `{}`\n{} · default {default}{change}\n\n{}",
        row.name,
        row.kind,
        wrapped(row.doc)
    );
}

/// `doc` in lines of at most 110 characters.
fn wrapped(doc: &str) -> String {
    let mut lines = vec![String::new()];
    for word in doc.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= 110);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LineChecks;
    use std::path::Path;

    #[test]
    fn reference_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
            std::fs::write(&path, reference_page()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            page,
            reference_page(),
            "run again with STERNA_WRITE_DOCS=1 and commit docs/configuration.md"
        );
    }

    #[test]
    fn sample_file_is_up_to_date_and_says_what_holds_without_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sterna.conf");
        if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
            std::fs::write(&path, sample_file()).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert_eq!(file, sample_file(), "run again with STERNA_WRITE_DOCS=1 and commit docs/sterna.conf");
        let is_option = |line: &&str| line.starts_with('#') && !line[1..].starts_with([' ', '#']);
        let switched_on: String =
            file.lines().filter(is_option).map(|line| format!("{}\n", &line[1..])).collect();
        assert!(switched_on.contains("\nport 6379\n") && switched_on.contains("\nappendonly yes\n"));
        let load = |text: &str| Config::of_text(&path, text.as_bytes(), LineChecks::NONE).unwrap();
        assert_eq!(load(&switched_on), load(""));
    }

    #[test]
    fn every_section_has_a_heading() {
        for row in OPTIONS {
            assert!(SECTIONS.iter().any(|(section, _)| *section == row.section), "{}", row.name);
        }
    }
}
