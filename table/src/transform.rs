//! What is made of a JSON value before its fields become columns.

use std::{borrow::Cow, sync::Arc};

use jiter::JsonValue;
use serde::{Deserialize, Serialize};

use crate::{
    decode::Undecodable,
    json::{self, DEPTH_MAX, Object},
    name::COLUMN_NAME_LEN_MAX,
};

/// What stands between the names of nested fields, as in Kafka Connect's `Flatten`.
const DELIMITER: char = '.';
/// Field of the change that a Debezium event is about.
const CDC: &str = "_cdc";
/// Field within [`CDC`] of what was done: `I`, `U` or `D`.
const OPERATION: &str = "op";
/// Where the operation of a Debezium event is.
pub const CDC_OPERATION: &str = "_cdc.op";

/// A transformation of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Values stay as they are.
    #[default]
    None,
    /// Fields of objects within the value become its own, under names joined by dots, as Kafka
    /// Connect's `Flatten` has it; as deep as structures become columns, and as long as names of
    /// columns may be. A value in which two fields would get one name stays as it is.
    Flatten,
    /// Of a Debezium change event stays the row after the change (of a deletion the one before),
    /// and `_cdc`: `op` (`I`, `U` or `D`), `ts_ms` and `source` (database, schema and table).
    FlattenDebezium,
}

impl Transform {
    /// The value transformed.
    ///
    /// # Errors
    /// Where it is not what the transformation expects.
    pub(crate) fn apply(self, value: JsonValue<'_>) -> Result<JsonValue<'_>, Undecodable> {
        match self {
            Self::None => Ok(value),
            Self::Flatten => Ok(flattened(value)),
            Self::FlattenDebezium => debezium(&value),
        }
    }
}

/// A field of an object: one of its own of that name, or one within another, by a path with dots.
pub(crate) fn field<'v, 'a>(value: &'v JsonValue<'a>, path: &str) -> Option<&'v JsonValue<'a>> {
    let JsonValue::Object(object) = value else { return None };
    if let Some(found) = own(object, path) {
        return Some(found);
    }
    let (first, rest) = path.split_once(DELIMITER)?;
    field(own(object, first)?, rest)
}

fn own<'v, 'a>(object: &'v Object<'a>, name: &str) -> Option<&'v JsonValue<'a>> {
    object.iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

fn flattened(value: JsonValue<'_>) -> JsonValue<'_> {
    let JsonValue::Object(object) = value else { return value };
    if !object.iter().any(|(_, value)| is_nested(value)) {
        return JsonValue::Object(object);
    }
    let mut fields = Vec::with_capacity(object.len());
    flatten(&object, None, 1, &mut fields);
    let flat = Arc::new(fields);
    JsonValue::Object(if json::repeats(&flat) { object } else { flat })
}

fn flatten<'a>(
    object: &Object<'a>,
    prefix: Option<&str>,
    depth: usize,
    fields: &mut Vec<(Cow<'a, str>, JsonValue<'a>)>,
) {
    for (name, value) in object {
        let name = match prefix {
            Some(prefix) => Cow::Owned(format!("{prefix}{DELIMITER}{name}")),
            None => name.clone(),
        };
        match value {
            JsonValue::Object(nested)
                if is_nested(value) && depth < DEPTH_MAX && name.len() < COLUMN_NAME_LEN_MAX =>
            {
                flatten(nested, Some(&name), depth + 1, fields);
            }
            _ => fields.push((name, value.clone())),
        }
    }
}

/// An object without a field stays: there would be nothing left of it.
fn is_nested(value: &JsonValue<'_>) -> bool {
    matches!(value, JsonValue::Object(nested) if !nested.is_empty())
}

/// The row of a Debezium change event, whose JSON may have its schema beside it.
fn debezium<'a>(value: &JsonValue<'a>) -> Result<JsonValue<'a>, Undecodable> {
    let wrong = |what: String| Undecodable(format!("no change event of Debezium: {what}"));
    let event = match field(value, "payload").filter(|_| field(value, "schema").is_some()) {
        Some(payload) => payload,
        None => value,
    };
    let Some(JsonValue::Str(operation)) = field(event, OPERATION) else {
        return Err(wrong("the value has no field op of text".into()));
    };
    let (operation, row) = match operation.as_ref() {
        "c" | "r" => ("I", "after"),
        "u" => ("U", "after"),
        "d" => ("D", "before"),
        other => return Err(wrong(format!("op {other} changes no row"))),
    };
    let row = match field(event, row) {
        Some(JsonValue::Object(fields)) => Arc::clone(fields),
        // A table that does not log its old rows: the key says which it was.
        None | Some(JsonValue::Null) if operation == "D" => Arc::default(),
        _ => return Err(wrong(format!("{row} is no object"))),
    };
    let mut change = vec![(Cow::Borrowed(OPERATION), JsonValue::Str(operation.into()))];
    if let Some(time) = field(event, "ts_ms") {
        change.push(("ts_ms".into(), time.clone()));
    }
    let names = ["db", "schema", "table"].map(|part| match field(event, "source")? {
        source @ JsonValue::Object(_) => match field(source, part)? {
            JsonValue::Str(name) => Some(name.as_ref()),
            _ => None,
        },
        _ => None,
    });
    let names: Vec<_> = names.into_iter().flatten().collect();
    if !names.is_empty() {
        change.push(("source".into(), JsonValue::Str(names.join(".").into())));
    }
    let mut row = row;
    Arc::make_mut(&mut row).push((CDC.into(), JsonValue::Object(Arc::new(change))));
    let mut row = JsonValue::Object(row);
    // A column of the row may have the name.
    json::keep_last_of_each(&mut row);
    Ok(row)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn transformed(transform: Transform, text: &str) -> Result<String, String> {
        let value = json::parse(text.as_bytes()).unwrap();
        let value = transform.apply(value).map_err(|Undecodable(reason)| reason)?;
        let mut out = String::new();
        json::write(&value, &mut out);
        Ok(out)
    }

