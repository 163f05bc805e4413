//! Waiting, holding and being woken, on a clock that is moved by hand. Tokio's own time is paused: it moves only when
//! everybody waits.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    session::{
        EndReason, Mode,
        state::{
            Event,
            fixtures::{NINE, World, refused, settings as machine, transient},
        },
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const KIND: TokenKind = TokenKind::Id;

/// A machine in its world, and the cell that shows what it publishes.
struct Desk {
    world: World,
    clock: ManualClock,
    publisher: Publisher,
    current: CurrentToken,
    nudges: mpsc::Receiver<Nudge>,
}

const SETTINGS: Settings = Settings { wait: Duration::from_secs(10), hold: Duration::from_secs(30), max_held: 256 };

impl Desk {
    fn of(world: World, settings: Settings) -> Self {
        let clock = ManualClock::at(NINE);
        let (publisher, current, nudges) = cell(world.published.clone(), settings, Arc::new(clock.clone()));
        let mut desk = Self { world, clock, publisher, current, nudges };
        desk.show();
        desk
    }

    /// Somebody who has not been here for two hours, and refreshes on demand.
    fn stale() -> Self {
        let mut settings = machine();
        settings.mode = Mode::OnDemand;
        let mut world = World::at_nine(settings, 3600, 30 * 24 * HOUR);
        world.passes(2 * HOUR);
        Self::of(world, SETTINGS)
    }

    /// A session whose end came when its token had died already.
    fn ended(settings: Settings) -> Self {
        let mut world = World::at_nine(machine(), 3600, 30 * 24 * HOUR);
        world.pool.outage = Some(refused(EndReason::Revoked));
        world.passes(HOUR);
        Self::of(world, settings)
    }

    /// The clock and the cell follow the world.
    fn show(&mut self) {
        let now = self.clock.now();
        self.clock.advance(self.world.now.boot.saturating_sub(now.boot));
        self.publisher.publish(self.world.published.clone());
    }

    fn happens(&mut self, event: Event) {
        self.world.happens(event);
        self.show();
    }

    fn passes(&mut self, duration: Duration) {
        self.world.passes(duration);
        self.show();
    }

