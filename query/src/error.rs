//! Why a statement has no answer, with its SQLSTATE.

use arrow::error::ArrowError;
use datafusion::{common::SchemaError, error::DataFusionError};
use lakehouse_sink::SinkError;
use table::table::TableError;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It does not parse.
    #[error("{0}")]
    Syntax(String),
    /// It would change something.
    #[error("{0} is not possible here: SQL only reads; records are written by producers")]
    ReadOnly(String),
    /// There is more or less than one statement.
    #[error("expected one statement, found {0}")]
    NotOne(usize),
    /// It names what is not there, or does not fit the types.
    #[error("{}", shown(.0))]
    Plan(DataFusionError),
    /// It failed on the way.
    #[error("{}", shown(.0))]
    Execution(DataFusionError),
    /// It took too long.
    #[error("the query took longer than {limit_ms} ms (timeout_ms sets the limit)")]
    Timeout {
        /// The limit.
        limit_ms: u64,
    },
    /// Too many run.
    #[error("{0} queries run already; try again")]
    Busy(usize),
    /// Its answer could not be written.
    #[error("writing the answer: {0}")]
    Output(#[from] ArrowError),
}

impl QueryError {
    /// The code by which clients tell errors apart (SQL standard, PostgreSQL's appendix A).
    #[must_use]
    pub fn sql_state(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "42601",
            Self::ReadOnly(_) => "25006",
            Self::NotOne(_) => "42601",
            Self::Plan(error) => plan_state(error.find_root()),
            Self::Execution(error) => execution_state(error.find_root()),
            Self::Output(error) => arrow_state(error),
            Self::Timeout { .. } => "57014",
            Self::Busy(_) => "53300",
        }
    }

    /// Where in the statement's text, as (line, column) from one, if that is known.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        match self {
            Self::Plan(error) => {
                let start = error.diagnostic()?.span?.start;
                Some((start.line, start.column))
            }
            Self::Syntax(message) => parser_place(message),
            _ => None,
        }
    }
}

/// From ` at Line: 1, Column: 8`, which the parser puts at the end.
fn parser_place(message: &str) -> Option<(u64, u64)> {
    let (_, place) = message.rsplit_once("at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some((line.parse().ok()?, column[..digits].parse().ok()?))
}

fn plan_state(root: &DataFusionError) -> &'static str {
    match root {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { .. } => "42703",
            SchemaError::AmbiguousReference { .. } => "42702",
            SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => "42701",
        },
        DataFusionError::Plan(message) if message.contains("not found") => {
            let is_table = message.contains("table '") || message.contains("table \"");
            if is_table { "42P01" } else { "42000" }
        }
        DataFusionError::Plan(message) if message.contains("Invalid function") => "42883",
        DataFusionError::Plan(message) if message.contains("coerc") => "42804",
        DataFusionError::NotImplemented(_) => "0A000",
        DataFusionError::SQL(..) => "42601",
        DataFusionError::Plan(_) => "42000",
        other => execution_state(other),
    }
}

fn execution_state(root: &DataFusionError) -> &'static str {
    match root {
        DataFusionError::ResourcesExhausted(_) => "53200",
        DataFusionError::NotImplemented(_) => "0A000",
        DataFusionError::ArrowError(error, _) => arrow_state(error),
        other => view_error(other).map_or("XX000", ViewError::sql_state),
    }
}

fn arrow_state(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::DivideByZero => "22012",
        ArrowError::ArithmeticOverflow(_) => "22003",
        ArrowError::CastError(_) | ArrowError::ParseError(_) => "22P02",
        ArrowError::NotYetImplemented(_) => "0A000",
        _ => "XX000",
    }
}

/// As an error of DataFusion, to pass through it.
pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl From<ViewError> for DataFusionError {
    fn from(error: ViewError) -> Self {
        external(error)
    }
}

/// Why a table cannot be seen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("{0}")]
    Sink(#[from] SinkError),
    #[error("{0}")]
    Table(#[from] TableError),
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Parameter(String),
    /// It was there once.
    #[error("{0}")]
    Gone(String),
    #[error("{0}")]
    Unsupported(&'static str),
    #[error(
        "AT LEAST OFFSET '{offsets}' was not reached within {limit_ms} ms: the partitions' last \
         stable offsets are '{found}' (timeout_ms sets the limit)"
    )]
    Unreached { offsets: String, found: String, limit_ms: u64 },
    #[error("the query was cancelled")]
    Cancelled,
}

impl ViewError {
    fn sql_state(&self) -> &'static str {
        match self {
            Self::Sink(_) | Self::Table(_) => "58000",
            Self::Parameter(_) => "22023",
            Self::Gone(_) => "72000",
            Self::Unsupported(_) => "0A000",
            Self::Unreached { .. } | Self::Cancelled => "57014",
        }
    }
}

/// What is our own without what DataFusion puts before it, and its own without the names of the
/// rules that it went through.
fn shown(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, cause) => shown(cause),
        error => view_error(error).map_or_else(|| error.to_string(), ToString::to_string),
    }
}

/// The error of a table's view that is behind an error of DataFusion.
fn view_error(error: &DataFusionError) -> Option<&ViewError> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref(),
        _ => None,
    }
}
