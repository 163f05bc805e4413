//! The life of one connection: its first byte, its protocol, its timers, its end.

use std::{convert::Infallible, future::Future, io, pin::Pin, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    Gate, Server, Settings,
    drain::{Live, Phase, Place, Ticket},
    exchange::Exchanges,
    pulse::{Doing, Pulse},
    wire::{Wire, into_stream},
};
use crate::{
    listen::{Connection, Rewind, Stream},
    reply,
};

/// What an HTTP/2 client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read to learn the protocol: most heads fit, so that hyper's own first read finds the rest only.
const FIRST_READ: usize = 4 * 1024;

/// After the last response, what the client still sends is read this long and this far, so that a reset does not
/// overtake the response (RFC 9112 §9.6).
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// How long a connection that was let in before the end may take to say what it wants. A browser's spare connection says
/// nothing, and is to hold up the end no longer.
const WELCOME: Duration = Duration::from_secs(1);

/// HTTP/2: as many streams at once, and so much of each may lie here unread.
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 64 * 1024;

/// What became of a connection when hyper was done with it.
enum After {
    /// Nobody has said anything for a while: only the socket is kept.
    Parked { stream: Stream, since: Instant },
    /// It stopped being HTTP.
    Upgraded { first: Bytes, stream: Stream },
    /// The last response is out, and the client may still be sending.
    Lingering { stream: Stream },
    /// It is over.
    Ended,
}

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
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ticket = live.enter();
    let mut stream = stream;
    let Some(mut first) = read_request(&mut stream, &ticket, settings.first_byte_timeout).await else { return };
    let pulse = Pulse::new();
    let exchanges = Rc::new(Exchanges {
        peer: server.gate.peer(&connection),
        connection: Rc::new(connection),
        is_standing: place.is_standing,
        pulse: Rc::clone(&pulse),
        settings: Arc::clone(&settings),
        server,
    });
    loop {
        pulse.read();
        let is_h2 = {
            let detected = ticket.before(Phase::Closing, is_h2(&mut stream, &mut first));
            match timeout(settings.header_timeout, detected).await {
                Ok(Some(Some(is_h2))) => is_h2,
                _ => return,
            }
        };
        let wire = TokioIo::new(Wire::new(first.freeze(), stream, Rc::clone(&pulse)));
        let after = if is_h2 {
            // Boxed, as below: a parked connection is not to be as large as a busy one.
            Box::pin(serve_h2(wire, &exchanges, &ticket)).await;
            After::Ended
        } else {
            Box::pin(serve_h1(wire, &exchanges, &ticket)).await
        };
        match after {
            After::Parked { stream: mut parked, since } => {
                let patience = settings.idle_timeout.saturating_sub(since.elapsed());
                let Some(bytes) = read_next(&mut parked, &ticket, patience).await else { return };
                (stream, first) = (parked, bytes);
            }
            After::Upgraded { first, stream } => {
                let tunnel = pulse.tunnel.take().and_then(|tunnel| tunnel.take());
                if let Some(mut far) = tunnel {
                    let mut near = Rewind::new(first, stream);
                    let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
                    // No timeout: TCP's keepalive finds the dead.
                    drop(ticket.before(Phase::Closing, copy).await);
                }
                return;
            }
            After::Lingering { stream } => return linger(stream).await,
            After::Ended => return,
        }
    }
}

/// The first bytes of a new connection. Whoever has just been let in is asking: the end does not hang up on them, but
/// waits as long as a request takes to follow its connection.
async fn read_request(stream: &mut Stream, ticket: &Ticket, patience: Duration) -> Option<BytesMut> {
    match timeout(patience, ticket.before(Phase::Draining, read_first(stream))).await.ok()? {
        Some(first) => first,
        None => timeout(patience.min(WELCOME), ticket.before(Phase::Closing, read_first(stream))).await.ok()??,
    }
}

/// The first bytes after a response, which nobody has promised: the end does not wait for them.
async fn read_next(stream: &mut Stream, ticket: &Ticket, patience: Duration) -> Option<BytesMut> {
    timeout(patience, ticket.before(Phase::Draining, read_first(stream))).await.ok()??
}

/// The next bytes, or `None` where there are none: the client is gone. No buffer is held while nothing comes.
async fn read_first(stream: &mut Stream) -> Option<BytesMut> {
    loop {
        stream.readable().await.ok()?;
        let mut first = BytesMut::with_capacity(FIRST_READ);
        // Polled, and not tried: a read that finds less than it has room for then knows that there is no more.
        match stream.read_buf(&mut first).now_or_never() {
            Some(Ok(0) | Err(_)) => return None,
            Some(Ok(_)) => return Some(first),
            // Readiness is a hint.
            None => {}
        }
    }
}

