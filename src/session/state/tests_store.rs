//! Rotation and the disk: what is durable before anybody relies on it, and what happens when it cannot be.

use std::time::Duration;

use super::{Action, Event, State, fixtures::*};
use crate::{
    clock::Now,
    secret::Secret,
    session::{EndReason, Failure, LastRefresh, Outcome, Settings, snapshot::Gate, status::StateName},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn rotating() -> World {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.rotates = true;
    world
}

/// A machine at the moment when its refresh is in flight, and that moment.
fn refreshing(settings: Settings) -> (State, Now) {
    let mut world = World::at_nine(settings, 3600, 30 * DAY);
    world.until_refreshing();
    (world.state, world.now)
}

fn rotation(state: &State, now: Now) -> Event {
    let session = state.session().expect("one");
    let grant = crate::session::Grant { refresh_token: Some(Secret::from("rotated")), ..grant(now, session, 3600) };
    Event::Granted { generation: session.generation, grant: Box::new(grant) }
}

fn publishes(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Publish(_)))
}

fn saves(actions: &[Action]) -> bool {
    actions.contains(&Action::Save)
}

#[test]
fn a_rotated_token_is_published_only_after_it_is_durable() {
    let (state, now) = refreshing(settings());
    let event = rotation(&state, now);
    let (state, actions) = state.step(now, event);
    assert!(saves(&actions) && !publishes(&actions), "{actions:?}");
    assert!(state.is_refreshing(), "to a reader that said 401, it is still under way");
    // Whatever else happens meanwhile: nothing is seen, nothing is spent, and there is no second write.
    for event in [Event::Tick, Event::Wanted, Event::Unauthorized { generation: 2, accepted: 2 }, Event::Unlocked] {
        let (_, actions) = state.clone().step(now, event.clone());
        assert!(!publishes(&actions) && !saves(&actions) && !actions.contains(&Action::Refresh), "{event:?}");
    }
    let (_, actions) = state.step(now, Event::Saved);
    let Some(Action::Publish(snapshot)) = actions.first() else { panic!("{actions:?}") };
    assert_eq!(snapshot.gate, Gate::Open);
    assert_eq!(snapshot.id_token.as_ref().map(|token| token.generation), Some(2));
}

#[test]
fn a_write_that_was_begun_before_the_rotation_does_not_vouch_for_it() {
    // A forced refresh while a note is being written: only the second write holds the rotated token.
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.passes(60 * SECOND);
    let (now, mut state) = (world.now, world.state);
    state.save = true;
    let (state, actions) = state.step(now, Event::Tick);
    assert!(saves(&actions));
    let (state, _) = state.step(now, Event::Unauthorized { generation: 1, accepted: 1 });
    let event = rotation(&state, now);
    let (state, actions) = state.step(now, event);
    assert!(!saves(&actions) && !publishes(&actions), "one write at a time: {actions:?}");
    let (state, actions) = state.step(now, Event::Saved);
    assert!(saves(&actions) && !publishes(&actions), "{actions:?}");
    let (_, actions) = state.step(now, Event::Saved);
    assert!(publishes(&actions));
}

#[test]
fn without_rotation_nobody_waits_for_the_disk() {
    let (state, now) = refreshing(settings());
    let session = state.session().expect("one").clone();
    let event = Event::Granted { generation: session.generation, grant: Box::new(grant(now, &session, 3600)) };
    let (_, actions) = state.step(now, event);
    assert!(publishes(&actions) && saves(&actions));
}

