//! The body of `encode`: fields in the definition's order, then the tagged fields that are not at
//! their defaults, by ascending tag.

use anyhow::Result;

use super::{
    api::{Flexible, Half, Struct},
    decode::scalar,
    names::snake,
    render::{Guarded, differs_from_default, join, method_text},
    schema::{Field, Kind},
};

/// The whole `encode` method of a struct.
pub(super) fn method(half: &Half, item: &Struct, is_message: bool) -> Result<String> {
    let mut body = String::new();
    if is_message {
        body.push_str("Self::check_encodable(version)?;\n");
    }
    let plain = item.fields.iter().filter(|field| field.tag.is_none());
    let fields = plain.map(|field| plain_field(half, item, field)).collect::<Result<_>>()?;
    body.push_str(&join(fields));
    body.push_str(&tagged_fields(half, item)?);
    body.push_str("Ok(())\n");
    let signature =
        "fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>";
    Ok(method_text(half, signature, &body))
}

fn plain_field(half: &Half, item: &Struct, field: &Field) -> Result<Guarded> {
    let name = snake(&field.name);
    let mut text = String::new();
    if let Some(nullable) = field.nullable
        && let Some(condition) = half.negated_condition(nullable)
        && nullable != field.versions
    {
        text.push_str(&format!(
            "if {condition} && self.{name}.is_none() {{\n\
             return Err(EncodeError::NullField {{ field: \"{name}\" }});\n}}\n"
        ));
    }
    text.push_str(&format!("{};\n", statement(half, field)));
    let condition = half.condition(field.versions);
    let otherwise = if field.ignorable || condition.is_none() {
        String::new()
    } else {
        format!(" else if {} {{\n{}}}", differs_from_default(field)?, refusal(item, &name))
    };
    Ok(Guarded { condition, text, otherwise })
}

fn refusal(item: &Struct, field: &str) -> String {
    format!(
        "return Err(EncodeError::UnsupportedField {{ message: \"{}\", field: \"{field}\", \
         version }});\n",
        item.name
    )
}

fn tagged_fields(half: &Half, item: &Struct) -> Result<String> {
    let flexible = half.flexible_expression();
    if matches!(flexible, Flexible::Never) {
        return Ok(String::new());
    }
    let mut tagged: Vec<&Field> = item.fields.iter().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);
    let (mut refusals, mut counts, mut writes) = (String::new(), String::new(), String::new());
    for field in &tagged {
        let set = differs_from_default(field)?;
        let present = match half.tagged_condition(field.versions) {
            Some(condition) => format!("{condition} && {set}"),
            None => set.clone(),
        };
        let absent = half.negated_condition(field.versions);
        if let (Some(condition), false) = (absent, field.ignorable) {
            let refusal = refusal(item, &snake(&field.name));
            refusals.push_str(&format!("if {condition} && {set} {{\n{refusal}}}\n"));
        }
        counts.push_str(&format!("tagged += u32::from({present});\n"));
        writes.push_str(&format!(
            "if {present} {{\nwriter.tagged_field({}, |writer| {{\n{}\n}})?;\n}}\n",
            field.tag.unwrap_or_default(),
            closure_body(half, field)
        ));
    }
    let section = if tagged.is_empty() {
        "writer.unsigned_varint(0);\n".to_owned()
    } else {
        format!("let mut tagged = 0;\n{counts}writer.unsigned_varint(tagged);\n{writes}")
    };
    Ok(match flexible {
        Flexible::When(_) => format!("{refusals}if flexible {{\n{section}}}\n"),
        Flexible::Always | Flexible::Never => format!("{refusals}{section}"),
    })
}

fn closure_body(half: &Half, field: &Field) -> String {
    let statement = statement(half, field);
    match statement.strip_suffix('?') {
        Some(call) => call.to_owned(),
        None => format!("{statement};\nOk(())"),
    }
}

/// The statement that writes one field, without its semicolon; fallible ones end in `?`.
fn statement(half: &Half, field: &Field) -> String {
    let flexible = half.flexible_expression().argument();
    let name = snake(&field.name);
    let nullable = field.nullable.is_some();
    match &field.kind {
        Kind::String if nullable => {
            format!("writer.nullable_string(self.{name}.as_deref(), {flexible}, \"{name}\")?")
        }
        Kind::Bytes | Kind::Records if nullable => {
            let method = scalar(&field.kind);
            format!("writer.nullable_{method}(self.{name}.as_ref(), {flexible}, \"{name}\")?")
        }
        Kind::String | Kind::Bytes | Kind::Records => {
            let method = scalar(&field.kind);
            format!("writer.{method}(&self.{name}, {flexible}, \"{name}\")?")
        }
        Kind::Struct(_) if nullable && field.tag.is_some() => format!(
            "writer.nullable_tagged_struct(self.{name}.as_ref(), \
             |writer, item| item.encode(writer, version))?"
        ),
        Kind::Struct(_) if nullable => format!(
            "writer.nullable_struct(self.{name}.as_ref(), \
             |writer, item| item.encode(writer, version))?"
        ),
        Kind::Struct(_) => format!("self.{name}.encode(writer, version)?"),
        Kind::Array(element) => {
            let (method, value) = if nullable {
                ("nullable_array", format!("self.{name}.as_deref()"))
            } else {
                ("array", format!("&self.{name}"))
            };
            let write = element_closure(element, flexible, &name);
            format!("writer.{method}({value}, {flexible}, \"{name}\", {write})?")
        }
        kind => format!("writer.{}(self.{name})", scalar(kind)),
    }
}

fn element_closure(element: &Kind, flexible: &str, name: &str) -> String {
    match element {
        Kind::Struct(_) => "|writer, item| item.encode(writer, version)".to_owned(),
        Kind::String | Kind::Bytes | Kind::Records => {
            format!("|writer, item| writer.{}(item, {flexible}, \"{name}\")", scalar(element))
        }
        kind => format!("|writer, item| {{\nwriter.{}(*item);\nOk(())\n}}", scalar(kind)),
    }
}
