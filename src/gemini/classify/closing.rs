//! What the end of a Live session means, from its close code and reason.
//!
//! Google says there in running text what it says elsewhere in an error object. Owns the
//! map from close codes to HTTP statuses; the rest of the table is the same. Refuses, as
//! the table does, to believe a text by anything but its beginning.

use projections::event::Verdict;
use serde_json::json;

use super::{Classified, classify};
use crate::gemini::text::cut;

/// How texts about a spent quota begin, in lower case.
const SPENT: &[&str] = &["you exceeded your current quota", "resource has been exhausted", "quota exceeded"];

/// Says what it means that Google ended a session before it said anything else in it.
///
/// `code`: none where the close frame had none. A connection that broke without a close
/// frame is [`Verdict::ConnectionLost`], and not this function's business.
#[must_use]
pub fn classify_close(code: Option<u16>, reason: &str) -> Classified {
    let lower = reason.trim_start().to_ascii_lowercase();
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| lower.starts_with(beginning));
    let read = |status: u16| {
        let error = json!({"error": {"code": status, "message": reason}}).to_string();
        let classified = classify(status, Some("application/json"), error.as_bytes());
        Classified { reason: word(code, reason), ..classified }
    };
    read(match code {
        // An orderly end, or a server that goes away, before anything was said.
        None | Some(1000 | 1001) => {
            return Classified { reason: word(code, reason), ..Verdict::EmptyAnswer.into() };
        }
        _ if begins(SPENT) => 429,
        _ if begins(&["request had invalid authentication credentials"]) => 401,
        Some(1003 | 1007) => 400,
        Some(1008) if begins(&["models/"]) && lower.contains("is not found") => 404,
        Some(1008) => 403,
        Some(1009) => 413,
        Some(1012 | 1013) => 503,
        // "Internal" is said of much, known refusals among it.
        Some(1011) if read(403).verdict != Verdict::ClientFault => 403,
        Some(1011) if begins(&["the service is currently unavailable", "the model is overloaded"]) => 503,
        Some(1011) => 500,
        Some(_) => 502,
    })
}

/// Code and text on one line, as the reason that is recorded; a close frame's text has 123 bytes at most.
fn word(code: Option<u16>, reason: &str) -> Option<String> {
    let code = code.map_or_else(|| "closed".to_owned(), |code| code.to_string());
    let line: String =
        reason.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    Some(cut(format!("{code} {line}").trim_end(), 120))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemini::classify::Blame;

    #[test]
    fn closes_mean_what_the_same_words_mean_in_an_error() {
        let quota = "You exceeded your current quota, please check your plan and billing details. For more";
        for (code, reason, verdict) in [
            (Some(1007), "API key expired. Please renew the API key.", Verdict::BadKey),
            (Some(1007), "API key not valid. Please pass a valid API key.", Verdict::BadKey),
            (
                Some(1008),
                "Your API key was reported as leaked. Please use another API key.",
                Verdict::LeakedKey,
            ),
            (
                Some(1008),
                "Permission denied: Consumer 'api_key:***' has been suspended.",
                Verdict::SuspendedKey,
            ),
            (
                Some(1008),
                "Your project has been denied access. Please contact support.",
                Verdict::ProjectDenied,
            ),
            (Some(1008), "The caller does not have permission", Verdict::ModelDenied),
            (Some(1008), "Request had invalid authentication credentials.", Verdict::Unauthenticated),
            (Some(1011), quota, Verdict::QuotaUnknown),
            (Some(1008), quota, Verdict::QuotaUnknown),
            (Some(1011), "Resource has been exhausted (e.g. check quota).", Verdict::QuotaUnknown),
            (Some(1011), "Your prepayment credits are depleted.", Verdict::BillingStopped),
            (Some(1008), "Your prepayment credits are depleted.", Verdict::BillingStopped),
            (Some(1011), "Internal error encountered.", Verdict::ServerError),
            (Some(1011), "", Verdict::ServerError),
            (Some(1011), "The service is currently unavailable.", Verdict::Overloaded),
            (Some(1013), "", Verdict::Overloaded),
            (Some(1000), "", Verdict::EmptyAnswer),
            (None, "", Verdict::EmptyAnswer),
            (Some(1007), "Invalid JSON payload received. Unknown name \"x\"", Verdict::ClientFault),
            (Some(1008), "models/x is not found for API version v1beta, or is not", Verdict::ClientFault),
            (Some(1009), "", Verdict::ClientFault),
            (Some(4321), "who knows", Verdict::ServerError),
        ] {
            assert_eq!(classify_close(code, reason).verdict, verdict, "{code:?} {reason}");
        }
    }

    #[test]
    fn a_client_cannot_talk_the_pool_out_of_a_key_by_a_close_either() {
        for reason in ["Unknown name \"API key expired\"", "Invalid value: You exceeded your current quota"] {
            for code in [1007, 1008] {
                assert_eq!(classify_close(Some(code), reason).blame, Blame::Client, "{reason}");
            }
        }
    }

    #[test]
    fn the_recorded_reason_has_the_code_and_one_line() {
        let reason = |code, text| classify_close(code, text).reason.unwrap();
        assert_eq!(reason(Some(1007), "API key expired.\nMore"), "1007 API key expired.");
        assert_eq!((reason(None, ""), reason(Some(1011), "")), ("closed".to_owned(), "1011".to_owned()));
        assert!(reason(Some(1011), &"é".repeat(61)).len() <= 120);
    }
}
