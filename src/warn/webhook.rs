//! `warn.webhook_url_file`: each warning posted as JSON.
//!
//! Posted until it is taken, for a few minutes, with one id for all of its attempts (`Idempotency-Key`). The URL is a
//! secret and stands in no line of the log; redirects are not followed, since they could lead the message, or the
//! secret in the path, to somebody else.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, Request, Response, StatusCode, header};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{notice::Notice, sink::Failures};
use crate::{
    clock::SharedClock,
    cognito::{Transport, transport::TransportError},
    secret::Secret,
};

/// Warnings that are being posted at once: an earlier one that is not taken does not hold up a more urgent one.
const AT_ONCE: usize = 8;

/// Who posts.
const USER_AGENT: &str = concat!("cognito-proxy/", env!("CARGO_PKG_VERSION"));

/// How often and how long a warning is posted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between the attempts.
    pauses: [Duration; 4],
    /// No attempt begins later than this after the first one.
    whole: Duration,
}

/// Five attempts in less than five minutes: longer than a restart of what listens, and not as long as a warning keeps.
pub(super) const PATIENCE: Patience = Patience {
    pauses: [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45), Duration::from_secs(120)],
    whole: Duration::from_secs(280),
};

/// One warning to post.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) url: Secret,
    pub(super) notice: Arc<Notice>,
}

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// Worth another attempt, not before this time where the answer said so.
    Later {
        problem: String,
        after: Option<Duration>,
    },
    Refused(String),
}

/// Posts until nobody can ask for more and what was asked for is done.
pub(super) async fn run(mut posts: mpsc::Receiver<Post>, transport: Transport, patience: Patience, clock: SharedClock) {
    let mut failures = Failures::new("webhook", clock);
    let mut posting = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !posting.is_empty() {
        tokio::select! {
            post = posts.recv(), if is_open && posting.len() < AT_ONCE => match post {
                Some(post) => posting.push(deliver(post, &transport, patience)),
                None => is_open = false,
            },
            Some(delivered) = posting.next() => {
                if let Err(problem) = delivered {
                    failures.tell(&problem);
                }
            }
        }
    }
}

/// One warning, however many attempts that takes; an error says what came of the last.
async fn deliver(post: Post, transport: &Transport, patience: Patience) -> Result<(), String> {
    let give_up = Instant::now() + patience.whole;
    let mut pauses = patience.pauses.into_iter();
    loop {
        let request = request(&post).map_err(|error| error.to_string())?;
        let (problem, after) = match judged(transport.call(request).await) {
            Outcome::Taken => return Ok(()),
            Outcome::Refused(problem) => return Err(problem),
            Outcome::Later { problem, after } => (problem, after),
        };
        let Some(pause) = pauses.next() else { return Err(problem) };
        let pause = after.unwrap_or_default().max(pause);
        if Instant::now() + pause > give_up {
            return Err(problem);
        }
        tracing::debug!(error = problem, "the webhook is tried again");
        sleep(pause).await;
    }
}

fn request(post: &Post) -> Result<Request<Bytes>, http::Error> {
    Request::post(post.url.expose())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header("Idempotency-Key", &post.notice.id)
        .body(Bytes::from(post.notice.document().to_string()))
}

fn judged(answer: Result<Response<Bytes>, TransportError>) -> Outcome {
    match answer {
        Ok(response) => judged_by(response.status(), retry_after(response.headers())),
        // A page is what some services answer with; here it is no captive portal's, since TLS says who answered.
        Err(TransportError::Page { status, .. }) => {
            StatusCode::from_u16(status).map_or(Outcome::Taken, |status| judged_by(status, None))
        }
        // Holds the URL.
        Err(TransportError::Address { .. }) => Outcome::Refused("its URL cannot be dialled".into()),
        Err(error) => Outcome::Later { problem: error.to_string(), after: None },
    }
}