#[test]
fn a_sign_in_is_published_only_after_it_is_durable() {
    let state = State::new(settings(), "cognito-proxy login".into(), 1);
    let now = World::empty(settings(), 3600, DAY).now;
    // Its token has expired already, and still the refresh waits until there is something to fall back on.
    let mut expired = session(now, 3600);
    expired.id_token.claims.expires_at = now.wall;
    let (state, actions) = state.step(now, Event::Adopted { session: Box::new(expired), stored: false });
    assert!(saves(&actions) && !publishes(&actions) && !actions.contains(&Action::Refresh), "{actions:?}");
    let (state, actions) = state.step(now, Event::Wanted);
    assert!(!actions.contains(&Action::Refresh), "{actions:?}");
    let (_, actions) = state.step(now, Event::Saved);
    assert!(publishes(&actions) && actions.contains(&Action::Refresh), "{actions:?}");
}

/// R13: ENOSPC, EIO or EROFS when a rotated token is to be stored.
#[test]
fn r13_a_token_that_the_disk_refuses_is_served_flagged_and_written_again_until_it_works() {
    let mut world = rotating();
    world.disk_works = false;
    world.until(NINE + 56 * 60 * SECOND);
    let old = world.stored.clone().expect("the old record is intact");
    assert_eq!(old.refresh_token.expose(), "refresh-0");
    assert_eq!(world.state.session().expect("one").refresh_token.expose(), "refresh-1");
    assert!(world.published.facts.unpersisted_rotation);
    assert_eq!(world.published.facts.state_at(world.now), StateName::Fresh);
    assert_eq!(world.request(), None);
    let writes = world.writes.clone();
    let pauses: Vec<u64> = writes.windows(2).map(|pair| pair[1].boot.saturating_sub(pair[0].boot).as_secs()).collect();
    assert_eq!(pauses[..6], [1, 2, 4, 8, 16, 32], "{pauses:?}");
    world.passes(10 * HOUR);
    let steps = world.steps;
    world.passes(HOUR);
    assert!(world.steps - steps < 300, "{} steps in an hour", world.steps - steps);
    world.disk_works = true;
    world.passes(61 * SECOND);
    assert!(!world.published.facts.unpersisted_rotation);
    assert!(!world.state.is_unsaved());
    let session = world.state.session().expect("one");
    assert_eq!(world.stored.as_ref().expect("one"), session);
}

#[test]
fn a_note_that_the_disk_refuses_is_no_lost_rotation() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.disk_works = false;
    world.passes(56 * 60 * SECOND);
    assert!(world.state.is_unsaved(), "it is written again all the same");
    assert!(!world.published.facts.unpersisted_rotation);
}

#[test]
fn a_failure_alone_leaves_the_store_untouched() {
    for failure in [
        transient(false),
        transient(true),
        Failure::Throttled { retry_after: None, detail: "slow down".into() },
        Failure::Unacceptable { detail: "alg none".into() },
        Failure::Setting { setting: crate::session::SettingAtFault::Firewall, detail: "403".into() },
    ] {
        let mut world = rotating();
        world.until(NINE + 2 * HOUR);
        let (stored, writes) = (world.stored.clone(), world.writes.len());
        world.pool.outage = Some(failure.clone());
        world.until(NINE + 5 * HOUR);
        assert_eq!((world.writes.len(), &world.stored), (writes, &stored), "{failure:?}");
        assert_ne!(world.published.facts.consecutive_failures, 0);
    }
}

#[test]
fn a_rotation_that_came_with_a_dead_token_is_kept_and_the_old_token_is_not_passed_off_as_new() {
    let (state, now) = refreshing(settings());
    let session = state.session().expect("one").clone();
    let mut dead = grant(now, &session, 3600);
    dead.id_token.claims.expires_at = now.wall;
    dead.refresh_token = Some(Secret::from("rotated"));
    let (state, actions) = state.step(now, Event::Granted { generation: session.generation, grant: Box::new(dead) });
    assert!(saves(&actions));
    let kept = state.session().expect("one");
    assert_eq!((kept.refresh_token.expose(), &kept.id_token), ("rotated", &session.id_token));
    assert!(kept.generation > session.generation, "another process must see that it is newer");
    assert_eq!(state.snapshot(now).id_token.as_ref().map(|token| token.generation), Some(session.generation));
    assert!(state.retry_at().is_some_and(|at| at >= now.boot + 5 * SECOND));
}

