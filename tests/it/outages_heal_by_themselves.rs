//! Whatever stands between the program and Cognito, the old token serves to its end, nothing is stored of what is no
//! answer, and the first answer after the outage ends it.

use std::{
    io,
    net::SocketAddr,
    path::Path as FilePath,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cognito_proxy::{
    cognito::{
        egress::Egress,
        transport::{Resolve, Transport},
    },
    devpool::{AppClient, Fault, Scope, Settings},
    session::{Outcome, TokenKind, snapshot::Snapshot},
    tls,
};
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::timeout};

use crate::support::{
    relay::{Flaw, Path, Relay, TlsFront},
    shell::{Running, Shell},
    wait::BOUND,
};

/// A token of an hour is due for a refresh by then, jitter or not.
const DUE: u64 = 3320;

async fn shell() -> Shell {
    Shell::of(AppClient::public(Settings::CLIENT)).await
}

fn failures(at_least: u32) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.facts.consecutive_failures >= at_least
}

fn last_error(running: &Running) -> String {
    running.current.snapshot().facts.last_refresh.as_ref().and_then(|last| last.error.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_pool_that_answers_500_is_asked_ever_more_seldom_and_the_old_token_serves_to_its_end() {
    let shell = shell().await;
    shell.signed_in().await;
    shell.pool.fail_always(Scope::Api, Fault::status(503));
    let before = shell.pool.calls().refreshes();
    let running = shell.start();
    running.generation(1).await;
    shell.pass(DUE);
    // Second by second to the token's last one: 279 s with pauses of up to 60 s.
    running.until("the first failure", failures(1)).await;
    for second in DUE..3598 {
        assert!(running.is_injecting(), "after {second} s");
        let known = running.current.snapshot().facts.consecutive_failures;
        let due = running.current.snapshot().facts.next_refresh_at;
        shell.pass(1);
        if due.is_some_and(|due| due <= running.current.now().wall) {
            running.until("the next failure", failures(known + 1)).await;
        }
    }
    let calls = shell.pool.calls().refreshes() - before;
    assert!((5..=40).contains(&calls), "{calls} calls in 279 s");
    shell.pass(2);
    assert!(!running.is_injecting(), "never past its end");
    let waiting = running.current.clone();
    shell.pool.heal();
    shell.pass(60);
    let served = tokio::spawn(async move { waiting.ready(TokenKind::Id).await });
    served.await.expect("no panic").expect("the outage is over");
    assert_eq!(running.current.snapshot().facts.consecutive_failures, 0);
    running.stop().await;
}

/// The path is spoiled for one refresh while the token is good; then it is clear.
async fn spoiled(path: Path) -> (Shell, Relay, Running) {
    let shell = shell().await;
    let session = shell.signed_in().await;
    let relay = Relay::to(shell.pool.address(), path).await;
    let running = shell.start_with(shell.issuer_at(&relay.url()), shell.store(), None);
    running.generation(1).await;
    shell.pass(DUE);
    running.until("a failure", failures(1)).await;
    assert!(running.is_injecting());
    let stored = shell.stored().expect("still there");
    assert_eq!((stored.refresh_token, stored.generation), (session.refresh_token, session.generation));
    (shell, relay, running)
}

async fn heals(shell: &Shell, relay: &Relay, running: Running) {
    relay.set(Path::Clear);
    shell.pass(60);
    running.generation(2).await;
    assert_eq!(running.current.snapshot().facts.last_refresh.as_ref().map(|last| last.outcome), Some(Outcome::Ok));
    running.stop().await;
    assert_eq!(shell.stored().map(|stored| stored.generation), Some(2));
}

#[tokio::test]
async fn a_captive_portal_is_never_taken_for_cognito_and_never_followed() {
    for status in [200, 302, 511] {
        let (shell, relay, running) = spoiled(Path::Page(status)).await;
        let error = last_error(&running);
        assert!(error.contains("captive portal?"), "{status}: {error}");
        assert_eq!(relay.accepted(), 1, "{status}: not followed, and not repeated at once");
        assert_eq!(shell.pool.calls().refreshed(), 1, "only the sign-in's own");
        heals(&shell, &relay, running).await;
    }
}

#[tokio::test]
async fn connections_that_break_are_an_outage_whenever_they_break() {
    for path in [Path::ResetBefore, Path::ResetAfter, Path::Truncated(20), Path::Truncated(600)] {
        let (shell, relay, running) = spoiled(path).await;
        heals(&shell, &relay, running).await;
    }
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_in_time_and_harms_no_request() {
    let (shell, relay, running) = spoiled(Path::BlackHole).await;
    let error = last_error(&running);
    assert!(error.contains("timeout"), "{error}");
    heals(&shell, &relay, running).await;
}

#[tokio::test]
async fn one_that_drips_is_given_up_by_the_total_and_not_by_the_byte() {
    let (shell, relay, running) = spoiled(Path::Dripping(Duration::from_secs(1))).await;
    let error = last_error(&running);
    assert!(error.contains("timeout"), "{error}");
    heals(&shell, &relay, running).await;
}

#[tokio::test]
async fn one_that_is_merely_slow_is_no_outage() {
    let shell = shell().await;
    shell.signed_in().await;
    let relay = Relay::to(shell.pool.address(), Path::Delayed(Duration::from_millis(300))).await;
    let running = shell.start_with(shell.issuer_at(&relay.url()), shell.store(), None);
    shell.pass(DUE);
    running.generation(2).await;
    assert_eq!(relay.accepted(), 1);
    running.stop().await;
}

fn trusting(shell: &Shell, front: &TlsFront, directory: &FilePath) -> Arc<dyn cognito_proxy::cognito::Issuer> {
    let file = directory.join("ca.pem");
    std::fs::write(&file, &front.authority).expect("room");
    let trust = tls::client_config(Some(&file), None).expect("a trust store");
    Arc::new(shell.cognito_at(&front.url(), trust))
}

#[tokio::test]
async fn a_certificate_with_a_flaw_is_loud_and_is_told_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for flaw in [Flaw::Expired, Flaw::WrongName, Flaw::UnknownAuthority] {
        let shell = shell().await;
        shell.signed_in().await;
        let front = TlsFront::of(shell.pool.address(), flaw).await;
        let running = shell.start_with(trusting(&shell, &front, directory.path()), shell.store(), None);
        running.generation(1).await;
        shell.pass(DUE);
        running.until("a failure", failures(1)).await;
        let error = last_error(&running);
        assert!(error.contains("tls_certificate_error"), "{flaw:?}: {error}");
        assert!(running.is_injecting());
        assert!(front.connections() >= 1);
        assert_eq!(front.clear_bytes(), 0, "{flaw:?}: not a byte of HTTP");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_certificate_without_a_flaw_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let shell = shell().await;
    shell.signed_in().await;
    let front = TlsFront::of(shell.pool.address(), Flaw::None).await;
    let running = shell.start_with(trusting(&shell, &front, directory.path()), shell.store(), None);
    shell.pass(DUE);
    running.generation(2).await;
    running.stop().await;
}

/// What a resolver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// `NXDOMAIN`: there is no such name.
    NoSuchName,
    /// `SERVFAIL`: whoever would know fails.
    Fails,
    /// Nobody answers.
    Never,
    /// As it should.
    Well,
}

#[derive(Debug)]
struct Names {
    answers: watch::Sender<Answers>,
    asked: AtomicU64,
    address: SocketAddr,
}

impl Resolve for Names {
    fn addresses(&self, peer: String) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
        assert!(peer.starts_with("cognito.test:"), "{peer}");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answers = *self.answers.borrow();
        Box::pin(async move {
            match answers {
                Answers::NoSuchName => Err(io::Error::other("failed to lookup address: Name or service not known")),
                Answers::Fails => Err(io::Error::other("failed to lookup address: Temporary failure")),
                Answers::Never => std::future::pending().await,
                Answers::Well => Ok(vec![self.address]),
            }
        })
    }
}

async fn names_come_back(first: Answers) {
    let shell = shell().await;
    shell.signed_in().await;
    let names =
        Arc::new(Names { answers: watch::Sender::new(first), asked: AtomicU64::new(0), address: shell.pool.address() });
    let trust = tls::client_config(None, None).expect("a trust store");
    let transport = Transport::resolving(trust, Egress::new("", ""), names.clone());
    let endpoint = format!("http://cognito.test:{}", shell.pool.address().port());
    let issuer = Arc::new(shell.cognito_over(&endpoint, transport));
    let running = shell.start_with(issuer, shell.store(), None);
    running.generation(1).await;
    shell.pass(DUE);
    running.until("a failure", failures(1)).await;
    assert!(running.is_injecting(), "{first:?}: the token is good");
    let error = last_error(&running);
    assert!(error.contains("cognito.test"), "{first:?}: {error}");
    // So long after its end that a pause of a minute is behind it, and the next one ahead.
    for minute in 1..=6 {
        // A resolver that never answers takes five real seconds each time.
        names.answers.send_replace(if minute < 6 { Answers::Fails } else { first });
        let known = running.current.snapshot().facts.consecutive_failures;
        shell.pass(60);
        running.until("the next failure", failures(known + 1)).await;
    }
    assert!(!running.is_injecting());
    let asked = names.asked.load(Ordering::SeqCst);
    names.answers.send_replace(Answers::Well);
    // Requests come every second. The next attempt by itself is further away than the five seconds that this may take.
    let due = running.current.snapshot().facts.next_refresh_at.expect("one is due");
    assert!(due.since(running.current.now().wall) > Duration::from_secs(5), "{first:?}");
    for second in 1..=5 {
        shell.pass(1);
        let served = timeout(BOUND, running.current.ready(TokenKind::Id)).await.expect("no hang");
        assert!(served.is_ok() || second < 5, "{first:?}, after {second} s: {served:?}");
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), asked + 1, "{first:?}: one lookup, and it was believed");
    assert_eq!(running.current.snapshot().facts.consecutive_failures, 0);
    running.stop().await;
}

#[tokio::test]
async fn names_that_cannot_be_looked_up_are_an_outage_that_ends_within_five_seconds_of_theirs() {
    tokio::join!(names_come_back(Answers::NoSuchName), names_come_back(Answers::Fails));
}

#[tokio::test]
async fn a_resolver_that_never_answers_is_given_up_and_asked_again() {
    names_come_back(Answers::Never).await;
}

#[tokio::test]
async fn throttling_waits_as_long_as_it_is_told() {
    let shell = shell().await;
    shell.signed_in().await;
    shell.pool.fail_next(1, Scope::Refresh, Fault::throttled(Some(Duration::from_secs(30))));
    let running = shell.start();
    shell.pass(DUE);
    let throttled = running.until("throttling", failures(1)).await;
    assert_eq!(throttled.facts.last_refresh.as_ref().map(|last| last.outcome), Some(Outcome::Throttled));
    let before = shell.pool.calls().refreshes();
    shell.pass(29);
    // A request does not hurry it either: the token is good.
    running.current.ready(TokenKind::Id).await.expect("a token");
    assert_eq!(shell.pool.calls().refreshes(), before);
    shell.pass(1);
    running.generation(2).await;
    running.stop().await;
}
