//! Shapes that were written once and are not any more, and what they mean today.
//!
//! Frozen: a log is read for ever. Enums are shared with today's shapes, because
//! they only ever grow at their end and so keep the numbers of what was there.

use serde::{Deserialize, Serialize};

use super::{
    AdminLoginFailed, Answered, Attempted, GateClosed, GateOpened, Opened, Outcome, PassedOver,
    ResourceBound, Scope, Strategy, Tokens, Verdict, Violation, Why,
};
use crate::id::{ClientId, KeyId, Millis, RequestId, Seq};

/// Calls `$each!(Name, OldShape, kind, version)` once for every shape that is no longer written.
#[macro_export]
macro_rules! for_each_old_event {
    ($each:ident) => {
        $each!(AdminLoginFailed, AdminLoginFailed1, 31, 1);
        $each!(GateClosed, GateClosed1, 101, 1);
        $each!(GateOpened, GateOpened1, 102, 1);
        $each!(ResourceBound, ResourceBound1, 103, 1);
        $each!(Attempted, Attempted1, 200, 1);
        $each!(Answered, Answered1, 201, 1);
    };
}

/// [`AdminLoginFailed`], when each was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoginFailed1 {
    name: String,
    address: String,
}

impl From<AdminLoginFailed1> for AdminLoginFailed {
    fn from(old: AdminLoginFailed1) -> Self {
        Self { name: old.name, address: old.address, count: 1 }
    }
}

/// [`GateClosed`], before there were probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateClosed1 {
    scope: Scope,
    cause: Verdict,
    until: Option<Millis>,
    request: Option<RequestId>,
    key: KeyId,
}

impl From<GateClosed1> for GateClosed {
    fn from(old: GateClosed1) -> Self {
        let GateClosed1 { scope, cause, until, request, key } = old;
        Self { scope, cause, until, probe: None, request, key }
    }
}

/// [`GateOpened`], before there were probes and circuits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateOpened1 {
    scope: Scope,
    why: Opened,
}

impl From<GateOpened1> for GateOpened {
    fn from(old: GateOpened1) -> Self {
        Self { scope: old.scope, why: old.why }
    }
}

/// [`ResourceBound`], before it said whose request it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceBound1 {
    name: String,
    project: String,
    key: KeyId,
    expires: Option<Millis>,
    request: Option<RequestId>,
}

impl From<ResourceBound1> for ResourceBound {
    fn from(old: ResourceBound1) -> Self {
        let ResourceBound1 { name, project, key, expires, request } = old;
        Self { name, project, key, expires, request, client: None }
    }
}

/// [`Attempted`], before there were probes and learned budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted1 {
    request: RequestId,
    attempt: u8,
    client: Option<ClientId>,
    key: KeyId,
    project: String,
    model: String,
    method: String,
    started: Millis,
    latency_ms: u32,
    first_byte_ms: Option<u32>,
    status: u16,
    verdict: Verdict,
    reason: Option<String>,
    violations: Vec<Violation1>,
    tokens: Tokens,
    finish_reason: Option<String>,
    bytes_sent: u64,
    bytes_received: u64,
    why: Why1,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Violation1 {
    metric: String,
    id: String,
    model: Option<String>,
    limit: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Why1 {
    strategy: Strategy,
    seq: Seq,
    eligible: u32,
    passed_over: PassedOver1,
    in_flight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PassedOver1 {
    disabled: u32,
    key_gate: u32,
    project_gate: u32,
    model_gate: u32,
    tried: u32,
}

impl From<Violation1> for Violation {
    fn from(old: Violation1) -> Self {
        let Violation1 { metric, id, model, limit } = old;
        Self { metric, id, model, limit, window: None }
    }
}

impl From<Why1> for Why {
    fn from(old: Why1) -> Self {
        let Why1 { strategy, seq, eligible, passed_over, in_flight } = old;
        let PassedOver1 { disabled, key_gate, project_gate, model_gate, tried } = passed_over;
        let passed_over =
            PassedOver { disabled, key_gate, project_gate, model_gate, tried, ..PassedOver::default() };
        Self { strategy, seq, eligible, passed_over, in_flight }
    }
}

impl From<Attempted1> for Attempted {
    fn from(old: Attempted1) -> Self {
        Self {
            request: old.request,
            attempt: old.attempt,
            client: old.client,
            key: old.key,
            project: old.project,
            model: old.model,
            method: old.method,
            started: old.started,
            latency_ms: old.latency_ms,
            first_byte_ms: old.first_byte_ms,
            status: old.status,
            verdict: old.verdict,
            reason: old.reason,
            violations: old.violations.into_iter().map(Violation::from).collect(),
            tokens: old.tokens,
            finish_reason: old.finish_reason,
            bytes_sent: old.bytes_sent,
            bytes_received: old.bytes_received,
            why: old.why.into(),
            probe: false,
            retry_delay_ms: None,
            consumer: None,
        }
    }
}

/// [`Answered`], before it said how long it had waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered1 {
    request: RequestId,
    client: Option<ClientId>,
    address: String,
    verb: String,
    path: String,
    model: String,
    method: String,
    streamed: bool,
    started: Millis,
    duration_ms: u32,
    first_byte_ms: Option<u32>,
    status: u16,
    attempts: u8,
    outcome: Outcome,
    reason: Option<String>,
    bytes: u64,
}

impl From<Answered1> for Answered {
    fn from(old: Answered1) -> Self {
        Self {
            request: old.request,
            client: old.client,
            address: old.address,
            verb: old.verb,
            path: old.path,
            model: old.model,
            method: old.method,
            streamed: old.streamed,
            started: old.started,
            duration_ms: old.duration_ms,
            first_byte_ms: old.first_byte_ms,
            status: old.status,
            attempts: old.attempts,
            outcome: old.outcome,
            reason: old.reason,
            bytes: old.bytes,
            waited_ms: 0,
        }
    }
}
