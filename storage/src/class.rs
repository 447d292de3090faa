//! The durability class in force: what readers may see before an object holds it.
//!
//! A topic's configuration says which class it shall have; metadata says per partition which one is
//! in force, as a *readable end*: none where everything synced may be read (class `local`), else the
//! offset up to which that is so (class `object`; what lies behind waits for its object). The end
//! is the high watermark at the switch, so that a crash before the upload takes nothing back that
//! was seen (LOG-4), and nothing that was appended afterwards is shown before its time.
//!
//! Invariant: whatever the order of a configuration change, its record and a crash, the high
//! watermark after the crash is at least the one that was seen. So a switch to `object` holds the
//! high watermark at once and is recorded afterwards (until then a start takes all that is synced
//! for readable), and a switch to `local` shows more only once it is recorded.

use std::sync::Arc;

use common::TopicId;
use metadata::ReadableEnd;
use tracing::debug;

use crate::{
    config::{Durability, TopicLogConfig},
    error::Error,
    log::Log,
    partition::{Partition, State},
};

/// What a configuration asks for beyond itself.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// What metadata has to know.
    record: Option<ReadableEnd>,
    /// Acknowledgements now wait for objects that nothing makes soon: what was appended before did
    /// not ask the uploader to hurry.
    seal: bool,
}

impl Log {
    /// Applies a topic's changed configuration.
    ///
    /// # Errors
    /// [`Error::Metadata`] where the change of the durability class could not be recorded: a class
    /// `object` is in force all the same, a class `local` is not. Calling again is safe, and so is
    /// a start.
    pub async fn configure(&self, id: TopicId, config: &Arc<TopicLogConfig>) -> Result<(), Error> {
        let _one_at_a_time = self.class_changes.lock().await;
        let asked: Vec<_> = self
            .partitions_of(id)
            .iter()
            .map(|partition| partition.configure(Arc::clone(config)))
            .collect();
        if asked.iter().any(|asked| asked.seal) {
            self.seal_soon();
        }
        self.record(asked.iter().filter_map(|asked| asked.record).collect()).await
    }

    /// Brings the classes in force in line with the configuration, after recovery or for new
    /// partitions.
    pub(crate) async fn settle_classes(&self, partitions: &[Arc<Partition>]) -> Result<(), Error> {
        let _one_at_a_time = self.class_changes.lock().await;
        self.record(partitions.iter().filter_map(|partition| partition.settle()).collect()).await
    }

    async fn record(&self, ends: Vec<ReadableEnd>) -> Result<(), Error> {
        if ends.is_empty() {
            return Ok(());
        }
        self.deps.metadata.record_readable_ends(&self.deps.fence, ends.clone()).await?;
        for end in ends {
            if let Some(partition) = self.partition(&end.key) {
                partition.recorded(end.readable_end_offset);
            }
        }
        Ok(())
    }

    fn seal_soon(&self) {
        let Some(wal) = self.shared().wal.get().cloned() else { return };
        self.deps.spawner.spawn("log-seal", async move {
            if let Err(error) = wal.seal().await {
                debug!(%error, "sealing for a topic that became object class");
            }
        });
    }
}

impl Partition {
    fn configure(&self, config: Arc<TopicLogConfig>) -> Asked {
        let mut state = self.lock();
        let was_local = state.readable_end.is_none();
        state.config = config;
        let record = self.change(&mut state);
        let is_object = state.readable_end.is_some();
        let seal = was_local && is_object && state.log_end > state.committed_end;
        Asked { record, seal }
    }

    fn settle(&self) -> Option<ReadableEnd> {
        self.change(&mut self.lock())
    }

    fn change(&self, state: &mut State) -> Option<ReadableEnd> {
        let readable_end_offset = state.change_class()?;
        let leader_epoch = state.leader_epoch.0;
        Some(ReadableEnd { key: self.key, leader_epoch, readable_end_offset })
    }

    /// Metadata knows the end.
    fn recorded(&self, end: Option<i64>) {
        let mut state = self.lock();
        state.recorded_readable_end = end;
        // Nothing more is to be recorded, so this only takes effect.
        state.change_class();
    }
}

impl State {
    /// Puts the configured class in force as far as that is allowed before it is recorded; returns
    /// what to record.
    fn change_class(&mut self) -> Option<Option<i64>> {
        let wanted = match self.config.durability {
            Durability::Object => Some(*self.readable_end.get_or_insert(self.high_watermark)),
            Durability::Local => None,
        };
        if self.recorded_readable_end != wanted {
            return Some(wanted);
        }
        self.readable_end = wanted;
        self.move_high_watermark();
        None
    }
}
