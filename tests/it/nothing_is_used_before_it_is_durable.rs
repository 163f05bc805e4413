//! Under rotation a new token is in use only once its refresh token is on disk, or the disk has refused it; whatever
//! happens meanwhile, one refresh is in flight and its result is kept.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cognito_proxy::{
    clock::{Clock as _, Now},
    cognito::{Issuer, RefreshRequest},
    devpool::{Commit, Fault, Scope},
    refresher::Command,
    session::{EndReason, Failure, Grant, Session, TokenKind, status::StateName},
    store::TokenStore,
};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::support::{
    shell::{Barrier, Hooked, Running, Shell},
    wait,
};

/// A token of an hour is due for a refresh by then, jitter or not.
const DUE: u64 = 3320;

/// A disk that can be held up, or be full.
#[derive(Default)]
struct Disk {
    writes: Arc<Barrier>,
    is_full: AtomicBool,
    refused: AtomicU64,
}

impl Disk {
    /// The shell's store on such a disk.
    fn under(shell: &Shell) -> (Arc<Self>, Arc<Hooked>) {
        let disk = Arc::new(Self::default());
        let mut store = Hooked::over(shell.store());
        store.before_save = Box::new({
            let disk = Arc::clone(&disk);
            move || disk.has_room()
        });
        (disk, Arc::new(store))
    }

