//! Frames: how an event stands in the journal.
//!
//! The only place that knows bincode. A frame is, in big-endian order:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format of the frame (1) |
//! | 1 | codec of the payload (1: bincode 2, standard configuration) |
//! | 1 | class (0 control, 1 health, 2 traffic) |
//! | 1 | version of the event's shape |
//! | 2 | kind of event |
//! | 8 | sequence number |
//! | 8 | milliseconds since 1970 |
//! | 4 | length of the payload |
//! | … | payload |
//! | 4 | CRC-32 of all before |
//! | 32 | BLAKE3 of the previous frame's hash and all before |
//!
//! The checksum finds a damaged frame by itself; the chained hash finds a
//! changed, missing or swapped one. Its invariant: bytes that a release wrote
//! are read for ever (golden files in `tests/golden`).

use std::fmt;

use bincode::{
    config::{Configuration, standard},
    error::DecodeError,
};
use projections::{
    Class, Digest, Event, Millis, Recorded, Seq, State,
    event::{self, Unknown},
    for_each_event, for_each_old_event,
};

const FORMAT: u8 = 1;
/// What is beyond is no format of any program, but some byte.
const NEWEST_FORMAT: u8 = 31;
const BINCODE_2: u8 = 1;
const HEAD: usize = 26;
const CHECK: usize = 4;
const HASH: usize = 32;
/// No event's payload is longer: what is longer is not written, and not read.
pub const LONGEST_PAYLOAD: usize = 16 << 20;

/// The hash that ends a frame and begins the next one's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; HASH]);

impl ChainHash {
    /// What the first frame is chained to.
    pub const START: Self = Self([0; HASH]);

    /// The one that a frame ends with; none, where it is too short to be one.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        frame.last_chunk::<HASH>().map(|hash| Self(*hash))
    }

    /// As an event holds it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.0)
    }

    fn next(&self, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(bytes);
        Self(*hasher.finalize().as_bytes())
    }
}

impl From<Digest> for ChainHash {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why bytes are not a good frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends too early, or goes on too long.
    #[error("its length is wrong")]
    Length,
    /// A newer program wrote it.
    #[error("it was made by a newer version of gemini-pool (frame format {0}), and this one cannot read it")]
    Format(u8),
    /// Some bytes are not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is whole, but not the successor of the one before.
    #[error("it is not chained to the event before it")]
    Chain,
    /// It is gone, though others come after it.
    #[error("it is missing")]
    Missing,
    /// It is whole, but stands in the place of another.
    #[error("it is event {0}, in another one's place")]
    Position(Seq),
    /// It is whole, but its payload makes no sense.
    #[error("its payload does not decode: {0}")]
    Payload(String),
}

impl Damage {
    /// Whether a write that broke off may have left it so. What has the right checksum was
    /// written whole, and is not to be thrown away, whatever else is wrong with it.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        matches!(self, Self::Length | Self::Checksum)
    }
}

/// An event does not fit a frame, or a state its bytes.
#[derive(Debug, thiserror::Error)]
#[error("something of type {kind} cannot be encoded")]
pub struct EncodeError {
    kind: &'static str,
    #[source]
    source: bincode::error::EncodeError,
}

impl EncodeError {
    fn too_long(kind: &'static str) -> Self {
        let told =
            bincode::error::EncodeError::OtherString(format!("it is longer than {LONGEST_PAYLOAD} bytes"));
        Self { kind, source: told }
    }
}

fn config() -> Configuration {
    standard()
}

/// Decodes bytes that nobody vouches for: a length in them makes nothing that is more than sixteen times as long as they
/// are, in whatever kind of memory, and 64 KiB at least.
fn decode_bounded<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    fn within<const LIMIT: usize, T: serde::de::DeserializeOwned>(
        bytes: &[u8],
    ) -> Result<(T, usize), DecodeError> {
        bincode::serde::decode_from_slice(bytes, config().with_limit::<LIMIT>())
    }
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes.len() {
        0..=0x1000 => within::<{ 64 * KIB }, T>(bytes),
        0x1001..=0x1_0000 => within::<MIB, T>(bytes),
        0x1_0001..=0x10_0000 => within::<{ 16 * MIB }, T>(bytes),
        0x10_0001..=0x100_0000 => within::<{ 256 * MIB }, T>(bytes),
        0x100_0001..=0x1000_0000 => within::<{ 4096 * MIB }, T>(bytes),
        _ => Err(DecodeError::LimitExceeded),
    }
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Control => 0,
        Class::Health => 1,
        Class::Traffic => 2,
    }
}

