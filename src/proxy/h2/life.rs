//! Whether an upstream still lives: TCP's own probes do not see a process that hangs.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep_until, timeout},
};

use super::{Load, Wire};

/// A connection that carries streams is asked for a sign of life when it has been silent this long, and given up when
/// none comes in that time again.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks after a connection while it carries streams.
pub(super) struct Life {
    heard: Rc<Cell<Instant>>,
    ping: Rc<RefCell<Option<PingPong>>>,
    /// Not to be kept: what it holds keeps the connection.
    load: Weak<Load>,
    /// What ends when the connection is given up.
    driver: AbortHandle,
    watch: RefCell<Option<JoinHandle<()>>>,
}

/// A connection that keeps in mind when something came on it.
pub(super) struct Heard {
    wire: Wire,
    last: Rc<Cell<Instant>>,
}

impl Life {
    pub(super) fn new(heard: Rc<Cell<Instant>>, ping: Option<PingPong>, load: Weak<Load>, driver: AbortHandle) -> Self {
        Self { heard, ping: Rc::new(RefCell::new(ping)), load, driver, watch: RefCell::default() }
    }

    /// A stream was opened. Starts the task that looks after them, unless it runs. It ends some time after the last of
    /// them, so that a quiet proxy is not woken.
    pub(super) fn watch(&self) {
        let mut watch = self.watch.borrow_mut();
        if watch.as_ref().is_some_and(|watch| !watch.is_finished()) {
            return;
        }
        let Some(ping) = self.ping.take() else { return };
        let (heard, load, driver) = (Rc::clone(&self.heard), Weak::clone(&self.load), self.driver.clone());
        let kept = Rc::clone(&self.ping);
        let since = Instant::now();
        *watch = Some(tokio::task::spawn_local(async move {
            let mut ping = ping;
            if !lives_on(&heard, since, &load, &mut ping).await {
                tracing::debug!("an HTTP/2 connection to the upstream gives no sign of life");
                if let Some(load) = load.upgrade() {
                    load.is_retired.set(true);
                }
                driver.abort();
            }
            kept.replace(Some(ping));
        }));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().take()
            && carries_nothing(&self.load)
        {
            watch.abort();
        }
    }
}

/// Waits until the connection carries nothing, or is dead: then `false`. Before `since` it may have been silent.
async fn lives_on(heard: &Cell<Instant>, since: Instant, load: &Weak<Load>, ping: &mut PingPong) -> bool {
    loop {
        let due = heard.get().max(since) + PATIENCE;
        if Instant::now() < due {
            sleep_until(due).await;
        }
        if carries_nothing(load) {
            return true;
        }
        let asked = Instant::now();
        if heard.get().max(since) + PATIENCE > asked {
            continue;
        }
        match timeout(PATIENCE, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => continue,
            // The connection has ended, or an earlier ping still waits for its answer.
            Ok(Err(_)) => sleep_until(asked + PATIENCE).await,
            Err(_) => {}
        }
        if heard.get() <= asked {
            return false;
        }
    }
}

fn carries_nothing(load: &Weak<Load>) -> bool {
    load.upgrade().is_none_or(|load| load.streams.get() == 0)
}

impl Heard {
    pub(super) const fn new(wire: Wire, last: Rc<Cell<Instant>>) -> Self {
        Self { wire, last }
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.wire).poll_read(cx, buf);
        if read.is_ready() {
            self.last.set(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
