//! The end of a session: verdicts, the last chance, the example day, and the sign-in that follows.

use std::time::Duration;

use super::{Event, WarningKind, fixtures::*};
use crate::{
    clock::UnixTime,
    reply::Code,
    session::{
        Basis, EndReason, Failure, Mode, Settings, TokenKind, snapshot::Decision, status::StateName, warning::Level,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn configured(validity: Duration) -> Settings {
    Settings { validity: Some(validity), ..settings() }
}

fn name(world: &World) -> StateName {
    world.published.facts.state_at(world.now)
}

/// The moments of the calls, as seconds from the first.
fn pauses(world: &World) -> Vec<u64> {
    world
        .calls
        .windows(2)
        .map(|pair| (pair[1].boot.saturating_sub(pair[0].boot).saturating_sub(world.pool.latency)).as_secs())
        .collect()
}

#[test]
fn r7_a_definite_refusal_ends_the_session_once_it_is_confirmed_two_seconds_later() {
    for reason in [
        EndReason::Expired,
        EndReason::Revoked,
        EndReason::UserDisabled,
        EndReason::UserDeleted,
        EndReason::PasswordResetRequired,
        EndReason::UserNotConfirmed,
    ] {
        let mut world = World::at_nine(settings(), 3600, 30 * DAY);
        world.pool.outage = Some(refused(reason.clone()));
        world.passes(58 * MINUTE);
        assert_eq!(pauses(&world), [2], "{reason}");
        assert_eq!(name(&world), StateName::SessionEnded);
        assert_eq!(world.levels(), [Level::Ended]);
        assert_eq!(world.warnings[0].1.reason.as_ref(), Some(&reason));
        assert_eq!(world.warnings[0].1.fix, "cognito-proxy login");
        // The token is used to its last second, the refresh token is kept, and Cognito is left alone.
        world.passes(MINUTE + 58 * SECOND);
        assert_eq!(world.request(), None);
        world.passes(SECOND);
        assert_eq!(world.request(), Some(Code::SessionExpired));
        world.passes(30 * DAY);
        assert_eq!(world.calls.len(), 2);
        assert_eq!(world.levels().len(), 1, "one warning");
        let stored = world.stored.as_ref().expect("nothing stored is ever deleted");
        assert_eq!(stored.refresh_token.expose(), "refresh-0");
        assert_eq!(stored.notes.ended.as_ref(), Some(&reason));
        for on_demand in [false, true] {
            let unready = world.published.unready(&[TokenKind::Id], on_demand, world.now);
            assert_eq!(unready, Some(Code::SessionExpired));
        }
    }
}

#[test]
fn a_refusal_that_is_not_confirmed_ends_nothing() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.script.push_back(refused(EndReason::Revoked));
    world.passes(2 * HOUR);
    assert_eq!(name(&world), StateName::Fresh);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
    // And the next one, hours later, needs its own confirmation.
    world.pool.script.push_back(refused(EndReason::Revoked));
    world.passes(HOUR);
    assert_eq!(name(&world), StateName::Fresh);
}

#[test]
fn an_outage_between_refusal_and_confirmation_only_delays_it() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.script.extend([refused(EndReason::Revoked), transient(false), refused(EndReason::Revoked)]);
    world.passes(HOUR);
    assert_eq!(world.calls.len(), 3);
    assert_eq!(name(&world), StateName::SessionEnded);
}

#[test]
fn an_ambiguous_refusal_is_tried_again_after_ten_and_twenty_seconds() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(Failure::Ambiguous { detail: "Invalid Refresh Token".into() });
    world.passes(HOUR);
    assert_eq!(pauses(&world), [10, 20]);
    assert_eq!(name(&world), StateName::SessionEnded);
    assert_eq!(world.warnings[0].1.reason, Some(EndReason::Refused("Invalid Refresh Token".into())));

    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    let doubt = || Failure::Ambiguous { detail: "Invalid Refresh Token".into() };
    world.pool.script.extend([doubt(), doubt()]);
    world.passes(HOUR);
    assert_eq!(name(&world), StateName::Fresh);
}

