//! A session: its settings, its transaction block, and the statements that it prepared.
//!
//! A transaction block is only a bracket here: statements read, and each sees what is there when
//! it begins.

mod control;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use datafusion::{common::ScalarValue, prelude::SessionContext, sql::parser::Statement as Planned};
use pgwire::api::Type;
use tokio::io::AsyncWrite;

use super::{
    command::{self, Command},
    error::PgError,
    out::{Column, Outgoing, Transaction},
    params,
    portal::Portal,
    prepared::Prepared,
    rewrite::Rewriter,
    rows::{Failure, Formats, Rows},
    settings::{self, Settings},
};
use crate::{engine::QueryEngine, error::QueryError};

/// A bound that is none.
const FOREVER: Duration = Duration::from_secs(1 << 32);
/// Bytes of text of all statements that a session prepared.
const PREPARED_BYTES_MAX: usize = 8 << 20;
/// Statements that a session prepared.
const PREPARED_MAX: usize = 4096;
/// Portals of a session.
const PORTALS_MAX: usize = 256;

/// Who a session is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) user: String,
    /// The one database, by the name that the client has for it.
    pub(super) database: String,
    /// The number by which it is cancelled.
    pub(super) process: i32,
    pub(super) settings: Arc<Mutex<Settings>>,
}

/// The state of a connection that is open.
pub(super) struct Session {
    engine: Arc<QueryEngine>,
    rewriter: Arc<Rewriter>,
    pub(super) context: SessionContext,
    settings: Arc<Mutex<Settings>>,
    transaction: Transaction,
    pub(super) prepared: BTreeMap<String, Arc<Prepared>>,
    pub(super) portals: BTreeMap<String, Portal>,
}

impl Session {
    pub(super) fn new(
        engine: Arc<QueryEngine>,
        rewriter: Arc<Rewriter>,
        context: SessionContext,
        settings: Arc<Mutex<Settings>>,
    ) -> Self {
        Self {
            engine,
            rewriter,
            context,
            settings,
            transaction: Transaction::None,
            prepared: BTreeMap::new(),
            portals: BTreeMap::new(),
        }
    }

