//! How an app client is set up, from the only call that reveals it: `DescribeUserPoolClient`.

use std::time::Duration;

use aws_sdk_cognitoidentityprovider::{
    Client,
    types::{FeatureType, TimeUnitsType, UserPoolClientType},
};

use super::{
    AwsCredentials, Settings,
    sdk::{self, Refused},
    transport::Transport,
};
use crate::session::{Failure, schedule::DEFAULT_VALIDITY};

/// What of an app client's settings matters to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppClient {
    /// How long refresh tokens live; `None` for a unit that is not known.
    pub refresh_validity: Option<Duration>,
    /// Where refresh tokens rotate, how long the one that was exchanged still works (0 to 60 s).
    pub rotation_grace: Option<Duration>,
    /// `ALLOW_…`, as Cognito names them.
    pub flows: Vec<String>,
}

/// Asks once, signed with `credentials`.
pub(super) async fn app_client(
    settings: &Settings,
    transport: Transport,
    credentials: &AwsCredentials,
) -> Result<Option<AppClient>, Failure> {
    let client: Client = sdk::signing_client(settings, transport, credentials);
    let call = client.describe_user_pool_client();
    let answer = call.user_pool_id(&settings.user_pool_id).client_id(&settings.client_id).send().await;
    let secrets = [Some(&credentials.secret_access_key), credentials.session_token.as_ref()];
    let secrets: Vec<&str> = secrets.into_iter().flatten().map(crate::secret::Secret::expose).collect();
    let described = answer.map_err(|error| Refused::from_sdk(&error, &secrets).failure)?;
    Ok(described.user_pool_client.as_ref().map(|client| AppClient {
        refresh_validity: validity(client),
        rotation_grace: rotation_grace(client),
        flows: client.explicit_auth_flows().iter().map(|flow| flow.as_str().to_owned()).collect(),
    }))
}

/// `RefreshTokenRotation`: without a grace period named it is none (API reference, `RefreshTokenRotationType`).
fn rotation_grace(client: &UserPoolClientType) -> Option<Duration> {
    let rotation = client.refresh_token_rotation().filter(|rotation| *rotation.feature() == FeatureType::Enabled)?;
    let seconds = rotation.retry_grace_period_seconds().unwrap_or(0);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `RefreshTokenValidity` in its unit, which is days where none is given; 0 is the default (API reference,
/// `CreateUserPoolClient`). `None` for a unit that is not known.
fn validity(client: &UserPoolClientType) -> Option<Duration> {
    let unit = client.token_validity_units().and_then(|units| units.refresh_token());
    let seconds = match unit {
        Some(TimeUnitsType::Seconds) => 1,
        Some(TimeUnitsType::Minutes) => 60,
        Some(TimeUnitsType::Hours) => 3600,
        Some(TimeUnitsType::Days) | None => 86_400,
        Some(_) => return None,
    };
    match u64::try_from(client.refresh_token_validity()).ok()? {
        0 => Some(DEFAULT_VALIDITY),
        count => Some(Duration::from_secs(count * seconds)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cognitoidentityprovider::types::TokenValidityUnitsType;

    use super::*;

    #[test]
    fn the_unit_is_days_unless_it_is_given() {
        for (count, unit, expected) in [
            (0, None, Some(30 * 86_400)),
            (1, None, Some(86_400)),
            (7, Some("days"), Some(7 * 86_400)),
            (2, Some("hours"), Some(7200)),
            (90, Some("minutes"), Some(5400)),
            (90, Some("seconds"), Some(90)),
            (1, Some("fortnights"), None),
            (-1, None, None),
        ] {
            let units = unit.map(|unit| TokenValidityUnitsType::builder().refresh_token(unit.into()).build());
            let client = UserPoolClientType::builder().refresh_token_validity(count).set_token_validity_units(units);
            assert_eq!(validity(&client.build()), expected.map(Duration::from_secs), "{count} {unit:?}");
        }
    }
}
