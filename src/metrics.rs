//! `/metrics`: the pool in numbers, for Prometheus and its like (OpenMetrics text).
//!
//! Owns who may read it: this machine by its own name, or whoever brings METRICS_TOKEN. Counters come from the log's fold, so they go
//! on after a restart and nothing on a request's way counts for them; everything else is looked up when it is asked
//! for. No label is a key, a client, or a word that a client made up. Its invariant: closed to everybody else.

mod exposition;
mod process;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, StatusCode, header};
use poem::{Request, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{network::is_of_this_machine, pool::Pool, sites};

/// See the module.
pub struct Metrics(pub Arc<Pool>);

impl Metrics {
    /// Everything, or a refusal.
    #[must_use]
    pub fn serve(&self, request: &Request) -> Response {
        let address = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let settings = self.0.settings.now();
        // A page of another site may have a name that leads here.
        let named = sites::is_named_here(request.headers(), request.uri(), settings.public_url.as_deref());
        let address = address.filter(|_| named);
        if !may_read(address, request.headers(), settings.metrics_token.as_ref()) {
            return plain(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer").body(
                "Metrics are for this machine, or for whoever sends METRICS_TOKEN as a bearer token.\n",
            );
        }
        match exposition::text(&self.0) {
            Ok(text) => Response::builder()
                .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
                .header(header::CACHE_CONTROL, "no-store")
                .body(text),
            Err(std::fmt::Error) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR).body("The metrics cannot be written down.\n")
            }
        }
    }
}

fn plain(status: StatusCode) -> poem::ResponseBuilder {
    Response::builder().status(status).content_type("text/plain; charset=utf-8")
}

fn may_read(address: Option<IpAddr>, headers: &HeaderMap, token: Option<&SecretString>) -> bool {
    if is_of_this_machine(address, headers) {
        return true;
    }
    let brought =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let wanted = token.map(|token| token.expose_secret().as_bytes());
    brought.zip(wanted).is_some_and(|(brought, wanted)| bool::from(brought.ct_eq(wanted)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::network::FORWARDED;

    const TOKEN: &str = "a token for scrapers";

    fn asks(address: &str, headers: &[(&'static str, &'static str)], token: Option<&str>) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let token = token.map(SecretString::from);
        may_read(address.parse().ok(), &headers.collect(), token.as_ref())
    }

    #[test]
    fn this_machine_may_read_and_nobody_through_it() {
        for here in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(asks(here, &[], None), "{here}");
            for header in FORWARDED {
                assert!(!asks(here, &[(header, "192.0.2.1")], None), "{header}");
            }
        }
        for there in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "no address"] {
            assert!(!asks(there, &[], None) && !asks(there, &[], Some(TOKEN)), "{there}");
        }
    }

    #[test]
    fn elsewhere_only_the_token_opens() {
        let with = |value| asks("192.0.2.1", &[("authorization", value)], Some(TOKEN));
        assert!(with("Bearer a token for scrapers"));
        for wrong in ["Bearer a token for scraper", "Bearer ", "Bearer", "a token for scrapers", "Basic YTpi"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!asks("192.0.2.1", &[("authorization", "Bearer ")], None), "no token is no open door");
        assert!(asks("::1", &[("via", "x"), ("authorization", "Bearer a token for scrapers")], Some(TOKEN)));
    }
}
