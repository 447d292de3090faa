//! Sessions: who may write. One node has one current session; opening it fences the one before.

use common::NodeId;

use crate::{
    error::{Error, Result},
    model::{Fence, NODE_ID_DEFAULT, Session},
    request::OpenSession,
    rows::{ClusterRow, Rows},
};

/// Opens the node's session; the first one of a store also names its cluster and its node.
pub(crate) async fn open(rows: &mut dyn Rows, request: OpenSession) -> Result<Session> {
    let cluster_id = match rows.cluster().await? {
        Some(cluster) => cluster.cluster_id,
        None => found_cluster(rows, request.cluster_id_if_new).await?,
    };
    let sessions = rows.sessions().await?;
    let node_id = match (request.node_id, sessions.keys().next()) {
        (Some(requested), Some(&stored)) if requested != stored => {
            return Err(Error::NodeIdMismatch { stored, requested });
        }
        (_, Some(&stored)) => stored,
        (requested, None) => requested.unwrap_or(NODE_ID_DEFAULT),
    };
    if node_id < NodeId(0) {
        return Err(Error::InvalidRequest(format!("node id {node_id} is negative")));
    }
    let session_epoch = sessions.get(&node_id).map_or(1, |epoch| epoch + 1);
    rows.put_session(node_id, session_epoch).await?;
    Ok(Session { cluster_id, node_id, fence: Fence { node_id, session_epoch } })
}

/// Fails unless the fence is that of the node's current session.
pub(crate) async fn check(rows: &mut dyn Rows, fence: &Fence) -> Result<()> {
    let current = rows.session_epoch(fence.node_id).await?;
    if current == Some(fence.session_epoch) {
        return Ok(());
    }
    Err(Error::Fenced { node_id: fence.node_id, held: fence.session_epoch, current })
}

async fn found_cluster(rows: &mut dyn Rows, cluster_id: String) -> Result<String> {
    if cluster_id.is_empty() {
        return Err(Error::InvalidRequest("the cluster id is empty".to_owned()));
    }
    let cluster = ClusterRow { cluster_id, next_producer_id: 0 };
    rows.put_cluster(&cluster).await?;
    Ok(cluster.cluster_id)
}
