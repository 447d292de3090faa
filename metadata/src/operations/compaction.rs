//! Compaction's commit: a partition's extents replaced by those of new L1 objects, on condition
//! that every input is still exactly there.

use std::collections::BTreeMap;

use common::ObjectId;

use crate::{
    error::{Error, Result},
    model::{ObjectLevel, ObjectRow, ObjectState},
    operations::{extents, objects, partitions},
    request::{L1Commit, L1Input},
    rows::Rows,
};

/// Commits a compaction. The outer error changes nothing; the inner one is a refusal after which
/// the outputs are dead, and is to be committed like a success.
pub(crate) async fn commit_l1(rows: &mut dyn Rows, commit: &L1Commit) -> Result<Result<()>> {
    let mut outputs = Vec::new();
    for output in &commit.outputs {
        outputs.push(objects::of_level(rows, output.id, ObjectLevel::L1).await?);
    }
    if is_repeated(commit, &outputs) {
        return Ok(Ok(()));
    }
    outputs.iter().try_for_each(|row| objects::expect_state(row, ObjectState::Registered))?;

    let mut stored = rows.partitions_at(&[commit.key]).await?;
    let log_start_offset = match partitions::owned(&mut stored, commit.key, commit.leader_epoch) {
        Ok(partition) => partition.log_start_offset,
        Err(refusal) => return refuse(rows, outputs, refusal).await,
    };
    extents::validate_l1(commit, log_start_offset)?;
    let ids: Vec<_> = commit.inputs.iter().map(|input| input.id).collect();
    let mut inputs = rows.objects_at(&ids).await?;
    for input in &commit.inputs {
        if let Err(refusal) = take(&mut inputs, commit, input) {
            return refuse(rows, outputs, refusal).await;
        }
    }
    // Inputs first: an output may begin at the offset of an input.
    for row in inputs.values() {
        rows.put_object(row).await?;
    }
    for (mut row, output) in outputs.into_iter().zip(&commit.outputs) {
        row.state = ObjectState::Committed;
        row.size = output.size;
        row.footer_position = output.footer_position;
        row.extents = vec![output.extent];
        rows.put_object(&row).await?;
    }
    Ok(Ok(()))
}

/// Whether the very same commit has already happened.
fn is_repeated(commit: &L1Commit, outputs: &[ObjectRow]) -> bool {
    let same = outputs.iter().zip(&commit.outputs).all(|(row, output)| {
        row.state == ObjectState::Committed
            && (row.size, row.footer_position) == (output.size, output.footer_position)
            && row.extents == [output.extent]
    });
    same && !outputs.is_empty()
}

/// Takes one input's extent out of its object, which is dead with its last one.
fn take(
    inputs: &mut BTreeMap<ObjectId, ObjectRow>,
    commit: &L1Commit,
    input: &L1Input,
) -> Result<()> {
    let range = (commit.key, input.base_offset, input.end_offset);
    let taken = inputs.get_mut(&input.id).is_some_and(|row| {
        extents::remove(row, |extent| (extent.key, extent.base_offset, extent.end_offset) == range)
    });
    if taken {
        return Ok(());
    }
    Err(Error::Conflict {
        key: commit.key,
        object: input.id,
        base_offset: input.base_offset,
        end_offset: input.end_offset,
    })
}

async fn refuse(
    rows: &mut dyn Rows,
    outputs: Vec<ObjectRow>,
    refusal: Error,
) -> Result<Result<()>> {
    for mut row in outputs {
        row.state = ObjectState::Dead;
        rows.put_object(&row).await?;
    }
    Ok(Err(refusal))
}
