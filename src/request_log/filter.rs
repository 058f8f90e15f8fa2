//! What is asked for: conditions on requests, all of which must hold.
//!
//! Pure. The same conditions are put to one row here, to a block's header in
//! [`super::header`] and to its columns in [`super::block`]; a law among the
//! tests holds the three together.

use projections::{ClientId, KeyId, Millis, RequestId, event::Outcome};

use super::row::{Row, short};

/// HTTP statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// This one; 0: the client saw none.
    One(u16),
    /// A hundred of them, by their first digit.
    Class(u16),
}

impl Statuses {
    /// `404`, or `4xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(Self::Class(u16::from(class - b'0'))),
            _ => text.parse().ok().filter(|status| *status < 1_000).map(Self::One),
        }
    }

    pub(super) fn include(self, status: u64) -> bool {
        match self {
            Self::One(one) => u64::from(one) == status,
            Self::Class(class) => status / 100 == u64::from(class),
        }
    }
}

/// See the module. What is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Arrived then or later.
    pub from: Option<Millis>,
    /// Arrived before.
    pub to: Option<Millis>,
    /// Tried with this key, among others or alone.
    pub key: Option<KeyId>,
    /// Of this client; number 0: of none.
    pub client: Option<ClientId>,
    /// For this model.
    pub model: Option<String>,
    /// With one of these statuses.
    pub statuses: Option<Statuses>,
    /// Ended so.
    pub outcome: Option<Outcome>,
    /// Took so many milliseconds or more.
    pub least_ms: Option<u32>,
    /// Took so many milliseconds or less.
    pub most_ms: Option<u32>,
    /// With this in a reason of the pool's or of Google's, or in a failed try's verdict. In small letters: see
    /// [`Filter::containing`].
    pub text: Option<String>,
    /// This request.
    pub request: Option<RequestId>,
    /// A stream was asked for, or was not.
    pub streamed: Option<bool>,
    /// With so many upstream tries or more.
    pub least_tries: Option<u8>,
}

impl Filter {
    /// With this in an error's text, in large or small letters.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Self { text: (!text.is_empty()).then(|| text.to_lowercase()), ..self }
    }

    /// Whether an error's text has it.
    pub(super) fn is_in(&self, reason: &str) -> bool {
        self.text.as_ref().is_none_or(|text| reason.to_lowercase().contains(text))
    }

    /// Whether a row is asked for.
    pub(super) fn matches(&self, row: &Row) -> bool {
        let holds = |condition: Option<bool>| condition.unwrap_or(true);
        holds(self.request.map(|request| short(request) == row.request))
            && holds(self.statuses.map(|statuses| statuses.include(row.status.into())))
            && holds(self.outcome.map(|outcome| outcome == row.outcome))
            && holds(self.client.map(|client| client.0 == row.client))
            && holds(self.model.as_ref().map(|model| *model == row.model))
            && holds(self.key.map(|key| row.attempts.iter().any(|attempt| attempt.key == key.0)))
            && holds(self.from.map(|from| row.started >= from))
            && holds(self.to.map(|to| row.started < to))
            && holds(self.least_ms.map(|least| row.duration_ms >= least))
            && holds(self.most_ms.map(|most| row.duration_ms <= most))
            && holds(self.streamed.map(|streamed| row.streamed == streamed))
            && holds(self.least_tries.map(|least| row.tries >= least))
            && (self.text.is_none() || row.reasons.iter().any(|reason| self.is_in(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_or_classes() {
        assert_eq!(Statuses::parse("404"), Some(Statuses::One(404)));
        assert_eq!(Statuses::parse("0"), Some(Statuses::One(0)));
        assert_eq!(Statuses::parse("5xx"), Some(Statuses::Class(5)));
        for text in ["", "xx", "6xx", "4x", "1000", "-1", "4xxx", "four"] {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
        assert!(Statuses::Class(4).include(429) && !Statuses::Class(4).include(500));
    }
}
