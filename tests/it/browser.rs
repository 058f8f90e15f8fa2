//! The dashboard in a real browser: Debian's Chromium, the real binary, the simulated Google.
//!
//! A scenario is a program of its own in `tests/browser`, which plays the person before the page; here is its stage.
//! What a page cannot do (pull the plug, change Google's mind) the scenario asks of the stage by a line that begins
//! with `@stage`. Node's packages and the browser are installed by `tests/run`; where they are not, these tests are
//! skipped and say so.

mod scenarios;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gemini_pool::simulated::{Failure, Fault, KeyState, Limits, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{CLIENT_KEY, PASSWORD, Server, Setup};

/// The folder with the scenarios and their packages, where there is one. `tests/run` names it, and then it must
/// be there.
fn scenarios() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests/run says where it installed what tests need")]
    let told = std::env::var_os("GEMINI_POOL_TEST_BROWSER_DIR");
    if let Some(told) = told {
        return Some(told.into());
    }
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
    if usual.join("node_modules").exists() {
        return Some(usual);
    }
    crate::support::skipped("the browser's packages are not installed here; tests/run does that");
    None
}

/// A pool that a scenario looks at.
struct Stage {
    google: SimulatedGoogle,
    /// None: its plug is pulled.
    server: Option<Server>,
    setup: Setup,
}

impl Stage {
    async fn new(world: World, setup: impl FnOnce(&SimulatedGoogle) -> Setup) -> Self {
        let google = SimulatedGoogle::start(world).await.unwrap();
        let server = setup(&google).start();
        // A browser comes back to where it was.
        let port = server.origin.rsplit(':').next().unwrap().to_owned();
        let setup = server.setup.clone().with("PORT", &port);
        Self { google, server: Some(server), setup }
    }

    /// Does what a scenario asks for; an error is told to it.
    fn serve(&mut self, wish: &Value) -> Result<(), String> {
        let text = |name: &str| wish[name].as_str().map(str::to_owned).ok_or(format!("{name} is missing"));
        match wish["do"].as_str() {
            Some("kill") => drop(self.server.take().ok_or("it is down")?.kill()),
            Some("start") => self.server = Some(self.setup.clone().start()),
            Some("add") => {
                let (project, key) = (text("project")?, text("key")?);
                self.google.edit(|world| {
                    let taken = std::mem::take(world);
                    *world = taken.key(&project, &key);
                });
            }
            Some("key") => {
                let state = match text("state")?.as_str() {
                    "good" => KeyState::Good,
                    "bad" => KeyState::Bad,
                    "leaked" => KeyState::Leaked,
                    "suspended" => KeyState::Suspended,
                    other => return Err(format!("no state {other}")),
                };
                let key = text("key")?;
                let found = self.google.edit(|world| world.keys.get_mut(&key).map(|key| key.state = state));
                found.ok_or("no such key")?;
            }
            Some("limit") => {
                let (project, model) = (text("project")?, text("model")?);
                let mut limits = Limits::none();
                if let Some(requests) = wish["perMinute"].as_u64() {
                    limits = limits.per_minute(requests);
                }
                if let Some(requests) = wish["perDay"].as_u64() {
                    limits = limits.per_day(requests);
                }
                let found = self.google.edit(|world| {
                    world.projects.get_mut(&project).map(|project| project.limit(&model, limits))
                });
                found.ok_or("no such project")?;
            }
            Some("overloaded") => {
                let times = wish["times"].as_u64().ok_or("times is missing")?;
                self.google.edit(|world| world.faults.push(Fault::times(times, Failure::Overloaded)));
            }
            other => return Err(format!("the stage does not know {other:?}")),
        }
        Ok(())
    }

    /// Plays a scenario to its end; panics with what it said if it went wrong.
    fn play(mut self, name: &str) {
        let Some(folder) = scenarios() else { return };
        let pictures = folder.join("pictures").join(name);
        std::fs::create_dir_all(&pictures).unwrap();
        let mut child = Command::new("node")
            .arg(format!("{name}.mjs"))
            .current_dir(&folder)
            .env("STAGE_ORIGIN", &self.server.as_ref().unwrap().origin)
            .env("STAGE_PASSWORD", PASSWORD)
            .env("STAGE_CLIENT_KEY", CLIENT_KEY)
            .env("STAGE_PICTURES", &pictures)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = child.stdin.take().unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some(wish) = line.strip_prefix("@stage ") else {
                said.push(line);
                continue;
            };
            let answer = match self.serve(&serde_json::from_str(wish).unwrap()) {
                Ok(()) => json!({}),
                Err(error) => json!({"error": error}),
            };
            writeln!(answers, "{answer}").unwrap();
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{name} went wrong:\n{}", said.join("\n"));
    }
}
