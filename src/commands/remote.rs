//! A running pool, asked over its admin API.

use std::net::SocketAddr;

use http::{Method, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Error;
use crate::{config::Config, ledger::clock::Clock, pool, server::running_address};

/// See the module.
pub(super) struct Remote {
    client: reqwest::Client,
    address: SocketAddr,
    token: SecretString,
}

impl Remote {
    /// Finds the server of this data directory and signs a token for it.
    pub(super) fn connect(config: &Config) -> Result<Self, Error> {
        let address = running_address(&config.data_dir).ok_or_else(|| {
            Error::Remote(format!("{} names no address; is it still starting?", config.data_dir.display()))
        })?;
        let token = pool::signer(config)?.cli_token(Clock::system().now()).text;
        // The pool is on this machine: a proxy for the outer world would not find it.
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|error| Error::Remote(error.to_string()))?;
        Ok(Self { client, address, token })
    }

    /// Calls it; gives the status and the body.
    pub(super) async fn call(
        &self,
        verb: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Vec<u8>), Error> {
        let url = format!("http://{}/api{path}", self.address);
        let mut request = self.client.request(verb, url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let failed =
            |error: reqwest::Error| Error::Remote(format!("{} does not answer: {error}", self.address));
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        Ok((status, response.bytes().await.map_err(failed)?.to_vec()))
    }
}
