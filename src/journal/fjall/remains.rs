//! What can still be read of a journal that is damaged, from a copy of its folder.
//!
//! Owns the copy: there, write-ahead files are written anew with their whole batches alone, and what the store cannot open
//! is moved out of its way, a keyspace at a time. It refuses to write to the folder itself, and to vouch for anything:
//! whoever reads it checks each record. Its invariant: **a record that lies whole anywhere in the folder is found**,
//! unless the keyspace that holds it does not open at all.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use fjall::{Database, Keyspace};
use projections::Seq;

use super::{
    opening::{self, open_head, quietly, read_head},
    segments::{SEGMENTS, entry_of, key_of, seq_of_key},
    spaces, write_ahead,
};
use crate::journal::{
    Batch, Derived, Entry, Error, Journal, Numbered, SecretChange, Segment, SegmentSpan,
    derived::{Put, Row},
};

/// Places looked at together.
const PAGE: Seq = 4_096;

/// See the module. A journal to read; every write is refused.
pub struct Remains {
    store: Option<Store>,
    /// What the write-ahead files hold, where a keyspace does not open.
    records: BTreeMap<Seq, Vec<u8>>,
    secrets: BTreeMap<String, Option<Vec<u8>>>,
    last: Seq,
    /// What could not be read, in people's words.
    notes: Vec<String>,
}

struct Store {
    db: Database,
    /// `log` and the segments.
    parts: Vec<Keyspace>,
    vault: Option<Keyspace>,
}

impl Remains {
    /// Copies a journal's folder to `copy`, which is not there yet, and opens what opens of it.
    ///
    /// # Errors
    /// [`Error::InUse`]. [`Error::Store`]: the copy cannot be made.
    pub fn of(folder: &Path, copy: &Path) -> Result<Self, Error> {
        let failed =
            |source: io::Error| Error::Store { what: "copy", path: folder.to_owned(), source: source.into() };
        if super::FjallJournal::is_open(folder) {
            return Err(Error::InUse { path: folder.to_owned() });
        }
        let mut notes = Vec::new();
        copy_all(folder, copy, &mut notes).map_err(failed)?;
        let known = open_head(copy).and_then(|head| read_head(&head)).unwrap_or(0);
        make_openable(copy, &mut notes).map_err(failed)?;
        let is_whole = opens(copy);
        if !is_whole {
            set_broken_aside(copy, &mut notes).map_err(failed)?;
        }
        let store = open_bare(copy).map(Store::of);
        let mut remains =
            Self { store, records: BTreeMap::new(), secrets: BTreeMap::new(), last: known, notes };
        if !is_whole {
            remains.read_write_ahead(copy).map_err(failed)?;
        }
        let parts = remains.store.iter().flat_map(|store| &store.parts);
        let ends = parts
            .filter_map(|rows| quietly(|| rows.last_key_value().and_then(|last| last.key().ok())).flatten());
        let last = ends.filter_map(|key| seq_of_key(&key)).chain(remains.records.keys().copied()).max();
        remains.last = remains.last.max(last.unwrap_or(0));
        Ok(remains)
    }

