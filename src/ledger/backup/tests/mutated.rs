//! Backups that somebody changed, down to what a checksum vouches for: restored in this process, thousands of them.

use std::path::Path;

use super::*;
use crate::{
    journal::{
        Frame, Numbered,
        codec::tests::mutated::{Dice, most_memory},
    },
    ledger::segment_of_frame,
};

/// A container, taken apart.
#[derive(Clone)]
struct Parts {
    manifest: Vec<u8>,
    records: Vec<(u8, Vec<u8>)>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut at = 14 + number(10);
        let manifest = bytes[14..at].to_vec();
        let mut records = Vec::new();
        while at < bytes.len() {
            let end = at + 5 + number(at + 1);
            records.push((bytes[at], bytes[at + 5..end].to_vec()));
            at = end;
        }
        Self { manifest, records }
    }

    /// Gives every frame the checksum, the place and the link that its content wants, as somebody would who means it.
    fn chain_anew(&mut self) {
        let mut hash: [u8; 32] = [0; 32];
        for (_, frame) in self.records.iter_mut().filter(|(tag, _)| *tag == FRAME) {
            let Some(content) = frame.len().checked_sub(36) else { continue };
            frame.truncate(content);
            let length = (content.saturating_sub(26) as u32).to_be_bytes();
            if let Some(place) = frame.get_mut(22..26) {
                place.copy_from_slice(&length);
            }
            frame.extend(crc32fast::hash(frame).to_be_bytes());
            let mut hasher = blake3::Hasher::new();
            hasher.update(&hash).update(frame);
            hash = *hasher.finalize().as_bytes();
            frame.extend(hash);
        }
        let mut manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap();
        manifest["chain"] = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        self.manifest = serde_json::to_vec(&manifest).unwrap();
    }

    /// The container, with the end that goes with it.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend((self.manifest.len() as u32).to_be_bytes());
        bytes.extend(&self.manifest);
        let count = |wanted| self.records.iter().filter(|(tag, _)| *tag == wanted).count() as u64;
        for (tag, content) in self.records.iter().filter(|(tag, _)| *tag != END) {
            bytes.push(*tag);
            bytes.extend((content.len() as u32).to_be_bytes());
            bytes.extend(content);
        }
        let mut end = count(FRAME).to_be_bytes().to_vec();
        end.extend(count(SECRET).to_be_bytes());
        end.extend(blake3::hash(&bytes).as_bytes());
        bytes.push(END);
        bytes.extend((end.len() as u32).to_be_bytes());
        bytes.extend(end);
        bytes
    }
}

/// Restores it as the command does, but into memory; whether it came to its end.
fn restored(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::open(bytes) else { return false };
    let journal = MemoryJournal::new();
    loop {
        let (mut entries, mut secrets) = (Vec::<Numbered>::new(), Vec::new());
        match reader.read() {
            Ok(Some(Item::Frame(entry))) => {
                let segment = segment_of_frame(&entry.frame);
                entries.push((entry.seq, Frame { segment, bytes: entry.frame }));
            }
            Ok(Some(Item::Secret(secret))) => secrets.push(secret),
            Ok(Some(Item::Base(base))) => base.restore(&journal).unwrap(),
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        }
        if journal.adopt(&entries, &secrets).is_err() {
            return false;
        }
    }
    crate::ledger::replay::replay(&journal, 1_000).is_ok()
}

/// A log of which traffic was dropped, so that it has a checkpoint; by hand, because none of the fixtures is one.
fn with_a_base(parts: &Parts) -> Parts {
    let frames: Vec<_> =
        parts.records.iter().filter(|(tag, _)| *tag == FRAME).map(|(_, frame)| frame).collect();
    let recorded = (1..).zip(&frames).map(|(seq, frame)| codec::decode(seq, frame, None).unwrap().0);
    let state = projections::State::replay(&recorded.collect::<Vec<_>>());
    let hash = codec::ChainHash::of(frames.last().unwrap()).unwrap();
    let base = crate::ledger::checkpoint::Packed::base(&state, hash).unwrap().to_bytes();
    let mut parts = parts.clone();
    let place = parts.records.iter().position(|(tag, _)| *tag == FRAME).unwrap();
    parts.records.insert(place, (BASE, base));
    parts
}

fn mutate(name: &str, seed: u64, rounds: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let whole = std::fs::read(path).unwrap();
    assert!(restored(&whole));
    let parts = Parts::of(&whole);
    let based = with_a_base(&parts);
    let mut again = based.clone();
    again.chain_anew();
    assert!(restored(&again.bytes()), "taken apart and put together it is the same");
    let (mut dice, mut good, before) = (Dice(seed), 0, most_memory());
    for _ in 0..rounds {
        let changed = match dice.roll(3) {
            // As a disk changes it.
            0 => {
                let mut bytes = whole.clone();
                dice.change(&mut bytes);
                bytes
            }
            // As somebody does who knows the container.
            kind => {
                let mut parts = based.clone();
                for _ in 0..=dice.roll(2) {
                    let place = dice.roll(parts.records.len());
                    dice.change(&mut parts.records[place].1);
                }
                if kind == 2 {
                    parts.chain_anew();
                }
                parts.bytes()
            }
        };
        good += usize::from(restored(&changed));
    }
    assert!(
        good > rounds / 100,
        "{good} of {rounds} were good all the same, so that what is below was reached"
    );
    assert!(most_memory() < before + (256 << 20), "{} bytes at most", most_memory());
}

#[test]
fn a_changed_backup_of_the_first_version_is_refused_or_restored() {
    mutate("old-log-1.backup", 3, 1_500);
}

#[test]
fn a_changed_backup_of_the_second_version_is_refused_or_restored() {
    mutate("old-log-2.backup", 5, 1_500);
}
