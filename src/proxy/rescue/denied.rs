//! What a client is told that may not: in its own words, with the true time.

use http::StatusCode;
use projections::Millis;
use serde_json::{Value, json};

use super::seconds;
use crate::{access::Denied, ledger::clock::rfc3339};

pub(super) fn reason(denied: &Denied) -> &'static str {
    match denied {
        Denied::Disabled => "CLIENT_DISABLED",
        Denied::Expired(_) => "CLIENT_EXPIRED",
        Denied::Address(_) => "CLIENT_ADDRESS",
        Denied::Model(_) => "CLIENT_MODEL",
        Denied::Minute { .. } => "CLIENT_REQUESTS_PER_MINUTE",
        Denied::Day { .. } => "CLIENT_REQUESTS_PER_DAY",
        Denied::Tokens { .. } => "CLIENT_TOKENS_PER_DAY",
        Denied::Concurrent { .. } => "CLIENT_CONCURRENT",
    }
}

pub(super) fn status(denied: &Denied) -> (StatusCode, &'static str, &'static str) {
    match denied {
        Denied::Disabled | Denied::Expired(_) | Denied::Address(_) | Denied::Model(_) => {
            (StatusCode::FORBIDDEN, "PERMISSION_DENIED", "permission_denied")
        }
        Denied::Minute { .. } | Denied::Concurrent { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "rate_limit_exceeded")
        }
        Denied::Day { .. } | Denied::Tokens { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "quota_exceeded")
        }
    }
}

pub(super) fn retry_in(denied: &Denied) -> Option<Millis> {
    match denied {
        Denied::Minute { back_in, .. }
        | Denied::Day { back_in, .. }
        | Denied::Tokens { back_in, .. }
        | Denied::Concurrent { back_in, .. } => Some(*back_in),
        _ => None,
    }
}

pub(super) fn message(denied: &Denied) -> String {
    let again = |back_in: &Millis| format!("Please retry in {}.", seconds(*back_in));
    match denied {
        Denied::Disabled => {
            "This access key of Gemini-Pool is turned off: ask whoever runs the pool.".to_owned()
        }
        Denied::Expired(end) => {
            format!("This access key of Gemini-Pool ended at {}: ask whoever runs the pool.", rfc3339(*end))
        }
        Denied::Address(Some(address)) => {
            format!("This access key of Gemini-Pool may not be used from {address}.")
        }
        Denied::Address(None) => {
            "This access key of Gemini-Pool may not be used from an unknown address.".to_owned()
        }
        Denied::Model(model) if model.is_empty() => {
            "This access key of Gemini-Pool may be used for certain models only, and the request names none."
                .to_owned()
        }
        Denied::Model(model) => format!("This access key of Gemini-Pool may not be used for {model}."),
        Denied::Minute { limit, back_in } => format!(
            "This access key of Gemini-Pool had its {limit} requests of this minute. {}",
            again(back_in)
        ),
        Denied::Day { limit, back_in } => format!(
            "This access key of Gemini-Pool had its {limit} requests of today (UTC). {}",
            again(back_in)
        ),
        Denied::Tokens { limit, back_in } => format!(
            "This access key of Gemini-Pool had its {limit} tokens of today (UTC). {}",
            again(back_in)
        ),
        Denied::Concurrent { limit, back_in } => format!(
            "This access key of Gemini-Pool has {limit} requests under way, as many as it may. {}",
            again(back_in)
        ),
    }
}

/// The quota that is spent, where it is one of the day: clients that read `PerDay` give up until tomorrow, and are
/// right.
pub(super) fn quota(denied: &Denied) -> Option<Value> {
    let (metric, id, limit) = match denied {
        Denied::Day { limit, .. } => {
            ("gemini-pool/client_requests_per_day", "RequestsPerDayPerClient", limit)
        }
        Denied::Tokens { limit, .. } => ("gemini-pool/client_tokens_per_day", "TokensPerDayPerClient", limit),
        _ => return None,
    };
    Some(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": metric, "quotaId": id, "quotaValue": limit.to_string()}],
    }))
}
