//! Kafka's definition files as types: JSON with `//` comments, version ranges, field types.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// An inclusive range of versions; `None` where the definition says "none".
pub(super) type Versions = Option<(i16, i16)>;

/// One request or response, half of a record, or data without a key.
#[derive(Debug)]
pub(super) struct MessageSpec {
    pub(super) api_key: Option<i16>,
    pub(super) name: String,
    pub(super) valid: (i16, i16),
    pub(super) flexible: Versions,
    pub(super) fields: Vec<Field>,
    pub(super) common: Vec<(String, Vec<Field>)>,
}

/// One field, with the fields of its own struct if it declares one.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) versions: (i16, i16),
    pub(super) nullable: Versions,
    pub(super) tag: Option<u32>,
    pub(super) ignorable: bool,
    pub(super) default: Option<String>,
    pub(super) about: String,
    pub(super) fields: Vec<Self>,
}

/// The type of a field or of an array's element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Self>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMessage {
    api_key: Option<i16>,
    #[serde(rename = "type")]
    _kind: String,
    #[serde(rename = "listeners")]
    _listeners: Option<Vec<String>>,
    name: String,
    valid_versions: String,
    flexible_versions: String,
    #[serde(rename = "latestVersionUnstable")]
    _latest_version_unstable: Option<bool>,
    fields: Vec<RawField>,
    #[serde(default)]
    common_structs: Vec<RawStruct>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStruct {
    name: String,
    #[serde(rename = "versions")]
    _versions: String,
    #[serde(rename = "about")]
    _about: Option<String>,
    fields: Vec<RawField>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    versions: Option<String>,
    nullable_versions: Option<String>,
    tagged_versions: Option<String>,
    tag: Option<u32>,
    #[serde(default)]
    ignorable: bool,
    default: Option<Value>,
    about: Option<String>,
    #[serde(default)]
    fields: Vec<Self>,
    // What follows steers Kafka's own generator only.
    #[serde(rename = "mapKey")]
    _map_key: Option<bool>,
    #[serde(rename = "entityType")]
    _entity_type: Option<String>,
    #[serde(rename = "zeroCopy")]
    _zero_copy: Option<bool>,
}

impl MessageSpec {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let raw: RawMessage = serde_json::from_str(&without_comments(text))?;
        let valid = versions(&raw.valid_versions)?.context("no valid versions")?;
        let flexible = versions(&raw.flexible_versions)?;
        let common = raw.common_structs.into_iter();
        Ok(Self {
            api_key: raw.api_key,
            name: raw.name,
            valid,
            flexible: flexible.filter(|range| intersect(*range, valid).is_some()),
            fields: fields(raw.fields, valid)?,
            common: common
                .map(|s| Ok((s.name, fields(s.fields, valid)?)))
                .collect::<Result<Vec<_>>>()?,
        })
    }
}

fn fields(raw: Vec<RawField>, valid: (i16, i16)) -> Result<Vec<Field>> {
    let parsed = raw.into_iter().map(|field| {
        let name = field.name.clone();
        Field::new(field, valid).with_context(|| format!("field {name}"))
    });
    parsed.filter_map(Result::transpose).collect()
}

impl Field {
    /// `None` when no valid version of the message has the field.
    fn new(raw: RawField, valid: (i16, i16)) -> Result<Option<Self>> {
        let tagged = optional_versions(raw.tagged_versions.as_deref())?;
        let declared = match &raw.versions {
            Some(text) => versions(text)?,
            None => Some(tagged.context("neither versions nor tagged versions")?),
        };
        let Some(versions_in_use) = declared.and_then(|range| intersect(range, valid)) else {
            return Ok(None);
        };
        if tagged.is_some() && tagged != declared {
            bail!("a field that is tagged in some of its versions only is not supported");
        }
        let nullable = optional_versions(raw.nullable_versions.as_deref())?;
        Ok(Some(Self {
            kind: Kind::parse(&raw.kind)?,
            versions: versions_in_use,
            nullable: nullable.and_then(|range| intersect(range, versions_in_use)),
            tag: tagged.and(raw.tag),
            ignorable: raw.ignorable,
            default: raw.default.map(|value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            }),
            about: raw.about.unwrap_or_else(|| raw.name.clone()),
            fields: fields(raw.fields, valid)?,
            name: raw.name,
        }))
    }

    /// Whether the default is null rather than empty.
    pub(super) fn default_is_null(&self) -> bool {
        let null = self.default.as_deref() == Some("null");
        self.nullable.is_some() && (null || self.kind == Kind::Records)
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element)?)),
                None if text.starts_with(char::is_uppercase) => Self::Struct(text.to_owned()),
                None => bail!("unknown type {text}"),
            },
        })
    }

    /// The name of the struct that this type is, or is an array of.
    pub(super) fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

/// The versions that two ranges share.
pub(super) fn intersect(a: (i16, i16), b: (i16, i16)) -> Versions {
    let (low, high) = (a.0.max(b.0), a.1.min(b.1));
    (low <= high).then_some((low, high))
}

fn optional_versions(text: Option<&str>) -> Result<Versions> {
    text.map_or(Ok(None), versions)
}

/// Parses "none", "3", "3-5" and "3+".
fn versions(text: &str) -> Result<Versions> {
    if text == "none" {
        return Ok(None);
    }
    if let Some(low) = text.strip_suffix('+') {
        return Ok(Some((low.parse()?, i16::MAX)));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Ok(Some((low.parse()?, high.parse()?)))
}

/// Drops `//` comments: whole lines, and what follows `//` outside of a string.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut previous = ' ';
        let mut end = line.len();
        for (index, character) in line.char_indices() {
            match character {
                '"' if previous != '\\' => quoted = !quoted,
                '/' if previous == '/' && !quoted => {
                    end = index - 1;
                    break;
                }
                _ => {}
            }
            previous = character;
        }
        out.push_str(line.get(..end).unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_outside_of_strings_only() {
        let text = "// head\n{ \"a\": \"http://x\" } // tail";
        assert_eq!(without_comments(text), "\n{ \"a\": \"http://x\" } \n");
    }

    #[test]
    fn version_ranges_have_four_spellings() -> Result<()> {
        assert_eq!(versions("none")?, None);
        assert_eq!(versions("3")?, Some((3, 3)));
        assert_eq!(versions("3-5")?, Some((3, 5)));
        assert_eq!(versions("3+")?, Some((3, i16::MAX)));
        Ok(())
    }
}
