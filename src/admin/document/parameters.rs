//! What is wrong with the parameters of a request: their names, and their values in people's words.
//!
//! Its invariant: nothing that was sent is repeated.

use serde_json::Value;

use super::{Document, items, text};
use crate::admin::problem::Wrong;

impl Document {
    /// What an operation takes in its query.
    fn taken<'a>(&'a self, method: &str, path: &str, place: &'a str) -> impl Iterator<Item = &'a Value> {
        let operation = self.path_item(path).and_then(|item| item.get(method.to_lowercase()));
        let parameters = operation.map(|operation| items(operation, "parameters")).unwrap_or_default();
        parameters.iter().filter(move |parameter| text(parameter, "in") == place)
    }

    /// Parameters that the operation does not take; none: it takes all of them.
    pub(in crate::admin) fn untaken(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
    ) -> Option<Wrong> {
        let known: Vec<&str> =
            self.taken(method, path, "query").map(|parameter| text(parameter, "name")).collect();
        if query.iter().all(|(name, _)| known.contains(&name.as_str())) {
            return None;
        }
        let wants = match known.is_empty() {
            true => "none at all".to_owned(),
            false => format!("no others than {}", known.join(", ")),
        };
        Some(Wrong { name: "parameters".to_owned(), wants })
    }

    /// What is wrong with parameters that the framework refused, those of the path among them.
    pub(in crate::admin) fn explain_parameters(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
    ) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut look = |parameter: &Value, value: &str| {
            let schema = parameter.get("schema").unwrap_or(&Value::Null);
            if let Some(wants) = self.wanted(schema, value, 0) {
                wrong.push(Wrong { name: text(parameter, "name").to_owned(), wants });
            }
        };
        for parameter in self.taken(method, path, "query") {
            let name = text(parameter, "name");
            query.iter().filter(|(given, _)| given == name).for_each(|(_, value)| look(parameter, value));
        }
        let template = self.template(path).unwrap_or_default();
        for (name, value) in template.split('/').zip(path.split('/')) {
            let name = name.trim_matches(['{', '}']);
            let of_path = self.taken(method, path, "path").find(|parameter| text(parameter, "name") == name);
            if let Some(parameter) = of_path {
                look(parameter, value);
            }
        }
        wrong
    }

    /// What a parameter wants, if a value is none of it.
    fn wanted(&self, schema: &Value, value: &str, depth: usize) -> Option<String> {
        if depth > 8 {
            return None;
        }
        if let Some(named) = schema.get("$ref").and_then(Value::as_str).and_then(|to| self.reference(to)) {
            return self.wanted(named, value, depth + 1);
        }
        if let Some(each) = schema.get("items") {
            return self.wanted(each, value, depth + 1);
        }
        if let Some(wants) =
            items(schema, "allOf").iter().find_map(|part| self.wanted(part, value, depth + 1))
        {
            return Some(wants);
        }
        let words: Vec<&str> = items(schema, "enum").iter().filter_map(Value::as_str).collect();
        if let Some((last, others)) = words.split_last() {
            let all = if others.is_empty() {
                (*last).to_owned()
            } else {
                format!("{} or {last}", others.join(", "))
            };
            return (!words.contains(&value)).then_some(all);
        }
        match text(schema, "type") {
            "integer" => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_number).map(ToString::to_string);
                let bounds = bound("minimum").zip(bound("maximum"));
                let within = |number: i128| {
                    let beyond = |name: &str, off: fn(i128, i128) -> bool| {
                        bound(name)
                            .and_then(|bound| bound.parse().ok())
                            .is_some_and(|bound| off(number, bound))
                    };
                    !beyond("minimum", |number, least| number < least)
                        && !beyond("maximum", |number, most| number > most)
                };
                let fits = value.parse().is_ok_and(within);
                let wants = bounds.map(|(least, most)| format!("a whole number, {least} to {most}"));
                (!fits).then(|| wants.unwrap_or_else(|| "a whole number".to_owned()))
            }
            "number" => value.parse::<f64>().is_err().then(|| "a number".to_owned()),
            "boolean" => (!matches!(value, "true" | "false")).then(|| "true or false".to_owned()),
            "string" => {
                let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
                let long = value.chars().count() as u64 > most;
                long.then(|| format!("at most {most} characters"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn told(path: &str, parameters: &[(&str, &str)]) -> Vec<String> {
        let wrong = Document::of_this_program().explain_parameters("GET", path, &query(parameters));
        wrong.into_iter().map(|Wrong { name, wants }| format!("{name} wants {wants}")).collect()
    }

    #[test]
    fn what_a_parameter_wants_is_said_by_its_name_and_in_words() {
        assert_eq!(told("/keys", &[("state", "bad")]), ["state wants ready, cooling, failed or disabled"]);
        assert_eq!(told("/keys", &[("limit", "0")]), ["limit wants a whole number, 1 to 1000"]);
        assert_eq!(told("/keys", &[("order", "up"), ("limit", "5")]), ["order wants asc or desc"]);
        assert_eq!(told("/keys/abc", &[]), ["key_id wants a whole number, 0 to 4294967295"]);
        assert_eq!(told("/keys", &[("state", "ready"), ("limit", "1000")]), Vec::<String>::new());
    }

    #[test]
    fn a_parameter_that_is_none_is_told_by_those_that_are() {
        let document = Document::of_this_program();
        let untaken =
            document.untaken("GET", "/keys", &query(&[("stat", "s3cret"), ("limit", "1")])).unwrap();
        assert!(untaken.wants.starts_with("no others than q, state, "), "{untaken:?}");
        assert_eq!(document.untaken("GET", "/keys", &query(&[("limit", "1")])), None);
        assert_eq!(document.untaken("GET", "/audit", &query(&[("a", "b")])).unwrap().wants, "none at all");
    }
}
