//! Answers as bytes: JSON, lines of JSON, CSV, or an Arrow IPC stream.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    csv,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc,
    json::writer::{JsonArray, LineDelimited, WriterBuilder},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{error::QueryError, strings};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One object with `columns`, `rows` and counts.
    #[default]
    Json,
    /// A JSON object per row and line.
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// The media type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// A column of an answer.
#[derive(Debug, Serialize)]
pub(crate) struct ColumnInfo {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// The columns of an answer.
pub(crate) fn columns(schema: &arrow::datatypes::Schema) -> Vec<ColumnInfo> {
    let info = |field: &arrow::datatypes::FieldRef| ColumnInfo {
        name: field.name().clone(),
        kind: strings::plain(field.data_type()).to_string(),
    };
    schema.fields().iter().map(info).collect()
}

/// Rows as a JSON array of objects; nulls are written.
pub(crate) fn json_rows(batches: &[RecordBatch]) -> Result<Box<RawValue>, QueryError> {
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    // An array of nothing is written as nothing.
    let text = if text.is_empty() { "[]".to_owned() } else { text };
    RawValue::from_string(text)
        .map_err(|error| QueryError::Output(ArrowError::JsonError(error.to_string())))
}

/// Writes rows piece by piece.
pub(crate) enum RowsWriter {
    /// A JSON object a line.
    Lines,
    /// CSV; the header comes first.
    Csv { schema: SchemaRef, has_header: bool },
    /// An Arrow IPC stream.
    Arrow { schema: SchemaRef, writer: Box<ipc::writer::StreamWriter<Vec<u8>>> },
}

impl RowsWriter {
    pub(crate) fn new(format: Format, schema: &SchemaRef) -> Result<Self, QueryError> {
        Ok(match format {
            Format::Json | Format::Ndjson => Self::Lines,
            Format::Csv => Self::Csv { schema: Arc::clone(schema), has_header: false },
            Format::Arrow => {
                let schema = strings::plained(schema);
                let writer = ipc::writer::StreamWriter::try_new(Vec::new(), &schema)?;
                Self::Arrow { schema, writer: Box::new(writer) }
            }
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        match self {
            Self::Lines => {
                let mut out = Vec::new();
                let mut writer = WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build::<_, LineDelimited>(&mut out);
                writer.write(batch)?;
                writer.finish()?;
                drop(writer);
                Ok(out)
            }
            Self::Csv { has_header, .. } => {
                let mut out = Vec::new();
                let is_first = !std::mem::replace(has_header, true);
                csv::WriterBuilder::new().with_header(is_first).build(&mut out).write(batch)?;
                Ok(out)
            }
            Self::Arrow { schema, writer } => {
                writer.write(&strings::plain_rows(batch, schema)?)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// What is left to write after the last batch.
    pub(crate) fn finish(self) -> Result<Vec<u8>, QueryError> {
        match self {
            Self::Lines | Self::Csv { has_header: true, .. } => Ok(Vec::new()),
            // No row brought it.
            Self::Csv { schema, has_header: false } => {
                let mut out = Vec::new();
                let none = RecordBatch::new_empty(schema);
                csv::WriterBuilder::new().with_header(true).build(&mut out).write(&none)?;
                Ok(out)
            }
            Self::Arrow { mut writer, .. } => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}
