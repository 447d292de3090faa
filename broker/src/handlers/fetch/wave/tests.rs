//! Fetches of cold partitions through a whole broker over a slow object store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::memory::InMemory;
use proptest::prelude::*;
use protocol::{
    messages::{
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    },
    records::batches,
};
use storage::object_store::{
    ObjectStorage, StorageOptions,
    faulty::{FaultRates, FaultyObjectStore},
};
use uuid::Uuid;

use crate::testing::{Client, EPOCH_MS, TestBroker, World, batch};

const TOPIC: &str = "archive";
const LATENCY: Duration = Duration::from_millis(200);

/// A broker whose partitions lie in objects, in batches of these sizes.
struct Archive {
    store: FaultyObjectStore,
    world: World,
    id: Uuid,
    /// Bytes of each batch, by partition.
    sizes: Vec<Vec<usize>>,
}

impl Archive {
    /// `values` are the sizes of the values in each partition, a batch of one record each.
    async fn make(values: &[Vec<usize>]) -> Self {
        let mut world = World::new(1).await.unwrap();
        let store = FaultyObjectStore::new(
            Arc::new(InMemory::new()),
            Arc::clone(&world.clock),
            world.rng.clone(),
        );
        world.objects = Arc::new(ObjectStorage::new(
            Arc::new(store.clone()),
            StorageOptions::default(),
            Arc::clone(&world.clock),
            world.rng.clone(),
        ));
        let count = values.len().to_string();
        let broker = world.start(&[("num.partitions", &count)]).await.unwrap();
        let mut client = broker.connect();
        let id = client.create_topics(&[TOPIC]).await.unwrap().topics[0].topic_id;
        let mut sizes = vec![Vec::new(); values.len()];
        for (partition, values) in values.iter().enumerate() {
            for value in values {
                let records = batch(EPOCH_MS, None, &[&vec![7; *value]]).unwrap();
                sizes[partition].push(records.len());
                produce(&mut client, i32::try_from(partition).unwrap(), records).await;
            }
        }
        broker.stop().await;
        Self { store, world, id, sizes }
    }

    /// Starts a broker that has nothing of it in memory.
    async fn open(&self) -> TestBroker {
        let broker = self.world.start(&[]).await.unwrap();
        for (partition, sizes) in broker.broker.log.partitions().iter().zip(&self.sizes) {
            assert!(sizes.is_empty() || partition.is_cold(0), "{partition:?}");
        }
        broker
    }

    fn request(&self, max_bytes: usize, partition_max: &[usize]) -> FetchRequest {
        let partition = |(index, max): (usize, &usize)| FetchPartition {
            partition: i32::try_from(index).unwrap(),
            partition_max_bytes: i32::try_from(*max).unwrap(),
            ..Default::default()
        };
        FetchRequest {
            min_bytes: 1,
            max_bytes: i32::try_from(max_bytes).unwrap(),
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic_id: self.id,
                partitions: partition_max.iter().enumerate().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// How many batches of each partition reading one after the other gives (KIP-74).
    fn expected(&self, max_bytes: usize, partition_max: &[usize]) -> Vec<usize> {
        let mut bytes = 0;
        let read = |(sizes, max): (&Vec<usize>, &usize)| {
            let room = (*max).min(max_bytes.saturating_sub(bytes));
            let (mut count, mut taken) = (0, 0);
            for size in sizes {
                let first_of_all = bytes == 0 && taken == 0;
                if taken + size > room && !first_of_all {
                    break;
                }
                (count, taken) = (count + 1, taken + size);
            }
            bytes += taken;
            count
        };
        self.sizes.iter().zip(partition_max).map(read).collect()
    }
}

async fn produce(client: &mut Client, index: i32, records: protocol::Records) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.to_owned(),
            partition_data: vec![PartitionProduceData { index, records: Some(records) }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&request, 9).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// Fetches; the number of batches of each partition.
async fn fetch(broker: &TestBroker, request: &FetchRequest) -> Vec<usize> {
    let response = broker.connect().call(request, 13).await.unwrap();
    let count = |(index, data): (usize, &protocol::messages::fetch::PartitionData)| {
        assert_eq!((data.partition_index, data.error_code), (i32::try_from(index).unwrap(), 0));
        let bytes: Bytes = data.records.as_ref().unwrap().to_bytes();
        let mut offset = 0;
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.header().base_offset, offset);
            offset += 1;
        }
        usize::try_from(offset).unwrap()
    };
    response.responses[0].partitions.iter().enumerate().map(count).collect()
}

#[tokio::test(start_paused = true)]
async fn cold_partitions_wait_for_the_store_together() {
    // Each partition fills an object of its own.
    let archive = Archive::make(&vec![vec![900_000; 5]; 8]).await;
    let mut elapsed = Vec::new();
    for partitions in [1, 8] {
        let broker = archive.open().await;
        archive.store.set_rates(FaultRates { latency_max: LATENCY, ..FaultRates::default() });
        let started = archive.world.clock.monotonic();
        let request = archive.request(50 << 20, &vec![1 << 20; partitions]);
        assert_eq!(fetch(&broker, &request).await, vec![1; partitions]);
        elapsed.push(archive.world.clock.monotonic() - started);
        archive.store.set_rates(FaultRates::default());
        broker.stop().await;
    }
    // One after the other would take about eight times as long.
    assert!(elapsed[1] < 3 * elapsed[0].max(LATENCY), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wave_gives_its_memory_back_and_waits_for_none() {
    let archive = Archive::make(&vec![vec![100_000; 2]; 4]).await;
    let broker = archive.open().await;
    let memory = &broker.broker.fetch_memory;
    // Only the first partition's share is free: the others are left for the next fetch.
    let rest = memory.try_acquire(memory.total() - (1 << 20)).unwrap();
    let request = archive.request(50 << 20, &[1 << 20; 4]);
    assert_eq!(fetch(&broker, &request).await, [2, 0, 0, 0]);
    drop(rest);
    assert_eq!(fetch(&broker, &request).await, [2, 2, 2, 2]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(memory.used(), 0);
}

fn values() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let sizes = prop_oneof![4 => 100..3000_usize, 1 => 20_000..60_000_usize];
    prop::collection::vec(prop::collection::vec(sizes, 0..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reading_together_gives_what_reading_in_turn_gives(
        values in values(),
        max_bytes in 1..60_000_usize,
        partition_max in prop::collection::vec(1..20_000_usize, 12),
    ) {
        let work = async {
            let archive = Archive::make(&values).await;
            let broker = archive.open().await;
            let partition_max = &partition_max[..values.len()];
            let request = archive.request(max_bytes, partition_max);
            let expected = archive.expected(max_bytes, partition_max);
            assert_eq!(fetch(&broker, &request).await, expected);
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(work);
    }
}
