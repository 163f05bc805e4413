//! Clocks that jump, machines that sleep, warnings that come once, and the idle lock.

use std::time::Duration;

use super::{Event, WarningKind, fixtures::*};
use crate::{
    clock::Now,
    reply::Code,
    session::{
        EndReason, Mode, Settings,
        status::StateName,
        warning::{Level, Raised},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const HOUR_MS: i64 = 3_600_000;

fn configured(validity: Duration) -> Settings {
    Settings { validity: Some(validity), ..settings() }
}

fn name(world: &World) -> StateName {
    world.published.facts.state_at(world.now)
}

/// R20: back by two hours, forward by one, in both modes. `World::request` asserts that no dead token is injected.
#[test]
fn r20_a_clock_that_jumps_neither_loops_nor_makes_a_token_immortal() {
    for mode in [Mode::Ahead, Mode::OnDemand] {
        for jump in [-2 * HOUR_MS, HOUR_MS, -30 * 60_000, 10 * HOUR_MS] {
            let mut world = World::at_nine(Settings { mode, ..settings() }, 3600, 30 * DAY);
            world.passes(10 * MINUTE);
            world.clock_jumps(jump);
            let (steps, calls) = (world.steps, world.calls.len());
            for _ in 0..240 {
                assert_eq!(world.request(), None, "{mode:?} {jump}");
                world.passes(MINUTE);
            }
            assert!(world.steps - steps < 60, "{mode:?} {jump}: {} steps in four hours", world.steps - steps);
            assert!(world.calls.len() - calls <= 6, "{mode:?} {jump}: {:?}", &world.calls[calls..]);
            // `Date` has whole seconds.
            assert!((world.state.skew_ms() + jump).abs() <= 1000, "the next answer shows the jump");
        }
    }
}

#[test]
fn r20_while_cognito_is_away_a_clock_set_back_does_not_stretch_the_token() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(transient(false));
    world.passes(50 * MINUTE);
    world.clock_jumps(-2 * HOUR_MS);
    world.passes(9 * MINUTE + 58 * SECOND);
    assert_eq!(world.request(), None);
    world.passes(SECOND);
    assert_eq!(world.request(), Some(Code::RefreshFailing));
    let shown = world.published.facts.next_refresh_at.expect("an attempt is planned");
    assert!(shown.since(world.now.wall) <= MINUTE, "{shown} at {}", world.now.wall);
}

#[test]
fn after_a_clock_was_set_back_the_next_refresh_is_shown_when_it_will_be() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.passes(10 * MINUTE);
    world.clock_jumps(-2 * HOUR_MS);
    let shown = world.published.facts.next_refresh_at.expect("planned");
    world.passes(50 * MINUTE);
    let due = world.calls[0].wall;
    assert!(due.since(shown).max(shown.since(due)) <= SECOND, "{shown} shown, {due} true");
}

/// R21: the local clock is wrong by two hours when the proxy starts and somebody signs in.
#[test]
fn r21_a_local_clock_that_is_wrong_by_two_hours_costs_one_refresh_at_most() {
    for ahead_ms in [2 * HOUR_MS, -2 * HOUR_MS] {
        for mode in [Mode::Ahead, Mode::OnDemand] {
            let mut world = World::empty(Settings { mode, ..configured(DAY) }, 3600, DAY);
            world.ahead_ms = ahead_ms;
            world.load();
            world.sign_in();
            // Without an answer's `Date` a clock that is ahead cannot be told from a token that is old.
            assert_eq!(world.state.skew_ms(), ahead_ms.max(0));
            assert_eq!(world.request(), None, "{ahead_ms} {mode:?}");
            world.passes(30 * MINUTE);
            assert!(world.calls.len() <= 1, "{ahead_ms} {mode:?}: {:?}", world.calls);
            assert_eq!(world.request(), None);
            world.passes(3 * HOUR);
            assert_eq!(world.request(), None);
            assert!(world.calls.len() <= 6, "{ahead_ms} {mode:?}: {:?}", world.calls);
            assert!((world.state.skew_ms() - ahead_ms).abs() <= 1000, "{}", world.state.skew_ms());
            // The end of the session is reckoned in AWS's time and shown in ours.
            let shown = world.published.facts.refresh_token.at.expect("configured");
            assert!(shown.millis_since(NINE + DAY).abs() <= 1000, "{shown}");
        }
    }
}

