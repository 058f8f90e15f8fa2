//! `gemini-pool backup` and `gemini-pool restore`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use futures_util::StreamExt;

use super::{Error, Target, progress, say};
use crate::{
    config::Config,
    ledger::{
        backup::{Manifest, Reader, Unreadable},
        clock::Clock,
    },
    pool::restore::{self, Opens},
};

/// Where a backup goes.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not be there yet
    file: PathBuf,
}

/// Where a backup comes from.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// The data directory to make of it; it must be empty but for master.key and secret.key. Default: the one of
    /// the settings
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// A file that only its owner may read, and that has its name once it is whole.
pub(super) struct NewFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Refuses one that is there.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        if path.exists() {
            let there = "it is there already; name another one, or move it away";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, there)));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What an earlier try left, perhaps for more eyes.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(failed)?;
        Ok(Self { file, part, path: path.to_owned() })
    }

    /// Where its bytes are so far.
    fn part(&self) -> &Path {
        &self.part
    }

    /// Forces it to the disk and gives it its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        let named = self.file.sync_all().and_then(|()| fs::rename(&self.part, &self.path));
        named.map_err(|source| Error::File { path: self.path.clone(), source })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Carries out `gemini-pool backup FILE`.
///
/// # Errors
/// [`Error`]; then the file has not got its name.
pub async fn backup(args: &BackupArgs, config: &Config) -> Result<(), Error> {
    let path = &args.file;
    let mut file = NewFile::create(path)?;
    let target = Target::open(config).await?;
    let written = write(&target, &mut file, path).await;
    target.close().await;
    if let Err(error) = written {
        let _ = fs::remove_file(file.part());
        return Err(error);
    }
    let (manifest, events) = match check(file.part()) {
        Ok(checked) => checked,
        Err(error) => {
            let _ = fs::remove_file(file.part());
            return Err(error.into());
        }
    };
    file.finish()?;
    say(&format!(
        "{}: {events} events up to number {}, {} sealed secrets; read back and found whole. The master key is not in \
         it: keep a copy of MASTER_KEY, or of the file master.key in DATA_DIR, in another place.",
        path.display(),
        manifest.through,
        manifest.secrets
    ))
}

async fn write(target: &Target, file: &mut NewFile, path: &Path) -> Result<(), Error> {
    let mut pieces = target.download("/backup").await?;
    let bar = progress::bytes("received");
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Error::BrokenOff)?;
        file.write_all(&piece).map_err(|source| Error::File { path: path.to_owned(), source })?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A backup that was never read is no backup.
fn check(path: &Path) -> Result<(Manifest, u64), Unreadable> {
    let mut reader = Reader::open(BufReader::new(File::open(path).map_err(Unreadable::Io)?))?;
    let bar = progress::bar(reader.manifest().through, "events checked");
    while reader.read()?.is_some() {
        bar.set_position(reader.events());
    }
    bar.finish_and_clear();
    Ok((reader.manifest().clone(), reader.events()))
}

/// Carries out `gemini-pool restore FILE`.
///
/// # Errors
/// [`Error`].
pub async fn restore(args: &RestoreArgs, config: &Config) -> Result<(), Error> {
    let path = &args.file;
    let file = File::open(path).map_err(|source| Error::File { path: path.clone(), source })?;
    let bar = progress::bar(0, "events restored");
    let seen = |events, of| {
        bar.set_length(of);
        bar.set_position(events);
    };
    let into = args.into.as_deref();
    let restored = restore::restore(BufReader::new(file), into, config, &Clock::system(), seen).await;
    bar.finish_and_clear();
    let restored = restored?;
    let folder = restored.folder.display();
    say(&format!(
        "{folder}: {} events up to number {}, {} sealed secrets, as they were at {}.",
        restored.events, restored.manifest.through, restored.manifest.secrets, restored.manifest.made
    ))?;
    say(match restored.opens {
        Opens::Yes => "The master key that is here opens its secrets. It can be started.",
        Opens::NoKey => {
            "The master key is not in a backup, and there is none here. Before the start, set MASTER_KEY to the one \
             that the pool had, or put your copy of master.key into the data directory. Without it the upstream \
             keys cannot be opened, and the pool does not start."
        }
        Opens::WrongKey => {
            "The master key that is here is NOT the one that the secrets are sealed with, so the pool will not \
             start: set MASTER_KEY to the one that the pool had when the backup was made, or put your copy of \
             master.key into the data directory."
        }
    })
}
