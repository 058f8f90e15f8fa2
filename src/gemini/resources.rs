//! What belongs to one Google project, by its name; and which such names an answer shows.
//!
//! Owns the form of names: `files/x` for the file and all below it, `models/m/operations/x` for what runs
//! on a model. Refuses to know owners. One invariant: a thing has one name here, whichever dialect, path
//! or answer names it.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io::Write};

use flate2::write::MultiGzDecoder;
use http::Method;

use super::{
    json::{Member, Visit},
    stream::{Frames, Framing},
    target::{Shape, Target},
    text::decode,
};

/// Longest name, in bytes.
const LONGEST: usize = 256;
/// Names taken from one answer; a page of a list has at most a thousand.
const MOST: usize = 4_096;
/// The host in the addresses of files, whatever the host that was asked.
const HOST: &str = "generativelanguage.googleapis.com";
/// RPCs on a model that make something. (What they make is named by their answer.)
const MAKING: &[&str] = &["predictLongRunning", "batchGenerateContent", "asyncBatchEmbedContent"];
/// Collections of which pages can be put one behind the other: `nextPageToken` leads on.
const PAGED: &[&str] =
    &["files", "cachedContents", "batches", "operations", "fileSearchStores", "tunedModels", "corpora"];

/// What a request's path is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The resource that the path names, or is below of.
    pub name: Option<String>,
    /// The path names it and nothing below it.
    pub exact: bool,
    /// The collection that the path names, such as `files` or `models/m/operations`.
    pub collection: Option<String>,
    /// The request makes something that belongs to a project.
    pub makes: bool,
}

impl Place {
    /// Reads it.
    #[must_use]
    pub fn of(verb: &Method, target: &Target) -> Self {
        let Ok(path) = decode(&target.path) else { return Self::default() };
        let rest = path.strip_prefix("/upload").filter(|rest| rest.starts_with('/')).unwrap_or(&path);
        let rest = rest.trim_matches('/').split_once('/').map_or("", |(_version, rest)| rest);
        let (rest, compatible) = match rest.strip_prefix("openai/") {
            Some(below) => (below, true),
            None => (rest, false),
        };
        let (resource, rpc) = match rest.rsplit_once(':') {
            Some((resource, rpc)) if !rpc.contains('/') => (resource, Some(rpc)),
            _ => (rest, None),
        };
        // The ids in OpenAI's dialect may be Google's names, with their collection.
        let doubled = resource.split_once('/').filter(|(root, id)| {
            compatible && id.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
        });
        let resource = doubled.map_or(resource, |(_, id)| id);
        // In OpenAI's dialect two words may be no thing at all: `chat/completions`.
        let name = canonical(resource).filter(|_| target.bound || !compatible);
        let posts = *verb == Method::POST;
        let collection = (name.is_none() && rpc.is_none())
            .then(|| collection(resource))
            .flatten()
            .filter(|_| target.bound);
        Self {
            exact: name.as_deref() == Some(resource) && rpc.is_none(),
            makes: posts && (collection.is_some() || rpc.is_some_and(|rpc| MAKING.contains(&rpc))),
            name,
            collection,
        }
    }

    /// The collection whose pages may be put together over several projects, if this asks for one.
    #[must_use]
    pub fn lists(&self, verb: &Method) -> Option<&str> {
        self.collection.as_deref().filter(|_| *verb == Method::GET)
    }

    /// Several things are made and then used together: they are best kept in one project.
    #[must_use]
    pub fn wants_a_home(&self) -> bool {
        let apart = ["interactions", "auth_tokens"];
        self.makes && self.collection.as_deref().is_some_and(|collection| !apart.contains(&collection))
    }
}

/// Pages of such a collection can be put one behind the other.
#[must_use]
pub fn is_paged(collection: &str) -> bool {
    PAGED.contains(&collection.rsplit('/').next().unwrap_or(collection))
}