#[test]
fn r21_a_stored_token_from_the_future_shows_at_once_that_the_clock_is_behind() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    let there = Now { wall: world.now.wall.shifted(2 * HOUR_MS), ..world.now };
    world.ahead_ms = 2 * HOUR_MS;
    world.stored = Some(session(there, 3600));
    world.load();
    assert_eq!(world.calls.len(), 0, "it is good, and injected without a call to anybody");
    assert_eq!(world.state.skew_ms(), 2 * HOUR_MS);
    assert_eq!(world.published.facts.refresh_token.at, Some(NINE + 30 * DAY), "in this machine's time");
    assert_eq!(world.request(), None);
    world.until(world.now.wall + HOUR - 2 * SECOND);
    assert_eq!(world.request(), None);
}

/// R19: a suspend of eight hours, and a network that takes a while to come back.
#[test]
fn r19_after_a_suspend_the_first_request_waits_for_a_refresh_and_never_gets_a_dead_token() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.passes(10 * MINUTE);
    // The request comes before the machine has noticed that it slept.
    world.now = world.now.after(8 * HOUR);
    let arrived = world.now;
    assert_eq!(world.request(), None);
    assert!(world.now.wall.since(arrived.wall) <= SECOND);
    assert_eq!(world.calls.len(), 1, "no burst of what was missed");

    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.script.extend([transient(false), transient(false), transient(false)]);
    world.sleeps(8 * HOUR);
    assert_eq!(world.request(), None, "the network is back within ten seconds");
    assert_eq!(world.calls.len(), 4);
    assert!(world.warnings.is_empty(), "it has healed itself: {:?}", world.warnings);
}

/// R30: stopped for a minute or frozen for ten seconds, and nothing is made up for afterwards.
#[test]
fn r30_a_machine_that_was_stopped_makes_no_burst() {
    let mut world = World::at_nine(settings(), 10, 30 * DAY);
    for _ in 0..50 {
        let calls = world.calls.len();
        world.sleeps(MINUTE);
        world.passes(SECOND);
        assert_eq!(world.calls.len(), calls + 1);
        assert_eq!(world.request(), None);
        world.passes(MINUTE);
    }
}

/// R23: each threshold once, whatever happens between: restarts, and skew that comes and goes.
#[test]
fn r23_each_warning_once_across_restarts_and_a_skew_that_wavers() {
    let mut world = World::at_nine(configured(30 * DAY), 3600, 30 * DAY);
    let mut hours = 0;
    while world.now.wall < NINE + 30 * DAY - 2 * MINUTE {
        world.passes(HOUR.min((NINE + 30 * DAY - 2 * MINUTE).since(world.now.wall)));
        hours += 1;
        // NTP nudges the clock by five seconds, to and fro.
        world.clock_jumps(if hours % 2 == 0 { 5_000 } else { -5_000 });
        if hours % 7 == 0 {
            world.restart();
        }
    }
    assert_eq!(world.levels(), [Level::Notice, Level::Soon, Level::Soon, Level::Urgent, Level::Urgent]);
    let ahead: Vec<u64> =
        world.warnings.iter().map(|(at, _)| ((NINE + 30 * DAY).since(at.wall).as_secs() + 30) / 60).collect();
    assert_eq!(ahead, [7 * 24 * 60, 24 * 60, 4 * 60, 60, 10], "minutes before the end");
}

#[test]
fn r23_what_was_said_is_stored_at_once_and_the_more_urgent_of_two_processes_words_counts() {
    let mut world = World::at_nine(configured(30 * DAY), 3600, 30 * DAY);
    world.until(NINE + 29 * DAY + SECOND);
    assert_eq!(world.levels(), [Level::Notice, Level::Soon]);
    let ours = world.state.session().expect("one").notes.warned.expect("said");
    assert_eq!(world.stored.as_ref().expect("stored").notes.warned, Some(ours));
    // The other one slept over this threshold, and knows of the first alone.
    let mut theirs = world.state.session().expect("one").clone();
    theirs.generation += 1;
    theirs.notes.warned = Some(Raised { threshold: 7 * DAY, ..ours });
    world.happens(Event::Adopted { session: Box::new(theirs), stored: true });
    world.passes(HOUR);
    assert_eq!(world.levels(), [Level::Notice, Level::Soon], "not said again");
}

#[test]
fn r23_after_a_suspend_over_several_thresholds_only_the_most_urgent_is_said() {
    let mut world = World::at_nine(configured(30 * DAY), 3600, 30 * DAY);
    world.sleeps(29 * DAY + 21 * HOUR);
    assert_eq!(world.levels(), [Level::Soon], "four hours, and not seven days, nor one");
    world.sleeps(2 * HOUR + 55 * MINUTE);
    assert_eq!(world.levels(), [Level::Soon, Level::Urgent], "ten minutes, and not one hour");
}

