//! CONFIG REWRITE: the file says what the server does.
//!
//! Only options whose value differs from what the file would give are touched: their last line changes in place, their
//! other lines go, and an option that the file doesn't name is added at the end. Comments, order and everything else stay.
//! Should an option still read back differently, because an included file sets it further down, its lines move to the end.
//!
//! The new text is written beside the file, synced, and renamed over it: a crash leaves the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::load::ConfigError;
use super::options::{Config, OPTIONS, OptionRow};
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
}

/// The system's words for `error`, without the number that Rust adds.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl Config {
    /// Makes `file` say what this configuration is. After an error the file is unchanged.
    pub fn rewrite(&self, file: Option<&Path>) -> Result<(), RewriteError> {
        let path = file.ok_or(RewriteError::NoFile)?;
        // A symbolic link stays one: what it points to is replaced.
        let path = fs::canonicalize(path)?;
        let old = fs::read(&path)?;
        match self.rewritten(&path, &old)? {
            Some(text) => Ok(replace(&path, &text)?),
            None => Ok(()),
        }
    }

    /// What the file must say instead of `old`, unless that says it already.
    fn rewritten(&self, path: &Path, old: &[u8]) -> Result<Option<Vec<u8>>, ConfigError> {
        let mut text = old.to_vec();
        for place in [Place::WhereItStands, Place::End] {
            let loaded = Config::of_text(path, &text)?;
            let mut lines = Lines::of(&text);
            let mut differing = OPTIONS.iter().filter(|row| row.text(self) != row.text(&loaded)).peekable();
            if differing.peek().is_none() {
                break;
            }
            differing.for_each(|row| lines.set(row, row.lines(self), place));
            text = lines.text();
        }
        Config::of_text(path, &text)?;
        Ok((text != old).then_some(text))
    }
}

/// Where an option's new lines go.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    WhereItStands,
    End,
}

/// The file as lines, without their line feeds.
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

    /// Replaces every line of `row` by `values`, each the words after the name.
    fn set(&mut self, row: &OptionRow, values: Vec<Vec<Vec<u8>>>, place: Place) {
        let is_of_row = |line: &Vec<u8>| {
            let words = words::split(line.trim_ascii()).unwrap_or_default();
            words.first().is_some_and(|name| name.eq_ignore_ascii_case(row.name.as_bytes()))
        };
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
        self.0.splice(at..at, values.into_iter().map(line));
    }
}

/// Puts `text` in the place of the file at `path`, all of it or nothing.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
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
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn write_beside(path: &Path, beside: &Path, text: &[u8]) -> io::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.set_permissions(permissions)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserLine;

    fn of_file(path: &Path) -> Result<Config, ConfigError> {
        Config::of_text(path, &fs::read(path).unwrap())
    }

    /// `old` rewritten for the configuration that it gives, changed by CONFIG SET of `pairs`.
    fn rewritten(old: &str, pairs: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.conf");
        fs::write(&path, old).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let config = of_file(&path).unwrap().set(&pairs).unwrap();
        config.rewrite(Some(&path)).unwrap();
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
        config.rewrite(Some(&path)).unwrap();
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
        config.rewrite(Some(&path)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "port 1\nuser bob on \"(+get ~x)\"\nuser alice on\nuser carl off\n");
        assert_eq!(of_file(&path).unwrap(), config);
    }

    #[test]
    fn a_link_stays_a_link_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("real.conf"), dir.path().join("link.conf"));
        fs::write(&path, "port 1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let config = of_file(&link).unwrap().set(&[(b"port", b"2")]).unwrap();
        config.rewrite(Some(&link)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "port 2\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn without_a_file_or_with_a_lost_one_the_reply_says_so() {
        let config = Config::default();
        assert_eq!(
            config.rewrite(None).unwrap_err().to_string(),
            "ERR The server is running without a config file"
        );
        let lost = config.rewrite(Some(Path::new("/nonexistent/redis.conf"))).unwrap_err();
        assert_eq!(lost.to_string(), "ERR Rewriting config file: No such file or directory");
    }
}
