//! What goes into an object comes out: sweeps over offsets, sizes, timestamps, and damage.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{ObjectId, PartitionKey, clock::TokioClock, rng::Rng};
use metadata::{Extent, ObjectLevel};
use proptest::prelude::*;
use protocol::{Piece, Records, records::BatchHeader};
use uuid::Uuid;

use super::{
    testing::{TestWal, World, batch, key, spawner, timestamp},
    *,
};
use crate::{
    object_store::faulty::{Fault, FaultyObjectStore, Operation},
    wal::{WalEvent, WalFs, sim_fs::SimWalFs},
};

const ID: ObjectId = ObjectId(Uuid::from_u128(99));

/// An object in a store, with what each partition put into it.
struct Fixture {
    object: Arc<ObjectRef>,
    batches: BTreeMap<PartitionKey, Vec<Bytes>>,
}

/// Blocks of `(partition, records, value bytes)` as an L0 object.
async fn l0(storage: &ObjectStorage, blocks: &[Vec<(i32, i32, usize)>], whole: bool) -> Fixture {
    let fs: Arc<dyn WalFs> = Arc::new(SimWalFs::new(Rng::seeded(1)));
    let mut wal = TestWal::create(&fs, 5).await;
    let mut batches: BTreeMap<PartitionKey, Vec<Bytes>> = BTreeMap::new();
    for block in blocks {
        let mut runs = Vec::new();
        for (partition, records, bytes) in block {
            let known = batches.entry(key(*partition)).or_default();
            let base = known.last().map_or(1000, |b| BatchHeader::parse(b).unwrap().next_offset());
            known.push(batch(base, *records, *bytes));
            runs.push((key(*partition), known.last().unwrap().clone()));
        }
        wal.block(&runs).await;
    }
    let from = if whole { 0 } else { 4096 };
    let WalEvent::Sealed { file, end } = wal.seal().await else { panic!() };
    let origin = Origin { file_id: 5, from, to: end };
    let footer = build_blocks_footer(ID, &file, origin).unwrap();
    let data = file.read_at(from, usize::try_from(end - from).unwrap()).unwrap();
    assert_eq!(crc32c::crc32c(&data), footer.data_crc32c);
    let object = put(storage, &footer, data, ObjectLevel::L0).await;
    Fixture { object, batches }
}

/// Batches of `(records, value bytes)` of partition 0 as an L1 object.
async fn l1(storage: &ObjectStorage, sizes: &[(i32, usize)]) -> Fixture {
    let mut batches: Vec<Bytes> = Vec::new();
    for (records, bytes) in sizes {
        let base = batches.last().map_or(1000, |b| BatchHeader::parse(b).unwrap().next_offset());
        batches.push(batch(base, *records, *bytes));
    }
    let mut builder = BatchesBuilder::new(ID, key(0), 1000, ProducerTracker::default(), nothing());
    for two in batches.chunks(2) {
        builder.push(&two.concat().into()).unwrap();
    }
    let data = Bytes::from(batches.concat());
    let object = put(storage, &builder.finish(), data, ObjectLevel::L1).await;
    Fixture { object, batches: BTreeMap::from([(key(0), batches)]) }
}

fn nothing() -> KnownTransactions {
    KnownTransactions { aborted: Vec::new(), last_stable_offset: 0 }
}

async fn put(
    storage: &ObjectStorage,
    footer: &Footer,
    data: Bytes,
    level: ObjectLevel,
) -> Arc<ObjectRef> {
    let encoded = footer.encode().unwrap();
    let (footer_position, size) = (data.len() as u64, (data.len() + encoded.len()) as u64);
    assert_eq!(footer_position, footer.data_len);
    storage.put("o", &[data, encoded]).await.unwrap();
    Arc::new(ObjectRef { id: ID, key: "o".to_owned(), level, size, footer_position, origin: None })
}

async fn local_storage(directory: &tempfile::TempDir) -> Arc<ObjectStorage> {
    let url = format!("file://{}", directory.path().display());
    let clock = Arc::new(TokioClock::starting_at(0));
    let options = StorageOptions::default();
    let settings = BTreeMap::new();
    Arc::new(
        ObjectStorage::open(&url, &settings, options, &spawner(), clock, Rng::seeded(1))
            .await
            .unwrap(),
    )
}

