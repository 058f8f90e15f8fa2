//! Old logs: what a release wrote is read for ever, and comes to the same state.
//!
//! A file in `tests/fixtures` is a backup that holds every shape of every event that was ever written up to its
//! time, made of the golden bytes in `tests/golden` by hand: frames, chain and container are written here as their
//! documentation says, not by the program. It is written once and never changed. When a shape is new, the next file
//! is added: `cargo nextest run --test it write_the_next_old_log --run-ignored only`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gemini_pool::{
    journal::{
        codec::{self, ChainHash},
        fjall::FjallJournal,
    },
    ledger::{
        Ledger,
        backup::{Item, Reader},
        clock::Clock,
    },
    vault::{UpstreamKey, Vault},
};
use projections::{Digest, Event, event::LogTrimmed};
use secrecy::SecretString;

use crate::support::Setup;

/// What the secrets in the fixtures are sealed with.
const MASTER_KEY: &str = "the master key of old logs";
/// The upstream key in them.
const UPSTREAM_KEY: &str = "AIza-of-an-old-log-0001";
/// When the first event was recorded, and from each to the next.
const AT: i64 = 1_795_000_000_123;
const STEP: i64 = 1_000;
/// What takes things away: the second time round they stay.
const TAKES_AWAY: [&str; 6] =
    ["KeyRemoved", "KeyReset", "ClientRemoved", "LogTrimmed", "GateOpened", "ResourceReleased"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn fixtures() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder("fixtures")).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "backup"));
    found.sort();
    found
}

/// One golden frame, taken apart: its type's name, and what does not depend on its place in a log.
#[derive(Clone)]
struct Golden {
    name: String,
    /// Frame format, codec, class, version, kind.
    head: [u8; 6],
    payload: Vec<u8>,
}

impl Golden {
    fn new(name: &str, frame: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            head: frame[..6].try_into().unwrap(),
            payload: frame[26..frame.len() - 36].to_vec(),
        }
    }
}

/// Every golden frame, by kind and version.
fn golden() -> Vec<Golden> {
    let mut all = Vec::new();
    for file in fs::read_dir(folder("golden")).unwrap() {
        let path = file.unwrap().path();
        let (name, _) = path.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
            let frame: Vec<u8> = (0..line.len()).step_by(2).map(byte).collect();
            all.push(Golden::new(name, &frame));
        }
    }
    let place = |golden: &Golden| ([golden.head[4], golden.head[5]], golden.head[3]);
    all.sort_by_key(place);
    all
}

/// A log, written by hand.
#[derive(Default)]
struct Written {
    frames: Vec<Vec<u8>>,
    hash: [u8; 32],
}

impl Written {
    fn at(&self) -> i64 {
        AT + STEP * self.frames.len() as i64
    }

    fn append(&mut self, event: &Golden) {
        let mut frame = event.head.to_vec();
        frame.extend((self.frames.len() as u64 + 1).to_be_bytes());
        frame.extend(self.at().to_be_bytes());
        frame.extend((event.payload.len() as u32).to_be_bytes());
        frame.extend(&event.payload);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        self.hash = *blake3::hash(&[&self.hash[..], &frame].concat()).as_bytes();
        frame.extend(self.hash);
        self.frames.push(frame);
    }

    /// What a trim of this log would say that found nothing to drop. The golden one tells of another log.
    fn trimmed(&self) -> Golden {
        let through = self.frames.len() as u64;
        let trimmed = LogTrimmed {
            after: 0,
            through,
            at: self.at() - STEP,
            hash: Digest(self.hash),
            dropped: 0,
            kept: through,
            digest: Digest(*blake3::hash(&self.frames.concat()).as_bytes()),
        };
        let (frame, _) = codec::encode(1, 0, &Event::from(trimmed), &ChainHash::START).unwrap();
        Golden::new("LogTrimmed", &frame)
    }

