//! Recovery: what the log holds after a crash, torn tail cut, damage refused.
//!
//! Invariants: every block that was acknowledged is delivered, in order, or recovery fails and says
//! where; what is delivered is on disk when recovery returns, even if the machine only showed it
//! from its page cache (after a failed sync those pages look clean); losing power in the middle of
//! recovery, any number of times, changes none of that; afterwards every file with
//! blocks is sealed, so that writing goes on in a new one.
//!
//! Torn or damaged: the writer starts a block only after all before it are synced, and uses a file
//! only after the one before it is sealed. So a bad place with any later block behind it is damage,
//! and a bad place at the very end of the log is a write that was never acknowledged.

mod inspect;
mod repair;
mod unproven;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tracing::{info, warn};

use self::inspect::{Inspected, Lookahead, inspect};
use super::{
    Damage, DamagedExtent, RecoverError, RecoveredBlock, RecoveredRun, RecoverySink, Run,
    WalFileRef, WalFs,
    block::{BlockError, BlockHeader, MARKER_BYTES},
    head::HEAD_BYTES,
    plan::marker_parts,
    prepare::Prepared,
    scan::{BlockScanner, ScanError, ScannedBlock},
};

/// A file that recovery found blocks in; it is sealed now.
#[derive(Debug, Clone)]
pub struct RecoveredFile {
    /// The file.
    pub file: Arc<WalFileRef>,
    /// Its length, and where a footer may go.
    pub end: u64,
    /// Whether any block holds batches; if not, the log deletes the file by itself.
    pub has_batches: bool,
}

/// The log as recovery leaves it: what `start` goes on from.
#[derive(Debug)]
pub struct Recovered {
    /// The files, in order.
    pub files: Vec<RecoveredFile>,
    /// Number of the next block.
    pub next_sequence: u64,
    /// Number of the next file.
    pub next_file_id: u64,
    pub(super) prepared: Option<Prepared>,
}

/// Reads the log in `fs`, gives every block to `sink` in order, and makes it ready to go on.
/// `file_id_floor` is above every file number that anybody remembers (0 if nobody does).
///
/// # Errors
/// Damage to what was synced, an unknown format, the file system's errors, the sink's refusal.
pub async fn recover(
    fs: Arc<dyn WalFs>,
    file_id_floor: u64,
    sink: &mut dyn RecoverySink,
) -> Result<Recovered, RecoverError> {
    let inspected = inspect(fs.as_ref()).await?;
    let ids: Vec<u64> = inspected.iter().map(|file| file.head.file_id).collect();
    let next_file_id = ids.last().map_or(1, |last| last + 1).max(file_id_floor);
    let last_used = inspected.iter().rposition(|file| file.used);
    let mut recovery = Recovery { sink, ids, expected: None, last_id: None };
    let (mut files, mut prepared) = (Vec::new(), None);
    for (index, file) in inspected.into_iter().enumerate() {
        if file.used {
            files.push(recovery.file(file, Some(index) < last_used).await?);
        } else if prepared.is_none() && Some(index) > last_used {
            prepared = Some(file);
        } else {
            let name = file.name();
            info!(file = name, "unused log file removed");
            fs.remove(&name).await.map_err(io("remove", &name))?;
        }
    }
    fs.sync_dir().await.map_err(io("sync", "the log directory"))?;
    let next_sequence = recovery.expected.unwrap_or(1);
    info!(files = files.len(), next_sequence, next_file_id, "log recovered");
    let prepared = prepared.map(Inspected::into_prepared);
    Ok(Recovered { files, next_sequence, next_file_id, prepared })
}

fn io(action: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> RecoverError {
    let file = file.to_owned();
    move |source| RecoverError::Io { action, file, source }
}

struct Recovery<'a> {
    sink: &'a mut dyn RecoverySink,
    /// Numbers of all files in the directory.
    ids: Vec<u64>,
    /// The number that the next block must have; unknown before the first block.
    expected: Option<u64>,
    /// The file before this one.
    last_id: Option<u64>,
}

/// A whole block with its payload.
struct Whole {
    block: ScannedBlock,
    recovered: RecoveredBlock,
}

/// How far a file was read.
struct Progress {
    position: u64,
    sealed: bool,
    has_batches: bool,
    /// The blocks that no later header proves to be synced.
    unproven: VecDeque<BlockHeader>,
    repaired_at: Option<u64>,
}

impl Progress {
    /// Blocks up to the number `synced_through` are synced.
    fn prove(&mut self, synced_through: u64) {
        while self.unproven.front().is_some_and(|block| block.sequence <= synced_through) {
            self.unproven.pop_front();
        }
    }
}

