//! A running server that keys are brought to, by RESTORE, and what became of them.

use std::collections::BTreeMap;

use sterna_protocol::decode::Value;
use sterna_rdb::{Entry, Kind, VALKEY_VERSION};
use sterna_server::{Dataset, Loaded};

use crate::Failure;
use crate::dumped::PIPELINE;
use crate::link::{Link, LinkError, Reach};
use crate::progress::Progress;

/// That of Redis 8.8, which knows all encodings that values of Redis have here.
const DUMP_VERSION: u16 = 14;

/// The version of the form in which libraries are dumped.
pub(crate) const LIBRARIES_VERSION: u16 = 10;

/// Whether keys come to Sterna or leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    fn verb(self) -> &'static str {
        match self {
            Way::In => "imported",
            Way::Out => "exported",
        }
    }
}

/// Where keys go.
pub(crate) struct Target {
    pub(crate) link: Link,
    way: Way,
    pub(crate) replace: bool,
    pub(crate) keep_going: bool,
    /// The database that the connection has selected.
    pub(crate) db: u64,
    /// Keys whose replies have not been read.
    waiting: Vec<(Kind, u64, Vec<u8>)>,
    /// Whether it is Valkey, once that has been asked.
    is_valkey: Option<bool>,
    pub(crate) tally: Tally,
    pub(crate) progress: Progress,
}

impl Target {
    pub(crate) fn new(link: Link, way: Way, replace: bool, keep_going: bool) -> Target {
        Target {
            link,
            way,
            replace,
            keep_going,
            // Whichever its URL has selected.
            db: u64::MAX,
            waiting: Vec::new(),
            is_valkey: None,
            tally: Tally::new(way),
            progress: Progress::new(),
        }
    }

