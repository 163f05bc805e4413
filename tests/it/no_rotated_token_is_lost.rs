//! A refresh token that Cognito has exchanged is never lost, and nothing unverified is ever believed.
//!
//! The issuer, through the AWS SDK and real sockets, against a pool that rotates with a grace period of zero where
//! losing the new token would end the session.

use std::{sync::Arc, time::Duration};

use cognito_proxy::{
    clock::SystemClock,
    cognito::{
        self, CognitoIssuer, Issuer, RefreshApi, RefreshRequest, egress::Egress, read_claims, transport::Transport,
    },
    devpool::{AppClient, Commit, DevPool, Fault, Lie, OldKeys, Portal, Scope, Settings},
    secret::Secret,
    session::{EndReason, Failure, Grant, SettingAtFault, TransientKind},
    tls,
};

const ROTATING: &str = "rotating";

async fn pool(client: AppClient) -> DevPool {
    let settings = Settings::default().with_client(client);
    DevPool::start(settings, Arc::new(SystemClock)).await.expect("a pool")
}

async fn rotating(grace: Duration) -> DevPool {
    pool(AppClient::public(ROTATING).rotating(grace)).await
}

fn settings(pool: &DevPool, client_id: &str) -> cognito::Settings {
    cognito::Settings {
        user_pool_id: pool.id().into(),
        client_id: client_id.into(),
        client_secret: None,
        region: "eu-west-1".into(),
        endpoint: Some(pool.endpoint().parse().expect("a URL")),
        issuer: pool.issuer(),
        jwks_url: pool.jwks_url().parse().expect("a URL"),
        refresh_api: RefreshApi::Auto,
        verify_signature: true,
    }
}

fn issuer(settings: cognito::Settings) -> CognitoIssuer {
    let trust = tls::client_config(None, None).expect("a trust store");
    CognitoIssuer::new(settings, Transport::through(trust, Egress::new("", "")), Arc::new(SystemClock))
}

/// What a signed-in user's refresh spends.
fn signed_in(pool: &DevPool, client_id: &str) -> RefreshRequest {
    let tokens = pool.sign_in(Settings::USER, client_id).expect("signed in");
    let claims = read_claims(tokens.id_token.expose()).expect("claims");
    RefreshRequest {
        refresh_token: tokens.refresh_token,
        username: Some(claims.username),
        subject: Some(claims.subject),
        device: None,
        jwks: None,
    }
}

fn next(request: &RefreshRequest, rotated: &Secret) -> RefreshRequest {
    RefreshRequest { refresh_token: rotated.clone(), ..request.clone() }
}

fn rotated(grant: &Grant) -> &Secret {
    grant.refresh_token.as_ref().expect("the client rotates")
}