#[test]
fn a_rotation_whose_tokens_could_not_be_verified_is_stored_before_anything_else_is_tried() {
    for failure in [transient(true), transient(false), Failure::Unacceptable { detail: "unknown kid".into() }] {
        let (state, now) = refreshing(settings());
        let session = state.session().expect("one").clone();
        let failure = Failure::Rotated { rotated: Secret::from("rotated"), failure: Box::new(failure) };
        let generation = session.generation;
        let (state, actions) = state.step(now, Event::Failed { generation, failure });
        assert!(saves(&actions) && !actions.contains(&Action::Refresh), "{actions:?}");
        assert_eq!(state.session().expect("one").refresh_token.expose(), "rotated");
        // The disk takes its time, and the token is not spent before.
        let late = now.after(120 * SECOND);
        let (state, actions) = state.step(late, Event::Tick);
        assert!(!actions.contains(&Action::Refresh), "{actions:?}");
        let (state, actions) = state.step(late, Event::Wanted);
        assert!(!actions.contains(&Action::Refresh), "{actions:?}");
        let (_, actions) = state.step(late, Event::Saved);
        assert!(actions.contains(&Action::Refresh), "{actions:?}");
    }
}

/// R8 and R17: another process was quicker, and the store holds what it got.
#[test]
fn r17_the_loser_of_a_race_adopts_the_newer_generation_instead_of_spending_a_consumed_token() {
    let (state, now) = refreshing(settings());
    let mut theirs = state.session().expect("one").clone();
    theirs.generation += 1;
    theirs.refresh_token = Secret::from("rotated by another");
    theirs.id_token = token(now, 3600, NINE);
    let (state, actions) = state.step(now, Event::Adopted { session: Box::new(theirs.clone()), stored: true });
    assert!(publishes(&actions) && !saves(&actions) && !actions.contains(&Action::Refresh), "{actions:?}");
    assert_eq!(state.session(), Some(&theirs));
    assert!(!state.is_refreshing());

    // The same as the answer to a write: nothing is left to be written.
    let (state, now) = refreshing(settings());
    let event = rotation(&state, now);
    let (state, _) = state.step(now, event);
    theirs.generation += 5;
    let (state, actions) = state.step(now, Event::Adopted { session: Box::new(theirs), stored: true });
    assert!(publishes(&actions) && !saves(&actions), "{actions:?}");
    let (_, actions) = state.step(now.after(SECOND), Event::Unlocked);
    assert!(publishes(&actions));
}

#[test]
fn a_reload_without_a_session_takes_up_what_is_stored() {
    let mut world = World::empty(settings(), 3600, 30 * DAY);
    world.load();
    assert_eq!(world.published.facts.state, StateName::SignedOut);
    world.stored = Some(session(world.now, 3600));
    world.reload(settings());
    assert_eq!((world.published.facts.state, world.calls.len()), (StateName::Fresh, 0));

    // Likewise where it is the configuration that comes to fit what is stored.
    let other = Settings { client_id: "another".into(), ..settings() };
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.reload(other);
    assert_eq!(world.published.facts.state, StateName::SignedOut);
    world.reload(settings());
    assert_eq!((world.published.facts.state, world.calls.len()), (StateName::Fresh, 0));
}