    /// What could not be read, in people's words.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn read_write_ahead(&mut self, copy: &Path) -> io::Result<()> {
        for file in write_ahead::files(copy)? {
            write_ahead::each_whole_batch(&file, &mut |items| {
                for item in items {
                    let Ok(value) = item.value() else { continue };
                    if let (Some(seq), Some(frame)) = (seq_of_key(item.key), &value) {
                        self.records.insert(seq, frame.clone());
                    } else if let Some(name) = secret_name(item.key) {
                        self.secrets.insert(name, value);
                    }
                }
            })?;
        }
        Ok(())
    }

    fn record_of(&self, seq: Seq) -> Option<Vec<u8>> {
        let store = self.store.as_ref();
        let mut parts = store.into_iter().flat_map(|store| &store.parts);
        parts
            .find_map(|rows| quietly(|| rows.get(key_of(seq)).ok().flatten()).flatten())
            .map(|frame| frame.to_vec())
    }

    /// What can be read of the places from `first` to `last`.
    fn page(&self, first: Seq, last: Seq) -> BTreeMap<Seq, Vec<u8>> {
        let mut found: BTreeMap<Seq, Vec<u8>> = BTreeMap::new();
        for rows in self.store.iter().flat_map(|store| &store.parts) {
            let run = quietly(|| {
                let run = rows.range(key_of(first)..=key_of(last)).map(entry_of);
                run.collect::<Result<Vec<_>, _>>().ok()
            });
            match run.flatten() {
                Some(entries) => found.extend(entries.into_iter().map(|entry| (entry.seq, entry.frame))),
                // One by one: damage elsewhere does not hide them.
                None => found.extend((first..=last).filter_map(|seq| {
                    let frame = quietly(|| rows.get(key_of(seq)).ok().flatten()).flatten()?;
                    Some((seq, frame.to_vec()))
                })),
            }
        }
        for (seq, frame) in self.records.range(first..=last) {
            found.entry(*seq).or_insert_with(|| frame.clone());
        }
        found
    }

    fn refused(&self) -> Error {
        Error::Poisoned
    }

    fn space(&self, space: &str) -> Option<Keyspace> {
        let db = &self.store.as_ref()?.db;
        existing(db, &format!("{}{space}", spaces::PREFIX))
    }
}

impl Store {
    fn of(db: Database) -> Self {
        let names = db.list_keyspace_names();
        let is_part = |name: &str| name == "log" || name.starts_with(SEGMENTS);
        let parts =
            names.iter().filter(|name| is_part(name)).filter_map(|name| existing(&db, name)).collect();
        Self { parts, vault: existing(&db, "vault"), db }
    }
}

/// A keyspace that is there; none is made.
fn existing(db: &Database, name: &str) -> Option<Keyspace> {
    db.list_keyspace_names().iter().any(|known| &**known == name).then_some(())?;
    quietly(|| db.keyspace(name, fjall::KeyspaceCreateOptions::default).ok()).flatten()
}

fn secret_name(key: &[u8]) -> Option<String> {
    let name = str::from_utf8(key).ok()?;
    let is_one = ["key/", "proxy/", "meta/"].iter().any(|prefix| name.starts_with(prefix));
    is_one.then(|| name.to_owned())
}

impl Journal for Remains {
    fn append(&self, _: Batch<'_>) -> Result<(), Error> {
        Err(self.refused())
    }

    fn adopt(&self, _: &[Numbered], _: &[SecretChange]) -> Result<(), Error> {
        Err(self.refused())
    }

    fn sync(&self) -> Result<(), Error> {
        Err(self.refused())
    }

    fn last(&self) -> Seq {
        self.last
    }

    /// Of what can be read; so places may be missing.
    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut first = after.saturating_add(1);
        while first <= self.last && entries.len() < limit {
            let left = Seq::try_from(limit - entries.len()).unwrap_or(PAGE).min(PAGE);
            let last = first.saturating_add(left - 1).min(self.last);
            entries.extend(self.page(first, last).into_iter().map(|(seq, frame)| Entry { seq, frame }));
            first = last.saturating_add(1);
        }
        Ok(entries)
    }

    fn record(&self, seq: Seq) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.record_of(seq).or_else(|| self.records.get(&seq).cloned()))
    }

    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut last = before.saturating_sub(1).min(self.last);
        while last > 0 && entries.len() < limit {
            let first = last.saturating_sub(PAGE - 1).max(1);
            entries.extend(self.page(first, last).into_iter().rev().map(|(seq, frame)| Entry { seq, frame }));
            last = first - 1;
        }
        entries.truncate(limit);
        Ok(entries)
    }

    fn segments(&self) -> Vec<SegmentSpan> {
        Vec::new()
    }

    fn drop_segments(&self, _: Segment) -> Result<(), Error> {
        Err(self.refused())
    }

    fn cut(&self, _: Seq) -> Result<(), Error> {
        Err(self.refused())
    }

    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut secrets = BTreeMap::new();
        for row in self.store.iter().filter_map(|store| store.vault.as_ref()).flat_map(Keyspace::iter) {
            if let Ok((name, sealed)) = row.into_inner() {
                secrets.insert(String::from_utf8_lossy(&name).into_owned(), sealed.to_vec());
            }
        }
        for (name, sealed) in &self.secrets {
            match sealed {
                Some(sealed) => drop(secrets.insert(name.clone(), sealed.clone())),
                None => drop(secrets.remove(name)),
            }
        }
        Ok(secrets.into_iter().collect())
    }
}

