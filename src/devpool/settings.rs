//! What a pool is made of: app clients, users, and the choices that AWS leaves to whoever runs one.

use std::{net::SocketAddr, time::Duration};

use super::{exception::Exception, random};
use crate::secret::Secret;

/// The scope that the user pool's own API wants of an access token.
pub(super) const ADMIN_SCOPE: &str = "aws.cognito.signin.user.admin";

/// A pool before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The pool's id; the region is what stands before the underscore.
    pub id: String,
    /// What `iss` says.
    pub issuer: IssuerForm,
    /// The app clients at start.
    pub clients: Vec<AppClient>,
    /// The users at start.
    pub users: Vec<User>,
    /// Whether a refresh wants the key of a confirmed device ("device remembering").
    pub devices: DeviceRule,
    /// What `DescribeUserPoolClient` does.
    pub describe: DescribeAccess,
    /// What the reuse of a rotated refresh token does to its descendants. AWS does not document it.
    pub reuse: ReuseRule,
    /// What `REFRESH_TOKEN_AUTH` answers where the app client does not allow it, as every rotating client does not.
    /// AWS documents the refusal and not its exception.
    pub refresh_flow_refusal: Exception,
    /// What `/oauth2/authorize` does with a sound request.
    pub hosted_pages: HostedPages,
    /// Whether a user without a second factor has to set one up (`MfaConfiguration`).
    pub second_factor: SecondFactor,
    /// What `USER_AUTH` offers, in the names of `AvailableChallenges`.
    pub first_factors: Vec<String>,
    /// How long a sign-in may take from challenge to challenge (`AuthSessionValidity`).
    pub challenge_validity: Duration,
    /// How many wrong codes close a sign-in.
    pub wrong_codes: u32,
    /// How many calls the log remembers, the latest ones.
    pub remembered_calls: usize,
}

impl Settings {
    /// The pool id of [`Settings::default`].
    pub const POOL: &str = "eu-west-1_DevPool01";
    /// The app client of [`Settings::default`]: public, with AWS's default validities.
    pub const CLIENT: &str = "4devpool0public0client0one";
    /// The username of the user of [`Settings::default`].
    pub const USER: &str = "alice";

    /// This pool with one more app client, or with another one of that id.
    #[must_use]
    pub fn with_client(mut self, client: AppClient) -> Self {
        self.clients.retain(|known| known.id != client.id);
        self.clients.push(client);
        self
    }

    /// This pool with one more user, in the place of those of that username or e-mail address: both sign in.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.users.retain(|known| known.username != user.username && known.email != user.email);
        self.users.push(user);
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            id: Self::POOL.into(),
            issuer: IssuerForm::Aws,
            clients: vec![AppClient::public(Self::CLIENT)],
            users: vec![User::new(Self::USER)],
            devices: DeviceRule::Ignored,
            describe: DescribeAccess::Denied,
            reuse: ReuseRule::RefusesTheReused,
            refresh_flow_refusal: Exception::invalid_parameter("REFRESH_TOKEN_AUTH flow not enabled for this client"),
            hosted_pages: HostedPages::Form,
            second_factor: SecondFactor::Optional,
            first_factors: ["PASSWORD_SRP", "PASSWORD", "EMAIL_OTP"].map(str::to_owned).to_vec(),
            challenge_validity: Duration::from_secs(180),
            wrong_codes: 5,
            remembered_calls: 65_536,
        }
    }
}

/// What `iss` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerForm {
    /// `https://cognito-idp.REGION.amazonaws.com/POOL`, wherever the pool really listens.
    Aws,
    /// `http://HOST:PORT/POOL`, as some emulators do.
    Endpoint,
    /// This text.
    Fixed(String),
}

/// What managed login shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostedPages {
    /// A page that asks for user name and password.
    Form,
    /// Nothing: this user is sent back at once, as where a browser has a session already.
    SignIn(String),
}

/// Whether devices matter to a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRule {
    /// They do not.
    Ignored,
    /// Each sign-in gets a device key, and a refresh without it is an "Invalid Refresh Token."
    Remembered,
}

/// What `DescribeUserPoolClient` does for a signed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeAccess {
    /// It answers.
    Granted,
    /// `AccessDeniedException`.
    Denied,
}

/// What the reuse of a rotated refresh token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseRule {
    /// `RefreshTokenReuseException`, and its descendants stay good.
    RefusesTheReused,
    /// The same, and the whole sign-in is revoked.
    RevokesTheSignIn,
}

/// An app client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppClient {
    /// `ClientId`.
    pub id: String,
    /// `ClientSecret`, where it has one.
    pub secret: Option<Secret>,
    /// How long its tokens live, to the second.
    pub validity: Validity,
    /// Refresh-token rotation.
    pub rotation: Rotation,
    /// Which flows it allows.
    pub flows: Flows,
    /// `EnableTokenRevocation`: with it tokens have `origin_jti`.
    pub revocation: Revocation,
    /// `CallbackURLs`, each to the letter.
    pub callback_urls: Vec<String>,
    /// `AllowedOAuthScopes`.
    pub scopes: Vec<String>,
    /// How `DescribeUserPoolClient` states the validities.
    pub units: DescribedUnits,
}

