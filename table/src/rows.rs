//! Records as rows: one Arrow batch by one version of a schema.
//!
//! A pure function of the records' bytes and the schema: sink and tail decode alike. Every record
//! becomes a row or is named as undecodable; of a row, what fits no column is in
//! [`RESCUED`](crate::schema::RESCUED), never dropped.

mod column;
mod rescue;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanArray, BooleanBuilder, Date32Builder, Int32Builder,
        Int64Builder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
    error::ArrowError,
};
use jiter::JsonValue;

use self::{column::ColumnBuilder, rescue::Rescue};
use crate::{
    decode::{RecordView, Undecodable},
    json,
    partition::{self, PartitionBy},
    rules::{KeyFormat, TableMode, ValueFormat},
    schema::{self, Column, ColumnType, TableSchema},
};

/// Builds one batch.
#[derive(Debug)]
pub struct RowsBuilder {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    timestamp_type: StringBuilder,
    key: KeyBuilder,
    headers: ListBuilder<StructBuilder>,
    rescued: StringBuilder,
    tombstones: BooleanBuilder,
    /// The partition columns that are the table's own.
    divided: Vec<DividedBuilder>,
    columns: Vec<ColumnBuilder>,
    /// Where in an object the next column's field was found last: producers write them in order.
    hints: Vec<usize>,
    rows: usize,
    ignored: u64,
    rescued_values: u64,
    unknown_fields: bool,
    keeps_misfits: bool,
}

impl RowsBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let arrow = schema.arrow();
        let headers = StructBuilder::from_fields(schema::header_fields(), 0);
        Self {
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            timestamp_type: StringBuilder::new(),
            key: KeyBuilder::new(schema.rules.key),
            headers: ListBuilder::new(headers).with_field(schema::header_element()),
            rescued: StringBuilder::new(),
            tombstones: BooleanBuilder::new(),
            divided: schema.rules.partition_by.iter().filter_map(DividedBuilder::new).collect(),
            columns: schema.columns.iter().map(|column| ColumnBuilder::new(&column.kind)).collect(),
            hints: vec![0; schema.columns.len()],
            rows: 0,
            ignored: 0,
            rescued_values: 0,
            unknown_fields: false,
            keeps_misfits: true,
            arrow,
            schema,
        }
    }

    /// Whether what fits no column is kept, for whoever looks at it.
    #[must_use]
    pub fn with_rescued(mut self, rescued: bool) -> Self {
        self.keeps_misfits = rescued;
        self
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Records that said nothing so far.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Values that fit no column so far.
    #[must_use]
    pub fn rescued_values(&self) -> u64 {
        self.rescued_values
    }

    /// Whether a field was met that a newer version of the schema could have a column for.
    #[must_use]
    pub fn met_unknown_fields(&self) -> bool {
        self.unknown_fields
    }

    /// Adds a record as a row. A tombstone is a row whose value columns are null, unless it says
    /// nothing that the change before it did not say.
    ///
    /// # Errors
    /// Where the value cannot be decoded at all; no row was added.
    pub fn push(&mut self, record: &RecordView<'_>) -> Result<(), Undecodable> {
        if record.value.is_none() && self.schema.rules.ignores_tombstones() {
            self.ignored += 1;
            return Ok(());
        }
        self.key.check(record.key)?;
        self.schema.rules.check_names_row(record.key, record.value.is_none())?;
        match (self.schema.rules.format, record.value) {
            (_, None) => self.columns.iter_mut().for_each(ColumnBuilder::append_null),
            (ValueFormat::Json, Some(bytes)) => {
                let value = self.schema.rules.parse(bytes)?;
                return self.push_object(record, &value);
            }
            (ValueFormat::String, Some(bytes)) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| Undecodable(format!("the value is not UTF-8: {error}")))?;
                self.push_whole(&JsonValue::Str(text.into()));
            }
            (ValueFormat::Raw, Some(bytes)) => {
                for column in &mut self.columns {
                    column.append_bytes(bytes);
                }
            }
        }
        self.rescued.append_null();
        self.push_meta(record, record.value.is_none());
        Ok(())
    }

    /// Adds a record whose value cannot be decoded as a row: its text is rescued.
    pub fn push_undecoded(&mut self, record: &RecordView<'_>) {
        self.columns.iter_mut().for_each(ColumnBuilder::append_null);
        let text = record.value.map(|value| {
            let mut text = String::new();
            json::write(&JsonValue::Str(String::from_utf8_lossy(value)), &mut text);
            text
        });
        self.rescued_values += u64::from(text.is_some());
        self.rescued.append_option(text);
        self.push_meta(record, record.value.is_none());
    }

    fn push_whole(&mut self, value: &JsonValue<'_>) {
        let mut rescue = Rescue::default();
        for column in &mut self.columns {
            column.append(value, &mut rescue);
        }
    }

    fn push_object(
        &mut self,
        record: &RecordView<'_>,
        value: &JsonValue<'_>,
    ) -> Result<(), Undecodable> {
        let JsonValue::Object(object) = value else { return Ok(()) };
        self.check_identity(object)?;
        let is_delete =
            self.schema.rules.mode == TableMode::Upsert && self.schema.rules.deletes(value);
        let mut rescue = if self.keeps_misfits { Rescue::default() } else { Rescue::none() };
        column::append_fields(
            &self.schema.columns,
            &mut self.columns,
            &mut self.hints,
            object,
            &mut rescue,
        );
        self.unknown_fields |= rescue.met_unknown_fields();
        self.rescued_values += rescue.values();
        self.rescued.append_option(rescue.into_json());
        self.push_meta(record, is_delete);
        Ok(())
    }

    /// Whether an object has a value in each of the columns that tell rows apart.
    fn check_identity(&self, object: &json::Object<'_>) -> Result<(), Undecodable> {
        for name in &self.schema.rules.id_columns {
            let column = self.schema.columns.iter().find(|column| column.name == *name);
            let found = column.and_then(|Column { field, kind, .. }| {
                let (_, value) = object.iter().find(|(name, _)| name == field)?;
                (*value != JsonValue::Null && fits(kind, value)).then_some(())
            });
            found.ok_or_else(|| {
                Undecodable(format!("{name}, which tells rows apart, has no value of its type"))
            })?;
        }
        Ok(())
    }

    fn push_meta(&mut self, record: &RecordView<'_>, is_delete: bool) {
        self.topic.append_value(record.topic);
        self.partition.append_value(record.partition);
        self.offset.append_value(record.offset);
        let timestamp = schema::timestamp_micros(record.timestamp_ms);
        self.timestamp.append_option(timestamp);
        for column in &mut self.divided {
            column.append(timestamp, record.key);
        }
        self.timestamp_type.append_value(record.timestamp_type);
        self.key.append(record.key);
        let headers = self.headers.values();
        for header in record.headers {
            schema::append_header(headers, header.key, header.value);
        }
        self.headers.append(true);
        self.tombstones.append_value(is_delete);
        self.rows += 1;
    }

    /// The batch, by [`TableSchema::arrow`], and which of its rows delete others.
    ///
    /// # Errors
    /// Where Arrow refuses it, which would be a mistake in here.
    pub fn finish(mut self) -> Result<(RecordBatch, BooleanArray), ArrowError> {
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.timestamp_type.finish()),
            self.key.finish(),
            Arc::new(self.headers.finish()),
            Arc::new(self.rescued.finish()),
        ];
        arrays.extend(self.divided.into_iter().map(DividedBuilder::finish));
        let kinds = self.schema.columns.iter().map(|column| &column.kind);
        for (kind, column) in kinds.zip(self.columns) {
            arrays.push(column.finish(kind)?);
        }
        Ok((RecordBatch::try_new(self.arrow, arrays)?, self.tombstones.finish()))
    }
}

