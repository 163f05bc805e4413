//! A Cognito user pool in process, over a real loopback socket: for `demo`, and for the tests.
//!
//! Owns a stand-in that keeps the rules which emulators do not: `auth_time` survives refreshes, a refresh token expires
//! when its time is over, rotation has its grace period and its reuse refusal. It speaks the protocol of AWS (`POST /`
//! with `X-Amz-Target`), so that the AWS SDK talks to it as it is, and it goes wrong on demand. [`echo`] is the upstream
//! that goes with it.
//!
//! It must not be mistaken for a place to keep users: passwords are compared as they are, and nothing is stored.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use cognito_proxy::{
//!     clock::SystemClock,
//!     devpool::{DevPool, Fault, Scope, Settings},
//! };
//!
//! let pool = DevPool::start(Settings::default(), Arc::new(SystemClock)).await?;
//! let tokens = pool.sign_in(Settings::USER, Settings::CLIENT)?;
//! pool.fail_next(1, Scope::Refresh, Fault::status(503));
//! pool.wait_for(|calls| calls.refreshed() == 1).await;
//! # drop(tokens);
//! # Ok(())
//! # }
//! ```

pub mod echo;

mod calls;
mod codes;
mod exception;
mod fault;
mod jwt;
mod keys;
mod lie;
mod listener;
mod oauth;
mod operation;
mod ops;
mod pool;
mod random;
mod server;
mod settings;
mod shared;
mod state;
mod tasks;
mod tokens;
mod totp;
mod wire;

#[cfg(test)]
mod tests;

pub use calls::{Call, Calls, Outcome};
pub use exception::Exception;
pub use fault::{Commit, Fault, Portal, Scope};
pub use keys::KeyError;
pub use lie::Lie;
pub use operation::Operation;
pub use pool::{DevPool, HeldAnswers, OldKeys, StartError, Tokens};
pub use settings::{
    AppClient, DescribeAccess, DescribedUnits, DeviceRule, Factor, Flow, Flows, HostedPages, IssuerForm, ReuseRule,
    Revocation, Rotation, SecondFactor, Settings, Standing, User, Validity,
};
pub use tokens::RotationStep;
pub use totp::application_code;