impl AppClient {
    /// A client without a secret, with AWS's defaults: an hour for ID and access tokens, 30 days to refresh, no
    /// rotation.
    #[must_use]
    pub fn public(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: None,
            validity: Validity::default(),
            rotation: Rotation::Off,
            flows: Flows::default(),
            revocation: Revocation::Enabled,
            callback_urls: vec!["http://localhost:8976/callback".into()],
            scopes: ["openid", "email", "phone", "profile", ADMIN_SCOPE].map(str::to_owned).to_vec(),
            units: DescribedUnits::Seconds,
        }
    }

    /// The same with a secret.
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secret = Some(Secret::from(secret));
        self
    }

    /// The same, which managed login may send back to this URL too.
    #[must_use]
    pub fn with_callback(mut self, url: &str) -> Self {
        self.callback_urls.push(url.to_owned());
        self
    }

    /// The same with other validities.
    #[must_use]
    pub fn with_validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The same with rotation, where `grace` (`RetryGracePeriodSeconds`, 0 to 60 on AWS) is how long a refresh token
    /// goes on after its first use. A rotating client does not allow `REFRESH_TOKEN_AUTH`.
    #[must_use]
    pub fn rotating(mut self, grace: Duration) -> Self {
        self.rotation = Rotation::On { grace };
        self.flows.refresh = Flow::Refused;
        self
    }
}

/// How long the tokens of an app client live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `IdTokenValidity`.
    pub id: Duration,
    /// `AccessTokenValidity`, which is also what `ExpiresIn` says.
    pub access: Duration,
    /// `RefreshTokenValidity`, reckoned from the sign-in.
    pub refresh: Duration,
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            id: Duration::from_secs(3600),
            access: Duration::from_secs(3600),
            refresh: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Refresh-token rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// One refresh token serves until the session ends.
    Off,
    /// Each refresh brings a new one.
    On {
        /// How long the old one still works after its first use.
        grace: Duration,
    },
}

/// `MfaConfiguration`, as far as it differs between users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// Whoever has one is asked for it.
    Optional,
    /// Whoever has none has to set one up (`MFA_SETUP`).
    Required,
}

/// Which flows an app client allows (`ExplicitAuthFlows`). `GetTokensFromRefreshToken` is bound to none: whether it
/// needs `ALLOW_REFRESH_TOKEN_AUTH` is not documented, and on a rotating client it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// `ALLOW_USER_PASSWORD_AUTH`.
    pub password: Flow,
    /// `ALLOW_USER_SRP_AUTH`.
    pub srp: Flow,
    /// `ALLOW_USER_AUTH`.
    pub choice: Flow,
    /// `ALLOW_REFRESH_TOKEN_AUTH`.
    pub refresh: Flow,
}

impl Default for Flows {
    fn default() -> Self {
        Self { password: Flow::Allowed, srp: Flow::Allowed, choice: Flow::Refused, refresh: Flow::Allowed }
    }
}

/// Whether a flow is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It is.
    Allowed,
    /// It is not.
    Refused,
}

/// `EnableTokenRevocation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// `RevokeToken` works.
    Enabled,
    /// `RevokeToken` is an `UnsupportedOperationException`.
    Disabled,
}

/// How `DescribeUserPoolClient` states validities: `TokenValidityUnits` may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribedUnits {
    /// With every unit, all of them seconds.
    Seconds,
    /// Without units: hours for ID and access tokens, days for refresh tokens, rounded up.
    Absent,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `cognito:username`. In pools with e-mail sign-in that is the `sub`.
    pub username: String,
    /// `sub`.
    pub sub: String,
    /// `email`, which also signs in.
    pub email: String,
    /// The password.
    pub password: Secret,
    /// Whether the user has to choose another one (`FORCE_CHANGE_PASSWORD`).
    pub is_password_temporary: bool,
    /// Required attributes that have no value yet, which come with the new password.
    pub missing_attributes: Vec<String>,
    /// Second factors, in no order of preference.
    pub factors: Vec<Factor>,
    /// The secret of an authenticator application, in base32.
    pub application: Option<Secret>,
    /// Whether the user may sign in and refresh.
    pub standing: Standing,
}

/// A second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// `SOFTWARE_TOKEN_MFA`.
    Application,
    /// `SMS_MFA`.
    TextMessage,
    /// `EMAIL_OTP`.
    Email,
}

impl User {
    /// An enabled user with a `sub` of its own, the e-mail address `USERNAME@example.com` and a random password.
    #[must_use]
    pub fn new(username: &str) -> Self {
        Self {
            username: username.to_owned(),
            sub: random::uuid(),
            email: format!("{username}@example.com"),
            password: Secret::new(format!("{}aA1!", random::uuid())),
            is_password_temporary: false,
            missing_attributes: Vec::new(),
            factors: Vec::new(),
            application: None,
            standing: Standing::Enabled,
        }
    }

    /// A user of a pool where people sign in with their e-mail address, and whose username is the `sub`.
    #[must_use]
    pub fn known_by_email(email: &str) -> Self {
        let sub = random::uuid();
        Self { username: sub.clone(), sub, email: email.to_owned(), ..Self::new(email) }
    }

    /// The same with this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = Secret::from(password);
        self
    }

    /// The same with a password that has to be changed, and these attributes that have to be given.
    #[must_use]
    pub fn with_temporary_password(mut self, password: &str, missing: &[&str]) -> Self {
        self.missing_attributes = missing.iter().map(|&name| name.to_owned()).collect();
        self.is_password_temporary = true;
        self.with_password(password)
    }

    /// The same with one more second factor.
    #[must_use]
    pub fn with_factor(mut self, factor: Factor) -> Self {
        if factor == Factor::Application && self.application.is_none() {
            self.application = Some(super::totp::new_secret());
        }
        self.factors.push(factor);
        self
    }
}

/// Whether a user may sign in and refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Enabled,
    /// "User is disabled."
    Disabled,
    /// The user is gone.
    Deleted,
    /// `PasswordResetRequiredException`.
    ResetRequired,
    /// `UserNotConfirmedException`.
    Unconfirmed,
}
