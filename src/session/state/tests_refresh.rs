//! Refreshing: when it is due, what a failure does, and who may ask for one.

use std::time::Duration;

use super::{Event, fixtures::*};
use crate::{
    clock::UnixTime,
    reply::Code,
    session::{Failure, Mode, SettingAtFault, TokenKind, snapshot::Gate, status::StateName},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn world() -> World {
    World::at_nine(settings(), 3600, 30 * DAY)
}

fn name(world: &World) -> StateName {
    world.published.facts.state_at(world.now)
}

#[test]
fn a_refresh_is_due_with_the_lead_and_up_to_a_tenth_of_it_earlier() {
    for (lifetime, lead) in [(3600, 300.0), (600, 120.0), (86_400, 300.0), (300, 60.0), (10, 2.0), (3, 0.6)] {
        let mut world = World::at_nine(settings(), lifetime, 30 * DAY);
        world.passes(Duration::from_secs(lifetime));
        let left = Duration::from_secs(lifetime).saturating_sub(world.calls[0].wall.since(NINE)).as_secs_f64();
        // A millisecond is the clock's grain.
        assert!(left >= lead - 0.001 && left <= lead * 1.1 + 0.002, "{lifetime} s: {left} s before the end");
    }
}

/// R1: a day of a working pool, and then an hour without one.
#[test]
fn r1_an_outage_of_an_hour_is_noticed_only_after_the_token_has_died_and_ends_within_five_seconds() {
    let mut world = world();
    world.until(NINE + 23 * HOUR);
    world.pool.outage = Some(transient(false));
    let began = world.now;
    let calls_before = world.calls.len();
    let mut first_failure = None;
    while world.now.wall < began.wall + HOUR {
        let arrived = world.now;
        if let Some(code) = world.request() {
            assert_eq!(code, Code::RefreshFailing);
            assert!(world.now.wall.since(arrived.wall) <= world.patience);
            first_failure.get_or_insert(arrived.wall);
        }
        world.until(world.now.wall.max(arrived.wall + Duration::from_secs(1)));
    }
    let during = world.calls.len() - calls_before;
    let died = world.state.session().expect("kept").id_token.claims.expires_at;
    world.pool.outage = None;
    let returned = world.now;
    while world.request().is_some() {
        world.passes(Duration::from_millis(100));
    }
    let recovered = world.now.wall.since(returned.wall);
    let first_failure = first_failure.expect("the token dies within the hour");
    println!(
        "outage of 1 h: {during} calls, requests fail {:?} before the end of the token, succeed {recovered:?} after",
        died.since(first_failure)
    );
    assert!(died.since(first_failure) <= Duration::from_secs(13), "{first_failure} against {died}");
    assert!(recovered <= Duration::from_secs(6), "{recovered:?}");
    // One in five seconds at most, once nothing can be injected.
    assert!(during <= 720 + 10, "{during} calls");
}

#[test]
fn an_outage_without_requests_is_asked_about_once_a_minute_or_so() {
    let mut world = world();
    world.pool.outage = Some(transient(false));
    world.passes(3 * HOUR);
    let calls = world.calls.len();
    assert!((125..=400).contains(&calls), "{calls} calls in two hours of failing");
    for pair in world.calls.windows(2) {
        assert!(pair[1].boot.saturating_sub(pair[0].boot) <= Duration::from_secs(61));
    }
}

#[test]
fn backoff_never_lets_a_good_token_die_unasked() {
    let mut world = world();
    world.pool.outage = Some(transient(false));
    let end = NINE + HOUR;
    world.until(end);
    let last = world.calls.iter().rev().find(|call| call.wall <= end).expect("it was tried");
    assert!(end.since(last.wall) <= Duration::from_secs(2), "last tried {:?} before the end", end.since(last.wall));
}

#[test]
fn while_refreshing_fails_requests_use_the_token_to_its_last_second_and_do_not_wait() {
    let mut world = world();
    // R2: whoever is asked accepts and never answers.
    world.pool.outage = Some(transient(true));
    world.pool.latency = Duration::from_secs(10);
    world.until(NINE + HOUR - Duration::from_secs(59));
    for _ in 0..57 {
        let arrived = world.now;
        assert_eq!(world.request(), None);
        assert_eq!(world.now, arrived, "a request waited though the token is good");
        world.passes(Duration::from_secs(1));
    }
    world.until(NINE + HOUR);
    assert_eq!(world.request(), Some(Code::RefreshFailing));
}

#[test]
fn r9_throttling_is_obeyed_up_to_a_minute() {
    for (asked, least, most) in [(Some(7), 7, 8), (Some(900), 60, 61), (None, 0, 6)] {
        let mut world = world();
        let retry_after = asked.map(Duration::from_secs);
        world.pool.script.push_back(Failure::Throttled { retry_after, detail: "slow down".into() });
        world.until(NINE + HOUR);
        assert_eq!(world.calls.len(), 2, "{asked:?}");
        let pause = world.calls[1].boot.saturating_sub(world.calls[0].boot).as_secs();
        assert!((least..=most).contains(&pause), "{asked:?}: {pause} s");
    }
}

#[test]
fn r9_requests_do_not_hurry_a_throttled_refresh() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.outage =
        Some(Failure::Throttled { retry_after: Some(Duration::from_secs(40)), detail: "slow down".into() });
    world.load();
    world.passes(Duration::from_secs(1));
    for _ in 0..28 {
        assert_eq!(world.request(), Some(Code::RefreshFailing));
        world.passes(Duration::from_secs(1));
    }
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn r11_a_lost_answer_is_asked_for_again_at_once_and_only_once_in_a_row() {
    let lost = || transient(true);
    let unheard = || transient(false);
    for (script, at_once) in [
        (vec![lost()], vec![true]),
        (vec![lost(), lost()], vec![true, false]),
        (vec![unheard(), lost()], vec![false, true]),
        (vec![lost(), unheard(), lost()], vec![true, false, true]),
    ] {
        let mut world = world();
        world.pool.script.extend(script.clone());
        world.until(NINE + HOUR);
        let pauses: Vec<bool> = world
            .calls
            .windows(2)
            .take(script.len())
            .map(|pair| pair[1].boot.saturating_sub(pair[0].boot) == world.pool.latency)
            .collect();
        assert_eq!(pauses, at_once, "{script:?}");
    }
}

/// R12, as far as the machine goes: what was stored is tried again after a crash, and an honest message follows.
#[test]
fn r12_a_rotation_lost_in_a_crash_is_reported_as_that() {
    let mut world = world();
    world.until(NINE + 2 * HOUR);
    world.restart();
    let lost = refused(crate::session::EndReason::RotatedTokenLost);
    world.pool.outage = Some(lost);
    world.passes(2 * HOUR);
    assert_eq!(name(&world), StateName::SessionEnded);
    assert_eq!(world.request(), Some(Code::SessionExpired));
    let (_, warning) = world.warnings.last().expect("somebody is told");
    assert!(warning.reason.as_ref().is_some_and(|reason| reason.to_string().contains("rotated token lost")));
}

#[test]
fn r18_with_an_expired_token_at_start_requests_wait_through_a_first_failure() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.script.push_back(transient(false));
    world.load();
    assert_eq!(world.request(), None, "the second attempt comes within the patience of the request");

    // And where nobody answers they are told, after `refresh.wait` and not before anything was tried.
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.latency = Duration::from_secs(30);
    world.load();
    let arrived = world.now;
    assert_eq!(world.request(), Some(Code::RefreshFailing));
    assert_eq!(world.now.wall.since(arrived.wall), world.patience);
}

