//! One test for each row of the table.

mod odd;

use super::*;

fn json(status: u16, body: &str) -> Classified {
    classify(status, Some("application/json; charset=UTF-8"), body.as_bytes())
}

/// An error of the usual shape without details.
fn plain(status: u16, name: &str, message: &str) -> Classified {
    json(status, &format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}"}}}}"#))
}

/// An error with an ErrorInfo and a message that helps nobody.
fn with_reason(status: u16, reason: &str) -> Classified {
    json(
        status,
        &format!(
            r#"{{"error":{{"code":{status},"message":"No.","status":"PERMISSION_DENIED","details":[
            {{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"No."}},
            {{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com",
              "metadata":{{"consumer":"projects/4711","service":"generativelanguage.googleapis.com"}}}}]}}}}"#
        ),
    )
}

/// A 429 with these violations, as pairs of quotaId and the rest of the object.
fn quota(violations: &[(&str, &str)], delay: &str, message: &str) -> Classified {
    let violations: Vec<String> = violations
        .iter()
        .map(|(id, rest)| {
            format!(
                r#"{{"quotaMetric":"generativelanguage.googleapis.com/generate_content_requests","quotaId":"{id}",
                "quotaDimensions":{{"location":"global","model":"gemini-2.5-flash"}}{rest}}}"#
            )
        })
        .collect();
    json(
        429,
        &format!(
            r#"{{"error":{{"code":429,"message":"{message}","status":"RESOURCE_EXHAUSTED","details":[
            {{"@type":"type.googleapis.com/google.rpc.Help","links":[{{"description":"x","url":"https://ai.google.dev/"}}]}},
            {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{}]}},
            {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#,
            violations.join(",")
        ),
    )
}

#[track_caller]
fn assert_row(seen: &Classified, verdict: Verdict, blame: Blame, hold: Hold, another: bool) {
    assert_eq!(
        (seen.verdict, seen.blame, seen.hold, seen.another),
        (verdict, blame, hold, another),
        "{seen:?}"
    );
}

const PER_DAY: &str = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
const PER_MINUTE: &str = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";

#[test]
fn success_is_nobodys_fault_whatever_the_body_says() {
    let seen = json(200, r#"{"error":{"code":400,"message":"API key not valid."}}"#);
    assert_row(&seen, Verdict::Success, Blame::Nobody, Hold::None, false);
    assert_eq!(classify(204, None, b"").verdict, Verdict::Success);
}

#[test]
fn unknown_keys_rest_until_a_check_passes() {
    let full = json(
        400,
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}},
        {"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"API key not valid. Please pass a valid API key."},
        {"@type":"type.googleapis.com/google.rpc.DebugInfo","detail":"Invalid API key: key1234"}]}}"#,
    );
    assert_row(&full, Verdict::BadKey, Blame::Key, Hold::UntilChecked, true);
    assert!(full.proves_not_executed);
    assert_eq!(full.reason.as_deref(), Some("API_KEY_INVALID"));
    assert_eq!(full.consumer, None);
    for message in [
        "API key not valid. Please pass a valid API key.",
        "API Key not found. Please pass a valid API key.",
        "API key expired. Please renew the API key.",
    ] {
        let seen = plain(400, "INVALID_ARGUMENT", message);
        assert_row(&seen, Verdict::BadKey, Blame::Key, Hold::UntilChecked, true);
        assert_eq!(seen.reason.as_deref(), Some("INVALID_ARGUMENT"));
    }
}

#[test]
fn a_client_cannot_talk_the_pool_out_of_a_key() {
    for message in [
        "Invalid JSON payload received. Unknown name \\\"API key not valid\\\": Cannot find field.",
        "Invalid value at 'contents' : API key expired",
        "Unknown name \\\"reason\\\": API_KEY_INVALID",
    ] {
        assert_row(
            &plain(400, "INVALID_ARGUMENT", message),
            Verdict::ClientFault,
            Blame::Client,
            Hold::None,
            false,
        );
    }
    let file = "You do not have permission to access the File your api key was reported as leaked or it may not exist.";
    assert_row(
        &plain(403, "PERMISSION_DENIED", file),
        Verdict::AffinityMiss,
        Blame::Client,
        Hold::None,
        false,
    );
    let detail = r#"{"error":{"code":400,"message":"No.","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.BadRequest","reason":"API_KEY_INVALID","fieldViolations":[{"field":"API_KEY_INVALID"}]}]}}"#;
    assert_eq!(json(400, detail).verdict, Verdict::ClientFault);
}

