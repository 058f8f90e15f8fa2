//! How far the stop of the service has come, for all that must know.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by the doors, which stop, and by requests, which are stopped.
#[derive(Clone, Default)]
pub struct Lifecycle {
    /// Requests under way; each holds a token until it is recorded.
    pub requests: TaskTracker,
    /// Those of apps among them.
    pub proxied: TaskTracker,
    /// Time is up: what still runs ends now.
    pub cut: CancellationToken,
}
