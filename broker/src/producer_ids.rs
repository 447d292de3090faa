//! Producer ids in blocks (KIP-730): the metadata store hands out a block, the broker counts in it.
//! A restart loses what was left of a block, so no id is ever handed out twice.

use std::{ops::Range, sync::Arc};

use common::ProducerId;
use coordinator::transaction::service::ProducerIdSource;
use futures::future::BoxFuture;
use metadata::{Fence, MetadataStore};
use protocol::ErrorCode;
use tokio::sync::Mutex;
use tracing::warn;

use crate::handlers::error;

/// Ids per block, as Kafka's `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
pub const PRODUCER_ID_BLOCK_SIZE: i64 = 1000;

/// Hands out producer ids.
#[derive(Debug)]
pub struct ProducerIds {
    metadata: Arc<dyn MetadataStore>,
    fence: Fence,
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Nothing is allocated before the first id is asked for.
    #[must_use]
    pub fn new(metadata: Arc<dyn MetadataStore>, fence: Fence) -> Self {
        Self { metadata, fence, block: Mutex::new(0..0) }
    }

    /// An id that no producer has had.
    ///
    /// # Errors
    /// As the metadata store fails to hand out a block.
    pub async fn next(&self) -> Result<ProducerId, metadata::Error> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            let first =
                self.metadata.allocate_producer_ids(&self.fence, PRODUCER_ID_BLOCK_SIZE).await?;
            *block = first..first.saturating_add(PRODUCER_ID_BLOCK_SIZE);
        }
        let id = block.start;
        block.start += 1;
        Ok(ProducerId(id))
    }
}

impl ProducerIdSource for ProducerIds {
    fn next_producer_id(&self) -> BoxFuture<'_, Result<ProducerId, ErrorCode>> {
        Box::pin(async {
            self.next().await.map_err(|refused| {
                warn!(%refused, "no producer id could be allocated");
                error::producer_ids(&refused)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use metadata::{MemoryStore, OpenSession};

    use super::*;

    #[tokio::test]
    async fn ids_are_dense_in_a_block_and_a_new_start_takes_a_new_block() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let open = OpenSession { node_id: None, cluster_id_if_new: "c".repeat(22) };
        let session = store.open_session(open).await.unwrap();
        let ids = ProducerIds::new(Arc::clone(&store), session.fence);
        let first = ids.next().await.unwrap().0;
        for following in 1..=PRODUCER_ID_BLOCK_SIZE {
            assert_eq!(ids.next().await.unwrap().0, first + following);
        }
        let restarted = ProducerIds::new(store, session.fence);
        assert_eq!(restarted.next().await.unwrap().0, first + 2 * PRODUCER_ID_BLOCK_SIZE);
    }
}
