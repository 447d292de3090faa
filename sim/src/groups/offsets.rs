//! A committed offset as a register (GRP-2): a fetch finds the last acknowledged commit, or one that
//! nobody knows the fate of, but never one that an acknowledged write has replaced.

use super::{Moment, WriteId};

/// A commit, or a deletion (no offset).
#[derive(Debug, Clone, Copy)]
struct Write {
    id: WriteId,
    offset: Option<i64>,
    invoked: Moment,
    /// When it had happened at the latest; unknown while it may happen yet.
    completed: Option<Moment>,
    acked: bool,
}

/// One partition's offset in one group.
#[derive(Debug, Default)]
pub(super) struct Register {
    writes: Vec<Write>,
}

impl Register {
    pub(super) fn invoke(&mut self, id: WriteId, offset: Option<i64>, now: Moment) {
        self.writes.push(Write { id, offset, invoked: now, completed: None, acked: false });
    }

    pub(super) fn acked(&mut self, id: WriteId, now: Moment) {
        if let Some(write) = self.writes.iter_mut().find(|write| write.id == id) {
            write.completed = Some(now);
            write.acked = true;
        }
    }

    pub(super) fn failed(&mut self, id: WriteId) {
        self.writes.retain(|write| write.id != id);
    }

    pub(super) fn life_ended(&mut self, now: Moment) {
        for write in &mut self.writes {
            write.completed.get_or_insert(now);
        }
    }

    /// Whether a fetch that was sent at `since` may find this.
    pub(super) fn check(&self, found: Option<(WriteId, i64)>, since: Moment) -> Result<(), String> {
        match found {
            Some((id, offset)) => {
                let write = self.writes.iter().find(|write| write.id == id);
                let write = write.ok_or_else(|| {
                    format!("offset {offset} of commit {id}, which was never sent or was refused")
                })?;
                if write.offset != Some(offset) {
                    return Err(format!("offset {offset}, committed as {write:?}"));
                }
                match self.replaced_by(write, since) {
                    Some(later) => Err(format!("{write:?} is back, after {later:?}")),
                    None => Ok(()),
                }
            }
            None => {
                let lost = self.writes.iter().find(|write| {
                    write.offset.is_some()
                        && write.acked
                        && write.completed.is_some_and(|completed| completed < since)
                        && !self.may_be_deleted(write)
                });
                lost.map_or(Ok(()), |lost| Err(format!("nothing, {lost:?} is lost")))
            }
        }
    }

    /// An acknowledged write that came wholly after `write` and before `since`.
    fn replaced_by(&self, write: &Write, since: Moment) -> Option<&Write> {
        let over = write.completed?;
        self.writes.iter().find(|later| {
            later.acked
                && later.invoked > over
                && later.completed.is_some_and(|completed| completed < since)
        })
    }

    /// Whether a deletion may have come after `write`.
    fn may_be_deleted(&self, write: &Write) -> bool {
        self.writes.iter().any(|deletion| {
            deletion.offset.is_none()
                && deletion.completed.is_none_or(|completed| completed > write.invoked)
        })
    }
}