#[test]
fn r4_under_requests_an_outage_ends_within_five_seconds_of_its_end() {
    for minutes in [1, 7, 45, 200] {
        let mut world = World::empty(settings(), 3600, 30 * DAY);
        world.stored = Some(session(world.now, 3600));
        world.sleeps(2 * HOUR);
        world.pool.outage = Some(transient(false));
        world.load();
        world.passes(minutes * MINUTE);
        world.pool.outage = None;
        let returned = world.now;
        while world.request().is_some() {
            world.passes(Duration::from_millis(50));
        }
        assert!(world.now.wall.since(returned.wall) <= Duration::from_millis(5500), "{minutes} min");
    }
}

#[test]
fn the_network_is_asked_only_while_nothing_can_be_injected() {
    let mut world = world();
    world.passes(MINUTE);
    world.happens(Event::Wanted);
    assert_eq!(world.calls.len(), 0, "the token is fresh");
    world.pool.outage = Some(transient(false));
    world.until(NINE + 58 * MINUTE);
    let calls = world.calls.len();
    let backing_off = name(&world) == StateName::BackingOff;
    world.happens(Event::Wanted);
    assert!(!backing_off || world.calls.len() == calls, "the token is still good for two minutes");
}

#[test]
fn r10_a_setting_at_fault_ends_nothing_and_is_tried_again_after_ten_minutes_or_at_a_reload() {
    let failure = Failure::Setting { setting: SettingAtFault::ClientSecret, detail: "no secret".into() };
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.script.extend([failure.clone(), failure.clone()]);
    world.load();
    world.passes(Duration::from_secs(1));
    assert_eq!(name(&world), StateName::BackingOff);
    let Gate::BackingOff { fix, .. } = &world.published.gate else { panic!("{:?}", world.published.gate) };
    assert!(fix.contains("cognito.client_secret_file"), "{fix}");
    assert_eq!(world.published.facts.fix.as_ref(), Some(fix), "the status says so too");
    assert_eq!(world.request(), Some(Code::RefreshFailing));
    world.passes(598 * Duration::from_secs(1));
    assert_eq!(world.calls.len(), 1);
    world.passes(Duration::from_secs(2));
    assert_eq!(world.calls.len(), 2);
    assert_eq!(world.published.facts.last_refresh.as_ref().map(|last| last.outcome.as_str()), Some("rejected"));
    let settings = Box::new(settings());
    world.reload(*settings);
    world.passes(Duration::from_secs(1));
    assert_eq!(world.calls.len(), 3);
    assert_eq!(world.request(), None);
}

