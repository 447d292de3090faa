//! Tables that go with their topics (`table.delete.with.topic`).
//!
//! The write that deletes such a topic leaves a note in the metadata store, so that neither a crash
//! nor a change of the configuration just before comes between the two. Whoever has deleted the
//! files forgets the note, and the table's state with it.

use std::collections::BTreeMap;

use common::TopicId;

use crate::{
    alias,
    catalog::TableCatalog,
    config::{self, keys},
    state::{Incarnation, TableState},
    table::{self, TableError},
};

/// What the names of notes begin with.
const PREFIX: &str = "deleted-table/";

/// The note of a topic's deletion, if its table goes with it.
#[must_use]
pub fn note(topic_id: TopicId, values: &BTreeMap<String, String>) -> Option<String> {
    let values = alias::translated(values).values;
    let goes = values.get(keys::DELETE_WITH_TOPIC).is_some_and(|text| config::is_true(text, false));
    goes.then(|| format!("{PREFIX}{topic_id}"))
}

/// The topic of a note.
fn topic_id(note: &str) -> &str {
    note.strip_prefix(PREFIX).unwrap_or_default()
}

impl TableCatalog {
    /// The notes of tables that are to be deleted.
    ///
    /// # Errors
    /// Where the metadata store fails.
    pub async fn deletion_notes(&self) -> Result<Vec<String>, TableError> {
        Ok(self.metadata().pointer_names(PREFIX).await?)
    }

    /// The directories that rows of a deleted table may be in, those that rebuilds left behind
    /// included. Those of dead letters are beside them.
    ///
    /// # Errors
    /// Where the metadata store fails or the table's state cannot be read.
    pub async fn deleted_directories(&self, note: &str) -> Result<Vec<String>, TableError> {
        let topic_id = topic_id(note);
        let Some(bytes) = self.metadata().pointer(&table::pointer(topic_id)).await? else {
            return Ok(Vec::new());
        };
        let state = TableState::decode(topic_id, &bytes)?;
        let own = [Some(state.current), state.shadow].into_iter().flatten();
        let own = own.map(|Incarnation { directory, .. }| directory);
        let replaced = state.replaced.into_iter().map(|replaced| replaced.directory);
        Ok(own.chain(replaced).collect())
    }

    /// Forgets a table of which nothing is left.
    ///
    /// # Errors
    /// Where the metadata store fails.
    pub async fn forget_deleted(&self, note: &str) -> Result<(), TableError> {
        let names = [table::pointer(topic_id(note)), note.to_owned()];
        Ok(self.metadata().delete_pointers(self.fence(), &names).await?)
    }
}
