//! `logout` ends at Cognito what is ours to end, does the local part whatever Cognito says, and says exactly what it did.

use std::time::Duration;

use cognito_proxy::devpool::{AppClient, Fault, Operation, Outcome, Revocation, Scope, Settings};

use crate::{
    signs_in_by_browser::Scene,
    support::{http as wire, process::Finished, stage::problem},
};

/// How many calls of `operation` were answered.
fn answered(scene: &Scene, operation: &Operation) -> usize {
    scene.stage.pool.calls().count(|call| call.operation == *operation && call.outcome == Outcome::Answered)
}

/// The local part is done.
fn is_forgotten(scene: &Scene, finished: &Finished, code: i32) {
    assert_eq!(finished.code(), code, "{finished:?}");
    assert!(!scene.stage.home.store().exists(), "{finished:?}");
    let removed = format!("removed    {}", scene.stage.home.store().display());
    assert!(finished.stdout.contains(&removed), "{}", finished.stdout);
}

#[tokio::test]
async fn what_login_obtained_is_revoked_with_a_proxy_and_without_one() {
    let scene = Scene::of(AppClient::public(Settings::CLIENT).rotating(Duration::ZERO), "session.hold = \"0s\"").await;
    for is_running in [false, true] {
        scene.signed_in().await;
        let mut proxy = if is_running { Some(scene.stage.home.serve_with(&[]).await) } else { None };
        if let Some(proxy) = &mut proxy {
            proxy.ready().await;
        }
        let before = answered(&scene, &Operation::RevokeToken);
        let out = scene.stage.home.run(&["logout"]).await;
        is_forgotten(&scene, &out, 0);
        assert!(out.stdout.contains("revoked    the session of alice"), "{}", out.stdout);
        assert!(out.stderr.contains("are taken until"), "{}", out.stderr);
        assert_eq!(answered(&scene, &Operation::RevokeToken), before + 1);
        if let Some(proxy) = proxy {
            assert!(out.stdout.contains(&format!("process id {}", proxy.process_id())), "{}", out.stdout);
            problem(&wire::get(proxy.address(), "/orders").await, 503, "login_required");
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn what_others_share_is_revoked_only_on_demand() {
    let scene = Scene::new().await;
    scene.stage.signed_in().await;
    let out = scene.stage.home.run(&["logout"]).await;
    is_forgotten(&scene, &out, 0);
    assert!(out.stdout.contains("kept") && out.stdout.contains("--revoke ends it"), "{}", out.stdout);
    assert_eq!(answered(&scene, &Operation::RevokeToken), 0);

    scene.signed_in().await;
    let out = scene.stage.home.run(&["logout", "--keep-remote"]).await;
    is_forgotten(&scene, &out, 0);
    assert!(out.stdout.contains("kept"), "{}", out.stdout);
    assert_eq!(answered(&scene, &Operation::RevokeToken), 0);

    let tokens = scene.stage.signed_in().await;
    is_forgotten(&scene, &scene.stage.home.run(&["logout", "--revoke"]).await, 0);
    assert_eq!(answered(&scene, &Operation::RevokeToken), 1);
    assert_eq!(scene.stage.import(&tokens).await.code(), 4, "it is dead for everybody");
}

#[tokio::test]
async fn what_cognito_refuses_is_said_and_the_local_part_is_done() {
    let scene = Scene::new().await;
    let only = Scope::Only(Operation::RevokeToken);
    for (fault, code, word) in [
        (Fault::status(500), 69, "500"),
        (Fault::throttled(None), 75, "TooManyRequests"),
        (Fault::exception("ForbiddenException", "Request not allowed due to WAF block."), 78, "WAF"),
    ] {
        scene.signed_in().await;
        scene.stage.pool.fail_next(1, only.clone(), fault);
        let out = scene.stage.home.run(&["logout"]).await;
        is_forgotten(&scene, &out, code);
        assert!(out.stderr.contains(word) && out.stderr.contains("forgotten here"), "{}", out.stderr);
        assert!(!out.stdout.contains("revoked"), "{}", out.stdout);
    }
    scene.signed_in().await;
    scene.stage.pool.go_offline().await;
    is_forgotten(&scene, &scene.stage.home.run(&["logout"]).await, 69);
    scene.stage.pool.go_online().await.expect("its old port");

    scene.signed_in().await;
    let mut client = scene.stage.pool.client(Settings::CLIENT).expect("a client");
    client.revocation = Revocation::Disabled;
    scene.stage.pool.put_client(client);
    let out = scene.stage.home.run(&["logout"]).await;
    is_forgotten(&scene, &out, 78);
    assert!(out.stderr.contains("EnableTokenRevocation"), "{}", out.stderr);
}

#[tokio::test]
async fn everywhere_takes_a_scope_that_is_named_where_it_is_missing() {
    let scene = Scene::new().await;
    let elsewhere = scene.stage.sign_in();
    scene.signed_in().await;
    let out = scene.stage.home.run(&["logout", "--global"]).await;
    is_forgotten(&scene, &out, 78);
    assert!(out.stderr.contains("aws.cognito.signin.user.admin"), "{}", out.stderr);
    assert!(out.stdout.contains("revoked    the session of alice"), "{}", out.stdout);
    assert_eq!(answered(&scene, &Operation::GlobalSignOut), 0);

    scene.configure("cognito.scopes = [\"openid\", \"aws.cognito.signin.user.admin\"]");
    for is_running in [false, true] {
        scene.signed_in().await;
        let proxy = if is_running { Some(scene.stage.home.serve_with(&[]).await) } else { None };
        let before = answered(&scene, &Operation::GlobalSignOut);
        let out = scene.stage.home.run(&["logout", "--global"]).await;
        is_forgotten(&scene, &out, 0);
        assert!(out.stdout.contains("revoked    every session of this user"), "{}", out.stdout);
        assert_eq!(answered(&scene, &Operation::GlobalSignOut), before + 1);
        if let Some(proxy) = proxy {
            proxy.stop().await;
        }
    }
    assert_eq!(scene.stage.import(&elsewhere).await.code(), 4, "the other device is signed out");
}

#[tokio::test]
async fn nothing_to_forget_is_fine_and_contradictions_are_not() {
    let scene = Scene::new().await;
    for arguments in [&["logout"][..], &["logout", "--global"], &["logout", "--revoke", "--yes"]] {
        let out = scene.stage.home.run(arguments).await;
        assert_eq!(out.code(), 0, "{arguments:?}: {out:?}");
        assert!(out.stdout.contains("nothing"), "{}", out.stdout);
    }
    assert_eq!(scene.stage.pool.calls().total(), 0, "nobody is asked");
    assert_eq!(scene.stage.home.run(&["logout", "--revoke", "--keep-remote"]).await.code(), 2);
    assert_eq!(scene.stage.home.run(&["logout", "--global", "--keep-remote"]).await.code(), 2);
}
