//! A slow disk: neither a new day nor others' changes make anybody wait for more than a few syncs.

use std::time::{Duration, Instant};

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;
use serde_json::json;

use crate::support::{Setup, machine::BadMachine, of_type};

const SYNC: Duration = Duration::from_millis(500);
const DAY: i64 = 24 * 3_600;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_traffic_of_a_day_and_changes_made_together_wait_for_few_syncs() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]);
    let place = tempfile::tempdir().unwrap();
    let Some(machine) = BadMachine::new(place.path()) else { return };
    let server = machine.under(setup).start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    // Nothing is appended for a while, so the next day's place is made.
    tokio::time::sleep(Duration::from_secs(5)).await;
    machine.syncs_take(SYNC);
    machine.clock_is_ahead(DAY);
    let began = Instant::now();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    // What is recorded behind the facts of that request, and is on the disk when it is answered.
    let operator = server.operator().await;
    let first = began.elapsed();
    let change = async |label: String| {
        let (status, told) = operator.call(Method::PATCH, "/keys/1", Some(json!({"label": label}))).await;
        assert_eq!(status, 200, "{told}");
    };
    let began = Instant::now();
    futures_util::future::join_all((0..8).map(|n| change(format!("label {n}")))).await;
    let together = began.elapsed();
    machine.syncs_take(Duration::ZERO);
    let (setup, said) = server.stop();
    assert!(first < 8 * SYNC, "the first request of a day, and a login behind it, took {first:?}: {said}");
    assert!(together < 8 * SYNC, "eight changes at once took {together:?}: {said}");
    assert_eq!(of_type(&setup.log(), "Answered").len(), 2);
}
