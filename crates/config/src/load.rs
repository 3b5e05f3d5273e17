//! Reading the configuration: the file, what it includes, and the command line.
//!
//! ```text
//! sterna [path/to/redis.conf | -] [--name value ...]...
//! ```
//!
//! A directive is a line of words, whether it stands in a file or on the command line; the command line comes last, so
//! that it wins. Directives that Redis has and Sterna doesn't are one [`Warning`] together if ignoring them does no harm. A directive
//! that protects something, a wrong value, or a name that nobody knows is a [`ConfigError`]: a server whose `requirepas`
//! or `rename-command` was ignored would stand open.
//!
//! Source: redis-server's reading of redis.conf and of its arguments.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::choice::TlsAuthClients;
use super::compound::LineChecks;
use super::fixed::fixed;
use super::foreign::{is_foreign, protects};
use super::include;
use super::options::{Config, OPTIONS};
use super::row::OptionRow;
use super::value::{Phase, ValueError};
use super::words;

/// Files that include files that include files: more than this is a mistake.
const INCLUDE_DEPTH_MAX: usize = 16;

/// A configuration, or a file that it includes: what 100 000 users take in it, and more.
pub(super) const FILE_BYTES_MAX: u64 = 256 << 20;

/// Port for TLS that `tls-self-signed` implies.
const SELF_SIGNED_PORT: u16 = 6380;

/// What [`Config::load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What was ignored, in the order of reading.
    pub warnings: Vec<Warning>,
    /// The file, absolute, for CONFIG REWRITE and INFO.
    pub file: Option<PathBuf>,
}

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file, as its path was given.
    File {
        /// The path.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Among the program's arguments.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A directive that was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub origin: Origin,
    /// What was ignored and why, on one line.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Why the server can't start. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or one that it includes, can't be read.
    #[error("can't open config file '{}': {error}", .path.display())]
    Open {
        /// As it was given.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A value that its option can't have.
    #[error("{origin}: '{directive}': {error}")]
    Value {
        /// Where.
        origin: Origin,
        /// The directive as written; without its value if that is secret.
        directive: String,
        /// What is wrong.
        error: ValueError,
    },
    /// A quote that is not closed.
    #[error("{origin}: '{directive}': unbalanced quotes")]
    Quotes {
        /// Where.
        origin: Origin,
        /// Its first word.
        directive: String,
    },
    /// A name that nobody knows.
    #[error("{origin}: '{name}' is not an option{}", .meant.map_or(String::new(), |name| format!("; did you mean '{name}'?")))]
    Unknown {
        /// Where.
        origin: Origin,
        /// The name.
        name: String,
        /// An option with a similar name.
        meant: Option<&'static str>,
    },
    /// A directive of Redis's that protects something, and that there is not.
    #[error(
        "{origin}: '{name}' is not supported, and a server that ignored it would be protected less than you believe; without the line it starts"
    )]
    Protective {
        /// Where.
        origin: Origin,
        /// The name.
        name: String,
    },
    /// An argument that belongs to no option.
    #[error("command line: '{0}' belongs to no option; options are written '--name value'")]
    Stray(String),
    /// A file that includes itself, if only through others, or includes too deeply.
    #[error("{origin}: '{}' includes itself or is nested more than {INCLUDE_DEPTH_MAX} deep", .path.display())]
    IncludeLoop {
        /// Where.
        origin: Origin,
        /// The file.
        path: PathBuf,
    },
    /// `dir` is not a directory.
    #[error("'dir {}': {error}", .path.display())]
    Dir {
        /// Its value.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Config {
    /// Reads the program's arguments, without its name, and the files they name. `checks` have the last word on lines
    /// that are about users and commands.
    pub fn load(args: &[String], checks: LineChecks) -> Result<Loaded, ConfigError> {
        let mut loader = Loader::new(checks);
        started_in();
        let (file, options) = match args.split_first() {
            Some((path, options)) if !path.starts_with('-') => (Some(Path::new(path)), options),
            Some((dash, options)) if dash == "-" => {
                loader.read_stdin()?;
                (None, options)
            }
            _ => (None, args),
        };
        if let Some(path) = file {
            loader.read_file(path, &Origin::CommandLine)?;
        }
        for directive in directives_of(options)? {
            loader.directive(&directive, &Origin::CommandLine)?;
        }
        let file = file.filter(|path| !sterna_filesystem::is_descriptor(path));
        let file = file.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        loader.settle()?;
        loader.tell_of_ignored();
        Ok(Loaded { config: loader.config, warnings: loader.warnings, file })
    }

    /// Reads `text` as the content of the file at `path`, as a start would.
    pub(super) fn of_text(path: &Path, text: &[u8], checks: LineChecks) -> Result<Config, ConfigError> {
        let mut loader = Loader::new(checks);
        loader.open.extend(fs::canonicalize(path));
        loader.read_text(path, text)?;
        loader.settle()?;
        Ok(loader.config)
    }
}

