//! What a directory of Redis or Valkey holds.
//!
//! ```text
//! dump.rdb                                   a database file (dbfilename)
//! appendonly.aof                             an append-only file, before Redis 7 (appendfilename)
//! appendonlydir/                             one of several parts, since (appenddirname)
//!   appendonly.aof.manifest                  names the parts, in order
//!   appendonly.aof.2.base.rdb                all keys when the file was last rewritten; .base.aof: as commands
//!   appendonly.aof.2.incr.aof                commands since, maybe in several files
//! ```
//!
//! `dbfilename` and `appendfilename` may give other names: so a file in the directory counts by how it begins, whatever its name is. A
//! database file in front of commands says so itself (`aof-preamble`, since Redis 7 `aof-base`).
//!
//! Directories are read and nothing is changed. Source: the manifest's lines are those of Redis's `aof.c`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What can be brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A database file.
    Rdb(PathBuf),
    /// An append-only file.
    Aof(Aof),
}

/// An append-only file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aof {
    /// The file itself, or the manifest that names its parts.
    pub path: PathBuf,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// A file of commands, or of keys and then commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Why it can't be said what is there.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system's word.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// A line of a manifest that says nothing.
    #[error("{}: line {line} is not that of a manifest", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// A part that the manifest names is not there.
    #[error("{} names {name}, which is not there", path.display())]
    Missing {
        /// The manifest.
        path: PathBuf,
        /// The part.
        name: String,
    },
}

impl Found {
    /// What `path` names: a file, or a directory of Redis or Valkey with all that is in it. The append-only file comes first, as
    /// for a server that has it turned on. Nothing: there is nothing of theirs.
    pub fn at(path: &Path) -> Result<Vec<Found>, DirectoryError> {
        let failed = |error| DirectoryError::Io(path.to_owned(), error);
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return file(path).map(|found| vec![found]);
        }
        let mut found = aofs_in(path)?;
        for directory in sorted(path).map_err(failed)?.into_iter().filter(|path| path.is_dir()) {
            // Others' directories may be closed to us: nothing of Redis's is in them.
            found.extend(match aofs_in(&directory) {
                Err(DirectoryError::Io(..)) => Vec::new(),
                other => other?,
            });
        }
        let files = sorted(path).map_err(failed)?.into_iter().filter(|path| path.is_file());
        for path in files {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Parts count by their manifest, and what Redis was writing when it died not at all.
            if name.contains(".base.") || name.contains(".incr.") || name.starts_with("temp-") {
                continue;
            }
            match begins_as(&path) {
                Some(Beginning::Keys) => found.push(Found::Rdb(path)),
                Some(Beginning::KeysThenCommands | Beginning::Commands) => {
                    found.push(Found::Aof(alone(&path)))
                }
                None if name == "appendonly.aof" => found.push(Found::Aof(alone(&path))),
                None if name == "dump.rdb" => found.push(Found::Rdb(path)),
                None => {}
            }
        }
        Ok(found)
    }

    /// The one of them that a server would load: the append-only file first if it `prefers_aof`, which holds more than a database
    /// file beside it. Errors, for people: there is nothing, or nobody can tell which.
    pub fn choose(found: Vec<Found>, prefers_aof: bool) -> Result<Found, String> {
        let is_aof = |found: &Found| matches!(found, Found::Aof(_));
        let (aofs, rdbs): (Vec<_>, Vec<_>) = found.into_iter().partition(is_aof);
        let of_parts = |found: &&Found| found.path().extension().is_some_and(|end| end == "manifest");
        let dump = |found: &&Found| found.path().ends_with("dump.rdb");
        let aof = aofs.iter().filter(of_parts).collect::<Vec<_>>();
        let aof = if aof.is_empty() { aofs.iter().collect() } else { aof };
        let rdb = rdbs.iter().filter(dump).collect::<Vec<_>>();
        let rdb = if rdb.is_empty() { rdbs.iter().collect() } else { rdb };
        let (first, second) = if prefers_aof { (aof, rdb) } else { (rdb, aof) };
        let several = if first.is_empty() { second } else { first };
        match several.as_slice() {
            [] => Err("there is no file of Redis or Valkey".to_owned()),
            [one] => Ok((*one).clone()),
            _ => {
                let several: Vec<_> = several.iter().map(|found| found.describe()).collect();
                Err(format!(
                    "there are several files of Redis or Valkey, and one must be named: {}",
                    several.join(", ")
                ))
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Found::Rdb(path) => path,
            Found::Aof(aof) => &aof.path,
        }
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        match self {
            Found::Rdb(path) => fs::metadata(path).map_or(0, |about| about.len()),
            Found::Aof(aof) => aof.parts.iter().map(|part| part.bytes).sum(),
        }
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let bytes = self.bytes();
        match self {
            Found::Rdb(path) => format!("{} (a database file, {bytes} bytes)", path.display()),
            Found::Aof(Aof { path, parts }) => match parts.len() {
                1 => format!("{} (an append-only file, {bytes} bytes)", path.display()),
                count => format!("{} (an append-only file of {count} parts, {bytes} bytes)", path.display()),
            },
        }
    }
}

