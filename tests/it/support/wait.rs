//! Waiting for a condition, never for a while: a probe is asked until it answers, and a bound turns a hang into a
//! failure that names what was missing.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a condition may take that should come at once. Generous, since a loaded machine is no failure; it is
/// reached only by tests that fail.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// How often a probe is asked.
const TICK: Duration = Duration::from_millis(10);

/// The probe's first answer, or None where it gave none within `bound`.
pub(crate) async fn within<T>(bound: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(answer) = probe().await {
                return answer;
            }
        }
    };
    timeout(bound, asking).await.ok()
}

/// The probe's first answer; the test fails where it gives none within [`BOUND`].
pub(crate) async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    match within(BOUND, probe).await {
        Some(answer) => answer,
        None => panic!("waited {BOUND:?} in vain for {what}"),
    }
}

/// What `coming` brings; the test fails where it brings nothing within [`BOUND`].
pub(crate) async fn bounded<T>(what: &str, coming: impl Future<Output = T>) -> T {
    timeout(BOUND, coming).await.unwrap_or_else(|_| panic!("waited {BOUND:?} in vain for {what}"))
}

#[tokio::test]
async fn a_probe_is_asked_until_it_answers_and_a_hang_ends_at_the_bound() {
    let mut asked = 0;
    let answer = until("the third time", async || {
        asked += 1;
        (asked == 3).then_some(asked)
    })
    .await;
    assert_eq!(answer, 3);

    let hang = within(Duration::from_millis(30), async || std::future::pending::<Option<()>>().await).await;
    assert!(hang.is_none());
}
