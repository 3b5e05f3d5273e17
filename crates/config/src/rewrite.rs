//! CONFIG REWRITE: the file says what the server does.
//!
//! Only options whose value differs from what the file would give are touched: their last line changes in place, their
//! other lines go, and an option that the file doesn't name is added at the end. Comments, order and everything else stay.
//! Should an option still read back differently, because an included file sets it further down, its lines move to the end;
//! and if that adds to what the included file says (`save`), behind a line that empties it.
//!
//! Users that stand in an included file stay there while they are as they were. One that has changed can't be written down
//! anywhere: a second line about it is an error.
//!
//! Nothing is written that a start would not read back as exactly this configuration. The new text is written beside the
//! file, synced, and renamed over it: a crash leaves the old file or the new one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::compound::{LineChecks, UserLine};
use super::load::{ConfigError, FILE_BYTES_MAX};
use super::options::{Config, OPTIONS};
use super::row::OptionRow;
use super::words;

/// Stands above the lines that are added.
const ADDED: &[u8] = b"# Added by CONFIG REWRITE";

/// Why the file was left as it was. The display is the reply, `ERR` included.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The server was started without a file.
    #[error("ERR The server is running without a config file")]
    NoFile,
    /// It can't be written.
    #[error("ERR Rewriting config file: {}", strerror(.0))]
    Io(#[from] io::Error),
    /// It can't be read any more, or the result could not be.
    #[error("ERR Rewriting config file: {0}")]
    Config(#[from] ConfigError),
    /// A user has changed who stands in a file that is not ours to write.
    #[error("ERR Rewriting config file: user '{0}' stands in an included file and is not the same any more")]
    IncludedUser(String),
    /// Whatever is written, the next start would differ.
    #[error("ERR Rewriting config file: {0} would be read back differently")]
    Differs(String),
}

/// The system's words for `error`, without the number that Rust adds.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl Config {
    /// Makes `file` say what this configuration is. After an error the file is unchanged.
    pub fn rewrite(&self, file: Option<&Path>, checks: LineChecks) -> Result<(), RewriteError> {
        let path = file.ok_or(RewriteError::NoFile)?;
        // A symbolic link stays one: what it points to is replaced.
        let path = fs::canonicalize(path)?;
        let old = sterna_filesystem::read(&path, FILE_BYTES_MAX)?;
        match self.rewritten(&path, &old, checks)? {
            Some(text) => Ok(replace_file(&path, &text)?),
            None => Ok(()),
        }
    }

    /// What the file must say instead of `old`, unless that says it already.
    fn rewritten(
        &self,
        path: &Path,
        old: &[u8],
        checks: LineChecks,
    ) -> Result<Option<Vec<u8>>, RewriteError> {
        let mut text = old.to_vec();
        for place in [Place::WhereItStands, Place::End, Place::Afresh] {
            let differing = self.differing(&Config::of_text(path, &text, checks)?);
            if differing.is_empty() {
                break;
            }
            let mut lines = Lines::of(&text);
            for row in differing {
                let values = if row.name == "user" {
                    self.users_beside(&Config::of_text(path, &lines.without(row).text(), checks)?)?
                } else {
                    row.lines(self)
                };
                lines.set(row, values, place);
            }
            text = lines.text();
        }
        let result = Config::of_text(path, &text, checks)?;
        let differing: Vec<&str> = self.differing(&result).iter().map(|row| row.name).collect();
        if !differing.is_empty() || self.in_order() != result.in_order() {
            return Err(RewriteError::Differs(differing.join(", ")));
        }
        Ok((text != old).then_some(text))
    }

    /// Options whose value is another one there, or is the same without being given.
    fn differing(&self, other: &Config) -> Vec<&'static OptionRow> {
        let (here, there) = (self.in_order(), other.in_order());
        let both = |row: &OptionRow, config| (row.text(config), row.lines(config));
        OPTIONS.iter().filter(|row| both(row, &here) != both(row, &there)).collect()
    }

    /// The same with its users in the order of their names, which is the only one that they have while the server runs.
    fn in_order(&self) -> Config {
        let mut config = self.clone();
        config.users.sort_by(|a, b| a.name.cmp(&b.name));
        config
    }

    /// Lines for the users that `included`, what the included files say, does not have.
    fn users_beside(&self, included: &Config) -> Result<Vec<Vec<Vec<u8>>>, RewriteError> {
        let is_as_it_was = |line: &&UserLine| self.users.contains(line);
        if let Some(changed) = included.users.iter().find(|line| !is_as_it_was(line)) {
            let name = String::from_utf8_lossy(&changed.name).into_owned();
            return Err(RewriteError::IncludedUser(name));
        }
        let mut rest = self.clone();
        rest.users.retain(|line| !included.users.contains(line));
        Ok(OptionRow::named(b"user").map_or_else(Vec::new, |row| row.lines(&rest)))
    }
}

