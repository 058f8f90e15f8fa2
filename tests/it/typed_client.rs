//! A client that is generated from the server's own document runs a whole pool.
//!
//! The document is fetched from the running server, openapi-typescript makes types of it, tsc holds a program
//! (`tests/client/operate.ts`) to them, and node runs it: each operation of the admin API at least once.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gemini_pool::simulated::{SimulatedGoogle, World};

use crate::support::{CLIENT_KEY, Setup, http};

/// The folder with the program and its packages, where there is one. `tests/run` names it, and then it must be there.
fn client() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests/run says where it installed what tests need")]
    let told = std::env::var_os("GEMINI_POOL_TEST_CLIENT_DIR");
    if let Some(told) = told {
        return Some(told.into());
    }
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/client");
    if usual.join("node_modules").exists() {
        return Some(usual);
    }
    crate::support::skipped("the client's packages are not installed here; tests/run does that");
    None
}

/// Runs a program of node's; panics with what it said where it fails.
fn node(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new("node")
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().copied())
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_runs_a_whole_pool() {
    let Some(folder) = client() else { return };
    let mut world = World::new();
    for number in 1..=4 {
        world = world.key("alpha", &format!("AIza-typed-{number:04}"));
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    // The password is made by the pool, or it could not be changed.
    let server = Setup::new(&google, &[]).with("ADMIN_PASSWORD", "").start();
    let line = server.wait_for_line("password  ");
    let password = line.trim().strip_prefix("password").unwrap().trim();
    let document = http().get(format!("{}/api/openapi.json", server.origin)).send().await.unwrap();
    assert_eq!(document.status(), 200);
    std::fs::write(folder.join("openapi.json"), document.text().await.unwrap()).unwrap();
    let said = tokio::task::block_in_place(|| {
        let generator = "node_modules/openapi-typescript/bin/cli.js";
        node(&folder, &[generator, "openapi.json", "-o", "schema.d.ts"], &[]);
        node(&folder, &["node_modules/typescript/bin/tsc"], &[]);
        let stage = [("ORIGIN", &*server.origin), ("PASSWORD", password), ("CLIENT_KEY", CLIENT_KEY)];
        node(&folder, &["built/operate.js"], &stage)
    });
    assert!(said.trim_end().ends_with("operations"), "{said}");
    let (_, output) = server.stop();
    assert!(!output.contains("panic"), "{output}");
}
