//! Addresses: ranges of them, and whose a request is behind proxies.
//!
//! Pure. Its invariant: what a client says of its own address counts only as far as machines that the operator
//! trusts (TRUSTED_PROXIES) pass it on.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{HeaderMap, HeaderName, Uri, Version, header::HOST};

/// An address, or all that begin alike: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// Neither address nor range.
    #[error("is no IP address, nor a range such as 10.0.0.0/8 or 2001:db8::/32")]
    Form,
    /// More bits than the address has.
    #[error("has a prefix longer than its address")]
    Prefix,
    /// An address within a range.
    #[error("has bits after its prefix; the range is {0}")]
    Bits(Range),
}

impl Range {
    /// The one that an address is in.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let prefix = prefix.min(if address.is_ipv4() { 32 } else { 128 });
        Self { network: masked(address, prefix), prefix }
    }

    /// How many bits its addresses share.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address.to_canonical(), self.prefix) == self.network
            }
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadRange::Form)?;
        let plain = address.to_canonical();
        let bits = if plain.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => {
                let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
                let told: u8 = prefix.parse().ok().filter(|_| digits).ok_or(BadRange::Form)?;
                // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
                let mapped = address.is_ipv6() && plain.is_ipv4();
                let told = if mapped { told.checked_sub(96).ok_or(BadRange::Form)? } else { told };
                if told <= bits { told } else { return Err(BadRange::Prefix) }
            }
        };
        let range = Self { network: masked(plain, prefix), prefix };
        if range.network == plain { Ok(range) } else { Err(BadRange::Bits(range)) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.network.is_ipv4() { 32 } else { 128 };
        if self.prefix == whole { self.network.fmt(f) } else { write!(f, "{}/{}", self.network, self.prefix) }
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// The networks whose addresses one and the same may have, from the narrowest: of IPv4 the address and its /24; of IPv6
/// /64, which everybody has all of, /56 and /48, which providers give away.
#[must_use]
pub fn networks(address: IpAddr) -> Vec<Range> {
    let address = address.to_canonical();
    let prefixes: &[u8] = if address.is_ipv4() { &[32, 24] } else { &[64, 56, 48] };
    prefixes.iter().map(|prefix| Range::around(address, *prefix)).collect()
}

/// Those that are one as far as bounds go: an IPv4 address, or a /64 of IPv6, which is what one customer has at least.
#[must_use]
pub fn group(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    masked(address, if address.is_ipv4() { 32 } else { 64 })
}

/// Who sends one of these asks for somebody else, who may be anywhere.
pub const FORWARDED: [&str; 9] = [
    "forwarded",
    "via",
    "x-real-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "fastly-client-ip",
    "cdn-loop",
    "x-amzn-trace-id",
];
/// So begin the names of others of their kind: of every reverse proxy, Cloudflare, Envoy, Azure, Google and Fly.
pub const FORWARDED_FAMILIES: [&str; 8] =
    ["x-forwarded", "x-original-", "cf-", "x-envoy-", "x-azure-", "x-arr-", "x-cloud-trace-context", "fly-"];

/// Who sends a request, as far as the connection and its head tell.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
    /// The version that it speaks.
    pub version: Version,
    /// What it asks for.
    pub uri: &'a Uri,
    /// What it says.
    pub headers: &'a HeaderMap,
}

impl Sender<'_> {
    /// Whether the request is this machine's own: it comes from here, and nothing tells that it was passed on for
    /// somebody else. A reverse proxy tells by a header, by speaking HTTP/1.0 (what nginx does unless it is told
    /// otherwise), or by being one of TRUSTED_PROXIES.
    #[must_use]
    pub fn is_on_this_machine(&self, trusted: &[Range]) -> bool {
        let Some(peer) = self.peer.filter(|peer| peer.to_canonical().is_loopback()) else { return false };
        let tells = |name: &HeaderName| {
            let name = name.as_str();
            FORWARDED.contains(&name) || FORWARDED_FAMILIES.iter().any(|family| name.starts_with(family))
        };
        self.version > Version::HTTP_10
            && !trusted.iter().any(|range| range.contains(peer))
            && !self.headers.keys().any(tells)
    }

    /// Whether it went to a name that leads to the machine that asks, whatever a name server says: another site can
    /// have its name lead here as well (DNS rebinding), and for a browser the pool is then that site.
    #[must_use]
    pub fn went_to_loopback(&self) -> bool {
        let mut hosts = self.headers.get_all(HOST).iter().peekable();
        let named = hosts.peek().is_some() || self.uri.authority().is_some();
        named
            && hosts.all(|name| name.to_str().is_ok_and(is_loopback))
            && self.uri.authority().is_none_or(|name| is_loopback(name.as_str()))
    }

    /// Both: what a stranger is not told, this one is.
    #[must_use]
    pub fn is_local(&self, trusted: &[Range]) -> bool {
        self.is_on_this_machine(trusted) && self.went_to_loopback()
    }
}

/// A host, with or without a port, that leads to the machine that asks, whatever a name server says (RFC 6761 §6.3).
#[must_use]
pub fn is_loopback(name: &str) -> bool {
    let host = match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => name.rsplit_once(':').map_or(name, |(host, _)| host),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whose a request is: the peer's own, or, where that is a trusted proxy, the nearest address on its way that
/// belongs to none.
///
/// `X-Forwarded-For` counts before `Forwarded` (RFC 7239): nearly every proxy sets the first, and would pass on a
/// client's own `Forwarded` unread.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Range]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return nearest;
    }
    let forwarded_for = headers.contains_key("x-forwarded-for");
    let name = if forwarded_for { "x-forwarded-for" } else { "forwarded" };
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let hop = if forwarded_for { Some(element) } else { for_of(element) };
        // What cannot be read, or is hidden, ends the way: whoever wrote it is the last that is known.
        let Some(hop) = hop.and_then(address_in) else { return nearest };
        nearest = hop;
        if !is_trusted(nearest) {
            return nearest;
        }
    }
    nearest
}

