//! Tests of the whole: the real binary over real sockets, in front of the simulated Google.

mod bad_input;
mod crash;
mod documents;
mod edges;
mod keys_command;
mod proxying;
mod scenario;
mod secrecy;
mod stopping;
mod streams;
mod support;
