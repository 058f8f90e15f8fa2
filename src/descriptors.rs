//! File descriptors: how many the process may have, and who gets how many of them.
//!
//! Owns the division. Connections of clients are bounded so far below the limit that the log's files, calls to Google
//! and the program's own files always find one: whoever runs out of descriptors cannot tell a full table from a lost
//! file. Its invariant: the shares together are never more than the limit, unless that is below [`LEAST`].

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what belongs to no share: standard streams, the poller, the listener, backups, checkpoints, name servers, and
/// connections that are being closed.
pub const SPARE: usize = 64;
/// Below so many the shares do not add up any more, and the start says so.
pub const LEAST: usize = 160;
/// No more of the store's files are kept open.
const STORE: usize = 512;
/// No more connections to one host of Google are kept for the next request.
const IDLE_UPSTREAM: usize = 512;
/// What systems without a hard limit let a process have (macOS, OPEN_MAX).
const UNLIMITED: u64 = 10_240;

/// Who gets how many descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients. Each may need one more, for the call to Google.
    pub connections: usize,
    /// Connections to Google that nobody uses right now.
    pub idle_upstream: usize,
    /// Files that the store keeps open.
    pub store: usize,
}

impl Shares {
    /// Divides a limit.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        let store = (limit / 8).clamp(16, STORE);
        let rest = limit.saturating_sub(SPARE + store);
        // Two for each connection, and a quarter of one for those to Google that are kept.
        let connections = (rest * 4 / 9).max(8);
        Self { connections, idle_upstream: (connections / 4).clamp(2, IDLE_UPSTREAM), store }
    }

    /// Of this process.
    #[must_use]
    pub fn now() -> Self {
        Self::of(limit())
    }
}

/// How many descriptors this process may have.
#[must_use]
pub fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Raises the limit as far as the system lets the process raise it; gives what it is then.
pub fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some() && current != maximum {
        // Some systems name no hard limit and take none either.
        let wanted = [maximum, Some(maximum.unwrap_or(UNLIMITED).min(UNLIMITED))];
        let higher = wanted.into_iter().filter(|wanted| wanted.is_none_or(|wanted| Some(wanted) > current));
        for current in higher {
            if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
                break;
            }
        }
    }
    limit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_something_to_spare() {
        for limit in [LEAST, 256, 1_024, 4_096, 65_536, 1 << 20, usize::MAX >> 8] {
            let Shares { connections, idle_upstream, store } = Shares::of(limit);
            let all = SPARE + store + 2 * connections + idle_upstream;
            assert!(all <= limit, "{all} of {limit}");
            assert!(connections >= 8 && idle_upstream >= 2, "{:?}", Shares::of(limit));
        }
        assert!(Shares::of(256).connections >= 64, "{:?}", Shares::of(256));
        assert!(Shares::of(0).connections > 0);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        assert_eq!(raised, limit());
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        assert!(maximum.is_none_or(|maximum| maximum == raised as u64), "{maximum:?} {raised}");
    }
}