impl Recovery<'_> {
    /// Reads a file to its seal or torn tail and seals it. `followed`: a later file was used.
    async fn file(
        &mut self,
        mut file: Inspected,
        followed: bool,
    ) -> Result<RecoveredFile, RecoverError> {
        let mut progress = Progress {
            position: HEAD_BYTES,
            sealed: false,
            has_batches: false,
            unproven: VecDeque::new(),
            repaired_at: None,
        };
        let handle = Arc::clone(&file.handle);
        let mut scanner = file.scanner(&handle, progress.position);
        while !progress.sealed {
            match self.whole_block(&file, &mut scanner).await? {
                Ok(whole) => self.deliver(&file, whole, &mut progress).await?,
                Err(error) => {
                    if !self.bad_block(&mut file, followed, &mut progress, error).await? {
                        break;
                    }
                    scanner = file.scanner(&handle, progress.position);
                }
            }
        }
        if !progress.sealed {
            unproven::make_durable(&mut file, &progress).await?;
            self.seal(&mut file, &mut progress).await?;
        } else if !followed && file.len > progress.position {
            unproven::write_seal_again(&mut file, &progress).await?;
        }
        self.cut(&mut file, progress.position).await?;
        self.last_id = Some(file.head.file_id);
        let (end, has_batches) = (progress.position, progress.has_batches);
        Ok(RecoveredFile { file: file.handle, end, has_batches })
    }

    /// The next block with everything checked, or why there is none.
    async fn whole_block(
        &mut self,
        file: &Inspected,
        scanner: &mut BlockScanner<'_>,
    ) -> Result<Result<Whole, BlockError>, RecoverError> {
        let name = file.name();
        let position = scanner.position();
        let block = match scanner.next().await {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(Err(BlockError::End)),
            Err(ScanError::Block { error, .. }) => return Ok(Err(error)),
            Err(ScanError::Io(error)) => return Err(io("read", &name)(error)),
        };
        let found = block.header.sequence;
        if let Some(expected) = self.expected.filter(|expected| *expected != found)
            && !self.gap_was_released(file, position, found > expected).await
        {
            return Ok(Err(BlockError::Sequence { expected, found }));
        }
        let payload = match scanner.payload(&block).await {
            Ok(payload) => payload,
            Err(ScanError::Io(error)) => return Err(io("read", &name)(error)),
            Err(ScanError::Block { error, .. }) => return Ok(Err(error)),
        };
        Ok(verified(&file.handle, &block, &payload).map(|recovered| Whole { block, recovered }))
    }

    /// Whether blocks that are missing in front of this file are those of released files.
    async fn gap_was_released(&mut self, file: &Inspected, position: u64, ahead: bool) -> bool {
        let Some(last_id) = self.last_id.filter(|_| ahead && position == HEAD_BYTES) else {
            return false;
        };
        let missing = last_id + 1..file.head.file_id;
        let all_missing = !self.ids.iter().any(|id| missing.contains(id));
        !missing.is_empty() && all_missing && self.sink.released(missing).await
    }

    async fn deliver(
        &mut self,
        file: &Inspected,
        whole: Whole,
        progress: &mut Progress,
    ) -> Result<(), RecoverError> {
        let header = whole.block.header;
        progress.unproven.push_back(header);
        progress.prove(header.synced_through);
        progress.position = header.end();
        progress.sealed = header.seal;
        self.expected = Some(header.sequence + 1);
        if !whole.recovered.runs.is_empty() {
            progress.has_batches = true;
            self.sink.block(&file.handle, whole.recovered).await?;
        }
        Ok(())
    }

    /// Decides what a bad block is. True where it was repaired and can be read again, false where
    /// it is the torn tail.
    async fn bad_block(
        &mut self,
        file: &mut Inspected,
        followed: bool,
        progress: &mut Progress,
        error: BlockError,
    ) -> Result<bool, RecoverError> {
        let position = progress.position;
        let ahead =
            Lookahead::of(file, position, self.expected).map_err(io("read", &file.name()))?;
        if let Some(copy) = ahead.copy.filter(|_| progress.repaired_at != Some(position))
            && unproven::restore(file, position, self.expected, &copy).await?
        {
            progress.repaired_at = Some(position);
            return Ok(true);
        }
        let misnumbered = matches!(error, BlockError::Sequence { .. });
        let damaged = followed || misnumbered || ahead.proves || cut_short(file, position)?;
        if !damaged {
            progress.prove(ahead.synced_through);
            let torn = file.len - position.min(file.len);
            info!(file = file.name(), position, torn, reason = %error, "log ends here");
            return Ok(false);
        }
        let to = ahead.next_block.unwrap_or(file.len);
        let damage = Damage {
            file: file.name(),
            from: position,
            to,
            sequence: self.expected.unwrap_or(0),
            reason: error.to_string(),
            extents: extents(file, position).await,
        };
        if progress.repaired_at == Some(position) {
            return Err(RecoverError::Damage(Box::new(damage)));
        }
        warn!(%damage, "asking for a copy of the damaged bytes");
        let copy = match to > position {
            true => self.sink.repair(file.head.file_id, position, to).await,
            false => None,
        };
        let Some(copy) = copy else {
            return Err(RecoverError::Damage(Box::new(damage)));
        };
        if !repair::is_valid(file.head.nonce, position..to, self.expected, &copy).await {
            let reason = format!("{}; the copy offered for repair is not valid", damage.reason);
            return Err(RecoverError::Damage(Box::new(Damage { reason, ..damage })));
        }
        repair::write_back(file, position, copy).await?;
        progress.repaired_at = Some(position);
        Ok(true)
    }

    async fn seal(
        &mut self,
        file: &mut Inspected,
        progress: &mut Progress,
    ) -> Result<(), RecoverError> {
        let name = file.name();
        // Nothing was read if not even the first block of the first file is whole.
        let sequence = self.expected.unwrap_or(1);
        let marker = BlockHeader::marker(file.head.nonce, sequence, progress.position, true);
        let parts: Vec<Bytes> = marker_parts(&marker);
        file.file.write_at(progress.position, &parts).await.map_err(io("write", &name))?;
        file.file.sync_data().await.map_err(io("sync", &name))?;
        progress.position += MARKER_BYTES;
        self.expected = Some(sequence + 1);
        Ok(())
    }

    /// Cuts off what is behind the seal: a torn tail, zeroes, or an unfinished footer.
    async fn cut(&mut self, file: &mut Inspected, end: u64) -> Result<(), RecoverError> {
        let name = file.name();
        if file.handle.len().map_err(io("read", &name))? != end {
            file.file.set_len(end).await.map_err(io("cut", &name))?;
            file.file.sync_data().await.map_err(io("sync", &name))?;
            info!(file = name, end, "log file cut");
        }
        Ok(())
    }
}

