//! The rows of a running statement on their way to a client: as messages or as a file.
//!
//! A batch is asked for when the one before has been written, and writing waits for the client:
//! what a query holds does not grow with what its client leaves unread.

use std::{io, sync::Arc};

use arrow::{
    array::{ArrayRef, timezone::Tz},
    datatypes::Schema,
};
use bytes::BufMut as _;
use datafusion::common::ScalarValue;
use futures::TryStreamExt as _;
use tokio::io::AsyncWrite;

use super::{
    copy::CopyOptions,
    error::PgError,
    out::{Column, Outgoing},
    rewrite::shown,
    types,
    values::{Writer, sized},
};
use crate::{engine::Answer, error::QueryError};

/// Why a statement ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Its client is told.
    #[error("{0}")]
    Statement(#[from] PgError),
    /// Its client has gone.
    #[error("{0}")]
    Gone(#[from] io::Error),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Statement(error.into())
    }
}

/// The columns of a result.
pub(super) fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: shown(field.name()).to_owned(),
        kind: types::of_field(field),
    };
    schema.fields().iter().map(column).collect()
}

/// The formats of columns: none for text, one for all, or one each.
#[derive(Debug, Clone, Default)]
pub(super) struct Formats(pub(super) Vec<i16>);

impl Formats {
    pub(super) fn of(&self, column: usize) -> i16 {
        match self.0.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(column).copied().unwrap_or(0),
        }
    }

    /// Checks that there is none, one, or one each, and that each is known.
    pub(super) fn check(&self, columns: usize, what: &str) -> Result<(), PgError> {
        if let Some(unknown) = self.0.iter().find(|format| !matches!(format, 0 | 1)) {
            return Err(PgError::new("22023", format!("unsupported format code: {unknown}")));
        }
        if self.0.len() > 1 && self.0.len() != columns {
            let found = self.0.len();
            let message = format!("bind message has {found} {what} formats but {columns} {what}s");
            return Err(PgError::protocol(message));
        }
        Ok(())
    }
}

/// A batch, and how far it was written.
#[derive(Debug)]
struct Batch {
    arrays: Vec<ArrayRef>,
    rows: usize,
    next: usize,
}

/// Rows that come.
#[derive(Debug)]
pub(super) struct Rows {
    answer: Answer,
    writers: Vec<Writer>,
    batch: Option<Batch>,
}

impl Rows {
    pub(super) fn new(answer: Answer, zone: Option<Tz>) -> Self {
        let fields = answer.schema.fields().iter();
        let writers = fields.map(|field| Writer::new(field, zone)).collect();
        Self { answer, writers, batch: None }
    }

    /// The columns.
    pub(super) fn columns(&self) -> Vec<Column> {
        columns(&self.answer.schema)
    }

    /// Writes up to `rows_max` rows, all for 0. Returns how many, and whether that was the end.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        out: &mut Outgoing<W>,
        formats: &Formats,
        rows_max: usize,
    ) -> Result<(u64, bool), Failure> {
        let mut sent = 0;
        while self.fill().await? {
            let Some(batch) = &mut self.batch else { break };
            while batch.next < batch.rows {
                if rows_max > 0 && sent == rows_max {
                    return Ok((count(sent), false));
                }
                let row = batch.next;
                let written = out.message(b'D', |body| {
                    body.put_u16(u16::try_from(batch.arrays.len()).unwrap_or(u16::MAX));
                    for (index, (writer, array)) in
                        self.writers.iter().zip(&batch.arrays).enumerate()
                    {
                        sized(body, array.is_null(row), |body| match formats.of(index) {
                            0 => writer.text(array, row, body),
                            _ => writer.binary(array, row, body),
                        })?;
                    }
                    Ok(())
                });
                written.map_err(QueryError::Output)?;
                batch.next += 1;
                sent += 1;
                out.relieve().await?;
            }
            self.batch = None;
        }
        Ok((count(sent), true))
    }

    /// Writes all rows as a file. Returns how many.
    pub(super) async fn copy<W: AsyncWrite + Unpin>(
        &mut self,
        out: &mut Outgoing<W>,
        options: &CopyOptions,
    ) -> Result<u64, Failure> {
        let schema = Arc::clone(&self.answer.schema);
        let names: Vec<_> = schema.fields().iter().map(|field| shown(field.name())).collect();
        out.copy_out(names.len(), options.is_binary());
        // The head of a binary file comes in one piece with what follows it: clients count on it.
        let mut head = options.head(&names);
        if !head.is_empty() && !options.is_binary() {
            out.copy_data(&std::mem::take(&mut head));
        }
        let mut sent = 0;
        while self.fill().await? {
            let Some(Batch { arrays, rows, .. }) = self.batch.take() else { break };
            let columns: Vec<_> = self
                .writers
                .iter()
                .zip(&names)
                .zip(arrays)
                .map(|((writer, name), array)| (writer, *name, array))
                .collect();
            for row in 0..rows {
                let written = out.message(b'd', |body| {
                    body.put_slice(&std::mem::take(&mut head));
                    options.row(&columns, row, body)
                });
                written.map_err(QueryError::Output)?;
                sent += 1;
                out.relieve().await?;
            }
        }
        head.extend_from_slice(options.tail());
        if !head.is_empty() {
            out.copy_data(&head);
        }
        out.copy_done();
        Ok(sent)
    }

    /// The cells of the first row.
    pub(super) async fn first(&mut self) -> Result<Vec<ScalarValue>, QueryError> {
        while let Some(batch) = self.answer.rows.try_next().await.map_err(QueryError::Execution)? {
            if batch.num_rows() > 0 {
                let cells = batch.columns().iter();
                let cells = cells.map(|array| ScalarValue::try_from_array(array, 0));
                return cells.collect::<Result<_, _>>().map_err(QueryError::Execution);
            }
        }
        Ok(Vec::new())
    }

    /// Gets a batch if there is none; false after the last.
    async fn fill(&mut self) -> Result<bool, Failure> {
        if self.batch.is_none() {
            let next = self.answer.rows.try_next().await.map_err(QueryError::Execution)?;
            let Some(batch) = next else { return Ok(false) };
            let columns = self.writers.iter().zip(batch.columns());
            let arrays = columns.map(|(writer, array)| writer.prepare(array));
            let arrays = arrays.collect::<Result<_, _>>().map_err(QueryError::Output)?;
            self.batch = Some(Batch { arrays, rows: batch.num_rows(), next: 0 });
        }
        Ok(true)
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
