//! The far end of a connection that stops being HTTP.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a `101 Switching Protocols` leads to: handed from whoever opened it to the server, in the response's
/// extensions, and taken there once.
///
/// Extensions are cloned and shared by type, hence the lock; a tunnel is opened once in a connection's life.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<Box<dyn Duplex>>>>);

impl Tunnel {
    /// A tunnel to `far`.
    #[must_use]
    pub fn new(far: impl Duplex + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(far)))))
    }

    /// The far end, once.
    #[must_use]
    pub fn take(&self) -> Option<Box<dyn Duplex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