    fn container(&self, secrets: &[(String, Vec<u8>)]) -> Vec<u8> {
        let chain: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let manifest = format!(
            r#"{{"version":"0.1.0","made":"2026-11-24T00:00:00.000Z","through":{},"chain":"{chain}","secrets":{}}}"#,
            self.frames.len(),
            secrets.len(),
        );
        let mut bytes = b"GPBACKUP\0\x01".to_vec();
        let record = |bytes: &mut Vec<u8>, tag: &[u8], content: &[u8]| {
            bytes.extend(tag);
            bytes.extend((content.len() as u32).to_be_bytes());
            bytes.extend(content);
        };
        record(&mut bytes, b"", manifest.as_bytes());
        for (name, sealed) in secrets {
            let length = (name.len() as u16).to_be_bytes();
            record(&mut bytes, b"S", &[&length[..], name.as_bytes(), sealed].concat());
        }
        self.frames.iter().for_each(|frame| record(&mut bytes, b"F", frame));
        let (events, sealed) = (self.frames.len() as u64, secrets.len() as u64);
        let digest = *blake3::hash(&bytes).as_bytes();
        record(&mut bytes, b"E", &[&events.to_be_bytes()[..], &sealed.to_be_bytes(), &digest].concat());
        bytes
    }
}

#[test]
#[ignore = "writes a file that is never changed again; run it by hand when an event has a new shape"]
fn write_the_next_old_log() {
    let mut written = Written::default();
    for event in golden() {
        written.append(&if event.name == "LogTrimmed" { written.trimmed() } else { event });
    }
    let again = golden().into_iter().filter(|event| !TAKES_AWAY.contains(&&*event.name));
    again.for_each(|event| written.append(&event));
    let (vault, fresh) = Vault::open(&SecretString::from(MASTER_KEY), &[]).unwrap();
    let (_, key) = vault.admit(UpstreamKey::new(UPSTREAM_KEY).unwrap()).unwrap();
    let secrets = fresh.into_iter().chain([key]).map(|change| (change.name, change.sealed.unwrap()));
    let bytes = written.container(&secrets.collect::<Vec<_>>());
    assert!(bytes.len() < 200_000);
    let name = format!("old-log-{}.backup", fixtures().len() + 1);
    fs::write(folder("fixtures").join(name), bytes).unwrap();
}

/// Kind and version of every event in a backup.
fn shapes(path: &Path) -> BTreeSet<(u16, u8)> {
    let mut reader = Reader::open(fs::File::open(path).unwrap()).unwrap();
    let mut shapes = BTreeSet::new();
    while let Some(item) = reader.read().unwrap() {
        if let Item::Frame(entry) = item {
            shapes.insert((u16::from_be_bytes([entry.frame[4], entry.frame[5]]), entry.frame[3]));
        }
    }
    shapes
}

#[test]
fn every_shape_that_was_ever_written_is_in_an_old_log() {
    let golden: BTreeSet<_> = golden()
        .iter()
        .map(|event| (u16::from_be_bytes([event.head[4], event.head[5]]), event.head[3]))
        .collect();
    let found: BTreeSet<_> = fixtures().iter().flat_map(|path| shapes(path)).collect();
    let missing: Vec<_> = golden.difference(&found).collect();
    assert!(missing.is_empty(), "no old log holds {missing:?} (kind, version); see the head of this file");
}

/// Through the real command, into a real data directory, and from there as a server reads it.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_log_replays_to_the_same_state() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for path in fixtures {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let setup = Setup::alone().with("MASTER_KEY", MASTER_KEY);
        let output = setup.run(&["restore", path.to_str().unwrap()], "");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && told.contains("opens its secrets"), "{told}");
        let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
        let ledger = Ledger::open(Arc::new(journal), Clock::driven(|| AT), || 3, Vec::new()).unwrap();
        let events = ledger.events(0, 100_000).unwrap();
        let (last, old) = events.split_last().unwrap();
        assert!(matches!(&last.event, Event::BackupRestored(event) if event.through == old.len() as u64));
        let state = projections::State::replay(old);
        let text = serde_json::to_string_pretty(&state).unwrap();
        insta::with_settings!({
            snapshot_path => "../../snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => "What an old log comes to. New fields may be added; what is there may change only on purpose.",
        }, {
            insta::assert_snapshot!(name.replace('-', "_"), text);
        });
        assert!(old.iter().all(|recorded| !matches!(recorded.event, Event::Unknown(_))));
        ledger.close().await;
    }
}