/// Where an option's new lines go.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    WhereItStands,
    End,
    /// At the end, behind a line that empties the option.
    Afresh,
}

/// The file as lines, without their line feeds.
#[derive(Clone)]
struct Lines(Vec<Vec<u8>>);

impl Lines {
    fn of(text: &[u8]) -> Lines {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.is_empty() {
            Lines(Vec::new())
        } else {
            Lines(text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect())
        }
    }

    fn text(&self) -> Vec<u8> {
        self.0.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
    }

    /// The lines without those of `row`.
    fn without(&self, row: &OptionRow) -> Lines {
        Lines(self.0.iter().filter(|line| !is_line_of(row, line)).cloned().collect())
    }

    /// Replaces every line of `row` by `values`, each the words after the name.
    fn set(&mut self, row: &OptionRow, values: Vec<Vec<Vec<u8>>>, place: Place) {
        let is_of_row = |line: &Vec<u8>| is_line_of(row, line);
        let last = self.0.iter().rposition(is_of_row).filter(|_| place == Place::WhereItStands);
        let kept_before =
            self.0[..last.unwrap_or(self.0.len())].iter().filter(|line| !is_of_row(line)).count();
        self.0.retain(|line| !is_of_row(line));
        let line = |words: Vec<Vec<u8>>| {
            words::join(std::iter::once(row.name.as_bytes()).chain(words.iter().map(Vec::as_slice)))
        };
        if last.is_none() && !values.is_empty() && !self.0.iter().any(|line| line == ADDED) {
            self.0.push(ADDED.to_vec());
        }
        let at = if last.is_some() { kept_before } else { self.0.len() };
        let emptied = (place == Place::Afresh && row.can_be_emptied()).then(|| vec![Vec::new()]);
        self.0.splice(at..at, emptied.into_iter().chain(values).map(line));
    }
}

fn is_line_of(row: &OptionRow, line: &[u8]) -> bool {
    let words = words::split(line.trim_ascii()).unwrap_or_default();
    let of = words.first().and_then(|name| OptionRow::named(name));
    of.is_some_and(|of| of.name == row.name)
}

/// Puts `text` in the place of the file at `path`, all of it or nothing; it keeps its permissions. After an error the file is
/// as it was.
pub fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = Path::new(&name);
    let written = write_beside(path, beside, text).and_then(|()| fs::rename(beside, path));
    if written.is_err() {
        // What went wrong is the first error; a file that can't be removed either changes nothing about it.
        let _ = fs::remove_file(beside);
    }
    written?;
    // The rename itself must survive a power loss.
    sterna_filesystem::sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// A file that wasn't there may hold secrets.
const NEW_FILE_MODE: u32 = 0o600;

