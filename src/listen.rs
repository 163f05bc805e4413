//! Addresses: their grammar, claiming them, and accepting on them.

use std::path::PathBuf;

/// `[listen]`, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `proxy`.
    pub proxy: Vec<Address>,
    /// Whether nobody set `proxy`: then sockets that systemd passes take its place, and a family that the machine
    /// lacks is skipped.
    pub proxy_is_default: bool,
    /// `admin`; `None` for `"off"`.
    pub admin: Option<Address>,
    /// Whether nobody set `admin`.
    pub admin_is_default: bool,
    /// `allow_remote`.
    pub allow_remote: bool,
}

/// One address of the grammar `HOST:PORT | unix:PATH | systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `systemd:NAME`: every socket passed under that `FileDescriptorName`.
    Systemd(String),
}
