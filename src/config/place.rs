//! Where something was written, before anybody has looked up the line.

use std::ops::Range;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it is the default, or it is missing.
    #[default]
    Unset,
    /// Bytes of the file.
    File(Range<usize>),
    /// An environment variable, by name.
    Environment(String),
    /// A flag, as it is typed.
    Flag(String),
}
