//! A certificate for development, so that TLS can be tried without an authority.
//!
//! ```text
//! ca.crt ──signs──► server.crt (localhost, 127.0.0.1, ::1) + server.key
//! ```
//!
//! Clients take `ca.crt` as their authority (`ca`, `ssl_ca_certs`, `--cacert`). The authority's own key is thrown away as
//! soon as it has signed, so that whoever trusts `ca.crt` trusts this one server and nothing else. The files are made
//! once for each user and used until they are about to expire.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::{TlsError, certificates, private_key};

/// Names and addresses that the certificate is valid for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a certificate is valid. A year: longer ones are refused by some clients.
const VALIDITY: Duration = DAY.saturating_mul(365);

/// A certificate that is valid for less than this is made anew.
const VALIDITY_LEFT_MIN: Duration = DAY.saturating_mul(7);

/// Clocks that are behind by up to this much accept the certificate at once.
const CLOCK_SKEW: Duration = DAY;

/// The files of a development certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The authority's certificate: what clients must trust.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's private key, readable by its owner only.
    pub key: PathBuf,
}

/// The development certificate of this user; made if there is none that is valid for another week.
///
/// It lives in `$XDG_DATA_HOME/sterna/tls`, else in `~/.local/share/sterna/tls`, else in `fallback/tls`.
pub fn self_signed(fallback: &Path) -> Result<SelfSigned, TlsError> {
    self_signed_in(&user_dir().unwrap_or_else(|| fallback.join("tls")))
}

/// The authority of this user's development certificate, if one was made.
pub fn development_authority() -> Option<PathBuf> {
    user_dir().map(|dir| dir.join("ca.crt")).filter(|path| path.is_file())
}

fn user_dir() -> Option<PathBuf> {
    let home = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = home("XDG_DATA_HOME").or_else(|| home("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("sterna/tls"))
}

fn self_signed_in(dir: &Path) -> Result<SelfSigned, TlsError> {
    let failed = |problem: String| TlsError::SelfSigned { dir: dir.to_owned(), problem };
    fs::create_dir_all(dir).map_err(|error| failed(error.to_string()))?;
    // Two servers that start at once must not mix their files.
    let name = dir.join(".lock");
    let lock = sterna_filesystem::create(&name).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| failed(format!("{}: {error}", name.display())))?;
    let files =
        SelfSigned { ca: dir.join("ca.crt"), cert: dir.join("server.crt"), key: dir.join("server.key") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if is_valid_at(&files, now) && is_valid_at(&files, now + VALIDITY_LEFT_MIN) {
        return Ok(files);
    }
    let made = make(now).map_err(|error| failed(error.to_string()))?;
    let writes =
        [(&files.key, made.key, 0o600), (&files.cert, made.cert, 0o644), (&files.ca, made.ca, 0o644)];
    for (path, text, mode) in writes {
        write(path, &text, mode).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    }
    Ok(files)
}

/// Whether a client that trusts `ca` would accept `cert` at this time since 1970, and `key` belongs to it.
fn is_valid_at(files: &SelfSigned, time: Duration) -> bool {
    let read = || {
        let ca = certificates("tls-ca-cert-file", &files.ca)?;
        let certs = certificates("tls-cert-file", &files.cert)?;
        Ok::<_, TlsError>((ca, certs, private_key("tls-key-file", &files.key)?))
    };
    let Ok((ca, certs, key)) = read() else { return false };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(ca);
    let provider = Arc::new(ring::default_provider());
    let Ok(verifier) =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()
    else {
        return false;
    };
    let time = UnixTime::since_unix_epoch(time);
    let is_accepted = |name: &str| {
        let name = ServerName::try_from(name.to_owned());
        let Some((end, between)) = certs.split_first() else { return false };
        name.is_ok_and(|name| verifier.verify_server_cert(end, between, &name, &[], time).is_ok())
    };
    NAMES.into_iter().all(is_accepted) && CertifiedKey::from_der(certs.clone(), key, &provider).is_ok()
}

/// PEM texts.
struct Made {
    ca: String,
    cert: String,
    key: String,
}

/// An authority, and a certificate that it signed. `now` is the time since 1970.
fn make(now: Duration) -> Result<Made, rcgen::Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let (not_before, not_after) = (epoch + now.saturating_sub(CLOCK_SKEW), epoch + now + VALIDITY);

    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Sterna development authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (not_before, not_after);
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "Sterna development server");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (not_before, not_after);
    let key = KeyPair::generate()?;
    let cert = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(Made { ca: ca_cert.pem(), cert: cert.pem(), key: key.serialize_pem() })
}

/// Writes a new file beside `path` and renames it over it, so that it is never seen half written or with other
/// permissions.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What an interrupted start left.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let options = &mut OpenOptions::new();
    let mut file = sterna_filesystem::open_with(&beside, options.write(true).create_new(true).mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn now() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    #[test]
    fn it_is_made_once_and_made_anew_when_it_is_about_to_expire_or_broken() {
        let dir = tempfile::tempdir().unwrap();
        let files = self_signed_in(dir.path()).unwrap();
        let read = || fs::read_to_string(&files.cert).unwrap();
        let first = read();
        assert!(is_valid_at(&files, now()) && !is_valid_at(&files, now() + VALIDITY + DAY));
        assert_eq!(self_signed_in(dir.path()).unwrap(), files);
        assert_eq!(read(), first, "used again");
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);

        let expiring = make(now() - VALIDITY + DAY).unwrap();
        fs::write(&files.ca, expiring.ca).unwrap();
        fs::write(&files.cert, &expiring.cert).unwrap();
        fs::write(&files.key, expiring.key).unwrap();
        assert!(is_valid_at(&files, now()));
        self_signed_in(dir.path()).unwrap();
        assert_ne!(read(), expiring.cert);

        let other = make(now()).unwrap();
        for (path, text) in [(&files.key, other.key.as_str()), (&files.ca, &other.ca), (&files.cert, "")] {
            fs::write(path, text).unwrap();
            assert!(!is_valid_at(&files, now()), "{}", path.display());
            self_signed_in(dir.path()).unwrap();
            assert!(is_valid_at(&files, now()), "{}", path.display());
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = self_signed_in(&file.join("tls")).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("tls-self-signed in {}: ", file.join("tls").display())),
            "{error}"
        );
    }

    #[test]
    fn servers_that_start_at_once_share_it() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| self_signed_in(dir.path()).unwrap());
            }
        });
        assert!(is_valid_at(&self_signed_in(dir.path()).unwrap(), now()));
    }
}
