//! Makes a block of appends: groups them by partition, copies their batches once into arenas,
//! stamps offsets, epochs and times there, and writes the directory.
//!
//! Invariants: within a partition the order of the appends is kept; a run never leaves its arena;
//! arenas are at most 1 MiB unless one batch is larger; offsets in a group are contiguous.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use common::{
    PartitionKey, invariant,
    limits::{ARENA_BYTES_MAX, WAL_BLOCK_ALIGN},
};
use protocol::records::{
    BatchHeader, RecordError, set_base_offset, set_log_append_time, set_partition_leader_epoch,
};

use super::{
    AppendTarget, Completion, Run, WalAppend, WalError, WalFileRef,
    block::{BLOCK_HEADER_BYTES, BatchEntry, BlockHeader, Directory, RunEntry},
};

static ZEROES: [u8; WAL_BLOCK_ALIGN as usize] = [0; WAL_BLOCK_ALIGN as usize];

/// Checks, before it is queued, that an append is what the writer takes for granted.
pub(super) fn check(append: &WalAppend) -> Result<(), WalError> {
    debug_assert!(
        BatchHeader::parse(&append.records).is_ok_and(|header| header == append.header)
            || append.records.len() < append.header.total_len(),
        "the header is another batch's"
    );
    let malformed = |reason| Err(WalError::Malformed { reason });
    if append.records.len() != append.header.total_len() {
        return malformed("another length than its header says");
    }
    if append.header.last_offset_delta < 0 {
        return malformed("a negative last offset delta");
    }
    if append.base_offset < 0 || append.last_offset() == i64::MAX {
        return malformed("a negative offset, or one too large");
    }
    Ok(())
}

/// A partition's share of a block.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) target: Arc<dyn AppendTarget>,
    runs: Vec<PlannedRun>,
}

#[derive(Debug)]
struct PlannedRun {
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    leader_epoch: i32,
    payload_position: u64,
    data: Bytes,
}

/// What a target is told about a synced block.
type TargetRuns = (Arc<dyn AppendTarget>, Vec<Run>);

/// A block that only lacks its place.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    pub(super) completions: Vec<Completion>,
    pub(super) object_class: bool,
    /// Bytes of the appends, as the queue counts them.
    pub(super) queued_bytes: usize,
    directory: Vec<u8>,
    arenas: Vec<Bytes>,
    payload_len: u32,
}

/// One batch on its way to an arena.
#[derive(Clone, Copy)]
struct Piece<'a> {
    group: usize,
    append: &'a WalAppend,
}

impl Plan {
    /// Builds the block of `appends`, each of which passed [`check`].
    pub(super) fn build(appends: Vec<WalAppend>) -> Result<Self, RecordError> {
        let (targets, members) = group(&appends);
        let pieces = pieces(&appends, &members);
        let mut plan = Self {
            groups: targets.into_iter().map(|target| Group { target, runs: Vec::new() }).collect(),
            object_class: appends.iter().any(|append| append.object_class),
            queued_bytes: appends.iter().map(|append| append.records.len()).sum(),
            ..Self::default()
        };
        let mut directory = Directory::default();
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let (arena, after) = rest.split_at(fill_len(rest));
            plan.add_arena(&mut directory, arena)?;
            rest = after;
        }
        plan.directory = directory.encode();
        plan.completions = appends.into_iter().filter_map(|append| append.completion).collect();
        Ok(plan)
    }

    /// Bytes of the block, padding included.
    pub(super) fn total_len(&self) -> u64 {
        let content = BLOCK_HEADER_BYTES + self.directory.len() + self.payload_len as usize;
        (content as u64).next_multiple_of(WAL_BLOCK_ALIGN)
    }

    /// The block's bytes at this place, in order.
    pub(super) fn parts(&self, nonce: u64, sequence: u64, position: u64) -> Vec<Bytes> {
        let header = BlockHeader {
            commit: false,
            seal: false,
            nonce,
            sequence,
            synced_through: sequence.saturating_sub(1),
            position,
            directory_len: self.directory.len() as u32,
            payload_len: self.payload_len,
            directory_crc: crc32c::crc32c(&self.directory),
            copy_of: None,
        };
        let mut head = Vec::with_capacity(BLOCK_HEADER_BYTES + self.directory.len());
        head.extend_from_slice(&header.encode());
        head.extend_from_slice(&self.directory);
        let mut parts = Vec::with_capacity(self.arenas.len() + 2);
        parts.push(head.into());
        parts.extend(self.arenas.iter().cloned());
        parts.push(padding((header.total_len() - header.content_len()) as usize));
        parts
    }

    /// The runs of each target, once the block at `position` of `file` is synced.
    pub(super) fn into_runs(
        self,
        file: &Arc<WalFileRef>,
        position: u64,
    ) -> (Vec<TargetRuns>, Vec<Completion>) {
        let payload = position + (BLOCK_HEADER_BYTES + self.directory.len()) as u64;
        let groups = self.groups.into_iter().map(|group| {
            let runs = group.runs.into_iter().map(|run| run.place(file, payload)).collect();
            (group.target, runs)
        });
        (groups.collect(), self.completions)
    }

    /// Copies `pieces` into one arena, stamps them and adds their runs.
    fn add_arena(
        &mut self,
        directory: &mut Directory,
        pieces: &[Piece<'_>],
    ) -> Result<(), RecordError> {
        let len = pieces.iter().map(|piece| piece.append.records.len()).sum();
        let mut bytes = Vec::with_capacity(len);
        let mut runs: Vec<(usize, RunEntry, i64)> = Vec::new();
        for &Piece { group, append } in pieces {
            let at = bytes.len();
            bytes.extend_from_slice(&append.records);
            let header = stamp(&mut bytes[at..], append)?;
            let key = self.groups[group].target.key();
            match runs.last_mut() {
                Some((last_group, run, max_timestamp))
                    if *last_group == group && run.leader_epoch == append.leader_epoch =>
                {
                    extend(run, &header);
                    *max_timestamp = header.max_timestamp.max(*max_timestamp);
                }
                _ => {
                    let position = self.payload_len + at as u32;
                    runs.push((group, start_run(key, position, &header), header.max_timestamp));
                }
            }
        }
        let arena = Bytes::from(bytes);
        for (group, run, max_timestamp) in runs {
            let start = (run.position - self.payload_len) as usize;
            self.groups[group].runs.push(PlannedRun {
                base_offset: run.base_offset,
                last_offset: run.last_offset,
                max_timestamp,
                leader_epoch: run.leader_epoch,
                payload_position: u64::from(run.position),
                data: arena.slice(start..start + run.len as usize),
            });
            directory.runs.push(run);
        }
        self.payload_len += len as u32;
        self.arenas.push(arena);
        Ok(())
    }
}