#[test]
fn a_restart_and_a_reload_are_worth_one_attempt_each() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(refused(EndReason::Revoked));
    world.passes(HOUR);
    assert_eq!(world.calls.len(), 2);
    let failures = [
        refused(EndReason::Revoked),
        refused(EndReason::Expired),
        transient(false),
        Failure::Ambiguous { detail: "Invalid Refresh Token".into() },
        Failure::Throttled { retry_after: None, detail: "slow down".into() },
        Failure::Unacceptable { detail: "alg none".into() },
    ];
    for (attempt, failure) in failures.into_iter().enumerate() {
        world.pool.outage = Some(failure.clone());
        if attempt % 2 == 0 {
            world.restart();
        } else {
            world.reload(settings());
        }
        assert_eq!(name(&world), StateName::Refreshing);
        assert_eq!(world.published.facts.level, Level::Ended, "still, until it succeeds");
        world.passes(HOUR);
        assert_eq!(world.calls.len(), 3 + attempt, "{failure:?}");
        assert_eq!(name(&world), StateName::SessionEnded, "{failure:?}");
        assert_eq!(world.request(), Some(Code::SessionExpired));
        // The latest verdict is the one that is kept; what is no verdict changes nothing.
        let kept = world.stored.as_ref().expect("kept").notes.ended.clone();
        let verdict = if attempt == 0 { EndReason::Revoked } else { EndReason::Expired };
        assert_eq!(kept, Some(verdict), "{failure:?}");
    }
    assert_eq!(world.levels(), [Level::Ended], "told once");
    // The verdict was mistaken after all.
    world.pool.outage = None;
    world.restart();
    world.passes(SECOND);
    assert_eq!(name(&world), StateName::Fresh);
    assert_eq!(world.stored.as_ref().expect("one").notes.ended, None);
    assert_eq!(world.request(), None);
}

#[test]
fn a_lost_answer_to_that_one_attempt_is_asked_for_again_since_a_rotation_may_have_been_committed() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(refused(EndReason::Revoked));
    world.passes(HOUR);
    world.pool.outage = Some(transient(true));
    world.restart();
    world.passes(HOUR);
    assert_eq!(world.calls.len(), 4);
    assert_eq!(name(&world), StateName::SessionEnded);
}

#[test]
fn requests_after_the_end_are_held_for_ten_minutes_from_the_death_of_the_token() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(refused(EndReason::Revoked));
    let died = NINE + HOUR - SECOND;
    world.until(died);
    let decide = |world: &World| world.published.decide(TokenKind::Id, world.now);
    assert!(matches!(decide(&world), Decision::Hold(_)), "{:?}", decide(&world));
    world.until(died + 600 * SECOND - Duration::from_millis(1));
    assert!(matches!(decide(&world), Decision::Hold(_)));
    world.until(died + 600 * SECOND);
    assert!(matches!(decide(&world), Decision::Refuse(_)));
}

/// The source document's day: signed in at nine, the ID token lives an hour, the refresh token a day. Requests at
/// 10:30, at 8:30 the next day, and at 9:31.
#[test]
fn the_example_day() {
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    assert_eq!(world.published.facts.refresh_token.at, Some(NINE + DAY));
    world.until(NINE + 90 * MINUTE);
    assert_eq!(world.request(), None);
    let calls = world.calls.len();
    assert!((1..=2).contains(&calls), "refreshed ahead of need: {calls}");
    world.until(NINE + 23 * HOUR + 30 * MINUTE);
    assert_eq!(world.request(), None);
    assert_eq!(world.levels(), [Level::Notice, Level::Urgent], "at 4 h and at one lifetime");
    // The last chance, two minutes before the end, carries the session almost an hour past it: 9:31 is no surprise.
    world.until(NINE + DAY + 31 * MINUTE);
    assert_eq!(world.request(), None);
    let injecting_until = world.published.facts.injecting_until.expect("known");
    assert!(injecting_until >= NINE + DAY + 57 * MINUTE && injecting_until < NINE + DAY + HOUR, "{injecting_until}");
    // Then it is over, and said so.
    world.until(NINE + DAY + HOUR);
    assert_eq!(world.request(), Some(Code::SessionExpired));
    assert_eq!(world.levels(), [Level::Notice, Level::Urgent, Level::Urgent, Level::Ended]);
}

