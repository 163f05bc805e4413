//! `/status`: everything that a person wants to know about the session, as a page.
//!
//! Owns the page's text, style and script. The page is made here alone, whole and readable without JavaScript; its
//! script counts the clocks down, and at each change takes the parts that are new from another copy of the page.
//! Nothing is loaded from anywhere else, and nothing runs but that one script.

mod clocks;
mod headline;
mod markup;

use std::{collections::VecDeque, fmt::Write as _, sync::Arc, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY},
};

use self::{
    headline::{Deed, Headline, Tone},
    markup::{clock_time, escape, moment},
};
use super::{
    answer,
    page_token::{PageToken, TOKEN_FIELD},
    wire::Problem,
};
use crate::{
    clock::{Now, Span, UnixTime},
    current::CurrentToken,
    session::{
        happening::Happening,
        schedule::LAST_SECOND,
        snapshot::{Gate, IdleClock},
        status::Report,
    },
};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = include_str!("page/icon.svg");

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The one style sheet and the one script are named by their hashes (CSP Level 3 §2.3.1); nothing else is loaded, run
/// or framed, and forms and connections go nowhere but here.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

fn hash(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest))
}

/// What the page shows, at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    report: Report,
    now: Now,
    /// Why there is no session, or why it has ended.
    reason: Option<String>,
    signed_in_at: Option<UnixTime>,
    /// The end of the token in use; `None` once it is dead.
    usable_until: Option<UnixTime>,
    idle: Option<IdleClock>,
    lately: Arc<VecDeque<Happening>>,
    /// The command that signs in.
    login: String,
}

impl View {
    /// What is known now.
    pub(super) fn of(current: &CurrentToken) -> Self {
        let (snapshot, now) = (current.snapshot(), current.now());
        let usable = snapshot.facts.usable_until.map(|end| end.earlier(LAST_SECOND).remaining(now));
        Self {
            report: snapshot.facts.report(now, current.held()),
            now,
            reason: match &snapshot.gate {
                Gate::SignedOut { detail } => Some(detail.clone()),
                Gate::Ended { reason, .. } => Some(reason.to_string()),
                Gate::Open | Gate::Refreshing | Gate::BackingOff { .. } | Gate::Locked => None,
            },
            signed_in_at: snapshot.facts.signed_in_at,
            usable_until: usable.filter(|left| !left.is_zero()).map(|left| now.wall + left),
            idle: current.idle_clock(),
            lately: current.lately(),
            login: snapshot.login.clone(),
        }
    }
}

/// The page.
pub(super) fn respond(view: &View, token: Option<&PageToken>) -> Response<Bytes> {
    html(StatusCode::OK, render(view, token))
}

/// What a browser is shown where nothing is, and one without JavaScript when a button's deed failed.
pub(super) fn failed(problem: &Problem) -> Response<Bytes> {
    let body = format!(
        "<header class=\"top\"><p class=\"brand\">cognito-proxy</p></header>\n<main>\n\
         <section class=\"hero bad\"><div><h1>That did not work</h1><p>{}.</p>\n<p class=\"todo\">To do: {}</p>\
         </div></section>\n<p><a href=\"/status\">Back to the status</a></p>\n</main>\n",
        escape(&problem.to_string()),
        escape(&problem.fix)
    );
    answer::with_proxy_status(html(problem.status(), document("That did not work", "", 0, &body)), problem)
}

/// The page's icon, which the policy wants from here too.
pub(super) fn icon() -> Response<Bytes> {
    let mut response = answer::respond(StatusCode::OK, "image/svg+xml", ICON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

fn html(status: StatusCode, page: String) -> Response<Bytes> {
    let mut response = answer::respond(status, "text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    // Not `no-referrer`: with that a form is posted as from the origin `null` (Fetch §3.2), which the guard refuses.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), geolocation=(), microphone=()"));
    response
}

/// The document around `body`. The scripts and styles stand in it to the letter that the policy names.
fn document(title: &str, head: &str, now: i64, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · cognito-proxy</title>\n<link rel=\"icon\" href=\"/status/icon.svg\" type=\"image/svg+xml\">\n\
         {head}<style>{STYLE}</style>\n</head>\n<body data-now=\"{now}\">\n{body}</body>\n</html>\n",
        escape(title)
    )
}

fn render(view: &View, token: Option<&PageToken>) -> String {
    let headline = Headline::of(view);
    let who = view.report.identity.as_ref().map(|identity| escape(&identity.username)).unwrap_or_default();
    let mut body = format!(
        "<header class=\"top\"><p class=\"brand\">{LOGO}cognito-proxy</p>\
         <p class=\"who\" data-part=\"who\">{who}</p></header>\n<main>\n"
    );
    body.push_str(&hero(view, &headline, token));
    body.push_str(&clocks::section(view));
    body.push_str(&lately(view));
    body.push_str(&details(view));
    body.push_str("</main>\n");
    let _ = write!(
        body,
        "<footer><p id=\"link\" role=\"status\"><noscript>As of {}; this page loads itself again every 30 \
         seconds.</noscript></p>\n<nav aria-label=\"More\"><a href=\"/status.json\">JSON</a> \
         <a href=\"/metrics\">Metrics</a></nav></footer>\n<script>{SCRIPT}</script>\n",
        clock_time(view.now.wall)
    );
    let head = "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>\n";
    document(headline.title, head, view.now.wall.as_millis(), &body)
}

