//! The life of one connection: its first byte, its protocol, its rest between requests, its end.

use std::{future::Future, io, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    Gate, Server, Settings,
    alarm::Alarm,
    drain::{Live, Phase, Place, Ticket},
    exchange::Exchanges,
    h1::{self, After, Bare, Wire, poll_first},
    h2,
};
use crate::{
    listen::{Connection, Rewind, Stream, Tunnel},
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

/// Serves one connection to its end.
pub(super) async fn serve_connection<G, S, F, B>(
    stream: Stream,
    connection: Connection,
    server: Rc<Server<G, S>>,
    settings: Arc<Settings>,
    live: Rc<Live>,
    place: Place,
) where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ticket = live.enter();
    let accepted = Instant::now();
    let mut alarm = Alarm::at(accepted + settings.first_byte_timeout);
    let (mut stream, mut inbox) = (stream, Inbox::new());
    if !is_asking(&mut stream, &mut inbox, &ticket, &mut alarm, accepted + settings.first_byte_timeout).await {
        return;
    }
    let exchanges = Exchanges {
        peer: server.gate.peer(&connection),
        connection: Rc::new(connection),
        is_standing: place.is_standing,
        settings: Arc::clone(&settings),
        server,
    };
    let began = Instant::now();
    match is_h2(&mut stream, &mut inbox, &ticket, &mut alarm, began + settings.header_timeout).await {
        Some(false) => {}
        Some(true) => {
            // Boxed, as all that comes below: a connection that rests is not to be as large as a busy one.
            return Box::pin(h2::serve(inbox.into_bytes(), stream, Rc::new(exchanges), &ticket, &mut alarm)).await;
        }
        None => return,
    }
    let wire = Wire::new(stream, inbox);
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
async fn is_asking(stream: &mut Stream, inbox: &mut Inbox, ticket: &Ticket, alarm: &mut Alarm, due: Instant) -> bool {
    let mut due = due;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(has_come) = poll_first(stream, inbox, cx) {
            return Poll::Ready(has_come);
        }
        match ticket.phase(cx) {
            Phase::Serving => {}
            Phase::Draining => due = due.min(Instant::now() + WELCOME),
            Phase::Closing => return Poll::Ready(false),
        }
        if alarm.has_passed(due, cx) { Poll::Ready(false) } else { Poll::Pending }
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

/// Whether the client speaks HTTP/2 by prior knowledge. Reads as much as it takes, usually once. `None` where it has gone
/// or takes too long.
async fn is_h2(
    stream: &mut Stream,
    inbox: &mut Inbox,
    ticket: &Ticket,
    alarm: &mut Alarm,
    due: Instant,
) -> Option<bool> {
    let known = alarm.before(due, |cx| {
        loop {
            if ticket.phase(cx) == Phase::Closing {
                return Poll::Ready(None);
            }
            let first = inbox.bytes();
            let compared = first.len().min(PREFACE.len());
            if compared > 0 && (first[..compared] != PREFACE[..compared] || compared == PREFACE.len()) {
                return Poll::Ready(Some(compared == PREFACE.len() && first[..compared] == PREFACE[..compared]));
            }
            match inbox.poll_read(stream, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    known.await.flatten()
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
