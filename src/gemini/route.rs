//! The way out to Google: straight, or through an outbound proxy.
//!
//! Owns what an operator may write for a proxy. Pure. Its invariant: a proxy's user
//! name and password leave this module as bytes for that proxy or for sealing, and
//! are never printed.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::text;

/// What an operator may write, in words.
pub const WANTS: &str = "http://, socks5:// or socks5h://, then [user:password@]host:port";
/// SOCKS5 counts the length of a name and of a password in one byte (RFC 1929).
const LONGEST: usize = 255;
/// The word for no proxy at all.
const DIRECT: &str = "direct";

/// Why a text names no proxy. Never repeats it, for it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// It begins in another way, or goes on after the port.
    #[error("wants {WANTS}")]
    Form,
    /// The host is none, or the port is missing.
    #[error("wants a host and a port: {WANTS}")]
    Address,
    /// The user name or the password.
    #[error(
        "wants a user name and a password of at most 255 bytes, without control characters, and for http:// a user \
         name without a colon; other signs may be written as they are, but `%` as %25"
    )]
    Credentials,
}

/// How to speak to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5; names are looked up here.
    Socks5,
    /// SOCKS5; names are looked up by the proxy.
    Socks5h,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }
}

/// Who we are to a proxy.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub name: Zeroizing<String>,
    /// Password; may be empty.
    pub password: Zeroizing<String>,
}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.as_str().hash(state);
        self.password.as_str().hash(state);
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    scheme: Scheme,
    /// With brackets where it is an IPv6 address.
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// An outbound proxy. Printed, it is its address without credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy(Arc<Parts>);

impl Proxy {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`BadProxy`].
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(BadProxy::Form)?;
        let all = [Scheme::Http, Scheme::Socks5, Scheme::Socks5h];
        let scheme = all.into_iter().find(|known| scheme.eq_ignore_ascii_case(known.name()));
        let scheme = scheme.ok_or(BadProxy::Form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // People do not escape what is in their passwords: the last `@` is the one.
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (host, port) = address.rsplit_once(':').ok_or(BadProxy::Address)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(BadProxy::Address)?;
        if !is_host(host) {
            return Err(BadProxy::Address);
        }
        let credentials = credentials.map(|text| read_credentials(scheme, text)).transpose()?;
        Ok(Self(Arc::new(Parts { scheme, host: host.to_ascii_lowercase(), port, credentials })))
    }

    /// How to speak to it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Where it is, as `host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.0.host, self.0.port)
    }

    /// Who we are to it.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.0.credentials.as_ref()
    }

    /// All of it, for sealing: [`Proxy::parse`] reads it.
    fn secret(&self) -> Zeroizing<String> {
        let Parts { scheme, host, port, credentials } = &*self.0;
        let credentials = credentials.as_ref().map(|credentials| {
            let Credentials { name, password } = credentials;
            Zeroizing::new([&*escaped(name), ":", &*escaped(password), "@"].concat())
        });
        let credentials = credentials.as_ref().map_or("", |credentials| credentials.as_str());
        Zeroizing::new(format!("{}://{credentials}{host}:{port}", scheme.name()))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.0.scheme.name(), self.0.host, self.0.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// A name, or an address; nothing that could end a line of HTTP.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let plain = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        return inner.strip_suffix(']').is_some_and(|inner| inner.contains(':') && inner.bytes().all(plain));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&host.len()) && host.bytes().all(plain)
}

fn read_credentials(scheme: Scheme, text: &str) -> Result<Credentials, BadProxy> {
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    let plain = |text: &str| {
        let text = text::decode(text).map_err(|_| BadProxy::Credentials)?.into_owned();
        let fits = text.len() <= LONGEST && !text.contains(char::is_control);
        fits.then(|| Zeroizing::new(text)).ok_or(BadProxy::Credentials)
    };
    let (name, password) = (plain(name)?, plain(password)?);
    if name.is_empty() || (scheme == Scheme::Http && name.contains(':')) {
        return Err(BadProxy::Credentials);
    }
    Ok(Credentials { name, password })
}

fn escaped(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Which way a key's calls go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// As all the pool's: through OUTBOUND_PROXY, where there is one.
    #[default]
    Pool,
    /// Straight, whatever the pool does.
    Direct,
    /// Through a proxy of its own.
    Through(Proxy),
}