fn is_id(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where the operation in a model's path begins; the model's own name may have slashes.
fn operations_in(segments: &[&str]) -> Option<usize> {
    segments.iter().skip(2).position(|segment| *segment == "operations").map(|at| at + 2)
}

/// The one name of a resource, from a name or a path below the version; none where it names none.
#[must_use]
pub fn canonical(name: &str) -> Option<String> {
    let segments: Vec<&str> = name.split('/').collect();
    let kept = match *segments.first()? {
        "models" | "dynamic" => operations_in(&segments)? + 2,
        _ => 2,
    };
    let kept = segments.get(..kept)?;
    let name = kept.join("/");
    (kept.iter().all(|segment| is_id(segment)) && name.len() <= LONGEST).then_some(name)
}

/// The collection that a path names; asked where it names no resource.
fn collection(resource: &str) -> Option<String> {
    let segments: Vec<&str> = resource.split('/').collect();
    let whole = match *segments.first()? {
        "models" | "dynamic" => operations_in(&segments)? + 1 == segments.len(),
        _ => segments.len() == 1,
    };
    (whole && segments.iter().all(|segment| is_id(segment)) && resource.len() <= LONGEST)
        .then(|| resource.to_owned())
}

/// The file that an address names, and whether the address is Google's own.
#[must_use]
pub fn file_of_uri(uri: &str) -> Option<(String, bool)> {
    let (_, rest) = uri.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let (_version, path) = path.split_once('/')?;
    let path = path.split(':').next().unwrap_or(path);
    path.starts_with("files/").then(|| canonical(path))?.map(|name| (name, host == HOST))
}

/// Something that an answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// When it is deleted, as Google writes it (RFC 3339).
    pub expires: Option<String>,
}

/// Watches a copy of an answer for names.
#[derive(Debug)]
pub struct Watch(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Box<Frames<Names>>),
    Gzip { decoder: Box<MultiGzDecoder<Frames<Names>>>, torn: bool },
}

impl Watch {
    /// Before the first byte. `root`: the collection that bare ids belong to. `gzip`: the bytes are compressed.
    #[must_use]
    pub fn new(framing: Framing, shape: Shape, root: &str, gzip: bool) -> Self {
        let events = framing == Framing::Sse;
        let names = Names { shape, events, root: root.to_owned(), ..Names::default() };
        let frames = Frames::new(framing, names);
        Self(if gzip && framing != Framing::Opaque {
            Inner::Gzip { decoder: Box::new(MultiGzDecoder::new(frames)), torn: false }
        } else {
            Inner::Plain(Box::new(frames))
        })
    }

    /// Goes on by a chunk, as it came; gives what is new in it.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<Shown> {
        let frames = match &mut self.0 {
            Inner::Plain(frames) => {
                frames.feed(chunk);
                frames
            }
            Inner::Gzip { decoder, torn } => {
                // Flushed, so that a name is known before the client can read it.
                *torn = *torn || decoder.write_all(chunk).is_err() || decoder.flush().is_err();
                decoder.get_mut()
            }
        };
        std::mem::take(&mut frames.visitor_mut().new)
    }
}

/// The collection that bare ids in a request's answer belong to.
#[must_use]
pub fn root_of(place: &Place) -> &str {
    let name = place.name.as_deref().or(place.collection.as_deref()).unwrap_or_default();
    name.split('/').next().unwrap_or_default()
}

/// A name that was read, until its object ends.
#[derive(Clone, Debug, Default)]
struct Half {
    name: Option<String>,
    expires: Option<String>,
}

#[derive(Debug, Default)]
struct Names {
    shape: Shape,
    events: bool,
    root: String,
    top: Half,
    item: Half,
    seen: BTreeMap<String, Option<String>>,
    new: Vec<Shown>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    #[default]
    Top,
    /// One of a list, or what stands for the whole.
    Item,
    /// What an operation came to, where files may be named.
    Result,
}

#[derive(Clone, Copy, Debug)]
enum Tag {
    Name(bool),
    Id(bool),
    Expires(bool),
    File,
}

