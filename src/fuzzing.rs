//! What is thrown at the readers that take in what others send: strangers, clients, proxies, damaged disks.
//!
//! Built for tests and for `fuzz/` alone. Owns one function for each of them; what it is given it takes for input, and
//! it panics where a law does not hold: not only that nothing breaks, but that the meaning is the same however the
//! bytes are cut, and that what is read is what was written. `fuzz/corpus` holds inputs that say something; every one
//! of them is tried in the ordinary tests too.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::gemini::fuzzed::{json_walk, socks_answers, stream_frames};
pub use crate::ledger::fuzzed::{backup, codec};
use crate::network::{Range, Sender, client_address, group};
pub use crate::proxy::websocket_relay;

/// What reads an input, and panics where a law does not hold.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("json_walk", json_walk),
    ("stream_frames", stream_frames),
    ("codec", codec),
    ("backup", backup),
    ("client_address", client_address_of),
    ("websocket_relay", websocket_relay),
    ("socks_answers", socks_answers),
];

/// Bytes cut into pieces, each way for another seed; 0: one by one.
pub(crate) fn pieces(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut pieces, mut state) = (Vec::new(), u32::from(seed));
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if seed.is_multiple_of(2) { 4 } else { 64 };
        let length = if seed == 0 { 1 } else { 1 + (state >> 16) as usize % most };
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Whose a request is: nobody but a trusted proxy says so. A line of the input is the peer, one the trusted ranges,
/// and the others are headers.
pub fn client_address_of(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    let peer: IpAddr = text().trim().parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let trusted: Vec<Range> = text().split(',').filter_map(|range| range.trim().parse().ok()).collect();
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value[1..])) {
            headers.append(name, value);
        }
    }
    for range in &trusted {
        assert_eq!(range.to_string().parse(), Ok(*range), "a range reads as it shows");
    }
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let address = client_address(peer, &headers, &trusted);
    assert_eq!(address, address.to_canonical());
    if !is_trusted(peer) {
        assert_eq!(address, peer.to_canonical(), "somebody whom nobody trusts said who it is");
    }
    if address != peer.to_canonical() {
        let told =
            headers.get_all("x-forwarded-for").iter().chain(headers.get_all("forwarded").iter()).next();
        assert!(told.is_some(), "an address that nobody told");
    }
    // With nobody trusted, nothing that is told counts; and one that is told by a proxy is its own, not a guess.
    assert_eq!(client_address(peer, &headers, &[]), peer.to_canonical());
    assert_eq!(group(group(address)), group(address));
    let uri = http::Uri::from_static("/");
    let sends = |peer| Sender { peer, version: http::Version::HTTP_11, uri: &uri, headers: &headers };
    let is_here = sends(Some(peer)).is_on_this_machine(&trusted);
    assert!(!is_here || peer.to_canonical().is_loopback() && !is_trusted(peer));
    assert!(!is_here || !headers.contains_key("x-forwarded-for") && !headers.contains_key("forwarded"));
    assert!(!sends(None).is_on_this_machine(&trusted));
}

#[cfg(test)]
mod tests {
    use std::{fs, panic, path::Path};

    use super::*;

    #[test]
    fn bytes_are_cut_without_a_loss() {
        let bytes: Vec<u8> = (0..=255).collect();
        for seed in 0..=255 {
            assert_eq!(pieces(&bytes, seed).concat(), bytes);
        }
        assert_eq!(pieces(&bytes, 0).len(), bytes.len());
    }

    /// What was found once is not there again.
    #[test]
    fn every_input_of_the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpus.join(name)).unwrap().map(|input| input.unwrap().path());
            let inputs: Vec<_> = inputs.collect();
            assert!(inputs.len() >= 3, "{name} has hardly an input");
            for input in inputs {
                let bytes = fs::read(&input).unwrap();
                let held = panic::catch_unwind(|| target(&bytes));
                assert!(held.is_ok(), "{}", input.display());
                // And nor does a part of it, or a change in it, break a law.
                for place in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
                    let mut changed = bytes.clone();
                    changed[place] = changed[place].wrapping_add(1 + place as u8 % 255);
                    for bytes in [&bytes[..place], changed.as_slice()] {
                        let held = panic::catch_unwind(|| target(bytes));
                        assert!(held.is_ok(), "{} at {place}: {bytes:?}", input.display());
                    }
                }
            }
        }
    }
}
