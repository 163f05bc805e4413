//! What the limit of open files leaves for whom: clients must not take the descriptors that a refresh needs.
//!
//! Everything is counted: what stands for as long as the process runs, what a refresh takes while it lasts, and then
//! clients, with the connection to an upstream that each may need. Where little is left, there are fewer worker threads,
//! each of which costs a runtime; and none at all, where the control thread must serve.
//!
//! Memory is shared out with them, where it is bounded: what clients make this process hold is at most half of it.

use std::thread;

use rustix::process::{Resource, getrlimit};

use super::memory;
use crate::{
    config::Config,
    listen::{Bound, Seats},
    proxy, server,
};

/// Beyond this many workers the control thread and the upstream are what a machine has too little of.
const MOST_BY_DEFAULT: usize = 4;

/// What stands whoever is served: standard streams 3, the runtime of the control thread 4, the pipe that signals come
/// through 2, the profile's lock 1, the control socket 1, the directories that are watched 2, the refresher's timer 1.
const PROCESS: usize = 14;

/// A runtime: its `epoll(7)` twice, what wakes it, and its end of the pipe of signals.
const RUNTIME: usize = 4;

/// What whoever serves asks the kernel for peers through.
const PEERS: usize = 1;

/// An address: its lock, or the socket that its listeners are duplicates of; and its listener in whoever serves it.
const ADDRESS: usize = 1;
const LISTENER: usize = 1;

/// What a refresh takes at once, at most: the store's lock, two connections or the resolver's two sockets, a file and
/// its directory, and word of the network. At limits that allow it, more than that: hooks, the desktop's bus and
/// commands are not to fail either.
const RESERVE: (usize, usize) = (6, 32);

/// Connections to the admin pages that there is always room for, one that watches and one that asks, and at most.
const PAGES: (usize, usize) = (2, 256);

/// What a connection may hold beside a head on its way in and what it is read into, in bytes.
const BESIDE_A_HEAD: usize = 16 * 1024;

/// A worker thread is worth its descriptors where so many clients have room beside it.
const FEWEST: usize = 8;

/// Who may have how many descriptors.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Worker threads; with none, the control thread serves.
    pub(super) threads: usize,
    /// What is accepted at a time at the proxy's addresses.
    pub(super) clients: Seats,
    /// The same at the admin address.
    pub(super) pages: Seats,
    share: Share,
    /// How many bytes of memory this process may have.
    memory: Option<u64>,
}

/// The same in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    threads: usize,
    /// Clients that are served.
    clients: usize,
    /// Clients that are told that there is no room.
    standing: usize,
    pages: usize,
    /// Connections to upstreams, of all workers together.
    upstream: usize,
}

impl Budget {
    /// For this process, which serves `bound`.
    pub(super) fn new(config: &Config, bound: &Bound) -> Self {
        let wanted = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from).min(MOST_BY_DEFAULT),
            workers => workers,
        };
        let limit = getrlimit(Resource::Nofile).current;
        let share = Share::of(limit, wanted, bound.proxy.len(), bound.admin.len());
        if share.threads < wanted {
            tracing::warn!(
                workers = share.threads,
                fix = FIX,
                "too few descriptors for every worker to have its thread{}",
                if share.threads == 0 { ": the control thread serves" } else { "" }
            );
        }
        Self {
            threads: share.threads,
            // Not of memory: whoever has no room for that reason is told so, or closed, at once.
            clients: Seats::new(share.clients.saturating_add(share.standing)),
            pages: Seats::new(share.pages),
            share,
            memory: memory::bound(),
        }
    }

    /// `settings` with no more connections than there are descriptors and memory for.
    pub(super) fn limits(&self, settings: &server::Settings) -> server::Settings {
        let mut max_connections = settings.max_connections;
        if self.share.clients < max_connections {
            max_connections = self.share.clients;
            let what = "limits.max_connections is more than this process has descriptors for";
            tracing::warn!(max_connections, fix = FIX, "{what}");
        }
        let memory = within(self.memory, settings.max_header_bytes);
        // Some are for those who are told that there is no room.
        let memory = memory - (memory / 8).min(server::STANDING);
        if memory < max_connections {
            max_connections = memory;
            // No warning: the units that come with this program have a bound, and it is enough for most.
            let fix = "raise the bound of its memory (MemoryMax=), or lower limits.max_header_bytes";
            tracing::info!(max_connections, fix, "limits.max_connections is more than this process has memory for");
        }
        server::Settings { max_connections, ..settings.clone() }
    }

    /// `settings` with no more connections to each upstream, of each worker, than there are descriptors for.
    pub(super) fn upstreams(&self, settings: &proxy::Settings) -> proxy::Settings {
        let mut settings = settings.clone();
        let pools = (settings.routes.len() + 1).saturating_mul(self.share.threads.max(1));
        let most = (self.share.upstream / pools).max(1);
        let routes = settings.routes.iter_mut().chain([&mut settings.default_route]);
        for upstream in routes.map(|route| &mut route.upstream) {
            upstream.max_connections = upstream.max_connections.min(most);
        }
        settings
    }
}