/// A manifest, an append-only file or a database file, by how it begins, or by its name.
fn file(path: &Path) -> Result<Found, DirectoryError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.ends_with(".manifest") {
        return aof_of(path).map(Found::Aof);
    }
    Ok(match begins_as(path) {
        Some(Beginning::Commands | Beginning::KeysThenCommands) => Found::Aof(alone(path)),
        None if name.ends_with(".aof") => Found::Aof(alone(path)),
        _ => Found::Rdb(path.to_owned()),
    })
}

/// An append-only file of one part.
fn alone(path: &Path) -> Aof {
    let bytes = fs::metadata(path).map_or(0, |about| about.len());
    Aof { path: path.to_owned(), parts: vec![Part { path: path.to_owned(), bytes }] }
}

/// What the first bytes of a file say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Keys,
    KeysThenCommands,
    Commands,
}

/// Bytes in which a database file says of which kind it is, and more.
const HEAD_BYTES: u64 = 512;

/// A manifest has a line for each of its files.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

fn begins_as(path: &Path) -> Option<Beginning> {
    let mut head = Vec::new();
    // What can't be read is nothing of theirs; who names it meets the error when it is opened.
    sterna_filesystem::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let has = |what: &[u8]| head.windows(what.len()).any(|bytes| bytes == what);
    // A length, the name, and a number of one byte, which is 1.
    if head.starts_with(b"REDIS0") || head.starts_with(b"VALKEY") {
        let is_part = has(b"\x0caof-preamble\xc0\x01") || has(b"\x08aof-base\xc0\x01");
        return Some(if is_part { Beginning::KeysThenCommands } else { Beginning::Keys });
    }
    // Redis begins with SELECT, which says more than a star does.
    let is_select = head.get(..14).is_some_and(|head| head.eq_ignore_ascii_case(b"*2\r\n$6\r\nSELECT"));
    let is_multi = head.get(..13).is_some_and(|head| head.eq_ignore_ascii_case(b"*1\r\n$5\r\nMULTI"));
    (is_select || is_multi || head.starts_with(b"#TS:")).then_some(Beginning::Commands)
}

fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The append-only files of several parts in a directory.
fn aofs_in(directory: &Path) -> Result<Vec<Found>, DirectoryError> {
    let paths = sorted(directory).map_err(|error| DirectoryError::Io(directory.to_owned(), error))?;
    let manifests = paths.iter().filter(|path| path.to_string_lossy().ends_with(".aof.manifest"));
    manifests.map(|path| aof_of(path).map(Found::Aof)).collect()
}

/// What a manifest names: the base, then the increments in the order of their numbers. History is what is about to go.
fn aof_of(path: &Path) -> Result<Aof, DirectoryError> {
    let text = sterna_filesystem::read(path, MANIFEST_BYTES_MAX)
        .map_err(|error| DirectoryError::Io(path.to_owned(), error))?;
    let text = String::from_utf8_lossy(&text);
    let (mut bases, mut increments) = (Vec::new(), Vec::new());
    for (index, line) in
        text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty())
    {
        let broken = || DirectoryError::Manifest { path: path.to_owned(), line: index + 1 };
        let words = words(line).ok_or_else(broken)?;
        let value = |name: &str| words.chunks(2).find(|pair| pair[0] == name).and_then(|pair| pair.get(1));
        let (name, kind) = (value("file").ok_or_else(broken)?, value("type").ok_or_else(broken)?);
        let number: u64 = value("seq").and_then(|digits| digits.parse().ok()).ok_or_else(broken)?;
        // A part stands beside its manifest: a name that leads elsewhere is none.
        if name.contains('/') || name.is_empty() {
            return Err(broken());
        }
        match kind.as_str() {
            "b" => bases.push((number, name.clone())),
            "i" => increments.push((number, name.clone())),
            "h" => {}
            _ => return Err(broken()),
        }
    }
    if bases.is_empty() && increments.is_empty() {
        // Cut off by a crash: what it named is not known.
        return Err(DirectoryError::Manifest { path: path.to_owned(), line: 1 });
    }
    increments.sort();
    let mut parts = Vec::new();
    for (_, name) in bases.into_iter().chain(increments) {
        let part = path.with_file_name(&name);
        let about = fs::metadata(&part)
            .map_err(|_| DirectoryError::Missing { path: path.to_owned(), name: name.clone() })?;
        parts.push(Part { path: part, bytes: about.len() });
    }
    Ok(Aof { path: path.to_owned(), parts })
}

/// The words of a line; one with spaces or other signs in it stands in quotes.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let word = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (word, behind) = unquoted(quoted)?;
                rest = behind;
                word
            }
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                rest = behind;
                word.to_owned()
            }
        };
        words.push(word);
        rest = rest.trim_start();
    }
    Some(words)
}

