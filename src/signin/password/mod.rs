//! Signing in with a password at the user pools API: a dialogue of which only the decisions are here.
//!
//! [`Dialogue::step`] takes what was heard (from Cognito, or from the person) and says what to do next: tell the person
//! something, ask something, send a call, or stop. It has no I/O, reads no clock and draws no random numbers: `now` and
//! [`Chance`] are parameters. `cli` is its shell.
//!
//! # Which way
//!
//! SRP first, so that the password never leaves this machine. Where the app client does not allow that, the choice-based
//! flow, in which SRP is preferred again; where it does not know that either, the password is sent, inside TLS, and a
//! notice says so.

mod chance;
mod dialogue;
mod words;

use std::fmt;

pub use chance::Chance;
pub use dialogue::Dialogue;

use super::Obtained;
use crate::{
    cognito::{
        challenge::{Call, Reply},
        refusal::Refusal,
        srp,
    },
    secret::Secret,
    session::Device,
};

/// What a dialogue starts from.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The pool, whose name is part of the proof.
    pub user_pool_id: String,
    /// The user, as the person knows it: a username or an alias.
    pub username: String,
    /// The password, where it is known already.
    pub password: Option<Secret>,
    /// How many wrong passwords there may be before the dialogue fails; at least 1.
    pub passwords: u8,
    /// How a password would travel that has to be sent.
    pub wire: Wire,
    /// The device that the pool remembers, and the username that it belongs to.
    pub device: Option<KnownDevice>,
    /// What the pool's administrator sees this device called.
    pub device_name: String,
}

/// What calls to Cognito travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// TLS.
    Tls,
    /// Plain HTTP that does not leave this machine: an emulator.
    Loopback,
    /// Plain HTTP over a network: an emulator in a container. A proof may travel in it, and a password may not.
    Open,
}

/// A device that a pool remembers from an earlier sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDevice {
    /// `cognito:username` of whom it belongs to.
    pub username: String,
    /// Its key, its group and its password.
    pub device: Device,
}

/// What a dialogue hears.
#[derive(Debug)]
pub enum Event {
    /// Nothing yet.
    Begin,
    /// The person's answer to the question that was asked last.
    Answered(Secret),
    /// The person's choice among the ways of [`Question::Choice`], counted from 0.
    Chosen(usize),
    /// Cognito's answer to the call that was sent last.
    Heard(Reply),
    /// Cognito's refusal of it.
    Refused(Refusal),
}

/// What to do next: what to tell the person first, and then one step.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// To be told, in this order.
    pub notices: Vec<Notice>,
    /// To be done.
    pub step: Step,
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the person.
    Ask(Question),
    /// Call Cognito.
    Send(Box<Call>),
    /// The person is signed in.
    Done(Box<Obtained>),
    /// The person is not.
    Failed(Failed),
}

/// What a person is asked. Passwords are read without echo, the rest with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The password.
    Password {
        /// Whose.
        username: String,
    },
    /// A new password, to be typed twice.
    NewPassword,
    /// An attribute that the pool requires.
    Attribute {
        /// Its name, such as `given_name`.
        name: String,
    },
    /// A code.
    Code {
        /// Where it is to be read.
        way: Way,
        /// Where it was sent, masked by Cognito.
        destination: Option<String>,
    },
    /// One of several ways; [`Event::Chosen`] answers it.
    Choice(Vec<Way>),
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The password, proved or sent.
    Password,
    /// An authenticator application (`SOFTWARE_TOKEN_MFA`, RFC 6238).
    Application,
    /// A text message (`SMS_MFA`, `SMS_OTP`).
    TextMessage,
    /// An e-mail (`EMAIL_OTP`).
    Email,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::Application => "authenticator application",
            Self::TextMessage => "text message",
            Self::Email => "e-mail",
        })
    }
}

/// What a person is told on the way. The words are in `Display`; no notice but [`Notice::NewApplication`] holds a
/// secret, and that one shows it nowhere but in its own fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The flow that proves the password is not allowed, and the password is sent.
    PasswordIsSent(Wire),
    /// The last answer was refused; the question comes again.
    Again(Refusal),
    /// The sign-in has to begin again.
    Restarted(Refusal),
    /// The stored device is none that the pool knows.
    DeviceForgotten,
    /// The administrator set a temporary password.
    NewPasswordWanted,
    /// An authenticator application has to be set up.
    NewApplication {
        /// `otpauth://totp/…`, for a QR code.
        uri: Secret,
        /// The same secret, for typing.
        secret: Secret,
    },
    /// The pool offers a passkey, which a terminal cannot use.
    PasskeyLeftOut,
}

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Cognito said no.
    #[error("{0}")]
    Refused(Refusal),
    /// `ConfirmDevice` was refused, and without it no refresh would work.
    #[error("Cognito does not confirm this device, and without that the session could not be refreshed: {0}")]
    Device(Refusal),
    /// The challenge's numbers are not what they must be.
    #[error("Cognito's challenge is not one that can be answered: {0}")]
    Proof(#[from] srp::Error),
    /// A challenge lacks what is needed to answer it.
    #[error("Cognito's challenge {challenge} lacks {parameter}")]
    Incomplete {
        /// `ChallengeName`.
        challenge: String,
        /// What is not there.
        parameter: &'static str,
    },
    /// The password would have to be sent over a network in the clear.
    #[error(
        "the app client does not allow ALLOW_USER_SRP_AUTH, and cognito.endpoint is plain HTTP: the password would be \
         anybody's to read on the way"
    )]
    PasswordInTheClear,
    /// `CUSTOM_CHALLENGE`.
    #[error("the pool asks a question of its own (CUSTOM_CHALLENGE), which only its own application can answer")]
    CustomChallenge,
    /// `WEB_AUTHN`, and nothing else.
    #[error("the pool wants a passkey (WEB_AUTHN), which a terminal cannot use")]
    PasskeyOnly,
    /// `MFA_SETUP` without an authenticator application.
    #[error("the pool wants a second factor to be set up ({offered}), which cannot be done here")]
    SetupElsewhere {
        /// What it offers.
        offered: String,
    },
    /// A challenge of no kind that is known.
    #[error("the pool asks for {challenge}, which this version does not know")]
    UnknownChallenge {
        /// `ChallengeName`.
        challenge: String,
    },
    /// An answer that does not fit what was asked.
    #[error("Cognito gave an answer that does not belong to the question")]
    OutOfOrder,
}

impl Failed {
    /// What a person does about it.
    #[must_use]
    pub const fn fix(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) | Self::Device(refusal) => refusal.fix(),
            Self::CustomChallenge | Self::PasskeyOnly | Self::UnknownChallenge { .. } => {
                Some("sign in with a browser: cognito-proxy login --method browser")
            }
            Self::PasswordInTheClear => Some("allow ALLOW_USER_SRP_AUTH on the app client, or give an https endpoint"),
            Self::SetupElsewhere { .. } => Some("set it up in the pool's own application first"),
            Self::Proof(_) | Self::Incomplete { .. } | Self::OutOfOrder => None,
        }
    }
}
