//! Frames hold for ever: golden bytes of every shape, and no damage goes unseen.

#[expect(dead_code, reason = "the folds' tests use the rest of it")]
#[path = "../../../projections/tests/laws/history.rs"]
pub(crate) mod history;

pub(crate) mod golden;
pub(crate) mod mutated;

use projections::{Recorded, State, event::TYPES};
use proptest::{collection::vec, prelude::*};

use super::*;

/// The frames of a log, chained.
fn frames(events: &[Recorded]) -> Vec<Vec<u8>> {
    let mut hash = ChainHash::START;
    let chain = |recorded: &Recorded| {
        let (frame, next) = encode(recorded.seq, recorded.at, &recorded.event, &hash).unwrap();
        hash = next;
        frame
    };
    events.iter().map(chain).collect()
}

/// Reads a log as the ledger does; tells where it is damaged, and how.
fn read(frames: &[Vec<u8>]) -> Result<Vec<Recorded>, (Seq, Damage)> {
    let mut hash = ChainHash::START;
    let decode = |(seq, frame): (Seq, &Vec<u8>)| {
        let (recorded, next) = decode(seq, frame, Some(&hash)).map_err(|damage| (seq, damage))?;
        hash = next;
        Ok(recorded)
    };
    (1..).zip(frames).map(decode).collect()
}

/// Changes a frame's content and gives it the checksum that goes with it, and the hash where `previous` is given.
fn forge(frame: &[u8], change: impl FnOnce(&mut Vec<u8>), previous: Option<&ChainHash>) -> Vec<u8> {
    let (body, hash) = frame.split_at(frame.len() - HASH);
    let mut forged = body[..body.len() - CHECK].to_vec();
    change(&mut forged);
    forged.extend(crc32fast::hash(&forged).to_be_bytes());
    let hash = previous.map_or(hash.to_vec(), |previous| previous.next(&forged).0.to_vec());
    forged.extend(hash);
    forged
}

#[test]
fn numbers_of_types_are_their_own() {
    let mut kinds: Vec<u16> = TYPES.iter().map(|(kind, ..)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), TYPES.len());
}

