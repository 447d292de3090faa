//! The object store's suite over every kind of store, and the faults.

use std::sync::Arc;

use common::{clock::TokioClock, spawn::Fatal};
use object_store::memory::InMemory;

use super::{
    faulty::{Fault, FaultyObjectStore, Operation},
    *,
};

fn spawner() -> Spawner {
    Spawner::threads(Fatal::new(|reason| panic!("{reason}")))
}

fn clock() -> SharedClock {
    Arc::new(TokioClock::starting_at(1_700_000_000_000))
}

fn faulty() -> (FaultyObjectStore, ObjectStorage) {
    let (clock, rng) = (clock(), Rng::seeded(1));
    let store = FaultyObjectStore::new(Arc::new(InMemory::new()), clock.clone(), rng.clone());
    let storage =
        ObjectStorage::new(Arc::new(store.clone()), StorageOptions::default(), clock, rng);
    (store, storage)
}

struct Pieces(Vec<Bytes>);

#[async_trait::async_trait]
impl PartSource for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop())
    }
}

/// What every store must do.
async fn suite(storage: &ObjectStorage) {
    small_objects(storage).await;
    large_objects(storage).await;
}

async fn small_objects(storage: &ObjectStorage) {
    let body = Bytes::from((0..=255_u8).cycle().take(100_000).collect::<Vec<_>>());
    storage.put("c/l0/a", &[body.slice(..10), body.slice(10..)]).await.unwrap();
    assert_eq!(storage.get_range("c/l0/a", 5..70_000).await.unwrap(), body.slice(5..70_000));
    assert_eq!(storage.size("c/l0/a").await.unwrap(), Some(100_000));
    assert_eq!(storage.size("c/l0/none").await.unwrap(), None);
    assert!(is_not_found(&storage.get_range("c/l0/none", 0..1).await.unwrap_err()));

    // A repeated put of the same bytes is the retry of an unknown outcome; other bytes are not.
    storage.put("c/l0/a", std::slice::from_ref(&body)).await.unwrap();
    let other = storage.put("c/l0/a", &[body.slice(..9)]).await;
    assert!(matches!(other, Err(Error::ForeignContents { .. })), "{other:?}");
    assert_eq!(storage.size("c/l0/a").await.unwrap(), Some(100_000));

    let mut keys: Vec<_> =
        storage.list("c", None, 100).await.unwrap().into_iter().map(|o| (o.key, o.size)).collect();
    keys.sort();
    assert_eq!(keys, [("c/l0/a".to_owned(), 100_000)]);
    for key in ["c/l0/a", "c/l0/none"] {
        storage.delete(key).await.unwrap();
    }
    assert!(storage.list("c", None, 100).await.unwrap().is_empty());
}

async fn large_objects(storage: &ObjectStorage) {
    let body = Bytes::from((0..=255_u8).cycle().take(100_000).collect::<Vec<_>>());
    let large: Vec<_> = (0..75).map(|n| Bytes::from(vec![n; 1 << 20])).collect();
    let whole: Vec<u8> = large.iter().rev().flatten().copied().collect();
    let size = storage.put_parts("c/l1/t/0/b", &mut Pieces(large)).await.unwrap();
    assert_eq!(size, 75 << 20);
    let range = (7 << 20)..(19 << 20) as u64;
    let read = storage.get_range("c/l1/t/0/b", range.clone()).await.unwrap();
    assert!(read == whole[range.start as usize..range.end as usize]);
    let mut medium = Pieces(vec![body.clone(); 200]);
    assert_eq!(storage.put_parts("c/l0/m", &mut medium).await.unwrap(), 20_000_000);
    storage.delete("c/l0/m").await.unwrap();
    storage.put_parts("c/l1/t/0/s", &mut Pieces(vec![body.clone()])).await.unwrap();
    assert_eq!(storage.get_range("c/l1/t/0/s", 0..100_000).await.unwrap(), body);

    let mut keys: Vec<_> =
        storage.list("c", None, 100).await.unwrap().into_iter().map(|o| (o.key, o.size)).collect();
    keys.sort();
    let expected = [("c/l1/t/0/b", 75 << 20), ("c/l1/t/0/s", 100_000)];
    assert_eq!(keys, expected.map(|(key, size)| (key.to_owned(), size)));
    assert_eq!(storage.list("c", None, 1).await.unwrap().len(), 1);
    assert_eq!(storage.list("c", Some("c/l1/t/0/b"), 100).await.unwrap().len(), 1);

    for key in ["c/l1/t/0/b", "c/l1/t/0/s"] {
        storage.delete(key).await.unwrap();
    }
    assert!(storage.list("c", None, 100).await.unwrap().is_empty());
}

async fn open(url: &str, settings: &[(&str, &str)]) -> Result<ObjectStorage> {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let options = StorageOptions::default();
    ObjectStorage::open(url, &settings, options, &spawner(), clock(), Rng::seeded(1)).await
}

