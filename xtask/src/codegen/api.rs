//! A request and its response, with the structs of both in one namespace.
//!
//! Rule for names: every struct keeps the name of the definition. Where request and response of one
//! API use the same name for a struct, the response's gets the suffix `Response`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    names,
    schema::{Field, Kind, MessageSpec, Versions, intersect},
};

/// Names that generated files use for something else.
const RESERVED: [&str; 12] = [
    "ApiKey",
    "Bytes",
    "DecodeError",
    "EncodeError",
    "Message",
    "Option",
    "Reader",
    "Records",
    "Request",
    "String",
    "Uuid",
    "Writer",
];

/// One API.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) key: i16,
    /// Kafka's name without `Request`, such as `Fetch`.
    pub(super) name: String,
    pub(super) request: Half,
    pub(super) response: Half,
}

/// One direction of an API: its structs, the message itself first.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) valid: (i16, i16),
    pub(super) flexible: Versions,
    pub(super) structs: Vec<Struct>,
}

/// One struct with its final Rust name; struct types in its fields are renamed too.
#[derive(Debug, Clone)]
pub(super) struct Struct {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

impl Api {
    /// Pairs the two definitions of one key.
    pub(super) fn pair(key: i16, specs: Vec<MessageSpec>) -> Result<Self> {
        let (mut request, mut response) = (None, None);
        for spec in specs {
            let slot = if spec.name.ends_with("Request") { &mut request } else { &mut response };
            ensure!(slot.replace(spec).is_none(), "key {key} is defined twice");
        }
        let request = request.with_context(|| format!("key {key} has no request"))?;
        let response = response.with_context(|| format!("key {key} has no response"))?;
        ensure!(request.valid == response.valid, "key {key}: versions differ");
        let name = request.name.trim_end_matches("Request").to_owned();
        let request = Half::new(request, &BTreeSet::new())?;
        let taken = request.structs.iter().map(|s| s.name.clone()).collect();
        let response = Half::new(response, &taken)?;
        Ok(Self { key, name, request, response })
    }

    /// The module's name, such as `api_versions`.
    pub(super) fn module(&self) -> String {
        names::snake(&self.name)
    }
}

impl Half {
    pub(super) fn new(spec: MessageSpec, taken: &BTreeSet<String>) -> Result<Self> {
        let mut structs = vec![Struct { name: spec.name, fields: spec.fields.clone() }];
        collect(&spec.fields, &mut structs);
        for (name, fields) in spec.common {
            collect(&fields, &mut structs);
            structs.push(Struct { name, fields });
        }
        let mut renames = BTreeMap::new();
        for Struct { name, .. } in &structs {
            let unique =
                if taken.contains(name) { format!("{name}Response") } else { name.clone() };
            if taken.contains(&unique) || RESERVED.contains(&unique.as_str()) {
                bail!("no free name for struct {name}");
            }
            ensure!(renames.insert(name.clone(), unique).is_none(), "struct {name} occurs twice");
        }
        for item in &mut structs {
            rename(&mut item.name, &renames)?;
            for field in &mut item.fields {
                rename_kind(&mut field.kind, &renames)?;
            }
        }
        Ok(Self { valid: spec.valid, flexible: spec.flexible, structs })
    }

    /// The message itself.
    pub(super) fn message(&self) -> Result<&Struct> {
        self.structs.first().context("a message has a struct")
    }

    /// The fewest bytes that a value of `kind` takes in any valid version, at least one.
    pub(super) fn wire_bytes_min(&self, kind: &Kind) -> usize {
        let versions = self.valid.0..=self.valid.1;
        versions.map(|version| self.wire_bytes(kind, version)).min().unwrap_or(1).max(1)
    }

