//! Sign-ins over time: expiry, rotation, secrets, devices.

use super::{
    super::{
        DescribeAccess, DescribedUnits, DeviceRule, Outcome, ReuseRule, RotationStep, Standing, User,
        state::secret_hash,
    },
    *,
};

#[tokio::test]
async fn a_refresh_keeps_auth_time_and_origin_and_renews_the_rest() {
    let (pool, clock) = start(Settings::default()).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let first = claims(tokens.id_token.expose());
    clock.advance(Duration::from_secs(5000));
    let answer = refresh(&pool, &tokens.refresh_token).await;
    let (id, access) = (answer.claims("IdToken"), answer.claims("AccessToken"));
    for kept in ["auth_time", "origin_jti", "sub", "iss", "aud", "cognito:username", "email"] {
        assert_eq!(id[kept], first[kept], "{kept}");
        assert!(!id[kept].is_null(), "{kept}");
    }
    assert_eq!(id["auth_time"], START.as_secs());
    assert_eq!((id["iat"].as_i64(), id["exp"].as_i64()), (Some(START.as_secs() + 5000), Some(START.as_secs() + 8600)));
    assert_ne!(id["jti"], first["jti"]);
    assert_eq!((&id["token_use"], &access["token_use"]), (&json!("id"), &json!("access")));
    assert_eq!((&access["auth_time"], &access["origin_jti"]), (&id["auth_time"], &id["origin_jti"]));
    assert_eq!((&access["client_id"], &access["username"]), (&json!(CLIENT), &json!(USER)));
    assert_eq!(access["aud"], Value::Null);
    assert_eq!(answer.header("date"), "Thu, 01 Jan 2026 01:23:20 GMT");
}

#[tokio::test]
async fn a_refresh_token_expires_with_its_validity_reckoned_from_the_sign_in() {
    let (pool, clock) = start(Settings::default().with_client(client(300, 600, 86_400))).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    clock.advance(Duration::from_secs(86_399));
    let answer = refresh(&pool, &tokens.refresh_token).await;
    assert_eq!(answer.json()["AuthenticationResult"]["ExpiresIn"], 600, "the access token's lifetime");
    let id = answer.claims("IdToken");
    assert_eq!(id["exp"].as_i64().zip(id["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(300));
    clock.advance(Duration::from_secs(1));
    let refused = refresh(&pool, &tokens.refresh_token).await.exception();
    assert_eq!(refused, Exception::not_authorized("Refresh Token has expired"));
}

#[tokio::test]
async fn rotation_never_extends_a_session() {
    let (pool, clock) = start(Settings::default().with_client(client(300, 300, 3600).rotating(Duration::ZERO))).await;
    let mut token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1000));
        token = refresh(&pool, &token).await.refresh_token().expect("a new refresh token");
    }
    clock.advance(Duration::from_secs(600));
    assert_eq!(refresh(&pool, &token).await.exception().message, "Refresh Token has expired");
    assert_eq!(pool.calls().count(|call| call.rotation == RotationStep::Rotated), 3);
}

#[tokio::test]
async fn a_used_token_works_through_its_grace_period_and_is_reuse_after_it() {
    let rotating = AppClient::public(CLIENT).rotating(Duration::from_secs(10));
    let (pool, clock) = start(Settings::default().with_client(rotating)).await;
    let first = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let second = refresh(&pool, &first).await.refresh_token().expect("a new refresh token");
    clock.advance(Duration::from_secs(9));
    let third = refresh(&pool, &first).await.refresh_token().expect("still in grace");
    clock.advance(Duration::from_secs(1));
    assert_eq!(refresh(&pool, &first).await.exception(), Exception::refresh_token_reuse());
    for descendant in [second, third] {
        assert_eq!(refresh(&pool, &descendant).await.status, 200, "its descendants stay good");
    }
    let calls = pool.calls();
    let steps: Vec<_> = calls.iter().map(|call| call.rotation).collect();
    let (off, rotated) = (RotationStep::Off, RotationStep::Rotated);
    assert_eq!(steps, [rotated, RotationStep::RetriedInGrace, off, rotated, rotated]);
    assert_eq!(calls.count(|call| call.is_refused("RefreshTokenReuseException")), 1);
    assert_eq!((calls.refreshes(), calls.refreshed()), (5, 4));
}

