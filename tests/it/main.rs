//! Tests of the whole: the real binary over real sockets, in front of the simulated Google.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails here, and says where"
)]

mod admins;
mod affinity;
mod bad_input;
mod clients;
mod crash;
mod documents;
mod edges;
mod keys_command;
mod keys_said;
mod live;
mod outbound;
mod projects;
mod proxying;
mod recovery;
mod scenario;
mod secrecy;
mod simulation;
mod sticky;
mod stopping;
mod streams;
mod support;
mod waiting;
