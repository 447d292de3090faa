//! JSON values: parsing within limits, what type one has, and writing one back.

use std::{collections::HashSet, sync::Arc};

use jiter::JsonValue;

use crate::decode::Undecodable;

/// Deepest nesting whose structure becomes columns; what lies deeper is kept as JSON text.
pub const DEPTH_MAX: usize = 8;

/// Objects of up to this many fields are searched pairwise for repeated names, larger ones by hash.
const PAIRWISE_MAX: usize = 32;

/// The fields of an object, in their order.
pub(crate) type Object<'a> = [(std::borrow::Cow<'a, str>, JsonValue<'a>)];

/// Parses a value that has to be one JSON object. Of fields that share a name the last is left.
///
/// # Errors
/// Where it is not JSON in UTF-8 (nested deeper than the parser goes, too), or another JSON value.
pub fn parse(bytes: &[u8]) -> Result<JsonValue<'_>, Undecodable> {
    let mut value = JsonValue::parse(bytes, false)
        .map_err(|error| Undecodable(format!("the value is not JSON: {error}")))?;
    keep_last_of_each(&mut value);
    match &value {
        JsonValue::Object(_) => Ok(value),
        other => Err(Undecodable(format!(
            "the value is {} where a JSON object is needed",
            kind_name(other)
        ))),
    }
}

/// Leaves of fields that share a name the last, as JSON parsers have it, in all objects.
pub(crate) fn keep_last_of_each(value: &mut JsonValue<'_>) {
    match value {
        JsonValue::Object(object) => {
            let object = Arc::make_mut(object);
            if repeats(object) {
                let mut later = HashSet::new();
                let mut kept: Vec<_> =
                    object.drain(..).rev().filter(|(name, _)| later.insert(name.clone())).collect();
                kept.reverse();
                *object = kept;
            }
            object.iter_mut().for_each(|(_, value)| keep_last_of_each(value));
        }
        JsonValue::Array(values) => {
            Arc::make_mut(values).iter_mut().for_each(keep_last_of_each);
        }
        _ => {}
    }
}

/// Whether a name is there twice.
pub(crate) fn repeats(object: &Object<'_>) -> bool {
    if object.len() > PAIRWISE_MAX {
        let mut seen = HashSet::with_capacity(object.len());
        return !object.iter().all(|(name, _)| seen.insert(name.as_ref()));
    }
    let mut rest = object;
    while let Some(((name, _), later)) = rest.split_first() {
        if later.iter().any(|(other, _)| other == name) {
            return true;
        }
        rest = later;
    }
    false
}

fn kind_name(value: &JsonValue<'_>) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "a boolean",
        JsonValue::Int(_) | JsonValue::BigInt(_) | JsonValue::Float(_) => "a number",
        JsonValue::Str(_) => "a string",
        JsonValue::Array(_) => "an array",
        JsonValue::Object(_) => "an object",
    }
}

/// Appends the value's JSON text.
pub(crate) fn write(value: &JsonValue<'_>, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = match value {
        JsonValue::Null => write!(out, "null"),
        JsonValue::Bool(value) => write!(out, "{value}"),
        JsonValue::Int(value) => write!(out, "{value}"),
        JsonValue::BigInt(value) => write!(out, "{value}"),
        JsonValue::Float(value) if value.is_finite() => write!(out, "{value:?}"),
        // A number beyond what a double holds: its digits are gone.
        JsonValue::Float(value) => write!(out, "\"{value}\""),
        JsonValue::Str(text) => {
            write_string(text, out);
            Ok(())
        }
        JsonValue::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write(element, out);
            }
            out.push_str(if elements.is_empty() { "[]" } else { "]" });
            Ok(())
        }
        JsonValue::Object(fields) => {
            for (index, (name, field)) in fields.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                write_string(name, out);
                out.push(':');
                write(field, out);
            }
            out.push_str(if fields.is_empty() { "{}" } else { "}" });
            Ok(())
        }
    };
}

/// Appends a JSON string.
pub(crate) fn write_string(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn rewritten(text: &str) -> String {
        let mut out = String::new();
        write(&JsonValue::parse(text.as_bytes(), false).unwrap(), &mut out);
        out
    }

    #[test]
    fn values_are_written_as_they_came() {
        let text = r#"{"a":[1,-2.5,18446744073709551616,true,null,"ü\"\\\n\u0001"],"b":{},"c":[]}"#;
        assert_eq!(rewritten(text), text);
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for (bytes, reason) in [
            (&b"[1]"[..], "an array"),
            (b"1", "a number"),
            (b"null", "null"),
            (b"{\"a\":", "not JSON"),
            (b"{\"a\":\"\xff\"}", "not JSON"),
            (b"", "not JSON"),
            (b"{} x", "not JSON"),
            (b"{\"a\":NaN}", "not JSON"),
        ] {
            let error = parse(bytes).unwrap_err().0;
            assert!(error.contains(reason), "{error}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        assert!(parse(deep.as_bytes()).unwrap_err().0.contains("not JSON"));
    }

    #[test]
    fn of_repeated_names_the_last_counts() {
        let text = r#"{"a":1,"b":{"c":1,"c":[{"d":1,"d":2}]},"a":3}"#;
        let mut out = String::new();
        write(&parse(text.as_bytes()).unwrap(), &mut out);
        assert_eq!(out, r#"{"b":{"c":[{"d":2}]},"a":3}"#);
        let wide: Vec<_> = (0..50).map(|i| format!("\"f{}\":{i}", i % 40)).collect();
        let mut out = String::new();
        write(&parse(format!("{{{}}}", wide.join(",")).as_bytes()).unwrap(), &mut out);
        assert!(out.starts_with("{\"f10\":10") && out.ends_with("\"f9\":49}"), "{out}");
    }

    proptest! {
        #[test]
        fn strings_survive(text in any::<String>()) {
            let mut out = String::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