    /// Whether it is Valkey, which has some values in other forms than Redis.
    fn is_valkey(&mut self) -> Result<bool, Failure> {
        if let Some(is_valkey) = self.is_valkey {
            return Ok(is_valkey);
        }
        self.settle()?;
        let info = self.link.ask(&["INFO", "server"])?;
        let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default());
        let is_valkey = text.lines().any(|line| line.starts_with("valkey_version:"));
        self.is_valkey = Some(is_valkey);
        Ok(is_valkey)
    }

    /// Empties it, whatever its connection was in the middle of.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        match self.link.ask(&["DISCARD"]) {
            Ok(_) | Err(LinkError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.link.ask(&["FLUSHALL"])?;
        self.link.ask(&["FUNCTION", "FLUSH"])?;
        Ok(())
    }

    /// Sees to it that it may be emptied: it holds nothing, or it is to be (`may`), and it is not the source itself.
    pub(crate) fn may_be_emptied(&mut self, source: &Reach, may: bool) -> Result<(), Failure> {
        let id = run_id(&mut Link::open(source)?)?;
        if id.is_some_and(|id| matches!(run_id(&mut self.link), Ok(Some(other)) if other == id)) {
            return Err(Failure::Same(source.address(), self.link.address().to_owned()));
        }
        let info = self.link.ask(&["INFO", "keyspace"])?;
        let has_keys = String::from_utf8_lossy(info.as_bytes().unwrap_or_default())
            .lines()
            .any(|line| line.starts_with("db"));
        let libraries = self.link.ask(&["FUNCTION", "LIST"])?;
        let has_libraries = libraries.as_slice().is_some_and(|libraries| !libraries.is_empty());
        if (has_keys || has_libraries) && !may {
            return Err(Failure::TargetHolds(self.link.address().to_owned()));
        }
        Ok(())
    }

    /// Has it select a database.
    fn select(&mut self, db: u64) -> Result<(), Failure> {
        if db != self.db {
            self.settle()?;
            self.link.ask(&["SELECT", &db.to_string()])?;
            self.db = db;
        }
        Ok(())
    }

    /// Removes keys that are gone at the source, if they are there.
    pub(crate) fn remove(&mut self, db: u64, keys: &[&[u8]]) -> Result<(), Failure> {
        self.select(db)?;
        self.settle()?;
        keys.iter().try_for_each(|key| self.link.send_about(key, &[b"UNLINK", key]))?;
        for _ in keys {
            self.link.receive()?;
        }
        Ok(())
    }

    /// Forgets what was brought: it is gone.
    pub(crate) fn start_again(&mut self) {
        self.waiting.clear();
        self.tally = Tally::new(self.way);
        self.db = u64::MAX;
    }

    pub(crate) fn bring(&mut self, entry: Entry) -> Result<(), Failure> {
        let Entry { db, key, kind, expire_at_ms, mut value, version } = entry;
        if kind == Kind::Module {
            self.tally.leave(kind, &key);
            return Ok(());
        }
        self.select(db)?;
        // Sterna knows every form of Redis's; others are told the version that the value has.
        let mut version =
            if self.way == Way::In && version < VALKEY_VERSION { DUMP_VERSION } else { version };
        if self.way == Way::Out
            && let Some(of_valkey) = sterna_keyspace::for_valkey(&value)
            && self.is_valkey()?
        {
            (value, version) = (of_valkey, VALKEY_VERSION);
        }
        sterna_keyspace::seal_dump(&mut value, version);
        let expiry = expire_at_ms.unwrap_or(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &key, expiry.as_bytes(), &value, b"ABSTTL"];
        if self.replace {
            words.push(b"REPLACE");
        }
        self.link.send_about(&key, &words)?;
        self.waiting.push((kind, db, key));
        if self.waiting.len() >= PIPELINE { self.settle() } else { Ok(()) }
    }

    /// Brings what was loaded from a file or a journal.
    pub(crate) fn bring_all(&mut self, dataset: &Dataset) -> Result<(), Failure> {
        if let Some(libraries) = dataset.libraries() {
            self.bring_libraries(libraries)?;
        }
        let total = dataset.counts().values().sum();
        dataset.each(&mut |entry| {
            self.bring(entry)?;
            self.progress.show(self.tally.total(), total, self.tally.total());
            Ok(())
        })
    }

    /// `libraries`: of functions, as FUNCTION DUMP gives them before its footer.
    pub(crate) fn bring_libraries(&mut self, mut libraries: Vec<u8>) -> Result<(), Failure> {
        self.settle()?;
        sterna_keyspace::seal_dump(&mut libraries, LIBRARIES_VERSION);
        let policy: &[u8] = if self.replace { b"REPLACE" } else { b"APPEND" };
        let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &libraries, policy];
        self.link.send(&words)?;
        match self.link.receive() {
            Ok(_) => self.tally.libraries.0 += 1,
            Err(LinkError::Refused { why, .. }) => {
                self.tally.libraries.1.get_or_insert(why);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reads the replies that are due. Errors: a value was refused, and the import is to stop then.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for (kind, db, key) in std::mem::take(&mut self.waiting) {
            match self.link.receive() {
                Ok(Value::Simple(_)) => *self.tally.brought.entry(kind).or_default() += 1,
                Ok(_) => return Err(self.link.nonsense("not that of RESTORE").into()),
                Err(LinkError::Refused { why, .. }) if why.starts_with("BUSYKEY") => self.tally.busy += 1,
                Err(LinkError::Refused { why, .. }) => {
                    let refused = format!("{} in database {db}: {why}", shown(&key));
                    if !self.keep_going && stopped.is_ok() {
                        stopped = Err(Failure::Stopped(refused.clone()));
                    }
                    self.tally.refused.0 += 1;
                    self.tally.refused.1.get_or_insert(refused);
                }
                Err(error) => return Err(error.into()),
            }
        }
        stopped
    }
}

/// Which process it is.
fn run_id(link: &mut Link) -> Result<Option<String>, LinkError> {
    let info = link.ask(&["INFO", "server"])?;
    let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    Ok(text.lines().find_map(|line| Some(line.strip_prefix("run_id:")?.trim().to_owned())))
}

/// Names that are kept of keys that were left.
const NAMES_MAX: usize = 5;

/// Bytes that are shown of one.
const SHOWN_BYTES_MAX: usize = 128;

