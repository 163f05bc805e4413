//! The guard, as the gate of a server.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, request};

use super::{Denied, Gate};
use crate::{
    clock::SharedClock,
    guard::{self, Admitted, Cors, Guard, Limiter, Refused, Verdict, peer::Resolver},
    listen::{Connection, Local, Peer},
    reply,
};

/// A guard that can be replaced at a reload, with what one worker needs to know who connects.
#[derive(Debug)]
pub struct Guarded {
    guard: Arc<ArcSwap<Guard>>,
    resolver: Resolver,
    limiter: Arc<Limiter>,
    clock: SharedClock,
}

impl Guarded {
    /// One worker's gate. The guard and the limiter of its log lines are shared by all workers.
    #[must_use]
    pub fn new(guard: Arc<ArcSwap<Guard>>, limiter: Arc<Limiter>, clock: SharedClock) -> Self {
        Self { guard, resolver: Resolver::new(), limiter, clock }
    }
}

impl Gate for Guarded {
    type Peer = guard::Connection;
    type Grant = Option<Cors>;

    fn peer(&self, connection: &Connection) -> guard::Connection {
        let (local, peer) = match (&connection.local, connection.peer) {
            (Local::Tcp(local), Peer::Tcp(peer)) => (guard::Local::Tcp(*local), self.resolver.tcp(*local, peer)),
            (_, Peer::Unix { uid, .. }) => (guard::Local::Unix, guard::Peer::Uid(uid)),
            (Local::Unix(_), Peer::Tcp(_)) => (guard::Local::Unix, guard::Peer::Unknown),
        };
        guard::Connection { local, peer }
    }

    fn check(
        &self,
        head: &request::Parts,
        _: &Connection,
        connection: &guard::Connection,
    ) -> Result<Option<Cors>, Box<Denied<Option<Cors>>>> {
        match self.guard.load().check(connection, head) {
            Verdict::Admitted(Admitted { cors }) => Ok(cors),
            Verdict::Preflight(answer) => Err(Box::new(Denied::Answered(answer.map(|()| reply::Body::empty())))),
            Verdict::Refused(Refused { refusal, cors }) => {
                if let Some(suppressed) = self.limiter.admit(refusal.code, self.clock.now().boot) {
                    tracing::warn!(
                        code = refusal.code.as_str(),
                        peer = %connection.peer,
                        detail = %refusal.detail,
                        fix = %refusal.fix,
                        suppressed,
                        "request refused"
                    );
                }
                Err(Box::new(Denied::Refused { refusal, grant: Some(cors) }))
            }
        }
    }

    fn decorate(&self, grant: &Option<Cors>, headers: &mut HeaderMap) {
        if let Some(cors) = grant {
            cors.apply(headers);
        }
    }
}
