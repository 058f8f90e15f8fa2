//! Owns the failures a test can order: what breaks, for which share of calls, how often. Refuses randomness:
//! whether a fault fires depends on the seed and on how many calls it has seen. Invariant: the same calls in
//! the same order fail the same way.

use std::time::Duration;

/// One way in which an answer goes wrong. Those that speak of a stream leave whole answers alone, except the
/// cuts and stalls, which a whole answer suffers in the middle of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// 503 "The model is overloaded."
    Overloaded,
    /// 503 with the newer text, "This model is currently experiencing high demand."
    HighDemand,
    /// 500 INTERNAL.
    Internal,
    /// 504 DEADLINE_EXCEEDED.
    Deadline,
    /// 502 as an HTML page from the front end.
    BadGateway,
    /// 429 without any details: nothing to classify by.
    BareExhausted,
    /// The head of the answer comes this much later; another failure may follow it.
    SlowFirstByte(Duration),
    /// The head of the answer comes when [`super::SimulatedGoogle::release`] is called.
    HoldFirstByte,
    /// Nothing more after this many events, for a while, or (`None`) until
    /// [`super::SimulatedGoogle::release`] is called; then the answer goes on.
    Stall {
        /// Events sent before the silence.
        after: usize,
        /// How long it lasts.
        lasts: Option<Duration>,
    },
    /// The connection is closed without a byte of an answer.
    CutBeforeHead,
    /// The connection is closed after the head and this many whole events, without the terminal chunk.
    CutAfter(usize),
    /// The connection is closed after this many whole events and half of the next.
    CutInside(usize),
    /// Status 200, this many events, then an error, and a proper end.
    ErrorInStream {
        /// Events sent before the error; 0 makes the error the first event.
        after: usize,
        /// How it is written.
        form: ErrorForm,
        /// The error's code: 429, 499, 500 or 503 (anything else is written as 503).
        code: u16,
    },
    /// 200, `text/event-stream`, `Content-Length: 0`.
    EmptyStream,
    /// The last event lacks its blank line.
    NoFinalBlankLine,
    /// A Live session is closed after this many messages, the first of which is `setupComplete`. (Of the others,
    /// those that are answers strike at its upgrade, [`Failure::CutBeforeHead`] too; [`Failure::CutAfter`] cuts
    /// it after as many messages, and [`Failure::Stall`] silences it.)
    CloseLive {
        /// Messages sent before.
        after: usize,
        /// The code.
        code: u16,
        /// The text, of 123 bytes at most.
        reason: String,
    },
}

/// How an error is written inside a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// Pretty-printed JSON without `data:`, as recorded.
    Bare,
    /// `data: {"error":…}` on one line, as reported.
    DataLine,
}

impl Failure {
    /// Whether it changes when the head is sent, rather than what the answer is.
    pub(super) fn only_delays(&self) -> bool {
        matches!(self, Self::SlowFirstByte(_) | Self::HoldFirstByte)
    }

    fn needs_stream(&self) -> bool {
        matches!(self, Self::ErrorInStream { .. } | Self::EmptyStream | Self::NoFinalBlankLine)
    }
}

/// A failure and the calls it meets.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub failure: Failure,
    /// The share of calls it happens to, 0 to 1.
    pub share: f64,
    /// How many calls it still happens to; `None` is for ever.
    pub remaining: Option<u64>,
    met: u64,
}

impl Fault {
    /// Every call, for ever.
    pub fn always(failure: Failure) -> Self {
        Self { failure, share: 1.0, remaining: None, met: 0 }
    }

    /// A share of the calls (0 to 1), picked from the world's seed.
    pub fn sometimes(share: f64, failure: Failure) -> Self {
        Self { share, ..Self::always(failure) }
    }

    /// The next `n` calls.
    pub fn times(n: u64, failure: Failure) -> Self {
        Self { remaining: Some(n), ..Self::always(failure) }
    }

    fn fires(&mut self, seed: u64, streaming: bool) -> bool {
        if (self.failure.needs_stream() && !streaming) || self.remaining == Some(0) {
            return false;
        }
        self.met += 1;
        if fraction(seed, self.met) >= self.share {
            return false;
        }
        if let Some(left) = &mut self.remaining {
            *left -= 1;
        }
        true
    }
}

/// What the faults of a key, a model and the world do together to one call.
#[derive(Debug, Default)]
pub(super) struct Trip {
    pub(super) wait: Duration,
    pub(super) hold: bool,
    pub(super) failure: Option<Failure>,
}

impl Trip {
    /// Lets the faults fire in order: delays add up, the first real failure is the answer.
    pub(super) fn meet<'a>(faults: impl Iterator<Item = &'a mut Fault>, seed: u64, streaming: bool) -> Self {
        let mut trip = Self::default();
        for (position, fault) in (0u64..).zip(faults) {
            if trip.failure.is_some() && !fault.failure.only_delays() {
                continue;
            }
            if !fault.fires(mix(seed ^ position), streaming) {
                continue;
            }
            match &fault.failure {
                Failure::SlowFirstByte(delay) => trip.wait += *delay,
                Failure::HoldFirstByte => trip.hold = true,
                failure => trip.failure = Some(failure.clone()),
            }
        }
        trip
    }
}

/// The finaliser of SplitMix64: spreads neighbouring counters over all 64 bits.
pub(super) fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that differs between texts.
pub(super) fn spread(text: &str) -> u64 {
    text.bytes().fold(0, |sum, byte| mix(sum ^ u64::from(byte)))
}

fn fraction(seed: u64, counter: u64) -> f64 {
    // 53 bits fill a double's mantissa exactly.
    (mix(seed ^ mix(counter)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(seed: u64, share: f64) -> Vec<bool> {
        let mut fault = Fault::sometimes(share, Failure::Overloaded);
        (0..1_000).map(|_| fault.fires(seed, false)).collect()
    }

    #[test]
    fn a_share_is_kept_and_repeats_with_its_seed() {
        let fired = pattern(7, 0.3).iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&fired), "{fired} of 1000");
        assert_eq!(pattern(7, 0.3), pattern(7, 0.3));
        assert_ne!(pattern(7, 0.3), pattern(8, 0.3));
    }

    #[test]
    fn times_counts_down_and_ends() {
        let mut fault = Fault::times(2, Failure::Internal);
        let fired: Vec<bool> = (0..4).map(|_| fault.fires(1, false)).collect();
        assert_eq!(fired, [true, true, false, false]);
    }

    #[test]
    fn delays_add_up_and_the_first_failure_wins() {
        let mut faults = [
            Fault::always(Failure::SlowFirstByte(Duration::from_secs(1))),
            Fault::always(Failure::EmptyStream),
            Fault::always(Failure::Internal),
            Fault::always(Failure::SlowFirstByte(Duration::from_secs(2))),
        ];
        let whole = Trip::meet(faults.iter_mut(), 1, false);
        assert_eq!((whole.wait, whole.failure), (Duration::from_secs(3), Some(Failure::Internal)));
        let stream = Trip::meet(faults.iter_mut(), 1, true);
        assert_eq!(stream.failure, Some(Failure::EmptyStream));
    }
}