fn memory_storage() -> (FaultyObjectStore, Arc<ObjectStorage>) {
    let clock = Arc::new(TokioClock::starting_at(0));
    let memory = Arc::new(object_store::memory::InMemory::new());
    let store = FaultyObjectStore::new(memory, clock.clone(), Rng::seeded(1));
    let options = StorageOptions::default();
    let inner = Arc::new(store.clone());
    (store, Arc::new(ObjectStorage::new(inner, options, clock, Rng::seeded(2))))
}

fn reader(storage: &Arc<ObjectStorage>) -> ObjectReader {
    ObjectReader::new(Arc::clone(storage), spawner(), &ReaderOptions::default())
}

/// All bytes, those in files too.
fn joined(records: &Records) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len());
    for piece in records.pieces() {
        match piece {
            Piece::Bytes(memory) => bytes.extend_from_slice(memory),
            Piece::Slice(slice) => {
                bytes.extend_from_slice(&slice.source.read_at(slice.position, slice.len).unwrap());
            }
        }
    }
    bytes
}

/// Reads from every offset, with different bounds, and compares with what went in.
async fn sweep(reader: &ObjectReader, fixture: &Fixture) {
    for (key, batches) in &fixture.batches {
        let headers: Vec<_> = batches.iter().map(|b| BatchHeader::parse(b).unwrap()).collect();
        let end = headers.last().unwrap().next_offset();
        for offset in 1000..end {
            let first = headers.iter().position(|h| h.last_offset() >= offset).unwrap();
            for (max_bytes, until) in [(0, end), (1, end), (150_000, end), (usize::MAX, end - 1)] {
                let read = reader
                    .read(&fixture.object, key, offset, until, max_bytes, true)
                    .await
                    .unwrap();
                let (mut expected, mut next_offset) = (Vec::new(), offset);
                for (batch, header) in batches.iter().zip(&headers).skip(first) {
                    let full = !expected.is_empty() && expected.len() + batch.len() > max_bytes;
                    if header.base_offset >= until || offset >= until || full {
                        break;
                    }
                    expected.extend_from_slice(batch);
                    next_offset = header.next_offset();
                }
                assert!(read.records.concat() == expected, "{key} {offset} {max_bytes} {until}");
                assert_eq!(read.next_offset, next_offset);
                let wanted = Wanted {
                    from_offset: offset,
                    end_offset: until,
                    max_bytes,
                    min_one_batch: true,
                };
                let sliced = reader.read_as(&fixture.object, key, wanted, Form::Slices).await;
                let (records, next) = sliced.unwrap();
                assert!(joined(&records) == expected, "{key} {offset} {max_bytes} {until}");
                assert_eq!(next, next_offset);
            }
            let none = reader.read(&fixture.object, key, offset, end, 1, false).await.unwrap();
            assert_eq!((none.records.len(), none.next_offset), (0, offset));
        }
        for offset in [999, end] {
            let error = reader.read(&fixture.object, key, offset, end, 1, true).await.unwrap_err();
            assert!(matches!(error, Error::NotHeld { .. }), "{error}");
        }
    }
}

