//! An upstream that says what it received: HTTP/1.1 and h2c on one port.
//!
//! It answers with JSON that shows each token as its claims and never as itself, and records for tests every request as
//! it came off the wire. It checks each token against a pool, by the pool's clock: whether a token had expired when it
//! arrived is what a proxy of tokens is judged by.
//!
//! How it answers can be chosen by path, for a person with `curl`, or by command, for a test: [`Behaviour`].

mod bearer;
mod behaviour;
mod log;
mod redact;
mod reply;
mod serve;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

pub use behaviour::Behaviour;
pub use log::{Bearer, BodyEnd, EchoLog, EchoRequest, Verdict};

use super::{DevPool, StartError, listener, tasks::TaskGroup};

/// How an echo upstream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoSettings {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many requests the log remembers whole, the latest ones. All are counted.
    pub remembered_requests: usize,
}

impl Default for EchoSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), remembered_requests: 4096 }
    }
}

/// A running echo upstream. Dropping it ends its tasks and closes its connections.
#[derive(Debug)]
pub struct Echo {
    core: Arc<serve::Core>,
    tasks: TaskGroup,
    address: SocketAddr,
}

/// While it exists, requests are read and recorded, and none is answered.
#[derive(Debug)]
pub struct HeldReplies(Arc<serve::Core>);

impl Drop for HeldReplies {
    fn drop(&mut self) {
        self.0.gate.send_modify(|holders| *holders = holders.saturating_sub(1));
    }
}

impl Echo {
    /// Starts an upstream on the current runtime that checks tokens against `pool`.
    pub async fn start(settings: EchoSettings, pool: &DevPool) -> Result<Self, StartError> {
        let listen = settings.listen;
        let bound = listener::bind(listen).await.map_err(|source| StartError::Bind { address: listen, source });
        let (socket, address) = bound?;
        let tasks = TaskGroup::new();
        let core = Arc::new(serve::Core::new(settings.remembered_requests, Arc::clone(pool.shared()), tasks.tasks()));
        let serving = Arc::clone(&core);
        let serve = move |stream, switch| serve::connection(Arc::clone(&serving), stream, switch);
        tasks.tasks().spawn(listener::accept(socket, tasks.tasks(), serve));
        Ok(Self { core, tasks, address })
    }

    /// Stops, and returns once its port is free.
    pub async fn stop(self) {
        self.tasks.stop().await;
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has arrived so far.
    #[must_use]
    pub fn log(&self) -> EchoLog {
        self.core.log.borrow().clone()
    }

    /// Looks at the log without copying it.
    pub fn with_log<T>(&self, look: impl FnOnce(&EchoLog) -> T) -> T {
        look(&self.core.log.borrow())
    }

    /// Waits until the log is like that, and returns it. The condition is checked at every request and at every piece
    /// of a body.
    pub async fn wait_for(&self, mut is_met: impl FnMut(&EchoLog) -> bool) -> EchoLog {
        let mut changes = self.core.log.subscribe();
        match changes.wait_for(|log| is_met(log)).await {
            Ok(log) => log.clone(),
            // The sending end is `self.core`, which is there.
            Err(_) => self.log(),
        }
    }

    /// Forgets what has arrived, counters and seen tokens included.
    pub fn clear_log(&self) {
        self.core.log.send_modify(EchoLog::clear);
    }

    /// The next `requests` requests are treated like this, whatever their path, after those that were told before.
    pub fn behave_next(&self, requests: usize, behaviour: &Behaviour) {
        self.core.commands().next.extend(std::iter::repeat_n(behaviour.clone(), requests));
    }

    /// Every request is treated like this, whatever its path, until [`behave_normally`](Self::behave_normally).
    pub fn behave_always(&self, behaviour: Behaviour) {
        self.core.commands().always = Some(behaviour);
    }

    /// Back to what each path says; refused tokens are accepted again.
    pub fn behave_normally(&self) {
        *self.core.commands() = serve::Commands::default();
    }

    /// Answers 401 to every token that has been seen up to now, whatever the path, until another one comes.
    pub fn refuse_seen_tokens(&self) {
        let seen = self.with_log(|log| log.distinct_tokens().clone());
        self.core.commands().refused.extend(seen);
    }

    /// Answers 401 to the token of this `jti`.
    pub fn refuse_token(&self, jti: &str) {
        self.core.commands().refused.insert(jti.to_owned());
    }

    /// Holds every reply back while the returned value exists. Bodies are read and recorded meanwhile.
    #[must_use]
    pub fn hold_replies(&self) -> HeldReplies {
        self.core.gate.send_modify(|holders| *holders += 1);
        HeldReplies(Arc::clone(&self.core))
    }

    /// Sends an event on every open `/events` stream, and says how many those are.
    pub fn push_event(&self, text: &str) -> usize {
        self.core.events.send(text.to_owned()).unwrap_or(0)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        *self.core.connections.borrow()
    }

    /// Waits until so many connections are open.
    pub async fn wait_for_connections(&self, is_met: impl FnMut(&usize) -> bool) {
        // The sending end is `self.core`, which is there.
        drop(self.core.connections.subscribe().wait_for(is_met).await);
    }
}
