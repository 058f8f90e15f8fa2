//! What the pool learns of its keys, their projects, and what belongs to them.

use serde::{Deserialize, Serialize};

use super::{Actor, Verdict, Violation};
use crate::id::{ClientId, KeyId, Millis, RequestId};

/// Which quota window, or which other ground, a (project, model) is closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Requests per minute.
    Minute,
    /// Requests per day, turning at midnight in California.
    Day,
    /// Money in ten minutes.
    Spend,
    /// The model is not offered to the project at all.
    Offer,
    /// Google said "exhausted" and not of what.
    Unknown,
    /// Tokens per minute.
    Tokens,
}

/// What a gate stands in front of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One key, for everything.
    Key(KeyId),
    /// One key, for one method of the API.
    Method {
        /// The key.
        key: KeyId,
        /// The RPC's name, such as `generateContent`.
        method: String,
    },
    /// All keys of a project, for everything.
    Project(String),
    /// All keys of a project, for one model.
    Model {
        /// The project.
        project: String,
        /// The model as clients ask for it, without `models/`.
        model: String,
        /// Which window.
        window: Window,
    },
    /// A model at Google, for everybody: the circuit that opens in a storm.
    Upstream {
        /// The model as clients ask for it, without `models/`.
        model: String,
    },
}

/// See [`Event::GateClosed`](super::Event::GateClosed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateClosed {
    /// What is closed.
    pub scope: Scope,
    /// Why.
    pub cause: Verdict,
    /// Until when; none: until a probe or a check passes, or an operator opens it.
    pub until: Option<Millis>,
    /// From when on one request at a time may try it all the same (half-open); none: nobody.
    pub probe: Option<Millis>,
    /// The request whose attempt showed it.
    pub request: Option<RequestId>,
    /// The key that attempt used.
    pub key: KeyId,
}

/// Why a gate opened before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opened {
    /// A request through it succeeded.
    Served,
    /// A check passed.
    Checked,
    /// The one request that was let through, half-open, succeeded.
    Probed,
    /// An operator changed what was wrong.
    Changed,
}

/// See [`Event::GateOpened`](super::Event::GateOpened).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateOpened {
    /// What is open.
    pub scope: Scope,
    /// Why.
    pub why: Opened,
}

/// See [`Event::KeyChecked`](super::Event::KeyChecked).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChecked {
    /// The key.
    pub key: KeyId,
    /// Its project then.
    pub project: String,
    /// The model that was asked; empty: a call that names none and spends no quota.
    pub model: String,
    /// The RPC's name.
    pub method: String,
    /// When the call began.
    pub started: Millis,
    /// From then to its end.
    pub latency_ms: u32,
    /// The HTTP status; 0 where none arrived.
    pub status: u16,
    /// What it came to.
    pub verdict: Verdict,
    /// What Google said, in a word or a line; never a secret.
    pub reason: Option<String>,
    /// The limits Google named.
    pub violations: Vec<Violation>,
    /// How long Google said to wait.
    pub retry_delay_ms: Option<Millis>,
    /// The project behind the key as Google named it, `projects/N`.
    pub consumer: Option<String>,
    /// Who wanted it.
    pub actor: Actor,
}

/// See [`Event::ProjectLearned`](super::Event::ProjectLearned).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectLearned {
    /// The key.
    pub key: KeyId,
    /// Google's name for its project, `projects/N`.
    pub consumer: String,
}

/// See [`Event::QuotaDayBegan`](super::Event::QuotaDayBegan).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaDayBegan {
    /// When it began.
    pub began: Millis,
    /// When the next one begins, as far as is known.
    pub ends: Millis,
}

/// See [`Event::QuotaTurnLearned`](super::Event::QuotaTurnLearned).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTurnLearned {
    /// How much later than midnight in California the day turns, in milliseconds; below a day.
    pub shift_ms: Millis,
    /// The project that showed it.
    pub project: String,
    /// The model that showed it.
    pub model: String,
}

/// See [`Event::ResourceBound`](super::Event::ResourceBound). Told again, it replaces what was told before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceBound {
    /// Its name at Google, such as `files/abc`. Where the name itself opens something (uploads, auth
    /// tokens), a digest stands in its place.
    pub name: String,
    /// The project of the key, then.
    pub project: String,
    /// The key that made it, or was shown it: whatever that key's project is called, it is there.
    pub key: KeyId,
    /// When Google deletes it; none: not by itself.
    pub expires: Option<Millis>,
    /// The request that showed it.
    pub request: Option<RequestId>,
    /// The client whose request that was; none: it came without an access key, or nobody wrote it down.
    pub client: Option<ClientId>,
}

/// Why a resource is there no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    /// A client deleted it.
    Deleted,
    /// It came to its end: an upload that became a file.
    Finished,
}

/// See [`Event::ResourceReleased`](super::Event::ResourceReleased).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReleased {
    /// Its name, as it was bound.
    pub name: String,
    /// Why.
    pub why: Released,
}
