//! The pool against simpler policies and the oracle, over many seeded days. `gemini-pool simulate --seed N`
//! repeats one of them.

use gemini_pool::{
    commands,
    simulate::{Back, Comparison, ORACLE, OURS},
};

/// What the pool has to reach.
struct Bounds {
    seeds: u64,
    /// Wasted calls, as a share of the oracle's calls.
    wasted: f64,
    /// Wrongly refused requests, as a share of all.
    wrongly_refused: f64,
    /// Seconds in which a project serves after the minute turned, on average; 19 of 20 in twice that.
    minute: f64,
    /// Seconds in which 19 of 20 serve after the day turned.
    day: f64,
}

/// Times less waste than round-robin, and than a cooldown of five seconds.
const TIMES_LESS: f64 = 5.0;

/// The targets of the pool over 100 seeds are wasted 0.10, wrongly refused 0.005, back after a minute within 2 s and after a
/// day within 300 s, on average. All are reached; what stands here is what the rules reach, and a little more.
const MANY: Bounds = Bounds { seeds: 100, wasted: 0.06, wrongly_refused: 0.005, minute: 2.0, day: 5.0 };
/// Of few seeds a single one weighs more: the fifth has most of the wrong refusals of the first twenty (a day whose limit
/// turns hours before anybody can know).
const FEW: Bounds = Bounds { seeds: 20, wasted: 0.06, wrongly_refused: 0.009, minute: 2.0, day: 5.0 };

fn wasted(comparison: &Comparison, policy: &str) -> f64 {
    comparison.score(policy).wasted as f64 / comparison.score(ORACLE).calls as f64
}

#[test]
fn the_pool_wastes_little_and_no_seed_breaks_a_law() {
    #[expect(clippy::disallowed_methods, reason = "how long to test is asked by tests/run --long")]
    let long = std::env::var("GEMINI_POOL_TEST_LONG").is_ok();
    let bounds = if long { MANY } else { FEW };
    let comparison = commands::compare(1..=bounds.seeds).unwrap_or_else(|failed| panic!("{failed}"));
    let table = comparison.table();
    let (ours, oracle) = (comparison.score(OURS), comparison.score(ORACLE));

    // The comparison itself: the oracle is one, and there was something to waste.
    assert_eq!((oracle.wasted, oracle.wrongly_refused), (0, 0), "{table}");
    assert!(ours.requests == oracle.requests && ours.requests > 1_000 * bounds.seeds, "{table}");
    // In a storm of which some calls come through, luck may differ.
    assert!(ours.served as f64 <= 1.01 * oracle.served as f64, "{table}");
    // The laws are checked after every step: an arrival, and what becomes of each call.
    assert!(ours.steps > 2 * ours.calls, "{table}");

    assert!(wasted(&comparison, OURS) <= bounds.wasted, "{table}");
    for other in ["round-robin", "5 s cooldown"] {
        assert!(wasted(&comparison, other) >= TIMES_LESS * wasted(&comparison, OURS), "{other}\n{table}");
    }
    assert!(ours.wrongly_refused_share() <= bounds.wrongly_refused, "{table}");
    let minute = ours.lag(Back::Minute);
    assert!(minute.mean <= bounds.minute && minute.p95 <= 2.0 * bounds.minute, "{table}");
    assert!(ours.lag(Back::Day).p95 <= bounds.day, "{table}");
}

#[test]
fn the_command_prints_what_it_counted() {
    let program = crate::support::program();
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(&program);
        let output = command.args(["simulate", "--seed", "2"]).args(more).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value =
        serde_json::from_str(&run(&["--json", "--plot", plot.to_str().unwrap()])).unwrap();
    let ours = &json["policies"][OURS];
    let wasted: u64 =
        ours["waste"].as_array().unwrap().iter().map(|cause| cause["calls"].as_u64().unwrap()).sum();
    assert_eq!(Some(wasted), ours["wasted"].as_u64());
    let ended = ["served", "refused", "failed_by_google", "cancelled"];
    let ended: u64 = ended.iter().map(|end| ours[end].as_u64().unwrap()).sum();
    assert_eq!(Some(ended), ours["requests"].as_u64());
    let text = run(&[]);
    assert!(text.starts_with("seed 2: ") && text.contains("told before: asked again too early"), "{text}");
    let drawn = std::fs::read_to_string(plot).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n") && drawn.contains(OURS), "{drawn}");
}
