//! Portals: prepared statements with their values, which run piece by piece.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use tokio::io::AsyncWrite;

use super::{
    error::PgError,
    out::{Column, Outgoing},
    prepared::Prepared,
    rows::{Failure, Formats, Rows},
};

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) values: Vec<ScalarValue>,
    pub(super) formats: Formats,
    state: State,
}

/// How far it is.
#[derive(Debug)]
enum State {
    Fresh,
    Running(Rows),
    Ended,
}

impl Portal {
    pub(super) fn new(prepared: Arc<Prepared>, values: Vec<ScalarValue>, formats: Formats) -> Self {
        Self { prepared, values, formats, state: State::Fresh }
    }

    /// The columns of its rows; `None` where it gives none.
    pub(super) fn columns(&self) -> Option<&[Column]> {
        self.prepared.columns.as_deref()
    }

    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// It runs. A client that was told other columns could not read its rows.
    pub(super) fn started(&mut self, rows: Rows) -> Result<(), PgError> {
        if self.columns().is_some_and(|told| told != rows.columns()) {
            return Err(PgError::new("0A000", "cached plan must not change result type"));
        }
        self.state = State::Running(rows);
        Ok(())
    }

    /// Writes up to `rows_max` rows, all for 0. Returns how many, and whether that was the end.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        rows_max: usize,
        out: &mut Outgoing<W>,
    ) -> Result<(u64, bool), Failure> {
        let State::Running(rows) = &mut self.state else { return Ok((0, true)) };
        let (count, is_end) = rows.send(out, &self.formats, rows_max).await?;
        if is_end {
            // What it holds is free for others.
            self.state = State::Ended;
        }
        Ok((count, is_end))
    }
}
