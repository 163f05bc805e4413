//! What time it is, as a response says it.

use std::cell::RefCell;

use http::HeaderValue;

use crate::clock;

thread_local! {
    /// The last second that was written out.
    static LAST: RefCell<(i64, HeaderValue)> = const { RefCell::new((i64::MIN, HeaderValue::from_static(""))) };
}

/// The time as a value of `Date` (RFC 9110 §5.6.7). The clones of one second share it.
pub(super) fn value() -> HeaderValue {
    let now = clock::wall().as_secs();
    LAST.with_borrow_mut(|(second, value)| {
        if *second != now {
            *second = now;
            // Digits, letters and colons: a value for certain.
            *value = HeaderValue::try_from(written(now)).unwrap_or(HeaderValue::from_static(""));
        }
        value.clone()
    })
}

fn written(second: i64) -> String {
    let timestamp = jiff::Timestamp::from_second(second).unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&timestamp).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_an_imf_fixdate() {
        assert_eq!(written(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(value().len(), 29);
    }
}
