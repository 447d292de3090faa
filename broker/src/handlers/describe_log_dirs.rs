//! DescribeLogDirs (key 35, v1–v5): the data directory, its volume and the partitions' sizes
//! (KIP-113, KIP-827). A partition's size is all of its records, wherever they are.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use protocol::{
    ErrorCode,
    messages::describe_log_dirs::{
        DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeLogDirsResult, DescribeLogDirsTopic,
    },
};
use tracing::warn;

use crate::{
    acl::{Access, Operation, Resource},
    catalog::TopicEntry,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// Kafka's size of a volume that is not known.
const UNKNOWN_VOLUME_BYTES: i64 = -1;

/// The handler.
#[derive(Debug)]
pub(crate) struct DescribeLogDirs;

impl Api for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;

    fn resources(_: &DescribeLogDirsRequest) -> Vec<Access> {
        vec![Access::new(Operation::Describe, Resource::Cluster)]
    }

    fn error_response(_: &DescribeLogDirsRequest, error: ErrorCode) -> DescribeLogDirsResponse {
        DescribeLogDirsResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for DescribeLogDirs {
    async fn handle(
        broker: &Arc<Broker>,
        _: &RequestContext,
        request: DescribeLogDirsRequest,
    ) -> DescribeLogDirsResponse {
        let data_dir = broker.configs.broker().data_dir.clone();
        let volume = volume(broker, data_dir.clone()).await;
        let image = broker.catalog.image();
        let topics = match &request.topics {
            None => image.topics().map(|topic| described(topic, |_| true)).collect(),
            Some(asked) => asked
                .iter()
                .filter_map(|asked| {
                    let indexes: BTreeSet<i32> = asked.partitions.iter().copied().collect();
                    let entry = image.by_name(&asked.topic)?;
                    Some(described(entry, |index| indexes.contains(&index)))
                })
                .filter(|topic| !topic.partitions.is_empty())
                .collect(),
        };
        DescribeLogDirsResponse {
            results: vec![DescribeLogDirsResult {
                log_dir: shown(&data_dir),
                topics,
                total_bytes: volume.total_bytes,
                usable_bytes: volume.usable_bytes,
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

fn described(entry: &TopicEntry, is_asked: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions =
        entry.partitions.iter().filter(|partition| is_asked(partition.key().partition));
    DescribeLogDirsTopic {
        name: entry.topic.name.clone(),
        partitions: partitions
            .map(|partition| DescribeLogDirsPartition {
                partition_index: partition.key().partition,
                partition_size: i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX),
                ..Default::default()
            })
            .collect(),
    }
}

struct Volume {
    total_bytes: i64,
    usable_bytes: i64,
}

async fn volume(broker: &Broker, data_dir: std::path::PathBuf) -> Volume {
    let measured = broker.spawner.blocking(move || rustix::fs::statvfs(&data_dir)).await;
    let bytes =
        |blocks: u64, block: u64| i64::try_from(blocks.saturating_mul(block)).unwrap_or(i64::MAX);
    match measured.map(|result| result.map_err(std::io::Error::from)) {
        Ok(Ok(stat)) => Volume {
            total_bytes: bytes(stat.f_blocks, stat.f_frsize),
            usable_bytes: bytes(stat.f_bavail, stat.f_frsize),
        },
        Ok(Err(error)) | Err(error) => {
            warn!(%error, "the data directory's volume could not be measured");
            Volume { total_bytes: UNKNOWN_VOLUME_BYTES, usable_bytes: UNKNOWN_VOLUME_BYTES }
        }
    }
}

fn shown(data_dir: &Path) -> String {
    std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests;
