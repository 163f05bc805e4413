//! What the admin pages ask of the whole program: whether it lives, whether it ends, and its figures.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{admin::Vitals, metrics::Metrics, session::status::Facts};

/// The state of the program's threads.
#[derive(Debug)]
pub(super) struct Health {
    metrics: Arc<Metrics>,
    workers: AtomicUsize,
    lost: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, workers: AtomicUsize::new(0), lost: AtomicBool::new(false), stopping: AtomicBool::new(false) }
    }

    /// A worker has begun; its end before the program's is a fault, and shows in `/livez`.
    pub(super) fn enter(self: &Arc<Self>) -> Working {
        self.workers.fetch_add(1, Ordering::AcqRel);
        Working(Arc::clone(self))
    }

    /// The program is going down.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// A worker that works, until it is dropped.
pub(super) struct Working(Arc<Health>);

impl Drop for Working {
    fn drop(&mut self) {
        if !self.0.stopping.load(Ordering::Acquire) {
            self.0.lost.store(true, Ordering::Release);
        }
        self.0.workers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Vitals for Health {
    fn is_alive(&self) -> bool {
        !self.lost.load(Ordering::Acquire)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn metrics(&self, facts: &Facts, held: u64) -> String {
        self.metrics.encode(facts, held).unwrap_or_else(|fmt::Error| {
            tracing::error!("the metrics cannot be written");
            "# EOF\n".into()
        })
    }
}
