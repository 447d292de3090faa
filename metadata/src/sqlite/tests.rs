//! The conformance suite on SQLite, and what only a file can show: other releases' files, full
//! disks, second processes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    MemoryStore, MetadataStore,
    conformance::{self, Subject, metadata_suite, new_topic, open, open_with_topic, random},
};

struct InFile {
    directory: TempDir,
    store: SqliteStore,
}

#[async_trait]
impl Subject for InFile {
    type Store = SqliteStore;

    async fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&file(&directory)).await.unwrap();
        Self { directory, store }
    }

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    async fn reopen(self) -> Self {
        let Self { directory, store } = self;
        drop(store);
        let store = SqliteStore::open(&file(&directory)).await.unwrap();
        Self { directory, store }
    }
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("metadata.db")
}

metadata_suite!(suite, InFile);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sqlite_does_what_memory_does(ops in random::ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let path = file(&directory);
            let unsynced = options(&path).unwrap().synchronous(SqliteSynchronous::Off);
            let store = SqliteStore::open_with(&path, unsynced).await.unwrap();
            random::compare(&MemoryStore::new(), &store, ops).await;
        });
    }
}

async fn execute(path: &Path, statement: &'static str) {
    let mut connection = options(path).unwrap().connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    for statement in [
        "UPDATE format SET version = 2",
        "UPDATE format SET incompatible_features = 4",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, x'00', 0)",
    ] {
        let subject = InFile::create().await;
        let path = file(&subject.directory);
        drop(subject.store);
        execute(&path, statement).await;
        let refused = SqliteStore::open(&path).await;
        assert!(matches!(refused, Err(Error::NewerFormat { .. })), "{statement}: {refused:?}");
    }
}

#[tokio::test]
async fn compatible_features_of_a_newer_release_are_no_obstacle() {
    let subject = InFile::create().await;
    let path = file(&subject.directory);
    drop(subject.store);
    execute(&path, "UPDATE format SET compatible_features = 255").await;
    SqliteStore::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(file(&directory), [7_u8; 8192]).unwrap();
    let refused = SqliteStore::open(&file(&directory)).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn commits_are_synced_to_a_write_ahead_file() {
    let subject = InFile::create().await;
    open(&subject.store).await;
    let mut slot = subject.store.writer.lock().await;
    let connection = slot.connection().unwrap();
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
    let foreign_keys: i64 =
        sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(connection).await.unwrap();
    assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let subject = InFile::create().await;
    let path = file(&subject.directory);
    let fence = open_with_topic(&subject.store, 1).await;
    let before = subject.store.export().await.unwrap();
    drop(subject.store);

    let pages = options(&path).unwrap().pragma("max_page_count", "60");
    let store = SqliteStore::open_with(&path, pages).await.unwrap();
    let refused = store.create_topic(&fence, new_topic(2, 100_000)).await;
    assert!(matches!(refused, Err(Error::StorageFull(_))), "{refused:?}");
    assert!(refused.unwrap_err().is_retriable());
    assert_eq!(store.export().await.unwrap(), before);
    store.create_topic(&fence, new_topic(3, 1)).await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_busy_then_fences_the_first() {
    let subject = InFile::create().await;
    let path = file(&subject.directory);
    let first = open_with_topic(&subject.store, 1).await;
    let impatient = options(&path).unwrap().busy_timeout(Duration::ZERO);
    let second = SqliteStore::open_with(&path, impatient).await.unwrap();

    let held = subject.store.begin_write().await.unwrap();
    let busy = second.allocate_producer_ids(&first, 1).await;
    assert!(matches!(&busy, Err(error @ Error::Busy(_)) if error.is_retriable()), "{busy:?}");
    assert_eq!(second.load().await.unwrap().topics.len(), 1);
    crate::engine::Transaction::roll_back(held).await;

    let fence = open(&second).await.fence;
    let fenced = subject.store.create_topic(&first, new_topic(2, 1)).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    second.create_topic(&fence, new_topic(2, 1)).await.unwrap();
    assert_eq!(subject.store.load().await, second.load().await);
}

#[tokio::test]
async fn a_closed_store_opens_again_when_it_is_used() {
    let subject = InFile::create().await;
    let fence = open_with_topic(&subject.store, 1).await;
    subject.store.close().await.unwrap();
    let journal = subject.directory.path().join("metadata.db-wal");
    assert!(!journal.exists(), "closing moves the write-ahead file into the database");
    subject.store.create_topic(&fence, new_topic(2, 1)).await.unwrap();
    assert_eq!(subject.store.load().await.unwrap().topics.len(), 2);
}

#[tokio::test]
async fn damaged_extents_are_reported_with_their_object() {
    let subject = InFile::create().await;
    let path = file(&subject.directory);
    let fence = open_with_topic(&subject.store, 1).await;
    let extent = conformance::extent(conformance::key(1, 0), 0, 0, 5);
    conformance::commit(&subject.store, &fence, 1, vec![extent]).await;
    execute(&path, "UPDATE objects SET extents = x'0100ffffffff'").await;
    let refused = subject.store.committed_objects().await;
    let named = matches!(&refused, Err(Error::Corrupt(what)) if what.contains("000000000001"));
    assert!(named, "{refused:?}");
}

#[tokio::test]
async fn nothing_is_written_after_a_commit_of_unknown_outcome() {
    let subject = InFile::create().await;
    let fence = open_with_topic(&subject.store, 1).await;
    let transaction = subject.store.begin_write().await.unwrap();
    // The second COMMIT is one that SQLite cannot carry out, for whatever reason.
    let transaction = transaction.commit_underneath().await;
    let unknown = crate::engine::Transaction::commit(transaction).await;
    assert!(matches!(&unknown, Err(error) if error.is_outcome_unknown()), "{unknown:?}");
    let refused = subject.store.create_topic(&fence, new_topic(2, 1)).await;
    assert!(matches!(refused, Err(Error::Io(_))), "{refused:?}");
    assert_eq!(subject.store.load().await.unwrap().topics.len(), 1);
    let subject = subject.reopen().await;
    subject.store.create_topic(&fence, new_topic(2, 1)).await.unwrap();
}

#[tokio::test]
async fn a_file_of_version_1_is_read_as_it_always_was() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(file(&directory), include_bytes!("../../testdata/metadata.v1.db")).unwrap();
    let store = SqliteStore::open(&file(&directory)).await.unwrap();
    let exported = store.export().await.unwrap();
    let expected = include_str!("../../testdata/snapshot.v1.json").trim_end();
    assert_eq!(String::from_utf8_lossy(&exported), expected);
}