const LOGO: &str = "<svg aria-hidden=\"true\" viewBox=\"0 0 24 24\" class=\"logo\"><circle cx=\"12\" cy=\"12\" \
    r=\"9\"/><path d=\"M12 3a9 9 0 0 1 7.8 13.5\"/></svg>";

/// The state in words, which a screen reader is told when it changes, and what to do.
fn hero(view: &View, headline: &Headline, token: Option<&PageToken>) -> String {
    let tone = headline.tone.class();
    let mut part = format!(
        "<section class=\"hero\" aria-labelledby=\"state\">\n<div class=\"said\" role=\"status\">\
         <div class=\"tone {tone}\" data-part=\"headline\">{}<div><h1 id=\"state\">{}</h1>\n<p>{}</p></div></div></div>\n\
         <div class=\"do {tone}\" data-part=\"do\">\n",
        icon_of(headline.tone),
        escape(headline.title),
        escape(&headline.text)
    );
    if view.report.held_requests > 0 {
        let _ = writeln!(
            part,
            "<p class=\"held\">{}</p>",
            match view.report.held_requests {
                1 => "One request waits, unread, and goes on after the sign-in.".to_owned(),
                held => format!("{held} requests wait, unread, and go on after the sign-in."),
            }
        );
    }
    if let Some(command) = &headline.command {
        let _ = writeln!(part, "<p class=\"todo\"><span>Or in a terminal</span> <code>{}</code></p>", escape(command));
    }
    if let Some(setting) = &headline.setting {
        let _ = writeln!(part, "<p class=\"todo\"><span>To do</span> <strong>{}</strong></p>", escape(setting));
    }
    if let Some(token) = token {
        part.push_str("<div class=\"buttons\">\n");
        for deed in &headline.deeds {
            part.push_str(&form(*deed, headline.calls_for(*deed), token));
        }
        part.push_str("</div>\n");
    }
    part.push_str("</div>\n<p id=\"answer\" role=\"status\"></p>\n</section>\n");
    part
}

fn form(deed: Deed, is_primary: bool, token: &PageToken) -> String {
    let class = if is_primary { "primary" } else { "plain" };
    format!(
        "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"{TOKEN_FIELD}\" value=\"{}\">\
         <button id=\"{}\" class=\"{class}\" data-done=\"{}\">{}</button></form>\n",
        deed.path(),
        token.expose(),
        deed.id(),
        deed.done(),
        deed.label()
    )
}

fn icon_of(tone: Tone) -> String {
    let shape = match tone {
        Tone::Good => "<circle cx=\"12\" cy=\"12\" r=\"9\"/><path d=\"m8 12.5 2.7 2.7L16 9.5\"/>",
        Tone::Warn => "<circle cx=\"12\" cy=\"12\" r=\"9\"/><path d=\"M12 7v5l3 2\"/>",
        Tone::Bad => "<path d=\"M12 3.5 21 19.5H3z\"/><path d=\"M12 10v4.5M12 17v.1\"/>",
        Tone::Closed => {
            "<rect x=\"5\" y=\"10.5\" width=\"14\" height=\"9\" rx=\"2\"/><path d=\"M8 10.5V8a4 4 0 0 1 8 0v2.5\"/>"
        }
    };
    format!("<svg aria-hidden=\"true\" viewBox=\"0 0 24 24\" class=\"icon\">{shape}</svg>")
}

/// What happened since the start.
fn lately(view: &View) -> String {
    let mut part = String::from(
        "<section aria-labelledby=\"lately\">\n<h2 id=\"lately\">Lately</h2>\n\
         <ol class=\"lately\" data-part=\"lately\" tabindex=\"0\" aria-labelledby=\"lately\">\n",
    );
    for happening in view.lately.iter() {
        let class = if happening.what.is_bad() { " class=\"bad\"" } else { "" };
        let _ = writeln!(
            part,
            "<li{class}><time datetime=\"{}\">{}</time> <span>{}</span></li>",
            happening.at,
            markup::short(happening.at, view.now.wall),
            escape(&happening.what.to_string())
        );
    }
    part.push_str("</ol>\n</section>\n");
    part
}

fn details(view: &View) -> String {
    let report = &view.report;
    let mut part = String::from(
        "<section aria-labelledby=\"details\">\n<h2 id=\"details\">Details</h2>\n<dl data-part=\"details\">\n",
    );
    let mut row = |name: &str, value: String| {
        let _ = writeln!(part, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    row("State", report.state.as_str().replace('_', " "));
    if let Some(identity) = &report.identity {
        row("User", escape(&format!("{} ({})", identity.username, identity.sub)));
        row("User pool", escape(&identity.user_pool_id));
        row("App client", escape(&identity.client_id));
    }
    if let Some(at) = view.signed_in_at {
        row("Signed in", moment(at));
    }
    if let Some(last) = &report.last_refresh {
        let error = last.error.as_ref().map(|error| format!(": {}", escape(error))).unwrap_or_default();
        row("Last refresh", format!("{}, {}{error}", moment(last.at), last.outcome.as_str()));
    }
    row("Failures in a row", report.consecutive_failures.to_string());
    row("Warning level", report.warning.level.as_str().into());
    row("Held requests", report.held_requests.to_string());
    if let Some(idle) = view.idle {
        row("Idle lock", format!("closes after {} more without a request", Span(idle.closes_in)));
    }
    if report.unpersisted_rotation {
        row("Store", "the disk refuses the new refresh token; it is in memory alone, and is written again".into());
    }
    part.push_str("</dl>\n</section>\n");
    part
}

#[cfg(test)]
mod tests;