#[tokio::test]
async fn reuse_revokes_the_sign_in_where_the_pool_says_so() {
    let mut settings = Settings::default().with_client(AppClient::public(CLIENT).rotating(Duration::ZERO));
    settings.reuse = ReuseRule::RevokesTheSignIn;
    let (pool, _clock) = start(settings).await;
    let first = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let second = refresh(&pool, &first).await.refresh_token().expect("a new refresh token");
    assert_eq!(refresh(&pool, &first).await.exception(), Exception::refresh_token_reuse());
    assert_eq!(refresh(&pool, &second).await.exception().message, "Refresh Token has been revoked");
}

#[tokio::test]
async fn a_rotating_client_refuses_initiate_auth() {
    let (pool, _clock) =
        start(Settings::default().with_client(AppClient::public(CLIENT).rotating(Duration::ZERO))).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let body = json!({
        "AuthFlow": "REFRESH_TOKEN_AUTH", "ClientId": CLIENT, "AuthParameters": {"REFRESH_TOKEN": token.expose()},
    });
    let refused = call(&pool, "InitiateAuth", &body).await.exception();
    assert_eq!(refused, Settings::default().refresh_flow_refusal);
    assert_eq!(refresh(&pool, &token).await.status, 200, "and the token is not used up by it");
}

#[tokio::test]
async fn a_client_secret_is_asked_for_in_each_calls_own_form() {
    let user = User::known_by_email("alice@example.com").with_password("hunter2");
    let username = user.username.clone();
    let settings = Settings::default().with_client(AppClient::public(CLIENT).with_secret("s3cret")).with_user(user);
    let (pool, _clock) = start(settings).await;

    // Signing in, the hash is over the alias as typed; refreshing, over the username.
    let password = |hash: &str| {
        json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": CLIENT, "AuthParameters":
            {"USERNAME": "alice@example.com", "PASSWORD": "hunter2", "SECRET_HASH": hash}})
    };
    let by_alias = secret_hash("s3cret", "alice@example.com", CLIENT);
    let by_username = secret_hash("s3cret", &username, CLIENT);
    let answer = call(&pool, "InitiateAuth", &password(&by_alias)).await;
    let token = answer.refresh_token().expect("a refresh token");
    assert!(call(&pool, "InitiateAuth", &password(&by_username)).await.exception().message.contains("secret hash"));

    let by_hash = |token: &Secret, hash: Option<&str>| {
        let mut parameters = json!({"REFRESH_TOKEN": token.expose()});
        if let Some(hash) = hash {
            parameters["SECRET_HASH"] = json!(hash);
        }
        json!({"AuthFlow": "REFRESH_TOKEN", "ClientId": CLIENT, "AuthParameters": parameters})
    };
    assert_eq!(call(&pool, "InitiateAuth", &by_hash(&token, Some(&by_username))).await.status, 200);
    let missing = call(&pool, "InitiateAuth", &by_hash(&token, None)).await.exception().message;
    assert_eq!(missing, format!("Client {CLIENT} is configured with secret but SECRET_HASH was not received"));
    let wrong = call(&pool, "InitiateAuth", &by_hash(&token, Some(&by_alias))).await.exception().message;
    assert_eq!(wrong, format!("Unable to verify secret hash for client {CLIENT}"));
    let garbage = call(&pool, "InitiateAuth", &by_hash(&Secret::from("garbage"), None)).await.exception();
    assert_eq!(garbage, Exception::invalid_refresh_token(), "a bad token masks a bad secret");

    for (secret, status) in [("s3cret", 200), ("wrong", 400)] {
        let body = json!({"RefreshToken": token.expose(), "ClientId": CLIENT, "ClientSecret": secret});
        assert_eq!(call(&pool, "GetTokensFromRefreshToken", &body).await.status, status);
    }
    assert_eq!(refresh(&pool, &token).await.status, 400);
}

