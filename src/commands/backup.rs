//! `gemini-pool backup` and `gemini-pool restore`.

use std::{
    fs::File,
    io::{BufReader, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use futures_util::StreamExt;

use super::{Error, Target, new_file::NewFile, progress, say};
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
    written?;
    let (manifest, events) = check(&file)?;
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
fn check(file: &NewFile) -> Result<(Manifest, u64), Unreadable> {
    let mut reader = Reader::open(BufReader::new(file.read_back().map_err(Unreadable::Io)?))?;
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
    say(told_of_the_master_key(restored.opens))
}

/// Whether a new data directory's secrets open, and what is to be done where they do not.
pub(super) fn told_of_the_master_key(opens: Opens) -> &'static str {
    match opens {
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
    }
}
