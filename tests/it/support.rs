//! The stage: a server process, and the people who talk to it.
//!
//! Tests speak as actors: an app with or without an access key, an operator, and
//! whoever pulls the plug. Nothing here sleeps; it waits for what the server says.

pub(crate) mod machine;
pub(crate) mod proxy;
pub(crate) mod raw;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use gemini_pool::{
    config::{self, Config, Sources},
    simulated::SimulatedGoogle,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What apps present in tests.
pub(crate) const CLIENT_KEY: &str = "client-key-for-tests-0001";
/// The administrator's password in tests.
pub(crate) const PASSWORD: &str = "a password for tests";

/// A server to be: its settings and its data directory.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) folder: Arc<TempDir>,
    settings: BTreeMap<String, String>,
    /// Most descriptors; none: as this process has.
    descriptors: Option<u32>,
}

impl Setup {
    /// A pool of these keys in front of this Google, for one client.
    pub(crate) fn new(google: &SimulatedGoogle, keys: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data = folder.path().join("data");
        let mut setup = Self { folder, settings: BTreeMap::new(), descriptors: None };
        for (name, value) in [
            ("GEMINI_BASE_URL", google.origin().as_str()),
            ("GEMINI_API_KEYS", &keys.join(",")),
            ("ALLOWED_API_KEYS", CLIENT_KEY),
            ("DATABASE_URL", &format!("fjall:{}", data.display())),
            ("ADMIN_PASSWORD", PASSWORD),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
        ] {
            setup.settings.insert(name.to_owned(), value.to_owned());
        }
        setup
    }

