//! How many connections the process has descriptors for: clients must not take those that a refresh needs.

use rustix::process::{Resource, getrlimit};

use crate::server;

/// For everything but clients and their upstreams: runtimes, listeners, locks, and a refresh with its connection, its
/// record and its timer.
const KEPT: u64 = 64;

/// A client's connection, and the one to the upstream that it may need.
const EACH: u64 = 2;

/// Below this a proxy is of no use; whoever sets a limit like that meets `EMFILE`.
const FEWEST: usize = 8;

/// `settings` with no more connections than there are descriptors for.
pub(super) fn within_limit(settings: &server::Settings) -> server::Settings {
    let max_connections = settings.max_connections.min(room(getrlimit(Resource::Nofile).current));
    if max_connections < settings.max_connections {
        tracing::warn!(
            max_connections,
            fix = "raise the limit of open files (LimitNOFILE=, ulimit -n)",
            "limits.max_connections is more than this process has descriptors for"
        );
    }
    server::Settings { max_connections, ..settings.clone() }
}

/// How many clients have room within `limit` descriptors; `None` is no limit.
fn room(limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let standing = u64::try_from(server::STANDING).unwrap_or(u64::MAX);
    let connections = limit.saturating_sub(KEPT).saturating_sub(standing) / EACH;
    usize::try_from(connections).unwrap_or(usize::MAX).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_what_a_refresh_needs() {
        assert_eq!(room(None), usize::MAX);
        assert_eq!(room(Some(0)), FEWEST);
        for limit in [256_u64, 1024, 65_536] {
            let clients = room(Some(limit)) as u64;
            assert!(clients * EACH + server::STANDING as u64 + KEPT <= limit, "{limit}: {clients}");
            assert!(clients > limit / 8, "{limit}: {clients}");
        }
    }
}