#[test]
fn urgent_begins_one_token_lifetime_before_the_end_whatever_is_configured() {
    let before = |before: &[u64]| before.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
    for (warn_before, lifetime, validity, urgent) in [
        (before(&[]), 3600, DAY, HOUR),
        (before(&[600]), 3600, DAY, HOUR),
        (before(&[4 * 3600]), 3600, DAY, 4 * HOUR),
        (before(&[7 * 86_400, 86_400]), 3600, DAY, HOUR),
        (before(&[]), 86_400, DAY, 12 * HOUR),
        (before(&[86_400, 3600]), 3600, HOUR, 30 * MINUTE),
    ] {
        let settings = Settings { warn_before, ..configured(validity) };
        let mut world = World::at_nine(settings, lifetime, validity);
        world.until(NINE + validity - urgent - Duration::from_millis(1));
        assert!(world.published.facts.level < Level::Urgent);
        let said = world.levels().len();
        world.passes(Duration::from_millis(2));
        assert_eq!(world.published.facts.level, Level::Urgent);
        assert_eq!(world.levels()[said..], [Level::Urgent]);
    }
}

#[test]
fn a_session_that_ends_says_so_once_even_when_the_machine_slept_over_everything() {
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.sleeps(3 * DAY);
    world.passes(10 * SECOND);
    assert_eq!(world.levels(), [Level::Urgent, Level::Ended]);
    assert_eq!(world.warnings[1].1.reason, Some(EndReason::Expired));
    world.restart();
    world.passes(DAY);
    assert_eq!(world.levels().len(), 2);
}

/// R31: epoch seconds only. The offset of a time zone, a change of it, and a leap second are not in any of them.
#[test]
fn r31_times_are_shown_in_utc_and_reckoned_in_epoch_seconds() {
    let world = World::at_nine(configured(DAY), 3600, DAY);
    let report = world.published.facts.report(world.now, 0);
    assert_eq!(report.refresh_token.expires_at.map(|at| at.to_string()).as_deref(), Some("2026-03-03T09:00:00Z"));
    assert_eq!(report.refresh_token.expires_in_s, Some(86_400));
    let id_token = report.id_token.expect("one");
    assert_eq!((id_token.issued_at.to_string(), id_token.expires_in_s), ("2026-03-02T09:00:00Z".into(), 3600));
    // A leap second is a second that UTC repeats: to this machine, a clock that is set back by one.
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.clock_jumps(-1000);
    assert_eq!(world.state.skew_ms(), 0);
    world.passes(2 * HOUR);
    assert_eq!((world.request(), world.state.skew_ms()), (None, 0));
}

fn locking(after: Duration) -> World {
    World::at_nine(Settings { idle_lock: Some(after), ..settings() }, 3600, 30 * DAY)
}

#[test]
fn the_idle_lock_is_announced_a_minute_before_and_closes_on_time() {
    for (after, notice) in
        [(15 * MINUTE, 14 * MINUTE), (2 * MINUTE, MINUTE), (90 * SECOND, 45 * SECOND), (2 * SECOND, SECOND)]
    {
        let mut world = locking(after);
        world.until(NINE + notice - Duration::from_millis(1));
        assert!(world.warnings.is_empty(), "{after:?}");
        world.passes(Duration::from_millis(1));
        let [(_, warning)] = world.warnings.as_slice() else { panic!("{after:?}: {:?}", world.warnings) };
        assert_eq!(warning.kind, WarningKind::IdleLock { closes_at: NINE + after });
        assert_eq!((warning.event(), warning.fix.as_str()), ("idle_lock", "cognito-proxy unlock"));
        world.until(NINE + after - Duration::from_millis(1));
        assert_eq!(name(&world), StateName::Fresh);
        world.passes(Duration::from_millis(1));
        assert_eq!(name(&world), StateName::Locked, "{after:?}");
        assert_eq!(world.request(), Some(Code::Locked));
        assert_eq!(world.published.facts.fix.as_deref(), Some("cognito-proxy unlock"));
        assert_eq!(world.warnings.len(), 1);
    }
}

#[test]
fn requests_keep_the_idle_lock_open_at_one_wake_up_in_each_period() {
    let mut world = locking(15 * MINUTE);
    let end = NINE + 5 * HOUR;
    let (steps, calls) = (world.steps, world.calls.len());
    while world.now.wall < end {
        assert_eq!(world.request(), None);
        world.passes(7 * SECOND);
    }
    let refreshes = u64::try_from(world.calls.len() - calls).expect("small");
    // Each wake-up is two steps (used, tick); each refresh a wake-up, an answer and a write.
    let wake_ups = (world.steps - steps - refreshes * 4) / 2;
    assert!(wake_ups <= 5 * 60 / 14 + 1, "{wake_ups} wake-ups in five hours");
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}