/// What stands before the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut word, mut letters) = (Vec::new(), text.bytes().enumerate());
    while let Some((at, letter)) = letters.next() {
        match letter {
            b'"' => return Some((String::from_utf8(word).ok()?, &text[at + 1..])),
            b'\\' => match letters.next()?.1 {
                b'n' => word.push(b'\n'),
                b'r' => word.push(b'\r'),
                b't' => word.push(b'\t'),
                b'x' => {
                    let mut digit = || char::from(letters.next()?.1).to_digit(16);
                    word.push((digit()? * 16 + digit()?) as u8);
                }
                other => word.push(other),
            },
            other => word.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn described(path: &Path) -> Vec<String> {
        let found = Found::at(path).unwrap();
        found.iter().map(|found| found.describe().replace(&path.display().to_string(), "D")).collect()
    }

    #[test]
    fn a_directory_says_what_is_in_it() {
        let files = [
            ("dump.rdb", "REDIS"),
            ("appendonly.aof", "*"),
            ("notes.txt", ""),
            ("elsewhere/file", ""),
            (
                "appendonlydir/appendonly.aof.manifest",
                "file a.2.incr.aof seq 2 type i\nfile a.9.base.rdb seq 9 type h\n\
             file a.1.base.rdb seq 1 type b startoffset 0\nfile \"a b\\x2e1.incr.aof\" seq 1 type i\n",
            ),
            ("appendonlydir/a.1.base.rdb", "12345"),
            ("appendonlydir/a b.1.incr.aof", "12"),
            ("appendonlydir/a.2.incr.aof", "1"),
        ];
        let directory = directory(&files);
        let all = [
            "D/appendonlydir/appendonly.aof.manifest (an append-only file of 3 parts, 8 bytes)",
            "D/appendonly.aof (an append-only file, 1 bytes)",
            "D/dump.rdb (a database file, 5 bytes)",
        ];
        assert_eq!(described(directory.path()), all);
        let Found::Aof(aof) = &Found::at(&directory.path().join("appendonlydir")).unwrap()[0] else {
            panic!()
        };
        let names: Vec<_> =
            aof.parts.iter().map(|part| part.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.1.base.rdb", "a b.1.incr.aof", "a.2.incr.aof"]);
    }

    #[test]
    fn files_of_other_names_count_by_how_they_begin() {
        let preamble = "REDIS0009\u{fa}\x0caof-preamble";
        let mut preamble = preamble.replace('\u{fa}', "?").into_bytes();
        preamble.extend([0xc0, 0x01, 0xff]);
        let directory = directory(&[
            ("state", "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"),
            ("noted.log", "#TS:17\r\n"),
            ("backup", "REDIS0009"),
            ("temp-17.rdb", "REDIS0009"),
            ("readme", "*2 stars"),
        ]);
        fs::write(directory.path().join("store"), preamble).unwrap();
        let all = [
            "D/backup (a database file, 9 bytes)",
            "D/noted.log (an append-only file, 8 bytes)",
            "D/state (an append-only file, 23 bytes)",
            "D/store (an append-only file, 26 bytes)",
        ];
        assert_eq!(described(directory.path()), all);
        for (name, is_aof) in [("state", true), ("store", true), ("backup", false), ("temp-17.rdb", false)] {
            let found = Found::at(&directory.path().join(name)).unwrap();
            assert_eq!(matches!(found[0], Found::Aof(_)), is_aof, "{name}");
        }
    }

    #[test]
    fn of_several_files_the_one_that_a_server_would_load_is_chosen() {
        let aof = |path: &str| Found::Aof(Aof { path: path.into(), parts: Vec::new() });
        let rdb = |path: &str| Found::Rdb(path.into());
        let all =
            vec![aof("a/appendonly.aof.manifest"), aof("appendonly.aof"), rdb("dump.rdb"), rdb("old.rdb")];
        let path = |found: &[Found], prefers_aof| {
            Found::choose(found.to_vec(), prefers_aof).map(|found| found.path().display().to_string())
        };
        assert_eq!(path(&all, true).unwrap(), "a/appendonly.aof.manifest");
        assert_eq!(path(&all, false).unwrap(), "dump.rdb");
        assert_eq!(path(&all[1..], true).unwrap(), "appendonly.aof");
        assert_eq!(path(&all[..2], false).unwrap(), "a/appendonly.aof.manifest");
        assert_eq!(path(&all[3..], true).unwrap(), "old.rdb");
        assert!(path(&[rdb("a.rdb"), rdb("b.rdb")], true).unwrap_err().contains("a.rdb"));
        assert!(path(&[], true).unwrap_err().contains("there is no file"));
    }

    #[test]
    fn a_manifest_that_is_none_is_an_error() {
        for (text, why) in [
            ("file a seq 1 type i\n", "names a, which is not there"),
            ("file ../dump.rdb seq 1 type i\n", "line 1 is not"),
            ("# a note\nfile m.manifest seq x type b\n", "line 2 is not"),
            ("file m.manifest seq 1 type z\n", "line 1 is not"),
            ("file \"m.manifest seq 1 type z\n", "line 1 is not"),
            ("nonsense", "line 1 is not"),
        ] {
            let directory = directory(&[("m.aof.manifest", text), ("dump.rdb", "")]);
            let error = Found::at(directory.path()).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(Found::at(Path::new("nowhere/at/all")).is_err());
    }
}
