//! TLS for tests: authorities, certificates, and a client that trusts one of them.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    StreamOwned, SupportedCipherSuite,
};

use crate::client::{Client, Transport};
use crate::server::PATIENCE;

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate: Certificate = params.self_signed(&key).expect("it can be signed");
        Authority { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for `127.0.0.1`.
    pub fn identity(&self) -> Identity {
        let params =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a valid name");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Transport for Stream {
    fn set_read_patience(&self, patience: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(patience))
    }

    fn finish(&self) -> io::Result<()> {
        self.sock.shutdown(Shutdown::Write)
    }
}

/// Connects to `port`, trusting `authority` alone, and shakes hands. Errors: either side refuses.
pub fn connect(port: u16, authority: &Authority, identity: Option<&Identity>) -> io::Result<Client> {
    Ok(Client::over(shake_hands(port, config_for(authority, identity))?))
}

/// As [`connect`], for other protocols.
pub fn stream(port: u16, authority: &Authority) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    shake_hands(port, config_for(authority, None))
}

/// A peer that sends records without content, as no library does.
pub struct Hollow {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    /// Number of the next record.
    sequence: u64,
}

impl Hollow {
    /// Connects to `port`, and shakes hands as others do.
    pub fn connect(port: u16, authority: &Authority) -> io::Result<Hollow> {
        let mut config = config_for(authority, None);
        config.enable_secret_extraction = true;
        let stream = shake_hands(port, config)?;
        let Some(SupportedCipherSuite::Tls13(suite)) = stream.conn.negotiated_cipher_suite() else {
            return Err(io::Error::other("not TLS 1.3"));
        };
        let (sequence, secrets) = stream.conn.dangerous_extract_secrets().map_err(io::Error::other)?.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            return Err(io::Error::other("a cipher that is not known here"));
        };
        let encrypter = suite.aead_alg.encrypter(key, iv);
        Ok(Hollow { socket: stream.sock, encrypter, sequence })
    }

    /// Sends so many of them.
    pub fn send(&mut self, records: usize) -> io::Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..records {
            let record = OutboundPlainMessage {
                typ: ContentType::ApplicationData,
                version: ProtocolVersion::TLSv1_2,
                payload: OutboundChunks::Single(&[]),
            };
            let sealed = self.encrypter.encrypt(record, self.sequence).map_err(io::Error::other)?;
            bytes.extend(sealed.encode());
            self.sequence += 1;
        }
        self.socket.write_all(&bytes)
    }
}

fn config_for(authority: &Authority, identity: Option<&Identity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate_of(&authority.pem)).expect("the authority's certificate is one");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default protocol versions")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(vec![certificate_of(&identity.certificate)], key_of(&identity.key))
            .expect("the certificate and its key belong together"),
    }
}

fn shake_hands(port: u16, config: ClientConfig) -> io::Result<Stream> {
    let name = ServerName::try_from("127.0.0.1").expect("an address is a valid name");
    let session = ClientConnection::new(Arc::new(config), name).expect("the configuration is sound");
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn certificate_of(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM")
}

fn key_of(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key in PEM")
}