fn write_beside(path: &Path, beside: &Path, text: &[u8]) -> io::Result<()> {
    let options = &mut OpenOptions::new();
    let mut file =
        sterna_filesystem::open_with(beside, options.write(true).create_new(true).mode(NEW_FILE_MODE))?;
    match fs::metadata(path) {
        Ok(old) => file.set_permissions(old.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(path: &Path) -> Result<Config, ConfigError> {
        Config::of_text(path, &fs::read(path).unwrap(), LineChecks::NONE)
    }

    /// `old` rewritten for the configuration that it gives, changed by CONFIG SET of `pairs`.
    fn rewritten(old: &str, pairs: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.conf");
        fs::write(&path, old).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let config = of_file(&path).unwrap().set(&pairs).unwrap();
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        assert_eq!(of_file(&path).unwrap(), config);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn only_what_changed_is_touched() {
        let old = "# mine\n\nPORT   6379\ntimeout 5\n  timeout 6 \n# save\nsave 1 2\nsave 3 4\nhash-seed x\nmaxmemory 1kb";
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[], old),
            (
                &[("timeout", "7")],
                "# mine\n\nPORT   6379\ntimeout 7\n# save\nsave 1 2\nsave 3 4\nhash-seed x\nmaxmemory 1kb\n",
            ),
            (
                &[("save", ""), ("requirepass", "a \"b"), ("maxmemory", "1024")],
                "# mine\n\nPORT   6379\ntimeout 5\n  timeout 6 \n# save\nsave \"\"\nhash-seed x\nmaxmemory 1kb\n\
                 # Added by CONFIG REWRITE\nrequirepass \"a \\\"b\"\n",
            ),
            (
                &[("save", "5 6 7 8"), ("bind", ""), ("timeout", "0")],
                "# mine\n\nPORT   6379\ntimeout 0\n# save\nsave 5 6\nsave 7 8\nhash-seed x\nmaxmemory 1kb\n\
                 # Added by CONFIG REWRITE\nbind \"\"\n",
            ),
        ];
        for (pairs, expected) in rows {
            assert_eq!(rewritten(old, pairs), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn an_empty_file_and_every_option_read_back() {
        assert_eq!(rewritten("", &[]), "");
        let limits = "normal 1 2 3 replica 4 5 6 pubsub 7 8 9";
        assert_eq!(
            rewritten("", &[("client-output-buffer-limit", limits)]),
            "# Added by CONFIG REWRITE\nclient-output-buffer-limit normal 1 2 3\nclient-output-buffer-limit replica 4 5 6\n\
             client-output-buffer-limit pubsub 7 8 9\n"
        );
    }

    #[test]
    fn what_an_included_file_sets_is_overridden_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, included) = (dir.path().join("a.conf"), dir.path().join("b.conf"));
        fs::write(&included, "timeout 9\n").unwrap();
        fs::write(&path, format!("timeout 5\ninclude {}\n", included.display())).unwrap();
        let config = of_file(&path).unwrap().set(&[(b"timeout", b"7")]).unwrap();
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        assert_eq!(of_file(&path).unwrap(), config);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("# Added by CONFIG REWRITE\ntimeout 7\n"), "{text}");
        assert_eq!(fs::read_to_string(&included).unwrap(), "timeout 9\n");
    }

    #[test]
    fn users_are_written_a_line_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.conf");
        fs::write(&path, "user bob on\nport 1\nuser alice on\n").unwrap();
        let mut config = of_file(&path).unwrap();
        config.users[0].rules.push(b"(+get ~x)".to_vec());
        config.users.push(UserLine { name: b"carl".to_vec(), rules: vec![b"off".to_vec()] });
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "port 1\nuser bob on \"(+get ~x)\"\nuser alice on\nuser carl off\n");
        assert_eq!(of_file(&path).unwrap(), config);
    }

    /// A file with these lines, and one that it includes below them.
    fn with_included(text: &str, included: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.conf"), dir.path().join("b.conf"));
        fs::write(&other, included).unwrap();
        fs::write(&path, format!("{text}include {}\n", other.display())).unwrap();
        (dir, path)
    }

    #[test]
    fn users_of_an_included_file_stay_there_and_others_are_written() {
        let (_dir, path) = with_included("user bob on\n", "user alice on\n");
        let mut config = of_file(&path).unwrap();
        config.users.reverse();
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        let carl = UserLine { name: b"carl".to_vec(), rules: vec![b"off".to_vec()] };
        config.users.push(carl.clone());
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("user bob on\nuser carl off\ninclude "), "{text}");
        config.users.retain(|user| user.name != b"bob");
        config.rewrite(Some(&path), LineChecks::NONE).unwrap();
        assert_eq!(of_file(&path).unwrap().in_order(), config.in_order());
        let before = fs::read_to_string(&path).unwrap();
        for change in [vec![carl], Vec::new()] {
            config.users = change;
            let error = config.rewrite(Some(&path), LineChecks::NONE).unwrap_err().to_string();
            assert!(
                error.ends_with("user 'alice' stands in an included file and is not the same any more"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
        }
    }

    #[test]
    fn save_points_of_an_included_file_are_not_added_to() {
        for text in ["", "save 1 2\n", "save \"\"\n"] {
            let (_dir, path) = with_included(text, "save 900 1\n");
            for wanted in ["", "5 6 7 8", "900 1"] {
                let config = of_file(&path).unwrap().set(&[(b"save", wanted.as_bytes())]).unwrap();
                config.rewrite(Some(&path), LineChecks::NONE).unwrap();
                assert_eq!(of_file(&path).unwrap(), config, "{text} {wanted}");
            }
        }
    }

    /// What is asked for counts with `appendonly yes` as well, and what is merely the default does not.
    #[test]
    fn save_points_that_are_the_default_are_written_if_they_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.conf");
        fs::write(&path, "# nothing\n").unwrap();
        let unset = of_file(&path).unwrap();
        let text = unset.get(&[b"save"])[0].1.clone();
        let given = unset.set(&[(b"save", &text)]).unwrap();
        assert_ne!(given, unset);
        given.rewrite(Some(&path), LineChecks::NONE).unwrap();
        assert_eq!(of_file(&path).unwrap(), given);
        unset.rewrite(Some(&path), LineChecks::NONE).unwrap();
        assert_eq!(of_file(&path).unwrap(), unset);
    }

    #[test]
    fn every_option_is_read_back_as_it_was_whatever_an_included_file_says() {
        let defaults = Config::default();
        for row in OPTIONS.iter().filter(|row| row.mutability == crate::Mutability::RunTime) {
            let lines = |words: Vec<Vec<u8>>| {
                words::join(std::iter::once(row.name.as_bytes()).chain(words.iter().map(Vec::as_slice)))
            };
            let mut included: Vec<u8> =
                row.lines(&defaults).into_iter().map(lines).collect::<Vec<_>>().join(&b'\n');
            included.push(b'\n');
            let (_dir, path) = with_included("", &String::from_utf8(included).unwrap());
            for value in OTHER_VALUES {
                let Ok(config) = of_file(&path).unwrap().set(&[(row.name.as_bytes(), value.as_bytes())])
                else {
                    continue;
                };
                match config.rewrite(Some(&path), LineChecks::NONE) {
                    Ok(()) => assert_eq!(of_file(&path).unwrap(), config, "{} {value}", row.name),
                    Err(error) => panic!("{} {value}: {error}", row.name),
                }
            }
        }
    }

    /// Values of which each option takes one or another.
    const OTHER_VALUES: [&str; 12] = [
        "",
        "yes",
        "no",
        "1",
        "100",
        "100mb",
        "-1",
        "1 2 3 4",
        "KEA",
        "debug",
        "127.0.0.1 -::1",
        "normal 1 2 3",
    ];

    #[test]
    fn a_link_stays_a_link_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("real.conf"), dir.path().join("link.conf"));
        fs::write(&path, "port 1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let config = of_file(&link).unwrap().set(&[(b"port", b"2")]).unwrap();
        config.rewrite(Some(&link), LineChecks::NONE).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "port 2\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn without_a_file_or_with_a_lost_one_the_reply_says_so() {
        let config = Config::default();
        assert_eq!(
            config.rewrite(None, LineChecks::NONE).unwrap_err().to_string(),
            "ERR The server is running without a config file"
        );
        let lost = config.rewrite(Some(Path::new("/nonexistent/redis.conf")), LineChecks::NONE).unwrap_err();
        assert_eq!(lost.to_string(), "ERR Rewriting config file: No such file or directory");
    }
}
