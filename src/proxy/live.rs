//! Live sessions: a WebSocket from the client, one to Google, and a key between them.
//!
//! The client's first message names the model, so the client's side is opened first and
//! a key is chosen then. Until Google says its first word, which proves the key, a failure
//! is seen by the next key only, and the first message is sent again; after it the session
//! is this key's, to its end. The invariants are those of [`super`], with one more:
//! however a session ends, the side that did not end it is told why by a close frame.

mod client;
mod door;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::expect_used, reason = "it is for tests, and panics where a law does not hold")]
mod fuzzed;
mod handles;
mod open;
mod relay;
mod tokens;

use std::sync::Arc;

use poem::Response;
use projections::event::Outcome;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use self::client::{Client, Early};
#[cfg(any(test, feature = "fuzzing"))]
pub use self::fuzzed::websocket_relay;
pub(super) use self::{door::Door, handles::Handles, tokens::may_be_made};
use super::{
    Asked, Proxy,
    affinity::Seat,
    record::{RequestRecord, STOPPING},
    refuse,
    rescue::Refusal,
};
use crate::{
    body_memory::BodyMemory,
    caller::Caller,
    gemini::{live, meter::Meter},
    proxy::{queue::Journey, seek::Unserved},
};

/// The memory of a session, by side.
struct Meters {
    client: Meter,
    google: Meter,
}

impl Meters {
    /// None where no room is left for a session more.
    fn begin(memory: &Arc<BodyMemory>, caller: Caller) -> Option<Self> {
        Some(Self { client: Meter::begin(memory, caller)?, google: Meter::begin(memory, caller)? })
    }

    /// Returns when the memory of one side goes to others, whose share is smaller.
    async fn cut(&self) {
        let (client, google) = (self.client.cut(), self.google.cut());
        tokio::select! {
            () = client.cancelled() => {}
            () = google.cancelled() => {}
        }
    }
}

/// How the pool ends a session that came to nothing.
struct Farewell {
    frame: CloseFrame,
    /// For the record.
    reason: String,
}

impl From<&Refusal> for Farewell {
    fn from(refusal: &Refusal) -> Self {
        let (code, text) = refusal.close();
        let frame = CloseFrame { code: code.into(), reason: text.into() };
        Self { frame, reason: refusal.reason().to_owned() }
    }
}

impl Proxy {
    /// Opens the client's side, where there is any hope; the session goes on by itself.
    pub(super) async fn go_live(
        self: &Arc<Self>,
        asked: Asked,
        door: Option<Door>,
        mut record: RequestRecord,
    ) -> Response {
        let Some(door) = door else { return refuse(record, &Refusal::NoUpgrade, asked.target.shape).await };
        // Where nobody at all can serve, a plain 429 tells the client more than a session that closes.
        if self.scheduler.ready(self.clock.now()).0 == 0 {
            match self.choose(&asked, &mut Journey::default(), 0).await {
                Ok(_) => {}
                Err(none) => return self.give_up(&asked, record, Unserved::Failed(None, Some(none))).await,
            }
        }
        let Some(meters) = Meters::begin(&self.memory, asked.caller) else {
            return refuse(record, &Refusal::NoMemory, asked.target.shape).await;
        };
        let (response, upgrade) = door.open();
        record.answered.status = response.status().as_u16();
        tokio::spawn(Arc::clone(self).session(upgrade, asked, record, meters));
        response
    }

    async fn session(
        self: Arc<Self>,
        upgrade: poem::OnUpgrade,
        mut asked: Asked,
        mut record: RequestRecord,
        meters: Meters,
    ) {
        // Otherwise the client left before it could read that it is let in.
        let Ok(Ok(socket)) = timeout_at(asked.deadline, upgrade).await else { return };
        let mut client = Client::new(socket, meters.client.clone()).await;
        let cut = self.lifecycle.cut.clone();
        let open = tokio::select! {
            open = self.begin_session(&mut client, &mut asked, &mut record, &meters) => open,
            () = cut.cancelled() => Err(Early::Farewell(Farewell::from(&Refusal::Stopping))),
            () = meters.cut() => Err(Early::Farewell(Farewell::from(&Refusal::MemoryShare))),
        };
        match open {
            Ok(open) => self.converse(client, open, record, &meters).await,
            Err(Early::Left) => {
                // Recorded as cancelled.
                drop(record);
                client.part(None).await;
            }
            Err(Early::Farewell(farewell)) => {
                let stopping = farewell.reason == STOPPING;
                record.answered.reason = Some(farewell.reason);
                record.finish(Outcome::Refused, None).await;
                client.say(Some(farewell.frame)).await;
                if stopping {
                    client.linger(relay::LAST_WORDS).await;
                }
                client.part(None).await;
            }
        }
    }

    /// From the client's first message to Google's.
    async fn begin_session(
        &self,
        client: &mut Client,
        asked: &mut Asked,
        record: &mut RequestRecord,
        meters: &Meters,
    ) -> Result<open::Open, Early> {
        let first = client.first(asked.timeout).await?;
        let setup = live::setup(&client::bytes(&first));
        // The client took its time; from here on it is Google's.
        asked.deadline = Instant::now() + asked.timeout;
        asked.model = setup.model;
        record.answered.model.clone_from(&asked.model);
        record.may_ask(&asked.model)?;
        // A session is gone on with in the project where it began.
        if let Some(project) = setup.handle.as_deref().and_then(|handle| self.project_of_session(handle)) {
            let name = "The session".to_owned();
            if let Seat::Owner { name: other, project: its } = &asked.seat
                && *its != project
            {
                let other = (other.clone(), its.clone());
                return Err(Refusal::TwoProjects { first: (name, project), second: other }.into());
            }
            asked.seat = Seat::Owner { name, project };
        }
        tokio::select! {
            open = self.open(asked, &first, record, &meters.google) => open.map_err(Early::Farewell),
            early = client.wait() => Err(early),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_fit_into_a_close_frame() {
        let model = "m".repeat(128);
        for refusal in [
            Refusal::AllOut { model, back_in: Some(86_400_000), daily: false },
            Refusal::NoKeys,
            Refusal::LogDown,
            Refusal::Stopping,
            Refusal::MemoryShare,
            Refusal::MessageTooLarge(usize::MAX),
            Refusal::NoSetup(30),
            Refusal::Unanswered { last: "é".repeat(300) },
        ] {
            let Farewell { frame, .. } = Farewell::from(&refusal);
            assert!(frame.reason.len() <= 123 && frame.code.is_allowed(), "{frame:?}");
            assert!(frame.reason.contains(refusal.reason()), "{frame:?}");
        }
    }
}
