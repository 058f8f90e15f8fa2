//! What clients asked, and what was tried for them.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::id::{ClientId, KeyId, Millis, RequestId, Seq};

/// What one upstream try came to. Decided once, when it ends; never recomputed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Google answered, and the answer went to the client whole.
    Success,
    /// The request itself was refused: passed back, nobody's key suffers.
    ClientFault,
    /// The resource belongs to another project (or does not exist): passed back.
    AffinityMiss,
    /// Google does not serve the place this pool calls from: no key would help.
    Location,
    /// The pool itself sent something wrong (no credential, or two).
    PoolFault,
    /// Google does not know the key, or it expired.
    BadKey,
    /// Google says the key was leaked.
    LeakedKey,
    /// The key's consumer is suspended.
    SuspendedKey,
    /// 401: a bad credential, or one that flaps.
    Unauthenticated,
    /// The key may not be used from here (address, referrer, app).
    RestrictedKey,
    /// The key may not call this method.
    MethodBlocked,
    /// The API is off in the key's project.
    ServiceDisabled,
    /// The project is shut out.
    ProjectDenied,
    /// The project's credits or billing are gone.
    BillingStopped,
    /// The project may not use this model.
    ModelDenied,
    /// The quota of this model is zero for the project.
    NotOffered,
    /// Out of a per-minute quota of requests.
    QuotaMinute,
    /// Out of a per-day quota.
    QuotaDay,
    /// Out of a spend limit.
    QuotaSpend,
    /// Out of something that Google did not name.
    QuotaUnknown,
    /// 503: the model is overloaded.
    Overloaded,
    /// 500, 502, 504 or 499: Google's own trouble.
    ServerError,
    /// No connection, or none in time.
    ConnectFailed,
    /// The connection broke, before the first byte of an answer.
    ConnectionLost,
    /// No first byte in time.
    TimedOut,
    /// 200 and then nothing at all.
    EmptyAnswer,
    /// Broke after the first byte went to the client.
    Truncated,
    /// An error arrived inside the stream, after its first byte went to the client.
    StreamError,
    /// The client went away.
    #[default]
    Cancelled,
    /// The handler died; nothing is known of the answer.
    Aborted,
    /// Out of a per-minute quota of tokens.
    QuotaTokens,
}

impl Verdict {
    /// The upstream answer was good.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Success
    }

    /// Google itself is in trouble, or the model is.
    #[must_use]
    pub fn is_upstream_failure(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::ServerError | Self::ConnectionLost | Self::TimedOut | Self::EmptyAnswer
        )
    }

    /// Says little by itself, but a run of them says that the key is no good now.
    #[must_use]
    pub fn is_soft_failure(self) -> bool {
        self == Self::Unauthenticated || self.is_upstream_failure()
    }
}

/// One limit that Google said was exceeded (`google.rpc.QuotaFailure.Violation`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// `quotaMetric`.
    pub metric: String,
    /// `quotaId`.
    pub id: String,
    /// `quotaDimensions.model`.
    pub model: Option<String>,
    /// `quotaValue`, where told.
    pub limit: Option<u64>,
    /// Which window it is about, as its name tells.
    pub window: Option<Window>,
}

/// Tokens as Google counted them; 0 where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// In the prompt, cached ones included.
    pub prompt: u32,
    /// In the answer, without thoughts.
    pub output: u32,
    /// In thoughts.
    pub thoughts: u32,
    /// Of the prompt, from Google's cache.
    pub cached: u32,
    /// In the results of Google's own tools.
    pub tool_use: u32,
    /// All of them, as Google adds them up.
    pub total: u32,
}

/// Strategies of choosing among usable keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The less busy, and quicker, of two keys drawn at random.
    #[default]
    LeastLoaded,
    /// Each in turn.
    RoundRobin,
    /// The same conversation goes to the same project, for its prompt cache; else as least-loaded.
    Sticky,
}

