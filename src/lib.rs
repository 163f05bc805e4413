//! A local proxy that injects a current Amazon Cognito token into every request, keeps it fresh, and warns before the
//! session ends.
//!
//! # Two journeys, each one way
//!
//! **A request goes down**: `listen -> server -> guard -> proxy -> inject -> forward (-> upgrade) -> respond`.
//!
//! **A token goes up**: `store -> Session -> State (owned by refresher) -> Issuer::refresh -> store.save ->
//! Publisher.publish -> CurrentToken -> inject`. Save comes before publish, so a rotated refresh token is durable
//! before anything relies on it.
//!
//! # Pure core, thin shell
//!
//! [`session`] has no I/O, no clock and no randomness; [`refresher`] is its only shell. `now` is a parameter
//! everywhere, and [`clock`] is the only reader of the machine's clocks.
//!
//! # Rooms
//!
//! A file imports files of a lower rank, or named siblings in its folder; never a circle.
//!
//! | rank | rooms |
//! |---|---|
//! | 0 | [`child`] [`clock`] [`secret`] [`systemd`] [`message`] [`reply`] [`shell`] [`tls`] [`watch`] |
//! | 1 | [`session`] |
//! | 2 | [`current`] [`cognito`] [`store`] [`listen`] [`guard`] [`metrics`] |
//! | 3 | [`refresher`] [`warn`] [`proxy`] [`server`] [`admin`] [`signin`] [`devpool`] |
//! | 4 | [`config`] |
//! | 5 | [`app`] |
//! | 6 | [`cli`] |

pub mod admin;
pub mod app;
pub mod child;
pub mod cli;
pub mod clock;
pub mod cognito;
pub mod config;
pub mod current;
pub mod devpool;
pub mod guard;
pub mod listen;
pub mod message;
pub mod metrics;
pub mod proxy;
pub mod refresher;
pub mod reply;
pub mod secret;
pub mod server;
pub mod session;
pub mod shell;
pub mod signin;
pub mod store;
pub mod systemd;
pub mod tls;
pub mod warn;
pub mod watch;