/// Whether a file without a seal at its end was sealed once: it is shorter than it was made, ends
/// on a block boundary, and no block reaches past its end.
fn cut_short(file: &Inspected, position: u64) -> Result<bool, RecoverError> {
    let aligned = file.len.is_multiple_of(MARKER_BYTES) && position < file.len;
    if !aligned || file.len >= file.head.capacity {
        return Ok(false);
    }
    let raw = file.handle.read_at(position, 64).map_err(io("read", &file.name()))?;
    let header = BlockHeader::decode(&raw).ok();
    let header = header.filter(|header| header.is_at(file.head.nonce, position));
    Ok(header.is_none_or(|header| header.end() <= file.len))
}

/// What the damaged block held, if its directory can still be read.
async fn extents(file: &Inspected, position: u64) -> Vec<DamagedExtent> {
    let mut scanner = file.scanner(&file.handle, position);
    let Ok(Some(block)) = scanner.next().await else { return Vec::new() };
    let runs = block.directory.runs.into_iter();
    runs.map(|run| DamagedExtent {
        key: run.key,
        base_offset: run.base_offset,
        last_offset: run.last_offset,
    })
    .collect()
}

/// Checks every batch and makes the block that the sink gets.
fn verified(
    file: &Arc<WalFileRef>,
    block: &ScannedBlock,
    payload: &Bytes,
) -> Result<RecoveredBlock, BlockError> {
    let batches = block.directory.verify(payload)?;
    let start = block.payload_position();
    let runs = block.directory.runs.iter().zip(batches).map(|(entry, batches)| {
        let run = Run {
            base_offset: entry.base_offset,
            last_offset: entry.last_offset,
            max_timestamp: batches.iter().map(|batch| batch.max_timestamp).max().unwrap_or(-1),
            leader_epoch: entry.leader_epoch,
            file: Arc::clone(file),
            position: start + u64::from(entry.position),
            len: entry.len,
            data: Some(payload.slice(entry.range())),
        };
        RecoveredRun { key: entry.key, run, batches }
    });
    Ok(RecoveredBlock {
        sequence: block.header.sequence,
        position: block.header.position,
        end: block.header.end(),
        runs: runs.collect(),
    })
}