#[test]
fn a_frame_is_laid_out_as_the_table_says() {
    let event = Event::Unknown(Unknown {
        kind: 0x0102,
        version: 3,
        class: Class::Health,
        codec: 4,
        payload: vec![0xAA; 5],
    });
    let (frame, hash) = encode(0x1112_1314_1516_1718, -2, &event, &ChainHash::START).unwrap();
    assert_eq!(frame.len(), 26 + 5 + 4 + 32);
    assert_eq!(frame[..6], [1, 4, 1, 3, 1, 2]);
    assert_eq!(frame[6..14], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
    assert_eq!(frame[14..22], (-2i64).to_be_bytes());
    assert_eq!(frame[22..31], [0, 0, 0, 5, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA]);
    assert_eq!(frame[31..35], crc32fast::hash(&frame[..31]).to_be_bytes());
    let mut chained = vec![0; 32];
    chained.extend(&frame[..35]);
    assert_eq!(frame[35..], *blake3::hash(&chained).as_bytes());
    assert_eq!(hash.0, frame[35..]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    for event in golden::samples().into_iter().step_by(9) {
        let (_, previous) = encode(6, 1, &event, &ChainHash::START).unwrap();
        let (frame, _) = encode(7, 1_700_000_000_000, &event, &previous).unwrap();
        assert!(decode(7, &frame, Some(&previous)).is_ok());
        for place in 0..frame.len() {
            for bit in 0..8 {
                let mut bad = frame.clone();
                bad[place] ^= 1 << bit;
                let damage = decode(7, &bad, Some(&previous)).expect_err("a flipped bit is damage");
                let expected = if place < frame.len() - HASH { Damage::Checksum } else { Damage::Chain };
                assert_eq!(damage, expected, "byte {place} of {}", event.name());
            }
            assert!(decode(7, &frame[..place], Some(&previous)).is_err(), "cut to {place} bytes");
            assert!(decode(7, &frame[..place], None).is_err(), "cut to {place} bytes");
            assert!(
                decode(7, &frame[place + 1..], Some(&previous)).is_err(),
                "{place} bytes off its beginning"
            );
        }
        let mut longer = frame.clone();
        longer.push(0);
        assert!(decode(7, &longer, Some(&previous)).is_err());
    }
}

#[test]
fn damage_is_named() {
    let stopped = Event::from(event::ServerStopped { abandoned: 3 });
    let (first, previous) = encode(1, 5, &stopped, &ChainHash::START).unwrap();
    let (frame, _) = encode(2, 5, &stopped, &previous).unwrap();
    let damage = |frame: &[u8]| decode(2, frame, Some(&previous)).unwrap_err();
    assert_eq!(damage(&[]), Damage::Length);
    assert_eq!(damage(&[0; HEAD + CHECK + HASH - 1]), Damage::Length);
    assert_eq!(damage(&first), Damage::Position(1));
    assert_eq!(decode(2, &frame, Some(&ChainHash::START)).unwrap_err(), Damage::Chain);
    assert_eq!(damage(&forge(&frame, |bytes| bytes[0] = 2, Some(&previous))), Damage::Format(2));
    assert_eq!(damage(&forge(&frame, |bytes| bytes[25] += 1, Some(&previous))), Damage::Length);
    assert_eq!(damage(&forge(&frame, |bytes| bytes[HEAD] = 4, None)), Damage::Chain);
    let forged = forge(&frame, |bytes| bytes[HEAD] = 4, Some(&previous));
    let (recorded, _) = decode(2, &forged, Some(&previous)).unwrap();
    assert_eq!(recorded.event, event::ServerStopped { abandoned: 4 }.into(), "only its successor can tell");
    let left_over = |bytes: &mut Vec<u8>| {
        bytes.push(0);
        bytes[25] += 1;
    };
    assert!(
        matches!(damage(&forge(&frame, left_over, Some(&previous))), Damage::Payload(why) if why.contains("left over"))
    );
    let senseless = |bytes: &mut Vec<u8>| bytes[HEAD] = 255;
    assert!(matches!(damage(&forge(&frame, senseless, Some(&previous))), Damage::Payload(_)));
}

proptest! {
    #[test]
    fn events_survive((seq, at, event) in (any::<Seq>(), any::<Millis>(), history::event()), hash in any::<[u8; 32]>()) {
        let previous = ChainHash(hash);
        let (frame, hash) = encode(seq, at, &event, &previous).unwrap();
        let (recorded, decoded_hash) = decode(seq, &frame, Some(&previous)).unwrap();
        prop_assert_eq!(decoded_hash, hash);
        prop_assert_eq!(encode(seq, at, &recorded.event, &previous).unwrap().0, frame);
        prop_assert_eq!(recorded, Recorded { seq, at, event });
    }

    #[test]
    fn what_a_newer_program_wrote_survives_byte_for_byte(events in vec(history::unknown(), 1..8)) {
        let events: Vec<Recorded> = (1..).zip(events).map(|(seq, event)| Recorded { seq, at: 9, event }).collect();
        let written = frames(&events);
        let again = read(&written).unwrap();
        prop_assert!(again.iter().all(|recorded| matches!(recorded.event, Event::Unknown(_))));
        prop_assert_eq!(frames(&again), written);
        prop_assert_eq!(again, events);
    }

    /// The log as checkpoints would store it.
    #[test]
    fn a_state_survives_bincode(events in history::history(80), cut in any::<prop::sample::Index>()) {
        let (before, after) = events.split_at(cut.index(events.len() + 1));
        let state = State::replay(before);
        let bytes = bincode::serde::encode_to_vec(&state, config()).unwrap();
        let (mut restored, used): (State, usize) = bincode::serde::decode_from_slice(&bytes, config()).unwrap();
        prop_assert_eq!(used, bytes.len());
        prop_assert_eq!(&restored, &state);
        after.iter().for_each(|recorded| restored.apply(recorded));
        prop_assert_eq!(restored, State::replay(&events));
    }

    #[test]
    fn missing_swapped_and_doubled_frames_are_found(
        events in history::history(20),
        (one, two) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        prop_assume!(events.len() >= 2);
        let whole = frames(&events);
        prop_assert_eq!(read(&whole).unwrap(), events);
        let length = whole.len();
        let last = length as Seq;
        let (one, two) = (one.index(length - 1), two.index(length));
        let place = one as Seq + 1;

        let mut missing = whole.clone();
        missing.remove(one);
        prop_assert_eq!(read(&missing).unwrap_err(), (place, Damage::Position(place + 1)));

        let mut doubled = whole.clone();
        doubled.insert(one, whole[one].clone());
        prop_assert_eq!(read(&doubled).unwrap_err(), (place + 1, Damage::Position(place)));

        if one != two {
            let mut swapped = whole.clone();
            swapped.swap(one, two);
            let first = one.min(two) as Seq + 1;
            prop_assert_eq!(read(&swapped).unwrap_err(), (first, Damage::Position(one.max(two) as Seq + 1)));
        }

        // Also where somebody gives the frames after the gap the numbers and checksums that go with it.
        let renumber = |(seq, frame): (Seq, &Vec<u8>)| {
            forge(frame, |bytes| bytes[6..14].copy_from_slice(&seq.to_be_bytes()), None)
        };
        let renumbered: Vec<_> = (1..last).zip(&missing).map(renumber).collect();
        prop_assert_eq!(read(&renumbered).unwrap_err(), (place, Damage::Chain));

        // And where somebody also chains a changed one anew: then its successor tells.
        if one + 1 < length {
            let mut hash = ChainHash::START;
            for frame in &whole[..one] {
                hash = ChainHash(*frame.last_chunk().unwrap());
            }
            let mut changed = whole.clone();
            changed[one] = forge(&whole[one], |bytes| bytes[21] ^= 1, Some(&hash));
            prop_assert_eq!(read(&changed).unwrap_err(), (place + 1, Damage::Chain));
        }
    }
}