    #[test]
    fn nested_fields_become_the_values_own() {
        let text = r#"{"a":{"b":1,"c":{"d":[{"e":2}]},"f":{}},"g":null}"#;
        assert_eq!(
            transformed(Transform::Flatten, text).unwrap(),
            r#"{"a.b":1,"a.c.d":[{"e":2}],"a.f":{},"g":null}"#
        );
        assert_eq!(transformed(Transform::None, text).unwrap(), text);
        let flat = r#"{"a":1,"b":[{"c":2}]}"#;
        assert_eq!(transformed(Transform::Flatten, flat).unwrap(), flat);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(20), "}".repeat(20));
        let found = transformed(Transform::Flatten, &deep).unwrap();
        assert!(found.starts_with(r#"{"a.a.a.a.a.a.a.a":{"a":{"#), "{found}");
        // Names as long as values would be repeated for each field.
        let long = format!(r#"{{"{}":{{"a":1,"b":2}}}}"#, "x".repeat(COLUMN_NAME_LEN_MAX));
        assert_eq!(transformed(Transform::Flatten, &long).unwrap(), long);
        // Neither of two values gets lost.
        let twice = r#"{"a.b":1,"a":{"b":2}}"#;
        assert_eq!(transformed(Transform::Flatten, twice).unwrap(), twice);
    }

    #[test]
    fn of_a_change_event_the_row_stays() {
        let source = r#""source":{"db":"shop","schema":"public","table":"orders","lsn":7}"#;
        let cdc = |op: &str| {
            format!(r#""_cdc":{{"op":"{op}","ts_ms":5,"source":"shop.public.orders"}}}}"#)
        };
        for (op, expected) in [("c", "I"), ("r", "I"), ("u", "U")] {
            let text = format!(
                r#"{{"before":null,"after":{{"id":1,"n":{{"x":2}}}},{source},"op":"{op}","ts_ms":5}}"#
            );
            let expected = format!(r#"{{"id":1,"n":{{"x":2}},{}"#, cdc(expected));
            assert_eq!(transformed(Transform::FlattenDebezium, &text).unwrap(), expected);
            let with_schema = format!(r#"{{"schema":{{}},"payload":{text}}}"#);
            assert_eq!(transformed(Transform::FlattenDebezium, &with_schema).unwrap(), expected);
        }
        let text = format!(r#"{{"before":{{"id":1}},"after":null,{source},"op":"d","ts_ms":5}}"#);
        let expected = format!(r#"{{"id":1,{}"#, cdc("D"));
        assert_eq!(transformed(Transform::FlattenDebezium, &text).unwrap(), expected);
        let text = r#"{"before":null,"op":"d"}"#;
        let expected = r#"{"_cdc":{"op":"D"}}"#;
        assert_eq!(transformed(Transform::FlattenDebezium, text).unwrap(), expected);
        let text = r#"{"after":{"_cdc":1,"id":2},"op":"c"}"#;
        let expected = r#"{"id":2,"_cdc":{"op":"I"}}"#;
        assert_eq!(transformed(Transform::FlattenDebezium, text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_change_of_a_row_is_refused() {
        for (text, expected) in [
            (r#"{"id":1}"#, "no field op"),
            (r#"{"op":1}"#, "no field op"),
            (r#"{"op":"t","after":null}"#, "op t changes no row"),
            (r#"{"op":"c","after":null}"#, "after is no object"),
            (r#"{"op":"d","before":[]}"#, "before is no object"),
            (r#"{"schema":{},"payload":null}"#, "no field op"),
        ] {
            let error = transformed(Transform::FlattenDebezium, text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn fields_are_found_by_paths() {
        let value = json::parse(br#"{"a.b":1,"a":{"b":2,"c":{"d":3}}}"#).unwrap();
        assert_eq!(field(&value, "a.b"), Some(&JsonValue::Int(1)));
        assert_eq!(field(&value, "a.c.d"), Some(&JsonValue::Int(3)));
        assert_eq!(field(&value, "a.x"), None);
        assert_eq!(field(&value, "x"), None);
    }
}
