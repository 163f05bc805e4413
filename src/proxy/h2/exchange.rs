//! One request and its response on one stream.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, header::CONTENT_LENGTH};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{Load, Stream};
use crate::{
    message::{BoxError, Halt, Head as _, Received, Response, ResponseHead, Sending},
    proxy::upload::RequestBody,
};

/// A request on its way, until the response's head comes.
#[derive(Debug)]
pub(in crate::proxy) struct Exchange {
    response: ResponseFuture,
    /// What is still to be sent.
    upload: Option<Sending<RequestBody>>,
    /// What says when the stream counts among those that the upstream allows, where it has to wait for that. Nothing of
    /// the body is read before.
    unopened: Option<SendRequest<Bytes>>,
}

/// Why there is no response.
#[derive(Debug)]
pub(in crate::proxy) enum Fault {
    /// The stream or its connection broke off.
    Stream(h2::Error),
    /// The request's own body did.
    Body(BoxError),
}

/// A response's body, and what is still to be sent of its request, which a task drives: a client may well not read
/// before it has sent all. Dropped before its end, it ends both.
#[derive(Debug)]
pub(in crate::proxy) struct Download {
    /// `None` only once it is dropped.
    body: Option<Received>,
    upload: Option<AbortHandle>,
    load: Rc<Load>,
}

impl Exchange {
    /// Begins a request. `Err` with its body where its connection takes no more.
    pub(in crate::proxy) fn begin(
        stream: &Stream,
        mut request: Request<()>,
        body: RequestBody,
    ) -> Result<Self, (h2::Error, RequestBody)> {
        let is_over = body.is_end_stream();
        announce(&mut request, body.size_hint().exact());
        let mut sender = stream.load.sender.borrow_mut();
        match sender.send_request(request, is_over) {
            Ok((response, sent)) => {
                let upload = (!is_over).then(|| Sending::new(body, sent));
                // Such a sender takes no other request until then, and is given up to this one.
                let must_wait = sender.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending();
                let unopened = must_wait.then(|| {
                    let next = sender.clone();
                    std::mem::replace(&mut *sender, next)
                });
                Ok(Self { response, upload, unopened })
            }
            Err(error) => Err((error, body)),
        }
    }

    /// Sends the request until the response's head has come.
    pub(in crate::proxy) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Received>, Fault>> {
        if let Poll::Ready(response) = Pin::new(&mut self.response).poll(cx) {
            let (parts, body) = response.map_err(Fault::Stream)?.into_parts();
            let mut head = ResponseHead::empty();
            head.refill(parts);
            let body = Received::new(body, &head.fields);
            return Poll::Ready(Ok(Response { head, body }));
        }
        if let Some(unopened) = &mut self.unopened {
            // Where this is an error, the response is the same.
            let _: Result<(), h2::Error> = ready!(unopened.poll_ready(cx));
            self.unopened = None;
        }
        let Some(upload) = &mut self.upload else { return Poll::Pending };
        let sent = ready!(upload.poll(cx));
        // The body is given up with it, so that another connection may go on with it.
        self.upload = None;
        match sent {
            Err(Halt::Body(error)) => Poll::Ready(Err(Fault::Body(error))),
            // The response says more of it.
            Ok(()) | Err(Halt::Closed(_)) => Poll::Pending,
        }
    }

    /// The response's body, once its head has come.
    pub(in crate::proxy) fn into_download(self, body: Received, stream: &Stream) -> Download {
        let upload = self.upload.map(|mut upload| {
            let task = tokio::task::spawn_local(async move {
                if let Err(halt) = poll_fn(|cx| upload.poll(cx)).await {
                    tracing::debug!(error = &halt as &dyn std::error::Error, "a request ended before its body");
                }
            });
            task.abort_handle()
        });
        Download { body: Some(body), upload, load: Rc::clone(&stream.load) }
    }
}

impl Download {
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Received::is_end_stream)
    }

    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Received::size_hint)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        match self.upload.take() {
            // An upstream may answer before it has read everything, and may then read on.
            Some(upload) if !body.is_end_stream() => upload.abort(),
            None if body.is_end_stream() => self.load.keep(body),
            Some(_) | None => {}
        }
    }
}

/// Says how long the body is, where that is known and no matter of course (RFC 9110 §8.6).
fn announce(request: &mut Request<()>, length: Option<u64>) {
    let Some(length) = length else { return };
    let has_none_by_nature = [Method::GET, Method::HEAD, Method::DELETE, Method::CONNECT].contains(request.method());
    let headers: &mut HeaderMap = if length == 0 && has_none_by_nature { return } else { request.headers_mut() };
    headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
}
