//! Under rotation a new token is in use only once its refresh token is on disk, or the disk has refused it; whatever
//! happens meanwhile, one refresh is in flight and its result is kept.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cognito_proxy::{
    clock::Now,
    cognito::{Issuer, RefreshRequest},
    devpool::{Commit, Fault, Scope},
    refresher::Command,
    session::{EndReason, Failure, Grant, Session, TokenKind, status::StateName},
    store::{LoadError, Lock, LockError, SaveError, TokenStore},
    watch::{Changes, WatchError},
};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::support::{
    shell::{Running, Shell},
    wait,
};

/// A token of an hour is due for a refresh by then, jitter or not.
const DUE: u64 = 3320;

/// A store whose disk can be held up, or be full.
struct Disk {
    inner: Arc<dyn TokenStore>,
    is_full: AtomicBool,
    refused: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
}

impl Disk {
    fn of(shell: &Shell) -> Arc<Self> {
        Arc::new(Self {
            inner: shell.store(),
            is_full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            held: Mutex::new(false),
            released: Condvar::new(),
        })
    }

    /// Holds writes up while the returned value exists.
    fn hold(self: &Arc<Self>) -> HeldUp {
        *self.held.lock().expect("whole") = true;
        HeldUp(Arc::clone(self))
    }

    fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

struct HeldUp(Arc<Disk>);

impl Drop for HeldUp {
    fn drop(&mut self) {
        *self.0.held.lock().expect("whole") = false;
        self.0.released.notify_all();
    }
}

impl TokenStore for Disk {
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError> {
        self.inner.load(now)
    }

    fn save(&self, session: &Session, lock: &Lock) -> Result<(), SaveError> {
        drop(self.released.wait_while(self.held.lock().expect("whole"), |held| *held).expect("whole"));
        if self.is_full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(SaveError::Io { path: PathBuf::from("full"), deed: "written", source });
        }
        self.inner.save(session, lock)
    }

    fn clear(&self, lock: &Lock) -> Result<(), SaveError> {
        self.inner.clear(lock)
    }

    fn lock(&self, wait: Duration) -> Result<Lock, LockError> {
        self.inner.lock(wait)
    }

