//! How this program speaks TLS as a client: one stack, the operating system's trust store, never unverified.
//!
//! Owns the one `rustls` client configuration that every outgoing connection starts from. There is no option to skip
//! verification, and this file is the only one that may say `dangerous()`: rustls calls every verifier that it did not
//! build itself by that name, the operating system's with one more root in it included.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, or holds no PEM of the kind that it should.
    #[error("{path}: {problem}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system has no usable trust store.
    #[error("no trusted root certificates: {0}; install the system's CA certificates, or name a file in SSL_CERT_FILE")]
    TrustStore(#[source] rustls::Error),
    /// The cryptographic library refuses the protocol versions.
    #[error("TLS cannot be set up: {0}")]
    Library(#[source] rustls::Error),
}

/// The TLS client settings: the operating system's trust store, `ca_file` beside it, and a client certificate where
/// `identity` names one (certificate chain, private key; both PEM). No ALPN is set: that is the caller's.
///
/// The trust store is read from disk, some hundred kilobytes: once for each configuration, not for each connection. On
/// Linux `SSL_CERT_FILE` and `SSL_CERT_DIR` take its place, as they do for OpenSSL.
pub fn client_config(ca_file: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Library)?;
    let builder = match ca_file {
        Some(path) => with_more_roots(builder, certificates(path)?, path, provider)?,
        None => builder.with_platform_verifier().map_err(Error::TrustStore)?,
    };
    match identity {
        Some((chain, key)) => with_identity(builder, chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The platform's verifier with `roots` beside its own.
fn with_more_roots(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    roots: Vec<CertificateDer<'static>>,
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let mut trial = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        trial
            .add(root.clone())
            .map_err(|error| file(path, format!("certificate {} cannot be a trusted root: {error}", index + 1)))?;
    }
    let verifier = Verifier::new_with_extra_roots(roots, provider).map_err(Error::TrustStore)?;
    // The one `dangerous()` of this program: it verifies all that the platform's own verifier does.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    chain: &Path,
    key: &Path,
) -> Result<ClientConfig, Error> {
    let certificates = certificates(chain)?;
    let private_key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => file(key, "no private key in PEM form in it (BEGIN PRIVATE KEY)"),
        error => file(key, format!("not a PEM file: {error}")),
    })?;
    builder.with_client_auth_cert(certificates, private_key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => file(key, format!("not the private key of {}", chain.display())),
        error @ rustls::Error::InvalidCertificate(_) => file(chain, format!("not a usable certificate: {error}")),
        error => file(key, format!("not a usable private key: {error}")),
    })
}

