//! Builds the dashboard with npm and Vite, packs it, and writes the table of its files for `lib.rs`.
//!
//! All of it happens in `OUT_DIR`: the source tree stays as it is. `npm ci` runs only when the lock file is another
//! one than last time. Where npm is missing, or cannot fetch, a debug build warns and gets a page that says what to
//! do; a release build fails. `GEMINI_POOL_DASHBOARD=skip` asks for that page.

#![expect(clippy::disallowed_methods, reason = "a build script is told everything by the environment")]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What Vite reads; a change of anything else builds nothing anew.
const SOURCES: [&str; 9] = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "index.html",
    "vite.config.ts",
    "tsconfig.json",
    "scripts",
    "public",
    "src",
];

const FIX: &str =
    "install Node.js 20 or newer with npm, or set GEMINI_POOL_DASHBOARD=skip to build without the dashboard";

/// Why there is no dashboard.
enum Failed {
    /// npm is not there, or cannot fetch: nobody's mistake.
    Tools(String),
    /// The dashboard's own code is wrong, or the disk is.
    Code(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Code(error.to_string())
    }
}

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=GEMINI_POOL_DASHBOARD");
    SOURCES.iter().for_each(|source| println!("cargo::rerun-if-changed={source}"));
    let told = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let out = PathBuf::from(told("OUT_DIR")?);
    if env::var("GEMINI_POOL_DASHBOARD").is_ok_and(|how| how == "skip") {
        return instead(&out, "GEMINI_POOL_DASHBOARD=skip").map_err(|error| error.to_string());
    }
    let from = PathBuf::from(told("CARGO_MANIFEST_DIR")?);
    match build(&from, &out) {
        Ok(()) => Ok(()),
        Err(Failed::Tools(why)) if told("PROFILE")? == "debug" => {
            println!("cargo::warning=built without the dashboard ({why}): {FIX}");
            // There is no such file, so cargo asks again at the next build.
            println!("cargo::rerun-if-changed=npm-was-missing");
            instead(&out, &why).map_err(|error| error.to_string())
        }
        Err(Failed::Tools(why)) => Err(format!("the dashboard cannot be built ({why}): {FIX}")),
        Err(Failed::Code(why)) => Err(format!("the dashboard cannot be built: {why}")),
    }
}

fn build(from: &Path, out: &Path) -> Result<(), Failed> {
    let (web, dist) = (out.join("web"), out.join("dist"));
    for source in SOURCES {
        renew(&from.join(source), &web.join(source))?;
    }
    let lock = fs::read(web.join("package-lock.json"))?;
    let installed = web.join("node_modules/.gemini-pool-lock");
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        run(&web, "npm", &["ci", "--ignore-scripts"]).map_err(Failed::Tools)?;
        fs::write(&installed, &lock)?;
    }
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (to, table) = (path(&dist), path(&out.join("assets.rs")));
    let vite =
        ["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", &to];
    run(&web, "node", &vite).map_err(Failed::Code)?;
    run(&web, "node", &["scripts/pack.mjs", &to, &table]).map_err(Failed::Code)
}

/// Runs a tool, and says what it said if it fails.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Result<(), String> {
    // On Windows npm is a script, which only a shell starts.
    let tool = if cfg!(windows) && tool == "npm" { "npm.cmd" } else { tool };
    let told = Command::new(tool).args(arguments).current_dir(folder).env_remove("NODE_OPTIONS").output();
    let told = told.map_err(|error| format!("{tool} does not start: {error}"))?;
    if told.status.success() {
        return Ok(());
    }
    let said = [told.stdout, told.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = last.get(last.len().saturating_sub(30)..).unwrap_or_default().join("\n");
    Err(format!("`{tool} {}` failed:\n{last}", arguments.join(" ")))
}

/// Copies a file or a folder; what is there no more goes.
fn renew(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, to)?;
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        renew(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// A page that stands where the dashboard would.
fn instead(out: &Path, why: &str) -> io::Result<()> {
    let why = why.lines().next().unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gemini-Pool</title></head><body>\n\
         <h1>Gemini-Pool runs, without its dashboard</h1>\n<p>This program was built without it: {why}.</p>\n\
         <p>To have it, install Node.js 20 or newer with npm, and build again: <code>cargo build --release</code>. \
         Everything else works: <code>gemini-pool --help</code>, and the API at \
         <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>\n</body></html>\n"
    );
    fs::write(out.join("index.html"), page)?;
    fs::write(
        out.join("assets.rs"),
        "&[Asset { path: \"/index.html\", media: \"text/html; charset=utf-8\", digest: \"without\", immutable: false, \
         plain: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/index.html\")), brotli: None, gzip: None }]\n",
    )
}