#[tokio::test]
async fn memory_passes_the_suite() {
    suite(&open("memory:///", &[]).await.unwrap()).await;
    small_objects(&open("memory:///some/prefix", &[]).await.unwrap()).await;
}

#[tokio::test]
async fn local_files_pass_the_suite_and_leave_nothing_staged() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/objects");
    let storage = open(&format!("file://{}", root.display()), &[]).await.unwrap();
    suite(&storage).await;
    let staged = std::fs::read_dir(root.join(".staging")).unwrap().count();
    assert_eq!(staged, 0);
}

#[tokio::test]
async fn a_real_s3_server_passes_the_suite() {
    let server = s3_server::S3Server::start().await;
    let options = StorageOptions::default();
    let settings = server.settings();
    let open = async |url, settings: &_| {
        ObjectStorage::open(url, settings, options.clone(), &spawner(), clock(), Rng::seeded(1))
            .await
            .unwrap()
    };
    suite(&open("s3://bucket", &settings).await).await;
    small_objects(&open("s3://bucket/some/prefix", &settings).await).await;
    let mut wrong = settings;
    wrong.insert("aws_secret_access_key".to_owned(), "wrong".to_owned());
    let storage = open("s3://bucket", &wrong).await;
    let refused = storage.put("k", &[Bytes::from_static(b"x")]).await.unwrap_err();
    assert!(!is_transient(&refused), "{refused}");
}

#[tokio::test]
async fn what_a_crash_left_staged_goes_when_the_store_opens() {
    let directory = tempfile::tempdir().unwrap();
    let staging = directory.path().join(".staging");
    std::fs::create_dir(&staging).unwrap();
    std::fs::write(staging.join("0000000000000000"), b"half").unwrap();
    let storage = open(&format!("file://{}", directory.path().display()), &[]).await.unwrap();
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
    storage.put("k", &[Bytes::from_static(b"x")]).await.unwrap();
}

#[tokio::test]
async fn refuses_unknown_settings_schemes_and_credentials_in_the_url() {
    for (url, settings) in [
        ("s3://bucket", &[("aws_acess_key_id", "x")][..]),
        ("memory:///", &[("region", "x")]),
        ("ftp://host/x", &[]),
        ("no url", &[]),
        ("file://relative", &[]),
        ("s3://", &[]),
    ] {
        let error = open(url, settings).await.unwrap_err();
        assert!(matches!(error, Error::Configuration { .. }), "{url}: {error}");
    }
    let error = open("s3://key:secret@bucket/p", &[]).await.unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn gcs_and_azure_open_from_settings() {
    open("az://container/p", &[("account_name", "a"), ("access_key", "YQ==")]).await.unwrap();
    let account = r#"{"gcs_base_url":"http://127.0.0.1:1","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
    open("gs://bucket/p", &[("google_service_account_key", account)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn transient_faults_are_retried() {
    let (store, storage) = faulty();
    for fault in [Fault::Unavailable, Fault::Timeout, Fault::ResetBefore, Fault::ResetAfter] {
        let key = format!("k/{fault:?}");
        store.script(Operation::Put, [Some(fault)]);
        storage.put(&key, &[Bytes::from_static(b"abc")]).await.unwrap();
        store.script(Operation::Get, [Some(fault), Some(Fault::Truncated)]);
        assert_eq!(storage.get_range(&key, 0..3).await.unwrap(), "abc");
        store.script(Operation::List, [Some(fault)]);
        assert_eq!(storage.list(&key, None, 9).await.unwrap().len(), 0);
        store.script(Operation::Delete, [Some(fault)]);
        storage.delete(&key).await.unwrap();
        assert_eq!(storage.size(&key).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_fails_after_bounded_attempts_and_does_not_storm() {
    let (store, storage) = faulty();
    store.set_outage(true);
    for _ in 0..100 {
        assert!(storage.get_range("k", 0..1).await.is_err());
    }
    assert!(store.requests(Operation::Get) <= 200, "{}", store.requests(Operation::Get));
    store.set_outage(false);
    storage.put("k", &[Bytes::from_static(b"x")]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_was_lost_is_found_to_have_happened() {
    let (store, storage) = faulty();
    let pieces = || Pieces((0..5).map(|n| Bytes::from(vec![n; 16 << 20])).collect());
    // Create, five parts, complete.
    store.script(
        Operation::Multipart,
        [None, None, None, None, None, None, Some(Fault::ResetAfter)],
    );
    assert_eq!(storage.put_parts("k", &mut pieces()).await.unwrap(), 80 << 20);
    // A part that fails fails the attempt; the next attempt may use the same key.
    store.script(Operation::Multipart, [None, Some(Fault::ResetBefore)]);
    assert!(storage.put_parts("j", &mut pieces()).await.is_err());
    assert_eq!(storage.size("j").await.unwrap(), None);
    assert_eq!(storage.put_parts("j", &mut pieces()).await.unwrap(), 80 << 20);
}
