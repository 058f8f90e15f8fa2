//! Connections to Google: straight, or through outbound proxies.
//!
//! Owns one pool of connections for each way out, at most [`PROXIES`] of them for
//! keys' own proxies (the one that was used least recently goes; what runs through it
//! goes on). It refuses to choose a way: a call says which. Its invariant: a call
//! that is to go through a proxy never goes straight.

mod tunnel;

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

pub(super) use self::tunnel::ProxyFailed;
use self::tunnel::Tunnel;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use self::tunnel::answer as tunnel_answer;
use super::{
    Sending,
    route::{Proxy, Route},
};
use crate::{descriptors::Shares, locks::Mutex};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Google closes idle connections after minutes; we do before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of an answer at once, in bytes, which a client that reads slowly has the pool hold.
const BUFFER: usize = 64 << 10;
/// Proxies of keys that have connections kept.
const PROXIES: usize = 256;

type Via<C> = Client<HttpsConnector<C>, Sending>;

/// See the module. Cheap to clone: the connections are shared.
#[derive(Clone, Debug)]
pub(super) struct Egress {
    direct: Via<HttpConnector>,
    /// OUTBOUND_PROXY's.
    outbound: Option<Via<Tunnel>>,
    own: Arc<Mutex<Recent<Proxy, Via<Tunnel>>>>,
}

impl Egress {
    pub(super) fn new() -> Self {
        let direct = client(tcp(), Shares::now().idle_upstream);
        Self { direct, outbound: None, own: Arc::new(Mutex::new(Recent::new(PROXIES))) }
    }

    /// Everything goes through this proxy, but for keys that have a way of their own.
    pub(super) fn through(self, proxy: Proxy) -> Self {
        let outbound = client(Tunnel::new(proxy, tcp()), Shares::now().idle_upstream);
        Self { outbound: Some(outbound), ..self }
    }

    /// Sends a request on its way; returns when the answer's head is there.
    pub(super) async fn send(
        &self,
        route: &Route,
        request: Request<Sending>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        match (route, &self.outbound) {
            (Route::Through(proxy), _) => self.own(proxy).request(request).await,
            (Route::Pool, Some(outbound)) => outbound.request(request).await,
            (Route::Direct, _) | (Route::Pool, None) => self.direct.request(request).await,
        }
    }

    fn own(&self, proxy: &Proxy) -> Via<Tunnel> {
        // There may be hundreds of them, each with connections of its own.
        let idle = (Shares::now().idle_upstream / 16).max(1);
        self.own.lock().get(proxy, || client(Tunnel::new(proxy.clone(), tcp()), idle))
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(IDLE_TIMEOUT));
    connector
}

/// Keeps so many idle connections; more of them are opened when needed and closed after.
fn client<C>(connector: C, idle: usize) -> Via<C>
where
    C: Clone,
    HttpsConnector<C>: legacy::connect::Connect,
{
    // HTTP/1.1 by choice: one HTTP/2 connection would hold all streams to its limit.
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle)
        .http1_max_buf_size(BUFFER)
        .build(connector)
}

/// What was used last, up to a number.
#[derive(Debug)]
struct Recent<K, V> {
    most: usize,
    /// Counts uses.
    turn: u64,
    kept: HashMap<K, (V, u64)>,
}

impl<K: Clone + Eq + std::hash::Hash, V: Clone> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self { most, turn: 0, kept: HashMap::new() }
    }

    /// What is kept under a key, or made for it now.
    fn get(&mut self, key: &K, make: impl FnOnce() -> V) -> V {
        self.turn += 1;
        if let Some((value, used)) = self.kept.get_mut(key) {
            *used = self.turn;
            return value.clone();
        }
        if self.kept.len() >= self.most {
            let oldest = self.kept.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.kept.remove(&oldest));
        }
        let value = make();
        self.kept.insert(key.clone(), (value.clone(), self.turn));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_used_least_recently_goes() {
        let mut recent = Recent::new(2);
        let mut made = Vec::new();
        for key in ["a", "b", "a", "c", "a", "b", "b", "c", "c"] {
            let value = recent.get(&key, || {
                made.push(key);
                key
            });
            assert_eq!(value, key);
            assert!(recent.kept.len() <= 2);
        }
        assert_eq!(made, ["a", "b", "c", "b", "c"]);
    }

    #[test]
    fn each_proxy_and_each_credential_has_connections_of_its_own() {
        let egress = Egress::new();
        let proxies =
            ["http://a:1@proxy:80", "http://a:2@proxy:80", "socks5://proxy:80", "http://a:1@proxy:80"];
        for text in proxies {
            egress.own(&Proxy::parse(text).unwrap());
        }
        assert_eq!(egress.own.lock().kept.len(), 3);
        for port in 1..=2 * PROXIES {
            egress.own(&Proxy::parse(&format!("http://proxy:{port}")).unwrap());
        }
        assert_eq!(egress.own.lock().kept.len(), PROXIES);
    }
}