#[test]
fn leaked_and_suspended_keys_rest_until_a_check_passes() {
    let leaked =
        plain(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.");
    assert_row(&leaked, Verdict::LeakedKey, Blame::Key, Hold::UntilChecked, true);
    let suspended =
        plain(403, "PERMISSION_DENIED", "Permission denied: Consumer 'api_key:AIzaXYZ' has been suspended.");
    assert_row(&suspended, Verdict::SuspendedKey, Blame::Key, Hold::UntilChecked, true);
    let suspended = json(
        403,
        r#"{"error":{"code":403,"message":"Permission denied: Consumer 'api_key:AIzaXYZ' has been suspended.","status":"PERMISSION_DENIED","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_SUSPENDED","domain":"googleapis.com","metadata":{"consumer":"projects/895908428397","service":"generativelanguage.googleapis.com","containerInfo":"api_key:AIzaXYZ"}}]}}"#,
    );
    assert_row(&suspended, Verdict::SuspendedKey, Blame::Key, Hold::UntilChecked, true);
    assert_eq!(suspended.consumer.as_deref(), Some("projects/895908428397"));
    assert!(!format!("{suspended:?}").contains("AIzaXYZ"));
}

#[test]
fn a_401_counts_and_a_run_of_them_closes_the_key() {
    let body = r#"{"error":{"code":401,"message":"Request had invalid authentication credentials. Expected OAuth 2 access token.","status":"UNAUTHENTICATED","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED","metadata":{"method":"m","service":"s"}}]}}"#;
    let seen = json(401, body);
    assert_row(&seen, Verdict::Unauthenticated, Blame::Key, Hold::Streak, true);
    assert!(seen.proves_not_executed);
    assert_eq!(seen.reason.as_deref(), Some("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    let word = json(401, r#"{"error":{"code":"authentication","message":"Who?"}}"#);
    assert_row(&word, Verdict::Unauthenticated, Blame::Key, Hold::Streak, true);
    assert_eq!(word.reason.as_deref(), Some("authentication"));
}

#[test]
fn a_method_that_takes_no_keys_is_not_the_keys_fault() {
    let body = r#"{"error":{"code":401,"message":"API keys are not supported by this API. Expected OAuth2 access token.","status":"UNAUTHENTICATED","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CREDENTIALS_MISSING","domain":"googleapis.com"}]}}"#;
    assert_row(&json(401, body), Verdict::ClientFault, Blame::Client, Hold::None, false);
}

#[test]
fn the_pools_own_mistakes_are_nobody_elses() {
    let two = r#"[{"error":{"code":400,"message":"Multiple authentication credentials received. Please pass only one.","status":"INVALID_ARGUMENT"}}]"#;
    assert_row(&json(400, two), Verdict::PoolFault, Blame::Pool, Hold::None, false);
    let none = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.";
    assert_row(&plain(403, "PERMISSION_DENIED", none), Verdict::PoolFault, Blame::Pool, Hold::None, false);
    assert_row(
        &with_reason(401, "OVERLOADED_CREDENTIALS"),
        Verdict::PoolFault,
        Blame::Pool,
        Hold::None,
        false,
    );
    assert_row(&with_reason(403, "CREDENTIALS_MISSING"), Verdict::PoolFault, Blame::Pool, Hold::None, false);
}

#[test]
fn projects_close_with_all_their_keys() {
    let close =
        |seen: &Classified, verdict| assert_row(seen, verdict, Blame::Project, Hold::UntilChecked, true);
    let disabled = with_reason(403, "SERVICE_DISABLED");
    close(&disabled, Verdict::ServiceDisabled);
    assert_eq!(disabled.consumer.as_deref(), Some("projects/4711"));
    close(&with_reason(403, "CONSUMER_INVALID"), Verdict::ProjectDenied);
    close(&with_reason(403, "BILLING_DISABLED"), Verdict::BillingStopped);
    let denied = "Your project has been denied access. Please contact support.";
    close(&plain(403, "PERMISSION_DENIED", denied), Verdict::ProjectDenied);
    let country = "Gemini API free tier is not available in your country. Please enable billing.";
    close(&plain(400, "FAILED_PRECONDITION", country), Verdict::ProjectDenied);
    let credits = "Your prepayment credits are depleted. Please go to AI Studio.";
    close(&plain(402, "FAILED_PRECONDITION", credits), Verdict::BillingStopped);
    close(&plain(429, "RESOURCE_EXHAUSTED", credits), Verdict::BillingStopped);
    close(&plain(403, "PERMISSION_DENIED", credits), Verdict::BillingStopped);
    close(&json(402, r#"{"error":{"code":"payment_required","message":"Pay."}}"#), Verdict::BillingStopped);
    close(&classify(402, None, b""), Verdict::BillingStopped);
}

#[test]
fn a_disabled_service_tells_its_project_in_the_text_too() {
    let message = "Generative Language API has not been used in project 12345678 before or it is disabled.";
    let seen = plain(403, "PERMISSION_DENIED", message);
    assert_row(&seen, Verdict::ServiceDisabled, Blame::Project, Hold::UntilChecked, true);
    assert_eq!(seen.consumer.as_deref(), Some("projects/12345678"));
    let link = json(
        403,
        r#"{"error":{"code":403,"message":"Your project has been denied access.","details":[
        {"@type":"type.googleapis.com/google.rpc.Help","links":[{"url":"https://console.developers.google.com/x?project=99&y"}]}]}}"#,
    );
    assert_eq!(link.consumer.as_deref(), Some("projects/99"));
    // What a client may have written is not believed.
    let quoted = plain(400, "INVALID_ARGUMENT", "Unknown name 'in project 666'");
    assert_eq!(quoted.consumer, None);
}

#[test]
fn a_blocked_method_closes_the_key_for_that_method() {
    let hold = Hold::For { ms: 3_600_000 };
    assert_row(
        &with_reason(403, "API_KEY_SERVICE_BLOCKED"),
        Verdict::MethodBlocked,
        Blame::Method,
        hold,
        true,
    );
    let message = "Requests to this API generativelanguage.googleapis.com method google.ai.generativelanguage.v1beta.GenerativeService.StreamGenerateContent are blocked.";
    assert_row(&plain(403, "PERMISSION_DENIED", message), Verdict::MethodBlocked, Blame::Method, hold, true);
}

#[test]
fn restricted_keys_rest_until_a_check_passes() {
    for reason in ["IP_ADDRESS", "HTTP_REFERRER", "ANDROID_APP", "IOS_APP"] {
        let seen = with_reason(403, &format!("API_KEY_{reason}_BLOCKED"));
        assert_row(&seen, Verdict::RestrictedKey, Blame::Key, Hold::UntilChecked, true);
    }
    let message = "Requests from referer \\u003cempty\\u003e are blocked.";
    let seen = plain(403, "PERMISSION_DENIED", message);
    assert_row(&seen, Verdict::RestrictedKey, Blame::Key, Hold::UntilChecked, true);
}

#[test]
fn foreign_resources_are_passed_back() {
    let file = "You do not have permission to access the File abc or it may not exist.";
    let cache = "CachedContent not found (or permission denied)";
    for (status, message) in [(403, file), (403, cache), (404, cache), (404, "File abc not found.")] {
        let seen = plain(status, "PERMISSION_DENIED", message);
        assert_row(&seen, Verdict::AffinityMiss, Blame::Client, Hold::None, false);
    }
}

#[test]
fn a_404_is_passed_back_even_under_event_stream() {
    let body = r#"{"error":{"code":404,"message":"models/custom is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND","details":[
        {"@type":"type.googleapis.com/google.rpc.DebugInfo","detail":"[ORIGINAL ERROR] generic::not_found"}]}}"#;
    let seen = classify(404, Some("text/event-stream"), body.as_bytes());
    assert_row(&seen, Verdict::ClientFault, Blame::Client, Hold::None, false);
    assert_eq!(seen.reason.as_deref(), Some("NOT_FOUND"));
}