/// The directory in which the program was started: what `include` and `dir` name is looked for there, also when a file is read
/// again, though the server works in `dir` then.
fn started_in() -> &'static Path {
    static STARTED_IN: OnceLock<PathBuf> = OnceLock::new();
    STARTED_IN.get_or_init(|| env::current_dir().unwrap_or_else(|_| PathBuf::from(".")))
}

/// The command line as directives: each a list of words, the name first and without its dashes.
///
/// The word after a bare `--name` is its value even if it starts with dashes (a password may). `--save` and
/// `--tls-self-signed` may stand alone.
fn directives_of(args: &[String]) -> Result<Vec<Vec<Vec<u8>>>, ConfigError> {
    let mut directives: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut value_is_due = false;
    for (index, arg) in args.iter().enumerate() {
        let Some(option) = arg.strip_prefix("--").filter(|_| !value_is_due) else {
            value_is_due = false;
            let directive = directives.last_mut().ok_or_else(|| ConfigError::Stray(arg.clone()))?;
            directive.push(arg.clone().into_bytes());
            continue;
        };
        let mut directive = words::split(option.as_bytes()).ok_or_else(|| ConfigError::Quotes {
            origin: Origin::CommandLine,
            directive: first_of(option),
        })?;
        let stands_alone = args.get(index + 1).is_none_or(|next| next.starts_with("--"));
        match (directive.len(), option.to_ascii_lowercase().as_str()) {
            (0, _) => return Err(ConfigError::Stray(arg.clone())),
            (1, "save") if stands_alone => directive.push(Vec::new()),
            (1, "tls-self-signed") if stands_alone => directive.push(b"yes".to_vec()),
            (words, _) => value_is_due = words == 1,
        }
        directives.push(directive);
    }
    Ok(directives)
}

