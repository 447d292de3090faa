//! Why a statement has no answer, with its SQLSTATE.

use datafusion::error::DataFusionError;
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
    Output(#[from] arrow::error::ArrowError),
}

impl QueryError {
    /// The code by which clients tell errors apart (SQL standard, PostgreSQL's appendix A).
    #[must_use]
    pub fn sql_state(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "42601",
            Self::ReadOnly(_) => "25006",
            Self::NotOne(_) => "42601",
            Self::Plan(error) => view_error(error).map_or("42000", ViewError::sql_state),
            Self::Execution(error) => match error.find_root() {
                DataFusionError::ResourcesExhausted(_) => "53200",
                root => view_error(root).map_or("XX000", ViewError::sql_state),
            },
            Self::Output(_) => "XX000",
            Self::Timeout { .. } => "57014",
            Self::Busy(_) => "53300",
        }
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

/// What is our own without what DataFusion puts before it.
fn shown(error: &DataFusionError) -> String {
    view_error(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The error of a table's view that is behind an error of DataFusion.
fn view_error(error: &DataFusionError) -> Option<&ViewError> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref(),
        _ => None,
    }
}