impl PlannedRun {
    fn place(self, file: &Arc<WalFileRef>, payload: u64) -> Run {
        Run {
            base_offset: self.base_offset,
            last_offset: self.last_offset,
            max_timestamp: self.max_timestamp,
            leader_epoch: self.leader_epoch,
            file: Arc::clone(file),
            position: payload + self.payload_position,
            len: self.data.len() as u32,
            data: Some(self.data),
        }
    }
}

/// A marker block's bytes.
pub(super) fn marker_parts(header: &BlockHeader) -> Vec<Bytes> {
    let head = Bytes::copy_from_slice(&header.encode());
    let padding = padding((header.total_len() - header.content_len()) as usize);
    vec![head, padding]
}

fn padding(len: usize) -> Bytes {
    Bytes::from_static(&ZEROES[..len])
}

type Groups = (Vec<Arc<dyn AppendTarget>>, Vec<Vec<usize>>);

/// The targets in the order of their first append, and the appends of each.
fn group(appends: &[WalAppend]) -> Groups {
    let mut targets: Vec<Arc<dyn AppendTarget>> = Vec::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut by_key: BTreeMap<PartitionKey, usize> = BTreeMap::new();
    for (index, append) in appends.iter().enumerate() {
        let key = append.target.key();
        let known = by_key.get(&key).filter(|group| Arc::ptr_eq(&targets[**group], &append.target));
        let group = known.copied().unwrap_or_else(|| {
            targets.push(Arc::clone(&append.target));
            members.push(Vec::new());
            by_key.insert(key, targets.len() - 1);
            targets.len() - 1
        });
        members[group].push(index);
    }
    (targets, members)
}

/// Every batch, grouped.
fn pieces<'a>(appends: &'a [WalAppend], members: &[Vec<usize>]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::with_capacity(appends.len());
    for (group, members) in members.iter().enumerate() {
        let mut expected = None;
        for append in members.iter().map(|&index| &appends[index]) {
            invariant!(
                Log3,
                expected.is_none_or(|offset| offset == append.base_offset),
                "{} continues at {} after {expected:?}",
                append.target.key(),
                append.base_offset
            );
            expected = Some(append.last_offset() + 1);
            pieces.push(Piece { group, append });
        }
    }
    pieces
}

/// How many of `pieces` go into the next arena: at least one.
fn fill_len(pieces: &[Piece<'_>]) -> usize {
    let mut bytes = 0;
    let fits = pieces.iter().take_while(|piece| {
        bytes += piece.append.records.len();
        bytes <= ARENA_BYTES_MAX
    });
    fits.count().max(1)
}

/// Stamps what the broker decides into the batch and returns its header.
fn stamp(batch: &mut [u8], append: &WalAppend) -> Result<BatchHeader, RecordError> {
    let (base_offset, partition_leader_epoch) = (append.base_offset, append.leader_epoch);
    set_base_offset(batch, base_offset)?;
    set_partition_leader_epoch(batch, partition_leader_epoch)?;
    if let Some(time_ms) = append.log_append_time {
        set_log_append_time(batch, time_ms)?;
        return BatchHeader::parse(batch);
    }
    Ok(BatchHeader { base_offset, partition_leader_epoch, ..append.header })
}

fn start_run(key: PartitionKey, position: u32, header: &BatchHeader) -> RunEntry {
    RunEntry {
        key,
        leader_epoch: header.partition_leader_epoch,
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        position,
        len: header.total_len() as u32,
        batches: vec![BatchEntry::of(header)],
    }
}

fn extend(run: &mut RunEntry, header: &BatchHeader) {
    run.last_offset = header.last_offset();
    run.len += header.total_len() as u32;
    run.batches.push(BatchEntry::of(header));
}
