//! A pool with a made-up past, for measuring: made-up keys and apps, and a history of what they did.

use projections::{Millis, Seq};
use secrecy::SecretString;

use super::{Error, Opening, Pool};
use crate::{
    config::{Config, Database},
    journal::fjall::FjallJournal,
    ledger::{
        clock::Clock,
        fill::{self, Wish, fill},
    },
};

/// Makes it in the data directory of these settings, which must be that of no other pool.
///
/// # Errors
/// [`Error`].
pub async fn make_up(
    config: &Config,
    (keys, clients, days): (u32, u32, u32),
    wish: Wish,
    progress: &mut dyn FnMut(Seq),
) -> Result<(), Error> {
    let named = |what: &str, many: u32| {
        (1..=many).map(|number| SecretString::from(format!("{what}-{:07}-{number:06}", wish.seed))).collect()
    };
    let config = Config {
        gemini_api_keys: named("made-up-upstream-key", keys),
        allowed_api_keys: named("made-up-client-key", clients),
        ..config.clone()
    };
    give_past(&config, days, wish, progress).await
}

/// Gives a new pool, with the keys and the apps that its settings name, a past of so many days.
///
/// # Errors
/// [`Error`].
pub async fn give_past(
    config: &Config,
    days: u32,
    wish: Wish,
    progress: &mut dyn FnMut(Seq),
) -> Result<(), Error> {
    let Database::Fjall(folder) = &config.database else { return Ok(()) };
    let began = wish.until.saturating_sub(Millis::from(days) * 24 * 3_600_000);
    let pool = Pool::open(config, Clock::driven(move || began), Opening::Makes).await?;
    pool.import_environment(config).await?;
    pool.close().await;
    let journal = FjallJournal::open(&folder.join("log"))?;
    Ok(fill(&journal, wish, progress)?)
}

/// Removes the checkpoints of a pool that is stopped.
///
/// # Errors
/// [`Error`].
pub fn forget_checkpoints(config: &Config) -> Result<(), Error> {
    let Database::Fjall(folder) = &config.database else { return Ok(()) };
    let journal = FjallJournal::open(&folder.join("log"))?;
    Ok(fill::forget_checkpoints(&journal)?)
}
