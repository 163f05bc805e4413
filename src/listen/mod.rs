//! Addresses: their grammar, claiming them, and accepting on them.
//!
//! Owns every socket that this program listens on, and the locks that keep a second instance off the same address.
//! Does not read a byte: what a connection says is `server`'s.

mod address;
mod alarm;
mod bind;
mod claim;
mod holder;
mod passed;
mod rewind;
mod seats;
mod socket;
mod stream;
mod tunnel;

pub use self::{
    address::{Address, AddressError},
    alarm::Alarm,
    bind::{Bound, Owner, bind},
    claim::{Error, Holder},
    passed::Passed,
    rewind::Rewind,
    seats::Seats,
    socket::{BoundListener, Connection, Endpoint, Listener, Local, Peer},
    stream::Stream,
    tunnel::{Duplex, Tunnel},
};

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
