//! DescribeLogDirs: sizes of partitions and of the volume.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use protocol::messages::describe_log_dirs::DescribableLogDirTopic;

use super::*;
use crate::handlers::test_support::{create, produce, start};

#[tokio::test(start_paused = true)]
async fn measures_the_volume_and_the_partitions_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (_broker, mut client) = start(&[("streamhouse.data.dir", path)]).await;
    create(&mut client, "a", 2).await;
    produce(&mut client, "a", 1, &[&[7; 1000]]).await;
    for version in 1..=5 {
        let request = DescribeLogDirsRequest { topics: None };
        let response = client.call(&request, version).await.unwrap();
        let directory = &response.results[0];
        assert_eq!((directory.error_code, directory.log_dir.as_str()), (0, path));
        let sizes: Vec<_> = directory.topics[0]
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.partition_size))
            .collect();
        assert_eq!(sizes[0], (0, 0));
        assert!(sizes[1].1 > 1000 && sizes[1].1 < 1200, "{sizes:?}");
        if version >= 4 {
            assert!(directory.total_bytes > 0 && directory.usable_bytes > 0);
            assert!(directory.usable_bytes <= directory.total_bytes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_for_what_was_asked_and_is_there() {
    let (_broker, mut client) = start(&[]).await;
    create(&mut client, "a", 2).await;
    let asked = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
        topic: topic.to_owned(),
        partitions: partitions.to_vec(),
    };
    let topics = Some(vec![asked("a", &[1, 7]), asked("nope", &[0])]);
    let response = client.call(&DescribeLogDirsRequest { topics }, 4).await.unwrap();
    let topics = &response.results[0].topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
    assert_eq!(topics[0].partitions[0].partition_index, 1);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_measured_is_unknown() {
    let (_broker, mut client) = start(&[("streamhouse.data.dir", "/no/such/directory")]).await;
    let response = client.call(&DescribeLogDirsRequest { topics: None }, 4).await.unwrap();
    assert_eq!(response.results[0].total_bytes, UNKNOWN_VOLUME_BYTES);
}
