//! The highest number of a released WAL file, in metadata.
//!
//! Invariant: the number is durable before the file may be deleted, so that numbers are never used
//! twice and a file that is missing can be told from one that was let go of, even when all objects
//! that were made of it, and their rows, are gone.

use std::sync::Arc;

use metadata::{Fence, MetadataStore};

use crate::Error;

/// The pointer; its value is the number in decimal.
const POINTER: &str = "wal-file-released";

/// The highest number that was ever noted.
///
/// # Errors
/// The metadata store's; [`Error::Inconsistent`] where the value is no number.
pub(crate) async fn last_released(metadata: &Arc<dyn MetadataStore>) -> Result<Option<u64>, Error> {
    let Some(value) = metadata.pointer(POINTER).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&value);
    let file_id = text.parse().map_err(|_| {
        Error::Inconsistent(format!("the metadata pointer {POINTER} is {text:?}, not a number"))
    })?;
    Ok(Some(file_id))
}

/// Notes that the file is about to be released. A lower number than the one noted changes nothing.
///
/// # Errors
/// As [`last_released`].
pub(super) async fn note(
    metadata: &Arc<dyn MetadataStore>,
    fence: &Fence,
    file_id: u64,
) -> Result<(), Error> {
    if last_released(metadata).await?.is_none_or(|known| known < file_id) {
        metadata.put_pointer(fence, POINTER, file_id.to_string().into_bytes()).await?;
    }
    Ok(())
}
