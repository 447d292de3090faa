//! Statements that concern the session only: settings, transaction blocks, what it prepared.

use tokio::io::AsyncWrite;

use super::{Session, no_cursor};
use crate::pg::{
    command::Command,
    out::{Outgoing, Transaction},
    params,
    prepared::Prepared,
    rows::Failure,
};

impl Session {
    /// What concerns the session only. Returns the tag.
    pub(in crate::pg) async fn control<W: AsyncWrite + Unpin>(
        &mut self,
        command: &Command,
        out: &mut Outgoing<W>,
    ) -> Result<String, Failure> {
        let tag = match command {
            Command::Set { name, value } => {
                let told = self.settings().set(name, value.as_deref())?;
                told.iter().for_each(|(name, value)| out.parameter(name, value));
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::ResetAll => {
                self.reset(out);
                "RESET"
            }
            Command::Begin => {
                if self.transaction == Transaction::None {
                    self.transaction = Transaction::Open;
                }
                "BEGIN"
            }
            Command::Commit => match self.end() {
                Transaction::Failed => "ROLLBACK",
                Transaction::None | Transaction::Open => "COMMIT",
            },
            Command::Rollback { to_savepoint: true } => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                "ROLLBACK"
            }
            Command::Rollback { to_savepoint: false } => {
                self.end();
                "ROLLBACK"
            }
            Command::Discard { all, tag } => {
                if *all {
                    self.prepared.clear();
                    self.portals.clear();
                    self.reset(out);
                }
                tag
            }
            Command::Prepare { name, types, command } => {
                let hints = types.iter().map(params::sql_type).collect::<Vec<_>>();
                let prepared =
                    Prepared::planned(&self.context, command.as_ref().clone(), &hints, 0).await?;
                self.keep(name, prepared)?;
                "PREPARE"
            }
            Command::Deallocate(Some(name)) => {
                self.statement(name)?;
                self.prepared.remove(name);
                "DEALLOCATE"
            }
            Command::Deallocate(None) => {
                self.prepared.clear();
                "DEALLOCATE ALL"
            }
            Command::Declare { name, statement, binary } => {
                self.declare(name, statement, *binary).await?;
                "DECLARE CURSOR"
            }
            Command::CloseCursor(Some(name)) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
                "CLOSE CURSOR"
            }
            Command::CloseCursor(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Command::Nothing(tag) => tag,
            Command::Rows { .. }
            | Command::Copy { .. }
            | Command::Show(_)
            | Command::Fetch { .. }
            | Command::Execute { .. } => "",
        };
        Ok(tag.to_owned())
    }

    fn reset<W: AsyncWrite + Unpin>(&self, out: &mut Outgoing<W>) {
        let told = self.settings().reset();
        told.iter().for_each(|(name, value)| out.parameter(name, value));
    }

    /// Ends the transaction block, and the portals that it kept. Returns what it was.
    fn end(&mut self) -> Transaction {
        self.portals.clear();
        std::mem::replace(&mut self.transaction, Transaction::None)
    }
}
