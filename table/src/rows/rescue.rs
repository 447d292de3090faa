//! What of a value fits no column, in the shape that it had there.

use std::collections::BTreeMap;

use jiter::JsonValue;

use crate::json;

/// The misfits of one record.
#[derive(Debug, Default)]
pub(super) struct Rescue {
    root: BTreeMap<String, Node>,
    path: Vec<String>,
    values: u64,
    unknown_fields: bool,
    is_none: bool,
}

#[derive(Debug)]
enum Node {
    /// A value, as JSON text.
    Value(String),
    /// Fields of an object of which the rest has columns.
    Object(BTreeMap<String, Self>),
}

impl Rescue {
    /// One that keeps nothing.
    pub(super) fn none() -> Self {
        Self { is_none: true, ..Self::default() }
    }

    /// Goes into the object of a field.
    pub(super) fn enter(&mut self, field: &str) {
        self.path.push(field.to_owned());
    }

    /// And back out.
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// Keeps the value of a field of the object gone into: its column has another type.
    pub(super) fn misfit(&mut self, field: &str, value: &JsonValue<'_>) {
        if self.is_none {
            return;
        }
        let mut text = String::new();
        json::write(value, &mut text);
        let mut object = &mut self.root;
        for step in &self.path {
            let node = object.entry(step.clone()).or_insert_with(|| Node::Object(BTreeMap::new()));
            match node {
                Node::Object(fields) => object = fields,
                // A value is never gone into.
                Node::Value(_) => return,
            }
        }
        object.insert(field.to_owned(), Node::Value(text));
        self.values += 1;
    }

    /// Keeps the value of a field that has no column.
    pub(super) fn unknown(&mut self, field: &str, value: &JsonValue<'_>) {
        self.unknown_fields = true;
        self.misfit(field, value);
    }

    /// Notes that a kept value has fields that could have columns.
    pub(super) fn note_unknown(&mut self) {
        self.unknown_fields = true;
    }

    pub(super) fn met_unknown_fields(&self) -> bool {
        self.unknown_fields
    }

    pub(super) fn values(&self) -> u64 {
        self.values
    }

    /// A JSON object, if there was anything.
    pub(super) fn into_json(self) -> Option<String> {
        (!self.root.is_empty()).then(|| {
            let mut out = String::new();
            write_object(&self.root, &mut out);
            out
        })
    }
}

fn write_object(fields: &BTreeMap<String, Node>, out: &mut String) {
    for (index, (name, node)) in fields.iter().enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        json::write_string(name, out);
        out.push(':');
        match node {
            Node::Value(text) => out.push_str(text),
            Node::Object(fields) => write_object(fields, out),
        }
    }
    out.push('}');
}
