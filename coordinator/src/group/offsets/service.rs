//! Offsets and administration as handlers call them.

use futures::future::BoxFuture;
use protocol::{
    ErrorCode,
    messages::{
        describe_groups::DescribedGroup,
        list_groups::{ListGroupsRequest, ListedGroup},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseTopics},
    },
};

use super::{Commit, CommitCodes};
use crate::{group::GroupCoordinator, runtime::TransactionalWrite};

impl GroupCoordinator {
    /// OffsetCommit: the code of each partition, in the order given. When this returns, the
    /// commit has its place among others; the future that it returns waits until it is durable.
    ///
    /// # Errors
    /// The code of the whole commit, from either part.
    pub async fn commit_offsets(
        &self,
        commit: Commit,
    ) -> Result<BoxFuture<'static, Result<CommitCodes, ErrorCode>>, ErrorCode> {
        let group_id = commit.group_id.clone();
        let committed = self
            .begin_commit(&group_id, move |shard, context| shard.commit_offsets(context, &commit))
            .await?;
        Ok(Box::pin(async move { committed.await? }))
    }

    /// TxnOffsetCommit: the offsets count once the producer's transaction commits.
    ///
    /// # Errors
    /// The code of the whole commit, and why the transaction may not write here.
    pub async fn commit_transactional_offsets(
        &self,
        commit: Commit,
        transaction: TransactionalWrite,
    ) -> Result<CommitCodes, ErrorCode> {
        let group_id = commit.group_id.clone();
        let committed = self
            .commit_transactional(&group_id, transaction, move |shard, context| {
                shard.commit_offsets(context, &commit)
            })
            .await;
        committed.and_then(|codes| codes)
    }

    /// OffsetFetch of one group.
    ///
    /// # Errors
    /// The group's code.
    pub async fn fetch_offsets(
        &self,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
        let group_id = request.group_id.clone();
        let fetched =
            self.read(&group_id, move |shard| shard.fetch_offsets(&request, require_stable)).await;
        fetched.and_then(|topics| topics)
    }

    /// OffsetDelete of partitions by topic: a code for each topic, in the order given.
    ///
    /// # Errors
    /// The group's code.
    pub async fn delete_offsets(
        &self,
        group_id: &str,
        topics: Vec<(String, Vec<i32>)>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let id = group_id.to_owned();
        let deleted =
            self.commit(group_id, move |shard, _| shard.delete_offsets(&id, &topics)).await;
        deleted.and_then(|codes| codes)
    }

    /// DeleteGroups of one group.
    ///
    /// # Errors
    /// The group's code.
    pub async fn delete_group(&self, group_id: &str) -> Result<(), ErrorCode> {
        let id = group_id.to_owned();
        let deleted =
            self.write(group_id, move |shard, context| shard.delete_group(context, &id)).await;
        deleted.and_then(|result| result.map_err(|refused| refused.code))
    }

    /// ListGroups over all partitions.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`, `COORDINATOR_NOT_AVAILABLE` of any partition: a list that
    /// lacks groups would mislead.
    pub async fn list_groups(
        &self,
        request: &ListGroupsRequest,
    ) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut groups = Vec::new();
        for partition in self.runtime().partitions() {
            let request = request.clone();
            match self.runtime().read(partition, move |shard| shard.list_groups(&request)).await {
                Ok(listed) => groups.extend(listed),
                // It went to another broker, which lists them.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(groups)
    }

    /// DescribeGroups of one group.
    ///
    /// # Errors
    /// The partition's code.
    pub async fn describe_group(
        &self,
        group_id: &str,
        api_version: i16,
    ) -> Result<DescribedGroup, ErrorCode> {
        let id = group_id.to_owned();
        self.read(group_id, move |shard| shard.describe_group(&id, api_version)).await
    }
}
