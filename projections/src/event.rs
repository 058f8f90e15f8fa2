//! What can happen: every event of the log, in the past tense.
//!
//! Owns the shapes and their stable numbers. The structs are **frozen**: once a
//! release wrote one, a change to it is a new struct under a new version, and
//! the old one stays here with a conversion, because a log is read for ever.
//! (The bytes of every version are kept as golden files by the codec's tests.)
//!
//! No secret is ever part of an event.

use serde::{Deserialize, Serialize};

use crate::id::{Millis, Seq};

mod admins;
mod clients;
mod health;
mod keys;
pub mod old;
mod server;
mod traffic;

pub use self::{admins::*, clients::*, health::*, keys::*, server::*, traffic::*};

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
    /// An administrator looked at a key's secret.
    KeyRevealed = 7 v 1, Control;
    /// Keys' secrets were given out.
    KeysExported = 8 v 1, Control;
    /// An app was given access.
    ClientAdded = 10 v 1, Control;
    /// An operator said something new of an app: what it is called, and what it may do.
    ClientUpdated = 11 v 1, Control;
    /// An app's access ended.
    ClientRemoved = 12 v 1, Control;
    /// An app has a new access key, and the one before opens nothing any more.
    ClientKeyReplaced = 13 v 1, Control;
    /// Settings were changed while the pool runs.
    SettingsChanged = 20 v 1, Control;
    /// An administrator logged in.
    AdminLoggedIn = 30 v 1, Control;
    /// Somebody failed to log in.
    AdminLoginFailed = 31 v 2, Control;
    /// An administrator logged out: a token ended before its time.
    AdminLoggedOut = 32 v 1, Control;
    /// The administrator has a new password: what was signed in with the one before is refused.
    AdminPasswordChanged = 33 v 1, Control;
    /// After wrong logins, further ones wait.
    AdminLoginsDelayed = 34 v 1, Control;
    /// The service came up.
    ServerStarted = 40 v 1, Control;
    /// The service went down in good order.
    ServerStopped = 41 v 1, Control;
    /// Old events of traffic were dropped, as LOG_RETENTION_DAYS says.
    LogTrimmed = 42 v 1, Control;
    /// A backup was made.
    BackupMade = 43 v 1, Control;
    /// The log goes on from a backup.
    BackupRestored = 44 v 1, Control;
    /// All secrets were sealed anew under another master key.
    MasterKeyChanged = 45 v 1, Control;
    /// The log goes on from what could be proven of a damaged one.
    LogSalvaged = 47 v 1, Control;
    /// The log goes on after a time in which it took no events.
    LogGap = 46 v 1, Control;
    /// A key was checked, without a client's request.
    KeyChecked = 100 v 1, Health;
    /// The pool stopped using something, until a time or until a check passes.
    GateClosed = 101 v 2, Health;
    /// The pool uses it again before the time that was set.
    GateOpened = 102 v 2, Health;
    /// Something at Google is known to belong to a project.
    ResourceBound = 103 v 2, Health;
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
    Answered = 201 v 2, Traffic;
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

/// A new word for what may also have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// There is none any more.
    Cleared,
    /// It is this from now on.
    To(String),
}
