//! The machine's syslog: a datagram to `/dev/log` for each line.
//!
//! `<facility × 8 + severity>ident[pid]: text`, which every syslog of a Unix system takes. A line that nobody takes (no syslog, or
//! one that is behind) is lost there and still in the log; the server never waits for it.
//!
//! Source: RFC 3164, as libc's `syslog` writes it to the local socket: without a time, which the receiver adds.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_config::{Config, SyslogFacility};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where local programs send their lines.
const SOCKET: &str = "/dev/log";

/// Writes lines to the syslog.
#[derive(Debug, Clone)]
pub(crate) struct Syslog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    path: PathBuf,
    ident: String,
    facility: u8,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line<'s> {
    syslog: &'s Syslog,
    severity: u8,
}

impl Syslog {
    /// The syslog that `config` names.
    pub(crate) fn open(config: &Config) -> io::Result<Syslog> {
        Syslog::open_at(Path::new(SOCKET), &config.syslog_ident, config.syslog_facility)
    }

    fn open_at(path: &Path, ident: &str, facility: SyslogFacility) -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let (path, ident, facility) = (path.to_owned(), ident.to_owned(), number_of(facility));
        Ok(Syslog(Arc::new(Inner { socket, path, ident, facility })))
    }
}

/// As the kernel's headers number them: user is 1, local0 is 16.
fn number_of(facility: SyslogFacility) -> u8 {
    let locals = SyslogFacility::NAMES.iter().position(|name| *name == facility.name());
    // The first of the names is `user`.
    match locals.and_then(|index| u8::try_from(index).ok()) {
        None | Some(0) => 1,
        Some(index) => 15 + index,
    }
}

fn severity_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        _ => 7,
    }
}

impl<'s> MakeWriter<'s> for Syslog {
    type Writer = Line<'s>;

    fn make_writer(&'s self) -> Line<'s> {
        Line { syslog: self, severity: severity_of(Level::INFO) }
    }

    fn make_writer_for(&'s self, about: &Metadata<'_>) -> Line<'s> {
        Line { syslog: self, severity: severity_of(*about.level()) }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let inner = &self.syslog.0;
        let (priority, ident, pid) = (inner.facility * 8 + self.severity, &inner.ident, std::process::id());
        let mut line = format!("<{priority}>{ident}[{pid}]: ").into_bytes();
        line.extend_from_slice(text.trim_ascii());
        // See the module.
        let _ = inner.socket.send_to(&line, &inner.path);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram_with_its_priority_and_nobody_there_is_no_error() {
        let dir = std::env::temp_dir().join(format!("sterna-syslog-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&dir).unwrap();
        let syslog = Syslog::open_at(&dir, "me", SyslogFacility::Local3).unwrap();
        let mut line = Line { syslog: &syslog, severity: severity_of(Level::WARN) };
        line.write_all(b" disk full\n").unwrap();
        let mut received = [0; 100];
        let n = receiver.recv(&mut received).unwrap();
        let expected = format!("<{}>me[{}]: disk full", 19 * 8 + 4, std::process::id());
        assert_eq!(String::from_utf8_lossy(&received[..n]), expected);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(line.write(b"lost\n").unwrap(), 5);
    }
}
