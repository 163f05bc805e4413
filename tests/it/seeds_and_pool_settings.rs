//! What is told to the refresher from outside: a seed, the validity that the pool states, a change of the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cognito_proxy::{
    cognito::AwsCredentials,
    devpool::{AppClient, DescribeAccess, Operation, Settings, Validity},
    refresher::{Fingerprint, Seed},
    secret::Secret,
    session::{Basis, Origin, Session, status::StateName},
    tls,
};

use crate::support::{
    http as wire,
    proxy::Proxy,
    shell::{Hooked, Shell},
    stage::Stage,
    wait,
};

const DAY: u64 = 86_400;

fn seed(shell: &Shell, refresh_token: &Secret) -> Seed {
    Seed {
        refresh_token: refresh_token.clone(),
        device: None,
        user_pool_id: shell.settings.user_pool_id.clone(),
        client_id: shell.settings.client_id.clone(),
        fingerprint: Fingerprint::of(refresh_token),
    }
}

#[tokio::test]
async fn a_seed_becomes_a_session_and_serves_once() {
    let shell = Shell::rotating(0).await;
    let tokens = shell.sign_in();
    let seed = seed(&shell, &tokens.refresh_token);
    let running = shell.start_with(shell.issuer(), shell.store(), Some(seed.clone()));
    running
        .until("a session", |snapshot| snapshot.facts.identity.as_ref().is_some_and(|who| who.username == "alice"))
        .await;
    assert!(running.is_injecting());
    running.stop().await;
    let stored = shell.stored().expect("stored");
    assert_eq!((stored.origin, stored.notes.seed.as_deref()), (Origin::Credential, Some(seed.fingerprint.as_str())));
    assert_ne!(stored.refresh_token, tokens.refresh_token);

    // The credential is spent. A restart takes what came of it and asks nobody.
    let calls = shell.pool.calls().refreshes();
    let running = shell.start_with(shell.issuer(), shell.store(), Some(seed.clone()));
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    assert_eq!(shell.pool.calls().refreshes(), calls);
    // Nor does it come back after a sign-in.
    let login = Session { origin: Origin::Login, ..shell.session().await };
    assert!(running.adopt(login).await);
    running.stop().await;
    let running = shell.start_with(shell.issuer(), shell.store(), Some(seed));
    running.until("the sign-in", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    running.stop().await;
    assert_eq!(shell.stored().map(|stored| stored.origin), Some(Origin::Login));
}

#[tokio::test]
async fn a_seed_that_is_no_good_leaves_what_is_stored() {
    let shell = Shell::rotating(0).await;
    let session = shell.signed_in().await;
    let bad = seed(&shell, &Secret::from("eyJjdHki.not.a.token"));
    let running = shell.start_with(shell.issuer(), shell.store(), Some(bad));
    running.until("the first refusal", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    for failures in 2..=3 {
        shell.pass(20);
        running.until("another", |snapshot| snapshot.facts.consecutive_failures == failures).await;
    }
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    running.stop().await;
    let stored = shell.stored().expect("kept");
    assert_eq!((stored.refresh_token, stored.generation), (session.refresh_token, session.generation));
    // Without the seed everything is as it was.
    let running = shell.start();
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    running.stop().await;
}

#[tokio::test]
async fn a_seed_outlasts_an_outage_at_the_start() {
    let shell = Shell::rotating(0).await;
    let tokens = shell.sign_in();
    shell.pool.go_offline().await;
    let running = shell.start_with(shell.issuer(), shell.store(), Some(seed(&shell, &tokens.refresh_token)));
    running.until("a failure", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    shell.pool.go_online().await.expect("its port is free");
    shell.pass(60);
    running.generation(2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_reload_while_signed_out_takes_up_what_is_stored() {
    let shell = Shell::rotating(0).await;
    let running = shell.start();
    running.until("nobody", |snapshot| snapshot.facts.state == StateName::SignedOut).await;
    // No watch tells it, as where a file system has none.
    shell.signed_in().await;
    let calls = shell.pool.calls().total();
    running.reload(&shell).await;
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    assert_eq!(shell.pool.calls().total(), calls);
    running.stop().await;
}

#[tokio::test]
async fn a_reload_of_an_ended_session_spends_its_one_attempt_on_what_is_stored_now() {
    let shell = Shell::rotating(0).await;
    let ended = shell.signed_in().await;
    shell.pool.sign_out(Settings::USER);
    let running = shell.start();
    running.generation(1).await;
    shell.pass(3320);
    running.until("the first refusal", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    shell.pass(20);
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    // A sign-in of somebody else's, in place of the record and of its generation: as a backup that was put back.
    let theirs = Session { generation: ended.generation, ..shell.session().await };
    shell.keep(&theirs);
    running.reload(&shell).await;
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    running.stop().await;
    let stored = shell.stored().expect("kept");
    assert_eq!(stored.refresh_token, theirs.refresh_token);
    assert!(stored.generation > ended.generation);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_at_the_start_is_read_again() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let calls = shell.pool.calls().total();
    let failures = Arc::new(AtomicU64::new(3));
    let mut store = Hooked::over(shell.store());
    store.before_load = Box::new({
        let failures = Arc::clone(&failures);
        move || match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(std::io::Error::other("too many open files")),
            Err(_) => Ok(()),
        }
    });
    let running = shell.start_with(shell.issuer(), Arc::new(store), None);
    let left = async |left: u64| {
        let read = async || (failures.load(Ordering::SeqCst) == left).then_some(());
        wait::until("another look at the store", read).await;
    };
    for (more, pause) in [(2, 1), (1, 2), (0, 4)] {
        left(more).await;
        assert!(!running.is_injecting());
        shell.pass(pause);
    }
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    assert!(running.is_injecting());
    assert_eq!(shell.pool.calls().total(), calls, "nobody was asked");
    running.stop().await;
}

/// `run` with the credential that the service manager passes.
async fn run_with_credential(stage: &mut Stage, content: &str) -> Proxy {
    let directory = stage.home.path("credentials");
    std::fs::create_dir_all(&directory).expect("a directory");
    stage.home.write("credentials/refresh-token", content);
    stage.home.set_variable("CREDENTIALS_DIRECTORY", &directory.display().to_string());
    stage.home.serve_with(&[]).await
}

#[tokio::test]
async fn a_credential_of_the_service_manager_seeds_the_store_and_is_never_spent_twice() {
    for as_json in [false, true] {
        let mut stage = Stage::of(AppClient::public(Settings::CLIENT).rotating(Duration::ZERO)).await;
        stage.configure("cognito.refresh_token_validity = \"30d\"");
        let tokens = stage.sign_in();
        let content = if as_json { tokens.to_import_json() } else { format!("{}\n", tokens.refresh_token.expose()) };
        let mut proxy = run_with_credential(&mut stage, &content).await;
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
        proxy.ready().await;
        proxy.stop().await;
        let seeded = stage.stored_refresh_token();
        assert_ne!(seeded, tokens.refresh_token.expose(), "it rotated");

        // The same credential is there at every start, and worth nothing any more.
        let refreshes = stage.refreshes();
        let proxy = stage.home.serve_with(&[]).await;
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
        proxy.stop().await;
        assert_eq!((stage.refreshes(), stage.stored_refresh_token()), (refreshes, seeded));
        assert_eq!(stage.pool.calls().count(|call| call.is_refused("RefreshTokenReuseException")), 0);

        // Another one takes its place.
        let other = stage.sign_in();
        let proxy = run_with_credential(&mut stage, other.refresh_token.expose()).await;
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
        proxy.stop().await;
        assert_eq!(stage.refreshes(), refreshes + 1);
    }
}

#[tokio::test]
async fn a_credential_in_no_known_form_is_said_and_stops_nothing() {
    let mut stage = Stage::new().await;
    stage.configure("cognito.refresh_token_validity = \"30d\"");
    stage.signed_in().await;
    let mut proxy = run_with_credential(&mut stage, "two words").await;
    proxy.printed_line("the credential refresh-token cannot be used").await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "what is stored serves");
    proxy.stop().await;
}

/// The basis that is shown after a while in which the pool could be asked.
async fn basis(access: DescribeAccess, credentials: bool, configured: Option<Duration>) -> (Basis, u64) {
    let validity = Validity { refresh: Duration::from_secs(7 * DAY), ..Validity::default() };
    let mut shell = Shell::of(AppClient::public(Settings::CLIENT).with_validity(validity)).await;
    shell.pool.change_rules(|rules| rules.describe = access);
    shell.settings.validity = configured;
    shell.signed_in().await;
    let trust = tls::client_config(None, None).expect("a trust store");
    let credentials = credentials.then(|| AwsCredentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: Secret::from("secret"),
        session_token: Some(Secret::from("session")),
    });
    let issuer = shell.cognito_at(&shell.pool.endpoint(), trust).with_aws_credentials(credentials.clone());
    let running = shell.start_with(Arc::new(issuer), shell.store(), None);
    running.generation(1).await;
    if credentials.is_some() {
        shell.pool.wait_for(|calls| calls.count(|call| call.operation == Operation::DescribeUserPoolClient) == 1).await;
    }
    if (access, configured) == (DescribeAccess::Granted, None) && credentials.is_some() {
        running.until("the pool's word", |snapshot| snapshot.facts.refresh_token.basis == Basis::PoolSetting).await;
    }
    // Whatever was said has been heard once the next refresh is over.
    shell.pass(3320);
    running.generation(2).await;
    let snapshot = running.current.snapshot();
    running.stop().await;
    let calls = shell.pool.calls().count(|call| call.operation == Operation::DescribeUserPoolClient);
    (snapshot.facts.refresh_token.basis, calls as u64)
}

#[tokio::test]
async fn the_pool_is_asked_once_where_there_are_credentials_and_its_refusal_is_nobodys_concern() {
    let week = Some(Duration::from_secs(7 * DAY));
    for (access, credentials, configured, expected) in [
        (DescribeAccess::Granted, true, None, (Basis::PoolSetting, 1)),
        (DescribeAccess::Denied, true, None, (Basis::Assumed, 1)),
        (DescribeAccess::Granted, false, None, (Basis::Assumed, 0)),
        (DescribeAccess::Granted, true, week, (Basis::Configured, 1)),
    ] {
        assert_eq!(basis(access, credentials, configured).await, expected, "{access:?} {credentials} {configured:?}");
    }
}
