//! Objects: registered before they are put, committed when they are durable, dead when nothing
//! refers to them, forgotten when they are deleted.

use std::collections::BTreeMap;

use common::ObjectId;

use crate::{
    error::{Error, Result},
    model::{Extent, ObjectLevel, ObjectRow, ObjectState},
    operations::{extents, partitions},
    request::{ExtentOutcome, L0Commit, LogStart, NewObject},
    rows::Rows,
};

/// Makes an object known before it is put. Neither its id nor its key may be in use.
pub(crate) async fn register(rows: &mut dyn Rows, new: NewObject) -> Result<()> {
    let id_used = !rows.objects_at(&[new.id]).await?.is_empty();
    if id_used || rows.object_id_of_key(&new.key).await?.is_some() {
        return Err(Error::ObjectExists { id: new.id, key: new.key });
    }
    let row = ObjectRow {
        id: new.id,
        key: new.key,
        level: new.level,
        state: ObjectState::Registered,
        size: 0,
        footer_position: 0,
        created_ms: new.created_ms,
        origin: new.origin,
        extents: Vec::new(),
    };
    rows.put_object(&row).await
}

/// Commits an L0 object, each extent on its own.
pub(crate) async fn commit_l0(
    rows: &mut dyn Rows,
    commit: &L0Commit,
) -> Result<Vec<ExtentOutcome>> {
    commit.extents.iter().try_for_each(extents::validate)?;
    let mut object = of_level(rows, commit.id, ObjectLevel::L0).await?;
    let keys: Vec<_> = commit.extents.iter().map(|extent| extent.key).collect();
    let positions = rows.positions(&keys).await?;
    if object.state == ObjectState::Committed {
        refuse_other_content(&object, commit.size, commit.footer_position)?;
        return Ok(extents::recall_l0(&commit.extents, &object.extents, &positions));
    }
    expect_state(&object, ObjectState::Registered)?;
    let plan = extents::plan_l0(&commit.extents, positions);
    let rejected = plan.accepted.is_empty();
    object.state = if rejected { ObjectState::Dead } else { ObjectState::Committed };
    object.size = commit.size;
    object.footer_position = commit.footer_position;
    object.extents = plan.accepted;
    rows.set_committed_ends(&plan.ends).await?;
    rows.put_object(&object).await?;
    Ok(plan.outcomes)
}

/// Drops the extents that lie wholly below the given offsets.
pub(crate) async fn trim(rows: &mut dyn Rows, below: &[LogStart]) -> Result<()> {
    let keys: Vec<_> = below.iter().map(|trim| trim.key).collect();
    let mut stored = rows.partitions_at(&keys).await?;
    let mut offsets = BTreeMap::new();
    for trim in below {
        let partition = partitions::owned(&mut stored, trim.key, trim.leader_epoch)?;
        if trim.log_start_offset > partition.log_start_offset {
            return Err(Error::InvalidRequest(format!(
                "trimming partition {} below {}, above its log start offset {}",
                trim.key, trim.log_start_offset, partition.log_start_offset
            )));
        }
        let offset = offsets.entry(trim.key).or_insert(trim.log_start_offset);
        *offset = trim.log_start_offset.max(*offset);
    }
    let holders = rows.objects_below(&offsets).await?;
    let goes = |extent: &Extent| {
        offsets.get(&extent.key).is_some_and(|&offset| extent.end_offset <= offset)
    };
    drop_extents(rows, holders, goes).await
}

/// Declares registered objects dead.
pub(crate) async fn mark_dead(rows: &mut dyn Rows, ids: &[ObjectId]) -> Result<()> {
    for mut row in rows.objects_at(ids).await?.into_values() {
        if row.state == ObjectState::Dead {
            continue;
        }
        expect_state(&row, ObjectState::Registered)?;
        row.state = ObjectState::Dead;
        rows.put_object(&row).await?;
    }
    Ok(())
}

/// Forgets dead objects.
pub(crate) async fn forget(rows: &mut dyn Rows, ids: &[ObjectId]) -> Result<()> {
    let found = rows.objects_at(ids).await?;
    found.values().try_for_each(|row| expect_state(row, ObjectState::Dead))?;
    let found: Vec<_> = found.into_keys().collect();
    rows.delete_objects(&found).await
}

/// Drops extents from objects; the ones left without any are dead.
pub(crate) async fn drop_extents(
    rows: &mut dyn Rows,
    holders: Vec<ObjectRow>,
    goes: impl Fn(&Extent) -> bool + Send + Sync,
) -> Result<()> {
    for mut row in holders {
        if extents::remove(&mut row, &goes) {
            rows.put_object(&row).await?;
        }
    }
    Ok(())
}

/// The object, if it exists and is of the level.
pub(crate) async fn of_level(
    rows: &mut dyn Rows,
    id: ObjectId,
    level: ObjectLevel,
) -> Result<ObjectRow> {
    let row = rows.objects_at(&[id]).await?.remove(&id).ok_or(Error::UnknownObject { id })?;
    if row.level != level {
        return Err(Error::InvalidRequest(format!(
            "object {id} is {:?}, not {level:?}",
            row.level
        )));
    }
    Ok(row)
}

/// Fails unless the object is in the state.
pub(crate) fn expect_state(row: &ObjectRow, expected: ObjectState) -> Result<()> {
    if row.state == expected {
        return Ok(());
    }
    Err(Error::ObjectState { id: row.id, expected, found: row.state })
}

/// Fails where a repeated commit describes other bytes than the one that was stored.
pub(crate) fn refuse_other_content(row: &ObjectRow, size: u64, footer_position: u64) -> Result<()> {
    if (row.size, row.footer_position) == (size, footer_position) {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "object {} is committed with size {} and footer at {}, not {size} and {footer_position}",
        row.id, row.size, row.footer_position
    )))
}
