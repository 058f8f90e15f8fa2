//! Lists of the admin API, page by page.

use http::Method;
use serde_json::{Value, json};

use super::{Error, Target};

/// Things fetched at once.
const PAGE: u32 = 500;

/// What a list is asked for: parameters by name; those that are none are left out.
pub(super) type Query = Vec<(&'static str, Option<String>)>;

/// Fetches a whole list, or its first things; gives the last answer, with all the things in it.
pub(super) async fn whole(
    target: &Target,
    path: &str,
    things: &str,
    query: &Query,
    limit: Option<u32>,
) -> Result<Value, Error> {
    let (mut left, mut cursor) = (limit.unwrap_or(u32::MAX), None::<String>);
    let mut all = Vec::new();
    loop {
        let page = left.clamp(1, PAGE).to_string();
        let more = [("limit", Some(page)), ("cursor", cursor)];
        let said = query.iter().cloned().chain(more).filter_map(|(name, value)| Some((name, value?)));
        let said =
            said.map(|(name, value)| format!("{name}={}", encoded(&value))).collect::<Vec<_>>().join("&");
        let mut answer = target.call(Method::GET, &format!("{path}?{said}"), None).await?;
        let found = answer.get_mut(things).map(Value::take).and_then(|found| match found {
            Value::Array(found) => Some(found),
            _ => None,
        });
        let found = found.unwrap_or_default();
        left = left.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        all.extend(found);
        cursor = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || left == 0 {
            if let Some(answer) = answer.as_object_mut() {
                answer.insert(things.to_owned(), json!(all));
            }
            return Ok(answer);
        }
    }
}

/// A text as it may stand in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let each = text
        .bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    each.collect()
}

/// Rows in columns; the first row is the heading.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stands_in_the_query_as_it_is() {
        assert_eq!(encoded("a&b=c d/é~"), "a%26b%3Dc%20d%2F%C3%A9~");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ID", "NAME"], ["7", "é"], ["1000", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "ID    NAME\n7     é\n1000  x");
    }
}
