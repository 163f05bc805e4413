//! Text and times as HTML.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::clock::UnixTime;

/// `text` with everything replaced that HTML would read, in text and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A moment in local time, for people and for programs.
pub(super) fn moment(at: UnixTime) -> String {
    format!("<time datetime=\"{at}\">{}</time>", local(at, "%a %-d %b %Y, %H:%M:%S"))
}

/// A moment in local time, within a sentence.
pub(super) fn words(at: UnixTime) -> String {
    local(at, "%a %-d %b %Y at %H:%M:%S")
}

/// The time of the day.
pub(super) fn clock_time(at: UnixTime) -> String {
    local(at, "%H:%M:%S")
}

/// The time of the day, with the day where it is not today's.
pub(super) fn short(at: UnixTime, now: UnixTime) -> String {
    let day = "%-d %b";
    if local(at, day) == local(now, day) { clock_time(at) } else { local(at, "%-d %b %H:%M:%S") }
}

fn local(at: UnixTime, format: &str) -> String {
    Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| at.to_string(), |at| at.to_zoned_datetime(TimeZone::system()).strftime(format).to_string())
}

/// What is left, as the page's script writes it too: its two largest units, begun seconds counted whole.
pub(super) fn countdown(left: Duration) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_has_two_units() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1s"),
            (59_000, "59s"),
            (59_001, "1m 00s"),
            (3_599_000, "59m 59s"),
            (7_260_000, "2h 01m"),
            (90_061_000, "1d 01h"),
        ] {
            assert_eq!(countdown(Duration::from_millis(millis)), text);
        }
    }
}
