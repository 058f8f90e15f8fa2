//! Bytes that somebody changed: whatever they are, they are an error, or an event; no panic, and no memory to speak of.

use super::{golden, *};

/// Numbers that look random and are not.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    /// Changes bytes as damage and malice do: single bits, marks of long numbers, lengths, runs, cuts.
    pub(crate) fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.roll(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + self.roll(12));
        match self.roll(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfa, 0xff][self.roll(6)],
            // How bincode marks numbers of two, four, eight and sixteen bytes.
            2 if at < bytes.len() => bytes[at] = 251 + self.roll(4) as u8,
            3 => drop(bytes.splice(at..at, [253, 255, 255, 255, 255, 255, 255, 255, 127])),
            4 => drop(bytes.splice(at..at, [252, 255, 255, 255, self.roll(256) as u8])),
            5 => bytes[at..end].fill(0xff),
            6 => drop(bytes.drain(at..end)),
            _ => {
                let more = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, more));
            }
        }
    }
}

/// The most memory that this process ever had, in bytes: each test has one of its own.
pub(crate) fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) << 10
}

/// A frame with another payload, and everything that goes with it.
fn with_payload(frame: &[u8], payload: &[u8]) -> Vec<u8> {
    let change = |content: &mut Vec<u8>| {
        content.truncate(HEAD);
        content[22..26].copy_from_slice(&(payload.len() as u32).to_be_bytes());
        content.extend(payload);
    };
    forge(frame, change, Some(&ChainHash::START))
}

#[test]
fn changed_payloads_are_errors_or_events() {
    let (mut dice, mut state, mut events) = (Dice(7), State::default(), 0_u64);
    let before = most_memory();
    for event in golden::samples() {
        let (frame, _) = encode(1, 5, &event, &ChainHash::START).unwrap();
        let payload = frame[HEAD..frame.len() - CHECK - HASH].to_vec();
        for _ in 0..60 {
            let mut changed = payload.clone();
            (0..=dice.roll(2)).for_each(|_| dice.change(&mut changed));
            if let Ok((recorded, _)) = decode(1, &with_payload(&frame, &changed), Some(&ChainHash::START)) {
                events += 1;
                encode(1, 5, &recorded.event, &ChainHash::START).unwrap();
                state.apply(&Recorded { seq: events, ..recorded });
            }
        }
        let mut bad = frame.clone();
        dice.change(&mut bad);
        let _ = (decode(1, &bad, None), peek(&bad), crate::journal::position(&bad));
    }
    assert!(events > 1_000, "{events} were events all the same");
    assert!(most_memory() < before + (256 << 20), "{} bytes at most", most_memory());
}

#[test]
fn changed_states_are_none_or_states() {
    let events: Vec<_> =
        (1..).zip(golden::samples()).map(|(seq, event)| Recorded { seq, at: 1_000, event }).collect();
    let packed = pack(&State::replay(&events)).unwrap();
    let (mut dice, before) = (Dice(11), most_memory());
    for _ in 0..4_000 {
        let mut changed = packed.clone();
        (0..=dice.roll(3)).for_each(|_| dice.change(&mut changed));
        if let Some(mut state) = unpack(&changed) {
            pack(&state).unwrap();
            state.forget_statistics();
        }
    }
    assert!(most_memory() < before + (256 << 20), "{} bytes at most", most_memory());
}

/// What is written is read: an event that is too long for a reader is refused when it is recorded.
#[test]
fn no_event_is_longer_than_what_is_read() {
    let stopped = |length: usize| {
        Event::from(event::ServerStarted { version: "v".repeat(length), address: String::new() })
    };
    let longest = LONGEST_PAYLOAD - 6;
    let (frame, _) = encode(1, 5, &stopped(longest), &ChainHash::START).unwrap();
    assert!(decode(1, &frame, None).is_ok());
    assert!(encode(1, 5, &stopped(longest + 10), &ChainHash::START).is_err());
}
