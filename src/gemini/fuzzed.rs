//! See [`crate::fuzzing`]: the readers of this folder, and the laws that hold of them.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, value::RawValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    body::Scan,
    conversation::Conversation,
    egress::tunnel_answer,
    json::{Member, Visit, Walk},
    references::fuzzed_references,
    scrub::{Forms, Hunt, Scrubber},
    stream::{Framing, Peek, Read, Reader, peek},
    target::Shape,
};
use crate::fuzzing::pieces;

/// What a walk said: of which member, at which level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Asked(u8, String),
    Value(u8, Option<Vec<u8>>),
    Long(u8, Vec<u8>),
    Closed(u8),
}

#[derive(Debug, Default)]
struct Notes(Vec<Said>);

impl Visit for Notes {
    type Level = u8;
    type Tag = u8;

    fn member(&mut self, level: u8, name: &str) -> Member<u8, u8> {
        self.0.push(Said::Asked(level, name.to_owned()));
        match name {
            "in" | "contents" => Member::Enter(level.saturating_add(1)),
            "few" => Member::Take { tag: 1, limit: 8 },
            "all" | "model" => Member::Take { tag: 2, limit: 1 << 20 },
            _ => Member::Skip,
        }
    }

    fn value(&mut self, tag: u8, raw: Option<&[u8]>) {
        self.0.push(Said::Value(tag, raw.map(<[u8]>::to_vec)));
    }

    fn long(&mut self, tag: u8, start: &[u8]) {
        self.0.push(Said::Long(tag, start.to_vec()));
    }

    fn closed(&mut self, level: u8) {
        self.0.push(Said::Closed(level));
    }
}

/// What a walk came to: what it said, whether it was whole and over, and the value that it was in.
type Walked = (Vec<Said>, bool, bool, Option<(u8, Vec<u8>)>);

fn walked(pieces: &[&[u8]]) -> Walked {
    let mut walk = Walk::new(Notes::default());
    for piece in pieces {
        walk.feed(piece);
    }
    let partial = walk.partial().map(|(tag, raw)| (tag, raw.to_vec()));
    (walk.visitor().0.clone(), walk.whole(), walk.over(), partial)
}

/// The walk over JSON: how the bytes are cut makes no difference, no value is longer than was asked for, and where it
/// is JSON, a value is what a whole parser reads.
pub fn json_walk(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else { return };
    let whole = walked(&[data]);
    assert_eq!(whole, walked(&pieces(data, *seed)), "how it is cut makes a difference");
    for said in &whole.0 {
        match said {
            Said::Value(1, Some(raw)) => assert!(raw.len() <= 8),
            Said::Long(tag, start) => assert_eq!((*tag, start.len()), (1, 8)),
            _ => {}
        }
    }
    if let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(data) {
        assert!(whole.1, "a JSON object is whole");
        let raw: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(data).unwrap_or_default();
        // The last one counts where several are alike.
        let asked =
            whole.0.iter().filter(|said| matches!(said, Said::Asked(0, name) if name == "all")).count();
        let is_entered = ["in", "contents"].iter().any(|name| object.contains_key(*name));
        if let (1, false, false, Some(value)) =
            (asked, is_entered, object.contains_key("model"), raw.get("all"))
            && value.get().len() <= 1 << 20
        {
            let taken = whole.0.iter().find_map(|said| match said {
                Said::Value(2, Some(raw)) => Some(raw.as_slice()),
                _ => None,
            });
            assert_eq!(taken, Some(value.get().as_bytes()), "a value is not what a parser reads");
        }
    }
    let scanned = |pieces: &[&[u8]]| {
        let mut scan = Scan::new();
        pieces.iter().for_each(|piece| scan.feed(piece));
        (scan.model().map(str::to_owned), scan.stream())
    };
    assert_eq!(scanned(&[data]), scanned(&pieces(data, *seed)));
    for shape in [Shape::Native, Shape::OpenAi, Shape::Interactions] {
        let talked = |pieces: &[&[u8]]| {
            let mut conversation = Conversation::new(shape);
            pieces.iter().for_each(|piece| conversation.feed(piece));
            conversation.id(1, "m")
        };
        assert_eq!(talked(&[data]), talked(&pieces(data, *seed)), "{shape:?}");
    }
    assert_eq!(fuzzed_references(&[data]), fuzzed_references(&pieces(data, *seed)));
}

/// A key that stands in the inputs, plain and as JSON and addresses write it.
const SECRET: &[u8] = b"AIza+fuzz/\"key\"=";

fn read(framing: Framing, shape: Shape, gzip: bool, pieces: &[&[u8]]) -> (Read, bool) {
    let mut reader = Reader::new(framing, shape, gzip).hunting(&Forms::new(SECRET));
    for piece in pieces {
        reader.feed(piece);
    }
    let found = reader.found();
    (reader.finish(), found)
}

