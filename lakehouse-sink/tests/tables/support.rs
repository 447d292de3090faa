//! A broker, a topic that is a table, a sink, and an object store that can be made to fail.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broker::{
    tables::TableTopics,
    testing::{EPOCH_MS, TestBroker, World},
};
use bytes::Bytes;
use common::{ProducerId, TopicId, clock::SharedClock};
use deltalake::{
    DeltaTable,
    arrow::{
        array::AsArray,
        datatypes::{Int32Type, Int64Type},
        util::display::array_value_to_string,
    },
    datafusion::prelude::SessionContext,
};
use futures::TryStreamExt as _;
use lakehouse_sink::{Sink, SinkDeps, TableLog, TableStatus, TableStore};
use metadata::NewTopic;
use object_store::{ObjectStore as _, memory::InMemory, path::Path};
use protocol::records::{BatchBuilder, Compression, TimestampType, ValidatedRecords};
use storage::{
    Acks, AppendOrigin, EndTransaction, Partition, object_store::faulty::FaultyObjectStore,
};
use table::{catalog::TableCatalog, table::Table};
use tokio::time::sleep;
use url::Url;

/// Keys that make a table that does not wait.
const EAGER: [(&str, &str); 3] = [
    ("table.enable", "true"),
    ("table.commit.interval.ms", "100"),
    ("table.schema.sample.ms", "0"),
];

/// A row: partition, offset, and its value columns as `name=value`, nulls left out.
pub(crate) type Row = (i32, i64, Vec<String>);

pub(crate) struct Lake {
    world: World,
    broker: TestBroker,
    pub(crate) faults: FaultyObjectStore,
    pub(crate) store: TableStore,
    topic_id: TopicId,
}

/// A record: timestamp in milliseconds, key and value.
pub(crate) type Record<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

/// A sink that runs until it is dropped, as if its process were killed then.
pub(crate) struct Running {
    pub(crate) sink: Arc<Sink>,
    pub(crate) catalog: Arc<TableCatalog>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sink.stop();
        self.task.abort();
    }
}

impl Lake {
    /// A topic `t` of `partitions` partitions with these keys besides the eager ones.
    pub(crate) async fn new(partitions: usize, keys: &[(&str, &str)]) -> Self {
        let world = World::new(1).await.unwrap();
        let broker = world.start(&[]).await.unwrap();
        let inner = Arc::new(InMemory::new());
        let faults = FaultyObjectStore::new(inner, Arc::clone(&world.clock), world.rng.clone());
        let store = TableStore::new(
            Arc::new(faults.clone()),
            Path::from("cluster"),
            Url::parse("memory:///cluster").unwrap(),
        )
        .unwrap();
        let topic_id = TopicId(world.rng.uuid());
        let lake = Self { world, broker, faults, store, topic_id };
        let keys: Vec<_> = EAGER.iter().chain(keys).copied().collect();
        lake.create_topic(topic_id, "t", partitions, &keys).await;
        lake
    }

    /// Another topic, of one partition.
    pub(crate) async fn create(&self, name: &str, keys: &[(&str, &str)]) {
        self.create_topic(TopicId(self.world.rng.uuid()), name, 1, keys).await;
    }

    async fn create_topic(&self, id: TopicId, name: &str, count: usize, keys: &[(&str, &str)]) {
        let configs: BTreeMap<_, _> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let new = NewTopic {
            id,
            name: name.to_owned(),
            internal: false,
            configs,
            replication_factor: 1,
            created_ms: EPOCH_MS,
            partitions: vec![vec![1]; count],
        };
        self.broker.broker.catalog.create_topic(new).await.unwrap();
    }

    /// Deletes the topic.
    pub(crate) async fn delete(&self) {
        self.broker.broker.catalog.delete_topic(self.topic_id).await.unwrap();
    }

