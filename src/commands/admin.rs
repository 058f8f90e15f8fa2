//! `gemini-pool admin …`: what concerns the pool as a whole, and an administrator who lost the password.

use std::io::{self, BufRead};

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{
    Error, Target,
    master_key::{self, RotateMasterKey},
    say, text,
};
use crate::config::Config;

/// The pool as a whole.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Seal every secret anew, under another master key
    RotateMasterKey(RotateMasterKey),
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
pub async fn admin(command: AdminCommand, config: &Config) -> Result<(), Error> {
    match command {
        AdminCommand::RotateMasterKey(args) => master_key::rotate(&args, config).await,
        AdminCommand::ResetPassword { stdin } => reset_password(stdin, config).await,
    }
}

async fn reset_password(stdin: bool, config: &Config) -> Result<(), Error> {
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
