//! `gemini-pool simulate`: the comparison of policies, printed.

use super::{Error, say};
use crate::simulate::{self, Comparison};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct SimulateArgs {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `gemini-pool simulate`.
///
/// # Errors
/// [`Error::Simulation`] where a law of the pool is broken, with the seed that breaks it.
pub fn simulate(args: &SimulateArgs) -> Result<(), Error> {
    let mut comparison = Comparison::default();
    for seed in args.seed..args.seed.saturating_add(args.seeds.max(1)) {
        comparison.add(Comparison::of_seed(seed)?);
    }
    if args.json {
        return say(&format!("{:#}", comparison.json()));
    }
    if args.seeds <= 1 {
        say(&simulate::describe(args.seed))?;
    }
    say(&comparison.table())
}
