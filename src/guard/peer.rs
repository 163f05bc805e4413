//! Who connected: the user that a local peer's process belongs to.

use std::fmt;

/// Who made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this user, on this machine.
    Uid(u32),
    /// A process on this machine whose user cannot be told: it has gone, or the kernel does not say.
    Unknown,
    /// Somebody on another machine.
    Remote,
    /// A process on this machine; the operating system names nobody's.
    Unnamed,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Unknown => f.write_str("unknown user"),
            Self::Remote => f.write_str("another machine"),
            Self::Unnamed => f.write_str("this machine"),
        }
    }
}
