//! `gemini-pool dev`: a long log made up, to measure a pool on, and one without its checkpoints.

use clap::Subcommand;

use super::{Error, say};
use crate::{
    config::Config,
    ledger::{clock::Clock, fill::Wish},
    pool::fill::{forget_checkpoints, make_up},
};

/// For those who work on this program.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Fill a new data directory with a made-up history
    Fill {
        /// Events, at least
        #[arg(long, default_value_t = 1_000_000)]
        events: u64,
        /// Days that they fall on, up to now
        #[arg(long, default_value_t = 20)]
        days: u32,
        /// Upstream keys
        #[arg(long, default_value_t = 200)]
        keys: u32,
        /// Clients
        #[arg(long, default_value_t = 40)]
        clients: u32,
        /// What everything is drawn from
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Remove the checkpoints of a stopped pool, which the next start makes anew
    Forget,
}

/// Carries out `gemini-pool dev …`.
///
/// # Errors
/// [`Error`].
pub async fn dev(command: DevCommand, config: &Config) -> Result<(), Error> {
    let DevCommand::Fill { events, days, keys, clients, seed } = command else {
        forget_checkpoints(config)?;
        return say("the next start folds the whole log");
    };
    let wish = Wish { events, until: Clock::system().now(), seed };
    let told = &mut |done| tracing::info!(done, events, "filling");
    make_up(config, (keys, clients, days), wish, told).await?;
    say(&format!("{events} events over {days} days, of {keys} keys and {clients} clients (seed {seed})"))
}