#[test]
fn a_reload_while_the_attempt_with_the_old_settings_is_in_flight_is_worth_another_one() {
    let failure = Failure::Setting { setting: SettingAtFault::ClientSecret, detail: "no secret".into() };
    let mut world = world();
    world.pool.script.push_back(failure);
    world.pool.latency = Duration::from_secs(2);
    world.until(NINE + 54 * MINUTE);
    world.until_refreshing();
    world.reload(settings());
    world.passes(Duration::from_secs(5));
    assert_eq!(name(&world), StateName::Fresh, "{:?}", world.published.gate);
}

#[test]
fn a_reload_does_not_shorten_the_second_thoughts_about_a_refusal() {
    let mut world = world();
    world.pool.outage = Some(Failure::Ambiguous { detail: "Invalid Refresh Token".into() });
    world.until(NINE + 54 * MINUTE);
    while world.calls.is_empty() {
        world.passes(Duration::from_millis(500));
    }
    world.passes(Duration::from_secs(1));
    for _ in 0..5 {
        world.reload(settings());
        world.passes(Duration::from_secs(1));
    }
    assert_eq!(world.calls.len(), 1);
}

/// R25: lifetimes that change, and answers that are no use.
#[test]
fn r25_the_schedule_follows_the_lifetime_and_a_dead_token_is_no_hot_loop() {
    for lifetime in [3, 4, 10, 300, 86_400] {
        let mut world = world();
        world.until(NINE + 30 * MINUTE);
        world.pool.lifetime = lifetime;
        world.until(NINE + 2 * HOUR);
        let calls = u64::try_from(world.calls.len()).expect("small");
        let most = 90 * 60 / lifetime * 2 + 2;
        assert!(calls >= 1 && calls <= most, "{lifetime} s: {calls} calls");
        assert_eq!(world.request(), None, "{lifetime} s");
    }
    // Cognito's clock is right, and yet the token has expired: at most one attempt in five seconds.
    let mut world = world();
    world.until(NINE + 30 * MINUTE);
    world.pool.lifetime = 0;
    world.until(NINE + HOUR);
    for pair in world.calls.windows(2) {
        assert!(pair[1].boot.saturating_sub(pair[0].boot) >= Duration::from_secs(5));
    }
    assert_eq!(world.published.facts.last_refresh.as_ref().map(|last| last.outcome.as_str()), Some("rejected"));
}

