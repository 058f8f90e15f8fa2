//! `gemini-pool salvage`: what can be proven of a damaged data directory, in a new one.

use std::path::PathBuf;

use clap::Args;

use super::{Error, backup::told_of_the_master_key, progress, say};
use crate::{
    config::Config,
    ledger::{
        clock::{Clock, rfc3339},
        salvage::Report,
    },
    pool::salvage::{self, Salvaged},
};

/// From where to where.
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// The damaged data directory; nothing in it is changed. Stop its server first
    folder: PathBuf,
    /// The new data directory; it must be empty but for master.key and secret.key. It needs as much room as the damaged
    /// one, twice
    into: PathBuf,
}

/// Carries out `gemini-pool salvage FOLDER INTO`.
///
/// # Errors
/// [`Error`].
pub async fn salvage(args: &SalvageArgs, config: &Config) -> Result<(), Error> {
    let bar = progress::bar(0, "events looked at");
    let seen = |seq| {
        bar.set_length(seq);
        bar.set_position(seq);
    };
    let salvaged = salvage::salvage(&args.folder, &args.into, config, &Clock::system(), seen).await;
    bar.finish_and_clear();
    let salvaged = salvaged?;
    say(&told(&args.into.display().to_string(), &salvaged))?;
    say(told_of_the_master_key(salvaged.opens))
}

fn told(into: &str, salvaged: &Salvaged) -> String {
    let Salvaged { report, notes, secrets, unfit, .. } = salvaged;
    let Report { kept, last: (last, at), lost, lost_events, unproven, checkpoint } = report;
    let mut lines = vec![format!(
        "{into}: kept {kept} events up to number {last}, recorded at {}, and {secrets} sealed secrets.",
        rfc3339(*at)
    )];
    let ranges = |ranges: &[(u64, u64)]| {
        let one = |(first, last): &(u64, u64)| {
            if first == last { format!("{first}") } else { format!("{first} to {last}") }
        };
        ranges.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if *lost_events > 0 {
        lines.push(format!("Lost before that: {lost_events} events ({}).", ranges(lost)));
    }
    if let Some(place) = checkpoint {
        lines.push(format!(
            "The pool's state behind event {place} was taken from the checkpoint there, because events before it are lost."
        ));
    }
    if !unproven.is_empty() {
        lines.push(format!(
            "Left out: events {}. They are whole, but nothing proves what was before them.",
            ranges(unproven)
        ));
    }
    lines.extend(notes.iter().map(|note| format!("Not read: {note}.")));
    lines.extend(unfit.iter().map(|what| format!("Look at this: {what}.")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::restore::Opens;

    #[test]
    fn people_read_what_was_kept_and_what_was_not() {
        let report = Report {
            kept: 90,
            last: (99, 1_795_000_000_000),
            lost: vec![(10, 17), (40, 40)],
            lost_events: 9,
            unproven: vec![(120, 130)],
            checkpoint: Some(50),
        };
        let unfit = vec!["key 3 has no sealed secret".to_owned()];
        let notes = vec!["`keyspaces/4` does not open".to_owned()];
        let told = told("./new", &Salvaged { report, notes, secrets: 4, unfit, opens: Opens::Yes });
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[0],
            "./new: kept 90 events up to number 99, recorded at 2026-11-18T11:06:40.000Z, and 4 sealed secrets."
        );
        assert_eq!(lines[1], "Lost before that: 9 events (10 to 17, 40).");
        assert!(
            lines[2].contains("event 50 was taken from the checkpoint") && lines[3].contains("120 to 130")
        );
        assert_eq!(
            lines[4..],
            ["Not read: `keyspaces/4` does not open.", "Look at this: key 3 has no sealed secret."]
        );
    }
}
