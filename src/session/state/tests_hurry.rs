//! Who may hurry the next attempt: requests and the network after transient failures alone, once in five seconds.

use std::time::Duration;

use super::{Event, fixtures::*};
use crate::{
    reply::Code,
    session::{Failure, SettingAtFault, snapshot::Gate, status::StateName},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A proxy that has failed for half an hour in this way, with a token that has died.
fn failing(failure: Failure) -> World {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.outage = Some(failure);
    world.load();
    world.passes(30 * MINUTE);
    while !matches!(world.published.gate, Gate::BackingOff { .. }) {
        world.passes(Duration::from_millis(50));
    }
    world
}

/// However much is asked for in ten seconds, and however: how many calls that makes.
fn calls_in_ten_seconds(world: &mut World) -> usize {
    let before = world.calls.len();
    for _ in 0..100 {
        world.happens(Event::Wanted);
        world.passes(Duration::from_millis(100));
    }
    world.calls.len() - before
}

#[test]
fn a_network_that_comes_and_goes_starts_one_attempt_in_five_seconds() {
    let mut world = failing(transient(false));
    let calls = calls_in_ten_seconds(&mut world);
    // One by itself at most, and two or three that are asked for.
    assert!((2..=4).contains(&calls), "{calls}");
}

#[test]
fn what_is_no_outage_is_hurried_by_nobody() {
    for failure in [
        Failure::Throttled { retry_after: Some(40 * SECOND), detail: "slow down".into() },
        Failure::Unacceptable { detail: "alg none".into() },
        Failure::Setting { setting: SettingAtFault::ClientSecret, detail: "no secret".into() },
    ] {
        let mut world = failing(failure.clone());
        // On to the beginning of a pause that is longer than what follows.
        while world.state.retry_at().is_none_or(|at| at < world.now.boot + 11 * SECOND) {
            world.passes(SECOND);
        }
        assert_eq!(world.request(), Some(Code::RefreshFailing));
        assert_eq!(calls_in_ten_seconds(&mut world), 0, "{failure:?}");
    }
    // Second thoughts about a refusal likewise.
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.stored = Some(session(world.now, 3600));
    world.sleeps(2 * HOUR);
    world.pool.outage = Some(Failure::Ambiguous { detail: "Invalid Refresh Token".into() });
    world.load();
    world.passes(SECOND);
    assert_eq!(calls_in_ten_seconds(&mut world), 1, "the one that was due");
}

#[test]
fn a_reload_ends_the_pause_after_a_transient_failure() {
    let mut world = failing(transient(false));
    while world.state.retry_at().is_none_or(|at| at < world.now.boot + 5 * SECOND) {
        world.passes(SECOND);
    }
    world.pool.outage = None;
    world.reload(settings());
    world.passes(SECOND);
    assert_eq!(world.published.facts.state_at(world.now), StateName::Fresh);
}

#[test]
fn whoever_wants_a_token_that_lasts_longer_gets_a_refresh_of_a_fresh_one() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.passes(MINUTE);
    world.happens(Event::Renew);
    assert!(world.state.is_refreshing());
    world.happens(Event::Renew);
    world.passes(SECOND);
    assert_eq!((world.calls.len(), world.state.session().expect("one").generation), (1, 2));

    // While refreshing fails it is one who waits, like any request.
    world.pool.outage = Some(Failure::Throttled { retry_after: Some(40 * SECOND), detail: "slow down".into() });
    world.happens(Event::Renew);
    world.passes(SECOND);
    let calls = world.calls.len();
    world.happens(Event::Renew);
    world.passes(10 * SECOND);
    assert_eq!(world.calls.len(), calls);
}