    /// A data directory without a Google or a key.
    pub(crate) fn alone() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data = folder.path().join("data");
        Self { folder, settings: BTreeMap::new(), descriptors: None }
            .with("DATABASE_URL", &format!("fjall:{}", data.display()))
            .with("ADMIN_PASSWORD", PASSWORD)
            .with("HOST", "127.0.0.1")
            .with("PORT", "0")
    }

    /// Says a setting; an empty value takes it back.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A program that may open so many files and sockets.
    pub(crate) fn with_descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Where the log and the made secrets are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = program();
        let mut command = match self.descriptors {
            None => Command::new(program),
            Some(most) => {
                // It becomes the program: the same process, and only its limit is another.
                let mut command = Command::new("/usr/bin/prlimit");
                command.arg(format!("--nofile={most}:{most}")).arg(program);
                command
            }
        };
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.envs(self.settings.iter().filter(|(_, value)| !value.is_empty()));
        command
    }

    /// The program at the end of another's arguments, in this folder and with these settings.
    pub(crate) fn wrapped<'a>(&self, wrapper: &'a mut Command) -> &'a mut Command {
        wrapper.arg(program()).env_clear().env("PATH", "/usr/bin:/bin");
        wrapper.current_dir(self.folder.path());
        wrapper.envs(self.settings.iter().filter(|(_, value)| !value.is_empty()))
    }

    /// The settings, read as the program reads them.
    pub(crate) fn config(&self) -> Config {
        let sources = Sources { environment: self.settings.clone(), ..Sources::default() };
        config::parse(&sources, &|path| std::fs::read_to_string(path)).unwrap()
    }

    /// Runs a command of the command line to its end.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Starts the server with a standard error of the caller's, and waits until it listens; gives where.
    #[expect(clippy::disallowed_methods, reason = "nothing else runs in the tests that use it")]
    #[expect(clippy::zombie_processes, reason = "where it does not listen, the test's own end is its")]
    pub(crate) fn start_with_stderr(&self, stderr: Stdio) -> (Child, String) {
        let mut command = self.command(&["serve"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let address = self.data().join("server.address");
        for _ in 0..1_200 {
            if let Ok(address) = std::fs::read_to_string(&address)
                && std::net::TcpStream::connect(&address).is_ok()
            {
                return (child, format!("http://{address}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not listen")
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(self) -> Server {
        Server::start(self)
    }

    /// Runs a server that is expected not to start, within a minute; gives its exit code, and what it said with
    /// the folder's name left out.
    pub(crate) fn start_in_vain(&self) -> (Option<i32>, String) {
        let mut command = self.command(&["serve"]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let output = ended.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            panic!("the server did not end by itself")
        });
        let output = output.unwrap();
        let folder = self.folder.path().display().to_string();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).replace(&folder, "[folder]"))
    }

    /// The whole log of a stopped server.
    pub(crate) fn log(&self) -> Vec<Value> {
        let output = self.run(&["events", "list", "--json"], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[derive(Default)]
struct Said {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
    /// Nobody is to read what the server says.
    unread: Mutex<bool>,
    read: Condvar,
}

impl Said {
    fn wait_while_unread(&self) {
        drop(self.read.wait_while(self.unread.lock().unwrap(), |unread| *unread).unwrap());
    }

    fn set_unread(&self, unread: bool) {
        *self.unread.lock().unwrap() = unread;
        self.read.notify_all();
    }
}

/// While it lives, nobody reads what the server says on standard error.
pub(crate) struct Unread(Arc<Said>);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.set_unread(false);
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) setup: Setup,
    pub(crate) origin: String,
    child: Child,
    said: Arc<Said>,
}

impl Server {
    fn start(setup: Setup) -> Self {
        let mut command = setup.command(&["serve"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Said::default());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let hears = Arc::clone(&said);
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| hears.lines.lock().unwrap().0.push(line));
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let hears = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines() {
                hears.wait_while_unread();
                hears.lines.lock().unwrap().0.push(line.unwrap_or_else(|error| error.to_string()));
                hears.news.notify_all();
            }
            hears.lines.lock().unwrap().1 = true;
            hears.news.notify_all();
        });
        let mut server = Self { setup, origin: String::new(), child, said };
        let line = server.wait_for_line("\"message\":\"serving\"");
        let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
        server.origin = format!("http://{address}");
        server
    }

    /// Waits until the server says something on standard error; gives the line.
    pub(crate) fn wait_for_line(&self, part: &str) -> String {
        let mut lines = self.said.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            assert!(!lines.1, "the server ended without saying {part}:\n{}", lines.0.join("\n"));
            let (next, timeout) = self.said.news.wait_timeout(lines, Duration::from_secs(60)).unwrap();
            assert!(!timeout.timed_out(), "the server did not say {part}:\n{}", next.0.join("\n"));
            lines = next;
        }
    }

    /// Stops reading what it says: soon its pipe is full.
    pub(crate) fn unread(&self) -> Unread {
        self.said.set_unread(true);
        Unread(Arc::clone(&self.said))
    }

    /// Everything it said, after its end.
    fn whole_output(&self) -> String {
        let mut lines = self.said.lines.lock().unwrap();
        while !lines.1 {
            lines = self.said.news.wait(lines).unwrap();
        }
        drop(lines);
        self.output()
    }

    /// Everything it said on standard error so far.
    pub(crate) fn output(&self) -> String {
        self.said.lines.lock().unwrap().0.join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `-INT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop and waits until it has; gives its settings back, and what it said.
    pub(crate) fn stop(self) -> (Setup, String) {
        self.stop_unread(None)
    }

    /// The same of a server that nobody listens to, until it has ended.
    pub(crate) fn stop_unread(mut self, unread: Option<Unread>) -> (Setup, String) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        drop(unread);
        let output = self.whole_output();
        assert!(status.success(), "{output}");
        (self.setup_back(), output)
    }

    /// Sends SIGTERM and goes on.
    pub(crate) fn ask_to_stop(&self) {
        self.signal("-TERM");
    }

    /// Waits for its end; true if it ended well.
    pub(crate) fn wait(mut self) -> (bool, Setup) {
        let status = self.child.wait().unwrap();
        (status.success(), self.setup_back())
    }

    /// Pulls the plug.
    pub(crate) fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup_back()
    }

    fn setup_back(&self) -> Setup {
        self.setup.clone()
    }

    /// An app with the access key.
    pub(crate) fn app(&self) -> App {
        App { http: http(), origin: self.origin.clone(), key: Some(CLIENT_KEY.to_owned()) }
    }

    /// An app with another access key, or none.
    pub(crate) fn app_with(&self, key: Option<&str>) -> App {
        App { key: key.map(str::to_owned), ..self.app() }
    }

    /// An administrator, logged in.
    pub(crate) async fn operator(&self) -> Operator {
        Operator::at(&self.origin).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Such a program has ended by itself, whatever the test was about.
        let output = self.output();
        if output.contains("lock order: ") {
            eprintln!("{output}");
            assert!(std::thread::panicking(), "locks were taken in another order");
        }
    }
}

/// Says that a test was left out, and why: on its own output, which nobody sees who runs many, and where `tests/run`
/// wants to read it and says it again at the end.
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    #[expect(clippy::disallowed_methods, reason = "tests/run says where it reads what was left out")]
    let list = std::env::var_os("GEMINI_POOL_TEST_SKIPPED");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    if let Some(list) = list {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        file.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

/// The program under test: that of this build, or the one that `tests/hostile --release` names.
#[expect(clippy::disallowed_methods, reason = "tests/hostile says it there")]
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("GEMINI_POOL_TEST_PROGRAM");
    named.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_gemini-pool")), PathBuf::from)
}

/// Whether tests may take minutes: `tests/run --long`.
#[expect(clippy::disallowed_methods, reason = "tests/run says it there")]
pub(crate) fn takes_its_time() -> bool {
    std::env::var_os("GEMINI_POOL_TEST_LONG").is_some()
}

/// A client that goes straight to where it is told.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A body for generateContent.
pub(crate) fn ask(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// An app that uses the pool as if it were Google.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) http: reqwest::Client,
    pub(crate) origin: String,
    pub(crate) key: Option<String>,
}

impl App {
    /// A POST to a path below the origin, with the key in Google's header.
    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.origin)).json(body);
        match &self.key {
            Some(key) => request.header("x-goog-api-key", key),
            None => request,
        }
    }

    /// Asks a model, whole; gives the status and the body.
    pub(crate) async fn generate(&self, model: &str, text: &str) -> (u16, Value) {
        let path = format!("/v1beta/models/{model}:generateContent");
        let answer = self.post(&path, &ask(text)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    /// Asks a model, streamed; gives the status and the raw bytes.
    pub(crate) async fn stream(&self, model: &str, text: &str) -> (u16, Vec<u8>) {
        let path = format!("/v1beta/models/{model}:streamGenerateContent?alt=sse");
        let answer = self.post(&path, &ask(text)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.bytes().await.unwrap().to_vec())
    }
}

/// An administrator with a token.
pub(crate) struct Operator {
    http: reqwest::Client,
    origin: String,
    token: String,
}

impl Operator {
    /// Logs in.
    pub(crate) async fn at(origin: &str) -> Self {
        let body = json!({"username": "admin", "password": PASSWORD});
        let answer = http().post(format!("{origin}/api/login")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
        Self { http: http(), origin: origin.to_owned(), token }
    }

    /// With a token that is there.
    pub(crate) fn with_token(origin: &str, token: &str) -> Self {
        Self { http: http(), origin: origin.to_owned(), token: token.to_owned() }
    }

    /// What it shows.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn call(&self, verb: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, answer) = self.try_call(verb, path, body).await;
        assert_ne!(status, 0, "the server is gone");
        (status, answer)
    }

    /// The same, with headers both ways.
    pub(crate) async fn send(
        &self,
        verb: reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, reqwest::header::HeaderMap, Value) {
        let mut request =
            self.http.request(verb, format!("{}/api{path}", self.origin)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The same, for a server that may be gone: status 0.
    pub(crate) async fn try_call(
        &self,
        verb: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let request = self.http.request(verb, format!("{}/api{path}", self.origin)).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let Ok(answer) = request.send().await else { return (0, Value::Null) };
        let status = answer.status().as_u16();
        match answer.bytes().await {
            Ok(body) => (status, serde_json::from_slice(&body).unwrap_or(Value::Null)),
            Err(_) => (0, Value::Null),
        }
    }

    /// The whole log.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let mut all = Vec::<Value>::new();
        loop {
            // Not how many there are: those of dropped traffic are passed over.
            let after = all.last().map_or(0, |last| last["seq"].as_u64().unwrap());
            let (status, page) =
                self.call(reqwest::Method::GET, &format!("/events?after={after}&limit=5000"), None).await;
            assert_eq!(status, 200, "{page}");
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                return all;
            }
            all.extend(events.iter().cloned());
        }
    }

    /// The events of one type, once there are `count` of them (traffic is recorded a moment after it ended).
    pub(crate) async fn events_of(&self, kind: &str, count: usize) -> Vec<Value> {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let events: Vec<Value> = self
                .events()
                .await
                .into_iter()
                .filter(|event| event["type"] == kind)
                .map(|event| event["event"].clone())
                .collect();
            assert!(events.len() <= count, "{} {kind} instead of {count}: {events:#?}", events.len());
            if events.len() == count {
                return events;
            }
            assert!(std::time::Instant::now() < deadline, "{} {kind} instead of {count}", events.len());
        }
    }

    pub(crate) async fn keys(&self) -> Vec<Value> {
        let (status, answer) = self.call(reqwest::Method::GET, "/keys?limit=1000", None).await;
        assert_eq!(status, 200, "{answer}");
        answer["keys"].as_array().unwrap().clone()
    }
}

/// The events of one type in a log.
pub(crate) fn of_type(log: &[Value], kind: &str) -> Vec<Value> {
    log.iter().filter(|event| event["type"] == kind).map(|event| event["event"].clone()).collect()
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
