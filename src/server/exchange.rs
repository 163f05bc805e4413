//! One request and its response, whichever version of HTTP they came by.

use std::{future::Future, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, header::CONNECTION};
use http_body::Body;
use tokio::time::Instant;

use super::{Denied, Gate, Server, Settings, access::loggable};
use crate::{
    listen::Connection,
    message::{Fields, Request, RequestHead, Response},
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
    /// Whether the connection is one too many.
    pub(super) is_standing: bool,
}

impl<G, S, F, B> Exchanges<G, S>
where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + From<reply::Body> + 'static,
{
    /// Answers one request, which began to come at `began`. `length` is its head's, where that is known: its fields are
    /// not longer.
    pub(super) async fn answer(&self, request: Request, began: Instant, length: Option<usize>) -> Response<B> {
        let access = self
            .settings
            .access_log
            .then(|| (request.head.method.clone(), loggable(request.head.target.path()).into_owned()));
        let response = match self.admit(&request.head, length) {
            Ok(grant) => {
                let mut response = (self.server.service)(request, Rc::clone(&self.connection)).await;
                self.server.gate.decorate(&grant, &mut response.head.fields);
                response
            }
            Err(response) => *response,
        };
        let took = began.elapsed();
        self.server.figures.responded(response.head.status, took);
        if let Some((method, path)) = access {
            tracing::info!(target: "cognito_proxy::access", %method, path, status = response.head.status.as_u16(), ?took, "request");
        }
        response
    }

    /// What the response to an admitted request may have; the response to any other.
    fn admit(&self, head: &RequestHead, length: Option<usize>) -> Result<G::Grant, Box<Response<B>>> {
        if let Err(refusal) = self.fits(&head.fields, length) {
            return Err(Box::new(self.refuse(&refusal, Form::of(head.fields.iter()))));
        }
        self.server.gate.check(head, &self.connection, &self.peer).map_err(|denied| {
            Box::new(match *denied {
                Denied::Answered(response) => response.map(B::from).into(),
                Denied::Refused { refusal, grant } => {
                    let mut response =
                        Response::from(reply::respond(&refusal, Form::of(head.fields.iter())).map(B::from));
                    if let Some(grant) = grant {
                        self.server.gate.decorate(&grant, &mut response.head.fields);
                    }
                    response
                }
            })
        })
    }

    /// Room for the connection, and for the header.
    fn fits(&self, fields: &Fields, length: Option<usize>) -> Result<(), Refusal> {
        if self.is_standing {
            let detail = format!("{} connections are open already", self.settings.max_connections);
            return Err(Refusal::new(Code::Overloaded, detail, "limits.max_connections"));
        }
        if length.is_some_and(|length| length <= self.settings.max_header_bytes) {
            return Ok(());
        }
        let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_OVERHEAD).sum();
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
        response.map(B::from).into()
    }
}