/// Finds every timestamp's batch.
async fn timestamps(reader: &ObjectReader, fixture: &Fixture) {
    for (key, batches) in &fixture.batches {
        for batch in batches {
            let header = BatchHeader::parse(batch).unwrap();
            for wanted in [timestamp(header.base_offset), timestamp(header.last_offset())] {
                let found = reader
                    .batch_for_timestamp(&fixture.object, key, wanted, 1000, i64::MAX)
                    .await
                    .unwrap();
                assert_eq!(found.as_ref(), Some(batch));
            }
        }
        let late = timestamp(1_000_000);
        let none = reader.batch_for_timestamp(&fixture.object, key, late, 1000, i64::MAX).await;
        assert_eq!(none.unwrap(), None);
    }
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_blocks_read_back_from_any_offset(
        blocks in prop::collection::vec(
            prop::collection::vec((0..4_i32, 1..4_i32, 0..60_000_usize), 1..5), 1..12),
        whole in any::<bool>(),
    ) {
        on_a_runtime(async {
            let (_, remote) = memory_storage();
            let fixture = l0(&remote, &blocks, whole).await;
            sweep(&reader(&remote), &fixture).await;
            timestamps(&reader(&remote), &fixture).await;
            let directory = tempfile::tempdir().unwrap();
            let local = local_storage(&directory).await;
            let fixture = l0(&local, &blocks, whole).await;
            sweep(&reader(&local), &fixture).await;
        });
    }

    #[test]
    fn any_batches_read_back_from_any_offset(
        sizes in prop::collection::vec((1..5_i32, 0..50_000_usize), 1..20),
    ) {
        on_a_runtime(async {
            let (_, remote) = memory_storage();
            let fixture = l1(&remote, &sizes).await;
            sweep(&reader(&remote), &fixture).await;
            timestamps(&reader(&remote), &fixture).await;
            let directory = tempfile::tempdir().unwrap();
            let local = local_storage(&directory).await;
            let fixture = l1(&local, &sizes).await;
            sweep(&reader(&local), &fixture).await;
        });
    }
}

#[tokio::test]
async fn the_index_is_sparse_and_lets_a_reader_start_near() {
    let (_, storage) = memory_storage();
    let blocks = vec![vec![(0, 1, 100_000), (1, 1, 10)]; 100];
    let fixture = l0(&storage, &blocks, true).await;
    let footer = reader(&storage).footer(&fixture.object).await.unwrap();
    let large = footer.partition(&key(0)).unwrap().index.len();
    let small = footer.partition(&key(1)).unwrap().index.len();
    assert!((25..=45).contains(&large), "{large}");
    assert!((8..=12).contains(&small), "{small}");
    assert_eq!(
        footer.partition(&key(0)).unwrap().extent(7).bytes,
        100 * { fixture.batches[&key(0)][0].len() as u64 }
    );
}

