//! What the proxy says about itself: health, metrics, status, and the control socket of its owner.
//!
//! Owns what is answered, not who may ask: on TCP a [`crate::guard::Guard`] at [`crate::guard::Post::Admin`] stands
//! before it, and the control socket admits its owner and root. No token ever leaves over TCP, since nothing that
//! [`Admin`] answers with holds one.

mod answer;
mod body;
pub mod client;
pub mod control;
mod events;
#[cfg(test)]
mod fixtures;
mod page;
mod page_token;
mod site;
mod wire;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};

use self::{events::Audience, page::View, page_token::PageToken};
use crate::{
    current::CurrentToken,
    reply::Form,
    session::{TokenKind, status::Facts},
};

pub use body::Body;
pub use site::Site;
pub use wire::{IssuedToken, Problem, Reloaded};

/// What `/readyz` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The token kinds that some route injects.
    pub kinds: Vec<TokenKind>,
    /// Whether tokens are fetched when they are wanted (`refresh.mode = "on-demand"`): then one that can be had will do.
    pub on_demand: bool,
}

/// What only the whole program knows about itself.
pub trait Vitals: Send + Sync + fmt::Debug {
    /// Whether its loops turn.
    fn is_alive(&self) -> bool;

    /// Whether it is going down.
    fn is_stopping(&self) -> bool;

    /// The document of `/metrics` (OpenMetrics 1.0), for these facts and this number of held requests.
    fn metrics(&self, facts: &Facts, held: u64) -> String;
}

/// The pages of the admin listener, which the control socket serves too.
#[derive(Debug)]
pub struct Admin {
    current: CurrentToken,
    readiness: ArcSwap<Readiness>,
    vitals: Arc<dyn Vitals>,
    audience: Audience,
    page_token: Option<PageToken>,
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Livez,
    Readyz,
    Metrics,
    Status,
    StatusJson,
    Icon,
    Events,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/status" => Self::Status,
            "/status.json" => Self::StatusJson,
            "/status/icon.svg" => Self::Icon,
            "/events" => Self::Events,
            _ => return None,
        })
    }
}

/// What there is where there is no page: for a person who types the address, the way to the one that is for people.
fn elsewhere(head: &Parts) -> Response<Bytes> {
    let path = head.uri.path();
    let problem = answer::not_found(path);
    match (&head.method, Form::of(head.headers.iter().map(|(name, value)| (name, value.as_bytes())))) {
        (&Method::GET | &Method::HEAD, Form::Page) if path == "/" => answer::to_the_page(StatusCode::FOUND),
        (&Method::GET | &Method::HEAD, Form::Page) => page::failed(&problem),
        _ => answer::problem(&problem),
    }
}

impl Admin {
    /// The pages about the session in `current`.
    #[must_use]
    pub fn new(current: CurrentToken, readiness: Readiness, vitals: Arc<dyn Vitals>) -> Self {
        Self {
            current,
            readiness: ArcSwap::from_pointee(readiness),
            vitals,
            audience: Audience::default(),
            page_token: PageToken::random(),
        }
    }

    /// Replaces what `/readyz` asks for, at a reload.
    pub fn reconfigure(&self, readiness: Readiness) {
        self.readiness.store(Arc::new(readiness));
    }

    /// The answer to a request with this head. Never dials anybody and never waits; the events alone go on after it.
    #[must_use]
    pub fn answer(&self, head: &Parts) -> Response<Body> {
        let Some(page) = Page::at(head.uri.path()) else {
            return elsewhere(head).map(Body::from);
        };
        match (&head.method, page) {
            (&Method::GET, Page::Events) => self.events(),
            (&Method::HEAD, Page::Events) => answer::events(Body::from(Bytes::new())),
            (&Method::GET, page) => self.page(page).map(Body::from),
            (&Method::HEAD, page) => answer::without_body(self.page(page)).map(Body::from),
            _ => answer::method_not_allowed("GET, HEAD").map(Body::from),
        }
    }

    fn events(&self) -> Response<Body> {
        match self.audience.listen(&self.current, &self.vitals) {
            Some(events) => answer::events(Body::Stream(events)),
            None => answer::overheard(events::MAX_LISTENERS).map(Body::from),
        }
    }

    fn page(&self, page: Page) -> Response<Bytes> {
        match page {
            Page::Livez if self.vitals.is_alive() => answer::text("ok\n"),
            Page::Livez => answer::code_alone("stalled"),
            Page::Readyz => self.readyz(),
            Page::Metrics => {
                let snapshot = self.current.snapshot();
                answer::metrics(self.vitals.metrics(&snapshot.facts, self.current.held()))
            }
            Page::Status => page::respond(&View::of(&self.current), self.page_token.as_ref()),
            Page::StatusJson => answer::json(StatusCode::OK, &self.report()),
            Page::Icon => page::icon(),
            // They are no page, and are answered before.
            Page::Events => answer::no_content(),
        }
    }

    fn readyz(&self) -> Response<Bytes> {
        if self.vitals.is_stopping() {
            return answer::code_alone(crate::reply::Code::Stopping.as_str());
        }
        let readiness = self.readiness.load();
        let unready = self.current.snapshot().unready(&readiness.kinds, readiness.on_demand, self.current.now());
        unready.map_or_else(|| answer::text("ok\n"), |code| answer::code_alone(code.as_str()))
    }

    fn report(&self) -> crate::session::status::Report {
        self.current.snapshot().facts.report(self.current.now(), self.current.held())
    }
}

#[cfg(test)]
mod tests;