/// The column of keys.
#[derive(Debug)]
enum KeyBuilder {
    Raw(BinaryBuilder),
    String(StringBuilder),
}

impl KeyBuilder {
    fn new(format: KeyFormat) -> Self {
        match format {
            KeyFormat::Raw => Self::Raw(BinaryBuilder::new()),
            KeyFormat::String => Self::String(StringBuilder::new()),
        }
    }

    /// Whether it takes a key.
    fn check(&self, key: Option<&[u8]>) -> Result<(), Undecodable> {
        if let (Self::String(_), Some(key)) = (self, key) {
            str::from_utf8(key)
                .map_err(|error| Undecodable(format!("the key is not UTF-8: {error}")))?;
        }
        Ok(())
    }

    /// Adds a key; of one that it does not take, what is UTF-8 of it.
    fn append(&mut self, key: Option<&[u8]>) {
        match self {
            Self::Raw(keys) => keys.append_option(key),
            Self::String(keys) => keys.append_option(key.map(String::from_utf8_lossy)),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Raw(mut keys) => Arc::new(keys.finish()),
            Self::String(mut keys) => Arc::new(keys.finish()),
        }
    }
}

/// A partition column that is filled from Kafka's columns.
#[derive(Debug)]
enum DividedBuilder {
    Day(Date32Builder),
    Bucket(Int32Builder, u32),
}

impl DividedBuilder {
    fn new(by: &PartitionBy) -> Option<Self> {
        match by {
            PartitionBy::Day => Some(Self::Day(Date32Builder::new())),
            PartitionBy::Bucket(buckets) => Some(Self::Bucket(Int32Builder::new(), *buckets)),
            PartitionBy::Column(_) => None,
        }
    }

    fn append(&mut self, timestamp_micros: Option<i64>, key: Option<&[u8]>) {
        match self {
            Self::Day(days) => days.append_option(timestamp_micros.map(partition::day)),
            Self::Bucket(found, buckets) => {
                found.append_option(key.map(|key| partition::bucket(key, *buckets)));
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Day(mut days) => Arc::new(days.finish()),
            Self::Bucket(mut buckets, _) => Arc::new(buckets.finish()),
        }
    }
}

/// Whether a value would be kept whole in a column of this type.
fn fits(kind: &ColumnType, value: &JsonValue<'_>) -> bool {
    match (kind, value) {
        (_, JsonValue::Null)
        | (ColumnType::Boolean, JsonValue::Bool(_))
        | (ColumnType::Bigint, JsonValue::Int(_))
        | (ColumnType::Double, JsonValue::Int(_))
        | (ColumnType::String, JsonValue::Str(_))
        | (ColumnType::Json, _) => true,
        (ColumnType::Double, JsonValue::Float(number)) => number.is_finite(),
        (ColumnType::List(element), JsonValue::Array(values)) => {
            values.iter().all(|value| fits(element, value))
        }
        (ColumnType::Struct(columns), JsonValue::Object(object)) => {
            object.iter().all(|(name, value)| {
                let column = columns.iter().find(|column| column.field == *name);
                column.map_or(*value == JsonValue::Null, |column| fits(&column.kind, value))
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
