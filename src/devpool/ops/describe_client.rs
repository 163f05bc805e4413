//! `DescribeUserPoolClient`: the one call that reveals the validities, and that wants AWS credentials.

use serde_json::{Value, json};

use super::{answer::Answer, fields::required};
use crate::devpool::{
    exception::Exception,
    operation::Signed,
    settings::{AppClient, DescribeAccess, DescribedUnits, Flow, Revocation, Rotation},
    state::Pool,
};

pub(super) fn call(pool: &Pool, request: &Value, signed: Signed) -> Result<Answer, Exception> {
    if signed == Signed::No {
        return Err(Exception::new("MissingAuthenticationTokenException", "Missing Authentication Token"));
    }
    let pool_id = required(request, "UserPoolId")?;
    let client_id = required(request, "ClientId")?;
    if pool.settings.describe == DescribeAccess::Denied {
        return Err(Exception::new(
            "AccessDeniedException",
            format!(
                "User: arn:aws:iam::123456789012:user/dev is not authorized to perform: \
                 cognito-idp:DescribeUserPoolClient on resource: {pool_id} because no identity-based policy allows \
                 the cognito-idp:DescribeUserPoolClient action"
            ),
        ));
    }
    if pool_id != pool.settings.id {
        return Err(Exception::new("ResourceNotFoundException", format!("User pool {pool_id} does not exist.")));
    }
    Ok(Answer::Json(json!({"UserPoolClient": description(pool_id, pool.client(client_id)?)})))
}

fn description(pool_id: &str, client: &AppClient) -> Value {
    let validity = client.validity;
    let (id, access, refresh) = match client.units {
        DescribedUnits::Seconds => (validity.id.as_secs(), validity.access.as_secs(), validity.refresh.as_secs()),
        DescribedUnits::Absent => (
            validity.id.as_secs().div_ceil(3600),
            validity.access.as_secs().div_ceil(3600),
            validity.refresh.as_secs().div_ceil(86_400),
        ),
    };
    let mut flows = Vec::new();
    if client.flows.password == Flow::Allowed {
        flows.push("ALLOW_USER_PASSWORD_AUTH");
    }
    if client.flows.srp == Flow::Allowed {
        flows.push("ALLOW_USER_SRP_AUTH");
    }
    if client.flows.choice == Flow::Allowed {
        flows.push("ALLOW_USER_AUTH");
    }
    if client.flows.refresh == Flow::Allowed {
        flows.push("ALLOW_REFRESH_TOKEN_AUTH");
    }
    let mut description = json!({
        "UserPoolId": pool_id,
        "ClientName": client.id,
        "ClientId": client.id,
        "IdTokenValidity": id,
        "AccessTokenValidity": access,
        "RefreshTokenValidity": refresh,
        "ExplicitAuthFlows": flows,
        "EnableTokenRevocation": client.revocation == Revocation::Enabled,
    });
    if client.units == DescribedUnits::Seconds {
        description["TokenValidityUnits"] =
            json!({"IdToken": "seconds", "AccessToken": "seconds", "RefreshToken": "seconds"});
    }
    if let Rotation::On { grace } = client.rotation {
        description["RefreshTokenRotation"] = json!({"Feature": "ENABLED", "RetryGracePeriodSeconds": grace.as_secs()});
    }
    description
}
