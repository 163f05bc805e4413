//! One request and its response, between hyper and the service.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    Denied, Gate, Server, Settings,
    access::loggable,
    pulse::{Flight, Pulse},
};
use crate::{
    listen::{Connection, Tunnel},
    reply::{self, Code, Form, Refusal},
};

/// Name, value, `: ` and the line's end: what a header line costs beside its text (RFC 9112 §5).
const LINE_OVERHEAD: usize = 4;

/// What the requests of one connection have in common.
pub(super) struct Exchanges<G: Gate, S> {
    pub(super) server: Rc<Server<G, S>>,
    pub(super) settings: Arc<Settings>,
    pub(super) connection: Rc<Connection>,
    pub(super) peer: G::Peer,
    pub(super) pulse: Rc<Pulse>,
    /// Whether the connection is one too many.
    pub(super) is_standing: bool,
}

impl<G, S, F, B> Exchanges<G, S>
where
    G: Gate,
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + From<reply::Body> + 'static,
{
    /// Answers one request.
    pub(super) async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Tracked<B>> {
        let began = Instant::now();
        let flight = Flight::begin(&self.pulse, !request.body().is_end_stream(), began);
        let access =
            self.settings.access_log.then(|| (request.method().clone(), loggable(request.uri().path()).into_owned()));
        let version = request.version();
        let mut response = self.respond(request).await;
        let is_open_ended = version < Version::HTTP_11 && response.body().size_hint().exact().is_none();
        self.pulse.responds(is_open_ended);
        if let Some(tunnel) = response.extensions_mut().remove::<Tunnel>() {
            self.pulse.tunnel.replace(Some(tunnel));
        }
        let took = began.elapsed();
        self.server.figures.responded(response.status(), took);
        if let Some((method, path)) = access {
            tracing::info!(target: "cognito_proxy::access", %method, path, status = response.status().as_u16(), ?took, "request");
        }
        response.map(|body| Tracked { body, _flight: flight })
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<B> {
        if let Err(refusal) = self.fits(request.headers()) {
            return self.refuse(&refusal, Form::of(request.headers()));
        }
        let (head, body) = request.into_parts();
        match self.server.gate.check(&head, &self.connection, &self.peer) {
            Ok(grant) => {
                let request = Request::from_parts(head, body);
                let mut response = (self.server.service)(request, Rc::clone(&self.connection)).await;
                self.server.gate.decorate(&grant, response.headers_mut());
                response
            }
            Err(denied) => match *denied {
                Denied::Answered(response) => response.map(B::from),
                Denied::Refused { refusal, grant } => {
                    let mut response = reply::respond(&refusal, Form::of(&head.headers)).map(B::from);
                    if let Some(grant) = grant {
                        self.server.gate.decorate(&grant, response.headers_mut());
                    }
                    response
                }
            },
        }
    }

    /// Room for the connection, and for the header.
    fn fits(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_standing {
            let detail = format!("{} connections are open already", self.settings.max_connections);
            return Err(Refusal::new(Code::Overloaded, detail, "limits.max_connections"));
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_OVERHEAD).sum();
        if bytes > self.settings.max_header_bytes {
            let detail = format!("the header has {bytes} bytes, {} are allowed", self.settings.max_header_bytes);
            return Err(Refusal::new(Code::HeaderTooLarge, detail, "limits.max_header_bytes"));
        }
        Ok(())
    }

    fn refuse(&self, refusal: &Refusal, form: Form) -> Response<B> {
        self.server.figures.refused(refusal.code);
        let mut response = reply::respond(refusal, form);
        if self.is_standing {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(B::from)
    }
}

pin_project_lite::pin_project! {
    /// A response's body, which ends the request's flight when it is dropped.
    #[derive(Debug)]
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
        _flight: Flight,
    }
}

impl<B: Body> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
