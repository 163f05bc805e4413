//! Figures for `/metrics`, in OpenMetrics text.
//!
//! Owns the counters and their names. What the request path counts lies in one [`Shard`] for each worker, written by
//! that worker alone, so that no cache line is shared; a scrape sums them. What is known of the session is not kept
//! here at all: a scrape is given the published facts, so the figures cannot disagree with `status`.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    clock::UnixTime,
    reply::Code,
    session::{Outcome, status::Facts, warning::Level},
};

/// Upper bounds of `request_duration_seconds`, in seconds: from a loopback API to a slow report.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The same in nanoseconds.
const BOUNDS: [u64; 12] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

/// Statuses that `requests_total` lists from the start: what the proxy says itself, and what upstreams usually say.
const STATUSES: [u16; 24] = [
    101, 200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 408, 417, 429, 431, 500, 501, 502, 503, 504,
    508,
];

/// The first status that has a counter.
const FIRST_STATUS: usize = 100;

/// All figures of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    shards: Mutex<Vec<Arc<Shard>>>,
    refreshes: [AtomicU64; Outcome::ALL.len()],
    /// Seconds since the epoch; 0 for never.
    refreshed_at: AtomicI64,
}

/// What one worker counts. Only that worker writes to it.
#[repr(align(128))]
pub struct Shard {
    statuses: [AtomicU64; 500],
    refused: [AtomicU64; Code::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
    active: AtomicU64,
    idle: AtomicU64,
}

impl Metrics {
    /// A new shard, for one worker.
    #[must_use]
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shard));
        shard
    }

    /// Counts a refresh that ended at `at`.
    pub fn refreshed(&self, outcome: Outcome, at: UnixTime) {
        for (counter, known) in self.refreshes.iter().zip(Outcome::ALL) {
            if known == outcome {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        if outcome == Outcome::Ok {
            self.refreshed_at.store(at.as_secs(), Ordering::Relaxed);
        }
    }

    /// The document of `/metrics`: what was counted, and what `facts` and `held` requests say of the session.
    ///
    /// # Errors
    /// None that a `String` can cause; the type is `prometheus_client`'s.
    pub fn encode(&self, facts: &Facts, held: u64) -> Result<String, fmt::Error> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let scrape = Scrape {
            shards,
            refreshes: Outcome::ALL
                .iter()
                .map(|outcome| outcome.as_str())
                .zip(self.refreshes.iter().map(load))
                .collect(),
            session: SessionFigures::of(facts, held, self.refreshed_at.load(Ordering::Relaxed)),
        };
        let mut registry = Registry::with_prefix("cognito_proxy");
        registry.register_collector(Box::new(scrape));
        let mut document = String::with_capacity(8 * 1024);
        text::encode(&mut document, &registry)?;
        Ok(document)
    }
}

impl Shard {
    /// Counts a response with its status and the time from the request's head to the response's.
    pub fn responded(&self, status: StatusCode, took: Duration) {
        if let Some(counter) = self.statuses.get(usize::from(status.as_u16()).wrapping_sub(FIRST_STATUS)) {
            add(counter, 1);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket], 1);
        add(&self.nanoseconds, nanoseconds);
    }

    /// Counts a reply of the proxy's own.
    pub fn refused(&self, code: Code) {
        for (counter, known) in self.refused.iter().zip(Code::ALL) {
            if known == code {
                add(counter, 1);
            }
        }
    }

    /// States how many upstream connections one pool has, as a change.
    pub fn upstream_connections(&self, active: i64, idle: i64) {
        self.active.store(load(&self.active).saturating_add_signed(active), Ordering::Relaxed);
        self.idle.store(load(&self.idle).saturating_add_signed(idle), Ordering::Relaxed);
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            statuses: [const { AtomicU64::new(0) }; 500],
            refused: [const { AtomicU64::new(0) }; Code::ALL.len()],
            buckets: [const { AtomicU64::new(0) }; BUCKETS.len() + 1],
            nanoseconds: AtomicU64::new(0),
            active: AtomicU64::new(0),
            idle: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shard")
    }
}