impl Derived for Remains {
    fn write(&self, _: &'static str, _: &[Put]) -> Result<(), Error> {
        Err(self.refused())
    }

    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(rows) = self.space(space) else { return Ok(None) };
        Ok(quietly(|| rows.get(key).ok().flatten()).flatten().map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let Some(keyspace) = self.space(space).filter(|_| from < to) else { return Ok(Vec::new()) };
        let found = quietly(|| {
            let rows = keyspace.range::<&[u8], _>(from..to).filter_map(|guard| guard.into_inner().ok());
            rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>()
        });
        let mut found = found.unwrap_or_default();
        if newest_first {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// Copies what can be read of a folder; what cannot is noted.
fn copy_all(from: &Path, to: &Path, notes: &mut Vec<String>) -> io::Result<()> {
    opening::private(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, there) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_all(&path, &there, notes)?;
        } else if let Err(error) = fs::copy(&path, &there) {
            if error.kind() == io::ErrorKind::StorageFull {
                return Err(error);
            }
            notes.push(format!("{} cannot be read: {error}", path.display()));
        }
    }
    Ok(())
}

/// Gives the copy what the store insists on, and its write-ahead files what is whole in them.
fn make_openable(copy: &Path, notes: &mut Vec<String>) -> io::Result<()> {
    fs::write(copy.join("lock"), [])?;
    fs::write(copy.join("version"), write_ahead::TRAILER)?;
    opening::private(&copy.join("keyspaces"))?;
    for entry in fs::read_dir(copy)? {
        let path = entry?.path();
        // One that a start had set aside whole.
        if path.extension().is_some_and(|end| end == "torn") {
            fs::rename(&path, path.with_extension(""))?;
        }
    }
    for file in write_ahead::files(copy)? {
        let lost = write_ahead::keep_whole_batches(&file)?;
        if lost > 0 {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            notes.push(format!("{lost} bytes of `{name}` are in no whole batch"));
        }
    }
    Ok(())
}

fn open_bare(copy: &Path) -> Option<Database> {
    quietly(|| opening::builder(copy).open().ok()).flatten()
}

fn opens(copy: &Path) -> bool {
    open_bare(copy).is_some()
}

/// Moves the keyspaces aside that keep the store from opening, and the write-ahead files meanwhile: without all of its
/// keyspaces the store would take them for written out.
fn set_broken_aside(copy: &Path, notes: &mut Vec<String>) -> io::Result<()> {
    let (keyspaces, aside) = (copy.join("keyspaces"), copy.join("aside"));
    opening::private(&aside)?;
    let logs = write_ahead::files(copy)?;
    let away = |path: &Path| aside.join(path.file_name().unwrap_or_default());
    for log in &logs {
        fs::rename(log, away(log))?;
    }
    let mut all: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&keyspaces)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "0") {
            fs::rename(&path, away(&path))?;
            all.push(path);
        }
    }
    all.sort();
    for path in &all {
        fs::rename(away(path), path)?;
        if !opens(copy) && path.exists() {
            fs::rename(path, away(path))?;
            notes.push(format!(
                "`keyspaces/{}` does not open",
                path.file_name().unwrap_or_default().display()
            ));
        }
    }
    for made in write_ahead::files(copy)? {
        fs::remove_file(made)?;
    }
    for log in &logs {
        fs::rename(away(log), log)?;
    }
    Ok(())
}
