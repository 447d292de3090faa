//! Merges small files of dead letters, so that a topic with a bad record now and then does not
//! leave a file per commit.
//!
//! OPTIMIZE would put together files as they fit. Here only those are that follow one another, so
//! that a replay still meets each partition's records in their order.

use std::sync::Arc;

use arrow::compute::concat_batches;
use deltalake::{
    kernel::{Action, Add},
    protocol::DeltaOperation,
};

use super::{
    columns,
    files::{self, DeadFile, ListedFile},
};
use crate::{
    delta::{self, TableLog},
    error::SinkError,
};

/// Files that are worth merging.
const FILES_MIN: usize = 8;
/// Bytes of a file that is large enough. A replay holds one in memory.
const FILE_BYTES: u64 = 16 << 20;
/// Bytes of the rows of such a file in memory: values that repeat take little of a file.
const ROW_BYTES: u64 = 64 << 20;
/// Size classes as parts of the bytes of a file: a file is rewritten once per class, about.
const CLASSES: [u64; 3] = [64, 8, 1];

/// Merges what is worth it; how many files are gone.
///
/// # Errors
/// Where the object store or the log fails, or others changed the files: trying later is right.
pub(crate) async fn merge(log: &mut TableLog, now_ms: i64) -> Result<u64, SinkError> {
    let mut merged = 0;
    for size in CLASSES.map(|part| FILE_BYTES / part) {
        let mut sizes: Vec<_> = {
            let files = log.table().snapshot()?.log_data();
            files.iter().map(|file| u64::try_from(file.size()).unwrap_or(0)).collect()
        };
        sizes.sort_unstable();
        // Their order takes looking into all of them.
        let smallest = sizes.get(..FILES_MIN);
        if smallest.is_none_or(|smallest| smallest.iter().sum::<u64>() > size) {
            continue;
        }
        for run in runs(files::in_order(log).await?, size) {
            merged += run.len() as u64;
            rewrite(log, &run, now_ms).await?;
        }
    }
    Ok(merged)
}

fn is_small(file: &ListedFile, size: u64) -> bool {
    file.bytes <= size / 2 && file.row_bytes <= ROW_BYTES / 2
}

/// Small files that follow one another, enough of them, up to a size together.
fn runs(files: Vec<ListedFile>, size: u64) -> Vec<Vec<ListedFile>> {
    let mut found: Vec<Vec<ListedFile>> = Vec::new();
    let (mut run, mut bytes, mut row_bytes): (Vec<ListedFile>, u64, u64) = (Vec::new(), 0, 0);
    for file in files {
        let fits = bytes + file.bytes <= size && row_bytes + file.row_bytes <= ROW_BYTES;
        if !fits || !is_small(&file, size) {
            found.push(std::mem::take(&mut run));
            (bytes, row_bytes) = (0, 0);
        }
        if is_small(&file, size) {
            bytes += file.bytes;
            row_bytes += file.row_bytes;
            run.push(file);
        }
    }
    found.push(run);
    found.retain(|run| run.len() >= FILES_MIN);
    found
}

/// Puts one file in place of some.
async fn rewrite(log: &mut TableLog, run: &[ListedFile], now_ms: i64) -> Result<(), SinkError> {
    let mut rows = Vec::with_capacity(run.len());
    for file in run {
        rows.push(DeadFile::read(log, file.clone()).await?.rows);
    }
    let columns = columns();
    let rows = concat_batches(&columns, &rows)?;
    let mut writer = log.writer(Arc::clone(&columns), Vec::new(), usize::MAX)?;
    writer.write(&rows).await?;
    let added = writer.close().await?;
    let actions = |log: &TableLog| {
        let added = added.iter().cloned();
        let mut actions: Vec<_> =
            added.map(|file| Action::Add(Add { data_change: false, ..file })).collect();
        for file in run {
            actions.push(Action::Remove(files::remove(log, &file.path, false, now_ms)?));
        }
        Ok(actions)
    };
    let target_size = i64::try_from(FILE_BYTES).unwrap_or(i64::MAX);
    let operation = DeltaOperation::Optimize { predicate: None, target_size };
    let properties = || delta::own_commit().with_max_retries(0);
    log.commit_actions(actions, &[], properties, &operation).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_one_another_is_merged_where_it_is_worth_it() {
        let of_rows = |sizes: &[u64], row_bytes: u64| -> Vec<String> {
            let files = sizes.iter().enumerate().map(|(at, bytes)| ListedFile {
                path: char::from(b'a' + u8::try_from(at).unwrap_or(0)).to_string(),
                bytes: *bytes,
                row_bytes,
            });
            let runs = runs(files.collect(), 100);
            runs.iter().map(|run| run.iter().map(|file| file.path.as_str()).collect()).collect()
        };
        let shown = |sizes: &[u64]| of_rows(sizes, 0);
        assert_eq!(shown(&[1; 8]), ["abcdefgh"]);
        assert!(shown(&[1; 7]).is_empty());
        // A large file in between parts them.
        assert_eq!(shown(&[1, 1, 51, 1, 1, 1, 1, 1, 1, 1, 50]), ["defghijk"]);
        // Together they are as large as it goes.
        assert_eq!(shown(&[12; 17]), ["abcdefgh", "ijklmnop"]);
        // Or as large in memory.
        assert_eq!(of_rows(&[1; 17], ROW_BYTES / 8), ["abcdefgh", "ijklmnop"]);
        assert!(of_rows(&[1; 17], ROW_BYTES / 2 + 1).is_empty());
    }
}