    fn wire_bytes(&self, kind: &Kind, version: i16) -> usize {
        let flexible = contains(self.flexible, version);
        match kind {
            Kind::Bool | Kind::Int8 => 1,
            Kind::Int16 | Kind::Uint16 => 2,
            Kind::Int32 | Kind::Uint32 => 4,
            Kind::Int64 | Kind::Float64 => 8,
            Kind::Uuid => 16,
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) if flexible => 1,
            Kind::String => 2,
            Kind::Bytes | Kind::Records | Kind::Array(_) => 4,
            Kind::Struct(name) => {
                let fields = self.structs.iter().find(|s| s.name == *name).map(|s| &s.fields);
                let present = fields
                    .into_iter()
                    .flatten()
                    .filter(|field| field.tag.is_none() && contains(Some(field.versions), version));
                let sizes = present.map(|field| match (&field.kind, &field.nullable) {
                    (Kind::Struct(_), Some(_)) => 1,
                    (kind, _) => self.wire_bytes(kind, version),
                });
                sizes.sum::<usize>() + usize::from(flexible)
            }
        }
    }

    /// A Rust condition on `version` for a range; `None` when every valid version is in it.
    pub(super) fn condition(&self, range: (i16, i16)) -> Option<String> {
        let (low, high) = intersect(range, self.valid)?;
        match (low > self.valid.0, high < self.valid.1) {
            (false, false) => None,
            (true, false) => Some(format!("version >= {low}")),
            (false, true) => Some(format!("version <= {high}")),
            (true, true) if low == high => Some(format!("version == {low}")),
            (true, true) => Some(format!("({low}..={high}).contains(&version)")),
        }
    }

    /// The negation of `condition`.
    pub(super) fn negated_condition(&self, range: (i16, i16)) -> Option<String> {
        let (low, high) = intersect(range, self.valid)?;
        match (low > self.valid.0, high < self.valid.1) {
            (false, false) => None,
            (true, false) => Some(format!("version < {low}")),
            (false, true) => Some(format!("version > {high}")),
            (true, true) if low == high => Some(format!("version != {low}")),
            (true, true) => Some(format!("!({low}..={high}).contains(&version)")),
        }
    }

    /// A Rust condition on `version` for a tagged field, where flexible versions are known already.
    pub(super) fn tagged_condition(&self, range: (i16, i16)) -> Option<String> {
        if self.flexible.and_then(|flexible| intersect(flexible, self.valid)) == Some(range) {
            return None;
        }
        self.condition(range)
    }

    /// The Rust expression that says whether `version` is flexible.
    pub(super) fn flexible_expression(&self) -> Flexible {
        match self.flexible {
            None => Flexible::Never,
            Some(range) => self.condition(range).map_or(Flexible::Always, Flexible::When),
        }
    }
}

/// Whether a message's versions are flexible.
#[derive(Debug)]
pub(super) enum Flexible {
    Never,
    Always,
    When(String),
}

impl Flexible {
    /// What generated code passes as the `flexible` argument.
    pub(super) fn argument(&self) -> &'static str {
        match self {
            Self::Never => "false",
            Self::Always => "true",
            Self::When(_) => "flexible",
        }
    }
}

fn contains(range: Versions, version: i16) -> bool {
    range.is_some_and(|(low, high)| (low..=high).contains(&version))
}

/// Appends the structs that fields declare in place, each before its own.
fn collect(fields: &[Field], structs: &mut Vec<Struct>) {
    for field in fields.iter().filter(|field| !field.fields.is_empty()) {
        if let Some(name) = field.kind.struct_name() {
            structs.push(Struct { name: name.to_owned(), fields: field.fields.clone() });
            collect(&field.fields, structs);
        }
    }
}

fn rename(name: &mut String, renames: &BTreeMap<String, String>) -> Result<()> {
    let unique = renames.get(name).with_context(|| format!("struct {name} is not defined"))?;
    name.clone_from(unique);
    Ok(())
}

fn rename_kind(kind: &mut Kind, renames: &BTreeMap<String, String>) -> Result<()> {
    match kind {
        Kind::Struct(name) => rename(name, renames),
        Kind::Array(element) => rename_kind(element, renames),
        _ => Ok(()),
    }
}
