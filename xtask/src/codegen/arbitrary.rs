//! `arbitrary`, for tests only: an instance with random values in every field that a version has and
//! the default in every field that it lacks, so that `decode(encode(x)) == x` must hold.

use super::{
    api::{Half, Struct},
    decode::scalar,
    names::snake,
    render::{Guarded, join, method_text},
    schema::{Field, Kind},
};

/// The test-only impl of a struct.
pub(super) fn implementation(half: &Half, item: &Struct, is_message: bool) -> String {
    let mut body = String::from("let mut value = Self::default();\n");
    let assign = |field: &Field| Guarded {
        condition: half.condition(field.versions),
        text: format!("value.{} = {};\n", snake(&field.name), expression(half, field)),
        ..Guarded::default()
    };
    body.push_str(&join(item.fields.iter().map(assign).collect()));
    if item.fields.is_empty() {
        body = "let value = Self::default();\n".to_owned();
    }
    body.push_str("value\n");
    let signature = "fn arbitrary(values: &mut crate::testing::Values, version: i16) -> Self";
    let mut method = method_text(half, signature, &body);
    if item.fields.is_empty() {
        method = method.replace("values:", "_values:");
    }
    let head = if is_message { "impl crate::testing::Arbitrary for" } else { "impl" };
    format!("#[cfg(test)]\n{head} {} {{\n{method}}}\n\n", item.name)
}

fn expression(half: &Half, field: &Field) -> String {
    let bare = value(&field.kind);
    let Some(nullable) = field.nullable else { return bare };
    match half.condition(nullable) {
        Some(condition) if nullable != field.versions => {
            format!("if {condition} {{ values.maybe(|values| {bare}) }} else {{ Some({bare}) }}")
        }
        _ => format!("values.maybe(|values| {bare})"),
    }
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Struct(name) => format!("{name}::arbitrary(values, version)"),
        Kind::Array(element) => format!("values.array(|values| {})", value(element)),
        kind => format!("values.{}()", scalar(kind)),
    }
}
