//! Tests of the whole: the real binary over real sockets, in front of the simulated Google.

mod proxying;
mod scenario;
mod support;
