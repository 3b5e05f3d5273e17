//! TLS: from the configuration's files to what rustls needs, and a certificate for development.
//!
//! Nothing here touches a connection. The server swaps the `Arc<ServerConfig>` that new connections take when the files
//! are read again; connections that are open keep theirs.
//!
//! Source: `tls-cert-file`, `tls-key-file`, `tls-ca-cert-file`, `tls-auth-clients` and `tls-protocols` of redis.conf.

mod self_signed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::{Config, TlsAuthClients, TlsProtocols};

pub use self_signed::{SelfSigned, development_authority, self_signed};

/// TLS 1.2 sessions kept for resumption, as `tls-session-cache-size` has it in Redis. TLS 1.3 resumes by tickets, which
/// the client keeps.
const SESSIONS_MAX: usize = 20_480;

/// Why there can be no TLS. Each is one line that names the option, and the file if there is one.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An option that must be set is not.
    #[error("{directive} must be set for TLS (or use tls-self-signed for development)")]
    Missing {
        /// The option.
        directive: &'static str,
    },
    /// A file can't be read.
    #[error("{directive} {}: {error}", .path.display())]
    Open {
        /// The option.
        directive: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what its option needs.
    #[error("{directive} {}: {problem}", .path.display())]
    Content {
        /// The option.
        directive: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is another certificate's.
    #[error("tls-key-file {} does not belong to the certificate in tls-cert-file {}", .key.display(), .cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// `tls-auth-clients` needs an authority to check certificates against.
    #[error("tls-auth-clients {0} needs tls-ca-cert-file to check clients' certificates against")]
    NoAuthority(&'static str),
    /// The development certificate can't be made or written.
    #[error("tls-self-signed in {}: {problem}", .dir.display())]
    SelfSigned {
        /// Where it was to be.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// rustls refuses what the options say together.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What of a configuration the TLS of new connections depends on, beside what the files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Certificate, key, authority.
    files: [Option<PathBuf>; 3],
    /// Where the development certificate is, if that may be used.
    self_signed_in: Option<PathBuf>,
    auth_clients: TlsAuthClients,
    protocols: TlsProtocols,
}

impl TlsOptions {
    /// `None`: TLS is not spoken.
    pub(crate) fn of(config: &Config) -> Option<TlsOptions> {
        config.has_tls_port().then(|| TlsOptions {
            files: [&config.tls_cert_file, &config.tls_key_file, &config.tls_ca_cert_file].map(Clone::clone),
            self_signed_in: config.tls_self_signed.then(|| config.dir.clone()),
            auth_clients: config.tls_auth_clients,
            protocols: config.tls_protocols,
        })
    }
}

/// What the files said that these options name. Error: why there can be no TLS, on one line.
#[derive(Debug)]
pub(crate) struct TlsRead {
    pub(crate) options: TlsOptions,
    pub(crate) tls: Result<Arc<ServerConfig>, String>,
}

impl TlsRead {
    /// Reads the files of `config`, if it has TLS.
    pub(crate) fn of(config: &Config) -> Option<TlsRead> {
        let options = TlsOptions::of(config)?;
        Some(TlsRead { options, tls: server_config(config).map_err(|error| error.to_string()) })
    }
}

/// What new TLS connections are served with. Reads the files anew at each call.
///
/// With `tls-self-signed` and no `tls-cert-file` the development certificate is used, and made if need be.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert_file, key_file) = match (&config.tls_cert_file, &config.tls_key_file) {
        (None, None) if config.tls_self_signed => {
            let made = self_signed(&config.dir)?;
            (made.cert, made.key)
        }
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        (None, _) => return Err(TlsError::Missing { directive: "tls-cert-file" }),
        (_, None) => return Err(TlsError::Missing { directive: "tls-key-file" }),
    };
    let provider = Arc::new(ring::default_provider());
    let certs = certificates("tls-cert-file", &cert_file)?;
    let key = private_key("tls-key-file", &key_file)?;
    let verifier = client_verifier(config, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions(config))?;
    let served = builder.with_client_cert_verifier(verifier).with_single_cert(certs, key);
    let mut served = served.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { key: key_file.clone(), cert: cert_file.clone() }
        }
        error @ rustls::Error::InvalidCertificate(_) => content("tls-cert-file", &cert_file, error),
        error => content("tls-key-file", &key_file, error),
    })?;
    served.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    served.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(served))
}