/// One writer, so no read-modify-write instruction is needed.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(load(counter).wrapping_add(more), Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The session, in numbers. A time that is not known is NaN: it is there, and no alert compares true with it.
#[derive(Debug)]
struct SessionFigures {
    gauges: [(&'static str, &'static str, f64); 8],
}

impl SessionFigures {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double's 53 bits")]
    fn of(facts: &Facts, held: u64, refreshed_at: i64) -> Self {
        let seconds = |at: Option<UnixTime>| at.map_or(f64::NAN, |at| at.as_secs() as f64);
        let stored =
            facts.last_refresh.as_ref().filter(|last| last.outcome == Outcome::Ok).map(|last| last.at.as_secs());
        let success = stored.unwrap_or(0).max(refreshed_at);
        let level = match facts.level {
            Level::None => 0.0,
            Level::Notice => 1.0,
            Level::Soon => 2.0,
            Level::Urgent => 3.0,
            Level::Ended => 4.0,
        };
        let id_token = facts.id_token.map(|times| times.expires_at);
        Self {
            gauges: [
                ("id_token_expiry_timestamp_seconds", "When the ID token expires", seconds(id_token)),
                (
                    "refresh_token_expiry_timestamp_seconds",
                    "When the refresh token expires, at the latest; NaN where that is not known",
                    seconds(facts.refresh_token.at),
                ),
                ("next_refresh_timestamp_seconds", "When the next refresh is due", seconds(facts.next_refresh_at)),
                (
                    "last_refresh_success_timestamp_seconds",
                    "When the last successful refresh ended",
                    if success == 0 { f64::NAN } else { success as f64 },
                ),
                (
                    "consecutive_refresh_failures",
                    "How many refreshes have failed in a row",
                    f64::from(facts.consecutive_failures),
                ),
                (
                    "session_warning_level",
                    "How near the session's end is: 0 none, 1 notice, 2 soon, 3 urgent, 4 ended",
                    level,
                ),
                ("held_requests", "Requests that wait for a sign-in", held as f64),
                (
                    "unpersisted_rotation",
                    "1 while a rotated refresh token is in memory alone",
                    f64::from(u8::from(facts.unpersisted_rotation)),
                ),
            ],
        }
    }
}

/// One look at everything.
#[derive(Debug)]
struct Scrape {
    shards: Vec<Arc<Shard>>,
    refreshes: Vec<(&'static str, u64)>,
    session: SessionFigures,
}

impl Scrape {
    fn sum(&self, of: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| load(of(shard))).fold(0, u64::wrapping_add)
    }

    fn statuses(&self) -> Vec<(String, u64)> {
        (0..500)
            .map(|index| (index + FIRST_STATUS, self.sum(|shard| &shard.statuses[index])))
            .filter(|(status, count)| *count > 0 || STATUSES.iter().any(|known| usize::from(*known) == *status))
            .map(|(status, count)| (status.to_string(), count))
            .collect()
    }

