//! Local files as a durable object store: `object_store`'s own never syncs.
//!
//! Invariant: when a write returns, file, name and every directory above it up to the root are
//! synced. Files are written under `.staging` and get their name when they are whole, so a listing
//! never shows a part; what a crash leaves in `.staging` goes when the store is opened.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use common::spawn::Spawner;
use futures::{
    FutureExt, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    UploadPart, local::LocalFileSystem, path::Path,
};

const NAME: &str = "DurableLocalStore";
const STAGING: &str = ".staging";

/// A directory as an object store whose answers mean durable.
#[derive(Debug, Clone)]
pub struct DurableLocalStore {
    inner: Arc<LocalFileSystem>,
    root: Arc<FilePath>,
    directories: Arc<Directories>,
    staged: Arc<AtomicU64>,
    spawner: Spawner,
}

impl DurableLocalStore {
    /// Opens the store in `root`, which is created if missing, and clears what a crash left.
    /// One process at a time may have it open (the data directory's lock sees to that).
    ///
    /// # Errors
    /// The system's.
    pub async fn open(root: &FilePath, spawner: &Spawner) -> io::Result<Self> {
        let wanted = root.to_owned();
        let root = spawner.blocking(move || prepare(&wanted)).await??;
        let inner = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        Ok(Self {
            inner: Arc::new(inner),
            directories: Arc::new(Directories::new(&root)),
            root: root.into(),
            staged: Arc::default(),
            spawner: spawner.clone(),
        })
    }

    /// The canonical root.
    #[must_use]
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    fn stage(&self) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        self.root.join(STAGING).join(format!("{number:016x}"))
    }

    fn destination(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> object_store::Result<T> {
        self.spawner.blocking(work).await.and_then(|result| result).map_err(into_store_error)
    }
}

impl fmt::Display for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableLocalStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(not_implemented("conditional update")),
        };
        let (staged, destination) = (self.stage(), self.destination(location));
        let directories = Arc::clone(&self.directories);
        self.blocking(move || {
            let result = write_staged(&staged, &payload)
                .and_then(|()| publish(&directories, &staged, &destination, create));
            if result.is_err() {
                let _ = fs::remove_file(&staged);
            }
            result
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let staged = self.stage();
        let path = staged.clone();
        let file = self.blocking(move || fs::File::create_new(&path)).await?;
        Ok(Box::new(StagedUpload {
            store: self.clone(),
            file: Arc::new(file),
            staged,
            destination: self.destination(location),
            end: 0,
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        // By key, as S3 lists: readers of Delta logs rely on it.
        let found = self.inner.list(prefix);
        let sorted = async move {
            let mut found: Vec<ObjectMeta> = found.try_collect().await?;
            found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
            Ok::<_, StoreError>(stream::iter(found.into_iter().map(Ok)))
        };
        stream::once(sorted).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        _from: &Path,
        _to: &Path,
        _options: CopyOptions,
    ) -> object_store::Result<()> {
        // Not needed by the log; `LocalFileSystem`'s would not be durable.
        Err(not_implemented("copy"))
    }
}

/// A multipart upload: one staged file, written in place.
#[derive(Debug)]
struct StagedUpload {
    store: DurableLocalStore,
    file: Arc<fs::File>,
    staged: PathBuf,
    destination: PathBuf,
    end: u64,
}

#[async_trait]
impl MultipartUpload for StagedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut position = self.end;
        self.end += data.content_length() as u64;
        let (store, file) = (self.store.clone(), Arc::clone(&self.file));
        async move {
            store
                .blocking(move || {
                    for chunk in data {
                        file.write_all_at(&chunk, position)?;
                        position += chunk.len() as u64;
                    }
                    Ok(())
                })
                .await
        }
        .boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let (file, staged) = (Arc::clone(&self.file), self.staged.clone());
        let directories = Arc::clone(&self.store.directories);
        let destination = self.destination.clone();
        let finish = move || {
            file.sync_all()?;
            publish(&directories, &staged, &destination, false)
        };
        self.store.blocking(finish).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let staged = self.staged.clone();
        self.store.blocking(move || fs::remove_file(staged)).await
    }
}

/// Creates the root and an empty staging directory; returns the canonical root.
fn prepare(root: &FilePath) -> io::Result<PathBuf> {
    create_dir_durably(root)?;
    let root = root.canonicalize()?;
    let staging = root.join(STAGING);
    create_dir_durably(&staging)?;
    for entry in fs::read_dir(&staging)? {
        fs::remove_file(entry?.path())?;
    }
    sync_dir(&staging)?;
    Ok(root)
}

fn write_staged(staged: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = fs::File::create_new(staged)?;
    for chunk in payload {
        file.write_all(chunk)?;
    }
    file.sync_all()
}

/// Gives a whole, synced file its name and makes the name durable.
fn publish(
    directories: &Directories,
    staged: &FilePath,
    destination: &FilePath,
    create: bool,
) -> io::Result<()> {
    let parent = destination.parent().unwrap_or(destination);
    directories.ensure(parent)?;
    if create {
        // Unlike a rename, a link never replaces what is there.
        fs::hard_link(staged, destination)?;
        sync_dir(parent)?;
        return fs::remove_file(staged);
    }
    fs::rename(staged, destination)?;
    sync_dir(parent)
}

/// Creates a directory and its missing parents; each name is synced.
fn create_dir_durably(directory: &FilePath) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(FilePath::new("/"));
    create_dir_durably(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_dir(if parent.as_os_str().is_empty() { FilePath::new(".") } else { parent })
}

fn sync_dir(directory: &FilePath) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// The directories below the root whose names are known to be synced. One lock: a write must not
/// find a directory that another one has created and not yet synced.
#[derive(Debug)]
struct Directories {
    root: PathBuf,
    synced: Mutex<BTreeSet<PathBuf>>,
}

impl Directories {
    fn new(root: &FilePath) -> Self {
        Self { root: root.to_owned(), synced: Mutex::new(BTreeSet::from([root.to_owned()])) }
    }

    fn ensure(&self, directory: &FilePath) -> io::Result<()> {
        if !directory.starts_with(&self.root) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "key outside the root"));
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<_> =
            directory.ancestors().take_while(|ancestor| !synced.contains(*ancestor)).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            sync_dir(path.parent().unwrap_or(&self.root))?;
            synced.insert(path.to_owned());
        }
        Ok(())
    }
}

fn into_store_error(error: io::Error) -> StoreError {
    let path = NAME.to_owned();
    match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => StoreError::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => {
            StoreError::PermissionDenied { path, source: error.into() }
        }
        _ => StoreError::Generic { store: NAME, source: error.into() },
    }
}

fn not_implemented(operation: &str) -> StoreError {
    StoreError::NotImplemented { operation: operation.to_owned(), implementer: NAME.to_owned() }
}
