//! The data plane: a client's request in, Google's answer out.
//!
//! Owns the way of one request: who asks, for what, with which body, through
//! which keys, until when. It refuses to know why a key is chosen
//! ([`crate::scheduler`]) or what a failure means ([`crate::gemini::classify`]).
//! Its invariants: a failure is folded before the next key is chosen; and once a
//! byte of an answer went to the client, that is the answer.

mod affinity;
mod attempt;
mod intake;
mod lists;
mod live;
pub(crate) mod queue;
mod record;
mod relay;
pub mod rescue;
pub mod retry;
mod seek;
mod strangers;
mod waiting;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use poem::Response;
use projections::{
    ClientId, RequestId,
    event::{Outcome, Strategy},
};
use tokio::{sync::Notify, time::Instant};

#[cfg(any(test, feature = "fuzzing"))]
pub use self::live::websocket_relay;
use self::{
    affinity::Seat,
    lists::Plan,
    live::{Door, Handles},
    queue::Queue,
    record::RequestRecord,
    rescue::Refusal,
    retry::Allowance,
    strangers::Strangers,
};
use crate::{
    access::Access,
    auth::{Admission, Gatekeeper, Guesses, Penalty},
    body_memory::BodyMemory,
    caller::{Caller, Recognized},
    config::LogFailure,
    gauges::Now,
    gemini::{
        Gemini, headers,
        resources::Place,
        target::{self, Shape, Target, Upload},
        token::EphemeralToken,
    },
    ledger::{Ledger, clock::Clock},
    lifecycle::Lifecycle,
    locks::Mutex,
    network::{Range, Sender, came_over_https, client_address},
    pacing::TooSlow,
    request_log::RequestLog,
    scheduler::Scheduler,
    settings::Settings,
    shares::Share,
    sites,
    traces::Traces,
    vault::Vault,
};

/// See the module.
pub struct Proxy {
    ledger: Ledger,
    scheduler: Arc<Scheduler>,
    vault: Arc<Vault>,
    gatekeeper: Arc<Gatekeeper>,
    access: Arc<Access>,
    gemini: Gemini,
    clock: Clock,
    memory: Arc<BodyMemory>,
    /// Live sessions that can be gone on with.
    handles: Handles,
    /// Requests of nobody who is known.
    strangers: Strangers,
    /// Wrong access keys.
    guesses: Arc<Guesses>,
    /// Told whenever an attempt came to something, for those that wait.
    progress: Arc<Notify>,
    queue: Queue,
    /// What the whole pool may repeat, and since when it counts the time.
    allowance: Mutex<Allowance>,
    began: Instant,
    lifecycle: Lifecycle,
    settings: Arc<Settings>,
    request_log: Arc<RequestLog>,
    traces: Option<Arc<Traces>>,
}

/// A client's request, read.
struct Asked {
    id: RequestId,
    verb: Method,
    target: Target,
    /// What of Google's the path is about.
    place: Place,
    /// Where it may go.
    seat: Seat,
    /// What it brings in the place of an access key, and is let in with at Google: a Live session.
    token: Option<EphemeralToken>,
    /// The client's number; 0 where access is open.
    client: u32,
    /// Whose share it takes of what is scarce.
    caller: Caller,
    /// The client wants nothing of it kept at Google.
    keeps_nothing: bool,
    /// The conversation it belongs to, where that is asked for.
    sticky: Option<u64>,
    /// The model, from the path or the body.
    model: String,
    headers: HeaderMap,
    /// The body's length, where the client told it.
    told_length: Option<usize>,
    /// The pool's own address as this client sees it.
    origin: String,
    deadline: Instant,
    timeout: Duration,
    /// REQUEST_TIMEOUT: a try that had less was cut short by the client or by other tries.
    fair: Duration,
}

