//! Words as events write them, for whoever shows one: `quota_day`, `truncated`.

/// The name of a variant without fields.
#[must_use]
pub fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
