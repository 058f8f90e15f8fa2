//! What strangers, and whoever reads the program's own log, can withhold or hold: descriptors, heads, the reader's
//! attention, and a name that leads to this machine.

mod crowds;
mod locality;
mod own_log;
mod signals;

use gemini_pool::simulated::{SimulatedGoogle, World};

use crate::support::{Server, Setup, http};

const FLASH: &str = "gemini-2.5-flash";

async fn stage() -> (SimulatedGoogle, Setup) {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]);
    (google, setup)
}

/// A number of `/metrics`, by the sample's whole name.
async fn number(server: &Server, sample: &str) -> f64 {
    let text = http().get(format!("{}/metrics", server.origin)).send().await.unwrap().text().await.unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found: Vec<&str> = lines.collect();
    assert_eq!(found.len(), 1, "{sample}: {text}");
    found[0].parse().unwrap()
}
