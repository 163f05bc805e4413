//! Why the keyring did not do what it was asked to, and what a person can do about it.

use std::{io, time::Duration};

use zbus::fdo;

/// What is worth trying where nobody answers.
const OTHERWISE: &str = "or set store.kind to \"file\"";

/// How a locked keyring is unlocked.
const UNLOCK: &str =
    "unlock it by logging in to the desktop, in its own window, or with `gnome-keyring-daemon --unlock`";

/// Why the keyring did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is no bus to reach it over: a server, a container, `sudo`, a system service.
    #[error("there is no session bus to reach the keyring over ({detail}); run this in a login session, {OTHERWISE}")]
    NoBus {
        /// What was tried.
        detail: String,
    },
    /// Nobody on the bus offers the Secret Service.
    #[error("no keyring answers on the session bus ({detail}); start GNOME Keyring, KWallet or KeePassXC, {OTHERWISE}")]
    NoService {
        /// What the bus said.
        detail: String,
    },
    /// It keeps nothing by default.
    #[error("the keyring has no default collection; make one in its own window, {OTHERWISE}")]
    NoCollection,
    /// Its owner has to unlock it, and is not asked here.
    #[error("the keyring is locked; {UNLOCK}")]
    Locked,
    /// Its owner was asked to unlock it, and did not want to.
    #[error("the keyring is locked, and the question for its password was dismissed; {UNLOCK}")]
    Dismissed,
    /// Its owner was asked to unlock it, and did not answer.
    #[error(
        "the keyring is locked, and nobody answered the question for its password within {} s; {UNLOCK}",
        .waited.as_secs()
    )]
    Unanswered {
        /// How long was waited.
        waited: Duration,
    },
    /// It did not answer.
    #[error("the keyring did not {deed} within {} s; see whether it waits for its owner, or hangs", .waited.as_secs_f32())]
    TimedOut {
        /// What it was asked to do.
        deed: &'static str,
        /// How long was waited, for all that was asked of it.
        waited: Duration,
    },
    /// It says no.
    #[error("the keyring cannot {deed}: {detail}")]
    Refused {
        /// What it was asked to do.
        deed: &'static str,
        /// What it said.
        detail: String,
    },
    /// It answers in a form that the Secret Service does not have.
    #[error("the keyring was to {deed}, and answers in no form that is known ({detail})")]
    Form {
        /// What it was asked to do.
        deed: &'static str,
        /// What is wrong with the answer.
        detail: String,
    },
    /// The system refuses what is needed to ask.
    #[error("the system refuses what it takes to ask the keyring: {source}")]
    System {
        /// What it said.
        source: io::Error,
    },
}

impl KeyringError {
    /// Whether it may be otherwise in a moment, without anybody having to change anything about this machine.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Locked | Self::Dismissed | Self::Unanswered { .. } | Self::TimedOut { .. })
    }

    /// From what a call brought instead of an answer.
    pub(super) fn of_call(deed: &'static str, error: zbus::Error) -> Self {
        match error {
            zbus::Error::FDO(error) => Self::of_bus(deed, &error),
            zbus::Error::MethodError(name, ..) if name.as_str() == IS_LOCKED => Self::Locked,
            zbus::Error::MethodError(name, detail, _) => {
                Self::Refused { deed, detail: detail.unwrap_or_else(|| name.to_string()) }
            }
            error => Self::Refused { deed, detail: error.to_string() },
        }
    }

    fn of_bus(deed: &'static str, error: &fdo::Error) -> Self {
        let detail = error.to_string();
        match error {
            // The name, or a program that would take it, is not there or does not come up (D-Bus Specification,
            // "Message Bus Starting Services").
            fdo::Error::ServiceUnknown(_)
            | fdo::Error::NameHasNoOwner(_)
            | fdo::Error::SpawnExecFailed(_)
            | fdo::Error::SpawnForkFailed(_)
            | fdo::Error::SpawnChildExited(_)
            | fdo::Error::SpawnChildSignaled(_)
            | fdo::Error::SpawnFailed(_)
            | fdo::Error::SpawnFailedToSetup(_)
            | fdo::Error::SpawnConfigInvalid(_)
            | fdo::Error::SpawnServiceNotValid(_)
            | fdo::Error::SpawnServiceNotFound(_)
            | fdo::Error::SpawnPermissionsInvalid(_)
            | fdo::Error::SpawnFileInvalid(_)
            | fdo::Error::SpawnNoMemory(_) => Self::NoService { detail },
            _ => Self::Refused { deed, detail },
        }
    }
}

/// The Secret Service's own error (Secret Service API Draft, "Errors").
const IS_LOCKED: &str = "org.freedesktop.Secret.Error.IsLocked";