#[test]
fn a_pool_that_hands_out_old_tokens_is_no_hot_loop() {
    let mut world = world();
    world.until(NINE + 50 * MINUTE);
    world.until_refreshing();
    // Issued 59 minutes ago, and still "good" for one.
    let session = world.state.session().expect("one").clone();
    let stale = |world: &World| {
        let mut old = world.now;
        old.wall = old.wall.shifted(-59 * 60_000);
        let mut grant = grant(world.now, &session, 3600);
        grant.id_token = token(old, 3600, NINE);
        grant.id_token.received = world.now;
        Box::new(grant)
    };
    let before = world.steps;
    let end = world.now.boot + 10 * MINUTE;
    while world.now.boot < end {
        if world.state.is_refreshing() {
            let generation = world.state.session().expect("one").generation;
            world.now = world.now.after(world.pool.latency);
            let grant = stale(&world);
            world.happens(Event::Granted { generation, grant });
        } else {
            world.passes_to_wake_up(end);
        }
    }
    assert!(world.steps - before < 200, "{} steps in ten minutes", world.steps - before);
}

/// R26: without a refresh token the old one stays; and an access token that a route needs must be there.
#[test]
fn r26_an_answer_without_a_refresh_token_keeps_the_old_one() {
    let mut world = world();
    world.until(NINE + 2 * HOUR);
    assert_eq!(world.state.session().expect("one").refresh_token.expose(), "refresh-0");
    assert_eq!(world.stored.as_ref().expect("one").generation, 3);
}

#[test]
fn r26_an_answer_without_the_access_token_that_a_route_needs_is_rejected_without_a_hot_loop() {
    let mut settings = settings();
    settings.kinds = vec![TokenKind::Access];
    let mut world = World::empty(settings, 3600, 30 * DAY);
    let mut stored = session(world.now, 3600);
    let mut access = token(world.now, 600, NINE);
    access.claims.kind = TokenKind::Access;
    stored.access_token = Some(access);
    world.stored = Some(stored);
    world.load();
    world.passes(HOUR);
    assert!(world.calls.len() < 700, "{} calls", world.calls.len());
    assert!(world.steps < 3000, "{} steps", world.steps);
    assert_eq!(world.published.facts.last_refresh.as_ref().map(|last| last.outcome.as_str()), Some("rejected"));
    world.pool.access_lifetime = Some(600);
    world.passes(MINUTE);
    assert_eq!(world.request_for(TokenKind::Access), None);
}

#[test]
fn r24_tokens_of_another_subject_are_refused_with_their_refresh_token() {
    let mut world = world();
    world.until(NINE + 54 * MINUTE);
    world.until_refreshing();
    let session = world.state.session().expect("one").clone();
    let mut grant = grant(world.now, &session, 3600);
    grant.id_token.claims.subject = "mallory".into();
    grant.refresh_token = Some("refresh-of-mallory".into());
    world.happens(Event::Granted { generation: session.generation, grant: Box::new(grant) });
    assert_eq!(name(&world), StateName::BackingOff);
    assert_eq!(world.state.session().expect("one").refresh_token, session.refresh_token);
    assert_eq!(world.request(), None, "the old token is still good");
}