fn scrubbed(pieces: &[&[u8]]) -> Vec<u8> {
    let mut scrubber = Scrubber::new(&Forms::new(SECRET));
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(scrubber.scrub(Bytes::copy_from_slice(piece)));
    }
    out.extend(scrubber.finish());
    out
}

/// Answers on their way: how the bytes are cut makes no difference to what is read, nor whether they are packed; and
/// no key comes out, whole or in two chunks.
pub fn stream_frames(data: &[u8]) {
    let Some(([how, seed], data)) = data.split_first_chunk() else { return };
    let shape = [Shape::Native, Shape::OpenAi, Shape::Interactions][usize::from(how & 3) % 3];
    let framing =
        [Framing::Sse, Framing::JsonArray, Framing::Json, Framing::Opaque][usize::from(how >> 2) % 4];
    let cut = pieces(data, *seed);
    let (whole, _) = read(framing, shape, false, &[data]);
    assert_eq!(whole, read(framing, shape, false, &cut).0, "how it is cut makes a difference");

    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(data).expect("memory takes what it is given");
    let packed = packer.finish().expect("and all of it");
    let (unpacked, found) = read(framing, shape, true, &pieces(&packed, *seed));
    if framing != Framing::Opaque && !data.is_empty() {
        assert_eq!(whole, unpacked, "packed, it says something else");
    }
    let forms = Forms::new(SECRET);
    assert_eq!(found, forms.are_in(data), "a key goes by unseen, or one is seen that is not there");
    // Bytes that are no gzip, or that break off.
    assert_eq!(read(framing, shape, true, &[data]).0, read(framing, shape, true, &cut).0);

    let plain = scrubbed(&[data]);
    assert_eq!(plain, scrubbed(&cut), "how it is cut makes a difference to what is masked");
    assert!(plain.len() == data.len() && !forms.are_in(&plain), "a key comes out");
    let mut masked = data.to_vec();
    forms.mask(&mut masked);
    assert_eq!(plain, masked);
    let mut hunt = Hunt::new(&forms);
    cut.iter().for_each(|piece| hunt.feed(piece));
    assert_eq!(hunt.found(), forms.are_in(data));

    // It is never asked for more than it wants, and what it found out is said at the end at the latest.
    if data.len() > 64 << 10 {
        assert_ne!(peek(data, framing, false), Peek::More);
    }
    assert!(data.is_empty() || peek(data, framing, true) != Peek::More);
}

/// A proxy that says what the input has, in these pieces; what it is told is nobody's business.
struct Proxy<'a> {
    says: std::vec::IntoIter<&'a [u8]>,
    rest: &'a [u8],
}

impl AsyncRead for Proxy<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.rest = self.says.next().unwrap_or_default();
        }
        let (now, later) = self.rest.split_at(self.rest.len().min(into.remaining()));
        into.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Proxy<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What an outbound proxy answers: how the bytes are cut makes no difference, a connection is there only where the
/// protocol says so, and nothing is read that belongs to Google.
pub fn socks_answers(data: &[u8]) {
    let Some(([how, seed], data)) = data.split_first_chunk() else { return };
    let (http, credentials) = (how & 1 == 1, how & 2 == 2);
    let asked = |says: Vec<&[u8]>| {
        let mut proxy = Proxy { says: says.into_iter(), rest: &[] };
        let result = tunnel_answer(&mut proxy, http, credentials);
        let left = proxy.rest.len() + proxy.says.map(<[u8]>::len).sum::<usize>();
        (result.map_err(|error| error.to_string()), left)
    };
    let (whole, left) = asked(vec![data]);
    let (cut, left_cut) = asked(pieces(data, *seed));
    let read = data.len() - left;
    if http {
        // What follows the head is read with it or not, so a connection that it is asked for may differ.
        assert!(read <= (16 << 10) + data.len().min(64 << 10));
        if whole.is_ok() {
            assert!(data.starts_with(b"HTTP/1.") && data[..read].ends_with(b"\r\n\r\n"));
            assert_eq!(cut, whole);
        }
        return;
    }
    assert_eq!((&whole, left), (&cut, left_cut), "how it is cut makes a difference");
    if whole.is_ok() {
        let (greeting, rest) = data.split_at(2);
        let login = usize::from(greeting[1] == 2) * 2;
        assert!(greeting[0] == 5 && (greeting[1] == 0 || credentials && greeting[1] == 2 && rest[1] == 0));
        let reply = &rest[login..];
        let address = match reply[3] {
            1 => 4,
            4 => 16,
            _ => 1 + usize::from(reply[4]),
        };
        assert!(reply[0] == 5 && reply[1] == 0);
        assert_eq!(read, 2 + login + 4 + address + 2, "it read what is Google's, or too little");
    }
}
