//! `gemini-pool admin rotate-master-key`.

use std::{fs, io::Read as _, path::PathBuf};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Error, Target, number, say};
use crate::config::Config;

/// Which key comes next.
#[derive(Debug, Args)]
pub struct RotateMasterKey {
    /// A file that holds the new key, of 16 characters at least; `-`: standard input. Default: a new one is made
    /// and kept in DATA_DIR/master.key, unless MASTER_KEY is set
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

/// Carries it out.
///
/// # Errors
/// [`Error`].
pub(super) async fn rotate(args: &RotateMasterKey, config: &Config) -> Result<(), Error> {
    let new = args.new_key_file.as_ref().map(|path| {
        let read = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        read.map_err(|source| Error::File { path: path.clone(), source })
    });
    let new = new.transpose()?;
    let target = Target::open(config).await?;
    let body = json!({"new_key": new.as_deref().map(str::trim)});
    let changed = target.call(Method::POST, "/master_key", Some(body)).await;
    target.close().await;
    let changed = changed?;
    let count = number(&changed, "secrets");
    let kept = changed.get("kept") == Some(&Value::Bool(true));
    say(&format!("{count} secrets are sealed under the new master key."))?;
    say(if kept {
        "It is in DATA_DIR/master.key: keep a copy of that file in another place. Backups that were made before are \
         sealed under the old one: make a new backup, and keep the old key as long as you keep those."
    } else {
        "Set MASTER_KEY to the new one NOW: with the old one the pool does not start again. Backups that were made \
         before are sealed under the old one: make a new backup, and keep the old key as long as you keep those."
    })
}