/// How many keys were passed over, by ground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// An operator disabled them.
    pub disabled: u32,
    /// Their credential failed, or they are resting after failures.
    pub key_gate: u32,
    /// Their project is closed.
    pub project_gate: u32,
    /// Their project is closed for the model, or they are for the method.
    pub model_gate: u32,
    /// This request tried them already, or others of their project.
    pub tried: u32,
    /// Their project is predicted to be out: what the pool sent reaches the limit that Google told.
    pub budget: u32,
    /// They are not for this model: an operator limited them to others.
    pub other_models: u32,
}

/// Why this key: enough to ask the state at `seq` the same question again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The rule that chose.
    pub strategy: Strategy,
    /// The last event that the chooser had seen.
    pub seq: Seq,
    /// How many keys it could choose among.
    pub eligible: u32,
    /// How many it could not, and why.
    pub passed_over: PassedOver,
    /// Requests that the chosen key already had under way.
    pub in_flight: u32,
}

/// See [`Event::Attempted`](super::Event::Attempted).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// The client request it was for.
    pub request: RequestId,
    /// 1 for the first try of a request.
    pub attempt: u8,
    /// Whose request; none where access is open.
    pub client: Option<ClientId>,
    /// The key it used.
    pub key: KeyId,
    /// The project whose quota it used.
    pub project: String,
    /// The model as asked for, without `models/`; empty where none was named.
    pub model: String,
    /// The RPC's name, such as `generateContent`.
    pub method: String,
    /// When the upstream call began.
    pub started: Millis,
    /// From then to its end.
    pub latency_ms: u32,
    /// From then to the first byte of the answer's body.
    pub first_byte_ms: Option<u32>,
    /// The HTTP status; 0 where none arrived.
    pub status: u16,
    /// What it came to.
    pub verdict: Verdict,
    /// What Google said, in a word or a line; never a secret.
    pub reason: Option<String>,
    /// The limits Google named.
    pub violations: Vec<Violation>,
    /// What Google counted.
    pub tokens: Tokens,
    /// The answer's last `finishReason`.
    pub finish_reason: Option<String>,
    /// Bytes of request body sent.
    pub bytes_sent: u64,
    /// Bytes of answer body received.
    pub bytes_received: u64,
    /// Why this key.
    pub why: Why,
    /// Went through a closed gate, as the one request that may (half-open).
    pub probe: bool,
    /// How long Google said to wait.
    pub retry_delay_ms: Option<Millis>,
    /// The project behind the key as Google named it, `projects/N`.
    pub consumer: Option<String>,
}

/// How a client request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer of Google's, good or bad, went out whole.
    Complete,
    /// An answer began and broke.
    Truncated,
    /// The client went away.
    Cancelled,
    /// The pool answered by itself: not allowed, too large, nobody free, nobody reached.
    Refused,
}

/// See [`Event::Answered`](super::Event::Answered).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The request.
    pub request: RequestId,
    /// Whose; none where access is open or was refused.
    pub client: Option<ClientId>,
    /// Where from.
    pub address: String,
    /// HTTP method.
    pub verb: String,
    /// Path, without its query, cut at 512 bytes.
    pub path: String,
    /// The model as asked for; empty where none was named.
    pub model: String,
    /// The RPC's name.
    pub method: String,
    /// Whether the client asked for a stream.
    pub streamed: bool,
    /// When the request arrived.
    pub started: Millis,
    /// From then to its end.
    pub duration_ms: u32,
    /// From then to the first byte of the answer.
    pub first_byte_ms: Option<u32>,
    /// The HTTP status the client saw; 0 where it saw none.
    pub status: u16,
    /// Upstream tries.
    pub attempts: u8,
    /// How it ended.
    pub outcome: Outcome,
    /// The pool's own reason, where it refused or gave up.
    pub reason: Option<String>,
    /// Bytes of body that went to the client.
    pub bytes: u64,
    /// How long it stood in the queue, of its whole time.
    pub waited_ms: u32,
}
