//! The guard at the door of `server`: what the two rooms say to each other, in each other's words.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    clock::SharedClock,
    config::Config,
    guard::{
        Cors, Guard, HostPattern, Limiter, Local, Observer, Peer, Post, Refusals, Users, UsersError, Verdict, peer,
    },
    listen::{self, Bound, Endpoint},
    message::{Fields, RequestHead},
    metrics::Shard,
    reply::{self, Code},
    server::{Denied, Gate},
};

/// A guard that stands at one worker's, or the admin listener's, door.
#[derive(Debug)]
pub(super) struct GuardGate {
    guard: Arc<ArcSwap<Guard>>,
    peers: peer::Resolver,
    refusals: Refusals<Counted>,
    clock: SharedClock,
}

/// Counts refusals among the figures of whoever serves, who leaves it to the gate.
pub(super) struct Counted(Arc<Shard>);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Observer for Counted {
    fn refused(&self, code: Code) {
        self.0.refused(code);
    }
}

impl GuardGate {
    /// A gate that `guard` stands at; what it refuses is counted in `figures`, and logged as often as `limiter` admits.
    pub(super) fn new(
        guard: Arc<ArcSwap<Guard>>,
        clock: SharedClock,
        figures: Arc<Shard>,
        limiter: Arc<Limiter>,
    ) -> Self {
        Self { guard, peers: peer::Resolver::new(), refusals: Refusals::new(limiter, Counted(figures)), clock }
    }
}

impl Gate for GuardGate {
    type Peer = Peer;
    type Grant = Option<Cors>;

    fn peer(&self, connection: &listen::Connection) -> Peer {
        match (&connection.local, connection.peer) {
            (listen::Local::Tcp(local), listen::Peer::Tcp(peer)) => self.peers.tcp(*local, peer),
            (_, listen::Peer::Unix { uid, .. }) => Peer::Uid(uid),
            (listen::Local::Unix(_), listen::Peer::Tcp(_)) => Peer::Unknown,
        }
    }

    fn check(
        &self,
        head: &RequestHead,
        connection: &listen::Connection,
        peer: &Peer,
    ) -> Result<Option<Cors>, Box<Denied<Option<Cors>>>> {
        let local = match &connection.local {
            listen::Local::Tcp(address) => Local::Tcp(*address),
            listen::Local::Unix(_) => Local::Unix,
        };
        match self.guard.load().check(&crate::guard::Connection { local, peer: *peer }, head) {
            Verdict::Admitted(admitted) => Ok(admitted.cors),
            Verdict::Preflight(answer) => Err(Box::new(Denied::Answered(answer.map(|()| reply::Body::empty())))),
            Verdict::Refused(refused) => {
                self.refusals.note(&refused.refusal, *peer, self.clock.now().boot);
                Err(Box::new(Denied::Refused { refusal: refused.refusal, grant: Some(refused.cors) }))
            }
        }
    }

    fn decorate(&self, grant: &Option<Cors>, fields: &mut Fields) {
        match grant {
            Some(cors) => cors.apply(fields),
            None => self.guard.load().seal(fields),
        }
    }
}

/// The names by which this process is reached: they stay when the rest of the guard is replaced.
#[derive(Clone, Debug)]
pub(super) struct Names {
    proxy: Vec<HostPattern>,
    admin: Vec<HostPattern>,
}

impl Names {
    pub(super) fn of(bound: &Bound) -> Self {
        Self { proxy: own(&bound.proxy), admin: own(&bound.admin) }
    }

    /// The guards of the proxy's listeners and of the admin listener, as `config` wants them.
    pub(super) fn guards(&self, config: &Config) -> Result<Guards, UsersError> {
        let users = Users::resolve(&config.guard.users)?;
        let guard = |post, own: &[HostPattern]| Guard::new(post, &config.guard, users.clone(), own.to_vec());
        Ok(Guards {
            proxy: guard(Post::Proxy, &self.proxy),
            admin: guard(Post::Admin, &self.admin),
            announcements: users.announcements().to_vec(),
        })
    }
}

/// Both guards, and what a person should know about them.
pub(super) struct Guards {
    pub(super) proxy: Guard,
    pub(super) admin: Guard,
    pub(super) announcements: Vec<String>,
}

fn own(endpoints: &[Endpoint]) -> Vec<HostPattern> {
    let addresses = endpoints.iter().filter_map(|endpoint| match endpoint.local() {
        listen::Local::Tcp(address) => Some(*address),
        listen::Local::Unix(_) => None,
    });
    addresses.filter_map(|address| HostPattern::of_listener(&address.ip().to_string(), address.port())).collect()
}
