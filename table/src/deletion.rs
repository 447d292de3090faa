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

/// What is left of a table whose topic is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The note.
    pub note: String,
    /// Directories that rows of it may be in, those that rebuilds left behind included. Those of
    /// dead letters are beside them.
    pub directories: Vec<String>,
}

impl Deleted {
    fn topic_id(&self) -> &str {
        self.note.strip_prefix(PREFIX).unwrap_or_default()
    }
}

impl TableCatalog {
    /// Tables that are to be deleted.
    ///
    /// # Errors
    /// Where the metadata store fails or a table's state cannot be read.
    pub async fn deleted(&self) -> Result<Vec<Deleted>, TableError> {
        let mut found = Vec::new();
        for note in self.metadata().pointer_names(PREFIX).await? {
            let mut deleted = Deleted { note, directories: Vec::new() };
            let pointer = table::pointer(deleted.topic_id());
            if let Some(bytes) = self.metadata().pointer(&pointer).await? {
                let state = TableState::decode(deleted.topic_id(), &bytes)?;
                let own = [Some(state.current), state.shadow].into_iter().flatten();
                let own = own.map(|Incarnation { directory, .. }| directory);
                let replaced = state.replaced.into_iter().map(|replaced| replaced.directory);
                deleted.directories.extend(own.chain(replaced));
            }
            found.push(deleted);
        }
        Ok(found)
    }

    /// Forgets a table of which nothing is left.
    ///
    /// # Errors
    /// Where the metadata store fails.
    pub async fn forget(&self, deleted: &Deleted) -> Result<(), TableError> {
        let names = [table::pointer(deleted.topic_id()), deleted.note.clone()];
        Ok(self.metadata().delete_pointers(self.fence(), &names).await?)
    }
}
