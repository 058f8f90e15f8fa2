//! A running pool, asked over its admin API.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{Method, header::CONTENT_TYPE};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::Error;
use crate::{auth::Signer, config::Config, ledger::clock::Clock, pool, server::running_address};

/// Whoever watches containers waits no longer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Asks the running server of this data directory whether it is ready; gives the status and the body.
pub(super) async fn ready(config: &Config) -> Result<(u16, Value), Error> {
    let address = running_address(&config.data_dir).ok_or_else(|| {
        Error::Answer(format!("no gemini-pool is running: {} names no address", config.data_dir.display()))
    })?;
    let silent = |error: reqwest::Error| Error::Answer(format!("{address} does not answer: {error}"));
    let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_PATIENCE).build().map_err(silent)?;
    // Whoever is no stranger is told why. Without the secret that signs tokens it asks as one.
    let request = client.get(format!("http://{address}/readyz"));
    let request = match pool::signer(config) {
        Ok(signer) => request.bearer_auth(signer.cli_token(Clock::system().now()).text.expose_secret()),
        Err(_) => request,
    };
    let response = request.send().await.map_err(silent)?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.unwrap_or_default()))
}

/// See the module.
pub(super) struct Remote {
    client: reqwest::Client,
    address: SocketAddr,
    /// A token is good for one call: a command may take longer than one lives.
    signer: Signer,
}

impl Remote {
    /// Finds the server of this data directory, and what signs tokens for it.
    pub(super) fn connect(config: &Config) -> Result<Self, Error> {
        let address = running_address(&config.data_dir).ok_or_else(|| {
            Error::Remote(format!("{} names no address; is it still starting?", config.data_dir.display()))
        })?;
        let signer = pool::signer(config)?;
        // The pool is on this machine: a proxy for the outer world would not find it.
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|error| Error::Remote(error.to_string()))?;
        Ok(Self { client, address, signer })
    }

    /// Calls it; gives the status and the body.
    pub(super) async fn call(
        &self,
        verb: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Vec<u8>), Error> {
        let response = self.send(verb, path, body).await?;
        let status = response.status().as_u16();
        Ok((status, response.bytes().await.map_err(|error| self.silent(&error))?.to_vec()))
    }

    /// The same, for an answer too long to be held.
    pub(super) async fn download(
        &self,
        path: &str,
    ) -> Result<(u16, impl Stream<Item = io::Result<Bytes>> + Send + use<>), Error> {
        let response = self.send(Method::GET, path, None).await?;
        let status = response.status().as_u16();
        let pieces = stream::try_unfold(response, |mut response| async {
            let piece = response.chunk().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, response)))
        });
        Ok((status, pieces))
    }

    /// A request with a token made for it.
    fn request(&self, verb: Method, path: &str) -> reqwest::RequestBuilder {
        let token = self.signer.cli_token(Clock::system().now()).text;
        let url = format!("http://{}/api{path}", self.address);
        self.client.request(verb, url).bearer_auth(token.expose_secret())
    }

    async fn send(&self, verb: Method, path: &str, body: Option<Value>) -> Result<reqwest::Response, Error> {
        let mut request = self.request(verb, path);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        request.send().await.map_err(|error| self.silent(&error))
    }

    fn silent(&self, error: &reqwest::Error) -> Error {
        Error::Remote(format!("{} does not answer: {error}", self.address))
    }

    /// Listens to a stream of its events.
    pub(super) async fn listen(&self, path: &str) -> Result<Feed, Error> {
        let response = self.request(Method::GET, path).send().await.map_err(|error| self.silent(&error))?;
        if response.status().is_success() {
            return Ok(Feed { response, read: Vec::new() });
        }
        let status = response.status();
        let told = response.bytes().await.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let told = told.as_ref().and_then(|problem| problem.get("detail")?.as_str());
        let told = told.map_or_else(|| format!("the answer was HTTP {status}"), str::to_owned);
        // What passes: it stops, or as many listen as may.
        let passes = matches!(status.as_u16(), 429 | 503);
        Err(if passes { Error::Remote(told) } else { Error::Answer(told) })
    }
}

/// A stream of events, block by block.
pub(super) struct Feed {
    response: reqwest::Response,
    read: Vec<u8>,
}

impl Feed {
    /// The next block; none: it ended.
    pub(super) async fn block(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let rest = self.read.split_off(end + 2);
                let block = std::mem::replace(&mut self.read, rest);
                return Ok(Some(String::from_utf8_lossy(&block).into_owned()));
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|error| Error::Remote(format!("the stream broke: {error}")))? {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Parameters as they stand in a URL; nothing where there are none.
pub(super) fn query(parameters: &[(&str, String)]) -> String {
    let mut query = String::new();
    for (name, value) in parameters {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    query.push(char::from(byte));
                }
                byte => query.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn each_call_brings_a_token_of_its_own() {
        let remote = Remote {
            client: reqwest::Client::new(),
            address: ([127, 0, 0, 1], 1).into(),
            signer: Signer::new(&SecretString::from("0123456789abcdef".to_owned())),
        };
        let token = || {
            let request = remote.request(Method::GET, "/status").build().unwrap();
            request.headers()["authorization"].to_str().unwrap().to_owned()
        };
        let (first, second) = (token(), token());
        assert_ne!(first, second, "a command may take longer than a token lives");
        assert!(remote.signer.read(second.strip_prefix("Bearer ").unwrap()).is_some());
    }
}