fn first_of(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The configuration while it is being read.
struct Loader {
    config: Config,
    checks: LineChecks,
    warnings: Vec<Warning>,
    /// Directives of Redis's that do nothing here, and no harm.
    ignored: Vec<(Origin, String)>,
    /// Options that some directive named.
    named: Vec<&'static str>,
    /// The files being read, canonical, the innermost last.
    open: Vec<PathBuf>,
}

impl Loader {
    fn new(checks: LineChecks) -> Loader {
        Loader {
            config: Config::default(),
            checks,
            warnings: Vec::new(),
            ignored: Vec::new(),
            named: Vec::new(),
            open: Vec::new(),
        }
    }

    fn read_stdin(&mut self) -> Result<(), ConfigError> {
        let path = PathBuf::from("stdin");
        let text = sterna_filesystem::read_to_end(io::stdin(), FILE_BYTES_MAX)
            .map_err(|error| ConfigError::Open { path: path.clone(), error })?;
        self.read_text(&path, &text)
    }

    /// Reads the file at `path`, which `origin` names.
    fn read_file(&mut self, path: &Path, origin: &Origin) -> Result<(), ConfigError> {
        let failed = |error| ConfigError::Open { path: path.to_owned(), error };
        if sterna_filesystem::is_descriptor(path) {
            let text = sterna_filesystem::read_descriptor(path, FILE_BYTES_MAX).map_err(failed)?;
            return self.read_text(path, &text);
        }
        let canonical = fs::canonicalize(started_in().join(path)).map_err(failed)?;
        if self.open.contains(&canonical) || self.open.len() >= INCLUDE_DEPTH_MAX {
            return Err(ConfigError::IncludeLoop { origin: origin.clone(), path: path.to_owned() });
        }
        let text = sterna_filesystem::read(&canonical, FILE_BYTES_MAX).map_err(failed)?;
        self.open.push(canonical);
        self.read_text(path, &text)?;
        self.open.pop();
        Ok(())
    }

    fn read_text(&mut self, path: &Path, text: &[u8]) -> Result<(), ConfigError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let origin = Origin::File { path: path.to_owned(), line: index + 1 };
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let words = words::split(line).ok_or_else(|| ConfigError::Quotes {
                origin: origin.clone(),
                directive: first_of(&String::from_utf8_lossy(line)),
            })?;
            self.directive(&words, &origin)?;
        }
        Ok(())
    }

    /// Carries out one directive: its name and the words after it.
    fn directive(&mut self, directive: &[Vec<u8>], origin: &Origin) -> Result<(), ConfigError> {
        let Some((name, values)) = directive.split_first() else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"include") {
            return self.include(directive, values, origin);
        }
        let Some(row) = OptionRow::named(name) else { return self.unknown(name, values, origin) };
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let result = match values[..] {
            // Several words in one pair of quotes.
            [quoted] if row.kind.takes_several() && !quoted.is_empty() => {
                let parts: Vec<&[u8]> =
                    quoted.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
                row.assign(&mut self.config, &parts, Phase::Load)
            }
            _ => row.assign(&mut self.config, &values, Phase::Load),
        };
        self.named.push(row.name);
        match result.and_then(|()| self.checked(row)) {
            Ok(()) => Ok(()),
            Err(ValueError::Unsupported(_)) => {
                let used = String::from_utf8_lossy(&row.text(&self.config)).into_owned();
                let text = format!("'{}' is not supported; '{used}' is used", shown(row, directive));
                self.warn(origin, text);
                Ok(())
            }
            Err(error) => {
                Err(ConfigError::Value { origin: origin.clone(), directive: shown(row, directive), error })
            }
        }
    }

    /// Has what was read last, if somebody else knows what it means, checked by them.
    fn checked(&mut self, row: &OptionRow) -> Result<(), ValueError> {
        let config = &mut self.config;
        if row.name == "rename-command" {
            (self.checks.renames)(&config.renames).map_err(ValueError::Rename)?;
        } else if row.name == "user"
            && let Some(user) = config.users.last()
        {
            let name = || String::from_utf8_lossy(&user.name).into_owned();
            // What it is written as depends on lines that may follow: see `settle`.
            (self.checks.user)(user, config).map_err(|error| ValueError::UserRule(name(), error))?;
        }
        let has_both = config.aclfile.is_some() && !config.users.is_empty();
        if has_both { Err(ValueError::UsersTwice) } else { Ok(()) }
    }

    fn include(
        &mut self,
        directive: &[Vec<u8>],
        values: &[Vec<u8>],
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let wrong =
            |error| ConfigError::Value { origin: origin.clone(), directive: line_of(directive), error };
        let [pattern] = values else { return Err(wrong(ValueError::WrongNumber)) };
        let pattern = std::str::from_utf8(pattern).map_err(|_| wrong(ValueError::NotText))?;
        for path in include::files(pattern, started_in()) {
            self.read_file(&path, origin)?;
        }
        Ok(())
    }

    /// A name that is no option of ours: a warning if it does no harm to ignore it.
    fn unknown(&mut self, name: &[u8], values: &[Vec<u8>], origin: &Origin) -> Result<(), ConfigError> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if protects(&name, values) {
            return Err(ConfigError::Protective { origin: origin.clone(), name });
        }
        if let (Some(fixed), [value]) = (fixed(name.as_bytes()), values)
            && fixed.is(value)
        {
            return Ok(());
        }
        if !is_foreign(&name) {
            let meant = similar(&name);
            return Err(ConfigError::Unknown { origin: origin.clone(), name, meant });
        }
        self.ignored.push((origin.clone(), name));
        Ok(())
    }

    /// One line about all that was ignored: who moves in from Redis has dozens of them.
    fn tell_of_ignored(&mut self) {
        let mut names: Vec<&str> = Vec::new();
        for (_, name) in &self.ignored {
            if !names.contains(&&name[..]) {
                names.push(name);
            }
        }
        if let Some((origin, _)) = self.ignored.first() {
            let text = format!("without effect here, and no harm: {}", names.join(", "));
            self.warnings.insert(0, Warning { origin: origin.clone(), text });
        }
    }

    fn warn(&mut self, origin: &Origin, text: String) {
        self.warnings.push(Warning { origin: origin.clone(), text });
    }

    /// What follows from the values together.
    fn settle(&mut self) -> Result<(), ConfigError> {
        let config = &mut self.config;
        if config.tls_self_signed {
            if !self.named.contains(&"tls-port") {
                config.tls_port = SELF_SIGNED_PORT;
            }
            if !self.named.contains(&"tls-auth-clients") {
                config.tls_auth_clients = TlsAuthClients::No;
            }
        }
        config.clamp();
        for index in 0..config.users.len() {
            let user = &config.users[index];
            let written_out = (self.checks.user)(user, config);
            let name = || String::from_utf8_lossy(&user.name).into_owned();
            config.users[index] = written_out.map_err(|error| ConfigError::Value {
                origin: Origin::CommandLine,
                directive: "user".to_owned(),
                error: ValueError::UserRule(name(), error),
            })?;
        }
        let failed = |error| ConfigError::Dir { path: config.dir.clone(), error };
        let dir = std::path::absolute(started_in().join(&config.dir)).map_err(failed)?;
        if !fs::metadata(&dir).map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        // `/srv/.` is `/srv`: the current directory of `dir .`.
        config.dir = dir.components().collect();
        Ok(())
    }
}

/// A directive for a message: without its value if that is secret.
fn shown(row: &OptionRow, directive: &[Vec<u8>]) -> String {
    if row.is_secret() { row.name.to_owned() } else { line_of(directive) }
}

fn line_of(directive: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&words::join(directive.iter().map(Vec::as_slice))).into_owned()
}

/// The option that `name` is most likely meant to be.
fn similar(name: &str) -> Option<&'static str> {
    nearest(name, OPTIONS.iter().map(|row| row.name).chain(["include"]))
}

/// Which of `words` is most likely meant: at most two slips away, and at most one in four letters wrong, or one in all of three.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |meant: &&str| slips_between(word, meant);
    let nearest = words.min_by_key(slips)?;
    let slips = slips(&nearest);
    let most = (nearest.len() / 4).max(usize::from(nearest.len() > 2)).min(2);
    (slips <= most).then_some(nearest)
}

/// Letters to insert, drop, change or swap with their neighbour until `a` is `b`. Cost O(length of a × length of b).
fn slips_between(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let change = rows[i][j] + usize::from(from != to);
            let mut least = change.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && b[j - 1] == *from {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests;
