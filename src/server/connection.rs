//! The life of one connection: its first byte, its protocol, its rest between requests, its end.

use std::{future::Future, io, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    Gate, Server, Settings,
    drain::{Phase, Place, Ticket},
    exchange::Exchanges,
    h1::{self, After, Bare, Wire},
    h2,
    spare::{Hand, Spares},
};
use crate::{
    listen::{Alarm, Connection, Rewind, Stream, Tunnel},
    message::{Inbox, Request, Response},
    reply,
};

/// What an HTTP/2 client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// After the last response, what the client still sends is read this long and this far, so that a reset does not
/// overtake the response (RFC 9112 §9.6).
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// How long a connection that was let in before the end may take to say what it wants. A browser's spare connection says
/// nothing, and is to hold up the end no longer.
const WELCOME: Duration = Duration::from_secs(1);

/// A connection that has been let in.
pub(super) struct Accepted {
    wire: Rc<Wire>,
    connection: Rc<Connection>,
    settings: Arc<Settings>,
    place: Place,
    ticket: Ticket,
}

impl Accepted {
    pub(super) fn new(
        stream: Stream,
        connection: Connection,
        settings: Arc<Settings>,
        place: Place,
        ticket: Ticket,
    ) -> Self {
        Self { wire: Wire::new(stream), connection: Rc::new(connection), settings, place, ticket }
    }
}

/// Serves connections that `hand` is given, one after another, each to its end.
pub(super) async fn serve_connections<G, S, F, B>(
    hand: Rc<Hand<Accepted>>,
    spares: Rc<Spares<Accepted>>,
    server: Rc<Server<G, S>>,
) where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    while let Some(accepted) = spares.next(&hand).await {
        serve_connection(accepted, Rc::clone(&server)).await;
    }
}

/// Serves one connection to its end.
async fn serve_connection<G, S, F, B>(accepted: Accepted, server: Rc<Server<G, S>>)
where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Accepted { wire, connection, settings, place, ticket } = accepted;
    let mut alarm = Alarm::new();
    if !is_asking(&wire, &ticket, &mut alarm, settings.first_byte_timeout).await {
        return;
    }
    let exchanges = Exchanges {
        peer: server.gate.peer(&connection),
        connection,
        is_standing: place.is_standing,
        settings: Arc::clone(&settings),
        server,
    };
    match is_h2(&wire, &ticket, &mut alarm, settings.header_timeout).await {
        Some(false) => {}
        Some(true) => {
            let Some((stream, inbox)) = Rc::into_inner(wire).map(Wire::into_parts) else { return };
            // Boxed, as all that comes below: a connection that rests is not to be as large as a busy one.
            return Box::pin(h2::serve(inbox.into_bytes(), stream, Rc::new(exchanges), &ticket, &mut alarm)).await;
        }
        None => return,
    }
    loop {
        let serving =
            h1::Serving { wire: &wire, exchanges: &exchanges, ticket: &ticket, alarm: &mut alarm, look_at: None };
        match Box::pin(serving.serve()).await {
            After::Idle => {}
            After::Upgraded(tunnel) => return Box::pin(join(&wire, tunnel, &ticket)).await,
            After::Lingering => return Box::pin(linger(&wire)).await,
            After::Ended => return,
        }
        if !asks_again(&wire, &ticket, &mut alarm, Instant::now() + settings.idle_timeout).await {
            return;
        }
    }
}

/// Waits for the first bytes of a new connection. Whoever has just been let in is asking: the end does not hang up on
/// them, but waits as long as a request takes to follow its connection.
async fn is_asking(wire: &Wire, ticket: &Ticket, alarm: &mut Alarm, patience: Duration) -> bool {
    let mut due = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(has_come) = wire.poll_first(cx) {
            return Poll::Ready(has_come);
        }
        let due = due.get_or_insert_with(|| Instant::now() + patience);
        match ticket.phase(cx) {
            Phase::Serving => {}
            Phase::Draining => *due = (*due).min(Instant::now() + WELCOME),
            Phase::Closing => return Poll::Ready(false),
        }
        if alarm.has_passed(*due, cx) { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

/// Waits for the first bytes after a response, which nobody has promised: the end does not wait for them, but whoever has
/// asked by then is answered.
async fn asks_again(wire: &Wire, ticket: &Ticket, alarm: &mut Alarm, due: Instant) -> bool {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(has_come) = wire.poll_first(cx) {
            return Poll::Ready(has_come);
        }
        if ticket.phase(cx) > Phase::Serving || alarm.has_passed(due, cx) {
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

/// Whether the client speaks HTTP/2 by prior knowledge. Reads as much as it takes, usually no more. `None` where it has
/// gone or takes too long.
async fn is_h2(wire: &Wire, ticket: &Ticket, alarm: &mut Alarm, patience: Duration) -> Option<bool> {
    if let Some(is_h2) = begins_h2(wire.inbox().bytes()) {
        return Some(is_h2);
    }
    let known = alarm.before(Instant::now() + patience, |cx| {
        loop {
            if ticket.phase(cx) == Phase::Closing {
                return Poll::Ready(None);
            }
            match wire.poll_read(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
            if let Some(is_h2) = begins_h2(wire.inbox().bytes()) {
                return Poll::Ready(Some(is_h2));
            }
        }
    });
    known.await.flatten()
}

/// Whether what begins with `first` is HTTP/2; `None` while it may be either.
fn begins_h2(first: &[u8]) -> Option<bool> {
    let compared = first.len().min(PREFACE.len());
    if first[..compared] != PREFACE[..compared] {
        return Some(false);
    }
    (compared == PREFACE.len()).then_some(true)
}

/// Joins the client's connection to the one that it leads to.
async fn join(wire: &Wire, tunnel: Tunnel, ticket: &Ticket) {
    let Some(mut far) = tunnel.take() else { return };
    let first = std::mem::replace(&mut *wire.inbox(), Inbox::new()).into_bytes();
    let mut near = Rewind::new(first, Bare(wire));
    let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
    // No timeout: TCP's keepalive finds the dead.
    drop(ticket.until_closing(copy).await);
}

/// Reads on for a moment after the last response. A client that sends more than is read finds its way blocked, and the
/// response before it: the connection stays open for the rest of the moment, since closing it would reset it.
async fn linger(wire: &Wire) {
    let (patience, limit) = LINGER;
    let drained = async {
        let mut stream = Bare(wire);
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(limit as u64);
        let length = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        if length == limit as u64 {
            std::future::pending::<()>().await;
        }
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection ends now.
    drop(timeout(patience, drained).await);
}
