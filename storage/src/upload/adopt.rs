//! A sealed WAL file becomes an object without being copied: it gets the footer, is synced, and
//! is renamed into the store's directory.
//!
//! Invariant: the file has one name at every moment. A crash between any two steps leaves a
//! registered object whose origin names the file; `settle` undoes the steps at the next start.

use std::path::Path;

use bytes::Bytes;
use common::spawn::Spawner;

use super::{Shared, prepare::Job};
use crate::object;

/// Takes the steps that are still missing. Safe to repeat.
pub(super) async fn adopt(
    shared: &Shared,
    job: &Job,
    footer: &Bytes,
    destination: &Path,
) -> object::Result<()> {
    let (wal_fs, name) = (&shared.deps.wal_fs, job.file.name());
    let failed = |action: &'static str, source: std::io::Error| object::Error::Io {
        action,
        path: name.clone(),
        source: source.into(),
    };
    let mut file = match wal_fs.open(&name).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // An earlier attempt got as far as the rename, but not to its end.
            return sync_names(shared, destination).await.map_err(|e| failed("sync", e));
        }
        Err(error) => return Err(failed("open", error)),
    };
    let end = job.origin.to;
    file.set_len(end).await.map_err(|error| failed("trim", error))?;
    file.write_at(end, std::slice::from_ref(footer))
        .await
        .map_err(|error| failed("write footer to", error))?;
    if let Err(error) = file.sync_data().await {
        // What a failed sync leaves behind is unknown, and a second one proves nothing.
        shared.deps.spawner.fatal().stop(&format!("syncing the footer of {name} failed: {error}"));
        shared.stop.cancel();
        return Err(failed("sync", error));
    }
    drop(file);
    wal_fs.rename_out(&name, destination).await.map_err(|error| failed("rename", error))
}

/// Syncs the directories on both sides of a rename that happened.
async fn sync_names(shared: &Shared, destination: &Path) -> std::io::Result<()> {
    sync_destination(&shared.deps.spawner, destination).await?;
    shared.deps.wal_fs.sync_dir().await
}

/// Syncs the directory of `destination`, which must exist.
async fn sync_destination(spawner: &Spawner, destination: &Path) -> std::io::Result<()> {
    let destination = destination.to_owned();
    spawner
        .blocking(move || {
            std::fs::metadata(&destination)?;
            let parent = destination.parent().unwrap_or(Path::new("/"));
            std::fs::File::open(parent)?.sync_all()
        })
        .await?
}
