//! Serving a connection of HTTP/1, one request after another, in its own task.
//!
//! Nothing stands between the socket and the service but this: a head is read where it lies, the service's future is
//! polled in place, the response's head is written once. A connection that waits for its next request holds its socket
//! and its timer, and nothing else.

mod wire;

use std::{
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header::CONNECTION};
use http_body::{Body, SizeHint};
use tokio::time::Instant;

pub(super) use self::wire::{Bare, Wire, poll_first};
use super::{
    Gate,
    alarm::Alarm,
    date,
    drain::{Phase, Ticket},
    exchange::Exchanges,
};
use crate::{
    listen::{Connection, Tunnel},
    message::{
        Head as _, Request, Response, ResponseHead, SendFault, Transmission,
        framing::Outgoing,
        request::Taken,
        response::{self, Written},
    },
    reply,
};

/// A client that leaves while its body is not being read, since its request waits for a token, closes a connection that
/// nobody reads from. It is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So much of a body that nobody asked for is read, so that the connection can go on.
const MOST_DRAINED: usize = 256 * 1024;

/// What became of the connection.
pub(super) enum After {
    /// All that came has been answered, and nothing is under way.
    Idle,
    /// It stopped being HTTP.
    Upgraded(Tunnel),
    /// The last response is out, and the client may still be sending.
    Lingering,
    /// It is over.
    Ended,
}

/// A connection that is being asked something.
pub(super) struct Serving<'c, G: Gate, S> {
    pub(super) wire: &'c Rc<Wire>,
    pub(super) exchanges: &'c Exchanges<G, S>,
    pub(super) ticket: &'c Ticket,
    pub(super) alarm: &'c mut Alarm,
    /// When the client is looked at next, where it would not be noticed that it leaves.
    pub(super) look_at: Option<Instant>,
}

/// What a response needs to know of its request.
struct Asked {
    method: Method,
    version: Version,
    keeps_alive: bool,
}

