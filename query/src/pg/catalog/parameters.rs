//! `pg_settings`: what SHOW shows, with its defaults.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, StringArray, new_null_array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{catalog::MemTable, error::Result};

use crate::pg::settings::{Described, Settings};

pub(super) const NAME: &str = "pg_settings";

/// PostgreSQL's columns.
pub(super) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("name"),
        text("setting"),
        text("unit"),
        text("category"),
        text("short_desc"),
        text("extra_desc"),
        text("context"),
        text("vartype"),
        text("source"),
        text("min_val"),
        text("max_val"),
        Field::new("enumvals", DataType::new_list(DataType::Utf8, true), true),
        text("boot_val"),
        text("reset_val"),
        text("sourcefile"),
        Field::new("sourceline", DataType::Int32, true),
        Field::new("pending_restart", DataType::Boolean, true),
    ]))
}

/// The settings of a session as they are now.
pub(super) fn table(settings: &Settings) -> Result<MemTable> {
    let settings: Vec<_> = settings.described().collect();
    let texts = |of: fn(&Described) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(settings.iter().map(of)))
    };
    let schema = schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "name" => texts(|setting| setting.name),
        "setting" => texts(|setting| &setting.value),
        "context" => texts(|setting| if setting.is_fixed { "internal" } else { "user" }),
        "vartype" => texts(|_| "string"),
        "source" => texts(|setting| if setting.is_changed { "session" } else { "default" }),
        "boot_val" | "reset_val" => texts(|setting| &setting.default),
        "pending_restart" => Arc::new(BooleanArray::from(vec![false; settings.len()])),
        _ => new_null_array(field.data_type(), settings.len()),
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect())?;
    MemTable::try_new(schema, vec![vec![batch]])
}
