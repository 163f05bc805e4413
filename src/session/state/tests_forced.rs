//! An upstream that says 401: when that is worth a refresh.

use std::time::Duration;

use super::{Event, fixtures::*};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn world() -> World {
    World::at_nine(settings(), 3600, 30 * DAY)
}

#[test]
fn an_upstream_that_says_401_forces_one_refresh_a_minute_of_tokens_older_than_ten_seconds() {
    let mut world = world();
    let unauthorized = |world: &mut World, accepted: u64| {
        let generation = world.published.id_token.as_ref().expect("one").generation;
        world.happens(Event::Unauthorized { generation, accepted });
        let under_way = world.state.is_refreshing();
        world.passes(Duration::from_secs(1));
        under_way
    };
    world.passes(Duration::from_secs(9));
    assert!(!unauthorized(&mut world, 0), "a young token is not doubted");
    world.passes(Duration::from_secs(1));
    assert!(unauthorized(&mut world, 0));
    assert_eq!(world.calls.len(), 1);
    // The new generation was itself forced, and nobody has taken it yet.
    world.passes(5 * MINUTE);
    assert!(!unauthorized(&mut world, 1));
    assert!(unauthorized(&mut world, 2));
    assert_eq!(world.calls.len(), 2);
    world.passes(Duration::from_secs(30));
    assert!(!unauthorized(&mut world, 3), "one a minute");
    world.passes(Duration::from_secs(30));
    assert!(unauthorized(&mut world, 3));
    // An old generation says nothing about the current one.
    world.passes(5 * MINUTE);
    let calls = world.calls.len();
    world.happens(Event::Unauthorized { generation: 1, accepted: 9 });
    assert_eq!(world.calls.len(), calls);
}

#[test]
fn a_token_that_was_loaded_from_the_store_is_as_old_as_its_iat_says() {
    let mut world = world();
    world.passes(30 * MINUTE);
    world.restart();
    world.passes(Duration::from_secs(1));
    world.happens(Event::Unauthorized { generation: 1, accepted: 0 });
    assert!(world.state.is_refreshing());
}

#[test]
fn a_forced_refresh_that_needs_a_second_attempt_is_still_a_forced_one() {
    let mut world = world();
    world.passes(MINUTE);
    world.pool.script.push_back(transient(false));
    world.happens(Event::Unauthorized { generation: 1, accepted: 1 });
    world.passes(5 * MINUTE);
    assert_eq!(world.state.session().expect("one").generation, 2);
    world.happens(Event::Unauthorized { generation: 2, accepted: 1 });
    assert!(!world.state.is_refreshing());
}

#[test]
fn a_sign_in_takes_the_place_of_a_forced_refresh() {
    let mut world = world();
    world.passes(MINUTE);
    world.happens(Event::Unauthorized { generation: 1, accepted: 1 });
    world.sign_in();
    world.passes(55 * MINUTE);
    let generation = world.state.session().expect("one").generation;
    assert_eq!(generation, 3, "a routine refresh after the sign-in");
    world.passes(MINUTE);
    world.happens(Event::Unauthorized { generation, accepted: 0 });
    assert!(world.state.is_refreshing(), "nobody forced generation 3");
}
