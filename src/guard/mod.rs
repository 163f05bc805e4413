//! Who may use this proxy: the pure check of a request's head, and the identity of a local peer.
//!
//! A request that is let through goes out with a token, so a web page, another user of the machine, or a server-side
//! request forgery in a local application must not be able to make one. The check sees the head and the facts of the
//! connection, and decides; it does no I/O. [`peer`] finds out who connected, once for each connection.
//!
//! | question | who is kept out |
//! |---|---|
//! | Is the Host one of ours? | pages behind DNS rebinding |
//! | Is the peer a user on the list? | other users of the machine |
//! | Is the Origin on the list, or our own? Does Fetch Metadata say that another site asks? | other web pages, their forms, images and WebSockets |
//! | Is the client key there, and `guard.require_header`? | other machines; forged requests of local applications |

mod authority;
mod check;
mod client_key;
mod cors;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod origin;
pub mod peer;
mod refusal;
mod refusals;
mod users;

use http::HeaderName;

pub use authority::{AuthorityError, HostPattern, HostPatternError};
pub use check::{Admitted, Connection, Guard, Local, Post, Refused, Verdict};
pub use client_key::{CLIENT_KEY, ClientKey, ClientKeyError, strip};
pub use cors::Cors;
pub use origin::{Origin, OriginError};
pub use peer::Peer;
pub use refusals::{Account, Limiter, Observer, Refusals};
pub use users::{UserSpec, UserSpecError, Users, UsersError};

/// `[guard]`, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `hosts`: HOST (any port) or HOST:PORT.
    pub hosts: Vec<HostPattern>,
    /// `origins`: exact browser origins.
    pub origins: Vec<Origin>,
    /// `users`: names, uids, `self`, `any`.
    pub users: Vec<UserSpec>,
    /// The content of `client_key_file`.
    pub client_key: Option<ClientKey>,
    /// `require_header`.
    pub require_header: Option<HeaderName>,
}