/// Whether the client's own connection was encrypted, as far as a trusted proxy says so.
#[must_use]
pub fn came_over_https(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[Range]) -> bool {
    let told = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let told = told.and_then(|told| told.rsplit(',').next()).is_some_and(|told| told.trim() == "https");
    told && peer.is_some_and(|peer| trusted.iter().any(|range| range.contains(peer)))
}

/// The `for` of one element of `Forwarded`.
fn for_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address, with or without brackets and a port.
fn address_in(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    let plain = bare.parse::<IpAddr>().ok();
    let with_port = || bare.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_hold_what_begins_alike() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", &["10.1.2.3", "::ffff:10.0.0.1"][..], &["11.0.0.0", "::1"][..]),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6"]),
            ("0.0.0.0/0", &["8.8.8.8"], &["::1"]),
            ("2001:db8::/32", &["2001:db8:1::1"], &["2001:db9::", "10.0.0.1"]),
            ("::/0", &["::1"], &["127.0.0.1"]),
            ("::1", &["::1"], &["::2"]),
        ] {
            for address in inside {
                assert!(range(text).contains(ip(address)), "{address} is in {text}");
            }
            for address in outside {
                assert!(!range(text).contains(ip(address)), "{address} is not in {text}");
            }
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(range("::ffff:10.0.0.0/104"), range("10.0.0.0/8"));
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, wanted) in [
            ("", BadRange::Form),
            ("localhost", BadRange::Form),
            ("10.0.0.0/", BadRange::Form),
            ("10.0.0.0/+8", BadRange::Form),
            ("10.0.0.0/33", BadRange::Prefix),
            ("::/129", BadRange::Prefix),
            ("10.0.0.1/8", BadRange::Bits(range("10.0.0.0/8"))),
        ] {
            assert_eq!(text.parse::<Range>().unwrap_err(), wanted, "{text}");
        }
    }

    #[test]
    fn only_trusted_machines_say_where_a_request_comes_from() {
        let trusted = [range("10.0.0.0/8"), range("2001:db8::/32")];
        let told = |peer: &str, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            client_address(ip(peer), &map, &trusted).to_string()
        };
        for (peer, headers, wanted) in [
            ("203.0.113.9", &[("x-forwarded-for", "1.1.1.1")][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1")], "1.1.1.1"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "1.1.1.1:4711")], "1.1.1.1"),
            // The client wrote the first one itself.
            ("10.0.0.1", &[("x-forwarded-for", "9.9.9.9, 203.0.113.5")], "203.0.113.5"),
            ("10.0.0.1", &[("x-forwarded-for", "9.9.9.9, 203.0.113.5, 10.0.0.2")], "203.0.113.5"),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "203.0.113.5")],
                "203.0.113.5",
            ),
            ("10.0.0.1", &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, rubbish, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=9.9.9.9")], "1.1.1.1"),
            ("10.0.0.1", &[("forwarded", "for=9.9.9.9, for=203.0.113.5;proto=https")], "203.0.113.5"),
            ("10.0.0.1", &[("forwarded", "proto=https;For=\"[2001:db7::1]:99\"")], "2001:db7::1"),
            ("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1"),
            ("2001:db8::1", &[("x-forwarded-for", "2001:db7::9")], "2001:db7::9"),
        ] {
            assert_eq!(told(peer, headers), wanted, "{peer} {headers:?}");
        }
    }

    #[test]
    fn only_what_nobody_passed_on_is_of_this_machine() {
        let uri = Uri::from_static("/v1/models");
        let asks = |peer: &str, version, pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), http::HeaderValue::from_static(value))
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            let sender = Sender { peer: peer.parse().ok(), version, uri: &uri, headers: &headers };
            (sender.is_on_this_machine(&[range("127.9.0.0/16")]), sender.is_local(&[range("127.9.0.0/16")]))
        };
        let host = ("host", "127.0.0.1:8000");
        for here in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(asks(here, Version::HTTP_11, &[host]), (true, true), "{here}");
            // nginx with `proxy_pass` and nothing more.
            let nginx = [host, ("connection", "close")];
            assert_eq!(asks(here, Version::HTTP_10, &nginx), (false, false), "{here}");
        }
        for there in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "no address", "127.9.0.1"] {
            assert_eq!(asks(there, Version::HTTP_11, &[host]), (false, false), "{there}");
        }
        let more =
            ["x-forwarded-for", "x-forwarded-host", "cf-connecting-ip", "cf-ray", "x-original-forwarded-for"];
        for header in FORWARDED.into_iter().chain(more) {
            assert_eq!(asks("::1", Version::HTTP_11, &[host, (header, "x")]), (false, false), "{header}");
        }
        for (name, wanted) in [("localhost", true), ("evil.example:8000", false), ("192.0.2.1", false)] {
            assert_eq!(asks("::1", Version::HTTP_11, &[("host", name)]), (true, wanted), "{name}");
        }
        assert_eq!(asks("::1", Version::HTTP_11, &[]), (true, false), "nobody leaves the host out");
        assert_eq!(asks("::1", Version::HTTP_11, &[host, ("host", "evil.example")]), (true, false));
    }

    #[test]
    fn a_customer_is_one_group() {
        for (one, other, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8:0:0:ffff::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(group(ip(one)) == group(ip(other)), same, "{one} {other}");
        }
    }
}
