//! The control socket: what the owner of a running proxy can ask and tell it.
//!
//! Serves the pages of [`Admin`], and what changes something or gives a token away. It admits its owner and root alone,
//! by the credentials that the kernel gives of the connecting process. What it does is [`Control`]'s.

mod socket;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::{
    Admin, Body, IssuedToken, Problem, Reloaded, answer,
    wire::{TokenReply, TokenRequest},
};
use crate::{
    reply::{Code, Refusal},
    secret::Secret,
    session::TokenKind,
};

pub use socket::{BindError, Socket};

/// The longest body that is read: several times a session's record with its key set.
const MAX_BODY: usize = 256 * 1024;

/// How long a body may take. Its sender is a process of this machine that has it at hand.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a forward proxy or a web page would have added: neither has any business here.
const FOREIGN: [HeaderName; 6] = [
    header::ORIGIN,
    header::REFERER,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-for"),
];

/// What the running proxy can be told. Implemented where everything comes together.
pub trait Control: Send + Sync + fmt::Debug {
    /// A token of `kind` with at least `min_ttl` left (`None`: `inject.min_ttl`), after one refresh at most.
    fn token(&self, kind: TokenKind, min_ttl: Option<Duration>) -> BoxFuture<'_, Result<IssuedToken, Fault>>;

    /// Begins a sign-in for the person in front of this machine: a browser, as `login` opens it. Done once that has
    /// begun; the sign-in itself comes by [`Control::adopt`].
    fn sign_in(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Opens the idle lock. Nothing to open is fine.
    fn unlock(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Reads the configuration again.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Fault>>;

    /// Takes over a sign-in: a session's record, as JSON.
    fn adopt(&self, record: Secret) -> BoxFuture<'_, Result<(), Fault>>;

    /// Forgets the session. Nothing to forget is fine.
    fn clear(&self) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// For a reason that requests are refused for as well.
    #[error("{}", .0.detail)]
    Refused(Refusal),
    /// The record is none.
    #[error("{0}")]
    Invalid(String),
    /// The store holds a live session of another pool or client.
    #[error("{0}")]
    OtherSession(String),
    /// The store refuses.
    #[error("{0}")]
    Store(String),
    /// The configuration is wrong; the old one stays.
    #[error("{0}")]
    Configuration(String),
}

impl Fault {
    fn respond(&self) -> Response<Bytes> {
        match self {
            Self::Refused(refusal) => answer::refused(refusal),
            fault => answer::problem(&fault.problem()),
        }
    }

    /// The same as a document.
    pub(super) fn problem(&self) -> Problem {
        let (status, code, fix) = match self {
            Self::Refused(refusal) => {
                let status = refusal.code.status();
                return Problem::new(status, refusal.code.as_str(), &refusal.detail, &refusal.fix);
            }
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, Code::BadRequest.as_str(), "send a session's record"),
            Self::OtherSession(_) => (StatusCode::CONFLICT, "other_session", "use -p NAME, or logout first"),
            Self::Store(_) => (StatusCode::INSUFFICIENT_STORAGE, "store_failed", "see the detail, then try again"),
            Self::Configuration(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "configuration", "mend the configuration, then reload again")
            }
        };
        Problem::new(status, code, &self.to_string(), fix)
    }
}

/// What the control socket serves.
#[derive(Debug)]
pub struct Service {
    admin: Arc<Admin>,
    control: Arc<dyn Control>,
    owner: u32,
}

impl Service {
    /// The pages of `admin` and the deeds of `control`, for the user `owner` and root.
    #[must_use]
    pub fn new(admin: Arc<Admin>, control: Arc<dyn Control>, owner: u32) -> Self {
        Self { admin, control, owner }
    }

    /// Answers one request of a process of `peer`, or of one whose user is not known.
    pub async fn answer<B>(&self, peer: Option<u32>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        if let Err(refusal) = self.admit(peer, &head.headers) {
            return answer::refused(&refusal).map(Body::from);
        }
        let done = match (head.uri.path(), &head.method) {
            ("/token", &Method::POST) => self.token(body).await,
            ("/unlock", &Method::POST) => self.control.unlock().await.map(|()| answer::no_content()),
            ("/reload", &Method::POST) => {
                self.control.reload().await.map(|reloaded| answer::json(StatusCode::OK, &reloaded))
            }
            ("/session", &Method::POST) => self.adopt(body).await,
            ("/session", &Method::DELETE) => self.control.clear().await.map(|()| answer::no_content()),
            ("/token" | "/unlock" | "/reload", _) => Ok(answer::method_not_allowed("POST")),
            ("/session", _) => Ok(answer::method_not_allowed("POST, DELETE")),
            _ => return self.admin.answer(&head),
        };
        done.unwrap_or_else(|fault| fault.respond()).map(Body::from)
    }

    fn admit(&self, peer: Option<u32>, headers: &HeaderMap) -> Result<(), Refusal> {
        if !peer.is_some_and(|uid| uid == self.owner || uid == 0) {
            let fix = format!("run the command as uid {}, or with sudo", self.owner);
            return Err(Refusal::new(Code::PeerNotAllowed, "the control socket admits its owner and root", fix));
        }
        match FOREIGN.iter().find(|name| headers.contains_key(*name)) {
            Some(name) => {
                let detail = format!("a request with {name} does not come from the command line");
                Err(Refusal::new(Code::CrossSite, detail, "connect to the control socket directly"))
            }
            None => Ok(()),
        }
    }

    async fn token<B>(&self, body: B) -> Result<Response<Bytes>, Fault>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = read(body).await?;
        let asked =
            TokenRequest::parse(body.expose()).map_err(|error| Fault::Invalid(format!("no token request: {error}")))?;
        let kind = asked.kind().ok_or_else(|| Fault::Invalid("kind is \"id\" or \"access\"".into()))?;
        let issued = self.control.token(kind, asked.min_ttl()).await?;
        Ok(answer::json(StatusCode::OK, &TokenReply::from(issued)))
    }

    async fn adopt<B>(&self, body: B) -> Result<Response<Bytes>, Fault>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.control.adopt(read(body).await?).await?;
        Ok(answer::no_content())
    }
}

/// The whole of a body as text. Its content is in no error: it may be a session.
pub(super) async fn read<B>(body: B) -> Result<Secret, Fault>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect())
        .await
        .map_err(|_| Fault::Invalid("the body stopped coming".into()))?;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Fault::Invalid(format!("the body is longer than {MAX_BODY} bytes")));
        }
        Err(_) => return Err(Fault::Invalid("the body could not be read".into())),
    };
    String::from_utf8(bytes.into()).map(Secret::new).map_err(|_| Fault::Invalid("the body is no UTF-8 text".into()))
}

#[cfg(test)]
mod tests;
