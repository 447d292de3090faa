//! What a start does about objects that an earlier process registered and did not commit.
//!
//! Invariant: before the WAL is recovered, every WAL file that is not wholly in committed objects
//! is in the WAL's directory under its own name, without a footer; a registered object is dead
//! afterwards, so nothing of the earlier process can be committed any more. Safe to repeat.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::spawn::Spawner;
use metadata::{Fence, MetadataStore, ObjectRow, ObjectState, WalRange};
use tracing::info;

use crate::{
    object::{self, ObjectStorage},
    wal::{FileName, WalFs},
};

/// Rows settled at a time.
const PAGE: usize = 1000;

/// Undoes half-made objects; returns how many there were. Call it after the session is opened and
/// before `wal::recover`. `wal_directory` as in
/// [`UploaderDeps`](super::UploaderDeps::wal_directory).
///
/// # Errors
/// The file system's and the metadata store's; a start must not go on then.
pub async fn settle_registered(
    metadata: &Arc<dyn MetadataStore>,
    fence: &Fence,
    storage: &ObjectStorage,
    wal_fs: &Arc<dyn WalFs>,
    wal_directory: Option<&Path>,
    spawner: &Spawner,
) -> Result<usize, crate::Error> {
    let mut settled = 0;
    loop {
        let rows = metadata.list_objects(ObjectState::Registered, PAGE).await?;
        for row in &rows {
            if let Some(origin) = row.origin.filter(|origin| origin.from == 0) {
                give_back(row, origin, storage, wal_fs, wal_directory, spawner).await?;
            }
        }
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        if ids.is_empty() {
            return Ok(settled);
        }
        metadata.mark_dead(fence, &ids).await?;
        settled += ids.len();
    }
}

/// Undoes what was done to the WAL file of a whole-file object.
async fn give_back(
    row: &ObjectRow,
    origin: WalRange,
    storage: &ObjectStorage,
    wal_fs: &Arc<dyn WalFs>,
    wal_directory: Option<&Path>,
    spawner: &Spawner,
) -> Result<(), object::Error> {
    let name = FileName::log(origin.file_id);
    let failed = |source: io::Error| object::Error::Io {
        action: "give back",
        path: name.clone(),
        source: source.into(),
    };
    match wal_fs.open(&name).await {
        Ok(mut file) => {
            if file.reader().and_then(|reader| reader.len()).map_err(failed)? > origin.to {
                file.set_len(origin.to).await.map_err(failed)?;
                file.sync_data().await.map_err(failed)?;
                info!(file = name, "footer of an unfinished object removed");
            }
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let (Some(adopted), Some(directory)) = (storage.local_path(&row.key), wal_directory) else {
        return Ok(());
    };
    let destination = directory.join(&name);
    let back = move || rename_back(&adopted, &destination, origin.to);
    if spawner.blocking(back).await.and_then(|result| result).map_err(failed)? {
        info!(file = name, object = %row.id, "file of an unfinished object is back in the WAL");
    }
    Ok(())
}

/// Moves an adopted file back, without its footer; `false` where there is none.
fn rename_back(adopted: &PathBuf, destination: &Path, len: u64) -> io::Result<bool> {
    let file = match fs::OpenOptions::new().write(true).open(adopted) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() < len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object is cut short"));
    }
    // The name first: a file without its footer must never be found as an object.
    fs::rename(adopted, destination)?;
    for path in [destination, adopted] {
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    file.set_len(len)?;
    file.sync_all()?;
    Ok(true)
}