/// The same day in on-demand mode, where requests alone cause refreshes, save for the last chance.
#[test]
fn the_example_day_on_demand() {
    let mut world = World::at_nine(Settings { mode: Mode::OnDemand, ..configured(DAY) }, 3600, DAY);
    world.until(NINE + 90 * MINUTE);
    assert_eq!((world.request(), world.calls.len()), (None, 1));
    world.until(NINE + 23 * HOUR + 30 * MINUTE);
    assert_eq!((world.request(), world.calls.len()), (None, 2));
    world.until(NINE + DAY + 31 * MINUTE);
    assert_eq!((world.request(), world.calls.len()), (None, 3));
    world.until(NINE + DAY + HOUR);
    assert_eq!(world.request(), Some(Code::SessionExpired));
    assert_eq!(world.levels().last(), Some(&Level::Ended));
}

/// The day as it was: without the last chance the work of 9:31 is lost, though not without a word.
#[test]
fn the_example_day_without_the_last_chance() {
    let mut world = World::at_nine(Settings { last_chance: false, mode: Mode::OnDemand, ..configured(DAY) }, 3600, DAY);
    world.until(NINE + 23 * HOUR + 30 * MINUTE);
    assert_eq!(world.request(), None);
    assert_eq!(world.levels(), [Level::Notice, Level::Urgent]);
    let promised = world.published.facts.injecting_until.expect("known");
    assert!(promised >= NINE + DAY + 29 * MINUTE && promised < NINE + DAY + 31 * MINUTE, "{promised}");
    world.until(promised);
    world.until(NINE + DAY + 31 * MINUTE);
    let code = world.request();
    assert!(matches!(code, Some(Code::SessionExpired | Code::RefreshFailing)), "{code:?}");
}

/// And the better ending: warned at nine, signed in again at half past, and nobody noticed.
#[test]
fn the_day_ends_well() {
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.until(NINE + DAY + 30 * MINUTE);
    assert_eq!(world.request(), None);
    let before = world.published.id_token.as_ref().expect("one").generation;
    world.sign_in();
    assert!(world.published.id_token.as_ref().expect("one").generation > before);
    world.until(NINE + DAY + 31 * MINUTE);
    assert_eq!(world.request(), None);
    assert_eq!(world.published.facts.refresh_token.at, Some(NINE + DAY + 30 * MINUTE + DAY));
    assert_eq!(world.published.facts.level, Level::None);

    // Or too late by a minute: the request is held, and goes on with the new token.
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.until(NINE + DAY + HOUR);
    assert!(matches!(world.published.decide(TokenKind::Id, world.now), Decision::Hold(_)));
    world.sign_in();
    assert_eq!(world.request(), None);
}

#[test]
fn the_end_of_the_refresh_token_alone_ends_nothing() {
    // The configuration says a day, and the pool knows better.
    let mut world = World::at_nine(configured(DAY), 3600, 10 * DAY);
    world.until(NINE + 3 * DAY);
    assert_eq!(name(&world), StateName::Fresh);
    assert_eq!(world.request(), None);
    assert_eq!(world.published.facts.level, Level::Urgent);
    assert_eq!(world.published.facts.refresh_token.basis, Basis::Configured);
    let end = world.state.session().expect("one").id_token.claims.expires_at;
    assert_eq!(world.published.facts.injecting_until, Some(end - SECOND));
}

/// Nothing else happens then, and what was promised for the last chance is not there any more.
#[test]
fn when_the_refresh_token_dies_the_end_is_shown_anew() {
    let settings = Settings { mode: Mode::OnDemand, last_chance: false, warn_before: Vec::new(), ..configured(DAY) };
    let mut world = World::at_nine(settings, 3600, DAY);
    world.until(NINE + DAY - SECOND);
    assert_eq!(world.published.facts.injecting_until, Some(NINE + DAY));
    world.until(NINE + DAY);
    assert_eq!(world.published.facts.injecting_until, Some(NINE + HOUR - SECOND));
}

