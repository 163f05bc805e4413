//! Telling about refusals without drowning in them: one WARN line a second for each code, and every one counted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::reply::{Code, Refusal};

use super::Peer;

/// How long a code is silent after a line. A page that polls must not fill the journal, and a person who watches it
/// must see each reason soon.
const SILENCE_MILLIS: u64 = 1000;

/// Who counts refusals: `refused_total{reason}`.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A request was refused for `code`.
    fn refused(&self, code: Code);
}

/// Says when a refusal may be logged. Shared by all workers without a lock.
#[derive(Debug)]
pub struct Limiter {
    codes: [Account; Code::ALL.len()],
}

/// Says when one thing that happens again and again may be logged.
#[derive(Debug, Default)]
pub struct Account {
    /// Milliseconds since boot from which on the next line may be written.
    open_from: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { codes: std::array::from_fn(|_| Account::default()) }
    }
}

impl Limiter {
    /// Whether a refusal for `code` may be logged at `boot` (time since boot), and how many since the last line were
    /// not.
    pub fn admit(&self, code: Code, boot: Duration) -> Option<u64> {
        self.codes[Code::ALL.iter().position(|other| *other == code)?].admit(boot)
    }
}

impl Account {
    /// Whether it may be logged at `boot` (time since boot), and how often it was not since the last line.
    pub fn admit(&self, boot: Duration) -> Option<u64> {
        let now = u64::try_from(boot.as_millis()).unwrap_or(u64::MAX);
        let open = |from: u64| (from <= now).then(|| now.saturating_add(SILENCE_MILLIS));
        if self.open_from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, open).is_ok() {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Where every refusal of one guard is reported.
#[derive(Debug)]
pub struct Refusals<O> {
    limiter: Arc<Limiter>,
    observer: O,
}

impl<O: Observer> Refusals<O> {
    /// Reports to `observer`, and to the log as often as `limiter` admits; all guards of a process share one.
    #[must_use]
    pub fn new(limiter: Arc<Limiter>, observer: O) -> Self {
        Self { limiter, observer }
    }

    /// Counts `refusal`, made to `peer` at `boot` (time since boot), and logs it unless its code was just logged.
    pub fn note(&self, refusal: &Refusal, peer: Peer, boot: Duration) {
        self.observer.refused(refusal.code);
        if let Some(suppressed) = self.limiter.admit(refusal.code, boot) {
            tracing::warn!(
                code = refusal.code.as_str(),
                %peer,
                detail = %refusal.detail,
                fix = %refusal.fix,
                suppressed,
                "request refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_code_has_one_line_a_second_and_what_was_left_out_is_counted() {
        let limiter = Limiter::default();
        let at = Duration::from_millis;
        assert_eq!(limiter.admit(Code::CrossSite, at(5000)), Some(0));
        assert_eq!(limiter.admit(Code::CrossSite, at(5000)), None);
        assert_eq!(limiter.admit(Code::CrossSite, at(5999)), None);
        assert_eq!(limiter.admit(Code::HostNotAllowed, at(5999)), Some(0), "another code has its own line");
        assert_eq!(limiter.admit(Code::CrossSite, at(6000)), Some(2));
        assert_eq!(limiter.admit(Code::CrossSite, at(60_000)), Some(0));
    }

    #[derive(Debug, Default)]
    struct Counted(Mutex<Vec<Code>>);

    impl Observer for Counted {
        fn refused(&self, code: Code) {
            self.0.lock().unwrap().push(code);
        }
    }

    #[test]
    fn the_observer_sees_also_what_the_log_does_not() {
        let refusals = Refusals::new(Arc::default(), Counted::default());
        let refusal = Refusal { code: Code::CrossSite, detail: String::new(), fix: String::new(), retry_after: None };
        for _ in 0..3 {
            refusals.note(&refusal, Peer::Unknown, Duration::from_secs(1));
        }
        assert_eq!(refusals.observer.0.lock().unwrap().len(), 3);
    }
}
