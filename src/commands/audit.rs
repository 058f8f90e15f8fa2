//! `gemini-pool audit verify`: whether the log is as it was written, for people and for scripts.

use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{Error, number, progress, remote::Remote, say, text};
use crate::{
    admin,
    config::Config,
    journal,
    ledger::clock::Clock,
    pool::{self, audit::of_stopped},
};

/// Between two looks at an audit under way.
const LOOK: Duration = Duration::from_millis(250);

/// What the bar counts.
const WHAT: &str = "events checked";

/// The log's proof.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check every record of the log; the exit code is 1 where something is wrong
    Verify {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Carries out `gemini-pool audit …`.
///
/// # Errors
/// [`Error::Damaged`]: something is wrong with the log. Others: it could not be looked at.
pub async fn audit(command: AuditCommand, config: &Config) -> Result<(), Error> {
    let AuditCommand::Verify { json } = command;
    // Not through an open pool: a log that is damaged opens none.
    let here = {
        let config = config.clone();
        let check = move || {
            let bar = progress::bar(0, WHAT);
            let checked = of_stopped(&config, &Clock::system(), &mut |done, through| {
                bar.set_length(through);
                bar.set_position(done);
            });
            bar.finish_and_clear();
            checked
        };
        tokio::task::spawn_blocking(check).await
    };
    let report = match here.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok(done) => admin::audit_report(done),
        Err(pool::Error::Journal(journal::Error::InUse { .. })) => there(config).await?,
        Err(error) => return Err(error.into()),
    };
    say(&if json { format!("{report:#}") } else { told(&report) })?;
    let findings = report.get("findings").and_then(Value::as_array).map_or(0, Vec::len);
    match findings {
        0 => Ok(()),
        _ if is_newer(&report) => Err(Error::NewerLog),
        _ => Err(Error::Damaged { findings }),
    }
}

/// The running server's report on an audit that began after it was asked.
async fn there(config: &Config) -> Result<Value, Error> {
    let target = super::Target::There(Remote::connect(config)?);
    // Times of one form and one length: their order is that of their texts.
    let began = |view: &Value| {
        let told = view.pointer("/running/began").or(view.pointer("/last/began"));
        told.and_then(Value::as_str).map(str::to_owned)
    };
    let asked = target.call(Method::POST, "/audit", None).await?;
    let bar = progress::bar(0, WHAT);
    loop {
        let view = target.call(Method::GET, "/audit", None).await?;
        if let Some(running) = view.get("running") {
            bar.set_length(number(running, "through"));
            bar.set_position(number(running, "done"));
        }
        if view.get("running").is_none_or(Value::is_null) && began(&view) >= began(&asked) {
            bar.finish_and_clear();
            return Ok(view.get("last").cloned().unwrap_or_default());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether all that is wrong with a log is that a newer program wrote some of it.
fn is_newer(report: &Value) -> bool {
    let findings = report.get("findings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    findings.iter().all(|finding| text(finding, "what").contains("made by a newer version of gemini-pool"))
}

fn told(report: &Value) -> String {
    let number = |name| super::number(report, name);
    let mut lines = vec![format!(
        "{} events looked at, up to event {}; {} dropped by LOG_RETENTION_DAYS; {} checkpoints compared",
        number("records"),
        number("through"),
        number("dropped"),
        number("checkpoints"),
    )];
    let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    for finding in &findings {
        let seq = finding.get("seq").and_then(Value::as_u64);
        let about = seq.map(|seq| {
            let (kind, at) = (text(finding, "type"), text(finding, "at"));
            let of = [kind, at].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            if of.is_empty() { format!("event {seq}: ") } else { format!("event {seq} ({of}): ") }
        });
        lines.push(format!("{}{}", about.unwrap_or_default(), text(finding, "what")));
    }
    lines.push(
        match findings.len() {
            0 => "The log is as it was written.",
            _ if is_newer(report) => "The log is not damaged, but this version cannot read all of it.",
            _ => "The log is damaged.",
        }
        .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::told;

    #[test]
    fn what_a_newer_version_wrote_is_no_damage() {
        let what =
            "it was made by a newer version of gemini-pool (frame format 2), and this one cannot read it";
        let mut report = json!({"findings": [{"seq": 7, "what": what}]});
        assert!(told(&report).ends_with("The log is not damaged, but this version cannot read all of it."));
        report["findings"].as_array_mut().unwrap().push(json!({"seq": 8, "what": "it is missing"}));
        assert!(told(&report).ends_with("The log is damaged."));
    }

    #[test]
    fn people_read_what_is_wrong_and_where() {
        let mut report = json!({"records": 9, "through": 12, "dropped": 3, "checkpoints": 1, "findings": []});
        assert_eq!(
            told(&report),
            "9 events looked at, up to event 12; 3 dropped by LOG_RETENTION_DAYS; 1 checkpoints compared\n\
             The log is as it was written."
        );
        report["findings"] = json!([
            {"seq": 7, "at": "2026-11-24T08:00:00.000Z", "type": "KeyAdded", "what": "its checksum is wrong"},
            {"seq": 8, "at": null, "type": null, "what": "it is missing"},
            {"seq": null, "at": null, "type": null, "what": "key 3 has no sealed secret"},
        ]);
        assert!(told(&report).ends_with(
            "\nevent 7 (KeyAdded, 2026-11-24T08:00:00.000Z): its checksum is wrong\nevent 8: it is missing\n\
             key 3 has no sealed secret\nThe log is damaged."
        ));
    }
}
