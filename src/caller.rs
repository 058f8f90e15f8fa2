//! Whose something is, where shares are counted: memory of bodies, and places of the queue.
//!
//! An access key is one caller, from wherever it is used. Where access is open, an address is one; of IPv6 a /64 is,
//! because whoever has one address of it has all of them.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use projections::ClientId;

use crate::network::group;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Whoever has this access key.
    Client(ClientId),
    /// Whoever calls from there without an access key.
    Address(IpAddr),
    /// The administrators, all together.
    Operators,
}

impl Caller {
    /// Whose a request is.
    #[must_use]
    pub fn of(client: Option<ClientId>, address: Option<IpAddr>) -> Self {
        match client {
            Some(client) => Self::Client(client),
            None => Self::Address(address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), group)),
        }
    }
}

/// A connection's mark: its client has shown who it is. Who serves a request finds it among the request's extensions.
///
/// Where connections run short, those without it are closed first.
#[derive(Clone, Debug, Default)]
pub struct Recognized {
    connection: Arc<AtomicBool>,
    /// That of all connections from the same address.
    address: Arc<AtomicBool>,
}

impl Recognized {
    /// A mark of a connection from an address with this mark.
    #[must_use]
    pub fn at(address: &Arc<AtomicBool>) -> Self {
        Self { connection: Arc::default(), address: Arc::clone(address) }
    }

    /// A credential was right.
    pub fn mark(&self) {
        // Most requests come over a connection that has it, and write nothing.
        if !self.is_marked() {
            self.connection.store(true, Ordering::Relaxed);
            self.address.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one was, on this connection.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.connection.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_one_caller_and_so_is_a_network() {
        let at = |address: &str| Some(address.parse().unwrap());
        assert_eq!(Caller::of(Some(ClientId(3)), at("10.0.0.1")), Caller::of(Some(ClientId(3)), None));
        assert_eq!(Caller::of(None, at("2001:db8::1")), Caller::of(None, at("2001:db8::ffff:1")));
        assert_ne!(Caller::of(None, at("2001:db8::1")), Caller::of(None, at("2001:db8:0:1::1")));
        assert_eq!(Caller::of(None, at("::ffff:10.0.0.1")), Caller::of(None, at("10.0.0.1")));
        assert_ne!(Caller::of(None, at("10.0.0.2")), Caller::of(None, at("10.0.0.1")));
    }
}
