//! Tests of the whole: the real binary over real sockets, in front of the simulated Google.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails here, and says where"
)]

mod admins;
mod affinity;
mod auditing;
mod bad_input;
mod browser;
mod clients;
mod crash;
mod dashboard;
mod demo;
mod documents;
mod doors;
mod edges;
mod explaining;
mod failures;
mod feed;
mod hostile;
mod intruders;
mod keys_api;
mod keys_command;
mod keys_said;
mod live;
mod manual;
mod metrics;
mod moving;
mod old_log;
mod openapi;
mod outbound;
mod projects;
mod proxying;
mod recovery;
mod requests;
mod scenario;
mod schemathesis;
mod secrecy;
mod settings;
mod simulation;
mod status;
mod sticky;
mod stopping;
mod streams;
mod support;
mod traces;
mod typed_client;
mod waiting;
