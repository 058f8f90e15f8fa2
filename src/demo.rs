//! `gemini-pool demo`: everything alive, without a Google key.
//!
//! A simulated Google with a dozen keys of mixed health, the pool in front of it
//! on the usual port with a made-up day behind it, and a few made-up apps that ask
//! it things. The data directory is temporary and goes with the process.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::{
    config::{Config, Database},
    ledger::{clock::Clock, fill::Wish},
    pool::fill::give_past,
    server::{self, Service},
    simulated::{SimulatedGoogle, World},
    vault,
};

/// The demo's one client access key: no secret, it guards a simulation.
const CLIENT_KEY: &str = "demo-client-key";
/// Events of the day that was before, and what they are drawn from.
const PAST: (u64, u64) = (12_000, 7);
/// Time between two made-up requests.
const PACE: Duration = Duration::from_millis(700);

const PROMPTS: &[(&str, &str)] = &[
    ("gemini-2.5-flash", "Name three uses for a paper clip."),
    ("gemini-2.5-flash", "把這句話翻成英文：今天天氣很好。"),
    ("gemini-2.5-pro", "Explain tides to a child."),
    ("gemini-2.5-flash-lite", "Is 2027 a prime number?"),
];

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The simulated Google.
    #[error("cannot start the simulated Google")]
    Google(#[source] std::io::Error),
    /// The temporary folder.
    #[error("cannot make a temporary folder")]
    Folder(#[source] std::io::Error),
    /// Random numbers.
    #[error(transparent)]
    Random(#[from] vault::Error),
    /// The pool.
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// A folder that goes when this does.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Error> {
        let name = u64::from_ne_bytes(vault::random()?);
        let path = std::env::temp_dir().join(format!("gemini-pool-demo-{name:016x}"));
        std::fs::create_dir(&path).map_err(Error::Folder)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs until `shutdown`.
///
/// # Errors
/// [`Error`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let (world, keys) = World::demo();
    let password = format!("{:016x}", u64::from_ne_bytes(vault::random()?));
    let google = SimulatedGoogle::start(world).await.map_err(Error::Google)?;
    let folder = Temporary::new()?;
    let config = Config {
        gemini_api_keys: keys.into_iter().map(SecretString::from).collect(),
        allowed_api_keys: vec![SecretString::from(CLIENT_KEY.to_owned())],
        gemini_base_url: google.origin(),
        // The simulated Google is on this machine, where no proxy finds it.
        outbound_proxy: None,
        database: Database::Fjall(folder.0.clone()),
        data_dir: folder.0.clone(),
        admin_username: "admin".to_owned(),
        admin_password: Some(SecretString::from(password.clone())),
        secret_key: None,
        host: config.host.or(Some(std::net::Ipv4Addr::LOCALHOST.into())),
        ..config
    };
    let wish = Wish { events: PAST.0, until: Clock::system().now(), seed: PAST.1 };
    give_past(&config, 1, wish, &mut |_| {}).await.map_err(server::Error::Pool)?;
    let service = Service::open(config).await?;
    let listener = service.listen().await?;
    let Ok(address) = listener.local_addr() else { return Ok(()) };
    let folder_name = folder.0.display();
    eprintln!(
        "\n  The pool serves a simulated Google at http://{address}. Ask it something:\n\n    \
         curl http://{address}/v1beta/models/gemini-2.5-flash:generateContent \\\n      \
         -H 'x-goog-api-key: {CLIENT_KEY}' -H 'content-type: application/json' \\\n      \
         -d '{{\"contents\":[{{\"parts\":[{{\"text\":\"Hello\"}}]}}]}}'\n\n  \
         Look at its keys and its log:\n\n    gemini-pool --data-dir {folder_name} keys list\n    \
         gemini-pool --data-dir {folder_name} events list\n\n  \
         The dashboard is at http://{address}, for `admin` with the password {password}. The day that it\n  \
         shows before now is made up. Stop: Ctrl-C\n"
    );
    let apps = tokio::spawn(ask_now_and_then(format!("http://{address}")));
    let served = service.run(listener, shutdown).await;
    apps.abort();
    google.stop().await;
    Ok(served?)
}

async fn ask_now_and_then(origin: String) {
    let client = reqwest::Client::new();
    for (turn, (model, prompt)) in PROMPTS.iter().cycle().enumerate() {
        let method = if turn % 3 == 0 { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let body = serde_json::json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]});
        let url = format!("{origin}/v1beta/models/{model}:{method}");
        let sent = client.post(url).header("x-goog-api-key", CLIENT_KEY).json(&body).send().await;
        // Whatever comes back is in the pool's log; the made-up app does not care.
        if let Ok(answer) = sent {
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(PACE).await;
    }
}
