//! What a browser is shown when it comes back: one page of its own, without a script and without anything from
//! elsewhere.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#f6f8fa;--card:#fff;--line:#d8dee4;--good:#1a7f37;\
--bad:#b42318}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--paper:#0d1117;--card:#161b22;--line:#30363d;\
--good:#4ac26b;--bad:#ff7b72}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);\
font:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif}\
main{width:100%;max-width:34rem;background:var(--card);border:1px solid var(--line);border-top:4px solid var(--good);\
border-radius:.6rem;padding:1.75rem 2rem}\
main.bad{border-top-color:var(--bad)}\
h1{font-size:1.4rem;line-height:1.3;margin:0 0 .75rem;font-weight:600;overflow-wrap:anywhere}\
p{margin:.75rem 0 0}\
dl{margin:1rem 0 0;display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1.25rem}\
dt{color:var(--soft)}\
dd{margin:0;overflow-wrap:anywhere}\
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\
footer{color:var(--soft);font-size:.9rem;margin-top:1.25rem}\
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}}";

/// Nothing is loaded, run, framed or submitted; the one style sheet is named by its hash (CSP Level 3, §2.3.1).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(hash)
    )
});

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Somebody is signed in.
    SignedIn {
        /// Who.
        username: String,
        /// Facts about the session: what, and what is to be said of it.
        facts: Vec<(&'static str, String)>,
    },
    /// The sign-in came to nothing.
    Failed {
        /// Why.
        why: String,
    },
    /// Another sign-in's callback.
    Foreign,
    /// The callback has been here before.
    Repeated,
    /// Nobody waits any more.
    Abandoned,
    /// Any other address.
    NotFound,
}

impl Page {
    /// The status that the answer to the callback has.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::SignedIn { .. } => StatusCode::OK,
            Self::Failed { .. } | Self::Foreign => StatusCode::BAD_REQUEST,
            Self::Repeated => StatusCode::CONFLICT,
            Self::Abandoned => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    fn title(&self) -> String {
        match self {
            Self::SignedIn { username, .. } => format!("Signed in as {username}"),
            Self::Failed { .. } => "Not signed in".into(),
            Self::Foreign => "This is another sign-in".into(),
            Self::Repeated => "This has been used already".into(),
            Self::Abandoned => "Nobody waits for this sign-in any more".into(),
            Self::NotFound => "Nothing is here".into(),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::SignedIn { .. } => "You can close this window.",
            Self::Failed { .. } | Self::Abandoned => {
                "Begin the sign-in again; the terminal where it began says what to mend."
            }
            Self::Foreign => {
                "The address belongs to no sign-in that is under way. Start from the address that the terminal shows."
            }
            Self::Repeated => "A sign-in address works once. The terminal says how it went.",
            Self::NotFound => "cognito-proxy waits here for the end of a sign-in, at one address only.",
        }
    }
}

/// The page as an answer.
pub(super) fn respond(status: StatusCode, page: &Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(render(page))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address holds the code, which is nobody else's.
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn render(page: &Page) -> String {
    let class = if matches!(page, Page::SignedIn { .. }) { "" } else { " class=\"bad\"" };
    let title = escape(&page.title());
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · cognito-proxy</title>\n<style>{STYLE}</style>\n<main{class}>\n<h1>{title}</h1>\n"
    );
    // Writing to a String cannot fail, here and below.
    if let Page::Failed { why } = page {
        let _ = writeln!(html, "<p>{}</p>", escape(&sentence(why)));
    }
    if let Page::SignedIn { facts, .. } = page {
        html.push_str("<dl>\n");
        for (name, value) in facts {
            let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        html.push_str("</dl>\n");
    }
    let _ = write!(html, "<p>{}</p>\n<footer>cognito-proxy</footer>\n</main>\n</html>\n", page.advice());
    html
}

/// A message as a page says it.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let rest = letters.as_str().trim_end_matches('.');
    first.chain(rest.chars()).chain(['.']).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_is_text() {
        let facts = vec![("Session", "ends <b>soon</b>".to_owned())];
        let page = Page::SignedIn { username: "<script>alert('a&b')</script>".into(), facts };
        let html = render(&page);
        assert!(html.contains("<h1>Signed in as &lt;script&gt;alert(&#39;a&amp;b&#39;)&lt;/script&gt;</h1>"), "{html}");
        assert!(html.contains("<dd>ends &lt;b&gt;soon&lt;/b&gt;</dd>"), "{html}");
        assert!(render(&Page::Failed { why: "<img>".into() }).contains("<p>&lt;img&gt;.</p>"));
    }

    #[test]
    fn nothing_is_loaded_and_nothing_is_kept() {
        let response = respond(StatusCode::OK, &Page::NotFound);
        let header = |name: &str| response.headers()[name].to_str().expect("visible").to_owned();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains(&STANDARD.encode(hash)), "{policy}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let html = render(&Page::NotFound);
        assert!(!html.contains("http:") && !html.contains("src=") && !html.contains("<script"), "{html}");
    }
}
