//! The files of the journal, as they are at one moment.
//!
//! A journal's files are its snapshot, the segments behind that, and the manifest that says which count; any end of the log is a state
//! that the keyspace has had. So a copy of these files is a copy of one moment, the one at which the last segment is measured:
//!
//! 1. The manifest is read, and every file that counts by it is opened and measured. An open file can be read to its end,
//!    whatever name it loses.
//! 2. The names are read again: if they are others, a snapshot or a new segment came in between, and it begins anew.
//!
//! ```text
//! *2n  $8 MANIFEST  $128 …  $28 00000000000000000002.snapshot  $length …  …
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sterna_journal::{FileDisk, inspect};

use crate::server::Server;

/// How often it begins anew.
const ATTEMPTS_MAX: usize = 50;

/// The file that names the others, which is replaced as a whole: its bytes are read at once.
const MANIFEST: &str = "MANIFEST";

/// A file that can be read to its end.
struct Open {
    name: String,
    file: File,
    bytes: u64,
}

pub(super) fn send(server: &Server, out: &mut impl Write) -> io::Result<()> {
    let directory = crate::persistence::directory(&server.config());
    let opened = open(&directory);
    let (manifest, files) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            write!(
                out,
                "-ERR the journal can't be copied: {}\r\n",
                error.to_string().replace(['\r', '\n'], " ")
            )?;
            return Err(error);
        }
    };
    write!(out, "*{}\r\n", 2 + 2 * files.len())?;
    head(out, MANIFEST, manifest.len() as u64)?;
    out.write_all(&manifest)?;
    out.write_all(b"\r\n")?;
    for Open { name, file, bytes } in files {
        head(out, &name, bytes)?;
        let sent = io::copy(&mut file.take(bytes), out)?;
        if sent < bytes {
            return Err(io::Error::other(format!("{name} became shorter")));
        }
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

fn head(out: &mut impl Write, name: &str, bytes: u64) -> io::Result<()> {
    write!(out, "${}\r\n{name}\r\n${bytes}\r\n", name.len())
}

fn open(directory: &Path) -> io::Result<(Vec<u8>, Vec<Open>)> {
    let disk = FileDisk::existing(directory)?;
    for _ in 0..ATTEMPTS_MAX {
        let manifest = std::fs::read(directory.join(MANIFEST))?;
        let names = inspect::files(&disk).map_err(io::Error::other)?;
        let files = names.iter().map(|name| open_one(directory, name)).collect::<io::Result<Vec<_>>>();
        let files = match files {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files?,
        };
        let are_same = inspect::files(&disk).map_err(io::Error::other)? == names;
        if are_same && std::fs::read(directory.join(MANIFEST))? == manifest {
            return Ok((manifest, files));
        }
    }
    Err(io::Error::other("its files change too often"))
}

fn open_one(directory: &Path, name: &str) -> io::Result<Open> {
    let file = File::open(directory.join(name))?;
    let bytes = file.metadata()?.len();
    Ok(Open { name: name.to_owned(), file, bytes })
}