#[test]
fn a_reload_of_an_ended_session_spends_its_attempt_on_what_is_stored_now() {
    let mut world = rotating();
    world.pool.outage = Some(refused(EndReason::Revoked));
    world.until(NINE + 5 * HOUR);
    let ended = world.state.session().expect("kept").clone();
    assert_eq!(world.published.facts.state, StateName::SessionEnded);
    // The same record is no news.
    let calls = world.calls.len();
    world.reload(settings());
    assert_eq!(world.state.session().map(|session| session.generation), Some(ended.generation));
    world.until(NINE + 6 * HOUR);
    assert_eq!((world.calls.len(), world.published.facts.state), (calls + 1, StateName::SessionEnded));

    // A backup that somebody put back is, although its generation is an old one.
    world.pool.outage = None;
    let mut backup = session(world.now, 3600);
    backup.refresh_token = Secret::from("from a backup");
    world.stored = Some(backup);
    world.reload(settings());
    let now = world.state.session().expect("taken up");
    assert_eq!((now.refresh_token.expose(), world.published.facts.state), ("from a backup", StateName::Fresh));
    assert!(now.generation > ended.generation, "{} after {}", now.generation, ended.generation);
}

#[test]
fn a_reload_beside_a_write_begins_no_second_one() {
    let mut world = rotating();
    world.disk_works = false;
    world.pool.outage = Some(refused(EndReason::Revoked));
    world.until(NINE + HOUR);
    assert!(world.state.is_unsaved());
    let (now, stored) = (world.now.after(120 * SECOND), world.stored.clone().map(Box::new));
    let (state, actions) = world.state.step(now, Event::Tick);
    assert!(saves(&actions), "{actions:?}");
    let (state, actions) = state.step(now, Event::Reconfigured { settings: Box::new(settings()), stored });
    assert!(!saves(&actions), "{actions:?}");
    let (state, actions) = state.step(now.after(120 * SECOND), Event::Tick);
    assert!(!saves(&actions), "the first one has not been answered: {actions:?}");
    let (_, actions) = state.step(now.after(120 * SECOND), Event::SaveRefused);
    assert!(saves(&actions), "and now it is due again: {actions:?}");
}

#[test]
fn a_reload_of_a_session_that_goes_on_asks_nobody_what_is_stored() {
    let mut world = rotating();
    world.until(NINE + 2 * HOUR);
    assert!(!world.state.wants_stored(&settings()));
    let ours = world.state.session().expect("one").clone();
    let old = Box::new(session(world.now, 3600));
    world.happens(Event::Reconfigured { settings: Box::new(settings()), stored: Some(old) });
    assert_eq!(world.state.session(), Some(&ours), "and what is older than ours is not taken");
}

#[test]
fn generations_never_go_back_even_over_a_logout() {
    let mut world = rotating();
    world.until(NINE + 5 * HOUR);
    let before = world.state.session().expect("one").generation;
    world.happens(Event::Cleared);
    // A record that another process began anew.
    let fresh = session(world.now, 3600);
    world.happens(Event::Adopted { session: Box::new(fresh), stored: true });
    let adopted = world.state.session().expect("one").generation;
    assert!(adopted > before, "{adopted} after {before}");
    assert_eq!(world.stored.as_ref().map(|stored| stored.generation), Some(adopted), "and the store knows");
}

#[test]
fn at_rest_a_refresh_that_failed_last_is_overdue_since() {
    let now = World::empty(settings(), 3600, DAY).now;
    let at_rest = |outcome, ended: Option<EndReason>| {
        let mut stored = session(now, 0);
        stored.notes.last_refresh = Some(LastRefresh { at: now.wall - HOUR, outcome, error: Some("why".into()) });
        stored.notes.ended = ended;
        let state = State::new(settings(), "cognito-proxy login".into(), 1).at_rest(Ok(Some(Box::new(stored))));
        state.snapshot(now).facts
    };
    for outcome in [Outcome::Transient, Outcome::Throttled, Outcome::Rejected] {
        let facts = at_rest(outcome, None);
        assert_eq!((facts.state, facts.consecutive_failures), (StateName::BackingOff, 1), "{outcome:?}");
        assert_eq!(facts.next_refresh_at, Some(now.wall - HOUR), "{outcome:?}");
        assert_eq!(at_rest(outcome, Some(EndReason::Revoked)).state, StateName::SessionEnded, "{outcome:?}");
    }
    assert_eq!(at_rest(Outcome::Ok, None).state, StateName::Fresh);
}
