//! `store.kind = "keyring"`: the session is one item of the desktop's keyring. It survives everything that a file
//! survives, and whatever keeps the keyring from answering is said in time, with what mends it.

use std::{sync::Arc, time::Duration};

use cognito_proxy::{
    clock::{Clock as _, SystemClock},
    devpool::{AppClient, Settings},
    session::Session,
    store::{KeyringError, KeyringStore, LoadError, SaveError, TokenStore},
};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::support::{
    http as wire,
    keyring::{Bus, FakeKeyring, Keyring, Quirk},
    load::steadily,
    proxy::files_below,
    shell::Shell,
    stage::{Stage, problem, validity},
    wait::{self, BOUND},
};

const KEYRING: &str = "store.kind = \"keyring\"\ncognito.refresh_token_validity = \"1h\"";

/// A stage whose programs reach the keyring.
async fn stage(keyring: &Keyring, client: AppClient) -> Stage {
    let mut stage = Stage::of(client).await;
    stage.home.set_variable("DBUS_SESSION_BUS_ADDRESS", &keyring.bus.address());
    stage.configure(KEYRING);
    stage
}

fn rotating(seconds: u64) -> AppClient {
    AppClient::public(Settings::CLIENT).with_validity(validity(seconds, 3600)).rotating(Duration::ZERO)
}

