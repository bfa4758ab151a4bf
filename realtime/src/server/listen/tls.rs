//! TLS in front of HTTP: a certificate that can be replaced while connections are open.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

/// Names of protocols in a handshake (RFC 7301; RFC 9113, section 3.1).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// Encrypted bytes that may wait for the kernel. With rustls' default of 64 KiB so many bytes of outdated messages would
/// wait for a client of a socket that stops reading.
const BUFFER: usize = 16 * 1024;

/// The TLS of a server: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 (ALPN), one certificate for every host name. Cheap to
/// clone; all clones have the same certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// For refusals, which are answered over HTTP/1.1.
    refusing: Arc<ServerConfig>,
}

/// The files of a certificate, and what they held when they were last read.
#[derive(Debug)]
struct Current {
    certificate: PathBuf,
    key: PathBuf,
    /// A std lock: it is held for one assignment.
    pair: RwLock<Arc<CertifiedKey>>,
}

/// Why a certificate and its key cannot be used: a clause that names the file, for a sentence of the caller's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl Tls {
    /// Reads a certificate and its private key, both in PEM. The file of the certificate begins with the server's own,
    /// and those of its issuers follow. Blocks while the files are read.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let pair = read_pair(certificate, key, &provider)?;
        let current = Arc::new(Current {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            pair: RwLock::new(pair.into()),
        });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS cannot be set up ({error})")))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            current,
            config: speaking(&[HTTP_2, HTTP_1]),
            refusing: speaking(&[HTTP_1]),
        })
    }

    /// Reads the files again. New connections get the new certificate, and open ones are not affected. After an error
    /// the old certificate stays in use. Blocks while the files are read.
    pub fn reload(&self) -> Result<(), TlsError> {
        let current = &self.current;
        let provider = self.config.crypto_provider();
        let pair = read_pair(&current.certificate, &current.key, provider)?;
        *current.pair.write().unwrap_or_else(PoisonError::into_inner) = pair.into();
        Ok(())
    }

    /// The server's own certificate, as new connections get it.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.current.pair().cert.first().cloned()
    }

    /// Makes the handshake with a client.
    pub(super) async fn accept<T>(&self, transport: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        handshake(&self.config, transport).await
    }

    /// Makes the handshake with a client whose requests will be refused over HTTP/1.1.
    pub(super) async fn accept_to_refuse<T>(&self, transport: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        handshake(&self.refusing, transport).await
    }
}

async fn handshake<T>(config: &Arc<ServerConfig>, transport: T) -> io::Result<TlsStream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    TlsAcceptor::from(config.clone())
        .accept_with(transport, |session| {
            session.set_buffer_limit(Some(BUFFER));
        })
        .await
}

impl Current {
    fn pair(&self) -> Arc<CertifiedKey> {
        self.pair
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair())
    }
}

fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| no_pem(certificate))?;
    if chain.is_empty() {
        return Err(TlsError(format!(
            "the file {} holds no certificate in PEM, where the server's own is expected, then those of its issuers",
            certificate.display()
        )));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError(format!(
            "the file {} holds no private key in PEM, where one in PKCS #8, PKCS #1 or SEC 1 without a password is expected",
            key.display()
        )),
        _ => no_pem(key),
    })?;
    let (certificate, key) = (certificate.display(), key.display());
    CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        TlsError(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the private key in {key} does not belong to the first certificate in {certificate}"
            ),
            error => format!(
                "the certificate in {certificate} and the private key in {key} cannot be read ({error})"
            ),
        })
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| {
        TlsError(format!(
            "the file {} cannot be read ({error})",
            file.display()
        ))
    })
}

fn no_pem(file: &Path) -> TlsError {
    TlsError(format!(
        "the file {} is no valid PEM: a BEGIN line has no END line, or what stands between them is not base64",
        file.display()
    ))
}