    fn has_room(&self) -> io::Result<()> {
        self.writes.past();
        if self.is_full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_new_token_waits_for_the_disk() {
    let shell = Shell::rotating(0).await;
    shell.signed_in().await;
    let (disk, store) = Disk::under(&shell);
    let running = shell.start_with(shell.issuer(), store, None);
    running.generation(1).await;
    let held = disk.writes.close();
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
    let (disk, store) = Disk::under(&shell);
    disk.fill(true);
    let running = shell.start_with(shell.issuer(), store, None);
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
    // The pause is reckoned from when the refusal is heard of, which may be after this.
    wait::until("no flag", async || {
        shell.pass(1);
        (!running.current.snapshot().facts.unpersisted_rotation).then_some(())
    })
    .await;
    assert_eq!(shell.stored().expect("stored").generation, 2);
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_tries_for_ten_seconds_and_no_longer() {
    let (shell, disk, running) = refused().await;
    let before = disk.refused();
    let began = running.current.now().boot;
    running.shut_down();
    let mut ending = tokio::spawn(running.ended());
    let passed = || shell.clock.now().boot.saturating_sub(began);
    for attempts in 1..=3 {
        wait::until("another attempt", async || {
            shell.clock.advance(Duration::from_millis(10));
            (disk.refused() >= before + attempts).then_some(())
        })
        .await;
    }
    shell.clock.advance(Duration::from_millis(9_900).saturating_sub(passed()));
    tokio::time::timeout(Duration::from_millis(50), &mut ending).await.expect_err("it still tries");
    wait::until("an end", async || {
        shell.clock.advance(Duration::from_millis(10));
        ending.is_finished().then_some(())
    })
    .await;
    assert!(passed() < Duration::from_secs(20), "{:?}", passed());
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

#[tokio::test]
async fn a_shutdown_that_waits_for_the_disk_begins_no_refresh() {
    let (shell, disk, running) = refused().await;
    let calls = shell.pool.calls().refreshes();
    let held = disk.writes.close();
    running.shut_down();
    let ending = tokio::spawn(running.ended());
    wait::until("another attempt", async || {
        shell.clock.advance(Duration::from_millis(10));
        disk.writes.is_reached().then_some(())
    })
    .await;
    // By the time that the disk refuses again, the token is due for a refresh.
    shell.pass(DUE);
    drop(held);
    wait::until("an end", async || {
        shell.clock.advance(Duration::from_millis(500));
        ending.is_finished().then_some(())
    })
    .await;
    // One that was begun would be at the pool in a moment.
    let begun = shell.pool.wait_for(|known| known.refreshes() > calls);
    assert!(tokio::time::timeout(Duration::from_millis(300), begun).await.is_err(), "nobody would take its answer");
}

/// A refresher with a refresh in flight whose answer is held back.
async fn in_flight() -> (Shell, cognito_proxy::devpool::HeldAnswers, Running) {
    let shell = Shell::rotating(0).await;
    let store = shell.store();
    in_flight_over(shell, store).await
}

async fn in_flight_over(
    shell: Shell,
    store: Arc<dyn TokenStore>,
) -> (Shell, cognito_proxy::devpool::HeldAnswers, Running) {
    let mut session = shell.session().await;
    session.notes.locked = true;
    shell.keep(&session);
    let held = shell.pool.hold_answers();
    let before = shell.pool.calls().refreshes();
    let running = shell.start_with(shell.issuer(), store, None);
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
async fn a_refresh_that_was_given_up_for_a_logout_that_failed_is_made_again_at_once() {
    let shell = Shell::rotating(10).await;
    let mut store = Hooked::over(shell.store());
    store.before_clear = Box::new(|| Err(io::ErrorKind::ReadOnlyFilesystem.into()));
    let (shell, held, running) = in_flight_over(shell, Arc::new(store)).await;
    let (done, told) = oneshot::channel();
    running.commands.send(Command::Clear { done }).await.expect("it listens");
    let refused = told.await.expect("told").expect_err("the record is still there");
    assert!(refused.contains("cannot be removed"), "{refused}");
    drop(held);
    // The clock stands still, so that no pause ends.
    running.generation(2).await;
    running.stop().await;
    assert_eq!(shell.stored().expect("stored").generation, 2);
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

/// A refresh whose rotation is committed, cut off by a crash before its write or after it.
async fn crashed(grace: u64, is_written: bool) -> (Shell, Session) {
    let shell = Shell::rotating(grace).await;
    let session = shell.signed_in().await;
    let barrier = Arc::new(Barrier::default());
    let mut store = Hooked::over(shell.store());
    let passing = Arc::clone(&barrier);
    if is_written {
        store.after_save = Box::new(move || passing.past());
    } else {
        store.before_save = Box::new(move || {
            passing.past();
            // Whoever is gone writes nothing.
            Err(io::ErrorKind::Interrupted.into())
        });
    }
    let closed = barrier.close();
    let running = shell.start_with(shell.issuer(), Arc::new(store), None);
    running.generation(1).await;
    shell.pass(DUE);
    wait::until("the write", async || barrier.is_reached().then_some(())).await;
    let seen = running.current.snapshot().token(TokenKind::Id).expect("the old one").generation;
    assert_eq!(seen, 1, "nobody has been told of the new one");
    running.crash().await;
    drop(closed);
    (shell, session)
}

#[tokio::test]
async fn a_crash_before_the_write_is_made_good_within_the_grace_period() {
    let (shell, session) = crashed(10, false).await;
    assert_eq!(shell.stored().expect("the old record").refresh_token, session.refresh_token);
    let running = shell.start();
    running.generation(2).await;
    running.stop().await;
    let stored = shell.stored().expect("stored");
    shell.refresh(&stored.refresh_token).await;
}

#[tokio::test]
async fn a_crash_before_the_write_without_a_grace_period_is_a_loss_that_is_called_one() {
    let (shell, session) = crashed(0, false).await;
    let mut running = shell.start();
    running.until("the first refusal", |snapshot| snapshot.facts.consecutive_failures == 1).await;
    shell.pass(2);
    running.until("the verdict", |snapshot| snapshot.facts.state == StateName::SessionEnded).await;
    assert!(running.is_injecting(), "the old token serves to its end");
    let warning = running.warnings.recv().await.expect("a warning");
    assert_eq!(warning.reason, Some(EndReason::RotatedTokenLost));
    running.stop().await;
    assert_eq!(shell.stored().expect("kept").refresh_token, session.refresh_token);
}

#[tokio::test]
async fn a_crash_after_the_write_costs_nothing() {
    let (shell, session) = crashed(0, true).await;
    assert_ne!(shell.stored().expect("the new record").refresh_token, session.refresh_token);
    let calls = shell.pool.calls().refreshes();
    let running = shell.start();
    assert_eq!(running.generation(2).await, 2);
    running.stop().await;
    assert_eq!(shell.pool.calls().refreshes(), calls, "what was stored is good, and nobody is asked");
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