/// The store that the stage's programs use.
fn store(keyring: &Keyring, stage: &Stage) -> Arc<dyn TokenStore> {
    let store = KeyringStore::new(stage.home.store(), "proxy".into());
    Arc::new(store.on_bus(&keyring.bus.address()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("no panic")
}

async fn stored(keyring: &Keyring, stage: &Stage) -> Option<Session> {
    let store = store(keyring, stage);
    blocking(move || store.load(SystemClock.now()).expect("readable")).await
}

fn reuses(stage: &Stage) -> usize {
    stage.pool.calls().count(|call| call.is_refused("RefreshTokenReuseException"))
}

#[tokio::test]
async fn a_session_lives_in_a_keyring_from_its_import_through_rotations_and_restarts() {
    let Some(mut keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, rotating(4)).await;
    let nobody = stage.home.run(&["status"]).await;
    assert_eq!(nobody.code(), 4, "{nobody:?}");
    stage.signed_in().await;
    let imported = stored(&keyring, &stage).await.expect("an item");
    assert!(!stage.home.store().exists(), "and no file");

    let proxy = stage.home.serve_with(&[]).await;
    let before = stage.refreshes();
    let mut served = 0;
    while stage.refreshes() < before + 3 {
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "request {served}");
        served += 1;
    }
    proxy.stop().await;
    let rotated = stored(&keyring, &stage).await.expect("an item");
    assert!(rotated.generation >= imported.generation + 3, "{} {}", rotated.generation, imported.generation);
    assert_ne!(rotated.refresh_token, imported.refresh_token);

    // The keyring itself may come and go.
    keyring.restart().await;
    let proxy = stage.home.serve_with(&[]).await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    proxy.stop().await;
    let status = stage.home.run(&["status", "--json"]).await;
    assert!([0, 3].contains(&status.code()), "{status:?}");
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(status["identity"]["username"], "alice", "{status}");
    let token = stage.home.run(&["token"]).await;
    assert_eq!(token.code(), 0, "{token:?}");
    let log = stage.upstream.log();
    assert_eq!((log.invalid(), log.without_token(), reuses(&stage)), (0, 0, 0));

    let forgotten = stage.home.run(&["logout"]).await;
    assert_eq!(forgotten.code(), 0, "{forgotten:?}");
    assert!(stored(&keyring, &stage).await.is_none());
    assert_eq!(stage.home.run(&["status"]).await.code(), 4);
    // Nothing of it ever lay in a file: what does are locks and the stamp.
    for file in files_below(&stage.home.path("state")) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(["proxy.lock", "proxy.running", "proxy.stamp"].contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn what_somebody_else_stores_is_adopted_within_a_second_and_no_request_fails() {
    let Some(keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, AppClient::public(Settings::CLIENT)).await;
    stage.signed_in().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.ready().await;
    let ours = stored(&keyring, &stage).await.expect("an item");
    let address = proxy.address();
    let (adopted, is_adopted) = tokio::sync::watch::channel(false);
    let writing = async {
        // As another process does that refreshes under the same lock.
        let theirs = Session { generation: ours.generation + 1, ..ours.clone() };
        let store = store(&keyring, &stage);
        blocking(move || {
            let lock = store.lock(BOUND).expect("the lock");
            store.save(&theirs, &lock).expect("kept");
        })
        .await;
        let began = std::time::Instant::now();
        proxy.logged("session adopted").await;
        let took = began.elapsed();
        adopted.send_replace(true);
        took
    };
    let (took, (sent, failures)) = tokio::join!(writing, steadily(address, || *is_adopted.borrow()));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(failures.is_empty(), "{} of {sent}", failures.len());
    proxy.stop().await;
}

#[tokio::test]
async fn commands_that_want_a_token_at_once_spend_each_refresh_token_once() {
    let Some(keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, rotating(3600)).await;
    stage.signed_in_with(3600, 5).await;
    let before = stage.refreshes();
    let finished = futures_util::future::join_all((0..6).map(|_| stage.home.run(&["token"]))).await;
    let first = finished[0].stdout.clone();
    for finished in &finished {
        assert_eq!(finished.stdout, first, "one token for all");
        assert_eq!(finished.code(), 0, "{finished:?}");
    }
    assert_eq!((stage.refreshes(), reuses(&stage)), (before + 1, 0));
}

#[tokio::test]
async fn a_proxy_that_starts_before_the_keyring_is_unlocked_serves_once_it_is() {
    let Some(keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, AppClient::public(Settings::CLIENT)).await;
    stage.signed_in().await;
    keyring.lock().await;
    for (arguments, code) in [(&["status"][..], 75), (&["token"], 75)] {
        let refused = stage.home.run(arguments).await;
        assert_eq!(refused.code(), code, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("the keyring is locked; unlock it by"), "{}", refused.stderr);
    }
    let refused = stage.import(&stage.sign_in()).await;
    assert_eq!(refused.code(), 75, "{refused:?}");

    let mut proxy = stage.home.serve_with(&[]).await;
    let event = proxy.logged("session cannot be loaded").await;
    assert!(event.to_string().contains("the keyring is locked"), "{event}");
    let answer = wire::get(proxy.address(), "/orders").await;
    let document = problem(&answer, 503, "login_required");
    assert!(document["detail"].as_str().is_some_and(|detail| detail.contains("locked")), "{document}");
    keyring.unlock().await;
    proxy.ready().await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_rotated_token_waits_in_memory_for_a_keyring_that_was_locked() {
    let Some(keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, rotating(60)).await;
    stage.signed_in_with(60, 9).await;
    let before = stored(&keyring, &stage).await.expect("an item");
    let held = stage.pool.hold_answers();
    let refreshes = stage.refreshes();
    let proxy = stage.home.serve_with(&[]).await;
    stage.called(|calls| calls.refreshes() > refreshes).await;
    keyring.lock().await;
    drop(held);
    proxy.status_that("the flag", |status| (status["unpersisted_rotation"] == true).then_some(())).await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "served all the same");
    keyring.unlock().await;
    proxy.status_that("no flag", |status| (status["unpersisted_rotation"] == false).then_some(())).await;
    assert_eq!(proxy.stop().await.code(), 0);
    let after = stored(&keyring, &stage).await.expect("an item");
    assert_ne!(after.refresh_token, before.refresh_token);
    assert_eq!(reuses(&stage), 0);
}

#[tokio::test]
async fn without_a_bus_or_a_keyring_everything_says_so_in_time() {
    let mut stage = Stage::new().await;
    stage.configure(KEYRING);
    let tokens = stage.sign_in();
    let says = async |stage: &Stage, words: &str| {
        let refused = stage.import(&tokens).await;
        assert_eq!(refused.code(), 73, "{refused:?}");
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(refused.stderr.contains("set store.kind to \"file\""), "{}", refused.stderr);
        let refused = stage.home.run(&["status"]).await;
        assert_eq!(refused.code(), 1, "{refused:?}");
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        let mut proxy = stage.home.serve_with(&[]).await;
        let event = proxy.logged("session cannot be loaded").await;
        assert!(event.to_string().contains(words), "{event}");
        problem(&wire::get(proxy.address(), "/orders").await, 503, "login_required");
        proxy.stop().await;
    };
    says(&stage, "no session bus").await;
    let Some(bus) = Bus::start().await else { return };
    stage.home.set_variable("DBUS_SESSION_BUS_ADDRESS", &bus.address());
    says(&stage, "no keyring answers on the session bus").await;
    assert_eq!(stage.pool.calls().total(), 0, "no token was spent that would have had no place");
}

/// A store over a keyring with this quirk, and a session to put into it.
struct Odd {
    keyring: FakeKeyring,
    store: KeyringStore,
    session: Session,
    place: String,
    _directory: tempfile::TempDir,
}

async fn odd(quirk: Quirk) -> Option<Odd> {
    let keyring = FakeKeyring::start(quirk).await?;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/proxy.json");
    let place = path.display().to_string();
    let store = KeyringStore::new(path, "proxy".into()).on_bus(&keyring.bus.address());
    let session = Shell::rotating(0).await.session().await;
    Some(Odd { keyring, store, session, place, _directory: directory })
}

impl Odd {
    async fn load(&self, store: &KeyringStore) -> Result<Option<Session>, LoadError> {
        let store = store.clone();
        blocking(move || store.load(SystemClock.now())).await
    }

    async fn save(&self, store: &KeyringStore) -> Result<(), SaveError> {
        let (store, session) = (store.clone(), self.session.clone());
        blocking(move || {
            let lock = store.lock(BOUND).expect("the lock");
            store.save(&session, &lock)
        })
        .await
    }
}

fn keyring_error<T: std::fmt::Debug>(result: Result<T, LoadError>) -> KeyringError {
    match result {
        Err(LoadError::Keyring(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_keyring_that_hangs_is_given_up_in_time() {
    let given_up = async |method| {
        let Some(odd) = odd(Quirk::Hangs(method)).await else { return };
        odd.keyring.put(&odd.place, b"{}");
        let error = wait::bounded("the end of its patience", odd.load(&odd.store)).await;
        let error = keyring_error(error);
        assert!(matches!(error, KeyringError::TimedOut { .. }), "{method}: {error}");
        assert!(error.to_string().contains("within 5 s"), "{error}");
    };
    tokio::join!(given_up("OpenSession"), given_up("SearchItems"), given_up("GetSecret"));
}

#[tokio::test]
async fn an_owner_is_asked_where_a_command_may_ask_and_a_dismissal_is_final() {
    let Some(odd) = odd(Quirk::Dismissed).await else { return };
    odd.keyring.put(&odd.place, b"{}");
    let error = keyring_error(odd.load(&odd.store).await);
    assert!(matches!(error, KeyringError::Locked), "{error}");
    assert_eq!(odd.keyring.prompts(), 0, "a service asks nobody");
    let error = keyring_error(odd.load(&odd.store.clone().prompting()).await);
    assert!(matches!(error, KeyringError::Dismissed), "{error}");
    assert_eq!(odd.keyring.prompts(), 1);
}

#[tokio::test]
async fn an_owner_who_unlocks_the_keyring_has_the_session_stored_and_loaded() {
    let Some(odd) = odd(Quirk::Unlocked).await else { return };
    let store = odd.store.clone().prompting();
    odd.save(&store).await.expect("kept");
    assert_eq!(odd.keyring.prompts(), 1);
    let loaded = odd.load(&store).await.expect("readable").expect("an item");
    assert_eq!(loaded.refresh_token, odd.session.refresh_token);
}

#[tokio::test]
async fn what_is_no_record_is_kept_as_another_item_and_never_written_over() {
    let Some(odd) = odd(Quirk::None).await else { return };
    for garbage in [&b""[..], b"hunter2", &[0xff; 64]] {
        odd.keyring.put(&odd.place, garbage);
        let loaded = odd.load(&odd.store).await;
        assert!(matches!(&loaded, Err(LoadError::Corrupt { place, .. }) if place.contains("proxy")), "{loaded:?}");
        assert_eq!(odd.keyring.items()[&odd.place], garbage, "reading changes nothing");
    }
    let newer = br#"{"schema": 99}"#;
    odd.keyring.put(&odd.place, newer);
    assert!(matches!(odd.load(&odd.store).await, Err(LoadError::Newer { schema: 99, .. })));
    assert!(matches!(odd.save(&odd.store).await, Err(SaveError::Newer { schema: 99, .. })));
    assert_eq!(odd.keyring.items()[&odd.place], newer, "it stays");
}

#[tokio::test]
async fn a_damaged_item_of_a_real_keyring_is_set_aside_by_the_next_sign_in() {
    let Some(keyring) = Keyring::start().await else { return };
    let stage = stage(&keyring, AppClient::public(Settings::CLIENT)).await;
    stage.signed_in().await;
    keyring.overwrite(&stage.home.store(), b"hunter2").await;
    let status = stage.home.run(&["status"]).await;
    assert_eq!(status.code(), 4, "{status:?}");
    assert!(status.stderr.contains("is damaged"), "{}", status.stderr);
    stage.signed_in().await;
    let aside = wait::until("the damaged item", async || keyring.damaged().await).await;
    assert_eq!(aside, b"hunter2");
    assert!(stored(&keyring, &stage).await.is_some());
}

#[tokio::test]
async fn answers_of_no_known_form_and_refusals_are_told_as_what_they_are() {
    let is_locked = "org.freedesktop.Secret.Error.IsLocked";
    let denied = "org.freedesktop.DBus.Error.AccessDenied";
    for (quirk, expected) in [
        (Quirk::Formless, "in no form that is known"),
        (Quirk::Fails("GetSecret", is_locked), "the keyring is locked"),
        (Quirk::Fails("GetSecret", denied), "the keyring cannot hand out the session"),
        (Quirk::Fails("OpenSession", "com.example.Odd"), "the keyring cannot open a session: as it was told"),
    ] {
        let Some(odd) = odd(quirk.clone()).await else { return };
        odd.keyring.put(&odd.place, b"{}");
        let error = keyring_error(odd.load(&odd.store).await);
        assert!(error.to_string().contains(expected), "{quirk:?}: {error}");
    }
    let Some(odd) = odd(Quirk::NoCollection).await else { return };
    let error = keyring_error(odd.load(&odd.store).await);
    assert!(matches!(error, KeyringError::NoCollection), "{error}");
    let error = odd.save(&odd.store).await.expect_err("no place");
    assert!(error.to_string().contains("no default collection"), "{error}");
}