#[test]
fn r22_assumed_then_unknown_then_observed() {
    let mut world = World::at_nine(settings(), 3600, 40 * DAY);
    let shown = |world: &World| (world.published.facts.refresh_token.basis, world.published.facts.refresh_token.at);
    assert_eq!(shown(&world), (Basis::Assumed, Some(NINE + 30 * DAY)));
    world.until(NINE + 29 * DAY + SECOND);
    assert_eq!(world.published.facts.level, Level::Soon);
    // A refresh succeeds past the assumed end: from now on there is no level but `ended`, and no end is shown.
    world.until(NINE + 30 * DAY + HOUR);
    assert_eq!(shown(&world), (Basis::Unknown, None));
    assert_eq!(world.published.facts.level, Level::None);
    assert_eq!(world.published.facts.injecting_until, None);
    let warned = world.levels().len();
    world.until(NINE + 40 * DAY + HOUR);
    assert_eq!(name(&world), StateName::SessionEnded);
    assert_eq!(world.levels()[warned..], [Level::Ended]);
    // What that taught is believed in from the next sign-in on.
    world.sign_in();
    let signed_in = world.now.wall;
    let (basis, at) = shown(&world);
    let learnt = at.expect("observed").since(signed_in);
    assert_eq!(basis, Basis::Observed);
    assert!(learnt <= 40 * DAY && learnt + 2 * HOUR >= 40 * DAY, "{learnt:?}");
    // And a setting of the pool, or of the configuration, goes before it.
    world.happens(Event::PoolValidity(Some(41 * DAY)));
    assert_eq!(shown(&world), (Basis::PoolSetting, Some(signed_in + 41 * DAY)));
    world.reload(configured(39 * DAY));
    assert_eq!(shown(&world), (Basis::Configured, Some(signed_in + 39 * DAY)));
}

#[test]
fn the_earliest_auth_time_counts_where_a_pool_makes_it_anew() {
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.passes(54 * MINUTE);
    world.until_refreshing();
    let session = world.state.session().expect("one").clone();
    let mut grant = grant(world.now, &session, 3600);
    grant.id_token.claims.auth_time = Some(world.now.wall);
    world.happens(Event::Granted { generation: session.generation, grant: Box::new(grant) });
    assert_eq!(world.published.facts.refresh_token.at, Some(NINE + DAY));
}

#[test]
fn a_sign_in_while_a_refresh_is_in_flight_makes_its_answer_worthless() {
    for answer in [None, Some(refused(EndReason::Revoked)), Some(transient(true))] {
        let mut world = World::at_nine(settings(), 3600, 30 * DAY);
        world.until_refreshing();
        let old = world.state.session().expect("one").clone();
        let late = grant(world.now, &old, 3600);
        world.sign_in();
        let adopted = world.published.clone();
        assert_eq!(name(&world), StateName::Fresh);
        let generation = old.generation;
        match answer.clone() {
            None => world.happens(Event::Granted { generation, grant: Box::new(late) }),
            Some(failure) => world.happens(Event::Failed { generation, failure }),
        }
        assert_eq!(world.published, adopted, "{answer:?}");
        assert!(world.warnings.is_empty());
    }
}

#[test]
fn a_logout_and_a_sign_in_later_an_old_answer_is_still_worthless() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.until_refreshing();
    let old = world.state.session().expect("one").clone();
    world.happens(Event::Cleared);
    assert_eq!(world.request(), Some(Code::LoginRequired));
    world.sign_in();
    let generation = world.state.session().expect("one").generation;
    assert!(generation > old.generation);
    // The new session refreshes too, and the old answer comes in the midst of it.
    world.passes(54 * MINUTE);
    world.until_refreshing();
    let late = grant(world.now, &old, 3600);
    world.happens(Event::Granted { generation: old.generation, grant: Box::new(late) });
    assert_eq!(world.state.session().expect("one").generation, generation);
}

#[test]
fn what_another_process_stored_is_adopted_when_it_is_newer_and_keeps_what_this_sign_in_has_learnt() {
    let mut world = World::at_nine(configured(DAY), 3600, DAY);
    world.until(NINE + 21 * HOUR);
    assert_eq!(world.levels(), [Level::Notice]);
    let ours = world.state.session().expect("one").clone();
    let mut theirs = ours.clone();
    theirs.id_token = token(world.now, 3600, NINE);
    world.happens(Event::Adopted { session: Box::new(theirs.clone()), stored: true });
    assert_eq!(world.state.session(), Some(&ours), "the same generation is no news");
    theirs.generation += 1;
    theirs.notes.warned = None;
    theirs.notes.observed = crate::session::Observed::default();
    let writes = world.writes.len();
    world.happens(Event::Adopted { session: Box::new(theirs), stored: true });
    let adopted = world.state.session().expect("one");
    assert_eq!(adopted.generation, ours.generation + 1);
    assert_eq!(adopted.notes.observed.accepted_at, ours.notes.observed.accepted_at);
    assert_eq!(world.writes.len(), writes, "the store holds it already");
    world.passes(HOUR);
    assert_eq!(world.levels(), [Level::Notice], "not said again");
}

