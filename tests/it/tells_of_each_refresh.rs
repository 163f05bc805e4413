//! Each refresh is one line of the log, with fields that say what came of it and what comes next, and one count of the
//! metrics; the status says the same.

use cognito_proxy::devpool::{Commit, Fault, Lie, Scope};
use serde_json::Value;

use crate::support::{http, process::Finished, proxy::Proxy, stage::Stage};

const CONFIGURED: &str = "cognito.refresh_token_validity = \"30d\"";

/// The events of the log with this message, in order.
fn events(finished: &Finished, message: &str) -> Vec<Value> {
    let events = finished.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["message"] == message).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("{field} in {event}"))
}

/// The seconds of a length of time as it is logged: `29d23h`, `3m34s`, `4.1s`.
fn seconds(event: &Value, field: &str) -> f64 {
    let mut rest = text(event, field);
    let mut seconds = 0.0;
    while let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let unit = match &rest[end..=end] {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            other => panic!("{other} in {event}"),
        };
        seconds += unit * rest[..end].parse::<f64>().expect("a number");
        rest = &rest[end + 1..];
    }
    assert!(rest.is_empty(), "{field} in {event}");
    seconds
}

/// The metric with this name and these labels, as `/metrics` writes it.
async fn metric(proxy: &Proxy, name: &str) -> String {
    let document = http::get(proxy.admin(), "/metrics").await;
    let document = String::from_utf8_lossy(document.body()).into_owned();
    let value = document.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned()));
    value.unwrap_or_else(|| panic!("{name} in {document}"))
}

/// How many refreshes have ended in each way: ok, transient, throttled, rejected.
async fn attempts(proxy: &Proxy) -> String {
    let mut counts = Vec::new();
    for outcome in ["ok", "transient", "throttled", "rejected"] {
        counts.push(metric(proxy, &format!("cognito_proxy_refresh_attempts_total{{outcome=\"{outcome}\"}}")).await);
    }
    counts.join(" ")
}

/// A session whose token has two hundred seconds left, so that a refresh is due at once.
async fn due() -> Stage {
    let stage = Stage::new().await;
    stage.configure(CONFIGURED);
    stage.signed_in_with(3600, 200).await;
    stage
}

#[tokio::test]
async fn a_refresh_that_goes_well_says_what_it_brought() {
    let stage = due().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("refreshed").await;
    proxy.ready().await;
    assert_eq!(attempts(&proxy).await, "1 0 0 0");
    let status = proxy.status().await;
    assert_eq!(status["last_refresh"]["outcome"], "ok");
    assert_eq!((&status["consecutive_failures"], &status["last_refresh"]["error"]), (&Value::from(0), &Value::Null));
    let at: jiff::Timestamp = text(&status["last_refresh"], "at").parse().expect("a time");
    let success = metric(&proxy, "cognito_proxy_last_refresh_success_timestamp_seconds").await;
    assert_eq!(success, format!("{}.0", at.as_second()));
    let finished = proxy.stop().await;

    let [loaded] = events(&finished, "session loaded").try_into().expect("one");
    assert_eq!((text(&loaded, "level"), text(&loaded, "basis")), ("info", "configured"));
    assert!((150.0..=200.0).contains(&seconds(&loaded, "id_token_expires_in")), "{loaded}");
    assert!(!text(&loaded, "username").is_empty());
    let [refreshed] = events(&finished, "refreshed").try_into().expect("one");
    assert_eq!(text(&refreshed, "level"), "info");
    assert!((3590.0..=3600.0).contains(&seconds(&refreshed, "id_token_expires_in")), "{refreshed}");
    // Five minutes before the end, and up to half a minute more.
    assert!((3260.0..=3300.0).contains(&seconds(&refreshed, "next_refresh_in")), "{refreshed}");
    let month = 30.0 * 86_400.0;
    assert!((month - 3600.0..=month).contains(&seconds(&refreshed, "session_ends_in")), "{refreshed}");
    assert_eq!(events(&finished, "the end of the session is not known for sure"), [] as [Value; 0]);
}

#[tokio::test]
async fn an_end_that_is_assumed_is_said_once_with_the_key_that_would_make_it_sure() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in_with(3600, 200).await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("refreshed").await;
    let finished = proxy.stop().await;
    let [unsure] = events(&finished, "the end of the session is not known for sure").try_into().expect("one");
    assert_eq!((text(&unsure, "level"), text(&unsure, "basis")), ("warn", "assumed"));
    assert!(text(&unsure, "fix").contains("cognito.refresh_token_validity"), "{unsure}");
}