impl Route {
    /// Reads what an operator wrote of a key: a proxy, or `direct`.
    ///
    /// # Errors
    /// [`BadProxy`].
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        if text.trim().eq_ignore_ascii_case(DIRECT) {
            return Ok(Self::Direct);
        }
        Proxy::parse(text).map(Self::Through)
    }

    /// What people may see of it; none: it is the pool's.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Pool => None,
            Self::Direct => Some(DIRECT.to_owned()),
            Self::Through(proxy) => Some(proxy.to_string()),
        }
    }

    /// All of it, for sealing; [`Route::parse`] reads it. None: there is nothing to keep.
    #[must_use]
    pub fn secret(&self) -> Option<Zeroizing<String>> {
        match self {
            Self::Pool => None,
            Self::Direct => Some(Zeroizing::new(DIRECT.to_owned())),
            Self::Through(proxy) => Some(proxy.secret()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, String, Option<(String, String)>) {
        let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let credentials = proxy.credentials().map(|who| (who.name.to_string(), who.password.to_string()));
        (proxy.scheme(), proxy.authority(), credentials)
    }

    #[test]
    fn proxies_are_read_however_people_write_them() {
        let who = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        for (text, scheme, authority, credentials) in [
            ("http://proxy.example:8080", Scheme::Http, "proxy.example:8080", None),
            (" HTTP://Proxy.Example:8080/ ", Scheme::Http, "proxy.example:8080", None),
            ("socks5://127.0.0.1:1080", Scheme::Socks5, "127.0.0.1:1080", None),
            ("socks5h://[::1]:1080", Scheme::Socks5h, "[::1]:1080", None),
            ("http://ann:secret@proxy:1", Scheme::Http, "proxy:1", who("ann", "secret")),
            ("http://ann@proxy:1", Scheme::Http, "proxy:1", who("ann", "")),
            ("http://ann:a:b@c/d?#e@proxy:65535", Scheme::Http, "proxy:65535", who("ann", "a:b@c/d?#e")),
            ("http://a%20n:100%25%C3%B6@proxy:1", Scheme::Http, "proxy:1", who("a n", "100%\u{f6}")),
            ("socks5h://a%3An:x@proxy:1", Scheme::Socks5h, "proxy:1", who("a:n", "x")),
        ] {
            assert_eq!(parts(text), (scheme, authority.to_owned(), credentials), "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_it() {
        let long = format!("http://ann:{}@proxy:1", "s3cret".repeat(50));
        for (text, error) in [
            ("", BadProxy::Form),
            ("proxy:8080", BadProxy::Form),
            ("https://s3cret:s3cret@proxy:443", BadProxy::Form),
            ("socks4://s3cret@proxy:1", BadProxy::Form),
            ("http://s3cret:s3cret@proxy", BadProxy::Address),
            ("http://s3cret@proxy:", BadProxy::Address),
            ("http://s3cret@proxy:0", BadProxy::Address),
            ("http://s3cret@proxy:+80", BadProxy::Address),
            ("http://s3cret@proxy:65536", BadProxy::Address),
            ("http://s3cret@:80", BadProxy::Address),
            ("http://s3cret@pro xy:80", BadProxy::Address),
            ("http://s3cret@pro\r\nxy:80", BadProxy::Address),
            ("http://s3cret@[::x]:80", BadProxy::Address),
            ("http://s3cret@proxy:80/path", BadProxy::Address),
            ("http://:s3cret@proxy:80", BadProxy::Credentials),
            ("http://a%3An:s3cret@proxy:80", BadProxy::Credentials),
            ("http://ann:s3cret%@proxy:80", BadProxy::Credentials),
            ("http://ann:s3cret%0A@proxy:80", BadProxy::Credentials),
            (&long, BadProxy::Credentials),
        ] {
            assert_eq!(Proxy::parse(text).unwrap_err(), error, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn what_is_sealed_is_read_back_and_what_is_shown_has_no_credentials() {
        let odd = "socks5://a%3An:p%40s%25/w%C3%B6rd@proxy:1080";
        for text in ["direct", "http://proxy:80", "http://ann:s3cret@proxy:80", "socks5h://[::1]:1080", odd] {
            let route = Route::parse(text).unwrap();
            assert_eq!(Route::parse(&route.secret().unwrap()).unwrap(), route, "{text}");
            let shown = format!("{} {route:?}", route.shown().unwrap());
            assert!(!shown.contains("s3cret") && !shown.contains("ann") && !shown.contains('@'), "{shown}");
        }
        assert_eq!(Route::parse(odd).unwrap().shown().unwrap(), "socks5://proxy:1080");
        assert_eq!((Route::Pool.shown(), Route::Pool.secret()), (None, None));
        assert_ne!(Proxy::parse("http://ann:one@proxy:80"), Proxy::parse("http://ann:two@proxy:80"));
    }
}
