//! The body of `decode`: fields in the definition's order, then the tagged fields.

use anyhow::{Result, bail};

use super::{
    api::{Flexible, Half, Struct},
    names::snake,
    render::{Guarded, join, method_text},
    schema::{Field, Kind},
};

/// The whole `decode` method of a struct.
pub(super) fn method(half: &Half, item: &Struct, is_message: bool) -> Result<String> {
    let mut body = String::new();
    if is_message {
        body.push_str("Self::check_decodable(version)?;\n");
    }
    let plain = item.fields.iter().filter(|field| field.tag.is_none());
    let fields = join(plain.map(|field| plain_field(half, field)).collect::<Result<_>>()?);
    let tags = tagged_fields(half, item)?;
    let mutable = if tags.contains("value.") || !fields.is_empty() { "mut " } else { "" };
    body.push_str(&format!("let {mutable}value = Self::default();\n{fields}{tags}Ok(value)\n"));
    let signature = "fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>";
    Ok(method_text(half, signature, &body))
}

fn plain_field(half: &Half, field: &Field) -> Result<Guarded> {
    let name = snake(&field.name);
    let mut text = format!("value.{name} = {};\n", expression(half, field)?);
    if let Some(nullable) = field.nullable
        && let Some(condition) = half.negated_condition(nullable)
        && nullable != field.versions
    {
        text.push_str(&format!(
            "if {condition} && value.{name}.is_none() {{\n\
             return Err(DecodeError::NullField {{ field: \"{name}\" }});\n}}\n"
        ));
    }
    Ok(Guarded { condition: half.condition(field.versions), text, ..Guarded::default() })
}

fn tagged_fields(half: &Half, item: &Struct) -> Result<String> {
    let flexible = half.flexible_expression();
    if matches!(flexible, Flexible::Never) {
        return Ok(String::new());
    }
    let mut arms = String::new();
    for field in &item.fields {
        let Some(tag) = field.tag else { continue };
        let guard = half
            .tagged_condition(field.versions)
            .map_or(String::new(), |condition| format!(" if {condition}"));
        let value = expression(half, field)?;
        arms.push_str(&format!("{tag}{guard} => value.{} = {value},\n", snake(&field.name)));
    }
    let call = if arms.is_empty() {
        "reader.tagged_fields(|_, _| Ok(false))?;\n".to_owned()
    } else {
        format!(
            "reader.tagged_fields(|reader, tag| {{\nmatch tag {{\n{arms}_ => return Ok(false),\n}}\n\
             Ok(true)\n}})?;\n"
        )
    };
    Ok(match flexible {
        Flexible::When(_) => format!("if flexible {{\n{call}}}\n"),
        Flexible::Always | Flexible::Never => call,
    })
}

/// The expression that reads one field.
fn expression(half: &Half, field: &Field) -> Result<String> {
    let flexible = half.flexible_expression().argument();
    let name = snake(&field.name);
    let nullable = field.nullable.is_some();
    Ok(match &field.kind {
        Kind::String | Kind::Bytes | Kind::Records => {
            let method = scalar(&field.kind);
            if nullable {
                format!("reader.nullable_{method}({flexible})?")
            } else {
                format!("reader.{method}({flexible}, \"{name}\")?")
            }
        }
        // A tag's struct says whether it is null in a varint, any other in a byte.
        Kind::Struct(of) if nullable && field.tag.is_some() => {
            format!("reader.nullable_tagged_struct(|reader| {of}::decode(reader, version))?")
        }
        Kind::Struct(of) if nullable => {
            format!("reader.nullable_struct(|reader| {of}::decode(reader, version))?")
        }
        Kind::Struct(of) => format!("{of}::decode(reader, version)?"),
        Kind::Array(element) => {
            let least = half.wire_bytes_min(element);
            let read = element_closure(element, flexible, &name)?;
            if nullable {
                format!("reader.nullable_array({flexible}, {least}, {read})?")
            } else {
                format!("reader.array({flexible}, {least}, \"{name}\", {read})?")
            }
        }
        kind if nullable => bail!("{} cannot be nullable: {kind:?}", field.name),
        kind => format!("reader.{}()?", scalar(kind)),
    })
}

fn element_closure(element: &Kind, flexible: &str, name: &str) -> Result<String> {
    Ok(match element {
        Kind::Struct(of) => format!("|reader| {of}::decode(reader, version)"),
        Kind::String | Kind::Bytes | Kind::Records => {
            format!("|reader| reader.{}({flexible}, \"{name}\")", scalar(element))
        }
        Kind::Array(_) => bail!("{name}: an array of arrays is not supported"),
        kind => format!("Reader::{}", scalar(kind)),
    })
}

/// The reader's and writer's method for a type that is neither struct nor array.
pub(super) fn scalar(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Uint16 => "u16",
        Kind::Int32 => "i32",
        Kind::Uint32 => "u32",
        Kind::Int64 => "i64",
        Kind::Float64 => "f64",
        Kind::Uuid => "uuid",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Records => "records",
        Kind::Struct(_) | Kind::Array(_) => "",
    }
}