fn shown(key: &[u8]) -> String {
    match key.split_at_checked(SHOWN_BYTES_MAX) {
        Some((head, rest)) if !rest.is_empty() => {
            format!("{}… ({} more bytes)", head.escape_ascii(), rest.len())
        }
        _ => key.escape_ascii().to_string(),
    }
}

/// What became of the keys.
#[derive(Debug)]
pub(crate) struct Tally {
    way: Way,
    pub(crate) brought: BTreeMap<Kind, u64>,
    /// Types that there are none of here: how many, and some of their names.
    left: BTreeMap<Kind, (u64, Vec<String>)>,
    /// There already.
    pub(crate) busy: u64,
    /// Expired before they were brought.
    pub(crate) expired: u64,
    /// How many the server would not take, and why it didn't take the first.
    pub(crate) refused: (u64, Option<String>),
    /// Whether libraries of functions were brought, and why some were not.
    pub(crate) libraries: (u64, Option<String>),
    /// Damage, behind which everything was left.
    stopped: Option<String>,
}

impl Tally {
    pub(crate) fn new(way: Way) -> Tally {
        Tally {
            way,
            brought: BTreeMap::new(),
            left: BTreeMap::new(),
            busy: 0,
            expired: 0,
            refused: (0, None),
            libraries: (0, None),
            stopped: None,
        }
    }

    fn leave(&mut self, kind: Kind, key: &[u8]) {
        let (count, names) = self.left.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMES_MAX {
            names.push(shown(key));
        }
    }

    /// Takes over what loading files has left.
    pub(crate) fn add(&mut self, loaded: Loaded) {
        self.expired += loaded.expired;
        if loaded.modules.0 > 0 {
            self.left.insert(Kind::Module, loaded.modules);
        }
        self.refused = loaded.refused;
        self.stopped = loaded.stopped.map(|error| error.to_string());
    }

    /// The last line: whether anything was left.
    pub(crate) fn conclude(&self) -> Result<(), Failure> {
        let left = self.left.values().map(|(count, _)| count).sum::<u64>() + self.busy + self.refused.0;
        let brought = self.brought.values().sum::<u64>();
        if !self.is_complete() {
            let behind = if self.stopped.is_some() { ", and all that stands behind the damage" } else { "" };
            println!("done: {brought} keys {}, {left} left{behind}", self.way.verb());
            return Err(Failure::NotAll);
        }
        println!("done: {brought} keys {}, nothing left", self.way.verb());
        Ok(())
    }

    pub(crate) fn total(&self) -> u64 {
        self.brought.values().sum::<u64>()
            + self.left.values().map(|(count, _)| count).sum::<u64>()
            + self.busy
    }

    /// Whether no key was left.
    fn is_complete(&self) -> bool {
        self.left.is_empty()
            && self.busy == 0
            && self.refused.0 == 0
            && self.libraries.1.is_none()
            && self.stopped.is_none()
    }

    pub(crate) fn tell(&self) {
        let verb = self.way.verb();
        for (kind, count) in &self.brought {
            println!("{verb}: {count} of type {}", kind.name());
        }
        if self.brought.is_empty() {
            println!("{verb}: nothing");
        }
        for (kind, (count, names)) in &self.left {
            let more = if *count as usize > names.len() { ", …" } else { "" };
            println!(
                "left: {count} of type {}, which Sterna does not have: {}{more}",
                kind.name(),
                names.join(", ")
            );
        }
        if self.expired > 0 {
            println!("expired before: {}", self.expired);
        }
        if self.busy > 0 {
            println!("left: {} that were there already (--replace overwrites them)", self.busy);
        }
        if self.libraries.0 > 0 {
            println!("{verb}: libraries of functions");
        }
        if let Some(why) = &self.libraries.1 {
            println!("left: libraries of functions: {why}");
        }
        if let (count, Some(first)) = &self.refused {
            println!("refused: {count}, the first is {first}");
        }
        if let Some(why) = &self.stopped {
            println!("stopped: {why}; what stands before that was taken");
        }
    }
}