/// The parts of the service that the proxy works with.
pub struct Parts {
    /// Records.
    pub ledger: Ledger,
    /// Chooses.
    pub scheduler: Arc<Scheduler>,
    /// Keeps secrets.
    pub vault: Arc<Vault>,
    /// Lets in.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Makes guessing slow.
    pub guesses: Arc<Guesses>,
    /// Holds clients to their limits.
    pub access: Arc<Access>,
    /// Calls.
    pub gemini: Gemini,
    /// Tells the time.
    pub clock: Clock,
    /// What is in force.
    pub settings: Arc<Settings>,
    /// Keeps bodies, where that is wanted.
    pub request_log: Arc<RequestLog>,
    /// Tells a collector what ended.
    pub traces: Option<Arc<Traces>>,
    /// What bodies may take.
    pub memory: Arc<BodyMemory>,
}

impl Proxy {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts, lifecycle: Lifecycle) -> Self {
        let Parts {
            ledger,
            scheduler,
            vault,
            gatekeeper,
            guesses,
            access,
            gemini,
            clock,
            settings,
            request_log,
            traces,
            memory,
        } = parts;
        let progress = Arc::<Notify>::default();
        let told = Arc::clone(&settings);
        let patience = move || told.now().queue_timeout;
        let queue = Queue::new(patience, clock.clone(), Arc::clone(&progress), ledger.head());
        Self {
            ledger,
            scheduler,
            vault,
            gatekeeper,
            access,
            gemini,
            clock,
            memory,
            handles: Handles::default(),
            strangers: Strangers::default(),
            guesses,
            progress,
            queue,
            allowance: Mutex::new(Allowance::new(Duration::ZERO)),
            began: Instant::now(),
            lifecycle,
            settings,
            request_log,
            traces,
        }
    }

    /// What goes on right now.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            in_flight: self.lifecycle.proxied.len(),
            waiting: self.queue.waiting(),
            retries_left: self.allowance.lock().left(self.began.elapsed()),
            retries_most: retry::BURST,
        }
    }

    /// Serves one request; every way out of it leaves exactly one `Answered` in the log, but for a refusal
    /// while the ledger is gone, for what a browser asks beforehand, which is none of an app's, and for those of
    /// strangers who come too often ([`strangers`]).
    pub async fn serve(self: &Arc<Self>, request: poem::Request) -> Response {
        let arrived = Instant::now();
        let id = RequestId(uuid::Uuid::now_v7().as_u128());
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let settings = self.settings.now();
        let address = peer.map(|peer| client_address(peer, request.headers(), &settings.trusted_proxies));
        let secure = request.scheme() == &http::uri::Scheme::HTTPS
            || came_over_https(peer, request.headers(), &settings.trusted_proxies);
        let page = settings.allowed_origins.of(request.headers()).cloned();
        if page.is_some() && sites::is_preflight(request.method(), request.headers()) {
            let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
            sites::grant(request.headers(), response.headers_mut());
            return finished(response, id, page);
        }
        let too_slow = request.extensions().get::<TooSlow>().cloned();
        let recognized = request.extensions().get::<Recognized>().cloned();
        let door = Door::at(&request);
        let (parts, body) = request.into_parts();
        let shape = shape_of_path(parts.uri.path());
        let Some(reservation) = self.ledger.reserve().await else {
            return finished(Refusal::Stopping.respond(shape), id, page);
        };
        let mut record = RequestRecord::new(
            reservation,
            &self.lifecycle,
            self.clock.now(),
            id,
            address,
            &parts.method,
            parts.uri.path(),
        );
        record.called(&parts.headers);
        record.too_slow = too_slow.unwrap_or_default();
        if let Some(traces) = &self.traces {
            traces.called(id, &parts.headers);
        }
        record.copy_bodies(&self.request_log, &parts.headers, parts.uri.query().unwrap_or_default());
        let read = self.read(id, arrived, peer, secure, parts, &mut record);
        if let (Some(_), Some(recognized)) = (record.answered.client, recognized) {
            recognized.mark();
        }
        let response = match read {
            Ok(asked) if asked.target.live => self.go_live(asked, door, record).await,
            Ok(asked) => self.attend(asked, body, record).await,
            Err(refusal) => {
                let (refusal, held) = self.penalty(refusal, address);
                let response = if record.answered.client.is_none() && self.is_one_too_many() {
                    record.forget(refusal.reason());
                    refusal.respond(shape)
                } else {
                    refuse(record, &refusal, shape).await
                };
                // With the record gone: what a stranger has yet to send does not hold up the stop.
                intake::drain(body).await;
                if let Some((wait, _place)) = held {
                    tokio::time::sleep(wait).await;
                }
                response
            }
        };
        finished(response, id, page)
    }

    /// What the refusal of a wrong access key becomes, and how long it is held.
    fn penalty(
        &self,
        refusal: Refusal,
        address: Option<IpAddr>,
    ) -> (Refusal, Option<(Duration, Share<Range>)>) {
        if !matches!(refusal, Refusal::Unknown { presented: true } | Refusal::EphemeralToken) {
            return (refusal, None);
        }
        match self.guesses.wrong(address, self.clock.now()) {
            Penalty::None => (refusal, None),
            Penalty::Wait(wait, place) => (refusal, Some((wait, place))),
            Penalty::TooMany => (Refusal::TooManyGuesses, None),
        }
    }

    /// Whether a stranger's request goes unrecorded, because there are so many.
    fn is_one_too_many(&self) -> bool {
        let stranger = self.strangers.count(self.clock.now());
        if stranger.missed > 0 {
            let requests = stranger.missed;
            tracing::warn!(requests, "requests without a known access key were refused, and not recorded");
        }
        !stranger.recorded
    }

    /// Who asks, and for what; nothing of the body is read yet.
    fn read(
        &self,
        id: RequestId,
        arrived: Instant,
        peer: Option<IpAddr>,
        secure: bool,
        parts: poem::RequestParts,
        record: &mut RequestRecord,
    ) -> Result<Asked, Refusal> {
        let poem::RequestParts { method: verb, uri, version, headers: client, .. } = parts;
        let sender = Sender { peer, version, uri: &uri, headers: &client };
        let target = target::parse(&verb, uri.path(), uri.query()).map_err(Refusal::Target)?;
        let query = uri.query().unwrap_or_default();
        let token = if target.live { EphemeralToken::presented(&client, query) } else { None };
        let (known, seat) = match &token {
            Some(token) => self.admit_token(token, sender)?,
            None => (self.admit(sender, &target)?, Seat::default()),
        };
        record.answered.client = known;
        let settings = self.settings.now();
        if settings.log_failure == LogFailure::Refuse && self.ledger.failure().is_some() {
            return Err(Refusal::LogDown);
        }
        record.answered.model.clone_from(&target.model);
        record.answered.method.clone_from(&target.method);
        record.answered.streamed = target.streamed;
        if let Some(client) = record.answered.client {
            let entered = self.access.enter(client, record.address, record.answered.started);
            record.visit = Some(entered.map_err(Refusal::Denied)?);
        }
        if !target.model.is_empty() {
            record.may_ask(&target.model)?;
        }
        // The client's own deadline (gemini-wire §2) is the request's, where it is the shorter.
        let own = client.get("x-server-timeout").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        let own =
            own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|own| !own.is_zero());
        let timeout = own.unwrap_or(settings.request_timeout).min(settings.request_timeout);
        Ok(Asked {
            id,
            model: target.model.clone(),
            place: Place::of(&verb, &target),
            verb,
            target,
            seat,
            token,
            client: record.answered.client.map_or(0, |client| client.0),
            caller: Caller::of(record.answered.client, record.address),
            keeps_nothing: false,
            sticky: None,
            told_length: intake::told_length(&client),
            headers: headers::upstream(&client),
            origin: self.origin(secure, &uri, &client),
            deadline: arrived + timeout,
            timeout,
            fair: settings.request_timeout,
        })
    }

    /// Who asks; none: nobody needs to be known for that.
    fn admit(&self, sender: Sender<'_>, target: &Target) -> Result<Option<ClientId>, Refusal> {
        let known_upload = matches!(&target.upload, Some(Upload::Chunk { id }) if self.knows_upload(id));
        match self.gatekeeper.admit(sender, &self.settings.now().trusted_proxies) {
            Admission::Client(client) => Ok(Some(client)),
            Admission::Anonymous if self.is_foreign(sender) => Err(Refusal::OtherSite),
            Admission::Anonymous => Ok(None),
            // Upload SDKs send no credential with the pieces: the upload's id is one.
            Admission::Unknown { presented: false } if known_upload => Ok(None),
            Admission::Unknown { presented } => Err(Refusal::Unknown { presented }),
        }
    }

    /// Whether a request without a credential is one that a page of another site made a browser send. Where
    /// ALLOW_ANONYMOUS opens the pool to a whole network, its names there are not known, and any will do.
    fn is_foreign(&self, sender: Sender<'_>) -> bool {
        let settings = self.settings.now();
        let public_url = settings.public_url.as_deref();
        sites::is_foreign(sender.headers, public_url, &settings.allowed_origins)
            || !(settings.allow_anonymous || sender.went_to_loopback())
    }

    fn origin(&self, secure: bool, uri: &Uri, client: &HeaderMap) -> String {
        if let Some(url) = &self.settings.now().public_url {
            return url.clone();
        }
        let host = client.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
        format!("{}://{host}", if secure { "https" } else { "http" })
    }

    async fn attend(&self, mut asked: Asked, body: poem::Body, mut record: RequestRecord) -> Response {
        let shape = asked.target.shape;
        let settings = self.settings.now();
        let body = if intake::passes(&body, &asked) {
            let (body, more) = intake::pass(body, &asked);
            asked.deadline += more;
            body
        } else {
            match intake::take(body, &asked, settings.max_body_bytes, &self.memory).await {
                Ok(body) => body,
                Err(refusal) => return refuse(record, &refusal, shape).await,
            }
        };
        if let Some(copy) = record.bodies() {
            body.payload.chunks().for_each(|chunk| copy.asked(chunk));
        }
        if asked.target.model_in_body {
            let scan = body.scan();
            asked.model = scan.model().unwrap_or_default().to_owned();
            asked.target.streamed |= scan.stream().unwrap_or_default();
            record.answered.model.clone_from(&asked.model);
            record.answered.streamed = asked.target.streamed;
            // What asks a model without naming it could ask any.
            if (!asked.model.is_empty() || asked.target.asks_a_model())
                && let Err(refusal) = record.may_ask(&asked.model)
            {
                return refuse(record, &refusal, shape).await;
            }
        }
        if asked.target.method == "auth_tokens.create"
            && let Err(refusal) = live::may_be_made(&body, &record)
        {
            return refuse(record, &refusal, shape).await;
        }
        asked.sticky = if settings.strategy == Strategy::Sticky { body.conversation(&asked) } else { None };
        let references = affinity::references(&asked, &body);
        asked.keeps_nothing = references.keeps_nothing();
        asked.seat = match self.seat(&asked, &references) {
            Ok(seat) => seat,
            Err(refusal) => return refuse(record, &refusal, shape).await,
        };
        match self.plan(&mut asked) {
            Ok(Plan::Pages(begin)) => {
                drop(body);
                self.list(asked, begin, record).await
            }
            Ok(Plan::Plain(header)) => lists::say(header, self.try_keys(&asked, body, record).await),
            Err(refusal) => refuse(record, &refusal, shape).await,
        }
    }
}

async fn refuse(mut record: RequestRecord, refusal: &Refusal, shape: Shape) -> Response {
    let mut response = refusal.respond(shape);
    if record.bodies().is_some() {
        let body = response.take_body().into_bytes().await.unwrap_or_default();
        if let Some(copy) = record.bodies() {
            copy.answers(response.headers());
            copy.answered(&body);
        }
        response.set_body(poem::Body::from_bytes(body));
    }
    record.answered.status = response.status().as_u16();
    record.answered.reason = Some(refusal.reason().to_owned());
    record.finish(Outcome::Refused, None).await;
    response
}

fn finished(mut response: Response, id: RequestId, page: Option<HeaderValue>) -> Response {
    if let Some(page) = page {
        sites::show(page, response.headers_mut());
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// The shape of errors about paths that are none.
fn shape_of_path(path: &str) -> Shape {
    if path.contains("/openai/") {
        Shape::OpenAi
    } else if path.contains("/interactions") {
        Shape::Interactions
    } else {
        Shape::Native
    }
}
