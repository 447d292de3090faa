//! What the service adds to the shards: waiting.

use std::sync::atomic::{AtomicI64, Ordering};

use common::{
    clock::TokioClock,
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use futures::{FutureExt as _, future::BoxFuture};
use protocol::records::Compression;
use tokio::{sync::Semaphore, time::sleep};

use super::*;
use crate::{
    runtime::{RuntimeDeps, fake_log::FakeLog},
    testing::EPOCH_MS,
    transaction::service::{
        MarkerError, MarkerWriter, ProducerIdSource, TransactionCoordinator, TransactionParts,
    },
};

const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct ProducerIds(AtomicI64);

impl ProducerIdSource for ProducerIds {
    fn next_producer_id(&self) -> BoxFuture<'_, Result<ProducerId, ErrorCode>> {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(ProducerId(next))).boxed()
    }
}

/// Writes a marker when a permit is there.
#[derive(Debug)]
struct HeldMarkers(Semaphore);

impl MarkerWriter for HeldMarkers {
    fn write_marker<'a>(
        &'a self,
        _: i32,
        _: &'a Markers,
        _: &'a TopicPartition,
    ) -> BoxFuture<'a, Result<(), MarkerError>> {
        async {
            self.0.acquire().await.unwrap().forget();
            Ok(())
        }
        .boxed()
    }
}

struct Service {
    coordinator: TransactionCoordinator,
    log: Arc<FakeLog>,
    markers: Arc<HeldMarkers>,
}

impl Service {
    async fn start() -> Self {
        let log = FakeLog::new();
        let markers = Arc::new(HeldMarkers(Semaphore::new(0)));
        let coordinator = TransactionCoordinator::start(TransactionParts {
            runtime: RuntimeDeps {
                name: "transactions",
                log: Arc::<FakeLog>::clone(&log),
                clock: Arc::new(TokioClock::starting_at(EPOCH_MS)),
                rng: Rng::seeded(1),
                spawner: Spawner::tasks(Fatal::new(|reason| panic!("{reason}"))),
                compression: Compression::None,
            },
            config: Arc::new(TransactionConfig::default()),
            producer_ids: Arc::new(ProducerIds(AtomicI64::new(1))),
            markers: Arc::<HeldMarkers>::clone(&markers),
        });
        coordinator.host(1);
        // It loads.
        sleep(Duration::from_secs(1)).await;
        Self { coordinator, log, markers }
    }

    async fn add(&self, to: ProducerIdAndEpoch, number: i32) -> Result<(), ErrorCode> {
        let request = AddPartitions {
            transactional_id: ID.to_owned(),
            producer_id: to.producer_id,
            producer_epoch: to.producer_epoch,
            partitions: [partition(number)].into(),
            client_version: TransactionVersion::V0,
        };
        self.coordinator.add_partitions(&request, PATIENCE).await
    }

    async fn commit(&self, of: ProducerIdAndEpoch) {
        let request = EndTransaction {
            transactional_id: ID.to_owned(),
            producer: of,
            committed: true,
            client_version: TransactionVersion::V0,
        };
        self.coordinator.end_transaction(&request).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_no_concurrent_transaction() {
    let service = Service::start().await;
    let producer = service.coordinator.init_producer_id(&init_request(ID, None)).await.unwrap();
    service.log.hold();
    let mut adding = Box::pin(service.add(producer, 0));
    tokio::select! {
        added = &mut adding => panic!("{added:?} before it was durable"),
        () = sleep(PATIENCE * 20) => {}
    }
    service.log.sync();
    adding.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_waited_for_but_not_for_ever() {
    let service = Service::start().await;
    let producer = service.coordinator.init_producer_id(&init_request(ID, None)).await.unwrap();
    service.add(producer, 0).await.unwrap();
    service.commit(producer).await;
    assert_eq!(service.add(producer, 1).await, Err(ErrorCode::ConcurrentTransactions));
    let mut adding = Box::pin(service.add(producer, 1));
    tokio::select! {
        added = &mut adding => panic!("{added:?} before the marker was written"),
        () = sleep(PATIENCE / 2) => {}
    }
    service.markers.0.add_permits(1);
    adding.await.unwrap();
}
