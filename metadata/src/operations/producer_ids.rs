//! Producer ids: blocks that are handed out once (KIP-730).

use crate::{
    error::{Error, Result},
    rows::Rows,
};

/// Reserves `count` ids and returns the first.
pub(crate) async fn allocate(rows: &mut dyn Rows, count: i64) -> Result<i64> {
    if count <= 0 {
        return Err(Error::InvalidRequest(format!("{count} producer ids")));
    }
    let mut cluster = rows.cluster().await?.ok_or(Error::NotInitialized)?;
    let first = cluster.next_producer_id;
    cluster.next_producer_id = first
        .checked_add(count)
        .ok_or(Error::ProducerIdsExhausted { next: first, requested: count })?;
    rows.put_cluster(&cluster).await?;
    Ok(first)
}
