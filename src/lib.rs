//! Gemini-Pool: one pool of Google Gemini API keys behind Gemini's own API.
//!
//! The way data flows: a request comes in at [`proxy`], is let in by [`auth`],
//! gets a key from [`scheduler`], goes out through [`gemini`], and what became
//! of it goes into [`ledger`], which appends it to [`journal`] and folds it into
//! the state that everything else looks at. README.md has the map.

pub mod access;
pub mod admin;
pub mod auth;
pub mod body_memory;
pub mod bounds;
pub mod caller;
pub mod commands;
pub mod config;
pub mod dashboard;
pub mod demo;
pub mod descriptors;
pub mod fair;
pub mod feed;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::indexing_slicing, reason = "it is for tests, and panics where a law does not hold")]
pub mod fuzzing;
pub mod gauges;
pub mod gemini;
pub mod health;
pub mod journal;
pub mod ledger;
pub mod lifecycle;
pub mod locks;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod pacing;
pub mod pool;
pub mod proxy;
pub mod request_log;
pub mod scheduler;
pub mod server;
pub mod settings;
pub mod shares;
pub mod simulate;
pub mod simulated;
pub mod sites;
pub mod traces;
pub mod vault;
pub mod words;