/// All the certificates in the PEM file `path`; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| file(path, format!("not a PEM file: {error}")))?;
    if found.is_empty() {
        return Err(file(path, "no certificate in PEM form in it (BEGIN CERTIFICATE)"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| file(path, format!("cannot be read: {error}")))
}

fn file(path: &Path, problem: impl Into<String>) -> Error {
    Error::File { path: path.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        process::Command,
        thread,
    };

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
    use rustls::{ServerConfig, ServerConnection, StreamOwned, server::WebPkiClientVerifier};
    use tempfile::TempDir;

    use super::*;

    /// A certificate authority of our own, its certificate in a file.
    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        dir: TempDir,
    }

    impl Authority {
        fn named(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let issuer = CertifiedIssuer::self_signed(params, key).expect("self-signed");
            let dir = tempfile::tempdir().expect("a directory");
            fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
            Self { issuer, dir }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("ca.pem")
        }

        fn issue(&self, name: &str, until: i32) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            let key = KeyPair::generate().expect("a key");
            (params.signed_by(&key, &self.issuer).expect("signed"), key)
        }

        /// A certificate and its key as two files.
        fn identity(&self, name: &str) -> (PathBuf, PathBuf) {
            let (certificate, key) = self.issue(name, 2100);
            let chain = self.dir.path().join(format!("{name}.pem"));
            let private = self.dir.path().join(format!("{name}.key"));
            fs::write(&chain, certificate.pem()).expect("written");
            fs::write(&private, key.serialize_pem()).expect("written");
            (chain, private)
        }

        /// A server for `name` that takes one connection, echoes five bytes, and then says what it read.
        fn serve(&self, name: &str, until: i32, clients: bool) -> (u16, thread::JoinHandle<Vec<u8>>) {
            let (certificate, key) = self.issue(name, until);
            let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions");
            let builder = if clients {
                let mut roots = RootCertStore::empty();
                roots.add(self.issuer.der().clone()).expect("a root");
                let provider = Arc::new(aws_lc_rs::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            } else {
                builder.with_no_client_auth()
            };
            let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            let config = builder.with_single_cert(vec![certificate.der().clone()], private).expect("a server");
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let server = thread::spawn(move || {
                let (tcp, _) = listener.accept().expect("a connection");
                let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
                let mut stream = StreamOwned::new(connection, tcp);
                let mut seen = [0; 5];
                if stream.read_exact(&mut seen).is_err() {
                    return Vec::new();
                }
                drop(stream.write_all(&seen));
                seen.to_vec()
            });
            (port, server)
        }
    }

    /// Sends five bytes to `localhost` and gives back the echo.
    fn call(config: ClientConfig, port: u16) -> std::io::Result<Vec<u8>> {
        let name = "localhost".try_into().expect("a name");
        let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
        stream.write_all(b"hello")?;
        let mut echo = vec![0; 5];
        stream.read_exact(&mut echo)?;
        Ok(echo)
    }

    #[test]
    fn a_server_of_a_ca_in_ca_file_is_trusted() {
        let authority = Authority::named("ours");
        let (port, server) = authority.serve("localhost", 2100, false);
        let config = client_config(Some(&authority.file()), None).expect("a configuration");
        assert_eq!(call(config, port).expect("an echo"), b"hello");
        assert_eq!(server.join().expect("served"), b"hello");
    }

    #[test]
    fn unknown_expired_and_misnamed_servers_get_not_one_byte() {
        let (ours, other) = (Authority::named("ours"), Authority::named("other"));
        for (trusted, name, until, expected) in [
            (None, "localhost", 2100, "UnknownIssuer"),
            (Some(other.file()), "localhost", 2100, "UnknownIssuer"),
            (Some(ours.file()), "localhost", 2020, "expired"),
            (Some(ours.file()), "example.com", 2100, "not valid for name"),
        ] {
            let (port, server) = ours.serve(name, until, false);
            let config = client_config(trusted.as_deref(), None).expect("a configuration");
            let error = call(config, port).expect_err("refused").to_string();
            assert!(error.contains(expected), "{name} {until}: {error}");
            assert_eq!(server.join().expect("ended"), b"", "{name} {until}");
        }
    }

    #[test]
    fn a_client_certificate_is_shown_to_a_server_that_asks() {
        let authority = Authority::named("ours");
        let (chain, key) = authority.identity("client");
        for (identity, accepted) in [(Some((chain.as_path(), key.as_path())), true), (None, false)] {
            let (port, server) = authority.serve("localhost", 2100, true);
            let config = client_config(Some(&authority.file()), identity).expect("a configuration");
            assert_eq!(call(config, port).is_ok(), accepted);
            assert_eq!(server.join().expect("ended").is_empty(), !accepted);
        }
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong_with_it() {
        let authority = Authority::named("ours");
        let (chain, key) = authority.identity("one");
        let (_, other_key) = authority.identity("two");
        let dir = authority.dir.path();
        let (missing, empty, torn) = (dir.join("missing"), dir.join("empty"), dir.join("torn"));
        fs::write(&empty, "just text\n").expect("written");
        fs::write(&torn, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
        let ca = authority.file();
        for (ca, identity, path, words) in [
            (&missing, None, &missing, "cannot be read"),
            (&empty, None, &empty, "no certificate"),
            (&torn, None, &torn, "certificate 1 cannot be a trusted root"),
            (&key, None, &key, "no certificate"),
            (&ca, Some((&missing, &key)), &missing, "cannot be read"),
            (&ca, Some((&chain, &missing)), &missing, "cannot be read"),
            (&ca, Some((&chain, &chain)), &chain, "no private key"),
            (&ca, Some((&key, &key)), &key, "no certificate"),
            (&ca, Some((&chain, &other_key)), &other_key, "not the private key of"),
        ] {
            let identity = identity.map(|(chain, key): (&PathBuf, &PathBuf)| (chain.as_path(), key.as_path()));
            let error = client_config(Some(ca), identity).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("{}: ", path.display())) && error.contains(words), "{error}");
        }
    }

    /// The environment is read by a process of its own, since a test must not change what its neighbours share.
    #[test]
    fn ssl_cert_file_takes_the_place_of_the_systems_roots() {
        if let Some(port) = std::env::var_os("TLS_TEST_PORT") {
            let port = port.to_string_lossy().parse().expect("a port");
            let config = client_config(None, None).expect("a configuration");
            assert_eq!(call(config, port).expect("an echo"), b"hello");
            return;
        }
        let authority = Authority::named("ours");
        let (port, server) = authority.serve("localhost", 2100, false);
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "tls::tests::ssl_cert_file_takes_the_place_of_the_systems_roots"])
            .env("TLS_TEST_PORT", port.to_string())
            .env("SSL_CERT_FILE", authority.file())
            .output()
            .expect("a child");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        assert_eq!(server.join().expect("served"), b"hello");
    }
}