    fn watch(&self) -> Result<Changes, WatchError> {
        self.inner.watch()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[tokio::test]
async fn a_new_token_waits_for_the_disk() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let disk = Disk::of(&shell);
    let running = shell.start_with(shell.issuer(), disk.clone(), None);
    running.generation(1).await;
    let held = disk.hold();
    let before = shell.pool.calls().refreshed();
    shell.pass(DUE);
    shell.pool.wait_for(|calls| calls.refreshed() > before).await;
    // A waiter asks for the token that dies soon, and gets it rather than the new one.
    shell.pass(230);
    let waiting = running.current.clone();
    let waiter = tokio::spawn(async move { waiting.ready(TokenKind::Id).await });
    tokio::task::yield_now().await;
    let seen = running.current.snapshot().token(TokenKind::Id).expect("the old one").generation;
    assert_eq!((seen, waiter.is_finished()), (1, false), "the disk has not answered");
    drop(held);
    let served = waiter.await.expect("no panic").expect("a token");
    assert_eq!(served.token(TokenKind::Id).expect("the new one").generation, 2);
    assert_eq!(shell.stored().expect("stored").generation, 2);
    running.stop().await;
}

/// A running refresher whose rotated token the disk has refused.
async fn refused() -> (Shell, Arc<Disk>, Running) {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let disk = Disk::of(&shell);
    disk.fill(true);
    let running = shell.start_with(shell.issuer(), disk.clone(), None);
    shell.pass(DUE);
    running.until("a flagged rotation", |snapshot| snapshot.facts.unpersisted_rotation).await;
    assert_eq!(running.generation(2).await, 2, "served all the same");
    assert_eq!(shell.stored().expect("the old record, intact").generation, 1);
    (shell, disk, running)
}

#[tokio::test]
async fn a_disk_that_refuses_is_asked_again_until_it_has_room() {
    let (shell, disk, running) = refused().await;
    let before = disk.refused();
    shell.pass(1);
    wait::until("another attempt", async || (disk.refused() > before).then_some(())).await;
    disk.fill(false);
    shell.pass(60);
    running.until("no flag", |snapshot| !snapshot.facts.unpersisted_rotation).await;
    assert_eq!(shell.stored().expect("stored").generation, 2);
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_tries_for_ten_seconds_and_no_longer() {
    let (shell, disk, running) = refused().await;
    let before = disk.refused();
    running.shut_down();
    let mut ending = tokio::spawn(running.ended());
    for _ in 0..19 {
        tokio::time::timeout(Duration::from_millis(20), &mut ending).await.expect_err("it still tries");
        shell.clock.advance(Duration::from_millis(500));
    }
    wait::until("an end", async || {
        shell.clock.advance(Duration::from_millis(500));
        ending.is_finished().then_some(())
    })
    .await;
    assert!(disk.refused() > before + 5, "{} attempts", disk.refused() - before);
}

#[tokio::test]
async fn a_shutdown_ends_as_soon_as_the_disk_has_room() {
    let (shell, disk, running) = refused().await;
    running.shut_down();
    disk.fill(false);
    let ending = tokio::spawn(running.ended());
    wait::until("an end", async || {
        shell.clock.advance(Duration::from_millis(500));
        ending.is_finished().then_some(())
    })
    .await;
    assert_eq!(shell.stored().expect("stored").generation, 2);
}

/// A refresher with a refresh in flight whose answer is held back.
async fn in_flight() -> (Shell, cognito_proxy::devpool::HeldAnswers, Running) {
    let shell = Shell::rotating(0).await;
    let mut session = shell.session().await;
    session.notes.locked = true;
    shell.keep(&session);
    let held = shell.pool.hold_answers();
    let before = shell.pool.calls().refreshes();
    let running = shell.start();
    running.until("the record", |snapshot| snapshot.facts.identity.is_some()).await;
    shell.pass(DUE);
    shell.pool.wait_for(|calls| calls.refreshes() > before).await;
    (shell, held, running)
}

#[tokio::test]
async fn a_shutdown_lets_a_refresh_end_and_stores_it() {
    let (shell, held, running) = in_flight().await;
    running.shut_down();
    let ending = tokio::spawn(running.ended());
    tokio::task::yield_now().await;
    assert!(!ending.is_finished());
    drop(held);
    ending.await.expect("ended");
    let spent = shell.stored().expect("stored");
    assert_eq!(spent.generation, 2);
    shell.refresh(&spent.refresh_token).await;
}

#[tokio::test]
async fn a_shutdown_repeats_a_refresh_whose_answer_was_lost() {
    let shell = Shell::rotating(10).await;
    shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    shell.pool.fail_next(1, Scope::Refresh, Fault::Reset(Commit::After));
    let held = shell.pool.hold_answers();
    let before = shell.pool.calls().refreshes();
    shell.pass(DUE);
    shell.pool.wait_for(|calls| calls.refreshes() > before).await;
    running.shut_down();
    drop(held);
    running.ended().await;
    assert_eq!(shell.pool.calls().refreshes(), before + 2);
    assert_eq!(shell.stored().expect("stored").generation, 2);
}

#[tokio::test]
async fn a_sign_in_overtakes_a_refresh_in_flight() {
    let (shell, held, running) = in_flight().await;
    let other = Shell::rotating(0).await.session().await;
    let ours = Session { generation: 1, ..other };
    let refresh_token = ours.refresh_token.clone();
    assert!(running.adopt(ours).await, "durable, though the overtaken refresh held the lock");
    let stored = shell.stored().expect("stored");
    assert_eq!((stored.refresh_token, stored.generation), (refresh_token, 2));
    drop(held);
    running.stop().await;
    assert_eq!(shell.stored().expect("stored").generation, 2, "what it brought is of no use to anybody");
}

#[tokio::test]
async fn a_logout_overtakes_a_refresh_in_flight() {
    let (shell, held, running) = in_flight().await;
    let (done, told) = oneshot::channel();
    running.commands.send(Command::Clear { done }).await.expect("it listens");
    assert_eq!(told.await.expect("told"), Ok(()));
    drop(held);
    running.stop().await;
    assert_eq!(shell.stored(), None);
}

#[tokio::test]
async fn a_write_that_falls_due_during_a_refresh_waits_for_it_and_not_for_its_lock() {
    let (shell, held, running) = in_flight().await;
    let (done, told) = oneshot::channel();
    running.commands.send(Command::Unlock { done }).await.expect("it listens");
    told.await.expect("opened at once");
    assert!(!running.current.snapshot().facts.unpersisted_rotation);
    drop(held);
    running.generation(2).await;
    running.stop().await;
    let stored = shell.stored().expect("stored");
    assert_eq!((stored.generation, stored.notes.locked), (2, false));
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_is_made_good_within_the_grace_period() {
    let shell = Shell::rotating(10).await;
    shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    let before = shell.pool.calls().refreshes();
    shell.pool.fail_next(1, Scope::Refresh, Fault::Reset(Commit::After));
    shell.pass(DUE);
    // At once: the clock stands still.
    running.generation(2).await;
    assert_eq!(shell.pool.calls().refreshes(), before + 2);
    running.stop().await;
}

#[tokio::test]
async fn without_a_grace_period_a_lost_answer_is_a_loss_that_is_called_one() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let mut running = shell.start();
    running.generation(1).await;
    shell.pool.fail_next(1, Scope::Refresh, Fault::Reset(Commit::After));
    shell.pass(DUE);
    running.until("the first refusal", |snapshot| snapshot.facts.consecutive_failures == 2).await;
    assert!(running.is_injecting(), "one refusal is none");
    shell.pass(2);
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    assert!(running.is_injecting(), "the old token serves to its end");
    let warning = running.warnings.recv().await.expect("a warning");
    assert_eq!(warning.reason, Some(EndReason::RotatedTokenLost));
    let calls = shell.pool.calls().refreshes();
    shell.pass(86_400);
    running.stop().await;
    assert_eq!(shell.pool.calls().refreshes(), calls, "nobody is asked any more");
    assert_eq!(shell.stored().expect("kept").notes.ended, Some(EndReason::RotatedTokenLost));
}

/// Breaks down at its first call.
struct Fragile {
    inner: Arc<dyn Issuer>,
    calls: AtomicU64,
}

impl Issuer for Fragile {
    fn refresh(&self, request: RefreshRequest) -> BoxFuture<'_, Result<Grant, Failure>> {
        assert!(self.calls.fetch_add(1, Ordering::SeqCst) > 1, "on purpose");
        self.inner.refresh(request)
    }

    fn reverify(&self, session: Session, now: Now) -> Session {
        self.inner.reverify(session, now)
    }
}

#[tokio::test]
async fn a_panic_in_a_refresh_is_a_failure_and_is_tried_again() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let fragile = Arc::new(Fragile { inner: shell.issuer(), calls: AtomicU64::new(0) });
    let running = shell.start_with(fragile.clone(), shell.store(), None);
    running.generation(1).await;
    shell.pass(DUE);
    // Once, and at once again, since nobody knows how far it had come.
    running.until("two failures", |snapshot| snapshot.facts.consecutive_failures == 2).await;
    assert!(running.is_injecting());
    shell.pass(60);
    running.generation(2).await;
    running.stop().await;
}
