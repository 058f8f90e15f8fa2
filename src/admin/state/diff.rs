//! What is different between two lists of things.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object, types::Any};
use serde_json::{Map, Value};

use crate::admin::problem::Problem;

/// Things by kind, number and name.
pub(super) type Things = BTreeMap<(&'static str, u32, String), Option<Value>>;

/// How a thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Change {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// It is another.
    Changed,
}

/// A field that is different.
#[derive(Debug, Object)]
struct FieldView {
    field: String,
    from: Any<Value>,
    to: Any<Value>,
}

/// A thing that is different.
#[derive(Debug, Object)]
pub(super) struct ChangeView {
    /// `client`, `key`, `model` (in trouble at Google), `project`, or `setting`.
    kind: String,
    /// Its name, or its number.
    name: String,
    change: Change,
    /// What is different, where it changed.
    fields: Vec<FieldView>,
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn fields(before: Option<Value>, after: Option<Value>) -> Vec<FieldView> {
    let (mut before, after) = (object(before), object(after));
    let mut different = Vec::new();
    for (field, to) in after {
        let from = before.remove(&field).unwrap_or_default();
        if from != to {
            different.push(FieldView { field, from: Any(from), to: Any(to) });
        }
    }
    let gone = before.into_iter().filter(|(_, from)| !from.is_null());
    different.extend(gone.map(|(field, from)| FieldView { field, from: Any(from), to: Any(Value::Null) }));
    different
}

/// What changed, from a place on, and where the page ended if there is more.
pub(super) fn changes(
    mut before: Things,
    after: Things,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<ChangeView>, Option<String>), Problem> {
    let mut all = BTreeMap::new();
    for (name, now) in after {
        match before.remove(&name) {
            None => drop(all.insert(name, (Change::Added, Vec::new()))),
            Some(then) => {
                let fields = fields(then, now);
                if !fields.is_empty() {
                    all.insert(name, (Change::Changed, fields));
                }
            }
        }
    }
    all.extend(before.into_keys().map(|name| (name, (Change::Removed, Vec::new()))));
    let mut changes = all.into_iter().map(|((kind, _, name), (change, fields))| ChangeView {
        kind: kind.to_owned(),
        name,
        change,
        fields,
    });
    let place = |change: &ChangeView| format!("{}:{}", change.kind, change.name);
    if let Some(cursor) = cursor {
        changes.find(|change| place(change) == cursor).ok_or_else(Problem::bad_cursor)?;
    }
    let page: Vec<ChangeView> = changes.by_ref().take(limit).collect();
    let more = changes.next().is_some();
    let next = page.last().filter(|_| more).map(place);
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn things(all: &[(&'static str, u32, Value)]) -> Things {
        all.iter().map(|(kind, id, value)| ((*kind, *id, id.to_string()), Some(value.clone()))).collect()
    }

    #[test]
    fn what_came_what_went_and_what_is_another_page_by_page() {
        let before = things(&[
            ("key", 1, json!({"label": "a", "tags": ["x"]})),
            ("key", 2, json!({"label": "b"})),
            ("key", 9, json!({"label": "same"})),
            ("client", 1, json!({"name": "app"})),
        ]);
        let after = things(&[
            ("key", 1, json!({"label": "a", "tags": []})),
            ("key", 9, json!({"label": "same"})),
            ("key", 10, json!({"label": "c"})),
            ("client", 1, json!({"name": "app", "note": "new"})),
        ]);
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let (page, next) =
                changes(before.clone(), after.clone(), cursor.as_deref(), 3).expect("a good cursor");
            seen.extend(page.iter().map(|change| {
                let fields = change.fields.iter().map(|field| field.field.clone()).collect::<Vec<_>>();
                (format!("{} {}", change.kind, change.name), change.change, fields.join(" "))
            }));
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let wanted = [
            ("client 1", Change::Changed, "note"),
            ("key 1", Change::Changed, "tags"),
            ("key 2", Change::Removed, ""),
            ("key 10", Change::Added, ""),
        ];
        assert_eq!(seen, wanted.map(|(name, change, fields)| (name.to_owned(), change, fields.to_owned())));
        assert!(changes(before, after, Some("key:77"), 3).is_err());
    }
}
