//! How new L1 objects take the place of a partition's extents: register, put, commit, tell.
//!
//! Invariants: an output is durable before metadata knows it as committed, and inputs die only with
//! that commit; a failed attempt changes nothing but an object that GC will find dead.

use std::sync::Arc;

use common::ObjectId;
use metadata::{Extent, L1Commit, L1Input, L1Output, NewObject, ObjectLevel};
use tracing::{debug, warn};

use super::Compactor;
use crate::{
    object::{self, ExtentTarget, Footer, ObjectRef},
    object_store::PartSource,
    upload::InUse,
};

/// The bytes of an output object, and its footer once they were given out.
pub(super) trait Output: PartSource {
    /// The footer; `None` before the end.
    fn footer(&self) -> Option<&Footer>;
}

/// An object that is known to metadata and not yet there.
pub(super) struct Registered {
    object: ObjectRef,
    _in_use: InUse,
}

impl Registered {
    /// Its identity.
    pub(super) fn id(&self) -> ObjectId {
        self.object.id
    }
}

/// What is replaced: contiguous extents, ascending.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    /// The extents with their objects.
    pub(super) extents: &'a [(Arc<ObjectRef>, Extent)],
    /// The epoch under which they were looked at.
    pub(super) leader_epoch: i32,
}

impl Inputs<'_> {
    fn base_offset(&self) -> i64 {
        self.extents.first().map_or(0, |(_, extent)| extent.base_offset)
    }

    fn end_offset(&self) -> i64 {
        self.extents.last().map_or(0, |(_, extent)| extent.end_offset)
    }
}

impl Compactor {
    /// Makes an output known, so that it is never lost track of.
    pub(super) async fn register(
        &self,
        target: &dyn ExtentTarget,
        base_offset: i64,
    ) -> Result<Registered, crate::Error> {
        let id = ObjectId(self.deps.rng.uuid());
        let key = l1_key(&self.options.key_prefix, target, base_offset, id);
        let in_use = self.deps.in_use.protect(id);
        let new = NewObject {
            id,
            key: key.clone(),
            level: ObjectLevel::L1,
            created_ms: self.deps.clock.now_ms(),
            origin: None,
        };
        self.deps.metadata.register_object(&self.deps.fence, new).await?;
        let object = ObjectRef {
            id,
            key,
            level: ObjectLevel::L1,
            size: 0,
            footer_position: 0,
            origin: None,
        };
        Ok(Registered { object, _in_use: in_use })
    }

    /// Writes the output and lets it take the place of the inputs.
    pub(super) async fn replace(
        &self,
        target: &dyn ExtentTarget,
        inputs: Inputs<'_>,
        registered: Registered,
        source: object::Result<impl Output>,
    ) -> Result<(Arc<ObjectRef>, Extent), crate::Error> {
        let written = match source {
            Ok(source) => self.write(target, inputs, &registered.object, source).await,
            Err(error) => Err(error),
        };
        let (object, extent) = match written {
            Ok(written) => written,
            Err(error) => {
                self.abandon(registered.id()).await;
                return Err(error.into());
            }
        };
        self.commit(target, inputs, &object, extent).await?;
        let replaced: Vec<_> = inputs.extents.iter().map(|(object, _)| object.id).collect();
        target.replaced(&replaced, &[(Arc::clone(&object), extent)]);
        Ok((object, extent))
    }

    /// The row is dead at once where metadata answers, after the grace time otherwise.
    async fn abandon(&self, id: ObjectId) {
        if let Err(error) = self.deps.metadata.mark_dead(&self.deps.fence, &[id]).await {
            debug!(object = %id, %error, "left for GC");
        }
    }

    async fn write(
        &self,
        target: &dyn ExtentTarget,
        inputs: Inputs<'_>,
        output: &ObjectRef,
        mut source: impl Output,
    ) -> object::Result<(Arc<ObjectRef>, Extent)> {
        let wrong = |reason: String| object::Error::Damaged {
            id: output.id,
            key: output.key.clone(),
            position: 0,
            partition: Some(target.key()),
            reason,
        };
        let size = self.deps.storage.put_parts(&output.key, &mut source).await?;
        let footer = source.footer().ok_or_else(|| wrong("its source did not end".to_owned()))?;
        let object = ObjectRef { size, footer_position: footer.data_len, ..output.clone() };
        let extent =
            footer.partitions.first().map(|partition| partition.extent(target.leader_epoch()));
        let (base, end) = (inputs.base_offset(), inputs.end_offset());
        let extent = extent.filter(|extent| (extent.base_offset, extent.end_offset) == (base, end));
        let extent =
            extent.ok_or_else(|| wrong(format!("it does not cover offsets {base} to {end}")))?;
        Ok((Arc::new(object), extent))
    }

    async fn commit(
        &self,
        target: &dyn ExtentTarget,
        inputs: Inputs<'_>,
        object: &ObjectRef,
        extent: Extent,
    ) -> Result<(), crate::Error> {
        let input = |(object, extent): &(Arc<ObjectRef>, Extent)| L1Input {
            id: object.id,
            base_offset: extent.base_offset,
            end_offset: extent.end_offset,
        };
        let commit = L1Commit {
            key: target.key(),
            leader_epoch: inputs.leader_epoch,
            inputs: inputs.extents.iter().map(input).collect(),
            outputs: vec![L1Output {
                id: object.id,
                size: object.size,
                footer_position: object.footer_position,
                extent,
            }],
        };
        let mut backoff = self.deps.storage.backoff();
        loop {
            match self.deps.metadata.commit_l1(&self.deps.fence, commit.clone()).await {
                // Repeating is safe, and giving up would leave the extents in doubt.
                Err(error) if error.is_retriable() || error.is_outcome_unknown() => {
                    warn!(partition = %target.key(), %error, "L1 commit failed, will try again");
                    tokio::time::sleep(backoff.pause()).await;
                }
                result => return Ok(result?),
            }
        }
    }
}

/// The key of an L1 object: readable, and unique by its id.
fn l1_key(prefix: &str, target: &dyn ExtentTarget, base_offset: i64, id: ObjectId) -> String {
    let key = target.key();
    let path = format!("l1/{}/{}/{base_offset:020}-{id}", key.topic_id, key.partition);
    if prefix.is_empty() { path } else { format!("{prefix}/{path}") }
}
