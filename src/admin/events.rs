//! `/events`: the status document at once, and again whenever it says something else (server-sent events, WHATWG HTML
//! §9.2).
//!
//! Nothing here runs while nobody listens. What only counts down is no change: whoever listens can count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::{sync::watch, time::timeout};

use super::Vitals;
use crate::{
    clock::Now,
    current::CurrentToken,
    session::{schedule::LAST_SECOND, status::Report},
};

/// So many may listen at once: the pages that one person has open, and a bar or two.
pub(super) const MAX_LISTENERS: usize = 16;

/// What is said while there is nothing to say, so that a listener that has gone is noticed, and a clock that was set
/// is looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Changes that follow each other this closely are told as one.
const BREATH: Duration = Duration::from_millis(200);

/// Before the first document: a browser comes back this soon after a restart of the proxy.
const RETRY: &str = "retry: 2000\n";

/// A comment, which every listener ignores.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// How many listen.
#[derive(Clone, Debug, Default)]
pub(super) struct Audience(Arc<AtomicUsize>);

/// A place among them, given back when it is dropped.
struct Place(Audience);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Audience {
    fn enter(&self) -> Option<Place> {
        let place = |listeners: usize| (listeners < MAX_LISTENERS).then_some(listeners + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        Some(Place(self.clone()))
    }

    /// The events for one more listener, or `None` where there are too many.
    pub(super) fn listen(&self, current: &CurrentToken, vitals: &Arc<dyn Vitals>) -> Option<BoxStream<'static, Bytes>> {
        let listener = Listener {
            _place: self.enter()?,
            changes: current.subscribe(),
            held: current.subscribe_held(),
            current: current.clone(),
            vitals: Arc::clone(vitals),
            told: None,
        };
        Some(stream::unfold(listener, Listener::next).boxed())
    }
}

struct Listener {
    _place: Place,
    changes: watch::Receiver<u64>,
    held: watch::Receiver<u64>,
    current: CurrentToken,
    vitals: Arc<dyn Vitals>,
    /// What was said last.
    told: Option<Told>,
}

/// What has to differ for a status to be told again.
#[derive(PartialEq, Eq)]
struct Told {
    report: Report,
    /// When the idle lock closes, in whole seconds since boot.
    locks_at: Option<u64>,
}

impl Listener {
    /// The next piece, or the end where the proxy goes down.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.told.is_some() {
            tokio::time::sleep(BREATH).await;
        }
        let mut is_silent_too_long = false;
        loop {
            if self.vitals.is_stopping() {
                return None;
            }
            // Before looking: what changes from here on is looked at again.
            self.changes.borrow_and_update();
            self.held.borrow_and_update();
            let now = self.current.now();
            let report = self.current.snapshot().facts.report(now, self.current.held());
            let is_first = self.told.is_none();
            let told = Told { report: report.timeless(), locks_at: self.locks_at(now) };
            if self.told.as_ref() != Some(&told) {
                self.told = Some(told);
                return Some((document(&report, is_first)?, self));
            }
            if is_silent_too_long {
                return Some((COMMENT, self));
            }
            let patience = self.patience(now);
            let changed = async {
                tokio::select! {
                    _ = self.changes.changed() => {}
                    _ = self.held.changed() => {}
                }
            };
            is_silent_too_long = timeout(patience, changed).await.is_err() && patience == KEEP_ALIVE;
        }
    }

    fn locks_at(&self, now: Now) -> Option<u64> {
        self.current.idle_clock().map(|clock| (now.boot + clock.closes_in).as_secs())
    }

    /// Until when nothing can change by itself: the token in use dies, or the idle lock is about to close.
    fn patience(&self, now: Now) -> Duration {
        let end = self.current.snapshot().facts.usable_until;
        let dies = end.map(|end| end.earlier(LAST_SECOND).remaining(now));
        let locks = self.current.idle_clock().map(|clock| clock.announced_in);
        let nearest = dies.into_iter().chain(locks).filter(|left| !left.is_zero()).min();
        // A moment later, so that it is over when it is looked at.
        nearest.map_or(KEEP_ALIVE, |left| KEEP_ALIVE.min(left + Duration::from_millis(20)))
    }
}

/// One event. `None` where it cannot be written, which no document of this program causes.
fn document(report: &Report, is_first: bool) -> Option<Bytes> {
    let json = serde_json::to_string(report).ok()?;
    let retry = if is_first { RETRY } else { "" };
    Some(format!("{retry}data: {json}\n\n").into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::fixtures::{Fixture, signed_out};

    fn listen(fixture: &Fixture, audience: &Audience) -> Option<BoxStream<'static, Bytes>> {
        let vitals: Arc<dyn Vitals> = Arc::<crate::admin::fixtures::Switches>::clone(&fixture.switches);
        audience.listen(&fixture.current, &vitals)
    }

    async fn heard(events: &mut BoxStream<'static, Bytes>) -> String {
        String::from_utf8(events.next().await.expect("an event").to_vec()).expect("UTF-8")
    }

    fn state(event: &str) -> String {
        let data = event.split_once("data: ").expect("a document").1.strip_suffix("\n\n").expect("a whole event");
        let report: serde_json::Value = serde_json::from_str(data).expect("JSON");
        report["state"].as_str().expect("a state").to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_is_told_at_once_and_at_each_change_and_the_stream_ends_with_the_proxy() {
        let fixture = signed_out();
        let mut events = listen(&fixture, &Audience::default()).expect("room");
        let first = heard(&mut events).await;
        assert!(first.starts_with("retry: 2000\ndata: {\"schema\":1,"), "{first}");
        assert_eq!(state(&first), "signed_out");

        fixture.sign_in();
        assert_eq!(state(&heard(&mut events).await), "fresh");

        // Nothing but time passes, and a comment says so.
        let before = tokio::time::Instant::now();
        assert_eq!(heard(&mut events).await, ":\n\n");
        assert!(before.elapsed() >= KEEP_ALIVE, "{:?}", before.elapsed());

        fixture.switches.stopping.store(true, Ordering::Relaxed);
        assert!(events.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_dies_by_itself_is_told() {
        let fixture = signed_out();
        fixture.sign_in();
        let mut events = listen(&fixture, &Audience::default()).expect("room");
        assert_eq!(state(&heard(&mut events).await), "fresh");
        fixture.clock.advance(Duration::from_secs(3600));
        assert_eq!(state(&heard(&mut events).await), "expired");
    }

    #[test]
    fn there_is_an_end_to_the_listeners_and_their_places_are_given_back() {
        let (fixture, audience) = (signed_out(), Audience::default());
        let all: Vec<_> = (0..MAX_LISTENERS).map(|_| listen(&fixture, &audience).expect("room")).collect();
        assert!(listen(&fixture, &audience).is_none());
        drop(all);
        assert!(listen(&fixture, &audience).is_some());
    }
}
