//! Requests to S3: a connection each, over TLS where the address says so. What a request is, and how it is signed, `object_store` knows.
//!
//! A snapshot is a few requests of some megabytes, so connections are not kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Until the head of an answer is there, the request's bytes among it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<ClientConfig>);

impl Connector {
    /// Trusts what the system trusts.
    pub(super) fn new() -> Result<Connector, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Connector(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let connect = |error| HttpError::new(HttpErrorKind::Connect, error);
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(connect)?;
        if !is_tls {
            return send(socket, request).await;
        }
        let name =
            ServerName::try_from(host).map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
        send(TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await.map_err(connect)?, request)
            .await
    }
}

async fn send<S>(socket: S, mut request: HttpRequest) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Ok(path) = path.parse::<Uri>() {
        *request.uri_mut() = path;
    }
    let failed = |error| HttpError::new(HttpErrorKind::Request, error);
    let (mut sender, connection) =
        http1::handshake::<_, HttpRequestBody>(TokioIo::new(socket)).await.map_err(failed)?;
    // It ends with the answer's body; what goes wrong is said there.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
    let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
    Ok(Response::from_parts(head, HttpResponseBody::new(body)))
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Connector {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_TIME_MAX, self.answer(request)).await {
                Ok(answer) => answer,
                Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
            }
        })
    }
}