/// R27: whatever readers say again and again, one expiry is one refresh.
#[test]
fn r27_nudges_that_come_late_start_no_second_refresh() {
    let mut settings = settings();
    settings.mode = Mode::OnDemand;
    let mut world = World::at_nine(settings, 3600, 30 * DAY);
    world.until(NINE + 2 * HOUR);
    assert_eq!(world.calls.len(), 0, "nobody asked");
    assert_eq!(name(&world), StateName::Expired);
    for _ in 0..1000 {
        world.happens(Event::Wanted);
    }
    let waiting = world.published.clone();
    world.happens(Event::Wanted);
    assert_eq!(world.published, waiting, "a nudge that changes nothing wakes nobody");
    world.passes(Duration::from_secs(1));
    for _ in 0..1000 {
        world.happens(Event::Wanted);
    }
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.request(), None);
}

#[test]
fn on_demand_refreshes_when_a_request_needs_it_and_not_before() {
    let mut settings = settings();
    settings.mode = Mode::OnDemand;
    let mut world = World::at_nine(settings, 3600, 30 * DAY);
    world.until(NINE + 58 * MINUTE);
    assert_eq!(world.request(), None);
    assert_eq!(world.calls.len(), 0);
    world.until(NINE + HOUR - Duration::from_secs(59));
    assert_eq!(world.request(), None);
    assert_eq!(world.calls.len(), 1, "less than min_ttl was left");
    world.until(NINE + 9 * HOUR);
    assert_eq!(world.request(), None);
    assert_eq!(world.calls.len(), 2);
}

#[test]
fn on_demand_a_new_access_token_is_had_though_no_route_injects_one() {
    let mut settings = settings();
    settings.mode = Mode::OnDemand;
    let mut world = World::empty(settings, 3600, 30 * DAY);
    let mut stored = session(world.now, 3600);
    stored.access_token = Some(token(world.now, 300, NINE));
    world.stored = Some(stored);
    world.pool.access_lifetime = Some(300);
    world.load();
    world.passes(10 * MINUTE);
    assert_eq!(world.request_for(TokenKind::Access), None);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn ready_means_that_a_token_is_held_or_on_demand_that_one_can_be_had() {
    let kinds = [TokenKind::Id];
    let mut world = world();
    assert_eq!(world.published.unready(&kinds, false, world.now), None);
    let later = world.now.after(HOUR);
    assert_eq!(world.published.unready(&kinds, false, later), Some(Code::RefreshFailing));
    assert_eq!(world.published.unready(&kinds, true, later), None);
    // While refreshing fails, or the session has ended, the token at hand is all that can be had.
    for failure in [transient(false), refused(crate::session::EndReason::Revoked)] {
        let code = if failure == transient(false) { Code::RefreshFailing } else { Code::SessionExpired };
        let mut world = World::at_nine(settings(), 3600, 30 * DAY);
        world.pool.outage = Some(failure);
        world.passes(58 * MINUTE);
        assert_eq!(world.published.unready(&kinds, false, world.now), None, "{code:?}");
        assert_eq!(world.published.unready(&kinds, true, world.now), Some(code));
    }
    world.happens(Event::Cleared);
    assert_eq!(world.published.unready(&kinds, true, world.now), Some(Code::LoginRequired));
}

#[test]
fn r31_beyond_2038_everything_goes_on() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.now.wall = UnixTime::from_secs(2_147_483_647) - HOUR;
    world.stored = Some(session(world.now, 3600));
    world.load();
    world.passes(DAY);
    assert_eq!(world.request(), None);
    assert_eq!(world.calls.len(), 26);
    assert!(world.published.facts.next_refresh_at.expect("one").to_string().starts_with("2038-01-20T"));
}