    fn durations(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let counts: Vec<u64> = (0..=BUCKETS.len()).map(|index| self.sum(|shard| &shard.buckets[index])).collect();
        let bounds = BUCKETS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let total = Duration::from_nanos(self.sum(|shard| &shard.nanoseconds)).as_secs_f64();
        encoder
            .encode_descriptor(
                "request_duration_seconds",
                "Time from a request's head to its response's",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(total, counts.iter().sum(), &buckets, None)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, value) in &self.session.gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)?;
        }
        counters(&mut encoder, "refresh_attempts", "Refreshes that ended", "outcome", &self.refreshes)?;
        counters(&mut encoder, "requests", "Responses by status", "code", &self.statuses())?;
        let refused: Vec<(&str, u64)> = Code::ALL
            .iter()
            .enumerate()
            .map(|(index, code)| (code.as_str(), self.sum(|shard| &shard.refused[index])))
            .collect();
        counters(&mut encoder, "refused", "Replies of the proxy's own, by their code", "reason", &refused)?;
        let mut connections =
            encoder.encode_descriptor("upstream_connections", "Connections to upstreams", None, MetricType::Gauge)?;
        for (state, count) in [("active", self.sum(|shard| &shard.active)), ("idle", self.sum(|shard| &shard.idle))] {
            connections.encode_family(&[("state", state)])?.encode_gauge(&count)?;
        }
        self.durations(&mut encoder)?;
        encoder
            .encode_descriptor("build", "The version that runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

fn counters<L: AsRef<str>>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &str,
    counts: &[(L, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        family.encode_family(&[(label, value.as_ref())])?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Expiry;

    fn facts() -> Facts {
        Facts {
            state: crate::session::status::StateName::SignedOut,
            identity: None,
            signed_in_at: None,
            id_token: None,
            access_token: None,
            refresh_token: Expiry { at: None, basis: crate::session::Basis::Unknown },
            injecting_until: None,
            next_refresh_at: None,
            last_refresh: None,
            consecutive_failures: 2,
            level: Level::Urgent,
            fix: None,
            unpersisted_rotation: true,
            usable_until: None,
        }
    }

    #[test]
    fn every_metric_is_there_from_the_start() {
        let document = Metrics::default().encode(&facts(), 3).expect("text");
        for line in [
            "cognito_proxy_id_token_expiry_timestamp_seconds NaN",
            "cognito_proxy_refresh_token_expiry_timestamp_seconds NaN",
            "cognito_proxy_next_refresh_timestamp_seconds NaN",
            "cognito_proxy_last_refresh_success_timestamp_seconds NaN",
            "cognito_proxy_refresh_attempts_total{outcome=\"throttled\"} 0",
            "cognito_proxy_consecutive_refresh_failures 2.0",
            "cognito_proxy_session_warning_level 3.0",
            "cognito_proxy_held_requests 3.0",
            "cognito_proxy_unpersisted_rotation 1.0",
            "cognito_proxy_requests_total{code=\"503\"} 0",
            "cognito_proxy_refused_total{reason=\"host_not_allowed\"} 0",
            "cognito_proxy_upstream_connections{state=\"active\"} 0",
            "cognito_proxy_upstream_connections{state=\"idle\"} 0",
            "cognito_proxy_request_duration_seconds_count 0",
            "cognito_proxy_request_duration_seconds_bucket{le=\"+Inf\"} 0",
            concat!("cognito_proxy_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# EOF",
        ] {
            assert!(document.lines().any(|written| written == line), "{line} is missing from\n{document}");
        }
    }

    #[test]
    fn workers_count_by_themselves_and_a_scrape_sums() {
        let metrics = Metrics::default();
        let shards = [metrics.shard(), metrics.shard()];
        for shard in &shards {
            shard.responded(StatusCode::OK, Duration::from_millis(3));
            shard.refused(Code::CrossSite);
            shard.upstream_connections(2, 1);
        }
        shards[0].responded(StatusCode::IM_A_TEAPOT, Duration::from_secs(60));
        shards[1].upstream_connections(-1, 1);
        metrics.refreshed(Outcome::Ok, UnixTime::from_secs(1_700_000_000));
        let document = metrics.encode(&facts(), 0).expect("text");
        for line in [
            "cognito_proxy_requests_total{code=\"200\"} 2",
            "cognito_proxy_requests_total{code=\"418\"} 1",
            "cognito_proxy_refused_total{reason=\"cross_site\"} 2",
            "cognito_proxy_upstream_connections{state=\"active\"} 3",
            "cognito_proxy_upstream_connections{state=\"idle\"} 3",
            "cognito_proxy_request_duration_seconds_bucket{le=\"0.0025\"} 0",
            "cognito_proxy_request_duration_seconds_bucket{le=\"0.005\"} 2",
            "cognito_proxy_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "cognito_proxy_refresh_attempts_total{outcome=\"ok\"} 1",
            "cognito_proxy_last_refresh_success_timestamp_seconds 1700000000.0",
        ] {
            assert!(document.lines().any(|written| written == line), "{line} is missing from\n{document}");
        }
    }
}
