//! Two kinds of tokens: whichever ends first decides when to refresh, and whichever ends last when nothing can be
//! injected any more.

use std::time::Duration;

use super::{Event, fixtures::*};
use crate::{
    clock::Now,
    reply::Code,
    session::{EndReason, Session, Settings, Token, TokenKind, snapshot::Decision, status::StateName},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn access(now: Now, lifetime: u64) -> Token {
    let mut access = token(now, lifetime, NINE);
    access.claims.kind = TokenKind::Access;
    access
}

/// Routes inject these kinds; the tokens live so many seconds.
fn world(kinds: &[TokenKind], id: u64, access_lifetime: u64) -> World {
    let mut world = World::empty(Settings { kinds: kinds.to_vec(), ..settings() }, id, 30 * DAY);
    world.pool.access_lifetime = Some(access_lifetime);
    world.stored = Some(Session { access_token: Some(access(world.now, access_lifetime)), ..session(world.now, id) });
    world.load();
    world
}

const BOTH: [TokenKind; 2] = [TokenKind::Id, TokenKind::Access];

#[test]
fn the_token_that_ends_first_decides_when_to_refresh() {
    for (id, access) in [(3600, 600), (600, 3600)] {
        let mut world = world(&BOTH, id, access);
        for _ in 0..3600 {
            assert_eq!((world.request(), world.request_for(TokenKind::Access)), (None, None));
            world.passes(SECOND);
        }
        let first = world.calls[0].wall.since(NINE).as_secs();
        assert!((600 - 132..=600 - 120).contains(&first), "{id} {access}: {first} s");
        assert!(world.calls.len() <= 8, "{id} {access}: {:?}", world.calls);
        // And what is shown is about that one: the other alone is no token for both.
        world.pool.outage = Some(transient(false));
        let end = world.published.facts.usable_until.expect("one").wall;
        world.until(end - SECOND);
        assert_eq!(world.published.facts.usable_until.map(|until| until.wall), Some(end));
        let gone = BOTH.map(|kind| world.published.decide(kind, world.now) != Decision::Inject);
        assert_eq!(gone, [id < access, access < id], "{id} {access}");
    }
}

#[test]
fn a_kind_that_no_route_injects_decides_nothing() {
    let mut world = world(&[TokenKind::Id], 3600, 600);
    world.passes(50 * 60 * SECOND);
    assert_eq!(world.calls.len(), 0);
    world.passes(10 * 60 * SECOND);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn requests_are_held_for_ten_minutes_from_the_death_of_the_last_token() {
    for (id, access) in [(3600, 900), (900, 3600)] {
        let mut world = world(&BOTH, id, access);
        world.pool.outage = Some(refused(EndReason::Revoked));
        let (first, last) = if id < access { (TokenKind::Id, NINE + HOUR) } else { (TokenKind::Access, NINE + HOUR) };
        world.until(NINE + 900 * SECOND);
        assert_eq!(world.published.facts.state_at(world.now), StateName::SessionEnded);
        assert_eq!(world.request_for(first), Some(Code::SessionExpired));
        let decide = |world: &World| world.published.decide(first, world.now);
        world.until(last - SECOND + 600 * SECOND - Duration::from_millis(1));
        assert!(matches!(decide(&world), Decision::Hold(_)), "{id} {access}: {:?}", decide(&world));
        world.passes(Duration::from_millis(1));
        assert!(matches!(decide(&world), Decision::Refuse(_)), "{id} {access}");
    }
}

#[test]
fn a_kind_that_the_session_has_never_had_is_asked_for_at_once() {
    let kinds = vec![TokenKind::Id, TokenKind::Access];
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    world.pool.access_lifetime = Some(3600);
    world.passes(SECOND);
    assert_eq!(world.calls.len(), 0);
    world.reload(Settings { kinds, ..settings() });
    world.passes(SECOND);
    assert_eq!(world.calls.len(), 1, "before a request needs it");
    assert_eq!(world.request_for(TokenKind::Access), None);
}

#[test]
fn an_answer_without_an_access_token_keeps_the_one_at_hand() {
    let mut world = world(&[TokenKind::Id], 3600, 7200);
    world.pool.access_lifetime = None;
    let ours = world.state.session().expect("one").access_token.clone();
    world.passes(HOUR);
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.state.session().expect("one").access_token, ours);
    assert_eq!(world.request_for(TokenKind::Access), None);
}

#[test]
fn the_key_set_that_verified_the_latest_tokens_is_the_one_that_is_stored() {
    let mut world = World::at_nine(settings(), 3600, 30 * DAY);
    for (brought, kept) in [(Some("first"), "first"), (None, "first"), (Some("second"), "second")] {
        world.passes(54 * 60 * SECOND);
        world.until_refreshing();
        let session = world.state.session().expect("one").clone();
        let mut grant = grant(world.now, &session, 3600);
        grant.jwks = brought.map(str::to_owned);
        world.happens(Event::Granted { generation: session.generation, grant: Box::new(grant) });
        world.forget_refresh();
        assert_eq!(world.stored.as_ref().expect("stored").jwks.as_deref(), Some(kept), "{brought:?}");
    }
}