#[tokio::test]
async fn what_becomes_of_a_user_ends_their_refreshes() {
    let table = [
        (Standing::Disabled, "NotAuthorizedException", "User is disabled."),
        (Standing::Deleted, "NotAuthorizedException", "The user has been deleted for the associated refresh token"),
        (Standing::ResetRequired, "PasswordResetRequiredException", "Password reset required for the user"),
        (Standing::Unconfirmed, "UserNotConfirmedException", "User is not confirmed."),
    ];
    let (pool, _clock) = start(Settings::default()).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    for (standing, name, message) in table {
        pool.set_standing(USER, standing);
        assert_eq!(refresh(&pool, &token).await.exception(), Exception::new(name, message));
        assert!(pool.sign_in(USER, CLIENT).is_err());
    }
    pool.set_standing(USER, Standing::Enabled);
    assert_eq!(refresh(&pool, &token).await.status, 200);
    pool.revoke(&token, CLIENT).expect("revoked");
    assert_eq!(refresh(&pool, &token).await.exception().message, "Refresh Token has been revoked");
}

#[tokio::test]
async fn clients_and_tokens_that_do_not_belong_together_are_refused() {
    let (pool, _clock) = start(Settings::default().with_client(AppClient::public("other"))).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let with = |client: &str| json!({"RefreshToken": token.expose(), "ClientId": client});
    let refused = call(&pool, "GetTokensFromRefreshToken", &with("other")).await.exception();
    assert_eq!(refused, Exception::not_authorized("Refresh Token has different Client"));
    let refused = call(&pool, "GetTokensFromRefreshToken", &with("nobody")).await.exception();
    assert_eq!(refused, Exception::no_such_client("nobody"));
    let refused = call(&pool, "GetTokensFromRefreshToken", &json!({"ClientId": CLIENT})).await.exception();
    assert_eq!(refused.name, "InvalidParameterException");
    assert_eq!(call(&pool, "NoSuchOperation", &json!({})).await.exception().name, "UnknownOperationException");
}

#[tokio::test]
async fn a_pool_that_remembers_devices_wants_the_confirmed_devices_key() {
    let mut settings = Settings::default().with_user(User::new(USER).with_password("hunter2"));
    settings.devices = DeviceRule::Remembered;
    let (pool, _clock) = start(settings).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let with_key =
        |token: &Secret, key: &str| json!({"RefreshToken": token.expose(), "ClientId": CLIENT, "DeviceKey": key});
    assert_eq!(refresh(&pool, &tokens.refresh_token).await.exception(), Exception::invalid_refresh_token());
    let key = tokens.device_key.expect("a device key");
    assert_eq!(call(&pool, "GetTokensFromRefreshToken", &with_key(&tokens.refresh_token, &key)).await.status, 200);

    let sign_in = json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": CLIENT,
        "AuthParameters": {"USERNAME": USER, "PASSWORD": "hunter2"}});
    let answer = call(&pool, "InitiateAuth", &sign_in).await;
    let device = &answer.json()["AuthenticationResult"]["NewDeviceMetadata"];
    let key = device["DeviceKey"].as_str().expect("a device key");
    let token = answer.refresh_token().expect("a refresh token");
    let body = with_key(&token, key);
    assert_eq!(call(&pool, "GetTokensFromRefreshToken", &body).await.status, 400, "not confirmed yet");
    let confirm = json!({"AccessToken": answer.result("AccessToken"), "DeviceKey": key});
    assert_eq!(call(&pool, "ConfirmDevice", &confirm).await.status, 200);
    assert_eq!(call(&pool, "GetTokensFromRefreshToken", &body).await.status, 200);
}

