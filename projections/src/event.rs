//! What can happen: every event of the log, in the past tense.
//!
//! Owns the shapes and their stable numbers. The structs are **frozen**: once a
//! release wrote one, a change to it is a new struct under a new version, and
//! the old one stays here with a conversion, because a log is read for ever.
//! (The bytes of every version are kept as golden files by the codec's tests.)
//!
//! No secret is ever part of an event.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, Digest, Fingerprint, KeyId, Millis, RequestId, Seq};

pub mod old;

/// An event with its place in the log: all that a fold may look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Position in the log.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Millis,
    /// What happened.
    pub event: Event,
}

/// How long an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What operators did: kept for ever.
    Control,
    /// What the pool learned of its keys: kept for ever.
    Health,
    /// What clients asked: kept for LOG_RETENTION_DAYS.
    Traffic,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $kind:literal v $version:literal, $class:ident;)*) => {
        /// Something that happened.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub enum Event {
            $($(#[$doc])* $name($name),)*
            /// Written by a newer program: carried along, understood by nobody here.
            Unknown(Unknown),
        }

        impl Event {
            /// The stable number of its type.
            #[must_use]
            pub fn kind(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $kind,)*
                    Self::Unknown(unknown) => unknown.kind,
                }
            }

            /// The version of its shape that this program writes.
            #[must_use]
            pub fn version(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $version,)*
                    Self::Unknown(unknown) => unknown.version,
                }
            }

            /// Its type's name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Unknown(_) => "Unknown",
                }
            }

            /// How long it is kept.
            #[must_use]
            pub fn class(&self) -> Class {
                match self {
                    $(Self::$name(_) => Class::$class,)*
                    Self::Unknown(unknown) => unknown.class,
                }
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        })*

        /// Every type: number, version, name, class. The codec and the catalogue read it.
        pub const TYPES: &[(u16, u8, &str, Class)] =
            &[$(($kind, $version, stringify!($name), Class::$class),)*];

        /// Calls `$each!(Name, kind, version)` once for every type of event, in the shape that is written now.
        #[macro_export]
        macro_rules! for_each_event {
            ($each:ident) => { $($each!($name, $kind, $version);)* };
        }
    };
}

events! {
    /// An upstream key joined the pool.
    KeyAdded = 1 v 1, Control;
    /// An operator said something new of a key: what it is called, how and for what it is used.
    KeyUpdated = 2 v 1, Control;
    /// An operator took a key out of use.
    KeyDisabled = 3 v 1, Control;
    /// An operator put a key back into use.
    KeyEnabled = 4 v 1, Control;
    /// An operator forgave a key: its gates open, its failures are forgotten.
    KeyReset = 5 v 1, Control;
    /// A key left the pool; its sealed secret was destroyed with this event.
    KeyRemoved = 6 v 1, Control;
    /// An app was given access.
    ClientAdded = 10 v 1, Control;
    /// An app's access ended.
    ClientRemoved = 12 v 1, Control;
    /// An administrator logged in.
    AdminLoggedIn = 30 v 1, Control;
    /// Somebody failed to log in.
    AdminLoginFailed = 31 v 1, Control;
    /// The service came up.
    ServerStarted = 40 v 1, Control;
    /// The service went down in good order.
    ServerStopped = 41 v 1, Control;
    /// A key was checked, without a client's request.
    KeyChecked = 100 v 1, Health;
    /// The pool stopped using something, until a time or until a check passes.
    GateClosed = 101 v 2, Health;
    /// The pool uses it again before the time that was set.
    GateOpened = 102 v 2, Health;
    /// Something at Google is known to belong to a project.
    ResourceBound = 103 v 1, Health;
    /// It is there no more.
    ResourceReleased = 104 v 1, Health;
    /// Google said which project a key belongs to.
    ProjectLearned = 105 v 1, Health;
    /// A day of Google's quotas began.
    QuotaDayBegan = 106 v 1, Health;
    /// The pool saw that a day's quotas return at another time than it thought.
    QuotaTurnLearned = 107 v 1, Health;
    /// One upstream try ended.
    Attempted = 200 v 2, Traffic;
    /// One client request ended.
    Answered = 201 v 1, Traffic;
}

/// An event of a type that only a newer program knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// Its type's number.
    pub kind: u16,
    /// Its shape's version.
    pub version: u8,
    /// How long it is kept.
    pub class: Class,
    /// The codec its payload was written with.
    pub codec: u8,
    /// Its payload as it stands in the log.
    pub payload: Vec<u8>,
}

