//! `gemini-pool admin …`: what concerns the pool as a whole.

use clap::Subcommand;

use super::{
    Error,
    master_key::{self, RotateMasterKey},
};
use crate::config::Config;

/// The pool as a whole.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Seal every secret anew, under another master key
    RotateMasterKey(RotateMasterKey),
}

/// Carries out `gemini-pool admin …`.
///
/// # Errors
/// [`Error`].
pub async fn admin(command: AdminCommand, config: &Config) -> Result<(), Error> {
    match command {
        AdminCommand::RotateMasterKey(args) => master_key::rotate(&args, config).await,
    }
}
