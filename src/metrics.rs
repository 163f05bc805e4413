//! Not written yet.

/// Placeholder.
#[derive(Debug, Default)]
pub struct Metrics;
impl Metrics {
    /// Placeholder.
    pub fn refreshed(&self, _outcome: &'static str) {}
}
