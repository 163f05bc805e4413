//! A refusal as a response, in the form that its reader understands.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, VARY},
};

use super::{Body, Code, Refusal};

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The methods that a refusal of CONNECT or TRACE offers instead (RFC 9110 §10.2.1): it must name some.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Who reads the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program: `application/problem+json` (RFC 9457).
    Problem,
    /// A browser's navigation: the same as a page.
    Page,
    /// A gRPC client: a trailers-only reply (gRPC over HTTP/2, "Responses").
    Grpc,
}

impl Form {
    /// The form for a request with these fields.
    #[must_use]
    pub fn of<'f>(fields: impl IntoIterator<Item = (&'f HeaderName, &'f [u8])>) -> Self {
        let mut form = Self::Problem;
        for (name, value) in fields {
            match *name {
                CONTENT_TYPE if is_grpc(value) => return Self::Grpc,
                ACCEPT if accepts_html(value) => form = Self::Page,
                _ => {}
            }
        }
        form
    }
}

/// Whether a content type is gRPC's: `application/grpc`, alone or with `+proto` and the like.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
        && matches!(content_type.get(16), None | Some(b'+' | b';' | b' '))
}

fn accepts_html(accept: &[u8]) -> bool {
    accept.windows(9).any(|text| text[4] == b'/' && text.eq_ignore_ascii_case(b"text/html"))
}

/// The reply for `refusal`.
#[must_use]
pub fn respond(refusal: &Refusal, form: Form) -> Response<Body> {
    respond_as(refusal, refusal.code.error_type(), form)
}

/// The reply for `refusal` with a more exact error type of RFC 9209 §2.3.
#[must_use]
pub fn respond_as(refusal: &Refusal, error_type: &'static str, form: Form) -> Response<Body> {
    let (body, content_type) = match form {
        Form::Problem => (Body::from(problem(refusal)), "application/problem+json"),
        Form::Page => (Body::from(page(refusal)), "text/html; charset=utf-8"),
        Form::Grpc => (Body::empty(), "application/grpc"),
    };
    let mut response = Response::new(body);
    *response.status_mut() = refusal.code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    let status = format!("cognito-proxy; error={error_type}; details=\"{}\"", refusal.code.as_str());
    if let Ok(status) = HeaderValue::from_str(&status) {
        headers.insert(PROXY_STATUS, status);
    }
    if let Some(seconds) = retry_after(refusal) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.code == Code::MethodRefused {
        headers.insert(ALLOW, METHODS);
    }
    if matches!(refusal.code, Code::BadRequest | Code::BadTransferCoding) {
        // Who cannot say where a request ends is not asked for another one (RFC 9112 §6.3). HTTP/2 leaves it out.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if form == Form::Grpc {
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(refusal.code.status())));
        let message = percent_encode(&format!("{}; fix: {}", refusal.detail, refusal.fix));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert(GRPC_MESSAGE, message);
        }
        *response.status_mut() = StatusCode::OK;
    }
    response
}

/// Whole seconds, rounded up; every 503 has them.
fn retry_after(refusal: &Refusal) -> Option<u64> {
    let seconds = refusal.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    match refusal.code.status() {
        StatusCode::SERVICE_UNAVAILABLE => Some(seconds.unwrap_or(1).max(1)),
        _ => seconds,
    }
}

fn problem(refusal: &Refusal) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Problem<'a> {
        title: &'a str,
        status: u16,
        code: &'a str,
        detail: &'a str,
        fix: &'a str,
    }
    let problem = Problem {
        title: refusal.code.title(),
        status: refusal.code.status().as_u16(),
        code: refusal.code.as_str(),
        detail: &refusal.detail,
        fix: &refusal.fix,
    };
    // Strings and a number cannot fail to serialise; an empty body would still carry the status and `Proxy-Status`.
    let mut text = serde_json::to_vec(&problem).unwrap_or_default();
    text.push(b'\n');
    text
}

fn page(refusal: &Refusal) -> String {
    let title = refusal.code.title();
    let code = refusal.code.as_str();
    let status = refusal.code.status().as_u16();
    let detail = escape(&refusal.detail);
    let fix = escape(&refusal.fix);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>\
         body{{font:16px/1.5 system-ui,sans-serif;margin:4rem auto;max-width:40rem;padding:0 1rem}}\
         code{{background:#8882;padding:.1em .4em;border-radius:.3em}}</style></head>\
         <body><h1>{title}</h1><p>{detail}</p><p>To mend it: <code>{fix}</code></p>\
         <p><small>cognito-proxy, {status} {code}</small></p></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The gRPC status for a reply of ours. The interface names 14 and 7; the rest follows gRPC's own table ("HTTP to gRPC
/// Status Code Mapping"), where what it does not list is UNKNOWN.
fn grpc_status(status: StatusCode) -> u16 {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => 14,
        StatusCode::FORBIDDEN => 7,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => 13,
        _ => 2,
    }
}

/// `grpc-message` is percent-encoded outside of 0x20 to 0x7e, and `%` itself is (gRPC over HTTP/2, "Responses").
fn percent_encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;

    fn of(headers: &HeaderMap) -> Form {
        Form::of(headers.iter().map(|(name, value)| (name, value.as_bytes())))
    }

    fn refusal() -> Refusal {
        Refusal {
            code: Code::SessionExpired,
            detail: "the session has ended: <Refresh Token> has expired".into(),
            fix: "cognito-proxy login".into(),
            retry_after: Some(Duration::from_millis(4100)),
        }
    }

    #[test]
    fn a_program_gets_a_problem_document() {
        let response = respond(&refusal(), Form::Problem);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "cognito-proxy; error=proxy_internal_response; details=\"session_expired\""
        );
        let document: serde_json::Value = serde_json::from_slice(&response.into_body().into_bytes()).expect("JSON");
        assert_eq!(document["status"], 503);
        assert_eq!(document["code"], "session_expired");
        assert_eq!(document["fix"], "cognito-proxy login");
        assert_eq!(document["title"], "The session has ended");
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        for code in Code::ALL {
            let response = respond(&Refusal::new(code, "d", "f"), Form::Problem);
            assert_eq!(
                response.headers().contains_key(RETRY_AFTER),
                code.status() == StatusCode::SERVICE_UNAVAILABLE,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_navigation_gets_a_page_with_nothing_unescaped() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9"));
        assert_eq!(of(&headers), Form::Page);
        let body = respond(&refusal(), Form::Page).into_body().into_bytes();
        let page = std::str::from_utf8(&body).expect("UTF-8");
        assert!(page.contains("&lt;Refresh Token&gt;") && !page.contains("<Refresh"), "{page}");
    }

    #[test]
    fn grpc_gets_trailers_only() {
        for (content_type, form) in [
            ("application/grpc", Form::Grpc),
            ("application/grpc+proto", Form::Grpc),
            ("application/grpc-web", Form::Problem),
            ("application/json", Form::Problem),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(of(&headers), form, "{content_type}");
        }
        let mut refusal = refusal();
        refusal.detail = "100 % über".into();
        let response = respond(&refusal, Form::Grpc);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[GRPC_STATUS], "14");
        assert_eq!(response.headers()[GRPC_MESSAGE], "100 %25 %C3%BCber; fix: cognito-proxy login");
        assert!(http_body::Body::is_end_stream(response.body()));
    }
}