fn versions(config: &Config) -> Vec<&'static SupportedProtocolVersion> {
    let spoken = [(config.tls_protocols.tls12, &TLS12), (config.tls_protocols.tls13, &TLS13)];
    spoken.into_iter().filter(|(is_on, _)| *is_on).map(|(_, version)| version).collect()
}

fn client_verifier(
    config: &Config,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if config.tls_auth_clients == TlsAuthClients::No {
        return Ok(Arc::new(NoClientAuth));
    }
    let auth = config.tls_auth_clients.name();
    let file = config.tls_ca_cert_file.as_ref().ok_or(TlsError::NoAuthority(auth))?;
    let mut roots = RootCertStore::empty();
    for cert in certificates("tls-ca-cert-file", file)? {
        roots.add(cert).map_err(|error| content("tls-ca-cert-file", file, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match config.tls_auth_clients {
        TlsAuthClients::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    builder.build().map_err(|error| content("tls-ca-cert-file", file, error))
}

/// Every certificate in a PEM file; at least one.
fn certificates(directive: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(directive, path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certs = certs.map_err(|error| content(directive, path, pem_problem(error)))?;
    if certs.is_empty() {
        return Err(content(directive, path, "there is no certificate in it (PEM is expected)"));
    }
    Ok(certs)
}

/// The first private key in a PEM file: PKCS#8, PKCS#1 or SEC1.
fn private_key(directive: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(directive, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if is_encrypted(&text) => {
            content(directive, path, "the key is encrypted; it must have no passphrase")
        }
        pem::Error::NoItemsFound => {
            content(directive, path, "there is no private key in it (PEM is expected)")
        }
        error => content(directive, path, pem_problem(error)),
    })
}

/// Both forms say so: `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
fn is_encrypted(text: &[u8]) -> bool {
    const ENCRYPTED: &[u8] = b"ENCRYPTED";
    text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED)
}

/// What is wrong with a PEM file, without the bytes that the library shows as numbers.
fn pem_problem(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not well formed".to_owned(),
        error => error.to_string(),
    }
}

/// Certificates and keys, of which all that a system trusts take half a megabyte.
const FILE_BYTES_MAX: u64 = 16 << 20;

fn read(directive: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    sterna_filesystem::read(path, FILE_BYTES_MAX).map_err(|error| TlsError::Open {
        directive,
        path: path.to_owned(),
        error,
    })
}

fn content(directive: &'static str, path: &Path, problem: impl ToString) -> TlsError {
    TlsError::Content { directive, path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsProtocols;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection};
    use std::fs;
    use tempfile::TempDir;

    /// As OpenSSL 1 locks keys; since 3 the words stand in the marker.
    const LOCKED: &str =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";

    /// A directory with a certificate for `localhost`, its key, and another key.
    struct Files {
        dir: TempDir,
        cert: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    }

    impl Files {
        fn new() -> Files {
            let dir = tempfile::tempdir().unwrap();
            let key = KeyPair::generate().unwrap();
            let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            fs::write(dir.path().join("cert"), cert.pem()).unwrap();
            fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
            fs::write(dir.path().join("other"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
            fs::write(dir.path().join("empty"), "").unwrap();
            fs::write(dir.path().join("cut"), &cert.pem()[..200]).unwrap();
            fs::write(dir.path().join("locked"), LOCKED).unwrap();
            Files {
                dir,
                cert: cert.der().clone(),
                key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            }
        }

        fn config(&self, cert: &str, key: &str, ca: &str, auth: TlsAuthClients) -> Config {
            let path = |name: &str| (!name.is_empty()).then(|| self.dir.path().join(name));
            Config {
                tls_cert_file: path(cert),
                tls_key_file: path(key),
                tls_ca_cert_file: path(ca),
                tls_auth_clients: auth,
                ..Config::default()
            }
        }

        fn client(&self, shows_certificate: bool) -> Arc<ClientConfig> {
            let mut roots = RootCertStore::empty();
            roots.add(self.cert.clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            Arc::new(if shows_certificate {
                builder.with_client_auth_cert(vec![self.cert.clone()], self.key.clone_key()).unwrap()
            } else {
                builder.with_no_client_auth()
            })
        }
    }

    /// Shakes hands in memory and answers one byte; what was agreed on, or the first error.
    fn shake(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> Result<(ProtocolVersion, HandshakeKind), String> {
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let mut client =
            ClientConnection::new(Arc::clone(client), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut wire = Vec::new();
        while client.wants_write() || server.wants_write() {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
        Ok((server.protocol_version().unwrap(), client.handshake_kind().unwrap()))
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_option_and_file() {
        let files = Files::new();
        let rows = [
            ("", "key", "cert", "tls-cert-file must be set for TLS (or use tls-self-signed for development)"),
            ("cert", "", "cert", "tls-key-file must be set for TLS (or use tls-self-signed for development)"),
            ("gone", "key", "cert", "tls-cert-file DIR/gone: No such file or directory (os error 2)"),
            ("cert", "gone", "cert", "tls-key-file DIR/gone: No such file or directory (os error 2)"),
            ("cert", "key", "gone", "tls-ca-cert-file DIR/gone: No such file or directory (os error 2)"),
            (
                "empty",
                "key",
                "cert",
                "tls-cert-file DIR/empty: there is no certificate in it (PEM is expected)",
            ),
            ("key", "key", "cert", "tls-cert-file DIR/key: there is no certificate in it (PEM is expected)"),
            (
                "cert",
                "cert",
                "cert",
                "tls-key-file DIR/cert: there is no private key in it (PEM is expected)",
            ),
            (
                "cert",
                "locked",
                "cert",
                "tls-key-file DIR/locked: the key is encrypted; it must have no passphrase",
            ),
            ("cut", "key", "cert", "tls-cert-file DIR/cut: a section has no END line"),
            (
                "cert",
                "other",
                "cert",
                "tls-key-file DIR/other does not belong to the certificate in tls-cert-file DIR/cert",
            ),
            (
                "cert",
                "key",
                "",
                "tls-auth-clients yes needs tls-ca-cert-file to check clients' certificates against",
            ),
            (
                "cert",
                "key",
                "empty",
                "tls-ca-cert-file DIR/empty: there is no certificate in it (PEM is expected)",
            ),
        ];
        for (cert, key, ca, expected) in rows {
            let error =
                server_config(&files.config(cert, key, ca, TlsAuthClients::Yes)).unwrap_err().to_string();
            assert_eq!(error.replace(files.dir.path().to_str().unwrap(), "DIR"), expected);
        }
    }

    #[test]
    fn clients_are_asked_for_certificates_as_configured() {
        let files = Files::new();
        let rows = [
            (TlsAuthClients::No, false, true),
            (TlsAuthClients::Optional, false, true),
            (TlsAuthClients::Optional, true, true),
            (TlsAuthClients::Yes, true, true),
            (TlsAuthClients::Yes, false, false),
        ];
        for (auth, shows, gets_in) in rows {
            let server = server_config(&files.config("cert", "key", "cert", auth)).unwrap();
            let result = shake(&server, &files.client(shows));
            assert_eq!(result.is_ok(), gets_in, "{auth:?} {shows} {result:?}");
        }
        let stranger = Files::new();
        let server = server_config(&files.config("cert", "key", "cert", TlsAuthClients::Optional)).unwrap();
        let mut client = ClientConfig::clone(&files.client(false));
        client.client_auth_cert_resolver = Arc::clone(&stranger.client(true).client_auth_cert_resolver);
        assert!(shake(&server, &Arc::new(client)).is_err(), "a certificate that is shown must be right");
    }

    #[test]
    fn only_the_configured_versions_are_spoken_and_sessions_are_resumed() {
        let files = Files::new();
        let rows = [
            (true, true, ProtocolVersion::TLSv1_3),
            (true, false, ProtocolVersion::TLSv1_2),
            (false, true, ProtocolVersion::TLSv1_3),
        ];
        for (tls12, tls13, expected) in rows {
            let mut config = files.config("cert", "key", "", TlsAuthClients::No);
            config.tls_protocols = TlsProtocols { tls12, tls13 };
            let (server, client) = (server_config(&config).unwrap(), files.client(false));
            let (version, first) = shake(&server, &client).unwrap();
            assert_eq!((version, first), (expected, HandshakeKind::Full));
            let (version, second) = shake(&server, &client).unwrap();
            assert_eq!((version, second), (expected, HandshakeKind::Resumed));
        }
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let files = Files::new();
        let forms = [("pkcs8", "PRIVATE KEY"), ("sec1", "EC PRIVATE KEY"), ("pkcs1", "RSA PRIVATE KEY")];
        for (name, label) in forms {
            let path = files.dir.path().join(name);
            fs::write(&path, format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n")).unwrap();
            let key = private_key("tls-key-file", &path).unwrap();
            let read = match key {
                PrivateKeyDer::Pkcs8(_) => "pkcs8",
                PrivateKeyDer::Sec1(_) => "sec1",
                PrivateKeyDer::Pkcs1(_) => "pkcs1",
                _ => "unknown",
            };
            assert_eq!(read, name);
        }
    }
}
