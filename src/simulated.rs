//! Owns a simulated Google: the Gemini API served on a port of this machine from a state, the [`World`], that
//! tests and the demo build and edit while it runs. Refuses cleverness: HTTP only plays what the world decides,
//! and no answer depends on anything but the world, the request and the seed. Invariant: every call that
//! reached it is recorded exactly once, with the status it was sent, even when its client went away.
//!
//! ```no_run
//! # use gemini_pool::simulated::{Failure, Fault, KeyState, Limits, SimulatedGoogle, World};
//! # async fn scenario() -> std::io::Result<()> {
//! let world = World::new()
//!     .project("alpha", |p| p.limit("gemini-2.5-flash", Limits::none().per_minute(10).per_day(250)))
//!     .key("alpha", "AIza-good")
//!     .key_in("beta", "AIza-leaked", KeyState::Leaked)
//!     .key_with("gamma", "AIza-stormy", Fault::sometimes(0.5, Failure::Overloaded));
//! let google = SimulatedGoogle::start(world).await?;
//! google.edit(|world| world.advance(std::time::Duration::from_secs(60)));
//! # Ok(()) }
//! ```
//!
//! What it knows of the wire: models, generation (streamed as SSE and as a JSON array), token counts,
//! embeddings, the OpenAI paths, resumable uploads and files, cached contents, operations, batches, stores,
//! tuned models and auth tokens, Live sessions, the least of interactions.
//! Prompts may ask for `[image]` (one data line of 1.3 MB) and `[blocked]` (no candidates).
//!
//! It is stricter than Google in one thing: a credential in the URL is refused, since a proxy must not send
//! one. What else must not reach Google is served, and noted in [`Seen::violations`].

mod answer;
mod ask;
mod clock;
mod decide;
mod demo;
mod direct;
mod fault;
mod interactions;
mod kept;
mod key;
mod live;
mod model;
mod openai;
mod play;
mod project;
mod refusal;
mod reply;
mod seen;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use answer::{answer_text, count_tokens};
pub use direct::{Fate, Refused};
pub use fault::{ErrorForm, Failure, Fault};
pub use key::{Key, KeyState};
pub use model::Model;
pub use project::{DayDelay, DayTurn, Limits, Project, ProjectState, QuotaStyle, Tier, Used};
pub use seen::{End, Outcome, Seen};
pub use world::World;

use server::Shared;

/// A running simulated Google. Dropping it stops it and cuts its connections.
pub struct SimulatedGoogle {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl SimulatedGoogle {
    /// Serves a world on a free port of 127.0.0.1. Needs a tokio runtime with IO and time.
    pub async fn start(world: World) -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), world).await
    }

    /// Serves a world on an address of the caller's choice; port 0 is a free one.
    pub async fn start_on(address: SocketAddr, mut world: World) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        world.origin = format!("http://{address}");
        world.settle();
        let shared = Arc::new(Shared::new(world));
        let accepting = tokio::spawn(server::accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// `http://127.0.0.1:PORT`, without a slash.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads or changes the world, between two calls. Calls already decided keep their answers.
    pub fn edit<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        change(&mut self.shared.world.lock())
    }

    /// The calls remembered, oldest first; see [`World::record_seen`].
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.world.lock().seen()
    }

    /// How many calls arrived, remembered or not.
    pub fn seen_count(&self) -> u64 {
        self.shared.world.lock().seen_count()
    }

    /// Waits until the calls remembered are as wanted, looking again at every change. Bound it in time.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&[Seen]) -> bool) -> Vec<Seen> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // Listen first, look second, so that no change falls between.
            changed.as_mut().enable();
            let seen = self.seen();
            if wanted(&seen) {
                return seen;
            }
            changed.await;
        }
    }

    /// Lets every call decided so far go on, where it is held ([`Failure::HoldFirstByte`]) or stalled without
    /// an end ([`Failure::Stall`]), also when it has not come to that point yet.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Stops listening and cuts every connection; returns when that is done.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The only error is the one just caused.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for SimulatedGoogle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
