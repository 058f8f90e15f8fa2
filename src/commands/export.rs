//! `gemini-pool events export`: the log as JSON, one event a line.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{Error, Target, new_file::NewFile, number, progress, say};
use crate::config::Config;

/// Events fetched at once.
const PAGE: usize = 10_000;

/// Where events go.
#[derive(Debug, Args)]
pub struct ExportEvents {
    /// The file to write, for its owner alone; it must not be there yet. `-`: standard output
    file: PathBuf,
    /// Begin after this event
    #[arg(long, default_value_t = 0)]
    after: u64,
}

/// Carries out `gemini-pool events export FILE`: every event up to the last one there is now.
///
/// # Errors
/// [`Error`].
pub(super) async fn export(args: &ExportEvents, config: &Config) -> Result<(), Error> {
    let target = Target::open(config).await?;
    let exported = if args.file == Path::new("-") {
        write(&target, args.after, &mut io::stdout().lock()).await.map(|_| ())
    } else {
        to_file(&target, args).await
    };
    target.close().await;
    exported
}

async fn to_file(target: &Target, args: &ExportEvents) -> Result<(), Error> {
    let mut file = NewFile::create(&args.file)?;
    let count = write(target, args.after, &mut file).await?;
    file.finish()?;
    say(&format!("{}: {count} events", args.file.display()))
}

async fn write(target: &Target, mut after: u64, to: &mut impl Write) -> Result<u64, Error> {
    let (mut count, mut until) = (0, None);
    let bar = progress::bar(0, "events");
    loop {
        let path = format!("/events?after={after}&limit={PAGE}");
        let answer = target.call(Method::GET, &path, None).await?;
        let until = *until.get_or_insert_with(|| number(&answer, "head"));
        let events = answer.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut lines = Vec::new();
        for event in events.iter().take_while(|event| number(event, "seq") <= until) {
            serde_json::to_writer(&mut lines, event).map_err(io::Error::from)?;
            lines.push(b'\n');
            count += 1;
            after = number(event, "seq");
        }
        match to.write_all(&lines).and_then(|()| to.flush()) {
            // Whoever reads has seen enough (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(count),
            written => written?,
        }
        bar.set_length(until);
        bar.set_position(after);
        if lines.is_empty() || after >= until {
            bar.finish_and_clear();
            return Ok(count);
        }
    }
}
