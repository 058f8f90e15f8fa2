//! The meaning of Gemini-Pool's events.
//!
//! Everything here is a pure fold: recorded events in, state out. It owns what
//! an event *is* and what it *means*; it refuses IO, clocks, randomness and
//! async. Its one invariant: **the same events give the same state**, for every
//! prefix and on every machine, so the log alone explains the pool.

pub mod access;
pub mod asked;
pub mod budget;
pub mod capacity;
pub mod event;
pub mod filter;
pub mod gaps;
pub mod grid;
pub mod headroom;
pub mod id;
pub mod keys;
pub mod pattern;
pub mod quotas;
pub mod resources;
pub mod sessions;
pub mod settings;
pub mod siblings;
pub mod statistics;
pub mod transitions;
pub mod trims;

mod state;

pub use event::{Class, Event, Recorded};
pub use id::{ClientId, Digest, Fingerprint, KeyId, Millis, RequestId, Seq};
pub use state::State;
