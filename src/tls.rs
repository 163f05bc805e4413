//! How this program speaks TLS as a client: one stack, the operating system's trust store, never unverified.

use std::path::{Path, PathBuf};

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
}

/// The TLS client settings: the operating system's trust store, `ca_file` beside it, and a client certificate where
/// `identity` names one (certificate chain, private key; both PEM). No ALPN is set: that is the caller's.
pub fn client_config(ca_file: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<rustls::ClientConfig, Error> {
    let _ = (ca_file, identity);
    Err(Error::File { path: PathBuf::new(), problem: "not written yet".into() })
}
