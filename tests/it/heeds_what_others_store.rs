//! What another process stores is taken up where it is newer and ours, and never written over; what is stored and not
//! genuine is not injected.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use cognito_proxy::{
    clock::{Clock as _, SystemClock},
    cognito::AwsCredentials,
    devpool::{DescribeAccess, Fault, Scope},
    refresher::{Command, Fingerprint, Seed},
    reply::Code,
    secret::Secret,
    session::{Basis, Session, TokenKind, status::StateName},
    store::{FileStore, TokenStore as _},
    tls,
};
use tokio::sync::oneshot;
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::support::{
    http,
    proxy::Home,
    shell::{Hooked, Shell},
    stage::Stage,
    wait::{self, BOUND},
};

/// A token of an hour is due for a refresh by then, jitter or not.
const DUE: u64 = 3320;

/// Another process refreshes `ours`, and nobody is told.
async fn refreshed_elsewhere(shell: &Shell, ours: &Session) -> Session {
    let grant = shell.refresh(&ours.refresh_token).await;
    let theirs = Session {
        id_token: grant.id_token,
        refresh_token: grant.refresh_token.expect("rotated"),
        generation: ours.generation + 1,
        ..ours.clone()
    };
    shell.keep(&theirs);
    theirs
}

#[tokio::test]
async fn a_newer_record_is_taken_up_when_it_is_heard_of() {
    let shell = Shell::rotating(0).await;
    let ours = shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    shell.pass(60);
    refreshed_elsewhere(&shell, &ours).await;
    let calls = shell.pool.calls().refreshes();
    running.commands.send(Command::StoreChanged).await.expect("it listens");
    running.generation(2).await;
    running.stop().await;
    assert_eq!(shell.pool.calls().refreshes(), calls, "nobody is asked");
}

#[tokio::test]
async fn a_running_proxy_hears_of_a_sign_in_that_another_program_has_stored() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    let elsewhere = Home::new();
    elsewhere.configure(&stage.toml(""));
    let imported = elsewhere.run_with_input(&["import"], &stage.sign_in().to_import_json()).await;
    assert_eq!(imported.code(), 0, "{imported:?}");
    let stored = |home: &Home| FileStore::new(home.store()).load(SystemClock.now()).expect("a record").expect("stored");
    let theirs = Session { generation: stored(&stage.home).generation + 1, ..stored(&elsewhere) };
    let calls = stage.refreshes();
    let store = FileStore::new(stage.home.store());
    store.save(&theirs, &store.lock(BOUND).expect("the lock")).expect("room");
    let adopted = proxy.logged("session adopted").await;
    assert_eq!((&adopted["from"], &adopted["username"]), (&"import".into(), &theirs.username.as_str().into()));
    assert_eq!(http::get(proxy.address(), "/").await.status(), 200);
    assert_eq!(stage.refreshes(), calls, "nobody is asked");
    proxy.stop().await;
}

#[tokio::test]
async fn a_note_is_not_written_over_a_newer_record() {
    let shell = Shell::rotating(0).await;
    let mut ours = shell.session().await;
    ours.notes.locked = true;
    shell.keep(&ours);
    let running = shell.start();
    running.until("the record", |snapshot| snapshot.facts.state == StateName::Locked).await;
    let theirs = refreshed_elsewhere(&shell, &ours).await;
    let (done, told) = oneshot::channel();
    running.commands.send(Command::Unlock { done }).await.expect("it listens");
    told.await.expect("done");
    running.generation(2).await;
    running.stop().await;
    assert_eq!(shell.stored().expect("stored").refresh_token, theirs.refresh_token);
}

#[tokio::test]
async fn a_record_of_another_client_is_none_of_ours_however_new_it_is() {
    let shell = Shell::rotating(0).await;
    let ours = shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    shell.keep(&Session { client_id: "another".into(), generation: 9, ..ours });
    running.commands.send(Command::StoreChanged).await.expect("it listens");
    shell.pass(DUE);
    running.generation(2).await;
    assert_eq!(running.current.snapshot().facts.state, StateName::Fresh);
    running.stop().await;
}

