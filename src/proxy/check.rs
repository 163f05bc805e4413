//! Is this a request that a proxy may pass on? About HTTP alone: who may ask is the guard's.

use http::{
    HeaderValue, Method, Response, StatusCode, Version,
    header::{ALLOW, EXPECT, MAX_FORWARDS, ORIGIN, REFERER, TRANSFER_ENCODING, VIA},
};

use super::hop::list;
use crate::{
    message::{Fields, RequestHead, visible},
    reply::{self, Code, Refusal},
};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Checked {
    /// It goes on.
    Forward,
    /// It is for us.
    Answer(Response<reply::Body>),
}

/// Which fields a head has of those that few heads have: told in one pass, where a search for each would cost more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    pub(super) expect: bool,
    pub(super) max_forwards: bool,
    pub(super) origin: bool,
    pub(super) referer: bool,
    pub(super) transfer_encoding: bool,
    pub(super) via: bool,
}

impl Rare {
    pub(super) fn among(fields: &Fields) -> Self {
        let mut rare = Self::default();
        for name in fields.names() {
            match *name {
                EXPECT => rare.expect = true,
                MAX_FORWARDS => rare.max_forwards = true,
                ORIGIN => rare.origin = true,
                REFERER => rare.referer = true,
                TRANSFER_ENCODING => rare.transfer_encoding = true,
                VIA => rare.via = true,
                _ => {}
            }
        }
        rare
    }
}

/// Checks a request's head; `pseudonym` is what we call ourselves in `Via`.
pub(super) fn request(head: &RequestHead, rare: Rare, pseudonym: &str) -> Result<Checked, Refusal> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        let detail = format!("{} is not passed on: it would show or carry away the injected token", head.method);
        return Err(Refusal::new(Code::MethodRefused, detail, "use another method"));
    }
    if head.target.path() == "*" {
        return if head.method == Method::OPTIONS {
            Ok(Checked::Answer(options()))
        } else {
            Err(Refusal::new(Code::BadRequest, "the target * is for OPTIONS alone", "name a path"))
        };
    }
    if !head.target.path().starts_with('/') {
        return Err(Refusal::new(Code::BadRequest, "the request target has no path", "name a path"));
    }
    if rare.transfer_encoding && head.version < Version::HTTP_2 {
        transfer_coding(&head.fields)?;
    }
    if rare.expect && !head.fields.get_all(EXPECT).all(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Refusal::new(
            Code::ExpectationFailed,
            "the only expectation met is 100-continue",
            "leave Expect out",
        ));
    }
    if rare.via && list(&head.fields, VIA).any(|hop| received_by(hop) == Some(pseudonym.as_bytes())) {
        let detail = "the request has come through this proxy before";
        return Err(Refusal::new(
            Code::LoopDetected,
            detail,
            "set upstream.url to an address that is not the proxy's own",
        ));
    }
    if rare.max_forwards && forwards_left(head) == Some(0) {
        return Ok(Checked::Answer(options()));
    }
    Ok(Checked::Forward)
}

/// How many more hops OPTIONS may take; of other methods that are passed on, `Max-Forwards` says nothing (RFC 9110
/// §7.6.2).
pub(super) fn forwards_left(head: &RequestHead) -> Option<u64> {
    if head.method != Method::OPTIONS {
        return None;
    }
    visible(head.fields.get(MAX_FORWARDS)?)?.parse().ok()
}

/// Who took a message, by a member of `Via`: its second word (RFC 9110 §7.6.3).
fn received_by(hop: &[u8]) -> Option<&[u8]> {
    hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1)
}

/// The server takes any list that ends in `chunked`; what comes before it would be lost (RFC 9112 §6.1: 501).
fn transfer_coding(fields: &Fields) -> Result<(), Refusal> {
    if fields.get_all(TRANSFER_ENCODING).nth(1).is_some() {
        return Err(Refusal::new(Code::BadRequest, "Transfer-Encoding is there twice", "send it once, as chunked"));
    }
    if fields.contains(TRANSFER_ENCODING) && !is_chunked_alone(fields) {
        let detail = "the only transfer coding understood is chunked";
        return Err(Refusal::new(Code::BadTransferCoding, detail, "send the body chunked, or with a Content-Length"));
    }
    Ok(())
}

/// Whether `Transfer-Encoding` is exactly `chunked`.
fn is_chunked_alone(fields: &Fields) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING);
    codings.next().is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

fn options() -> Response<reply::Body> {
    let mut response = Response::new(reply::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(ALLOW, methods);
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Checked, Code> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = RequestHead::from(request.body(()).expect("a request").into_parts().0);
        super::request(&head, Rare::among(&head.fields), "cognito-proxy-1f2e").map_err(|refusal| refusal.code)
    }

    #[test]
    fn requests_and_what_becomes_of_them() {
        for (method, target, headers, expected) in [
            ("GET", "/x", &[][..], Ok(())),
            ("POST", "/x", &[("transfer-encoding", "chunked")], Ok(())),
            ("POST", "/x", &[("transfer-encoding", "gzip, chunked")], Err(Code::BadTransferCoding)),
            (
                "POST",
                "/x",
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(Code::BadRequest),
            ),
            ("CONNECT", "a:1", &[], Err(Code::MethodRefused)),
            ("TRACE", "/x", &[], Err(Code::MethodRefused)),
            ("GET", "*", &[], Err(Code::BadRequest)),
            ("POST", "/x", &[("expect", "100-Continue")], Ok(())),
            ("POST", "/x", &[("expect", "a-miracle")], Err(Code::ExpectationFailed)),
            ("GET", "/x", &[("via", "1.1 other, 1.1 cognito-proxy-1f2e")], Err(Code::LoopDetected)),
            ("GET", "/x", &[("via", "1.1 cognito-proxy-0000 (cognito-proxy-1f2e)")], Ok(())),
        ] {
            let result = checked(method, target, headers);
            match (&result, &expected) {
                (Ok(Checked::Forward), Ok(())) => {}
                (Err(code), Err(expected)) if code == expected => {}
                _ => panic!("{method} {target} {headers:?}: {result:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn options_of_the_server_itself_are_answered_here() {
        for (target, headers) in [("*", &[][..]), ("/x", &[("max-forwards", "0")]), ("/x", &[("max-forwards", "00")])] {
            match checked("OPTIONS", target, headers) {
                Ok(Checked::Answer(response)) => assert!(response.headers().contains_key(ALLOW)),
                other => panic!("{target}: {other:?}"),
            }
        }
        assert!(matches!(checked("OPTIONS", "/x", &[]), Ok(Checked::Forward)));
    }
}
