//! `gemini-pool demo`, from its first word to the last trace of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{App, http};

/// Dead with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::support::program());
    command.args(["demo", "--port", "0"]).env_clear().env("TMPDIR", temporary.path());
    let child = command.current_dir(temporary.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut demo = Demo(child.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(demo.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let greeting = said.find(|line| line.contains("serves a simulated Google at ")).expect("it greets");
    let origin = greeting.split_once(" at ").unwrap().1.split(". ").next().unwrap().to_owned();
    let key =
        said.find_map(|line| Some(line.split_once("x-goog-api-key: ")?.1.split('\'').next()?.to_owned()));
    // Somebody has to listen to it, or it stops at its next word.
    let rest = std::thread::spawn(move || said.last());

    let [folder] = &names(temporary.path())[..] else { panic!("{:?}", names(temporary.path())) };
    assert!(folder.starts_with("gemini-pool-demo-"), "{folder}");
    let app = App { http: http(), origin, key };
    assert!(app.key.is_some(), "it says with which access key");
    // Most of its keys are in bad health: that is what it shows.
    let (status, answer) = app.generate("gemini-2.5-flash", "Hello").await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["candidates"][0]["content"]["parts"][0]["text"].is_string(), "{answer}");

    assert!(Command::new("kill").args(["-TERM", &demo.0.id().to_string()]).status().unwrap().success());
    assert!(demo.0.wait().unwrap().success());
    rest.join().unwrap();
    assert_eq!(names(temporary.path()), Vec::<String>::new(), "its folder went with it");
}
