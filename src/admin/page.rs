//! `/status`: the report as a page that works without JavaScript.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY},
};

use super::answer;
use crate::{
    clock::UnixTime,
    session::{
        status::{Report, TokenReport},
        warning::Level,
    },
};

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:44rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-top:1px solid #8884}\
th{font-weight:500;width:13rem}\
code{font:0.95em ui-monospace,monospace}\
.warning{border-left:4px solid #c60;padding:.25rem .75rem}";

/// Nothing is loaded, run, framed or submitted; the one style sheet is named by its hash (CSP Level 3, §2.3.1).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(hash)
    )
});

pub(super) fn respond(report: &Report) -> Response<Bytes> {
    let mut response = answer::respond(StatusCode::OK, "text/html; charset=utf-8", render(report));
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn render(report: &Report) -> String {
    let state = report.state.as_str().replace('_', " ");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>cognito-proxy: {state}</title>\n<style>{STYLE}</style>\n<h1>cognito-proxy: {state}</h1>\n"
    );
    if report.warning.level > Level::None || report.warning.fix.is_some() {
        let fix = report.warning.fix.as_deref().unwrap_or("cognito-proxy status");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            page,
            "<p class=\"warning\">Warning level <b>{}</b>. To mend it: <code>{}</code></p>",
            report.warning.level.as_str(),
            escape(fix)
        );
    }
    page.push_str("<table>\n");
    for (name, value) in rows(report) {
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n<p>As of this moment; reload for a newer one. <a href=\"/status.json\">As JSON</a></p>\n");
    page
}

fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(identity) = &report.identity {
        rows.push(("Signed in as", format!("{} ({})", identity.username, identity.sub)));
        rows.push(("User pool, app client", format!("{}, {}", identity.user_pool_id, identity.client_id)));
    }
    rows.push(("ID token", token(report.id_token.as_ref())));
    rows.push(("Access token", token(report.access_token.as_ref())));
    let session = match (&report.refresh_token.expires_at, report.refresh_token.expires_in_s) {
        (Some(at), Some(left)) => format!("ends {at}, in {} ({})", span(left), report.refresh_token.basis.as_str()),
        _ => format!("ends at a time that is not known ({})", report.refresh_token.basis.as_str()),
    };
    rows.push(("Session", session));
    let or = |at: Option<UnixTime>, otherwise: &str| at.map_or_else(|| otherwise.into(), |at| at.to_string());
    rows.push(("Tokens can be had until", or(report.injecting_until, "not known")));
    rows.push(("Next refresh", or(report.next_refresh_at, "none is due")));
    rows.push((
        "Last refresh",
        report.last_refresh.as_ref().map_or_else(
            || "none yet".into(),
            |last| match &last.error {
                Some(error) => format!("{}, {}: {error}", last.at, last.outcome.as_str()),
                None => format!("{}, {}", last.at, last.outcome.as_str()),
            },
        ),
    ));
    rows.push(("Failures in a row", report.consecutive_failures.to_string()));
    rows.push(("Requests that wait for a sign-in", report.held_requests.to_string()));
    if report.unpersisted_rotation {
        rows.push(("Store", "the rotated refresh token is in memory alone: the store cannot be written".into()));
    }
    rows
}

fn token(token: Option<&TokenReport>) -> String {
    token.map_or_else(
        || "none".into(),
        |token| match token.expires_in_s {
            0 => format!("expired {}", token.expires_at),
            left => format!("expires {}, in {}", token.expires_at, span(left)),
        },
    )
}

/// The two greatest units of a time.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

fn escape(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock as _, ManualClock, UnixTime},
        session::status::{Facts, Identity},
    };

    #[test]
    fn what_others_have_named_is_escaped() {
        let mut facts = Facts::signed_out(Some("cognito-proxy -p 'a&b' login".into()));
        facts.identity = Some(Identity {
            username: "<script>alert(1)</script>".into(),
            sub: "\"x\"".into(),
            user_pool_id: "eu-west-1_Example".into(),
            client_id: "client".into(),
        });
        let page = render(&facts.report(ManualClock::at(UnixTime::from_secs(0)).now(), 0));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; (&quot;x&quot;)"), "{page}");
        assert!(page.contains("<code>cognito-proxy -p &#39;a&amp;b&#39; login</code>"), "{page}");
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (7260, "2h1m"), (90_061, "1d1h")]
        {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn the_policy_admits_the_style_sheet_and_nothing_else() {
        let page = respond(&Facts::signed_out(None).report(ManualClock::at(UnixTime::from_secs(0)).now(), 0));
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"));
    }
}
