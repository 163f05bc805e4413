//! Several processes over one store and one rotating refresh token: none ever spends a token that another has spent.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cognito_proxy::{
    clock::{Clock as _, ManualClock, Now, SharedClock, SystemClock},
    cognito::{self, CognitoIssuer, Issuer, RefreshApi, RefreshRequest, Transport, egress::Egress},
    devpool::Settings as Pool,
    session::{Failure, Grant, Session, TokenKind, snapshot::Snapshot, status::StateName},
    store::FileStore,
    tls,
};
use futures_util::future::BoxFuture;

use crate::support::{
    process::Process,
    shell::{self, Shell},
};

const PROCESSES: usize = 8;
/// A token of an hour is due for a refresh by then, jitter or not.
const DUE: Duration = Duration::from_secs(3320);

/// How many refreshes each process makes.
fn cycles() -> u64 {
    if env::var_os("COGNITO_PROXY_LONG").is_some() { 1_000 } else { 50 }
}

/// Counts what its own process was granted.
struct Counting {
    inner: CognitoIssuer,
    granted: AtomicU64,
}

impl Issuer for Counting {
    fn refresh(&self, request: RefreshRequest) -> BoxFuture<'_, Result<Grant, Failure>> {
        Box::pin(async {
            let granted = self.inner.refresh(request).await;
            self.granted.fetch_add(u64::from(granted.is_ok()), Ordering::SeqCst);
            granted
        })
    }

    fn reverify(&self, session: Session, now: Now) -> Session {
        self.inner.reverify(session, now)
    }
}

#[tokio::test]
async fn eight_processes_never_spend_a_token_twice() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let before = shell.pool.calls().refreshed();
    let began = Instant::now();
    let start = |_| {
        let mut command = Command::new(env::current_exe().expect("this very program"));
        command
            .args(["--exact", "many_processes_share_one_store::one_of_them", "--ignored", "--nocapture"])
            .env("TEST_ENDPOINT", shell.pool.endpoint())
            .env("TEST_RECORD", shell.record());
        Process::spawn("one of them", &mut command).expect("it is there")
    };
    let processes: Vec<_> = (0..PROCESSES).map(start).collect();
    for process in processes {
        let finished = process.finish(Duration::from_secs(3600)).await;
        assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("1 passed"), "it did run: {}", finished.stdout);
    }
    let calls = shell.pool.calls();
    let reused = calls.count(|call| call.is_refused("RefreshTokenReuseException"));
    let refreshed = calls.refreshed() - before;
    println!("{PROCESSES} processes, {refreshed} refreshes, {reused} refused, {:.1} s", began.elapsed().as_secs_f32());
    assert_eq!((reused, calls.refreshes() - before), (0, refreshed), "every call was granted");
    assert!(refreshed >= cycles() * PROCESSES as u64, "{refreshed}");
    let stored = shell.stored().expect("stored");
    shell.refresh(&stored.refresh_token).await;
}

/// One process of those: refreshes as often as it is to, each time that its token is due.
#[tokio::test]
#[ignore = "started by its sibling, several times at once"]
async fn one_of_them() {
    let endpoint = env::var("TEST_ENDPOINT").expect("an endpoint");
    let record = PathBuf::from(env::var_os("TEST_RECORD").expect("a record"));
    let clock = ManualClock::at(SystemClock.now().wall);
    let shared: SharedClock = Arc::new(clock.clone());
    let settings = cognito::Settings {
        user_pool_id: Pool::POOL.into(),
        client_id: Pool::CLIENT.into(),
        client_secret: None,
        region: "eu-west-1".into(),
        endpoint: Some(endpoint.parse().expect("a URL")),
        issuer: format!("https://cognito-idp.eu-west-1.amazonaws.com/{}", Pool::POOL),
        jwks_url: format!("{endpoint}/{}/.well-known/jwks.json", Pool::POOL).parse().expect("a URL"),
        refresh_api: RefreshApi::Auto,
        verify_signature: true,
    };
    let transport = Transport::through(tls::client_config(None, None).expect("a trust store"), Egress::new("", ""));
    let issuer =
        Arc::new(Counting { inner: CognitoIssuer::new(settings, transport, shared), granted: AtomicU64::new(0) });
    let store = Arc::new(FileStore::new(record));
    let mut machine = shell::settings(Pool::POOL, Pool::CLIENT);
    machine.validity = Some(Duration::from_secs(10 * 365 * 86_400));
    let running = shell::start(&machine, &clock, issuer.clone(), store, None);
    let mut generation = running.generation(1).await;
    while issuer.granted.load(Ordering::SeqCst) < cycles() {
        clock.advance(DUE);
        while running.current.snapshot().token(TokenKind::Id).is_none_or(|token| token.generation <= generation) {
            let is_news = |snapshot: &Snapshot| {
                let is_newer = snapshot.token(TokenKind::Id).is_some_and(|token| token.generation > generation);
                is_newer || snapshot.facts.state == StateName::BackingOff
            };
            // The lock knows no queue: whoever was unlucky for twelve seconds backs off, and tries again.
            if running.until("a newer token", is_news).await.facts.state == StateName::BackingOff {
                clock.advance(Duration::from_secs(60));
                tokio::task::yield_now().await;
            }
        }
        generation = running.generation(generation + 1).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_another_process_has_spent_is_looked_for_in_the_store() {
    let shell = Shell::rotating(0).await;
    let session = shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    // Another program, which knows no lock, refreshes and stores while our call is under way.
    let grant = shell.refresh(&session.refresh_token).await;
    let held = shell.pool.hold_answers();
    let before = shell.pool.calls().refreshes();
    shell.clock.advance(DUE);
    shell.pool.wait_for(|calls| calls.refreshes() > before).await;
    let theirs = Session {
        refresh_token: grant.refresh_token.expect("rotated"),
        id_token: grant.id_token,
        generation: 2,
        jwks: grant.jwks,
        ..session
    };
    let path = shell.record();
    let text = cognito_proxy::store::to_record(&theirs).expect("a record");
    std::fs::write(path.with_extension("new"), text.expose()).expect("room");
    std::fs::set_permissions(path.with_extension("new"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    std::fs::rename(path.with_extension("new"), &path).expect("in place");
    drop(held);
    running.generation(2).await;
    let calls = shell.pool.calls();
    assert_eq!(calls.count(|call| call.is_refused("RefreshTokenReuseException")), 1);
    running.until("no failure", |snapshot| snapshot.facts.consecutive_failures == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn whoever_comes_second_takes_what_the_first_has_stored() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let (first, second) = (shell.start(), shell.start());
    first.generation(1).await;
    second.generation(1).await;
    let before = shell.pool.calls().refreshes();
    shell.clock.advance(DUE);
    first.generation(2).await;
    // No watch tells it: it looks when it has the lock.
    second.generation(2).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(shell.pool.calls().refreshes(), before + 1);
}
