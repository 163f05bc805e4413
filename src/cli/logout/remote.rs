//! What a logout does at Cognito, and what keeps it from that.

use std::fmt;

use super::{
    super::{Exit, cognito, keeping, offline, running, verdict},
    LogoutArgs,
};
use crate::{
    admin::client::{Client, ClientError},
    app,
    cognito::{
        sign_out::{self, SIGN_OUT_SCOPE, SignOutError},
        verify,
    },
    config::Config,
    secret::Secret,
    session::{Failure, Origin, Session, TokenKind},
};

/// What is to be done for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// End it.
    Revoke,
    /// Leave it.
    Keep(Why),
}

/// Why a session goes on at Cognito.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// `--keep-remote`.
    Asked,
    /// It was not `login` that obtained it.
    Shared(Origin),
    /// It is not of the configured pool and client, and nothing of it is sent anywhere.
    OtherClient,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("so --keep-remote says"),
            Self::Shared(Origin::Credential) => {
                f.write_str("its token came as a credential, and others may share it; --revoke ends it")
            }
            Self::Shared(_) => f.write_str("its token was imported, and others share it; --revoke ends it"),
            Self::OtherClient => f.write_str("it is of another user pool or app client than the configured one"),
        }
    }
}

/// When a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By this command.
    Now,
    /// Cognito did not know it any more.
    Before,
}

/// Why Cognito still knows the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    SignOut(#[from] SignOutError),
    #[error("the access token lacks the scope {SIGN_OUT_SCOPE}, without which a user cannot be signed out everywhere")]
    Scope,
    #[error("there is no access token to sign out everywhere with: {0}")]
    NoAccessToken(String, Exit),
    #[error("the session has ended, and cannot sign its user out everywhere any more")]
    SignedOut,
}

impl Error {
    /// What mends it, where that can be said.
    pub(super) fn fix(&self) -> Option<String> {
        match self {
            Self::SignOut(SignOutError::RevocationDisabled { .. }) => {
                Some("enable token revocation for the app client (EnableTokenRevocation), or use --keep-remote".into())
            }
            Self::SignOut(SignOutError::Failed(Failure::Setting { setting, .. })) => Some(setting.fix().into()),
            Self::Scope => Some(format!(
                "list {SIGN_OUT_SCOPE:?} in cognito.scopes, allow it for the app client, sign in again, and log out again"
            )),
            Self::SignedOut => Some("sign in again, then log out with --global".into()),
            Self::SignOut(SignOutError::Failed(_)) | Self::NoAccessToken(..) => None,
        }
    }

    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::SignOut(SignOutError::RevocationDisabled { .. }) | Self::Scope => Exit::Config,
            Self::SignOut(SignOutError::Failed(failure)) => verdict::of_failure(failure),
            Self::NoAccessToken(_, exit) => *exit,
            Self::SignedOut => Exit::SignInNeeded,
        }
    }
}

/// What is to be done for `stored`: what `login` obtained is ours to end, everything else is others' too.
pub(super) fn chosen(args: &LogoutArgs, stored: Option<&Session>, config: &Config) -> Deed {
    let Some(session) = stored else { return Deed::Keep(Why::Asked) };
    let is_ours = session.client_id == config.cognito.client_id && session.user_pool_id == config.cognito.user_pool_id;
    if args.keep_remote {
        Deed::Keep(Why::Asked)
    } else if !is_ours {
        Deed::Keep(Why::OtherClient)
    } else if args.revoke || session.origin == Origin::Login {
        Deed::Revoke
    } else {
        Deed::Keep(Why::Shared(session.origin))
    }
}

/// Ends one session.
pub(super) async fn revoke(config: &Config, session: &Session) -> Result<Result<Ended, Error>, keeping::Error> {
    let transport = cognito::transport()?;
    Ok(ended(sign_out::revoke(&config.cognito, transport, &session.refresh_token).await))
}

/// Ends every session of the user, with an access token of this one.
pub(super) async fn sign_out_everywhere(config: &Config, is_running: bool) -> Result<Ended, Error> {
    let access_token = access_token(config, is_running).await?;
    let scope = verify::text_claim(access_token.expose(), "scope").unwrap_or_default();
    if !scope.split(' ').any(|scope| scope == SIGN_OUT_SCOPE) {
        return Err(Error::Scope);
    }
    let transport = cognito::transport().map_err(|error| Error::NoAccessToken(error.to_string(), error.exit()))?;
    ended(sign_out::sign_out_everywhere(&config.cognito, transport, &access_token).await)
}

async fn access_token(config: &Config, is_running: bool) -> Result<Secret, Error> {
    let none = |text: String, exit| match exit {
        Exit::SignInNeeded => Error::SignedOut,
        exit => Error::NoAccessToken(text, exit),
    };
    if is_running {
        let client = Client::new(app::socket_path(config));
        match client.token(TokenKind::Access, None).await {
            Ok(token) => return Ok(token.jwt),
            // It has just ended.
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => return Err(none(error.to_string(), running::exit_of(&error))),
        }
    }
    let token = offline::token(config, TokenKind::Access, None).await;
    token.map(|token| token.jwt).map_err(|error| none(error.to_string(), offline::exit_of(&error)))
}

/// A session that Cognito does not know any more has ended.
fn ended(result: Result<(), SignOutError>) -> Result<Ended, Error> {
    match result {
        Ok(()) => Ok(Ended::Now),
        Err(SignOutError::Failed(Failure::Terminal { .. } | Failure::Ambiguous { .. })) => Ok(Ended::Before),
        Err(error) => Err(error.into()),
    }
}
