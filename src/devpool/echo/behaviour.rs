//! How the upstream answers, and how a path says so.

use std::time::Duration;

use http::StatusCode;

/// The pause between two events of `/sse` where the path names none.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How a request is treated. Each can be had by path, also below a base path, or by command.
///
/// | path | behaviour |
/// |---|---|
/// | `/status/401` | [`Status`](Self::Status) |
/// | `/early/413` | [`Early`](Self::Early) |
/// | `/delay/250` | [`Delay`](Self::Delay), in milliseconds |
/// | `/bytes/1000000` | [`Bytes`](Self::Bytes) |
/// | `/sse?count=3&interval=100` | [`Sse`](Self::Sse), in milliseconds |
/// | `/events` | [`Events`](Self::Events) |
/// | `/duplex` | [`Duplex`](Self::Duplex) |
/// | `/sink` | [`Sink`](Self::Sink) |
/// | `/truncated/1000` | [`Truncated`](Self::Truncated) |
/// | `/reset` | [`Reset`](Self::Reset) |
/// | `/hang` | [`Hang`](Self::Hang) |
/// | `/redirect?to=URL&status=302` | [`Headers`](Self::Headers) |
/// | `/response-headers?Set-Cookie=a%3Db` | [`Headers`](Self::Headers) |
/// | `/until-new-token` | [`UntilNewToken`](Self::UntilNewToken) |
///
/// A request with `Upgrade` other than to h2c, on HTTP/1.1, gets 101 and then its own octets back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reads the body, then says what came.
    Echo,
    /// Reads the body, then answers with this status; 401 with `WWW-Authenticate`.
    Status(StatusCode),
    /// Answers with this status before the body is read.
    Early(StatusCode),
    /// Reads the body, waits, then says what came.
    Delay(Duration),
    /// So many octets, with `Content-Length`.
    Bytes(u64),
    /// A stream of events, one every `interval`.
    Sse {
        /// How many until the stream ends; without it the stream goes on.
        count: Option<u64>,
        /// The pause before each.
        interval: Duration,
    },
    /// A stream of the events that [`Echo::push_event`](super::Echo::push_event) sends.
    Events,
    /// The request's body back, while it arrives.
    Duplex,
    /// Reads the body, then says how long it was, and its SHA-256.
    Sink,
    /// Announces so many octets, sends half of them, and closes.
    Truncated(u64),
    /// Reads the body, then resets the connection.
    Reset,
    /// Reads the body and never answers.
    Hang,
    /// Reads the body, then answers with this status and these headers.
    Headers {
        /// The status.
        status: StatusCode,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// 401 to the token that came first under this behaviour, and to requests without one; an echo to every other.
    UntilNewToken,
}

impl Behaviour {
    /// What a path and its query ask for; [`Echo`](Self::Echo) where they ask for nothing.
    #[must_use]
    pub fn of_path(path: &str, query: Option<&str>) -> Self {
        let query: Vec<(String, String)> = query.map(pairs).unwrap_or_default();
        let mut starts = path.match_indices('/').map(|(slash, _)| &path[slash + 1..]);
        starts.find_map(|rest| Self::of_name(rest, &query)).unwrap_or(Self::Echo)
    }

    fn of_name(rest: &str, query: &[(String, String)]) -> Option<Self> {
        let argument = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
        Some(match rest.split_once('/').unwrap_or((rest, "")) {
            ("status", code) => Self::Status(status(code)?),
            ("early", code) => Self::Early(status(code)?),
            ("delay", delay) => Self::Delay(milliseconds(delay)?),
            ("bytes", count) => Self::Bytes(count.parse().ok()?),
            ("truncated", count) => Self::Truncated(count.parse().ok()?),
            ("sse", "") => Self::Sse {
                count: argument("count").and_then(|count| count.parse().ok()),
                interval: argument("interval").and_then(milliseconds).unwrap_or(EVENT_INTERVAL),
            },
            ("events", "") => Self::Events,
            ("duplex", "") => Self::Duplex,
            ("sink", "") => Self::Sink,
            ("reset", "") => Self::Reset,
            ("hang", "") => Self::Hang,
            ("redirect", "") => Self::Headers {
                status: argument("status").and_then(status).unwrap_or(StatusCode::FOUND),
                headers: vec![("location".into(), argument("to")?.to_owned())],
            },
            ("response-headers", "") => Self::Headers { status: StatusCode::OK, headers: query.to_vec() },
            ("until-new-token", "") => Self::UntilNewToken,
            _ => return None,
        })
    }
}

/// A final status: an informational one is no answer.
fn status(code: &str) -> Option<StatusCode> {
    StatusCode::from_bytes(code.as_bytes()).ok().filter(|status| !status.is_informational())
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// Percent-decoding (RFC 3986 §2.1); what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(octet) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            octets.push(octet);
            rest = &tail[2..];
        } else {
            octets.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_how_they_are_answered() {
        let headers = |status: u16, pairs: &[(&str, &str)]| Behaviour::Headers {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        let table = [
            ("/", Behaviour::Echo),
            ("/anything/at/all?x=1", Behaviour::Echo),
            ("/status/401", Behaviour::Status(StatusCode::UNAUTHORIZED)),
            ("/prod/status/204", Behaviour::Status(StatusCode::NO_CONTENT)),
            ("/status/101", Behaviour::Echo),
            ("/status/many", Behaviour::Echo),
            ("/delay/250", Behaviour::Delay(Duration::from_millis(250))),
            ("/bytes/10", Behaviour::Bytes(10)),
            ("/sse", Behaviour::Sse { count: None, interval: EVENT_INTERVAL }),
            ("/sse?count=3&interval=5", Behaviour::Sse { count: Some(3), interval: Duration::from_millis(5) }),
            ("/redirect?to=http%3A%2F%2Fx%2F&status=307", headers(307, &[("location", "http://x/")])),
            ("/response-headers?Set-Cookie=a%3Db%zz", headers(200, &[("Set-Cookie", "a=b%zz")])),
        ];
        for (target, expected) in table {
            let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            assert_eq!(Behaviour::of_path(path, query), expected, "{target}");
        }
    }
}
