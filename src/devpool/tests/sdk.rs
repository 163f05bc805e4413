//! The AWS SDK for Rust talks to the pool as it is.

use aws_sdk_cognitoidentityprovider::{
    Client,
    config::{BehaviorVersion, Region, retry::RetryConfig},
    error::ProvideErrorMetadata,
    types::AuthFlowType,
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::HttpRequest,
        result::ConnectorError,
    },
    http::Response,
};
use aws_smithy_types::body::SdkBody;
use hyper_util::{client::legacy, rt::TokioExecutor};

use super::{
    super::{Fault, Scope},
    *,
};

#[derive(Debug, Clone)]
struct Connector(legacy::Client<legacy::connect::HttpConnector, SdkBody>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            let response = response.map(SdkBody::from_body_1_x);
            Response::try_from(response).map_err(|error| ConnectorError::user(error.into()))
        })
    }
}

fn sdk(pool: &DevPool) -> Client {
    let connector = Connector(legacy::Client::builder(TokioExecutor::new()).build_http());
    let connector = SharedHttpConnector::new(connector);
    let config = aws_sdk_cognitoidentityprovider::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(pool.endpoint())
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn the_sdk_refreshes_with_either_call() {
    let (pool, _clock) = start(Settings::default()).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");

    let request = sdk(&pool).get_tokens_from_refresh_token().client_id(CLIENT);
    let answer = request.refresh_token(tokens.refresh_token.expose()).send().await.expect("tokens");
    let result = answer.authentication_result.expect("a result");
    assert_eq!((result.expires_in, result.token_type.as_deref()), (3600, Some("Bearer")));
    assert_eq!(result.refresh_token, None, "without rotation the token is unchanged, and not said again");
    assert_eq!(claims(&result.id_token.expect("an ID token"))["cognito:username"], USER);

    let request = sdk(&pool).initiate_auth().auth_flow(AuthFlowType::RefreshTokenAuth).client_id(CLIENT);
    let request = request.auth_parameters("REFRESH_TOKEN", tokens.refresh_token.expose());
    let result = request.send().await.expect("tokens").authentication_result.expect("a result");
    assert_eq!(claims(&result.access_token.expect("an access token"))["client_id"], CLIENT);
    assert_eq!(pool.calls().refreshed(), 2);
}

#[tokio::test]
async fn the_sdk_reads_the_pools_exceptions() {
    let (pool, _clock) =
        start(Settings::default().with_client(AppClient::public(CLIENT).rotating(Duration::ZERO))).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let refresh = || {
        let request = sdk(&pool).get_tokens_from_refresh_token().client_id(CLIENT);
        request.refresh_token(tokens.refresh_token.expose()).send()
    };
    let rotated = refresh().await.expect("tokens").authentication_result.expect("a result");
    assert_ne!(rotated.refresh_token.as_deref(), Some(tokens.refresh_token.expose()));

    let error = refresh().await.expect_err("the token was used up").into_service_error();
    assert!(error.is_refresh_token_reuse_exception(), "{error:?}");
    pool.fail_next(1, Scope::Refresh, Fault::throttled(None));
    assert!(refresh().await.expect_err("throttled").into_service_error().is_too_many_requests_exception());
    pool.sign_out(USER);
    let error = refresh().await.expect_err("signed out").into_service_error();
    assert!(error.is_not_authorized_exception());
    assert_eq!(error.message(), Some("Refresh Token has been revoked"));
}

#[tokio::test]
async fn the_sdk_revokes_and_signs_out() {
    let (pool, _clock) = start(Settings::default()).await;
    let sdk = sdk(&pool);
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let narrow = pool.sign_in_with_scope(USER, CLIENT, "openid email").expect("signed in");

    let refused = sdk.global_sign_out().access_token(narrow.access_token.expose()).send().await;
    let error = refused.expect_err("the scope is missing").into_service_error();
    assert_eq!(error.message(), Some("Access Token does not have required scopes"));
    sdk.global_sign_out().access_token(tokens.access_token.expose()).send().await.expect("signed out");
    let error = refresh(&pool, &narrow.refresh_token).await.exception();
    assert_eq!(error.message, "Refresh Token has been revoked", "it ends every sign-in of the user");

    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    for _ in 0..2 {
        let request = sdk.revoke_token().client_id(CLIENT).token(tokens.refresh_token.expose());
        request.send().await.expect("revoking is idempotent");
    }
    assert_eq!(refresh(&pool, &tokens.refresh_token).await.exception().message, "Refresh Token has been revoked");
    let error = sdk.revoke_token().client_id(CLIENT).token(tokens.access_token.expose()).send().await;
    assert!(error.expect_err("not a refresh token").into_service_error().is_unsupported_token_type_exception());
}
