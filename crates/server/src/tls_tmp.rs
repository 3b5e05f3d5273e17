//! tmp
use std::sync::Arc;
/// t
#[derive(Debug, thiserror::Error)]
#[error("tls")]
pub struct TlsError;
/// t
pub fn server_config(_c: &crate::config::Config) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    Err(TlsError)
}