impl Visit for Names {
    type Level = Level;
    type Tag = Tag;

    fn member(&mut self, level: Level, name: &str) -> Member<Level, Tag> {
        let take = |tag| Member::Take { tag, limit: 2 * 1024 };
        let top = level == Level::Top;
        match (self.shape, level, name) {
            (_, Level::Result, "uri" | "responsesFile" | "responses_file") => take(Tag::File),
            (
                _,
                Level::Result,
                "response"
                | "output"
                | "dest"
                | "generateVideoResponse"
                | "generatedSamples"
                | "generatedVideos"
                | "video",
            ) => Member::Enter(Level::Result),
            (_, Level::Result, _) => Member::Skip,
            (Shape::OpenAi, _, "id") => take(Tag::Id(top)),
            (Shape::OpenAi, _, "output_file_id" | "error_file_id") => take(Tag::File),
            (Shape::OpenAi, Level::Top, "data") => Member::Enter(Level::Item),
            (Shape::OpenAi, ..) => Member::Skip,
            // In a stream, ids at the top are those of events.
            (Shape::Interactions, Level::Top, "id") if self.events => Member::Skip,
            (Shape::Interactions, _, "id") => take(Tag::Id(top)),
            (Shape::Interactions, Level::Top, "interaction_id") => take(Tag::Id(top)),
            (Shape::Interactions, Level::Top, "interaction") => Member::Enter(Level::Item),
            (Shape::Interactions, Level::Top, list) if list == self.root => Member::Enter(Level::Item),
            (_, _, "name") => take(Tag::Name(top)),
            (_, _, "expirationTime" | "expireTime" | "expires_at") => take(Tag::Expires(top)),
            (Shape::Native, Level::Top, "response" | "metadata") => Member::Enter(Level::Result),
            (Shape::Native, Level::Top, list) if list == "file" || PAGED.contains(&list) => {
                Member::Enter(Level::Item)
            }
            _ => Member::Skip,
        }
    }

    fn value(&mut self, tag: Tag, raw: Option<&[u8]>) {
        let Some(text) = raw.and_then(|raw| serde_json::from_slice::<String>(raw).ok()) else { return };
        match tag {
            Tag::Name(top) => {
                // Some things are named by clients, who must not give another's file a new owner.
                let name = canonical(&text).filter(|name| self.may_show(name));
                let half = self.half(top);
                half.name = name.or(half.name.take());
            }
            Tag::Id(top) => {
                let id = text.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
                let name = canonical(&format!("{}/{}", self.root, id.unwrap_or(&text)));
                let half = self.half(top);
                half.name = half.name.take().or(name);
            }
            Tag::Expires(top) => self.half(top).expires = Some(text),
            Tag::File => {
                let name = file_of_uri(&text).map(|(name, _)| name);
                let name = name.or_else(|| canonical(&text).filter(|name| name.starts_with("files/")));
                self.show(Half { name, expires: None });
            }
        }
    }

    fn closed(&mut self, level: Level) {
        let half = match level {
            Level::Top => std::mem::take(&mut self.top),
            Level::Item => std::mem::take(&mut self.item),
            Level::Result => return,
        };
        self.show(half);
    }
}

impl Names {
    fn half(&mut self, top: bool) -> &mut Half {
        if top { &mut self.top } else { &mut self.item }
    }

    /// What is asked for by a collection shows things of that collection; operations have names of all kinds.
    fn may_show(&self, name: &str) -> bool {
        matches!(self.root.as_str(), "" | "operations")
            || name.strip_prefix(&self.root).is_some_and(|rest| rest.starts_with('/'))
    }

    fn show(&mut self, half: Half) {
        let Half { name: Some(name), expires } = half else { return };
        let news = match self.seen.get(&name) {
            Some(known) => expires.is_some() && *known != expires,
            None => self.seen.len() < MOST,
        };
        if news {
            self.seen.insert(name.clone(), expires.clone());
            self.new.push(Shown { name, expires });
        }
    }
}
