//! Whole messages on their way through the proxy: a head, and beside it a body that is read as it is needed.
//!
//! A head is one allocation, which is handed on and used again for the next one: what goes from future to future is a
//! pointer. The types of the `http` crate are for the edges, where HTTP/2 and what is seldom asked for speak them.

use std::cell::RefCell;

use http::{Extensions, Method, StatusCode, Uri, Version, request, response};
use hyper::ext::ReasonPhrase;

use super::{ClientBody, Fields};

/// So many heads of each kind are kept for the next ones, and none with room for more fields than this.
const KEPT_HEADS: usize = 64;
const KEPT_FIELDS: usize = 128;

/// Heads that wait to be used again: their allocations.
type Kept<H> = Vec<Box<H>>;

thread_local! {
    /// The heads that are over, for the next ones.
    static REQUESTS: RefCell<Kept<RequestHead>> = const { RefCell::new(Vec::new()) };
    static RESPONSES: RefCell<Kept<ResponseHead>> = const { RefCell::new(Vec::new()) };
}

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target, in whichever form it came.
    pub target: Uri,
    /// The version of HTTP that the client speaks.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// What HTTP/1 says beside the status, where it is not what is usually said.
    pub(crate) reason: Option<ReasonPhrase>,
    /// The fields.
    pub fields: Fields,
    /// What goes with it and is not sent, such as the way that a protocol switches to.
    pub extensions: Extensions,
}

/// A request and its body.
#[derive(Debug)]
pub struct Request<B = ClientBody> {
    /// The head.
    pub head: Box<RequestHead>,
    /// The body.
    pub body: B,
}

/// A response and its body.
#[derive(Debug)]
pub struct Response<B> {
    /// The head.
    pub head: Box<ResponseHead>,
    /// The body.
    pub body: B,
}

/// A head whose storage is used again.
pub(crate) trait Head: Default + 'static {
    /// Forgets what it says, and keeps what holds it. `false` where that is not worth it.
    fn clear(&mut self) -> bool;

    /// Runs `with` on those of this kind that are kept in this thread.
    fn with_kept<T>(with: impl FnOnce(&mut Kept<Self>) -> T) -> T;

    /// One that says nothing, which is there already where one has been kept.
    #[expect(clippy::unnecessary_box_returns, reason = "it is the allocation that is used again")]
    fn empty() -> Box<Self> {
        Self::with_kept(Vec::pop).unwrap_or_default()
    }

    /// Keeps one that is over, for the next.
    fn recycle(mut self: Box<Self>) {
        if self.clear() {
            Self::with_kept(|kept| {
                if kept.len() < KEPT_HEADS {
                    kept.push(self);
                }
            });
        }
    }
}

impl Head for RequestHead {
    fn clear(&mut self) -> bool {
        // A part of the bytes that were read, as the fields are: those are let go of.
        self.target = Uri::default();
        self.fields.clear();
        self.fields.capacity() <= KEPT_FIELDS
    }

    fn with_kept<T>(with: impl FnOnce(&mut Kept<Self>) -> T) -> T {
        REQUESTS.with_borrow_mut(with)
    }
}

impl Head for ResponseHead {
    fn clear(&mut self) -> bool {
        self.reason = None;
        self.fields.clear();
        self.extensions.clear();
        self.fields.capacity() <= KEPT_FIELDS
    }

    fn with_kept<T>(with: impl FnOnce(&mut Kept<Self>) -> T) -> T {
        RESPONSES.with_borrow_mut(with)
    }
}

impl RequestHead {
    /// Says what `parts` say, whose fields are put into what is here.
    pub(crate) fn refill(&mut self, parts: request::Parts) {
        let request::Parts { method, uri, version, headers, .. } = parts;
        (self.method, self.target, self.version) = (method, uri, version);
        self.fields.clear();
        self.fields.extend_from(headers);
    }
}

impl ResponseHead {
    /// Says what `parts` say, whose fields are put into what is here. What the `http` crate's users put beside them is
    /// left out.
    pub(crate) fn refill(&mut self, parts: response::Parts) {
        self.status = parts.status;
        self.fields.clear();
        self.fields.extend_from(parts.headers);
    }

    /// The same in the `http` crate's type, and this one kept for the next.
    pub(crate) fn into_http(self: Box<Self>) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.to_map();
        self.recycle();
        response
    }
}

impl<B> Response<B> {
    /// The same with another body.
    pub fn map<C>(self, body: impl FnOnce(B) -> C) -> Response<C> {
        Response { head: self.head, body: body(self.body) }
    }
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        let mut head = Self::default();
        head.refill(parts);
        head
    }
}

impl From<response::Parts> for ResponseHead {
    fn from(parts: response::Parts) -> Self {
        let response::Parts { status, headers, mut extensions, .. } = parts;
        let reason = extensions.remove::<ReasonPhrase>();
        Self { status, reason, fields: headers.into(), extensions }
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self { head: Box::new(parts.into()), body }
    }
}

impl<B> From<Request<B>> for http::Request<B> {
    fn from(request: Request<B>) -> Self {
        let RequestHead { method, target, version, fields } = *request.head;
        let mut whole = Self::new(request.body);
        *whole.method_mut() = method;
        *whole.uri_mut() = target;
        *whole.version_mut() = version;
        *whole.headers_mut() = fields.to_map();
        whole
    }
}