    fn requests(&self, count: usize) -> JoinSet<Result<Arc<Snapshot>, Refusal>> {
        (0..count)
            .map(|_| {
                let current = self.current.clone();
                async move { current.ready(KIND).await }
            })
            .collect()
    }
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_are_woken_by_one_publish() {
    let mut desk = Desk::stale();
    let requests = desk.requests(1000);
    settle().await;
    let mut heard = 0;
    while let Ok(nudge) = desk.nudges.try_recv() {
        assert!(matches!(nudge, Nudge::Wanted));
        heard += 1;
        desk.happens(Event::Wanted);
    }
    assert!((1..=64).contains(&heard), "{heard} nudges");
    desk.passes(Duration::from_secs(1));
    let answers = requests.join_all().await;
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(desk.world.calls.len(), 1);
    assert_eq!(desk.current.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn patience_that_runs_out_gets_the_old_token_while_it_has_a_moment() {
    let mut settings = machine();
    settings.mode = Mode::OnDemand;
    let mut world = World::at_nine(settings, 3600, 30 * 24 * HOUR);
    world.pool.latency = HOUR;
    world.until(NINE + HOUR - Duration::from_secs(50));
    let mut desk = Desk::of(world, SETTINGS);
    desk.happens(Event::Wanted);
    let began = Instant::now();
    let snapshot = desk.current.ready(KIND).await.expect("fifty seconds are left");
    assert_eq!(began.elapsed(), SETTINGS.wait);
    assert_eq!(snapshot.id_token.as_ref().map(|token| token.generation), Some(1));

    desk.passes(Duration::from_secs(50));
    let began = Instant::now();
    let refusal = desk.current.ready(KIND).await.expect_err("nothing is left");
    assert_eq!((refusal.code, began.elapsed()), (Code::RefreshFailing, SETTINGS.wait));
    assert!(refusal.retry_after.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_retry_within_the_patience_is_waited_for_and_a_later_one_is_not() {
    let mut desk = Desk::stale();
    desk.world.pool.script.extend([transient(false)]);
    let request = desk.requests(1);
    settle().await;
    desk.happens(Event::Wanted);
    desk.passes(desk.world.pool.latency);
    assert!(matches!(desk.current.snapshot().gate, Gate::BackingOff { .. }));
    settle().await;
    desk.passes(Duration::from_secs(2));
    assert!(request.join_all().await.iter().all(Result::is_ok));

    let mut desk = Desk::stale();
    desk.world.pool.script.push_back(crate::session::Failure::Throttled {
        retry_after: Some(Duration::from_secs(50)),
        detail: "slow down".into(),
    });
    desk.happens(Event::Wanted);
    desk.passes(Duration::from_secs(1));
    let began = Instant::now();
    let refusal = desk.current.ready(KIND).await.expect_err("nothing comes within ten seconds");
    assert_eq!((refusal.code, began.elapsed()), (Code::RefreshFailing, Duration::ZERO));
    assert!(refusal.retry_after.is_some_and(|after| after > Duration::from_secs(45)), "{refusal:?}");
}

#[tokio::test(start_paused = true)]
async fn held_requests_wait_for_a_sign_in_and_go_on_with_its_token() {
    let mut desk = Desk::ended(SETTINGS);
    let requests = desk.requests(100);
    settle().await;
    assert_eq!(desk.current.held(), 100);
    tokio::time::advance(Duration::from_secs(25)).await;
    desk.world.sign_in();
    desk.show();
    assert!(requests.join_all().await.iter().all(Result::is_ok));
    assert_eq!(desk.current.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_held_request_is_told_the_verdict_when_nobody_signs_in() {
    let desk = Desk::ended(SETTINGS);
    let began = Instant::now();
    let refusal = desk.current.ready(KIND).await.expect_err("nobody comes");
    assert_eq!((refusal.code, began.elapsed()), (Code::SessionExpired, SETTINGS.hold));
    assert_eq!(refusal.fix, "cognito-proxy login");
    assert_eq!(desk.current.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_arrive_within_ten_minutes_of_the_last_token_are_held() {
    let mut desk = Desk::ended(SETTINGS);
    let died = desk.world.state.session().expect("kept").id_token.claims.expires_at - Duration::from_secs(1);
    let ten_minutes = died + Duration::from_secs(600);
    desk.passes((ten_minutes - Duration::from_secs(1)).since(desk.world.now.wall));
    let request = desk.requests(1);
    settle().await;
    assert_eq!(desk.current.held(), 1);
    // It arrived in time, and is not sent away because something else is published after that.
    desk.passes(Duration::from_secs(2));
    desk.current.cell.version.send_modify(|version| *version += 1);
    settle().await;
    assert_eq!(desk.current.held(), 1);
    desk.world.sign_in();
    desk.show();
    assert!(request.join_all().await[0].is_ok());

    let mut desk = Desk::ended(SETTINGS);
    desk.passes(ten_minutes.since(desk.world.now.wall));
    let began = Instant::now();
    let refusal = desk.current.ready(KIND).await.expect_err("too late to be held");
    assert_eq!((refusal.code, began.elapsed()), (Code::SessionExpired, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_is_held_is_not_sent_away_for_the_refresh_of_the_new_session() {
    let mut desk = Desk::ended(SETTINGS);
    let requests = desk.requests(1);
    settle().await;
    tokio::time::advance(Duration::from_secs(20)).await;
    // A sign-in by another process: its token is stale, and the refresh takes a moment.
    let mut session = crate::session::state::fixtures::session(desk.world.now, 3600);
    session.generation = 9;
    session.auth_time = Some(desk.world.now.wall);
    session.id_token.claims.expires_at = desk.world.now.wall;
    desk.world.pool.outage = None;
    desk.happens(Event::Adopted { session: Box::new(session), stored: true });
    assert!(matches!(desk.current.snapshot().gate, Gate::Refreshing));
    tokio::time::advance(Duration::from_secs(5)).await;
    desk.passes(Duration::from_secs(5));
    assert!(requests.join_all().await[0].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_refresh_counts_into_the_hold_and_the_other_way_round() {
    // Eight seconds for a refresh, then the verdict.
    let mut world =
        World::at_nine(crate::session::Settings { mode: Mode::OnDemand, ..machine() }, 3600, 30 * 24 * HOUR);
    world.passes(HOUR);
    let mut desk = Desk::of(world, SETTINGS);
    let began = Instant::now();
    let requests = desk.requests(1);
    settle().await;
    desk.world.pool.outage = Some(refused(EndReason::Revoked));
    desk.happens(Event::Wanted);
    tokio::time::advance(Duration::from_secs(8)).await;
    desk.passes(Duration::from_secs(8));
    settle().await;
    assert_eq!(desk.current.held(), 1);
    let refusal = requests.join_all().await.remove(0).expect_err("nobody signs in");
    assert_eq!((refusal.code, began.elapsed()), (Code::SessionExpired, SETTINGS.hold));

    // And a refresh that follows a late sign-in takes no longer than the hold.
    let mut desk = Desk::ended(SETTINGS);
    let began = Instant::now();
    let requests = desk.requests(1);
    settle().await;
    tokio::time::advance(Duration::from_secs(25)).await;
    let mut session = crate::session::state::fixtures::session(desk.world.now, 3600);
    session.generation = 9;
    session.auth_time = Some(desk.world.now.wall);
    session.id_token.claims.expires_at = desk.world.now.wall;
    desk.happens(Event::Adopted { session: Box::new(session), stored: true });
    let refusal = requests.join_all().await.remove(0).expect_err("no answer");
    assert_eq!((refusal.code, began.elapsed()), (Code::RefreshFailing, SETTINGS.hold));
}

#[tokio::test(start_paused = true)]
async fn a_401_gets_no_token_past_a_lock() {
    let mut settings = machine();
    settings.idle_lock = Some(Duration::from_secs(900));
    let mut desk = Desk::of(World::at_nine(settings, 3600, 30 * 24 * HOUR), SETTINGS);
    desk.passes(HOUR);
    let newer = desk.current.snapshot();
    assert!(newer.token(KIND).expect("refreshing goes on").generation > 1);
    assert_eq!(newer.gate, Gate::Locked);
    drop(desk.nudges);
    assert!(desk.current.renewed(KIND, 1).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_full_house_and_a_hold_that_is_off_refuse_at_once() {
    let desk = Desk::ended(Settings { max_held: 3, ..SETTINGS });
    let held = desk.requests(3);
    settle().await;
    let began = Instant::now();
    assert_eq!(desk.current.ready(KIND).await.expect_err("full").code, Code::SessionExpired);
    assert_eq!(desk.current.held(), 3);
    drop(held);
    settle().await;
    assert_eq!(desk.current.held(), 0);

    let desk = Desk::ended(Settings { hold: Duration::ZERO, ..SETTINGS });
    assert_eq!(desk.current.ready(KIND).await.expect_err("off").code, Code::SessionExpired);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn cancelled_waits_leave_no_trace() {
    let mut desk = Desk::ended(SETTINGS);
    let mut requests = desk.requests(500);
    settle().await;
    assert_eq!(desk.current.held(), 256, "no more than max_held");
    requests.abort_all();
    while requests.join_next().await.is_some() {}
    assert_eq!(desk.current.held(), 0);
    desk.world.sign_in();
    desk.show();
    assert!(desk.current.ready(KIND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_everybody_who_waits_or_is_held_and_nobody_who_need_not() {
    for desk in [Desk::ended(SETTINGS), Desk::stale()] {
        let requests = desk.requests(50);
        settle().await;
        desk.current.stop();
        let began = Instant::now();
        for answer in requests.join_all().await {
            assert_eq!(answer.expect_err("going down").code, Code::Stopping);
        }
        assert_eq!(desk.current.ready(KIND).await.expect_err("later ones too").code, Code::Stopping);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    let desk = Desk::of(World::at_nine(machine(), 3600, 30 * 24 * HOUR), SETTINGS);
    desk.current.stop();
    assert!(desk.current.ready(KIND).await.is_ok(), "a request that needs nobody is served while draining");
}

#[tokio::test(start_paused = true)]
async fn signed_out_and_locked_answer_at_once() {
    let mut settings = machine();
    settings.idle_lock = Some(Duration::from_secs(900));
    let mut desk = Desk::of(World::at_nine(settings, 3600, 30 * 24 * HOUR), SETTINGS);
    let began = Instant::now();
    desk.passes(Duration::from_secs(900));
    assert_eq!(desk.current.ready(KIND).await.expect_err("locked").code, Code::Locked);
    desk.happens(Event::Cleared);
    assert_eq!(desk.current.ready(KIND).await.expect_err("nobody").code, Code::LoginRequired);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_401s_start_one_refresh_and_all_of_them_get_its_token() {
    let mut desk = Desk::of(World::at_nine(machine(), 3600, 30 * 24 * HOUR), SETTINGS);
    desk.passes(Duration::from_secs(60));
    let mut refused: JoinSet<Option<Arc<Snapshot>>> = (0..1000)
        .map(|_| {
            let current = desk.current.clone();
            async move { current.renewed(KIND, 1).await }
        })
        .collect();
    let mut answered = 0;
    while answered < 1000 {
        tokio::select! {
            biased;
            Some(renewed) = refused.join_next() => {
                let snapshot = renewed.expect("it does not panic").expect("a newer token came");
                assert_eq!(snapshot.id_token.as_ref().map(|token| token.generation), Some(2));
                answered += 1;
            }
            Some(Nudge::Unauthorized { generation, accepted, under_way }) = desk.nudges.recv() => {
                desk.happens(Event::Unauthorized { generation, accepted });
                under_way.send(desk.world.state.is_refreshing()).expect("somebody asks");
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => desk.passes(Duration::from_secs(1)),
        }
    }
    assert_eq!(desk.world.calls.len(), 1);
    // One that was sent before the new token came, and is answered after it: no call, and no wait.
    let late = desk.current.renewed(KIND, 1).await;
    assert!(late.is_some());
    assert!(desk.nudges.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_401_about_a_young_token_is_passed_on_at_once() {
    let mut desk = Desk::of(World::at_nine(machine(), 3600, 30 * 24 * HOUR), SETTINGS);
    let asking = tokio::spawn({
        let current = desk.current.clone();
        async move { current.renewed(KIND, 1).await }
    });
    let Some(Nudge::Unauthorized { generation, accepted, under_way }) = desk.nudges.recv().await else {
        panic!("a 401 is told");
    };
    desk.happens(Event::Unauthorized { generation, accepted });
    under_way.send(desk.world.state.is_refreshing()).expect("somebody asks");
    assert!(asking.await.expect("it does not panic").is_none());
    assert_eq!(desk.world.calls.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_idle_lock_holds_before_the_machine_has_woken_to_close_it() {
    let mut settings = machine();
    settings.idle_lock = Some(Duration::from_secs(900));
    let desk = Desk::of(World::at_nine(settings, 28_800, 30 * 24 * HOUR), SETTINGS);
    for _ in 0..3 {
        desk.clock.advance(Duration::from_secs(899));
        assert!(desk.current.ready(KIND).await.is_ok());
    }
    desk.clock.advance(Duration::from_millis(3));
    assert!(desk.current.ready(KIND).await.is_ok());
    let used = desk.publisher.last_used();
    assert_eq!(used, desk.clock.now().boot, "to the millisecond");
    desk.clock.advance(Duration::from_secs(900));
    assert_eq!(desk.current.ready(KIND).await.expect_err("fifteen minutes").code, Code::Locked);
    assert_eq!(desk.publisher.last_used(), used, "a request that is refused does not keep the session open");
}

#[tokio::test(start_paused = true)]
async fn an_equal_snapshot_wakes_nobody() {
    let desk = Desk::ended(SETTINGS);
    let mut changes = desk.current.subscribe();
    changes.borrow_and_update();
    desk.publisher.publish(desk.world.published.clone());
    assert!(!changes.has_changed().expect("the cell lives"));
}