#[test]
fn without_the_idle_lock_nothing_wakes_for_it() {
    let mut world = World::at_nine(Settings { mode: Mode::OnDemand, ..settings() }, 3600, 30 * DAY);
    let steps = world.steps;
    world.passes(23 * HOUR);
    assert_eq!(world.steps, steps);
}

#[test]
fn staying_signed_in_counts_as_use_and_the_notice_comes_again_later() {
    let mut world = locking(15 * MINUTE);
    world.passes(14 * MINUTE + 30 * SECOND);
    world.happens(Event::Unlocked);
    world.passes(14 * MINUTE + 29 * SECOND);
    assert_eq!(name(&world), StateName::Fresh);
    assert_eq!(world.warnings.len(), 2);
    assert_eq!(world.request(), None);
}

#[test]
fn a_closed_lock_survives_a_restart_goes_on_refreshing_and_opens_on_command() {
    let mut world = locking(15 * MINUTE);
    world.passes(15 * MINUTE);
    assert_eq!(name(&world), StateName::Locked);
    world.restart();
    assert_eq!(world.request(), Some(Code::Locked));
    world.passes(45 * MINUTE);
    world.passes(5 * HOUR);
    assert!(world.calls.len() >= 5, "refreshing goes on");
    assert_eq!(world.request(), Some(Code::Locked));
    assert_eq!(world.warnings.len(), 1, "a closed lock is not announced: {:?}", world.warnings);
    let end = world.state.session().expect("one").id_token.claims.expires_at;
    assert_eq!(world.published.facts.injecting_until, Some(end - SECOND), "no refresh opens it");
    world.happens(Event::Unlocked);
    assert_eq!(world.request(), None);
    world.restart();
    assert_eq!(world.request(), None, "and stays open");
}

#[test]
fn a_sign_in_opens_the_lock_and_a_refresh_by_another_process_does_not() {
    let mut world = locking(15 * MINUTE);
    world.passes(20 * MINUTE);
    // A lock that is closed stays so, whatever is configured since.
    world.reload(settings());
    let mut theirs = world.state.session().expect("one").clone();
    theirs.generation += 1;
    theirs.notes.locked = false;
    world.happens(Event::Adopted { session: Box::new(theirs), stored: true });
    assert_eq!(world.request(), Some(Code::Locked));
    world.reload(Settings { idle_lock: Some(15 * MINUTE), ..settings() });
    world.sign_in();
    assert_eq!(world.request(), None);
    world.passes(14 * MINUTE);
    assert_eq!(world.request(), None, "a sign-in counts as use");
    // Another process may have closed its own lock over a sign-in that is new to this one.
    world.passes(20 * MINUTE);
    let mut theirs = session(world.now, 3600);
    theirs.notes.locked = true;
    theirs.generation = world.state.session().expect("one").generation + 1;
    world.happens(Event::Adopted { session: Box::new(theirs), stored: true });
    assert_eq!(world.request(), None);
}

#[test]
fn after_a_suspend_the_lock_is_closed_for_the_first_request_already() {
    let mut world = locking(15 * MINUTE);
    world.passes(MINUTE);
    assert_eq!(world.request(), None);
    // Before the machine has noticed that it slept.
    world.now = world.now.after(8 * HOUR);
    assert_eq!(world.request(), Some(Code::Locked));
    world.tick();
    world.passes(SECOND);
    assert_eq!(name(&world), StateName::Locked);
    assert!(world.warnings.is_empty(), "too late for a notice: {:?}", world.warnings);
}

#[test]
fn a_lock_that_is_configured_later_reckons_from_then() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.passes(3 * HOUR);
    world.reload(Settings { idle_lock: Some(15 * MINUTE), ..settings() });
    world.passes(14 * MINUTE);
    assert_eq!(name(&world), StateName::Fresh);
    world.passes(MINUTE);
    assert_eq!(name(&world), StateName::Locked);
}

#[test]
fn a_session_that_is_over_is_not_locked_besides() {
    let mut world = locking(15 * MINUTE);
    world.used = world.now.boot + 50 * MINUTE;
    world.pool.outage = Some(refused(EndReason::Revoked));
    world.passes(50 * MINUTE);
    world.used = world.now.boot;
    world.passes(10 * MINUTE);
    assert_eq!(name(&world), StateName::SessionEnded);
    world.passes(HOUR);
    assert_eq!(name(&world), StateName::SessionEnded, "an end is more than a lock");
    assert!(world.warnings.iter().all(|(now, _)| now.wall < NINE + HOUR), "{:?}", world.warnings);
}