/// 408, 425, 429 and the 5xx invite another attempt (RFC 9110 §15.5.9 and §15.6, RFC 8470 §5.2, RFC 6585 §4).
fn judged_by(status: StatusCode, after: Option<Duration>) -> Outcome {
    let problem = format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        300..=399 => Outcome::Refused(format!("{problem}, and redirects are not followed")),
        408 | 425 | 429 | 500..=599 => Outcome::Later { problem, after },
        _ => Outcome::Refused(problem),
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). A date, which is rare here, counts as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        clock::SystemClock,
        cognito::egress::Egress,
        session::warning::{Level, WarningKind},
        tls,
        warn::notice::fixtures::notice,
    };

    const SWIFT: Patience = Patience { pauses: [Duration::from_millis(1); 4], whole: Duration::from_secs(30) };

    /// What one request was.
    type Heard = (http::request::Parts, serde_json::Value);

    /// A server that gives these answers, one after the other, and then 500; and what it heard.
    async fn server(answers: Vec<Response<&'static str>>) -> (Secret, mpsc::UnboundedReceiver<Heard>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (told, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let answer = answers.next().unwrap_or_else(|| status(500));
                let service = service_fn(async |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.expect("a body").to_bytes();
                    drop(told.send((parts, serde_json::from_slice(&body).expect("JSON"))));
                    Ok::<_, hyper::Error>(answer.clone().map(|text| Full::new(Bytes::from(text))))
                });
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        });
        (Secret::new(format!("http://{address}/hook/S3CR3T?key=S3CR3T")), heard)
    }

    fn status(status: u16) -> Response<&'static str> {
        Response::builder().status(status).body("").expect("an answer")
    }

    fn transport() -> Transport {
        Transport::through(tls::client_config(None, None).expect("a trust store"), Egress::new("", ""))
    }

    async fn delivered(url: Secret, patience: Patience) -> Result<(), String> {
        let notice = Arc::new(notice(WarningKind::SessionEnd(Level::Urgent)));
        deliver(Post { url, notice }, &transport(), patience).await
    }

    #[tokio::test]
    async fn one_that_fails_twice_is_told_a_third_time_with_the_same_id() {
        let (url, mut heard) = server(vec![status(500), status(429), status(204)]).await;
        delivered(url, SWIFT).await.expect("taken");
        let mut ids = Vec::new();
        while let Ok((parts, body)) = heard.try_recv() {
            assert_eq!(parts.uri, "/hook/S3CR3T?key=S3CR3T");
            assert_eq!(parts.headers["content-type"], "application/json");
            assert_eq!(parts.headers["idempotency-key"], body["id"].as_str().expect("text"));
            assert_eq!((&body["event"], &body["level"]), (&"warning".into(), &"urgent".into()));
            ids.push(body["id"].to_string());
        }
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[tokio::test]
    async fn it_is_given_up_after_the_last_attempt_and_at_a_refusal() {
        let (url, mut heard) = server(Vec::new()).await;
        let problem = delivered(url, SWIFT).await.expect_err("500 for ever");
        assert!(problem.contains("500") && !problem.contains("S3CR3T"), "{problem}");
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 5);

        for (answer, attempts) in [(404, 1), (307, 1)] {
            let mut first = status(answer);
            first.headers_mut().insert(header::LOCATION, "http://127.0.0.1:1/".parse().expect("a value"));
            let (url, mut heard) = server(vec![first]).await;
            let problem = delivered(url, SWIFT).await.expect_err("refused");
            assert!(problem.contains(&answer.to_string()) && !problem.contains("S3CR3T"), "{problem}");
            assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), attempts);
        }
        let problem = delivered(Secret::from("http://127.0.0.1:1/S3CR3T"), SWIFT).await.expect_err("nobody there");
        assert!(!problem.contains("S3CR3T"), "{problem}");
    }

    #[tokio::test]
    async fn retry_after_is_obeyed_and_ends_it_where_that_is_too_late() {
        let mut later = status(503);
        later.headers_mut().insert(header::RETRY_AFTER, "3600".parse().expect("a value"));
        let (url, mut heard) = server(vec![later, status(204)]).await;
        let problem = delivered(url, SWIFT).await.expect_err("too late");
        assert!(problem.contains("503"), "{problem}");
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 1);
    }

    #[tokio::test]
    async fn a_page_that_says_yes_is_a_yes() {
        let page = Response::builder().header(header::CONTENT_TYPE, "text/html").body("<p>thanks</p>").expect("a page");
        let (url, _heard) = server(vec![page]).await;
        delivered(url, SWIFT).await.expect("taken");
    }

    #[tokio::test]
    async fn one_that_never_answers_does_not_hold_up_the_next() {
        let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = deaf.local_addr().expect("bound");
        let (url, mut heard) = server(vec![status(204)]).await;
        let (posts, taken) = mpsc::channel(2);
        for url in [Secret::new(format!("http://{address}/")), url] {
            let notice = Arc::new(notice(WarningKind::SessionEnd(Level::Ended)));
            posts.try_send(Post { url, notice }).expect("room");
        }
        let running = tokio::spawn(run(taken, transport(), SWIFT, Arc::new(SystemClock)));
        let (_, body) =
            tokio::time::timeout(Duration::from_secs(5), heard.recv()).await.expect("in time").expect("a post");
        assert_eq!(body["event"], "ended");
        running.abort();
    }

    #[test]
    fn an_answer_says_whether_to_try_again() {
        for (status, again) in
            [(400, false), (401, false), (408, true), (410, false), (425, true), (429, true), (502, true)]
        {
            let outcome = judged_by(StatusCode::from_u16(status).expect("a status"), None);
            assert_eq!(matches!(outcome, Outcome::Later { .. }), again, "{status}");
        }
    }
}