#[tokio::test]
async fn a_stored_token_that_is_not_genuine_is_not_injected_and_the_refresh_token_is_used() {
    let shell = Shell::rotating(0).await;
    let mut session = shell.session().await;
    let jwt = session.id_token.jwt.expose();
    let (signed, signature) = jwt.rsplit_once('.').expect("a JWT");
    let turned: String = signature.chars().rev().collect();
    session.id_token.jwt = Secret::new(format!("{signed}.{turned}"));
    shell.keep(&session);
    let calls = shell.pool.calls().refreshes();
    let held = shell.pool.hold_answers();
    let running = shell.start();
    shell.pool.wait_for(|known| known.refreshes() > calls).await;
    assert!(!running.is_injecting());
    drop(held);
    running.generation(2).await;
    assert!(running.is_injecting());
    running.stop().await;
}

/// The fields of every event, as text.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = event.metadata().level().to_string();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            write!(text, " {field}={value:?}").expect("a string takes it");
        });
        self.0.lock().expect("whole").push(text);
    }
}

#[tokio::test]
async fn what_is_doubtful_about_a_store_is_said_once() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    for caveat in [Some("it lies on a network file system"), None] {
        let heard = Heard::default();
        let _listening = tracing_subscriber::registry().with(heard.clone()).set_default();
        let mut store = Hooked::over(shell.store());
        store.caveat = caveat;
        let running = shell.start_with(shell.issuer(), Arc::new(store), None);
        running.until("the record", |snapshot| snapshot.facts.identity.is_some()).await;
        running.stop().await;
        let heard = heard.0.lock().expect("whole");
        let said: Vec<_> = heard.iter().filter(|text| text.contains("caveat=")).collect();
        assert_eq!(said.len(), usize::from(caveat.is_some()), "{heard:?}");
        assert!(said.iter().all(|text| text.starts_with("WARN") && text.contains("network file system")), "{said:?}");
    }
}

#[tokio::test]
async fn a_seed_makes_good_a_record_that_is_damaged() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    std::fs::write(shell.record(), "{").expect("room");
    let refresh_token = shell.sign_in().refresh_token;
    let seed = Seed {
        fingerprint: Fingerprint::of(&refresh_token),
        refresh_token,
        device: None,
        user_pool_id: shell.settings.user_pool_id.clone(),
        client_id: shell.settings.client_id.clone(),
    };
    let running = shell.start_with(shell.issuer(), shell.store(), Some(seed));
    running.until("the session", |snapshot| snapshot.facts.state == StateName::Fresh).await;
    running.stop().await;
    assert!(shell.stored().is_some());
    let names = std::fs::read_dir(shell.record().parent().expect("a directory")).expect("there");
    let aside = |name: &std::ffi::OsString| name.to_string_lossy().contains(".corrupt-");
    assert_eq!(names.filter(|entry| aside(&entry.as_ref().expect("an entry").file_name())).count(), 1);
}

#[tokio::test]
async fn a_reload_changes_whom_is_asked_and_how_long_requests_are_held() {
    let mut shell = Shell::rotating(0).await;
    shell.settings.validity = None;
    shell.pool.change_rules(|rules| rules.describe = DescribeAccess::Granted);
    shell.signed_in().await;
    // Nobody is at this address.
    let running = shell.start_with(shell.issuer_at("http://127.0.0.1:1"), shell.store(), None);
    running.generation(1).await;
    shell.pass(DUE);
    running.until("a failure", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    assert_eq!(running.current.snapshot().facts.refresh_token.basis, Basis::Assumed);
    let trust = tls::client_config(None, None).expect("a trust store");
    let credentials = AwsCredentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: Secret::from("secret"),
        session_token: None,
    };
    let issuer = shell.cognito_at(&shell.pool.endpoint(), trust).with_aws_credentials(Some(credentials));
    running.reload_with(&shell, Arc::new(issuer), Duration::from_secs(600)).await;
    // The clock stands still: it is the reload that is worth an attempt.
    running.generation(2).await;
    running.until("the pool's word", |snapshot| snapshot.facts.refresh_token.basis == Basis::PoolSetting).await;

    shell.pool.fail_always(Scope::Refresh, Fault::exception("NotAuthorizedException", "Refresh Token has expired"));
    shell.pass(DUE);
    running.until("the first refusal", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    shell.pass(300);
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    let current = running.current.clone();
    let request = tokio::spawn(async move { current.ready(TokenKind::Id).await });
    wait::until("a held request", async || (running.current.held() == 1).then_some(())).await;
    running.reload(&shell).await;
    request.abort();
    drop(request.await);
    running.until("the one attempt that a reload is worth", |snapshot| snapshot.facts.consecutive_failures > 2).await;
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    let refusal = running.current.ready(TokenKind::Id).await.expect_err("nobody is held any more");
    assert_eq!(refusal.code, Code::SessionExpired);
    running.stop().await;
}
