//! A process without descriptors: its log is neither damaged nor lost.

use std::time::Duration;

use gemini_pool::simulated::{Failure, Fault, SimulatedGoogle, World};

use crate::support::{Setup, machine::NoDescriptors, of_type};

const REQUESTS: usize = 6;

/// What ends then is recorded and synced: neither wants a descriptor.
#[tokio::test]
async fn without_descriptors_the_log_goes_on_and_nothing_is_lost() {
    let held = Fault::times(REQUESTS as u64, Failure::HoldFirstByte);
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1").fault(held)).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let app = server.app();
            tokio::spawn(async move { app.generate("gemini-2.5-flash", "Hello").await.0 })
        })
        .collect();
    let there = google.wait_for(|seen| seen.len() == REQUESTS);
    tokio::time::timeout(Duration::from_secs(30), there).await.unwrap();
    let Some(none) = NoDescriptors::of(server.pid()) else { return };
    google.release();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200, "what is under way ends");
    }
    // Many syncs' time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(none);
    let ready = crate::support::http().get(format!("{}/readyz", server.origin)).send().await.unwrap();
    assert_eq!(ready.status(), 200, "{}", server.output());
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let (setup, said) = server.stop();
    assert!(!said.contains("the log failed") && !said.contains("damaged"), "{said}");
    let log = setup.log();
    assert_eq!(of_type(&log, "Answered").len(), REQUESTS + 1, "none is missing");
    assert_eq!(of_type(&log, "LogGap").len(), 0);
}