#[tokio::test]
async fn ageing_on_command_is_seen_in_auth_time_and_ends_the_session() {
    let (pool, _clock) = start(Settings::default().with_client(client(300, 300, 3600))).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    pool.age(USER, Duration::from_secs(3000));
    assert_eq!(refresh(&pool, &token).await.claims("IdToken")["auth_time"], START.as_secs() - 3000);
    pool.age(USER, Duration::from_secs(600));
    assert_eq!(refresh(&pool, &token).await.exception().message, "Refresh Token has expired");

    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    assert_eq!(refresh(&pool, &token).await.status, 200);
    pool.expire_session(USER);
    assert_eq!(refresh(&pool, &token).await.exception().message, "Refresh Token has expired");
}

#[tokio::test]
async fn aws_time_may_be_ahead_of_ours() {
    let (pool, _clock) = start(Settings::default()).await;
    pool.set_skew(7200);
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let answer = refresh(&pool, &token).await;
    assert_eq!(answer.claims("IdToken")["iat"], START.as_secs() + 7200);
    assert_eq!(answer.header("date"), "Thu, 01 Jan 2026 02:00:00 GMT");
}

#[tokio::test]
async fn describing_a_client_wants_credentials_and_permission() {
    let mut rotating = client(300, 600, 86_400).rotating(Duration::from_secs(30));
    let (pool, _clock) = start(Settings::default().with_client(rotating.clone())).await;
    let describe = async |signed: bool| {
        let body = json!({"UserPoolId": pool.id(), "ClientId": CLIENT}).to_string();
        let mut request = Request::post(pool.endpoint());
        if signed {
            request = request.header("authorization", "AWS4-HMAC-SHA256 Credential=AKIA/…");
        }
        let target = "AWSCognitoIdentityProviderService.DescribeUserPoolClient";
        send(request.header("x-amz-target", target).body(Full::from(body)).expect("a request"))
            .await
            .expect("an answer")
    };
    assert_eq!(describe(false).await.exception().name, "MissingAuthenticationTokenException");
    assert_eq!(describe(true).await.exception().name, "AccessDeniedException");
    pool.change_rules(|rules| rules.describe = DescribeAccess::Granted);
    let described = describe(true).await.json()["UserPoolClient"].clone();
    assert_eq!(described["RefreshTokenValidity"], 86_400);
    assert_eq!(described["TokenValidityUnits"]["RefreshToken"], "seconds");
    assert_eq!(described["RefreshTokenRotation"], json!({"Feature": "ENABLED", "RetryGracePeriodSeconds": 30}));
    rotating.units = DescribedUnits::Absent;
    pool.put_client(rotating);
    let described = describe(true).await.json()["UserPoolClient"].clone();
    assert_eq!((&described["RefreshTokenValidity"], &described["IdTokenValidity"]), (&json!(1), &json!(1)));
    assert_eq!(described["TokenValidityUnits"], Value::Null);
}

#[tokio::test]
async fn the_log_tells_calls_apart_without_any_secret() {
    let (pool, _clock) = start(Settings::default()).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let waiting = pool.wait_for(|calls| calls.refreshes() == 2);
    let asking = async {
        refresh(&pool, &tokens.refresh_token).await;
        refresh(&pool, &Secret::from("garbage")).await;
    };
    let (calls, ()) = tokio::join!(waiting, asking);
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Answered, Outcome::Refused("NotAuthorizedException".into())]);
    let prints: Vec<_> = calls.iter().map(|call| call.refresh_token.clone()).collect();
    assert!(prints[0].is_some() && prints[0] != prints[1]);
    let debug = format!("{calls:?} {pool:?} {tokens:?}");
    assert!(!debug.contains("eyJ"), "a token in {debug}");
}

#[tokio::test]
async fn a_pool_that_was_offline_knows_its_sessions() {
    let (pool, _clock) = start(Settings::default()).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    assert_eq!(refresh(&pool, &token).await.status, 200);
    pool.go_offline().await;
    assert!(try_call(&pool, "GetTokensFromRefreshToken", &refresh_body(&token)).await.is_err());
    pool.go_online().await.expect("its port is free");
    assert_eq!(refresh(&pool, &token).await.status, 200);
    assert_eq!(pool.calls().total(), 2);
}
