//! The last chance: one more refresh just before the refresh token dies.

use std::time::Duration;

use super::fixtures::*;
use crate::session::{Mode, Settings};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn configured(validity: Duration) -> Settings {
    Settings { validity: Some(validity), ..settings() }
}

#[test]
fn the_last_chance_is_tried_again_until_the_refresh_token_dies() {
    for mode in [Mode::Ahead, Mode::OnDemand] {
        let mut world = World::at_nine(Settings { mode, ..configured(DAY) }, 3600, DAY);
        world.until(NINE + DAY - 3 * MINUTE);
        assert_eq!(world.request(), None);
        let before = world.calls.len();
        world.pool.outage = Some(transient(false));
        world.until(NINE + DAY - 30 * SECOND);
        assert!(world.calls.len() - before >= 3, "{mode:?}: {:?}", &world.calls[before..]);
        world.pool.outage = None;
        world.until(NINE + DAY);
        let end = world.state.session().expect("one").id_token.claims.expires_at;
        assert!(end > NINE + DAY + 55 * MINUTE, "{mode:?}: {end}");
    }
}

#[test]
fn the_last_chance_is_one_refresh_and_without_it_there_is_none() {
    for (last_chance, expected) in [(true, 1), (false, 0)] {
        let mut world = World::at_nine(Settings { mode: Mode::OnDemand, last_chance, ..configured(DAY) }, 3600, DAY);
        let shown = world.published.facts.next_refresh_at;
        assert_eq!(shown, last_chance.then_some(NINE + DAY - 2 * MINUTE), "twice min_ttl before the end");
        world.until(NINE + DAY - SECOND);
        assert_eq!(world.calls.len(), expected, "last_chance = {last_chance}");
    }
}

/// What was received before a restart counts as received at it; what it is good for, its `iat` says.
#[test]
fn a_proxy_that_starts_within_the_last_chance_takes_it_once() {
    for mode in [Mode::Ahead, Mode::OnDemand] {
        let mut world = World::at_nine(Settings { mode, ..configured(DAY) }, 3600, DAY);
        world.until(NINE + DAY - 20 * MINUTE);
        assert_eq!(world.request(), None);
        // Nobody looks for a while, and then a proxy starts with a minute left.
        world.now = world.now.after(19 * MINUTE);
        let before = world.calls.len();
        world.restart();
        world.until(NINE + DAY);
        let end = world.state.session().expect("one").id_token.claims.expires_at;
        assert_eq!(world.calls.len() - before, 1, "{mode:?}");
        assert!(end > NINE + DAY + 58 * MINUTE, "{mode:?}: {end}");
        assert!(world.published.facts.injecting_until.expect("known") > NINE + DAY + 58 * MINUTE, "{mode:?}");

        // Likewise what another process has left behind.
        let mut world = World::at_nine(Settings { mode, ..configured(DAY) }, 3600, DAY);
        world.until(NINE + DAY - 20 * MINUTE);
        assert_eq!(world.request(), None);
        let mut theirs = world.state.session().expect("one").clone();
        theirs.generation += 1;
        world.now = world.now.after(19 * MINUTE);
        theirs.id_token.received = world.now;
        let before = world.calls.len();
        world.happens(super::Event::Adopted { session: Box::new(theirs), stored: true });
        world.until(NINE + DAY);
        assert_eq!(world.calls.len() - before, 1, "{mode:?}");
    }
}