    pub(super) fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// How long the next statement may take.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.settings().timeout()
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long portals that have begun may wait for their client; `None` if there are none.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.portals.values().any(Portal::is_running) { self.timeout() } else { None }
    }

    /// Their time is up.
    pub(super) fn end_portals(&mut self) {
        self.portals.retain(|_, portal| !portal.is_running());
    }

    /// Takes a message apart.
    pub(super) fn parse(&self, sql: &str) -> Result<Vec<Command>, PgError> {
        command::parse(sql, &self.rewriter)
    }

    /// A statement failed: so has its transaction block.
    pub(super) fn failed(&mut self) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
    }

    /// A message, or a series of them up to Sync, is through: without a block its portals end.
    pub(super) fn synced(&mut self) {
        if self.transaction == Transaction::None {
            self.portals.clear();
        }
    }

    /// Runs a statement of a simple query: columns, rows, tag.
    pub(super) async fn run<W: AsyncWrite + Unpin>(
        &mut self,
        command: &Command,
        out: &mut Outgoing<W>,
    ) -> Result<(), Failure> {
        self.check_block(command)?;
        let tag = match command {
            Command::Rows { statement, tag } => {
                let mut rows = self.start(statement, None).await?;
                out.columns(&rows.columns(), |_| 0);
                let (count, _) = rows.send(out, &Formats::default(), 0).await?;
                tagged(tag, count)
            }
            Command::Copy { statement, options } => {
                let mut rows = self.start(statement, None).await?;
                tagged("COPY", rows.copy(out, options).await?)
            }
            Command::Show(name) => {
                let (columns, rows) = self.shown(name.as_deref())?;
                out.columns(&columns, |_| 0);
                rows.iter().for_each(|cells| put_texts(out, cells));
                "SHOW".to_owned()
            }
            Command::Execute { name, arguments } => {
                let prepared = self.statement(name)?;
                let values = prepared.fit(self.evaluate(arguments).await?)?;
                let mut portal = Portal::new(prepared, values, Formats::default());
                if let Some(columns) = portal.columns() {
                    out.columns(columns, |_| 0);
                }
                Box::pin(self.advance(&mut portal, 0, out)).await?;
                return Ok(());
            }
            Command::Fetch { name, rows_max } => self.fetch(name, *rows_max, true, out).await?,
            other => self.control(other, out).await?,
        };
        out.complete(&tag);
        Ok(())
    }

    /// In a block that failed, only its end is accepted.
    pub(super) fn check_block(&self, command: &Command) -> Result<(), PgError> {
        let is_end = matches!(command, Command::Commit | Command::Rollback { .. });
        if self.transaction != Transaction::Failed || is_end {
            return Ok(());
        }
        let message =
            "current transaction is aborted, commands ignored until end of transaction block";
        Err(PgError::new("25P02", message))
    }

    /// Plans a statement as of now and starts it.
    pub(super) async fn start(
        &mut self,
        statement: &Planned,
        values: Option<&[ScalarValue]>,
    ) -> Result<Rows, QueryError> {
        let values = values.filter(|values| !values.is_empty());
        let values = values.map(|values| params::list(values.to_vec()));
        let (sql, time) = (statement.to_string(), self.timeout().unwrap_or(FOREVER));
        let answer =
            self.engine.run(&self.context, &sql, statement.clone(), values.as_ref(), time).await?;
        Ok(Rows::new(answer, self.settings().zone()))
    }

    /// One setting, or all, as columns and rows.
    pub(super) fn shown(
        &self,
        name: Option<&str>,
    ) -> Result<(Vec<Column>, Vec<Vec<String>>), PgError> {
        let column = |name: &str| Column { name: name.to_owned(), kind: Type::TEXT };
        let settings = self.settings();
        let Some(name) = name else {
            let rows = settings.all().map(|(name, value)| vec![name.to_owned(), value]);
            return Ok((vec![column("name"), column("setting")], rows.collect()));
        };
        let value = settings.get(name).ok_or_else(|| settings::unknown(name))?;
        Ok((vec![column(&settings::spelled(name))], vec![vec![value]]))
    }

    /// The values of the arguments of EXECUTE.
    pub(super) async fn evaluate(
        &mut self,
        arguments: &[datafusion::sql::sqlparser::ast::Expr],
    ) -> Result<Vec<ScalarValue>, Failure> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let sql = format!("SELECT {}", arguments.join(", "));
        let mut commands = self.parse(&sql)?;
        let Some(Command::Rows { statement, .. }) = commands.pop() else {
            return Err(PgError::new("42601", "EXECUTE takes expressions").into());
        };
        Ok(self.start(&statement, None).await?.first().await?)
    }

    async fn declare(
        &mut self,
        name: &str,
        statement: &Planned,
        binary: bool,
    ) -> Result<(), PgError> {
        if self.transaction == Transaction::None {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(PgError::new("25P01", message));
        }
        let command = Command::Rows { statement: Box::new(statement.clone()), tag: "SELECT" };
        let prepared = Prepared::planned(&self.context, command, &[], 0).await?;
        let formats = Formats(vec![binary.into()]);
        self.open(name, Portal::new(Arc::new(prepared), Vec::new(), formats))
    }

    /// The next rows of a portal, by SQL. Returns the tag.
    pub(super) async fn fetch<W: AsyncWrite + Unpin>(
        &mut self,
        name: &str,
        rows_max: usize,
        describe: bool,
        out: &mut Outgoing<W>,
    ) -> Result<String, Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        if let Some(columns) = portal.columns().filter(|_| describe) {
            out.columns(columns, |column| portal.formats.of(column));
        }
        self.begin(&mut portal).await?;
        let (count, _) = portal.send(rows_max, out).await?;
        self.portals.insert(name.to_owned(), portal);
        Ok(tagged("FETCH", count))
    }

    /// Starts a portal that did not run yet.
    pub(super) async fn begin(&mut self, portal: &mut Portal) -> Result<(), Failure> {
        let prepared = Arc::clone(&portal.prepared);
        if let (true, Some(Command::Rows { statement, .. })) =
            (portal.is_fresh(), &prepared.command)
        {
            let rows = self.start(statement, Some(&portal.values)).await?;
            portal.started(rows)?;
        }
        Ok(())
    }

    pub(super) fn open(&mut self, name: &str, portal: Portal) -> Result<(), PgError> {
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(PgError::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        if self.portals.len() >= PORTALS_MAX {
            return Err(PgError::new("53400", "too many portals: close some"));
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    pub(super) fn statement(&self, name: &str) -> Result<Arc<Prepared>, PgError> {
        self.prepared.get(name).cloned().ok_or_else(|| {
            PgError::new("26000", format!("prepared statement \"{name}\" does not exist"))
        })
    }

    pub(super) fn keep(&mut self, name: &str, prepared: Prepared) -> Result<(), PgError> {
        if !name.is_empty() && self.prepared.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::new("42P05", message));
        }
        let bytes: usize = self.prepared.values().map(|prepared| prepared.bytes).sum();
        if self.prepared.len() >= PREPARED_MAX || bytes + prepared.bytes > PREPARED_BYTES_MAX {
            let message = "too many prepared statements: close or deallocate some";
            return Err(PgError::new("53400", message));
        }
        self.prepared.insert(name.to_owned(), Arc::new(prepared));
        Ok(())
    }
}

pub(super) fn no_portal(name: &str) -> PgError {
    PgError::new("34000", format!("portal \"{name}\" does not exist"))
}

pub(super) fn no_cursor(name: &str) -> PgError {
    PgError::new("34000", format!("cursor \"{name}\" does not exist"))
}

pub(super) fn put_texts<W: AsyncWrite + Unpin>(out: &mut Outgoing<W>, cells: &[String]) {
    out.texts(&cells.iter().map(String::as_str).collect::<Vec<_>>());
}

/// `SELECT 5`; EXPLAIN and SHOW do not count.
pub(super) fn tagged(tag: &str, count: u64) -> String {
    match tag {
        "EXPLAIN" | "SHOW" => tag.to_owned(),
        _ => format!("{tag} {count}"),
    }
}
