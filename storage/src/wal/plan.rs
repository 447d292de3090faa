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
    BatchHeader, BatchRef, RecordError, batch_refs, set_base_offset, set_log_append_time,
    set_partition_leader_epoch,
};

use super::{
    AppendTarget, Completion, Run, TailCharge, TailGauge, WalAppend, WalError, WalFileRef,
    block::{BLOCK_HEADER_BYTES, BatchEntry, BlockHeader, Directory, RunEntry},
};

static ZEROES: [u8; WAL_BLOCK_ALIGN as usize] = [0; WAL_BLOCK_ALIGN as usize];

/// Checks, before it is queued, that an append is what the writer takes for granted.
pub(super) fn check(append: &WalAppend) -> Result<(), WalError> {
    let malformed = |reason| Err(WalError::Malformed { reason });
    let mut next_offset = append.base_offset;
    for batch in batch_refs(&append.records) {
        let Ok(batch) = batch else {
            return malformed("bytes that are no batch");
        };
        let delta = batch.header().last_offset_delta;
        if delta < 0 {
            return malformed("a negative last offset delta");
        }
        next_offset = next_offset.saturating_add(i64::from(delta) + 1);
    }
    if append.records.is_empty() || append.base_offset < 0 {
        return malformed("no batch, or a negative offset");
    }
    if next_offset.checked_sub(1) != Some(append.last_offset) {
        return malformed("offsets that the batches do not add up to");
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

/// One batch on its way from an append to an arena.
struct Piece {
    group: usize,
    append: usize,
    start: usize,
    len: usize,
    base_offset: i64,
}

/// An arena's bytes and their share of the memory gauge.
struct Arena {
    bytes: Vec<u8>,
    _charge: TailCharge,
}

impl AsRef<[u8]> for Arena {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Plan {
    /// Builds the block of `appends`, each of which passed [`check`].
    pub(super) fn build(appends: Vec<WalAppend>, tail: &TailGauge) -> Result<Self, RecordError> {
        let (targets, members) = group(&appends);
        let pieces = pieces(&appends, &members)?;
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
            plan.add_arena(&mut directory, &appends, arena, tail)?;
            rest = after;
        }
        plan.directory = directory.encode();
        plan.completions = appends.into_iter().map(|append| append.completion).collect();
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
        appends: &[WalAppend],
        pieces: &[Piece],
        tail: &TailGauge,
    ) -> Result<(), RecordError> {
        let len = pieces.iter().map(|piece| piece.len).sum();
        let mut bytes = Vec::with_capacity(len);
        let mut runs: Vec<(usize, RunEntry, i64)> = Vec::new();
        for piece in pieces {
            let append = &appends[piece.append];
            let at = bytes.len();
            bytes.extend_from_slice(&append.records[piece.start..piece.start + piece.len]);
            let header = stamp(&mut bytes[at..], append, piece.base_offset)?;
            let key = self.groups[piece.group].target.key();
            match runs.last_mut() {
                Some((group, run, max_timestamp))
                    if *group == piece.group && run.leader_epoch == append.leader_epoch =>
                {
                    extend(run, &header);
                    *max_timestamp = header.max_timestamp.max(*max_timestamp);
                }
                _ => {
                    let position = self.payload_len + at as u32;
                    runs.push((
                        piece.group,
                        start_run(key, position, &header),
                        header.max_timestamp,
                    ));
                }
            }
        }
        let arena = Bytes::from_owner(Arena { bytes, _charge: tail.charge(len) });
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

/// Every batch of every append, grouped, with its offset in the log.
fn pieces(appends: &[WalAppend], members: &[Vec<usize>]) -> Result<Vec<Piece>, RecordError> {
    let mut pieces = Vec::new();
    for (group, members) in members.iter().enumerate() {
        let mut expected = None;
        for &index in members {
            let append = &appends[index];
            invariant!(
                Log3,
                expected.is_none_or(|offset| offset == append.base_offset),
                "{} continues at {} after {expected:?}",
                append.target.key(),
                append.base_offset
            );
            let (mut start, mut base_offset) = (0, append.base_offset);
            for batch in batch_refs(&append.records) {
                let batch = batch?;
                let len = batch.bytes().len();
                pieces.push(Piece { group, append: index, start, len, base_offset });
                start += len;
                base_offset += i64::from(batch.header().last_offset_delta) + 1;
            }
            expected = Some(base_offset);
        }
    }
    Ok(pieces)
}

/// How many of `pieces` go into the next arena: at least one.
fn fill_len(pieces: &[Piece]) -> usize {
    let mut bytes = 0;
    let fits = pieces.iter().take_while(|piece| {
        bytes += piece.len;
        bytes <= ARENA_BYTES_MAX
    });
    fits.count().max(1)
}

/// Stamps what the broker decides into the batch and returns its header.
fn stamp(batch: &mut [u8], append: &WalAppend, offset: i64) -> Result<BatchHeader, RecordError> {
    set_base_offset(batch, offset)?;
    set_partition_leader_epoch(batch, append.leader_epoch)?;
    if let Some(time_ms) = append.log_append_time {
        set_log_append_time(batch, time_ms)?;
    }
    Ok(*BatchRef::parse(batch)?.header())
}

fn last_offset(header: &BatchHeader) -> i64 {
    header.base_offset + i64::from(header.last_offset_delta)
}

fn start_run(key: PartitionKey, position: u32, header: &BatchHeader) -> RunEntry {
    RunEntry {
        key,
        leader_epoch: header.partition_leader_epoch,
        base_offset: header.base_offset,
        last_offset: last_offset(header),
        position,
        len: header.total_len() as u32,
        batches: vec![BatchEntry::of(header)],
    }
}

fn extend(run: &mut RunEntry, header: &BatchHeader) {
    run.last_offset = last_offset(header);
    run.len += header.total_len() as u32;
    run.batches.push(BatchEntry::of(header));
}