/// Reads all of every partition: what comes is right, or an error that names the damage.
async fn read_damaged(storage: &Arc<ObjectStorage>, fixture: &Fixture) -> bool {
    let reader = reader(storage);
    let mut noticed = false;
    for (key, batches) in &fixture.batches {
        match reader.read(&fixture.object, key, 1000, i64::MAX, usize::MAX, true).await {
            Ok(read) => assert!(read.records.concat() == batches.concat(), "wrong bytes"),
            Err(Error::Damaged { id, .. }) => {
                assert_eq!(id, ID);
                noticed = true;
            }
            Err(error) => panic!("{error}"),
        }
        // What is sent from a file was checked just as well.
        let all = Wanted {
            from_offset: 1000,
            end_offset: i64::MAX,
            max_bytes: usize::MAX,
            min_one_batch: true,
        };
        match reader.read_as(&fixture.object, key, all, Form::Slices).await {
            Ok((records, _)) => assert!(joined(&records) == batches.concat(), "wrong bytes"),
            Err(error) => assert!(noticed, "{error}"),
        }
    }
    noticed
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_or_without_effect_and_never_wrong_data() {
    let directory = tempfile::tempdir().unwrap();
    let storage = local_storage(&directory).await;
    let path = storage.local_path("o").unwrap();
    for level in [ObjectLevel::L0, ObjectLevel::L1] {
        let _ = std::fs::remove_file(&path);
        let fixture = match level {
            ObjectLevel::L0 => {
                l0(&storage, &[vec![(0, 2, 50), (1, 1, 9)], vec![(0, 1, 5)]], false).await
            }
            ObjectLevel::L1 => l1(&storage, &[(2, 50), (1, 9), (3, 20)]).await,
        };
        let bytes = std::fs::read(&path).unwrap();
        let data = usize::try_from(fixture.object.footer_position).unwrap();
        let mut noticed = 0;
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 64 == 0) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).unwrap();
            let found = read_damaged(&storage, &fixture).await;
            assert!(found || level == ObjectLevel::L0 && at < data, "byte {at} of {level:?}");
            noticed += usize::from(found);
        }
        assert!(noticed > 200, "{noticed}");
        // Cut short.
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_damaged(&storage, &fixture).await);
        std::fs::remove_file(&path).unwrap();
        let gone = reader(&storage).read(&fixture.object, &key(0), 1000, 2000, 1, true).await;
        assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn a_footer_of_another_object_is_refused() {
    let (_, storage) = memory_storage();
    let fixture = l1(&storage, &[(1, 10)]).await;
    let id = ObjectId(Uuid::from_u128(1));
    let other = Arc::new(ObjectRef { id, ..(*fixture.object).clone() });
    let read = reader(&storage).read(&other, &key(0), 1000, 2000, 1, true).await;
    assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_a_chunk_ask_the_store_once() {
    let (store, storage) = memory_storage();
    let fixture = l1(&storage, &[(1, 50_000); 10]).await;
    let reader = reader(&storage);
    reader.footer(&fixture.object).await.unwrap();
    let before = store.requests(Operation::Get);
    let key = key(0);
    let reads = (0..20).map(|_| reader.read(&fixture.object, &key, 1000, 2000, usize::MAX, true));
    for read in futures::future::join_all(reads).await {
        assert!(read.unwrap().records.concat() == fixture.batches[&key].concat());
    }
    assert_eq!(store.requests(Operation::Get), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_sequential_reader_finds_the_next_chunks_loaded() {
    let (store, storage) = memory_storage();
    let fixture = l1(&storage, &vec![(1, 65_000); 250]).await;
    let reader = reader(&storage);
    let (mut offset, mut reads) = (1000, 0);
    while offset < 1250 {
        let read =
            reader.read(&fixture.object, &key(0), offset, 1250, 512 << 10, true).await.unwrap();
        offset = read.next_offset;
        reads += 1;
        // Background loads run while the reader does something else.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    // 16 chunks and the footer, but far fewer requests: neighbours were asked for together.
    let requests = store.requests(Operation::Get);
    assert!(reads > 25 && requests <= 15, "{requests} requests for {reads} reads");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_read_leaves_no_trace() {
    let (store, storage) = memory_storage();
    let fixture = l1(&storage, &[(1, 50_000); 10]).await;
    let (reader, key) = (reader(&storage), key(0));
    reader.footer(&fixture.object).await.unwrap();
    store.script(Operation::Get, [Some(Fault::Timeout)]);
    let read = reader.read(&fixture.object, &key, 1000, 2000, usize::MAX, true);
    let abandoned = tokio::time::timeout(std::time::Duration::from_secs(1), read).await;
    assert!(abandoned.is_err());
    let read = reader.read(&fixture.object, &key, 1000, 2000, usize::MAX, true).await.unwrap();
    assert!(read.records.concat() == fixture.batches[&key].concat());
}

#[tokio::test(start_paused = true)]
async fn what_a_transfer_damaged_is_asked_for_once_more() {
    let (store, storage) = memory_storage();
    let fixture = l1(&storage, &[(1, 50_000); 10]).await;
    let (reader, key) = (reader(&storage), key(0));
    reader.footer(&fixture.object).await.unwrap();
    store.script(Operation::Get, [Some(Fault::Corrupted); 2]);
    let damaged = reader.read(&fixture.object, &key, 1000, 2000, usize::MAX, true).await;
    assert!(matches!(damaged, Err(Error::Damaged { .. })), "{damaged:?}");
    store.script(Operation::Get, [Some(Fault::Corrupted)]);
    let read = reader.read(&fixture.object, &key, 1000, 2000, usize::MAX, true).await.unwrap();
    assert!(read.records.concat() == fixture.batches[&key].concat());
}

#[tokio::test(start_paused = true)]
async fn the_origin_of_an_object_gives_back_the_bytes_of_the_wal() {
    let (_, world) = World::faulty(1).await;
    let mut wal = TestWal::create(&world.wal_fs, 1).await;
    let (uploader, sender) = world.uploader().await;
    sender.send(wal.block(&[world.run(0, 3, 100)]).await).unwrap();
    uploader.flush().await;
    let (object, _): (Arc<ObjectRef>, Extent) = world.partition(0).extents()[0].clone();
    let origin = object.origin.unwrap();
    let len = origin.to - origin.from;
    let raw = world.reader().raw(&object, 0..len).await.unwrap();
    assert_eq!(raw, wal.file.read_at(origin.from, usize::try_from(len).unwrap()).unwrap());
}
