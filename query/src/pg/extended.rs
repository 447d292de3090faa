//! The extended protocol's part of a session: Parse, Bind, Describe, Execute, Close.

use pgwire::api::Type;
use tokio::io::AsyncWrite;

use super::{
    command::Command,
    error::PgError,
    out::Outgoing,
    portal::Portal,
    prepared::Prepared,
    rows::{Failure, Formats},
    session::{Session, no_cursor, no_portal, put_texts, tagged},
    wire::Bind,
};

impl Session {
    /// Parse: prepares a statement.
    pub(super) async fn prepare(
        &mut self,
        name: &str,
        sql: &str,
        hints: &[Type],
    ) -> Result<(), PgError> {
        let mut commands = self.parse(sql)?;
        if commands.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(PgError::new("42601", message));
        }
        let bytes = sql.len();
        let prepared = match commands.pop() {
            None => Prepared::simple(None, None, bytes),
            Some(command) => {
                self.check_block(&command)?;
                match &command {
                    Command::Show(name) => {
                        let (columns, _) = self.shown(name.as_deref())?;
                        Prepared::simple(Some(command), Some(columns), bytes)
                    }
                    Command::Execute { name, .. } => {
                        let columns = self.statement(name)?.columns.clone();
                        Prepared::simple(Some(command), columns, bytes)
                    }
                    Command::Fetch { name, .. } => {
                        let portal = self.portals.get(name).ok_or_else(|| no_cursor(name))?;
                        let columns = portal.columns().map(<[_]>::to_vec);
                        Prepared::simple(Some(command), columns, bytes)
                    }
                    _ => Prepared::planned(&self.context, command, hints, bytes)
                        .await
                        .map_err(|error| error.within(sql))?,
                }
            }
        };
        if name.is_empty() {
            self.prepared.remove(name);
        }
        self.keep(name, prepared)
    }

    /// Bind: a portal of a prepared statement with values.
    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), PgError> {
        let prepared = self.statement(&bind.statement)?;
        if let Some(command) = &prepared.command {
            self.check_block(command)?;
        }
        let values = prepared.values(&bind)?;
        let formats = Formats(bind.result_formats);
        formats.check(prepared.columns.as_ref().map_or(0, Vec::len), "result")?;
        self.open(&bind.portal, Portal::new(prepared, values, formats))
    }

    /// Describe: the parameters and columns of a prepared statement.
    pub(super) fn describe_statement<W: AsyncWrite + Unpin>(
        &self,
        name: &str,
        out: &mut Outgoing<W>,
    ) -> Result<(), PgError> {
        let prepared = self.statement(name)?;
        out.parameters(&prepared.parameters());
        match &prepared.columns {
            Some(columns) => out.columns(columns, |_| 0),
            None => out.no_data(),
        }
        Ok(())
    }

    /// Describe: the columns of a portal.
    pub(super) fn describe_portal<W: AsyncWrite + Unpin>(
        &self,
        name: &str,
        out: &mut Outgoing<W>,
    ) -> Result<(), PgError> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        match portal.columns() {
            Some(columns) => out.columns(columns, |column| portal.formats.of(column)),
            None => out.no_data(),
        }
        Ok(())
    }

    /// Close: forgets a statement; there need be none.
    pub(super) fn close_statement(&mut self, name: &str) {
        self.prepared.remove(name);
    }

    /// Close: ends a portal.
    pub(super) fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    /// Execute: runs a portal up to `rows_max` rows further, to its end for 0.
    pub(super) async fn execute<W: AsyncWrite + Unpin>(
        &mut self,
        name: &str,
        rows_max: usize,
        out: &mut Outgoing<W>,
    ) -> Result<(), Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        self.advance(&mut portal, rows_max, out).await?;
        // The end of a block, or a reset, ends its portals too.
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    pub(super) async fn advance<W: AsyncWrite + Unpin>(
        &mut self,
        portal: &mut Portal,
        rows_max: usize,
        out: &mut Outgoing<W>,
    ) -> Result<(), Failure> {
        let Some(command) = portal.prepared.command.clone() else {
            out.empty_query();
            return Ok(());
        };
        self.check_block(&command)?;
        match &command {
            Command::Rows { tag, .. } => {
                self.begin(portal).await?;
                let (count, is_end) = portal.send(rows_max, out).await?;
                match is_end {
                    true => out.complete(&tagged(tag, count)),
                    false => out.suspended(),
                }
            }
            Command::Copy { statement, options } => {
                let mut rows = self.start(statement, Some(&portal.values)).await?;
                let count = rows.copy(out, options).await?;
                out.complete(&tagged("COPY", count));
            }
            Command::Show(name) => {
                let (_, rows) = self.shown(name.as_deref())?;
                rows.iter().for_each(|cells| put_texts(out, cells));
                out.complete("SHOW");
            }
            Command::Execute { name, arguments } => {
                let prepared = self.statement(name)?;
                let values = prepared.fit(self.evaluate(arguments).await?)?;
                let mut inner = Portal::new(prepared, values, portal.formats.clone());
                Box::pin(self.advance(&mut inner, 0, out)).await?;
            }
            Command::Fetch { name, rows_max } => {
                let tag = self.fetch(name, *rows_max, false, out).await?;
                out.complete(&tag);
            }
            other => {
                let tag = self.control(other, out).await?;
                out.complete(&tag);
            }
        }
        Ok(())
    }
}