/// How the limit is raised.
const FIX: &str = "raise the limit of open files (LimitNOFILE=, ulimit -n)";

impl Share {
    /// Of `limit`, where `None` is no limit, with as many of the `wanted` threads as leave room for clients.
    fn of(limit: Option<u64>, wanted: usize, proxies: usize, admins: usize) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let reserve = (limit / 8).clamp(RESERVE.0, RESERVE.1);
        let share = |threads: usize| {
            let left = limit.saturating_sub(standing(threads, proxies, admins)).saturating_sub(reserve);
            let pages = (left / 8).clamp(PAGES.0, PAGES.1);
            let standing = (left / 8).min(server::STANDING);
            // Each may need a connection to an upstream.
            let clients = left.saturating_sub(pages).saturating_sub(standing) / 2;
            // Of a limit that is below all use, whatever there is.
            let clients = clients.max(1);
            Self { threads, clients, standing, pages, upstream: clients }
        };
        let roomy = (1..=wanted).rev().map(share).find(|share| share.clients >= FEWEST);
        roomy.unwrap_or_else(|| share(0))
    }
}

/// How many connections may bring heads of at most `head` bytes at a time, and take half of `memory`, in bytes.
fn within(memory: Option<u64>, head: usize) -> usize {
    let Some(memory) = memory else { return usize::MAX };
    let each = head.saturating_mul(2).saturating_add(BESIDE_A_HEAD);
    (usize::try_from(memory / 2).unwrap_or(usize::MAX) / each).max(1)
}

/// What is open while nobody is served.
fn standing(threads: usize, proxies: usize, admins: usize) -> usize {
    let serving = threads.max(1);
    let pages = if admins > 0 { admins * (ADDRESS + LISTENER) + PEERS } else { 0 };
    PROCESS + threads * RUNTIME + serving * PEERS + proxies * (ADDRESS + serving * LISTENER) + pages
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Share {
        /// The most that can be open.
        fn most(self, proxies: usize, admins: usize) -> usize {
            standing(self.threads, proxies, admins) + self.clients + self.standing + self.upstream + self.pages
        }
    }

    #[test]
    fn whatever_clients_do_a_refresh_has_its_descriptors() {
        for limit in (32..300).chain([1024, 4096, 65_536]) {
            for (wanted, proxies, admins) in [(1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 1, 0), (16, 4, 2)] {
                let share = Share::of(Some(limit as u64), wanted, proxies, admins);
                if share.clients > 1 || limit > 64 {
                    let most = share.most(proxies, admins) + RESERVE.0;
                    assert!(most <= limit, "{limit} {wanted} {proxies} {admins}: {most} {share:?}");
                }
                assert!(share.threads <= wanted);
            }
        }
    }

    #[test]
    fn a_limit_that_is_no_hindrance_hinders_nobody() {
        let share = Share::of(Some(65_536), 4, 2, 1);
        assert!(share.threads == 4 && share.clients > 20_000 && share.standing == server::STANDING, "{share:?}");
        let share = Share::of(None, 2, 1, 1);
        assert!(share.threads == 2 && share.clients > 1 << 40, "{share:?}");
    }

    #[test]
    fn clients_take_half_of_the_memory_at_most() {
        // The bound of the shipped units, and the default of limits.max_header_bytes.
        let clients = within(Some(256 << 20), 64 << 10);
        assert!((900..1000).contains(&clients), "{clients}");
        assert_eq!(within(Some(0), 64 << 10), 1);
        assert_eq!(within(Some(u64::MAX), usize::MAX), 1);
        assert_eq!(within(None, 64 << 10), usize::MAX);
    }

    #[test]
    fn threads_are_given_up_before_clients() {
        let threads = |limit| Share::of(Some(limit), 2, 1, 1).threads;
        assert_eq!([32, 52, 256].map(threads), [0, 1, 2]);
        // The addresses of a default configuration.
        assert!(Share::of(Some(32), 2, 2, 1).clients >= 1);
        for limit in [256, 1024] {
            let share = Share::of(Some(limit), 2, 1, 1);
            assert!(share.clients as u64 > limit / 4, "{limit}: {share:?}");
        }
        assert_eq!(Share::of(Some(0), 2, 1, 1).threads, 0);
    }
}
