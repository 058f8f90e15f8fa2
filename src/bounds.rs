//! Bounds that no setting changes: how long and how much anybody may hold of the pool, whoever it is.
//!
//! Owns the numbers, and what docs/settings.md says of them: who enforces a bound takes it from here, so that what
//! operators read is what holds. Its invariant: each of them is in [`BOUNDS`].

use std::time::Duration;

/// A request's head at most, request line and headers.
pub const HEAD_BYTES: usize = 64 << 10;
/// How long a head may take to come in.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// All heads that have begun and not ended, and what connections keep of their buffers between two requests.
pub const HEADS_BYTES: usize = 16 << 20;
/// How long a connection may be without a request.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long sent bytes may stay unread by a client.
pub const UNREAD_TIME: Duration = Duration::from_secs(300);
/// Connections of clients, unless MAX_CONNECTIONS says otherwise.
pub const CONNECTIONS: usize = 4_096;

/// A bound's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// So long.
    Time(Duration),
    /// So many bytes.
    Bytes(usize),
    /// So many.
    Count(usize),
}

/// A bound, as people read of it.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// What it bounds.
    pub what: &'static str,
    /// Its number.
    pub figure: Figure,
    /// What happens then.
    pub then: &'static str,
}

const fn bound(what: &'static str, figure: Figure, then: &'static str) -> Bound {
    Bound { what, figure, then }
}

/// All of them.
pub const BOUNDS: &[Bound] = &[
    bound(
        "Length of a request's head",
        Figure::Bytes(HEAD_BYTES),
        "The request is refused with 431, and the connection closed.",
    ),
    bound("Time that a request's head may take", Figure::Time(HEAD_TIME), "The connection is closed."),
    bound(
        "All unfinished heads together, beyond 8 KiB of each connection",
        Figure::Bytes(HEADS_BYTES),
        "The connection whose head is the oldest is closed.",
    ),
    bound("Time between two requests of a connection", Figure::Time(IDLE_TIME), "The connection is closed."),
    bound(
        "Time that a client may leave sent bytes unread",
        Figure::Time(UNREAD_TIME),
        "The connection is closed, and its request counts as left by the client.",
    ),
    bound(
        "Lines of the program's own log that nobody reads",
        Figure::Bytes(crate::logging::ROOM),
        "More lines are dropped and counted; the log says how many once it is read again.",
    ),
    bound(
        "Time that the end of the program waits for the reader of its log",
        Figure::Time(crate::logging::LAST_WRITE),
        "It ends without its last lines.",
    ),
];
