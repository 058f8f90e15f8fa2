//! The last quarter of an hour, hour, day, week, month: which buckets that is.
//!
//! Time is cut where it is a multiple of a bucket's width since 1970. A range begins with the bucket that holds the
//! moment so long ago, and so never covers less than it says; where exactly it begins is told along with it.

use serde::{Deserialize, Serialize};

use crate::id::Millis;

/// A minute, in milliseconds.
pub const MINUTE: Millis = 60_000;
/// An hour, in milliseconds.
pub const HOUR: Millis = 60 * MINUTE;
/// A day, in milliseconds.
pub const DAY: Millis = 24 * HOUR;

/// How far back from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Range {
    /// 15 minutes.
    #[serde(rename = "15m")]
    Quarter,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// 24 hours.
    #[serde(rename = "24h")]
    Day,
    /// 7 days.
    #[serde(rename = "7d")]
    Week,
    /// 30 days.
    #[serde(rename = "30d")]
    Month,
}

impl Range {
    /// All of them, shortest first.
    pub const ALL: [Self; 5] = [Self::Quarter, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// How long it is.
    #[must_use]
    pub fn millis(self) -> Millis {
        match self {
            Self::Quarter => 15 * MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
        }
    }

    /// Its name, such as `15m`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quarter => "15m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }
}

/// Buckets of one width, of which so many of the latest are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grain {
    /// Milliseconds.
    pub width: Millis,
    /// How many.
    pub kept: usize,
}

impl Grain {
    /// The bucket of a time.
    #[must_use]
    pub fn index(self, at: Millis) -> i64 {
        at.div_euclid(self.width)
    }

    /// When a bucket begins.
    #[must_use]
    pub fn begins(self, index: i64) -> Millis {
        index.saturating_mul(self.width)
    }

    /// The first and the last bucket of a range that ends now.
    #[must_use]
    pub fn of(self, range: Range, now: Millis) -> (i64, i64) {
        (self.index(now.saturating_sub(range.millis())), self.index(now))
    }
}
