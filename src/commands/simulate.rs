//! `gemini-pool simulate`: the comparison of policies, printed and drawn.

use std::{
    ops::RangeInclusive,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Error, say};
use crate::simulate::{self, Comparison, Failed};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct SimulateArgs {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Also draw the result into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Carries out `gemini-pool simulate`.
///
/// # Errors
/// [`Error::Simulation`] where a law of the pool is broken, with the seed and the step that break it;
/// [`Error::Plot`].
pub fn simulate(args: &SimulateArgs) -> Result<(), Error> {
    let comparison = compare(args.seed..=args.seed.saturating_add(args.seeds - 1))?;
    if let Some(path) = &args.plot {
        std::fs::write(path, comparison.svg())
            .map_err(|source| Error::Plot { path: path.clone(), source })?;
    }
    if args.json {
        return say(&format!("{:#}", comparison.json()));
    }
    if args.seeds == 1 {
        say(&format!("{}\n", simulate::describe(args.seed)))?;
    }
    say(&comparison.table())
}

/// Runs seeds on every core; the result does not depend on how many there are.
///
/// # Errors
/// [`Failed`], of the first seed that breaks a law.
pub fn compare(seeds: RangeInclusive<u64>) -> Result<Comparison, Failed> {
    let next = AtomicU64::new(*seeds.start());
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return done;
            }
            done.push((seed, Comparison::of_seed(seed)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(seed, _)| *seed);
    let mut all = Comparison::default();
    for (_, one) in done {
        all.add(one?);
    }
    Ok(all)
}
