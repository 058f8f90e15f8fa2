mod mutated;

use std::sync::Arc;

use projections::event::{Actor, BackupMade, ServerStarted, ServerStopped};

use super::*;
use crate::{
    journal::{Journal, SecretChange, memory::MemoryJournal},
    ledger::{Ledger, clock::Clock, rules::Decision},
};

fn sealed(name: &str) -> SecretChange {
    SecretChange { name: name.to_owned(), sealed: Some(format!("sealed bytes of {name}").into_bytes()) }
}

/// A log of some events, and what a backup of it is.
async fn packed(events: u32) -> Vec<u8> {
    let journal = Arc::new(MemoryJournal::new());
    let ledger = Ledger::open(journal, Clock::driven(|| 1_795_000_000_000), || 3, Vec::new()).unwrap();
    for abandoned in 0..events {
        let secrets = if abandoned < 2 { vec![sealed(&format!("key/{abandoned}"))] } else { Vec::new() };
        let events = vec![ServerStopped { abandoned }.into()];
        ledger.commit(move |_| Ok(Decision { events, secrets, answer: () })).await.unwrap();
    }
    let backup = ledger.backup(Actor::Cli).await.unwrap();
    let manifest = backup.manifest().clone();
    assert_eq!((manifest.through, manifest.secrets), (u64::from(events), u64::from(events.min(2))));
    let mut bytes = Vec::new();
    // What comes later is not in it.
    let later = ServerStarted { version: "later".to_owned(), address: "here".to_owned() };
    ledger.note(later).await.unwrap();
    backup
        .pack(|piece| {
            bytes.extend(piece);
            true
        })
        .unwrap();
    let noted = ledger.events(u64::from(events), 10).unwrap();
    let made = BackupMade { through: u64::from(events), actor: Actor::Cli };
    assert_eq!(noted.first().unwrap().event, made.into());
    ledger.close().await;
    bytes
}

fn unpacked(bytes: &[u8]) -> Result<(Manifest, Vec<Item>), Unreadable> {
    let mut reader = Reader::open(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.read()? {
        items.push(item);
    }
    assert!(reader.read()?.is_none());
    Ok((reader.manifest().clone(), items))
}

#[tokio::test]
async fn what_is_packed_is_what_was_there() {
    for events in [0, 1, 3, 2_100] {
        let bytes = packed(events).await;
        let (manifest, items) = unpacked(&bytes).unwrap();
        let secrets = items.iter().filter_map(|item| match item {
            Item::Secret(secret) => Some(secret.clone()),
            Item::Base(_) | Item::Frame(_) => None,
        });
        let wanted: Vec<_> = (0..events.min(2)).map(|n| sealed(&format!("key/{n}"))).collect();
        assert_eq!(secrets.collect::<Vec<_>>(), wanted);
        let frames: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Frame(entry) => Some(entry),
                Item::Secret(_) | Item::Base(_) => None,
            })
            .collect();
        assert_eq!(frames.len() as u64, manifest.through);
        for (abandoned, entry) in (0..).zip(frames) {
            let (recorded, _) = codec::decode(entry.seq, &entry.frame, None).unwrap();
            assert_eq!(recorded.event, ServerStopped { abandoned }.into());
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_seen() {
    let bytes = packed(3).await;
    unpacked(&bytes).unwrap();
    for place in 0..bytes.len() {
        // The manifest's words for people (version, time) are under the checksum, like everything.
        let mut bad = bytes.clone();
        bad[place] ^= 1 << (place % 8);
        assert!(unpacked(&bad).is_err(), "byte {place} of {}", bytes.len());
        assert!(unpacked(&bytes[..place]).is_err(), "cut to {place} bytes");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(unpacked(&longer), Err(Unreadable::Damaged("something follows its end"))));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bytes = packed(3).await;
    assert!(matches!(unpacked(b""), Err(Unreadable::NoBackup)));
    assert!(matches!(unpacked(b"{\"keys\": []} and more"), Err(Unreadable::NoBackup)));
    assert!(matches!(unpacked(&bytes[..bytes.len() - 1]), Err(Unreadable::CutOff { events: 3 })));
    let mut newer = bytes.clone();
    newer[9] = 3;
    assert!(matches!(unpacked(&newer), Err(Unreadable::Newer(3))));
}

/// Somebody who gives a doctored container its checksum still has to give each event its place in the chain.
#[tokio::test]
async fn an_event_that_is_left_out_is_missed() {
    let bytes = packed(3).await;
    let (manifest, items) = unpacked(&bytes).unwrap();
    let head = 14 + serde_json::to_vec(&manifest).unwrap().len();
    let mut forged = bytes[..head].to_vec();
    let mut frames = 0u64;
    for item in &items {
        let (tag, content) = match item {
            Item::Secret(SecretChange { name, sealed }) => {
                let mut content = (name.len() as u16).to_be_bytes().to_vec();
                content.extend(name.as_bytes());
                content.extend(sealed.as_ref().unwrap());
                (SECRET, content)
            }
            Item::Base(_) => continue,
            Item::Frame(entry) if entry.seq == 2 => continue,
            Item::Frame(entry) => {
                frames += 1;
                (FRAME, entry.frame.clone())
            }
        };
        forged.push(tag);
        forged.extend((content.len() as u32).to_be_bytes());
        forged.extend(content);
    }
    let digest = *blake3::hash(&forged).as_bytes();
    forged.push(END);
    forged.extend((END_BYTES as u32).to_be_bytes());
    forged.extend(frames.to_be_bytes());
    forged.extend(manifest.secrets.to_be_bytes());
    forged.extend(digest);
    assert!(matches!(unpacked(&forged), Err(Unreadable::Missing { seq: 2 })));
}

#[tokio::test]
async fn a_log_that_is_damaged_is_not_backed_up() {
    let journal: Arc<MemoryJournal> = Arc::default();
    let ledger = Ledger::open(Arc::clone(&journal) as _, Clock::driven(|| 5), || 3, Vec::new()).unwrap();
    ledger.note(ServerStopped { abandoned: 1 }).await.unwrap();
    let backup = ledger.backup(Actor::Cli).await.unwrap();
    journal.cut(0).unwrap();
    let refused = backup.pack(|_| true).unwrap_err();
    assert!(matches!(refused, Unpackable::Trimmed { seq: 1 }), "{refused}");
}