impl<G, S, F, B> Serving<'_, G, S>
where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
{
    /// Answers what the client asks, until it asks nothing.
    pub(super) async fn serve(mut self) -> After {
        loop {
            let began = Instant::now();
            let after = match self.head(began).await {
                Some(Ok(taken)) => self.exchange(taken, began).await,
                Some(Err(status)) => Some(self.refuse(status).await),
                None => return After::Ended,
            };
            if let Some(after) = after {
                return after;
            }
            if self.wire.inbox().is_empty() {
                self.wire.inbox().rest();
                return After::Idle;
            }
        }
    }

    /// The next head, within the time that a head may take; what to refuse where one should be; `None` where the client
    /// has left, or time is up.
    async fn head(&mut self, began: Instant) -> Option<Result<Taken, StatusCode>> {
        let (wire, ticket) = (self.wire, self.ticket);
        let due = began + self.exchanges.settings.header_timeout;
        let next = self.alarm.before(due, |cx| {
            if ticket.phase(cx) == Phase::Closing {
                return Poll::Ready(None);
            }
            loop {
                if let Some(head) = wire.head().transpose() {
                    return Poll::Ready(Some(head));
                }
                match wire.poll_read(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        next.await.flatten()
    }

    /// Answers one request. `None` where the connection goes on.
    async fn exchange(&mut self, taken: Taken, began: Instant) -> Option<After> {
        let Taken { head, length, body, keeps_alive, expects_continue } = taken;
        let asked = Asked { method: head.method.clone(), version: head.version, keeps_alive };
        let body = self.wire.begin(body, expects_continue);
        self.look_at = self.wire.is_held_back().then(|| began + LOOK_EVERY);
        let response = {
            let exchanges = self.exchanges;
            let mut answering = pin!(exchanges.answer(Request { head, body }, began, Some(length)));
            std::future::poll_fn(|cx| {
                if self.ticket.phase(cx) == Phase::Closing {
                    return Poll::Ready(None);
                }
                if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                // The response waits for it, should it not be out by then.
                let _: Poll<()> = self.wire.poll_continue(cx);
                if self.has_left(cx) { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match response {
            Some(response) => self.respond(response, &asked).await,
            None => Some(After::Ended),
        }
    }

    /// Sends a response. `None` where the connection goes on.
    async fn respond(&mut self, response: Response<B>, asked: &Asked) -> Option<After> {
        let Response { mut head, body } = response;
        let tunnel = head.extensions.remove::<Tunnel>();
        let length = body.size_hint();
        let framing = response::framing(&head, &length, &asked.method, asked.version);
        let is_open_ended = framing == Outgoing::ToEnd;
        let keeps_alive = asked.keeps_alive
            && !is_open_ended
            && !self.wire.is_waiting()
            && !closes(&head)
            && self.ticket.is_serving();
        let mut sending = begin(&head, body, &framing, &length, asked, keeps_alive);
        head.recycle();
        let sent = self.send(&mut sending).await;
        drop(sending);
        if sent.is_none_or(|sent| sent.is_err()) {
            // An end would pass for the end of the response (RFC 9112 §8).
            if is_open_ended {
                self.wire.reset_when_dropped();
            }
            return Some(After::Ended);
        }
        if let Some(tunnel) = tunnel {
            return Some(After::Upgraded(tunnel));
        }
        let is_read = std::future::poll_fn(|cx| Poll::Ready(self.wire.finish(MOST_DRAINED, cx))).await;
        if keeps_alive && is_read {
            return None;
        }
        Some(if is_read && self.wire.inbox().is_empty() { After::Ended } else { After::Lingering })
    }

    /// Sends what is begun. `None` where the client has left, or time is up.
    async fn send(&mut self, sending: &mut Transmission<B>) -> Option<Result<(), SendFault>> {
        std::future::poll_fn(|cx| {
            if self.ticket.phase(cx) == Phase::Closing {
                return Poll::Ready(None);
            }
            if self.wire.poll_continue(cx).is_ready()
                && let Poll::Ready(sent) = sending.poll(&mut Bare(self.wire), cx)
            {
                return Poll::Ready(Some(sent));
            }
            if self.has_left(cx) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Answers what is no request with a status alone.
    async fn refuse(&mut self, status: StatusCode) -> After {
        let head = ResponseHead { status, ..ResponseHead::default() };
        let asked = Asked { method: Method::GET, version: Version::HTTP_11, keeps_alive: false };
        let (body, length) = (B::from(reply::Body::empty()), SizeHint::with_exact(0));
        let mut sending = begin(&head, body, &Outgoing::Nothing, &length, &asked, asked.keeps_alive);
        drop(self.wire.begin(crate::message::framing::Body::Nothing, false));
        match self.send(&mut sending).await {
            Some(Ok(())) => After::Lingering,
            Some(Err(_)) | None => After::Ended,
        }
    }

    /// Whether the client has left, as far as that can be known now; the task is woken when it may be.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wire.poll_gone(cx) {
            return true;
        }
        while let Some(due) = self.look_at.filter(|_| self.wire.is_held_back())
            && self.alarm.has_passed(due, cx)
        {
            if self.wire.is_read_closed() {
                return true;
            }
            self.look_at = Some(Instant::now() + LOOK_EVERY);
        }
        false
    }
}

/// A response on its way, with its head written.
fn begin<B: Body<Data = Bytes> + Unpin>(
    head: &ResponseHead,
    body: B,
    framing: &Outgoing,
    length: &SizeHint,
    asked: &Asked,
    keeps_alive: bool,
) -> Transmission<B> {
    let mut sending = Transmission::new();
    let date = date::value();
    let how = Written { method: &asked.method, version: asked.version, keeps_alive, date: date.as_bytes() };
    response::write(head, framing, length, how, sending.begin(body, framing.clone()));
    sending
}

/// Whether a response says that it is the last.
fn closes(head: &ResponseHead) -> bool {
    head.fields.get(CONNECTION).is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}