    /// What the object store has.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let found = self.faults.list(None).map_ok(|meta| meta.location.to_string());
        found.try_collect().await.unwrap()
    }

    /// The names of the metadata store's values that begin so.
    pub(crate) async fn pointers(&self, prefix: &str) -> Vec<String> {
        self.world.metadata.pointer_names(prefix).await.unwrap()
    }

    /// Deletes the topic and creates one of the same name.
    pub(crate) async fn recreate(&mut self, partitions: usize) {
        let catalog = &self.broker.broker.catalog;
        let configs = catalog.image().by_id(self.topic_id).unwrap().topic.configs.clone();
        self.delete().await;
        self.topic_id = TopicId(self.world.rng.uuid());
        let keys: Vec<_> =
            configs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.create_topic(self.topic_id, "t", partitions, &keys).await;
    }

    pub(crate) fn partition(&self, index: i32) -> Arc<Partition> {
        let image = self.broker.broker.catalog.image();
        Arc::clone(image.by_id(self.topic_id).unwrap().partition(index).unwrap())
    }

    pub(crate) async fn set(&self, keys: &[(&str, &str)]) {
        let catalog = &self.broker.broker.catalog;
        let image = catalog.image();
        let topic = &image.by_id(self.topic_id).unwrap().topic;
        let mut configs = topic.configs.clone();
        for (key, value) in keys {
            configs.insert((*key).to_owned(), (*value).to_owned());
        }
        catalog.set_topic_configs(self.topic_id, topic.config_version, configs).await.unwrap();
    }

    /// Appends a batch of values and waits until it is durable.
    pub(crate) async fn produce<V: AsRef<[u8]>>(&self, partition: i32, values: &[V]) {
        self.append(partition, None, values).await;
    }

    /// Appends a batch within a transaction, and ends that.
    pub(crate) async fn transact<V: AsRef<[u8]>>(
        &self,
        partition: i32,
        producer_id: i64,
        values: &[V],
        commit: bool,
    ) {
        self.append(partition, Some(producer_id), values).await;
        self.end(partition, producer_id, commit).await;
    }

    /// Ends a producer's transaction.
    pub(crate) async fn end(&self, partition: i32, producer_id: i64, commit: bool) {
        let end = EndTransaction {
            producer_id: ProducerId(producer_id),
            producer_epoch: 0,
            commit,
            coordinator_epoch: 0,
            transaction_version: 1,
        };
        let appended = self.partition(partition).append_marker(end, Acks::All).unwrap();
        appended.ticket.wait().await.unwrap();
    }

    /// Appends a batch, of a transaction if there is a producer id.
    pub(crate) async fn append<V: AsRef<[u8]>>(
        &self,
        partition: i32,
        producer_id: Option<i64>,
        values: &[V],
    ) {
        let records: Vec<_> =
            values.iter().map(|value| (EPOCH_MS, None, Some(value.as_ref()))).collect();
        self.append_records(partition, producer_id, &records).await;
    }

    /// Appends a batch of records, of a transaction if there is a producer id.
    pub(crate) async fn append_records(
        &self,
        partition: i32,
        producer_id: Option<i64>,
        records: &[Record<'_>],
    ) {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some(producer_id) = producer_id {
            builder = builder.producer(producer_id, 0, 0).transactional(true);
        }
        for (delta, (timestamp_ms, key, value)) in (0..).zip(records) {
            builder.append(delta, *timestamp_ms, *key, *value, &[]).unwrap();
        }
        let bytes: Bytes = builder.build().unwrap();
        let records =
            ValidatedRecords::trusted(bytes, TimestampType::CreateTime, EPOCH_MS).unwrap();
        let partition = self.partition(partition);
        let guard = producer_id.and_then(|producer_id| {
            partition.begin_verification(ProducerId(producer_id), 0, 0, true).unwrap()
        });
        let appended =
            partition.append_as(records, Acks::All, AppendOrigin::Client, guard).unwrap();
        appended.ticket.wait().await.unwrap();
    }

    pub(crate) fn sink(&self) -> Running {
        self.sink_by(&self.world.clock)
    }

    /// A sink by another clock than the broker's.
    pub(crate) fn sink_by(&self, clock: &SharedClock) -> Running {
        let topics = Arc::new(TableTopics(self.broker.broker.catalog.clone()));
        let metadata = Arc::clone(&self.world.metadata);
        let catalog = Arc::new(TableCatalog::new(topics, metadata, self.broker.broker.fence));
        let sink = Sink::new(SinkDeps {
            catalog: Arc::clone(&catalog),
            store: self.store.clone(),
            clock: Arc::clone(clock),
            memory_bytes: 64 << 20,
            removal_grace: Duration::from_millis(100),
            spawner: self.world.spawner.clone(),
        });
        let task = self.world.spawner.spawn("sink", Arc::clone(&sink).run());
        Running { sink, catalog, task }
    }

    /// Waits for a status.
    pub(crate) async fn until(
        &self,
        running: &Running,
        is_it: impl Fn(&TableStatus) -> bool,
    ) -> TableStatus {
        let mut last = None;
        for _ in 0..3000 {
            let status = running.sink.status(self.topic_id);
            if let Some(status) = status.filter(|status| is_it(status)) {
                return status;
            }
            last = running.sink.status(self.topic_id);
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the table did not get there: {last:?}");
    }

    /// Waits until the table has everything.
    pub(crate) async fn caught_up(&self, running: &Running) -> TableStatus {
        let image = self.broker.broker.catalog.image();
        let partitions = image.by_id(self.topic_id).unwrap().partitions.clone();
        let has_all = |status: &TableStatus| {
            partitions.iter().all(|partition| {
                let offsets = partition.offsets();
                let next = status.offsets.get(&partition.key().partition).copied();
                next.unwrap_or(offsets.log_start) >= offsets.last_stable
            })
        };
        self.until(running, has_all).await
    }

    pub(crate) async fn table(&self, running: &Running) -> Arc<Table> {
        running.catalog.refresh().await.unwrap();
        running.catalog.tables().into_iter().next().unwrap()
    }

    /// Everything in the table, by partition and offset.
    pub(crate) async fn rows(&self, running: &Running) -> Vec<Row> {
        let directory = self.table(running).await.directory();
        self.rows_of(&directory).await
    }

    pub(crate) async fn rows_of(&self, directory: &str) -> Vec<Row> {
        rows(self.log_of(directory).await.table()).await
    }

    /// The newest version of the table.
    pub(crate) async fn log(&self, running: &Running) -> TableLog {
        let directory = self.table(running).await.directory();
        self.log_of(&directory).await
    }

    /// The newest version of a table that is there.
    pub(crate) async fn log_of(&self, directory: &str) -> TableLog {
        TableLog::open(&self.store, directory).await.unwrap().unwrap()
    }
}

async fn rows(table: &DeltaTable) -> Vec<Row> {
    let context = SessionContext::new();
    let provider = table.table_provider().await.unwrap();
    context.register_table("t", provider).unwrap();
    let sql = "select * from t order by kafka_partition, kafka_offset";
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let partitions =
            batch.column_by_name("kafka_partition").unwrap().as_primitive::<Int32Type>();
        let offsets = batch.column_by_name("kafka_offset").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let columns = schema.fields().iter().zip(batch.columns());
            let shown = columns.filter_map(|(field, column)| {
                let is_own = !field.name().starts_with("kafka_") || field.name() == "kafka_rescued";
                (is_own && column.is_valid(row)).then(|| {
                    format!("{}={}", field.name(), array_value_to_string(column, row).unwrap())
                })
            });
            rows.push((partitions.value(row), offsets.value(row), shown.collect()));
        }
    }
    rows
}

/// A row as a test writes it.
pub(crate) fn row(partition: i32, offset: i64, columns: &[&str]) -> Row {
    (partition, offset, columns.iter().map(|column| (*column).to_owned()).collect())
}
