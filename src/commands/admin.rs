//! `gemini-pool admin`: for an administrator who lost the password.

use std::io::{self, BufRead};

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{Error, Target, say, text};
use crate::config::Config;

/// The administrator.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Give the administrator another password, and end every session
    ///
    /// It is made, and printed once. Where ADMIN_PASSWORD says the password, change it there.
    ResetPassword {
        /// Take it from standard input, one line
        #[arg(long)]
        stdin: bool,
    },
}

/// Carries out `gemini-pool admin …`.
///
/// # Errors
/// [`Error`].
pub async fn administer(command: AdminCommand, config: &Config) -> Result<(), Error> {
    let AdminCommand::ResetPassword { stdin } = command;
    let body = if stdin { json!({"new_password": secret_line()?}) } else { json!({}) };
    let target = Target::open(config).await?;
    let answer = target.call(Method::POST, "/admin/password", Some(body)).await;
    target.close().await;
    let answer: Value = answer?;
    match text(&answer, "password") {
        "" => say("The password is changed; every session has ended."),
        made => {
            eprintln!("The password is changed; every session has ended. This is the only time it is shown:");
            say(made)
        }
    }
}

/// A secret from standard input: others on the machine can read arguments.
pub(super) fn secret_line() -> Result<String, Error> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Error::Input)?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() { Err(Error::NoSecret) } else { Ok(line.to_owned()) }
}