#[tokio::test]
async fn a_refresh_that_fails_says_how_why_and_when_the_next_one_comes() {
    let tired = Fault::throttled(Some(std::time::Duration::from_secs(30)));
    let odd = Fault::exception("InvalidParameterException", "Missing required parameter");
    for (fault, outcome, counts, why, pause) in [
        (Fault::status(503), "transient", "0 1 0 0", "server_error", 0.4..=1.0),
        (tired, "throttled", "0 0 1 0", "TooManyRequestsException", 29.0..=30.0),
        (Fault::Lie(Lie::BadSignature), "rejected", "0 0 0 1", "signature", 5.0..=5.0),
        // The signature is right, and the machine it is that says no.
        (Fault::Lie(Lie::Expired), "rejected", "0 0 0 1", "`exp` has passed", 5.0..=5.0),
        (odd, "rejected", "0 0 0 1", "Missing required parameter", 595.0..=600.0),
    ] {
        let stage = due().await;
        stage.pool.fail_next(1, Scope::Refresh, fault.clone());
        let mut proxy = stage.home.serve_with(&[]).await;
        let failed = proxy.logged("refresh failed (still serving)").await;
        assert_eq!((text(&failed, "level"), text(&failed, "outcome")), ("warn", outcome), "{fault:?}");
        assert_eq!(failed["attempt"], 1, "{failed}");
        assert!(pause.contains(&seconds(&failed, "retry_in")), "{failed}");
        assert!((150.0..=200.0).contains(&seconds(&failed, "id_token_expires_in")), "{failed}");
        assert!(text(&failed, "error").contains(why), "{failed}");
        if outcome == "transient" {
            // That heals itself before anybody could look.
            proxy.logged("refreshed").await;
            assert_eq!(attempts(&proxy).await, "1 1 0 0");
        } else {
            assert_eq!(attempts(&proxy).await, counts, "{fault:?}");
            assert_eq!(metric(&proxy, "cognito_proxy_consecutive_refresh_failures").await, "1.0");
            let status = proxy.status().await;
            assert_eq!((&status["state"], &status["consecutive_failures"]), (&"backing_off".into(), &1.into()));
            let last = &status["last_refresh"];
            assert_eq!((text(last, "outcome"), text(last, "error")), (outcome, text(&failed, "error")));
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_now_and_a_dead_token_is_not_called_serving() {
    let stage = due().await;
    stage.pool.fail_next(1, Scope::Refresh, Fault::Reset(Commit::Before));
    let mut proxy = stage.home.serve_with(&[]).await;
    let failed = proxy.logged("refresh failed (still serving)").await;
    assert_eq!((text(&failed, "retry_in"), text(&failed, "outcome")), ("now", "transient"), "{failed}");
    proxy.logged("refreshed").await;
    proxy.stop().await;

    let stage = Stage::lasting(3).await;
    stage.configure("");
    stage.signed_in().await;
    stage.pool.fail_always(Scope::Refresh, Fault::status(503));
    let mut proxy = stage.home.serve_with(&[]).await;
    let failed = proxy.logged("refresh failed").await;
    assert_eq!(text(&failed, "id_token_expires_in"), "0s", "{failed}");
    assert!(failed["attempt"].as_u64().is_some_and(|attempt| attempt > 1), "{failed}");
    proxy.stop().await;
}

#[tokio::test]
async fn the_end_of_a_session_is_an_error_with_its_reason_and_the_one_attempt_after_it_has_no_next() {
    let stage = due().await;
    let revoked = Fault::exception("NotAuthorizedException", "Refresh Token has been revoked");
    stage.pool.fail_always(Scope::Refresh, revoked);
    let mut proxy = stage.home.serve_with(&[]).await;
    let first = proxy.logged("refresh failed (still serving)").await;
    assert!((1.5..=2.0).contains(&seconds(&first, "retry_in")), "{first}");
    let ended = proxy.logged("session ended").await;
    assert_eq!((text(&ended, "level"), text(&ended, "reason")), ("error", "Refresh Token has been revoked"));
    assert_eq!(text(&ended, "fix"), "cognito-proxy login");
    let status = proxy.status().await;
    assert_eq!(ended["injecting_until"], status["injecting_until"]);
    assert_eq!((&status["state"], &status["next_refresh_at"]), (&"session_ended".into(), &Value::Null));
    assert_eq!(status["warning"]["level"], "ended");
    proxy.stop().await;

    let mut again = stage.home.serve_with(&[]).await;
    let failed = again.logged("refresh failed (still serving)").await;
    assert_eq!((text(&failed, "retry_in"), text(&failed, "outcome")), ("never", "rejected"), "{failed}");
    let finished = again.stop().await;
    assert_eq!(events(&finished, "session ended").len(), 0, "it has been said");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_said_once_at_whatever_shows_it() {
    for (skew, off, shown_by) in [(7200, "behind", "session loaded"), (-7200, "ahead of", "refreshed")] {
        let stage = Stage::lasting(8).await;
        stage.configure("");
        stage.pool.set_skew(skew);
        stage.signed_in().await;
        let mut proxy = stage.home.serve_with(&[]).await;
        let wrong = proxy.logged(&format!("clock is {off} AWS's")).await;
        assert_eq!(text(&wrong, "level"), "warn");
        assert!((seconds(&wrong, "off_by") - 7200.0).abs() <= 60.0, "{wrong}");
        assert_eq!(text(&wrong, "fix"), "set this machine's clock");
        // Refreshes that follow show the same, give or take a second.
        let before = stage.refreshes();
        stage.called(|calls| calls.refreshes() >= before + 2).await;
        assert_eq!(http::get(proxy.address(), "/").await.status(), 200, "a token is injected all the same");
        let finished = proxy.stop().await;
        let lines: Vec<_> = finished.stderr.lines().filter(|line| line.contains("clock is ")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let place = |text: &str| finished.stderr.find(text).unwrap_or_else(|| panic!("{text} in {}", finished.stderr));
        assert!(place(shown_by) < place("clock is "), "{}", finished.stderr);
    }
}