#[test]
fn a_session_of_another_pool_or_client_is_nobodys() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    let mut stored = session(world.now, 10);
    stored.client_id = "another".into();
    world.stored = Some(stored.clone());
    world.load();
    world.passes(HOUR);
    assert_eq!(world.calls.len(), 0, "nothing of it is sent anywhere");
    assert_eq!(name(&world), StateName::SignedOut);
    assert_eq!(world.request(), Some(Code::LoginRequired));
    assert_eq!(world.stored, Some(stored), "and nothing is deleted");

    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.reload(Settings { client_id: "another".into(), ..settings() });
    world.passes(2 * HOUR);
    assert_eq!((world.calls.len(), name(&world)), (0, StateName::SignedOut));
}

#[test]
fn a_failure_that_heals_itself_is_no_warning_and_one_that_does_not_is_said_once_before_the_token_dies() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.script.extend([transient(false), transient(false), transient(true)]);
    world.passes(2 * HOUR);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);

    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.outage = Some(transient(false));
    world.passes(5 * HOUR);
    let [(at, warning)] = world.warnings.as_slice() else { panic!("{:?}", world.warnings) };
    let died = NINE + HOUR;
    assert!(at.wall < died && died.since(at.wall) <= 3 * MINUTE, "{at:?}");
    let WarningKind::RefreshFailing { error, token_ends_at } = &warning.kind else { panic!("{warning:?}") };
    assert!(error.contains("connection_refused"), "{error}");
    assert_eq!((*token_ends_at, warning.fix.as_str()), (died, "cognito-proxy status"));
}

#[test]
fn min_remaining_at_start_wants_a_sign_in_first() {
    let short = Settings { min_remaining_at_start: Some(DAY), ..configured(2 * DAY) };
    for (age, refused) in [(23 * HOUR, None), (25 * HOUR, Some(Code::LoginRequired))] {
        let mut world = World::empty(short.clone(), 3600, 2 * DAY);
        world.stored = Some(session(world.now, 3600));
        world.sleeps(age);
        world.load();
        world.passes(SECOND);
        assert_eq!(world.request(), refused, "{age:?} old");
        if refused.is_some() {
            assert_eq!(name(&world), StateName::SignedOut);
            assert_eq!(world.published.facts.fix.as_deref(), Some("cognito-proxy login"));
            // Another process that refreshes it is no sign-in.
            let mut theirs = world.state.session().expect("kept").clone();
            theirs.generation += 1;
            world.happens(Event::Adopted { session: Box::new(theirs), stored: true });
            assert_eq!(world.request(), refused);
            world.sign_in();
            assert_eq!(world.request(), None);
        }
    }
    // Capped at half the validity, and not applied where the end is not known.
    let mut world = World::empty(Settings { min_remaining_at_start: Some(9 * DAY), ..configured(2 * DAY) }, 3600, DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(23 * HOUR);
    world.load();
    world.passes(SECOND);
    assert_eq!(world.request(), None);
    let mut world = World::empty(Settings { min_remaining_at_start: Some(DAY), ..settings() }, 3600, 60 * DAY);
    let mut stored = session(world.now, 3600);
    stored.notes.observed.disproved = true;
    world.stored = Some(stored);
    world.sleeps(31 * DAY);
    world.load();
    world.passes(SECOND);
    assert_eq!(world.request(), None);
}

#[test]
fn at_rest_the_store_is_read_and_nobody_is_asked() {
    let now = World::empty(settings(), 3600, DAY).now;
    let mut stored = session(now, 3600);
    stored.notes.ended = Some(EndReason::Revoked);
    let at_rest = |stored: Option<crate::session::Session>| {
        let state = super::State::new(settings(), "cognito-proxy login".into(), 1);
        state.at_rest(Ok(stored.map(Box::new))).snapshot(now).facts
    };
    assert_eq!(at_rest(Some(stored)).state, StateName::SessionEnded);
    assert_eq!(at_rest(None).state, StateName::SignedOut);
    let facts = at_rest(Some(session(now, 0)));
    assert_eq!((facts.state_at(now), facts.level), (StateName::Expired, Level::None));
    assert!(facts.next_refresh_at.is_none_or(|at| at > UnixTime::from_secs(1)), "{:?}", facts.next_refresh_at);
}
