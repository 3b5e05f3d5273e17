//! The files of the journal, as they are at one moment (`persistence/copy.rs`).
//!
//! ```text
//! *2n  $8 MANIFEST  $128 …  $28 00000000000000000002.snapshot  $length …  …
//! ```

use std::io::{self, Write};

use crate::persistence::files_of_one_moment;
use crate::server::Server;

pub(super) fn send(server: &Server, out: &mut impl Write) -> io::Result<()> {
    let files = match files_of_one_moment(&crate::persistence::directory(&server.config())) {
        Ok(files) => files,
        Err(error) => {
            write!(
                out,
                "-ERR the journal can't be copied: {}\r\n",
                error.to_string().replace(['\r', '\n'], " ")
            )?;
            return Err(error);
        }
    };
    write!(out, "*{}\r\n", 2 * files.len())?;
    for mut file in files {
        write!(out, "${}\r\n{}\r\n${}\r\n", file.name.len(), file.name, file.bytes)?;
        let sent = io::copy(&mut file.content, out)?;
        if sent < file.bytes {
            return Err(io::Error::other(format!("{} became shorter", file.name)));
        }
        out.write_all(b"\r\n")?;
    }
    Ok(())
}