#[tokio::test]
async fn rotation_goes_on_from_token_to_token() {
    let pool = rotating(Duration::ZERO).await;
    let issuer = issuer(settings(&pool, ROTATING));
    let mut request = signed_in(&pool, ROTATING);
    for _ in 0..3 {
        let grant = issuer.refresh(request.clone()).await.expect("tokens");
        assert!(grant.date.is_some());
        request = next(&request, rotated(&grant));
    }
    let spent = signed_in(&pool, ROTATING);
    issuer.refresh(spent.clone()).await.expect("tokens");
    let again = issuer.refresh(spent).await;
    assert_eq!(again, Err(Failure::Terminal { reason: EndReason::RotatedTokenLost }));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_told_from_a_request_that_was() {
    let pool = rotating(Duration::from_secs(60)).await;
    let issuer = issuer(settings(&pool, ROTATING));
    for fault in [Fault::Reset(Commit::After), Fault::Truncated] {
        let request = signed_in(&pool, ROTATING);
        pool.fail_next(1, Scope::Refresh, fault.clone());
        let failure = issuer.refresh(request.clone()).await.expect_err("lost");
        assert!(
            matches!(failure, Failure::Transient { kind: TransientKind::Disconnected, sent: true, .. }),
            "{fault:?}: {failure:?}"
        );
        issuer.refresh(request).await.expect("inside the grace period the same token brings new ones");
    }
}

#[tokio::test]
async fn tokens_that_lie_are_refused_and_rotation_is_kept_where_they_are_the_users_own() {
    let pool = rotating(Duration::ZERO).await;
    let issuer = issuer(settings(&pool, ROTATING));
    for (lie, kept) in [
        (Lie::Subject, false),
        (Lie::AlgorithmNone, false),
        (Lie::Hs256, false),
        (Lie::BadSignature, false),
        (Lie::UnknownKid, false),
        (Lie::Issuer, true),
        (Lie::Audience, true),
        (Lie::TokenUse, true),
    ] {
        let request = signed_in(&pool, ROTATING);
        pool.fail_next(1, Scope::Refresh, Fault::Lie(lie.clone()));
        let failure = issuer.refresh(request.clone()).await.expect_err("refused");
        if let Failure::Rotated { rotated, failure } = failure {
            assert!(kept, "{lie:?}: {failure:?}");
            assert!(matches!(*failure, Failure::Unacceptable { .. }), "{lie:?}: {failure:?}");
            issuer.refresh(next(&request, &rotated)).await.expect("the session goes on");
        } else {
            assert!(!kept && matches!(failure, Failure::Unacceptable { .. }), "{lie:?}: {failure:?}");
        }
    }
    // The times are for the machine to judge, which knows the skew.
    pool.fail_next(1, Scope::Refresh, Fault::Lie(Lie::Expired));
    issuer.refresh(signed_in(&pool, ROTATING)).await.expect("well formed");
    pool.fail_next(1, Scope::Refresh, Fault::Lie(Lie::NoIdToken));
    let failure = issuer.refresh(signed_in(&pool, ROTATING)).await.expect_err("no ID token");
    assert!(matches!(failure, Failure::Rotated { .. }), "{failure:?}");
}

#[tokio::test]
async fn new_keys_of_the_pool_are_found_and_their_absence_loses_nothing() {
    let pool = rotating(Duration::ZERO).await;
    let known = Some(pool.jwks().to_string());
    let request = RefreshRequest { jwks: known, ..signed_in(&pool, ROTATING) };
    pool.rotate_keys(OldKeys::AreWithdrawn).expect("new keys");
    pool.fail_next(1, Scope::Jwks, Fault::status(503));
    let issuer = issuer(settings(&pool, ROTATING));
    let failure = issuer.refresh(request.clone()).await.expect_err("the keys cannot be had");
    let Failure::Rotated { rotated, failure } = failure else { panic!("{failure:?}") };
    assert!(matches!(*failure, Failure::Transient { kind: TransientKind::Jwks, sent: false, .. }), "{failure:?}");
    issuer.refresh(next(&request, &rotated)).await.expect("and once they can be, the session goes on");
}

#[tokio::test]
async fn nothing_is_spent_before_there_are_keys() {
    let pool = rotating(Duration::ZERO).await;
    pool.fail_next(1, Scope::Jwks, Fault::Portal(Portal::Redirect));
    let issuer = issuer(settings(&pool, ROTATING));
    let request = signed_in(&pool, ROTATING);
    let failure = issuer.refresh(request.clone()).await.expect_err("no keys");
    assert!(matches!(failure, Failure::Transient { kind: TransientKind::CaptivePortal, .. }), "{failure:?}");
    issuer.refresh(request).await.expect("the same token is still good");
}

#[tokio::test]
async fn every_call_knows_the_client_secret_in_its_own_way() {
    let pool = pool(AppClient::public("secret").with_secret("s3cret")).await;
    for refresh_api in [RefreshApi::Auto, RefreshApi::GetTokensFromRefreshToken, RefreshApi::InitiateAuth] {
        for (secret, right) in [(Some("s3cret"), true), (Some("wrong"), false), (None, false)] {
            let client_secret = secret.map(Secret::from);
            let issuer = issuer(cognito::Settings { refresh_api, client_secret, ..settings(&pool, "secret") });
            let answer = issuer.refresh(signed_in(&pool, "secret")).await;
            let at_fault = matches!(answer, Err(Failure::Setting { setting: SettingAtFault::ClientSecret, .. }));
            assert_eq!((answer.is_ok(), at_fault), (right, !right), "{refresh_api:?} {secret:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_older_call_is_used_where_the_newer_is_unknown_and_not_where_it_fails() {
    let pool = pool(AppClient::public("plain")).await;
    for (fault, works) in
        [(Fault::unknown_operation(), true), (Fault::unsupported(), true), (Fault::status(500), false)]
    {
        pool.fail_next(1, Scope::Refresh, fault.clone());
        let answer = issuer(settings(&pool, "plain")).refresh(signed_in(&pool, "plain")).await;
        assert_eq!(answer.is_ok(), works, "{fault:?}: {answer:?}");
    }
}