#[test]
fn a_model_may_be_denied_to_a_project() {
    let seen = plain(403, "PERMISSION_DENIED", "The caller does not have permission");
    assert_row(&seen, Verdict::ModelDenied, Blame::Model, Hold::HalfOpen { ms: 600_000 }, true);
}

#[test]
fn a_location_is_the_egress_and_no_key_is_tried_after_it() {
    let seen = plain(400, "FAILED_PRECONDITION", "User location is not supported for the API use.");
    assert_row(&seen, Verdict::Location, Blame::Egress, Hold::None, false);
    let page = b"<html><title>Sorry...</title>Our systems have detected automated queries</html>";
    for status in [403, 429, 503] {
        let seen = classify(status, Some("text/html; charset=UTF-8"), page);
        assert_row(&seen, Verdict::Location, Blame::Egress, Hold::None, false);
        assert_eq!(seen.reason.as_deref(), Some("automated queries"));
    }
}

#[test]
fn a_way_of_the_keys_own_is_the_keys_trouble() {
    let own = Route::parse("http://proxy.example:3128").unwrap();
    for verdict in [Verdict::Location, Verdict::ConnectFailed] {
        let plain = Classified::from(verdict);
        assert_eq!(plain.clone().on(&Route::Pool), plain);
        for way in [&own, &Route::Direct] {
            assert_row(&plain.clone().on(way), verdict, Blame::Key, Hold::Rest, true);
        }
    }
    let busy = Classified::from(Verdict::Overloaded);
    assert_eq!(busy.clone().on(&own), busy, "Google is the same on every way");
}

