//! The turns of one conversation go to one project, where Google's implicit cache knows them.

use std::collections::BTreeSet;

use gemini_pool::simulated::{Limits, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{App, Server, Setup};

const MODEL: &str = "gemini-2.5-flash";
const PROJECTS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// What was said so far.
struct Talk {
    topic: &'static str,
    contents: Vec<Value>,
}

impl Talk {
    fn about(topic: &'static str) -> Self {
        Self { topic, contents: Vec::new() }
    }

    /// Goes on by a turn; gives the project that answered.
    async fn turn(&mut self, app: &App, google: &SimulatedGoogle) -> String {
        let text = format!("{}, question {}", self.topic, self.contents.len());
        self.contents.push(json!({"role": "user", "parts": [{"text": text}]}));
        let body = json!({
            "contents": self.contents,
            "systemInstruction": {"parts": [{"text": "be brief"}]},
        });
        let path = format!("/v1beta/models/{MODEL}:generateContent");
        let answer = app.post(&path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        self.contents.push(answer["candidates"][0]["content"].clone());
        google.seen().last().unwrap().project.clone()
    }

    /// Some turns; gives the projects that answered.
    async fn turns(&mut self, count: usize, app: &App, google: &SimulatedGoogle) -> BTreeSet<String> {
        let mut projects = BTreeSet::new();
        for _ in 0..count {
            projects.insert(self.turn(app, google).await);
        }
        projects
    }
}

async fn google() -> SimulatedGoogle {
    let mut world = World::new();
    for project in PROJECTS {
        world = world.key(project, &format!("AIza-{project}"));
    }
    SimulatedGoogle::start(world).await.unwrap()
}

fn setup(google: &SimulatedGoogle) -> Setup {
    let keys = PROJECTS.map(|project| format!("AIza-{project}"));
    Setup::new(google, &keys.each_ref().map(String::as_str)).with("STRATEGY", "sticky")
}

/// Every key has served once: before that, one request at a time may use it, and none is drawn freely.
async fn warm(server: &Server, google: &SimulatedGoogle) {
    let mut warm = BTreeSet::new();
    for number in 0.. {
        assert!(number < 500, "{warm:?}");
        let (status, _) = server.app().generate(MODEL, &format!("warming up {number}")).await;
        assert_eq!(status, 200);
        warm.insert(google.seen().last().unwrap().project.clone());
        if warm.len() == PROJECTS.len() {
            return;
        }
    }
}

#[tokio::test]
async fn a_conversation_stays_with_its_project_and_moves_only_when_it_must() {
    let google = google().await;
    let server = setup(&google).start();
    let app = server.app();
    warm(&server, &google).await;
    let (mut cats, mut dogs) = (Talk::about("cats"), Talk::about("dogs"));
    let (mut of_cats, mut of_dogs) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..6 {
        of_cats.insert(cats.turn(&app, &google).await);
        of_dogs.insert(dogs.turn(&app, &google).await);
    }
    assert_eq!((of_cats.len(), of_dogs.len()), (1, 1), "cats: {of_cats:?}; dogs: {of_dogs:?}");

    // The first one's project is out of quota for the day.
    let old = of_cats.first().unwrap().clone();
    google.edit(|world| {
        let project = world.projects.get_mut(&old).unwrap();
        project.limits.insert(MODEL.to_owned(), Limits::none().per_day(1));
    });
    let moved = cats.turns(6, &app, &google).await;
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert!(!moved.contains(&old));
    if !of_dogs.contains(&old) {
        assert_eq!(dogs.turns(3, &app, &google).await, of_dogs, "nothing happened to it");
    }

    // The first project is back, and the cache is elsewhere.
    google.edit(|world| {
        world.projects.get_mut(&old).unwrap().limits.remove(MODEL);
    });
    let operator = server.operator().await;
    let ids: Vec<Value> = operator.keys().await.iter().map(|key| key["id"].clone()).collect();
    let (status, answer) =
        operator.call(reqwest::Method::POST, "/keys/bulk_reset", Some(json!({"ids": ids}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(cats.turns(4, &app, &google).await, moved);

    // A restart forgets where it was, and then it stays again.
    let server = server.stop().0.start();
    let after = cats.turns(6, &server.app(), &google).await;
    assert_eq!(after.len(), 1, "{after:?}");
}

/// Without it, the same turns are spread: what the test above sees is not chance.
#[tokio::test]
async fn without_the_strategy_a_conversation_goes_anywhere() {
    let google = google().await;
    let server = setup(&google).with("STRATEGY", "round-robin").start();
    let mut cats = Talk::about("cats");
    let projects = cats.turns(12, &server.app(), &google).await;
    assert!(projects.len() > 1, "{projects:?}");
}