/// Encodes an event as the frame after the one that ends with `previous`.
///
/// # Errors
/// [`EncodeError`], which no event of this program causes.
pub fn encode(
    seq: Seq,
    at: Millis,
    event: &Event,
    previous: &ChainHash,
) -> Result<(Vec<u8>, ChainHash), EncodeError> {
    let (codec, payload) = payload_of(event)?;
    let mut frame = Vec::with_capacity(HEAD + payload.len() + CHECK + HASH);
    frame.extend([FORMAT, codec, class_number(event.class()), event.version()]);
    frame.extend(event.kind().to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend(at.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    let hash = previous.next(&frame);
    frame.extend(hash.0);
    Ok((frame, hash))
}

fn payload_of(event: &Event) -> Result<(u8, Vec<u8>), EncodeError> {
    macro_rules! encode_each {
        ($name:ident, $kind:literal, $version:literal) => {
            if let Event::$name(event) = event {
                let kind = stringify!($name);
                let payload = bincode::serde::encode_to_vec(event, config());
                let payload = payload.map_err(|source| EncodeError { kind, source })?;
                return if payload.len() > LONGEST_PAYLOAD {
                    Err(EncodeError::too_long(kind))
                } else {
                    Ok((BINCODE_2, payload))
                };
            }
        };
    }
    for_each_event!(encode_each);
    match event {
        Event::Unknown(unknown) => Ok((unknown.codec, unknown.payload.clone())),
        _ => Ok((BINCODE_2, Vec::new())),
    }
}

/// Decodes the frame at `seq`; checks its checksum and place, and its chain where `previous` is known.
///
/// # Errors
/// What is wrong with it.
pub fn decode(seq: Seq, frame: &[u8], previous: Option<&ChainHash>) -> Result<(Recorded, ChainHash), Damage> {
    let (body, hash) = frame.split_last_chunk::<HASH>().ok_or(Damage::Length)?;
    let (content, check) = body.split_last_chunk::<CHECK>().ok_or(Damage::Length)?;
    let (head, payload) = content.split_first_chunk::<HEAD>().ok_or(Damage::Length)?;
    let [format, codec, class, version, k0, k1, rest @ ..] = *head;
    // Before the checksum: a newer form may have another one, or have it in another place.
    if (FORMAT + 1..=NEWEST_FORMAT).contains(&format) && !is_changed(content, *check) {
        return Err(Damage::Format(format));
    }
    if format != FORMAT || crc32fast::hash(content) != u32::from_be_bytes(*check) {
        return Err(Damage::Checksum);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, a0, a1, a2, a3, a4, a5, a6, a7, length @ ..] = rest;
    let found = Seq::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    if found != seq {
        return Err(Damage::Position(found));
    }
    if payload.len() != u32::from_be_bytes(length) as usize {
        return Err(Damage::Length);
    }
    if payload.len() > LONGEST_PAYLOAD {
        return Err(Damage::Length);
    }
    let hash = ChainHash(*hash);
    if previous.is_some_and(|previous| previous.next(body) != hash) {
        return Err(Damage::Chain);
    }
    let event = event_of(u16::from_be_bytes([k0, k1]), version, class_of(class), codec, payload)?;
    let at = Millis::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
    Ok((Recorded { seq, at, event }, hash))
}

/// Whether only the byte that tells the form is not what was written.
fn is_changed(content: &[u8], check: [u8; CHECK]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[FORMAT]);
    hasher.update(content.get(1..).unwrap_or_default());
    hasher.finalize() == u32::from_be_bytes(check)
}

/// What a frame says of itself, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its event's number.
    pub kind: u16,
    /// How long it is kept.
    pub class: Class,
    /// When it was recorded.
    pub at: Millis,
}

/// Looks at a frame's head and nothing else.
#[must_use]
pub fn peek(frame: &[u8]) -> Option<Said> {
    let [_, _, class, _, k0, k1, _, _, _, _, _, _, _, _, rest @ ..] = frame else { return None };
    let at = Millis::from_be_bytes(*rest.first_chunk()?);
    Some(Said { kind: u16::from_be_bytes([*k0, *k1]), class: class_of(*class), at })
}

fn class_of(number: u8) -> Class {
    match number {
        0 => Class::Control,
        1 => Class::Health,
        _ => Class::Traffic,
    }
}

/// A state as bytes, small and quick to make. They say nothing of their shape: whoever keeps them keeps that too.
///
/// # Errors
/// [`EncodeError`], which no state of this program causes.
pub fn pack(state: &State) -> Result<Vec<u8>, EncodeError> {
    bincode::serde::encode_to_vec(state, config()).map_err(|source| EncodeError { kind: "State", source })
}

/// The state in such bytes; none, where they are not one of this program's.
#[must_use]
pub fn unpack(bytes: &[u8]) -> Option<State> {
    let (state, used) = decode_bounded(bytes).ok()?;
    (used == bytes.len()).then_some(state)
}

fn event_of(kind: u16, version: u8, class: Class, codec: u8, payload: &[u8]) -> Result<Event, Damage> {
    macro_rules! decode_each {
        ($name:ident, $kind:literal, $version:literal) => {
            if (kind, version, codec) == ($kind, $version, BINCODE_2) {
                return match decode_bounded::<event::$name>(payload) {
                    Ok((event, used)) if used == payload.len() => Ok(Event::$name(event)),
                    Ok(_) => Err(Damage::Payload("bytes are left over".to_owned())),
                    Err(error) => Err(Damage::Payload(error.to_string())),
                };
            }
        };
    }
    for_each_event!(decode_each);
    macro_rules! decode_each_old {
        ($name:ident, $old:ident, $kind:literal, $version:literal) => {
            if (kind, version, codec) == ($kind, $version, BINCODE_2) {
                return match decode_bounded::<event::old::$old>(payload) {
                    Ok((event, used)) if used == payload.len() => Ok(Event::$name(event.into())),
                    Ok(_) => Err(Damage::Payload("bytes are left over".to_owned())),
                    Err(error) => Err(Damage::Payload(error.to_string())),
                };
            }
        };
    }
    for_each_old_event!(decode_each_old);
    Ok(Event::Unknown(Unknown { kind, version, class, codec, payload: payload.to_vec() }))
}

#[cfg(test)]
pub(crate) mod tests;
