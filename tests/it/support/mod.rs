//! What the integration tests stand on: processes, HTTP spoken byte by byte, the built binary, and other people's
//! Cognito. Nothing here decides whether the program is right.

pub(crate) mod browser;
pub(crate) mod clients;
pub(crate) mod emulators;
pub(crate) mod h2c;
pub(crate) mod http;
pub(crate) mod keyring;
pub(crate) mod load;
pub(crate) mod nginx;
pub(crate) mod notifications;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod shell;
pub(crate) mod stage;
pub(crate) mod terminal;
pub(crate) mod wait;