/// Who made a control event happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// An administrator, by name, over the admin API.
    Admin(String),
    /// The environment or `.env`, read at start-up.
    Env,
    /// The command line on this machine.
    Cli,
    /// The pool itself.
    System,
}

/// See [`Event::KeyAdded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAdded {
    /// Its number.
    pub key: KeyId,
    /// What people call it.
    pub label: String,
    /// The last four characters of the secret, for people to recognise it by.
    pub tail: String,
    /// Tells duplicates.
    pub fingerprint: Fingerprint,
    /// The Google project that owns its quota, where the operator said so.
    pub project: Option<String>,
    /// Who added it.
    pub actor: Actor,
}

/// A new word for what may also have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// There is none any more.
    Cleared,
    /// It is this from now on.
    To(String),
}

/// See [`Event::KeyUpdated`]. What is none stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUpdated {
    /// Which key.
    pub key: KeyId,
    /// Who did it.
    pub actor: Actor,
    /// What people call it.
    pub label: Option<String>,
    /// What people want to remember of it.
    pub note: Option<String>,
    /// Words to find it by; all of them, in their order.
    pub tags: Option<Vec<String>>,
    /// The Google project that owns its quota; cleared: nobody says which, so it is one of its own.
    pub project: Option<Change>,
    /// Its share of the requests, beside others of its priority: 1 to 1,000.
    pub weight: Option<u16>,
    /// Its tier: lower ones are used first.
    pub priority: Option<u8>,
    /// Models it may be used for: names, or patterns with `*`; empty: all.
    pub models: Option<Vec<String>>,
    /// The outbound proxy of its own, as an address without credentials (they are sealed beside the key), or
    /// `direct`; cleared: it goes the pool's way.
    pub proxy: Option<Change>,
}

macro_rules! key_events {
    ($($name:ident)*) => {$(
        /// See the variant of [`Event`] with this name.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Which key.
            pub key: KeyId,
            /// Who did it.
            pub actor: Actor,
        }
    )*};
}
key_events!(KeyDisabled KeyEnabled KeyReset KeyRemoved);

/// See [`Event::ClientAdded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAdded {
    /// Its number.
    pub client: ClientId,
    /// What people call it.
    pub name: String,
    /// The last four characters of its access key.
    pub tail: String,
    /// What a presented credential is compared with.
    pub digest: Digest,
    /// Who added it.
    pub actor: Actor,
}

/// See [`Event::ClientRemoved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRemoved {
    /// Which client.
    pub client: ClientId,
    /// Who removed it.
    pub actor: Actor,
}

/// See [`Event::AdminLoggedIn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoggedIn {
    /// The administrator's name.
    pub name: String,
    /// Where from.
    pub address: String,
}

/// See [`Event::AdminLoginFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoginFailed {
    /// The name that was tried, cut at 64 bytes.
    pub name: String,
    /// Where from.
    pub address: String,
}

/// See [`Event::ServerStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStarted {
    /// The program's version.
    pub version: String,
    /// The address it listens on.
    pub address: String,
}

/// See [`Event::ServerStopped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStopped {
    /// Requests still under way when the time to drain was over.
    pub abandoned: u32,
}

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

/// See [`Event::GateClosed`].
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
}

/// See [`Event::GateOpened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateOpened {
    /// What is open.
    pub scope: Scope,
    /// Why.
    pub why: Opened,
}

/// See [`Event::KeyChecked`].
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

/// See [`Event::ProjectLearned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectLearned {
    /// The key.
    pub key: KeyId,
    /// Google's name for its project, `projects/N`.
    pub consumer: String,
}

/// See [`Event::QuotaDayBegan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaDayBegan {
    /// When it began.
    pub began: Millis,
    /// When the next one begins, as far as is known.
    pub ends: Millis,
}

/// See [`Event::QuotaTurnLearned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTurnLearned {
    /// How much later than midnight in California the day turns, in milliseconds; below a day.
    pub shift_ms: Millis,
    /// The project that showed it.
    pub project: String,
    /// The model that showed it.
    pub model: String,
}

/// See [`Event::ResourceBound`]. Told again, it replaces what was told before.
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

/// See [`Event::ResourceReleased`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReleased {
    /// Its name, as it was bound.
    pub name: String,
    /// Why.
    pub why: Released,
}

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

/// See [`Event::Attempted`].
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

/// See [`Event::Answered`].
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
}
