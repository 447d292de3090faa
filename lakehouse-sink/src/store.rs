//! Where tables are kept: the broker's own object store, below the cluster's prefix.

use std::{collections::HashSet, sync::Arc};

use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::{StreamExt as _, TryStreamExt as _, future};
use object_store::{ObjectMeta, ObjectStore, path::Path, prefix::PrefixStore};
use url::Url;

/// The object store as tables see it. Its client's own retries apply.
#[derive(Debug, Clone)]
pub struct TableStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Url,
    base: Url,
}

/// The root of the store, as delta-rs knows it. Not `file`: local files are not meant.
const BASE: &str = "streamhouse://tables/";

impl TableStore {
    /// Tables below `prefix` of `store`, which readers of tables know as `url`. The store has to
    /// list in the order of keys.
    ///
    /// # Errors
    /// None is known.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        url: Url,
    ) -> Result<Self, url::ParseError> {
        Ok(Self { store, prefix, url, base: Url::parse(BASE)? })
    }

    /// Where a table's readers find it.
    #[must_use]
    pub fn location(&self, directory: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/{directory}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// Deletes all of a directory; how many objects there were.
    ///
    /// # Errors
    /// The object store's; what is left can be deleted later.
    pub(crate) async fn delete(&self, directory: &str) -> Result<usize, object_store::Error> {
        let path = self.path(directory);
        let found = self.store.list(Some(&path)).map_ok(|meta| meta.location).boxed();
        let deleted = self.store.delete_stream(found);
        deleted.try_fold(0, |count, _| future::ready(Ok(count + 1))).await
    }

    /// How many of some files of a directory, by their paths within it, are there.
    ///
    /// # Errors
    /// The object store's.
    pub(crate) async fn count_of(
        &self,
        directory: &str,
        files: &[String],
    ) -> Result<usize, object_store::Error> {
        if files.is_empty() {
            return Ok(0);
        }
        let path = self.path(directory);
        // As delta-rs has them, encoded already.
        let within = |file: &String| Path::parse(format!("{path}/{file}"));
        let wanted = files.iter().map(within).collect::<Result<HashSet<_>, _>>()?;
        let is_wanted = |meta: ObjectMeta| usize::from(wanted.contains(&meta.location));
        let there = self.store.list(Some(&path)).map_ok(is_wanted);
        there.try_fold(0, |count, one| future::ready(Ok(count + one))).await
    }

    fn path(&self, directory: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain(Path::from(directory).parts()))
    }

    /// The log store of a table. delta-rs finds keys of the whole store by the paths of URLs, so
    /// its URL is not the one that readers know, which may have more before the store's root.
    #[must_use]
    pub fn log_store(&self, directory: &str) -> LogStoreRef {
        let path = self.path(directory);
        let mut url = self.base.clone();
        url.set_path(path.as_ref());
        let prefixed = PrefixStore::new(Arc::clone(&self.store), path);
        default_logstore(
            Arc::new(prefixed),
            Arc::clone(&self.store),
            &url,
            &StorageConfig::default(),
        )
    }
}