#[test]
fn other_pages_are_judged_by_their_status() {
    let page = b"\n<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title>";
    assert_eq!(classify(404, Some("text/html"), page).verdict, Verdict::ClientFault);
    assert_eq!(classify(502, Some("text/html"), page).verdict, Verdict::ServerError);
    assert_eq!(classify(401, None, page).verdict, Verdict::ClientFault);
    assert_eq!(classify(429, None, page).verdict, Verdict::QuotaUnknown);
    // JSON with the wrong type is still JSON.
    let json = br#"{"error":{"code":400,"message":"API key not valid."}}"#;
    assert_eq!(classify(400, Some("text/html"), json).verdict, Verdict::BadKey);
}

#[test]
fn a_daily_limit_holds_until_the_day_turns_whatever_delay_is_named() {
    let seen = quota(&[(PER_DAY, r#","quotaValue":"250""#)], "22s", "You exceeded your current quota.");
    assert_row(&seen, Verdict::QuotaDay, Blame::Model, Hold::DayTurns, true);
    assert_eq!(seen.retry_delay_ms, Some(22_000));
    assert_eq!(
        seen.violations,
        [Violation {
            metric: "generativelanguage.googleapis.com/generate_content_requests".into(),
            id: PER_DAY.into(),
            model: Some("gemini-2.5-flash".into()),
            limit: Some(250),
            window: Some(Window::Day),
        }]
    );
    let both = quota(&[(PER_MINUTE, r#","quotaValue":"10""#), (PER_DAY, "")], "22s", "No.");
    assert_row(&both, Verdict::QuotaDay, Blame::Model, Hold::DayTurns, true);
}

#[test]
fn a_daily_metric_counts_without_a_daily_id() {
    let seen = json(
        429,
        r#"{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[
        {"quotaMetric":"generativelanguage.googleapis.com/generate_requests_per_model_per_day"}]}]}}"#,
    );
    assert_row(&seen, Verdict::QuotaDay, Blame::Model, Hold::DayTurns, true);
}

#[test]
fn a_limit_of_zero_means_not_offered() {
    let hold = Hold::HalfOpen { ms: 21_600_000 };
    let line = "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_requests, limit: 0, model: gemini-2.0-flash";
    let message =
        format!("You exceeded your current quota.\\n{line}\\n{line}\\nPlease retry in 10.689924287s.");
    let seen = quota(&[(PER_DAY, ""), (PER_MINUTE, "")], "10s", &message);
    assert_row(&seen, Verdict::NotOffered, Blame::Model, hold, true);
    assert_eq!(seen.retry_delay_ms, Some(10_690));
    assert_eq!(seen.violations.iter().map(|it| it.limit).collect::<Vec<_>>(), [Some(0), Some(0)]);
    // Told by the value alone, as text or number; told by the message alone.
    for value in [r#","quotaValue":"0""#, r#","quotaValue":0"#] {
        let seen = quota(&[(PER_DAY, value)], "10s", "No.");
        assert_row(&seen, Verdict::NotOffered, Blame::Model, hold, true);
    }
    assert_row(&plain(429, "RESOURCE_EXHAUSTED", &message), Verdict::NotOffered, Blame::Model, hold, true);
    let other = message.replace("limit: 0,", "limit: 50,");
    assert_eq!(quota(&[(PER_DAY, "")], "10s", &other).verdict, Verdict::QuotaDay);
}

#[test]
fn a_limit_told_in_the_message_fills_what_the_details_leave_out() {
    let message = "Quota.\\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_requests, limit: 20, model: gemini-3.6-flash\\nPlease retry in 36.429760048s.";
    let seen = quota(&[(PER_DAY, "")], "36s", message);
    assert_eq!(seen.verdict, Verdict::QuotaDay);
    assert_eq!(seen.violations.first().and_then(|it| it.limit), Some(20));
    assert_eq!(seen.retry_delay_ms, Some(36_430));
    let alone = plain(429, "RESOURCE_EXHAUSTED", message);
    assert_eq!(alone.violations.len(), 1);
    assert_eq!(alone.violations.first().and_then(|it| it.model.as_deref()), Some("gemini-3.6-flash"));
}

#[test]
fn a_minutely_limit_holds_for_the_delay_that_google_names() {
    let tokens = "GenerateContentPaidTierInputTokensPerModelPerMinute";
    let seen = quota(&[(tokens, r#","quotaValue":"10000""#)], "40s", "Please retry in 40.025771073s.");
    assert_row(&seen, Verdict::QuotaTokens, Blame::Model, Hold::For { ms: 40_026 }, true);
    for (delay, ms) in [("36.42s", 36_420), ("856.559356ms", 857), ("1h2m3s", 3_723_000), ("2m", 120_000)] {
        let seen = quota(&[(PER_MINUTE, "")], delay, "No.");
        assert_row(&seen, Verdict::QuotaMinute, Blame::Model, Hold::For { ms }, true);
    }
    let day = quota(&[(PER_MINUTE, "")], "99999h", "No.");
    assert_eq!(day.retry_delay_ms, Some(86_400_000));
    for nonsense in ["", "s", "soon", "3x", "1.2.3s", "-5s", "0s", "NaNs", "36"] {
        let seen = quota(&[(PER_MINUTE, "")], nonsense, "No.");
        assert_row(&seen, Verdict::QuotaMinute, Blame::Model, Hold::For { ms: 60_000 }, true);
        assert_eq!(seen.retry_delay_ms, None, "{nonsense}");
    }
}

#[test]
fn a_spend_limit_holds_ten_minutes() {
    let seen = plain(429, "RESOURCE_EXHAUSTED", "You have reached the spend limit of your tier.");
    assert_row(&seen, Verdict::QuotaSpend, Blame::Model, Hold::HalfOpen { ms: 120_000 }, true);
    let seen = quota(&[("SpendPerTenMinutesPerProject", "")], "9s", "No.");
    assert_row(&seen, Verdict::QuotaSpend, Blame::Model, Hold::HalfOpen { ms: 120_000 }, true);
}

#[test]
fn the_codes_of_interactions_tell_the_window() {
    let minute =
        json(429, r#"{"error":{"code":"rate_limit_exceeded","message":"Slow. Please retry in 3s."}}"#);
    assert_row(&minute, Verdict::QuotaMinute, Blame::Model, Hold::For { ms: 3_000 }, true);
    assert_eq!(minute.reason.as_deref(), Some("rate_limit_exceeded"));
    let day = json(429, r#"{"error":{"code":"quota_exceeded","message":"Tomorrow."}}"#);
    assert_row(&day, Verdict::QuotaDay, Blame::Model, Hold::DayTurns, true);
    let client =
        json(400, r#"{"error":{"code":"invalid_request","message":"The value 'x' is not supported."}}"#);
    assert_row(&client, Verdict::ClientFault, Blame::Client, Hold::None, false);
    assert_eq!(client.reason.as_deref(), Some("invalid_request"));
}

#[test]
fn the_older_way_of_naming_a_limit_is_read() {
    let body = |limit: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[
            {{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"googleapis.com","metadata":{{
              "service":"generativelanguage.googleapis.com","consumer":"projects/123","quota_location":"us-east1",
              "quota_limit":"GenerateContentRequestsPerMinutePerProjectPerRegion","quota_limit_value":"{limit}",
              "quota_metric":"generativelanguage.googleapis.com/generate_content_requests"}}}}]}}}}"#
        )
    };
    let seen = json(429, &body("60"));
    assert_row(&seen, Verdict::QuotaMinute, Blame::Model, Hold::For { ms: 60_000 }, true);
    assert_eq!(seen.consumer.as_deref(), Some("projects/123"));
    assert_eq!(seen.reason.as_deref(), Some("RATE_LIMIT_EXCEEDED"));
    assert_eq!(seen.violations.first().and_then(|it| it.limit), Some(60));
    assert_eq!(json(429, &body("0")).verdict, Verdict::NotOffered);
}

#[test]
fn an_exhaustion_of_nothing_in_particular_backs_off() {
    let bare = plain(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).");
    assert_row(&bare, Verdict::QuotaUnknown, Blame::Model, Hold::Backoff, true);
    assert!(bare.proves_not_executed);
    assert_row(&classify(429, None, b""), Verdict::QuotaUnknown, Blame::Model, Hold::Backoff, true);
    let hint = plain(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted. Please retry in 5s.");
    assert_row(&hint, Verdict::QuotaUnknown, Blame::Model, Hold::For { ms: 5_000 }, true);
}

#[test]
fn trouble_at_google_counts_and_proves_nothing() {
    let overloaded = plain(503, "UNAVAILABLE", "The model is overloaded. Please try again later.");
    assert_row(&overloaded, Verdict::Overloaded, Blame::Upstream, Hold::Streak, true);
    assert!(!overloaded.proves_not_executed);
    for status in [499, 500, 502, 504, 599] {
        let seen = classify(status, None, b"");
        assert_row(&seen, Verdict::ServerError, Blame::Upstream, Hold::Streak, true);
        assert!(!seen.proves_not_executed);
    }
}

#[test]
fn anything_else_is_the_clients() {
    for (status, message) in [
        (400, "Request contains an invalid argument."),
        (400, "Request payload size exceeds the limit: 314572800 bytes."),
        (400, "Function call is missing a thought_signature."),
        (403, "Something new."),
        (409, "Conflict."),
        (413, "Too large."),
        (416, "Out of range."),
        (501, "Operation is not implemented."),
        (302, ""),
    ] {
        assert_row(&plain(status, "X", message), Verdict::ClientFault, Blame::Client, Hold::None, false);
    }
}

#[test]
fn what_never_came_as_an_answer_has_its_row() {
    let failed = Classified::from(Verdict::ConnectFailed);
    assert_row(&failed, Verdict::ConnectFailed, Blame::Egress, Hold::None, true);
    assert!(failed.proves_not_executed);
    for verdict in [Verdict::ConnectionLost, Verdict::TimedOut, Verdict::EmptyAnswer] {
        let seen = Classified::from(verdict);
        assert_row(&seen, verdict, Blame::Upstream, Hold::Streak, true);
        assert!(!seen.proves_not_executed);
    }
    for verdict in [Verdict::Cancelled, Verdict::Aborted] {
        assert_row(&Classified::from(verdict), verdict, Blame::Nobody, Hold::None, false);
    }
}
