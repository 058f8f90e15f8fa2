//! See [`crate::fuzzing`]: frames of the log, and backups of it.

use std::io::{self, Read};

use projections::{Class, Event, event::Unknown};

use super::backup::{Item, Reader};
use crate::{
    fuzzing::pieces,
    journal::{
        codec::{self, ChainHash},
        position,
    },
};

/// Frames of the log and packed states: what is read and written again is what was read, whoever wrote it.
pub fn codec(data: &[u8]) {
    let _ = position(data);
    let _ = codec::peek(data);
    for seq in [0, 1, position(data).unwrap_or_default()] {
        if let Ok((recorded, _)) = codec::decode(seq, data, None) {
            is_read_as_written(&recorded.event);
        }
    }
    if let Some(state) = codec::unpack(data) {
        let packed = codec::pack(&state).expect("a state that was read is written");
        let again = codec::unpack(&packed).expect("and read again");
        assert!(codec::pack(&again).is_ok_and(|bytes| bytes == packed), "a state changes when it is packed");
    }
    // With the right checksum, so that the payload is looked at.
    if let Some(([k0, k1, version, class], payload)) = data.split_first_chunk() {
        let class = [Class::Control, Class::Health, Class::Traffic][usize::from(*class) % 3];
        let payload = payload.to_vec();
        let kind = u16::from_be_bytes([*k0, *k1]) % 512;
        let event = Event::Unknown(Unknown { kind, version: *version % 4, class, codec: 1, payload });
        let (frame, hash) = codec::encode(7, -1, &event, &ChainHash::START).expect("it fits a frame");
        match codec::decode(7, &frame, Some(&ChainHash::START)) {
            Ok((recorded, its)) => {
                assert_eq!((recorded.seq, recorded.at, its), (7, -1, hash));
                is_read_as_written(&recorded.event);
            }
            Err(damage) => assert!(!damage.is_torn(), "it was written whole: {damage}"),
        }
    }
}

fn is_read_as_written(event: &Event) {
    let (frame, hash) =
        codec::encode(3, 5, event, &ChainHash::START).expect("an event that was read is written");
    let (again, its) = codec::decode(3, &frame, Some(&ChainHash::START)).expect("and read again");
    assert_eq!((&again.event, its), (event, hash));
}

/// What a backup says, and how many things it held; none: it is none that can be trusted.
fn unpacked(from: impl Read) -> Option<(usize, usize)> {
    let mut reader = Reader::open(from).ok()?;
    let (mut items, mut bytes) = (0, 0);
    while let Some(item) = reader.read().ok()? {
        items += 1;
        bytes += match item {
            Item::Frame(entry) => entry.frame.len(),
            Item::Secret(secret) => secret.sealed.map_or(0, |sealed| sealed.len()),
            Item::Base(_) => 0,
        };
    }
    Some((items, bytes))
}

/// Reads as a pipe does.
struct Pipe<'a>(std::vec::IntoIter<&'a [u8]>, &'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.next().unwrap_or_default();
        }
        self.1.read(into)
    }
}

/// Backups: one that is read to its end holds no more than it has bytes, comes through any pipe, and is none any more
/// when a byte is missing or changed.
pub fn backup(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else { return };
    let whole = unpacked(data);
    let piped = unpacked(Pipe(pieces(data, *seed).into_iter(), &[]));
    assert_eq!(whole, piped, "how it is cut makes a difference");
    let Some((_, bytes)) = whole else { return };
    assert!(bytes < data.len());
    assert_eq!(unpacked(&data[..data.len() - 1]), None, "its end is missing");
    let mut changed = data.to_vec();
    let place = usize::from(*seed) * 31 % changed.len();
    changed[place] ^= 1;
    assert_eq!(unpacked(changed.as_slice()), None, "byte {place} is another");
}