/// Whether the client speaks HTTP/2 by prior knowledge. Reads as much as it takes, usually once. `None` where the
/// client has gone.
async fn is_h2(stream: &mut Stream, first: &mut BytesMut) -> Option<bool> {
    loop {
        let compared = first.len().min(PREFACE.len());
        if first[..compared] != PREFACE[..compared] {
            return Some(false);
        }
        if compared == PREFACE.len() {
            return Some(true);
        }
        if stream.read_buf(first).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve_h1<G, S, F, B>(wire: TokioIo<Wire>, exchanges: &Rc<Exchanges<G, S>>, ticket: &Ticket) -> After
where
    G: Gate,
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (pulse, settings) = (&exchanges.pulse, &exchanges.settings);
    let service = service_fn(|request| {
        let exchanges = Rc::clone(exchanges);
        async move { Ok::<_, Infallible>(exchanges.answer(request).await) }
    });
    // Timers are ours: hyper's header timeout would also count while a connection is idle. The date is hyper's, where a
    // response has none (RFC 9110 §6.6.1): it looks at its clock in any case.
    let shared = wire.inner().shared();
    let mut http = conn::http1::Builder::new().serve_connection(wire, service);
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + settings.header_timeout));
    let mut is_told = false;
    let ended = std::future::poll_fn(|cx| {
        let phase = ticket.phase(cx);
        if phase == Phase::Closing {
            return Poll::Ready(Ended::Cut);
        }
        if let Poll::Ready(result) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(Ended::Done(result));
        }
        // Only once it has looked at the request that is there: before, it would end without an answer.
        if phase == Phase::Draining && !is_told {
            is_told = true;
            Pin::new(&mut http).graceful_shutdown();
            if let Poll::Ready(result) = Pin::new(&mut http).poll(cx) {
                return Poll::Ready(Ended::Done(result));
            }
        }
        loop {
            return match expired(pulse, settings, &mut timer, cx) {
                Some(Doing::Idle(since)) if pulse.is_flushed.get() => Poll::Ready(Ended::Idle(since)),
                Some(Doing::Busy) if !shared.borrow().inner().is_read_closed() => {
                    pulse.looked();
                    continue;
                }
                Some(_) => Poll::Ready(Ended::Cut),
                None => Poll::Pending,
            };
        }
    })
    .await;
    match ended {
        Ended::Cut => {
            if pulse.is_open_ended() {
                shared.borrow().inner().reset_when_dropped();
            }
            After::Ended
        }
        Ended::Idle(since) => {
            drop(http);
            into_stream(shared).map_or(After::Ended, |stream| After::Parked { stream, since })
        }
        Ended::Done(result) => {
            let fault_is_ours = result.as_ref().is_err_and(|error| !error.is_parse());
            let first = http.into_parts().read_buf;
            let Some(stream) = into_stream(shared) else { return After::Ended };
            if fault_is_ours && pulse.is_open_ended() {
                stream.reset_when_dropped();
            }
            if pulse.tunnel.borrow().is_some() {
                After::Upgraded { first, stream }
            } else if fault_is_ours || pulse.is_closed.get() || !(pulse.had_body.get() || result.is_err()) {
                After::Ended
            } else {
                After::Lingering { stream }
            }
        }
    }
}

/// Why hyper no longer has an HTTP/1 connection.
enum Ended {
    /// It is done, or failed.
    Done(hyper::Result<()>),
    /// Nothing has been said since then.
    Idle(Instant),
    /// Time is up.
    Cut,
}

async fn serve_h2<G, S, F, B>(wire: TokioIo<Wire>, exchanges: &Rc<Exchanges<G, S>>, ticket: &Ticket)
where
    G: Gate,
    S: Fn(Request<Incoming>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (pulse, settings) = (&exchanges.pulse, &exchanges.settings);
    let shared = Rc::clone(exchanges);
    let service = service_fn(move |request| {
        let exchanges = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(exchanges.answer(request).await) }
    });
    let mut http = conn::http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        // One stream that is not read must not stall the others.
        .initial_connection_window_size(STREAMS * STREAM_WINDOW)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .serve_connection(wire, service);
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + settings.header_timeout));
    let mut is_told = false;
    std::future::poll_fn(|cx| {
        let phase = ticket.phase(cx);
        if phase == Phase::Closing {
            return Poll::Ready(());
        }
        let quiet = expired_h2(pulse, settings, &mut timer, cx);
        if quiet && is_told {
            return Poll::Ready(());
        }
        if (quiet || phase == Phase::Draining) && !is_told {
            is_told = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        Pin::new(&mut http).poll(cx).map(drop)
    })
    .await;
}

/// What the connection was doing when its time ran out. The timer is moved as seldom as can be: an armed one that
/// fires too early is looked at then.
fn expired(
    pulse: &Pulse,
    settings: &Settings,
    timer: &mut Pin<&mut Sleep>,
    cx: &mut std::task::Context<'_>,
) -> Option<Doing> {
    let mut due = pulse.due(settings)?;
    if due < timer.deadline() {
        timer.as_mut().reset(due);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if due <= Instant::now() {
            return Some(pulse.doing());
        }
        timer.as_mut().reset(due);
        due = pulse.due(settings)?;
    }
    None
}

/// Whether an HTTP/2 connection has had no stream for `idle_timeout`. hyper cuts off slow heads by itself.
fn expired_h2(
    pulse: &Pulse,
    settings: &Settings,
    timer: &mut Pin<&mut Sleep>,
    cx: &mut std::task::Context<'_>,
) -> bool {
    let due = match pulse.doing() {
        Doing::Busy => None,
        Doing::Idle(since) | Doing::Head(since) => Some(since + settings.idle_timeout),
    };
    while timer.as_mut().poll(cx).is_ready() {
        match due {
            Some(due) if due <= Instant::now() => {
                timer.as_mut().reset(Instant::now() + LINGER.0);
                let _ = timer.as_mut().poll(cx);
                return true;
            }
            due => timer.as_mut().reset(due.unwrap_or_else(|| Instant::now() + settings.idle_timeout)),
        }
    }
    false
}

/// Reads on for a moment after the last response. A client that sends more than is read finds its way blocked, and the
/// response before it: the connection stays open for the rest of the moment, since closing it would reset it.
async fn linger(mut stream: Stream) {
    let (patience, limit) = LINGER;
    let drained = async {
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

/// Runs hyper's stream tasks on this worker's own thread. They end with their connection.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
