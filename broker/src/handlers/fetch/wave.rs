//! In which order, and which of them together, the partitions of a fetch are read.
//!
//! The partitions fill the response in their order (KIP-74). One that is in memory or in the WAL is
//! read by itself; neighbours whose records lie in objects are read together, a *wave*, since each
//! of them waits for the store and not for this machine. Invariants: the response is the one that
//! reading them one after the other gives; memory is reserved before a wave begins, in order, and
//! never waited for while this fetch holds some.

use common::memory::Reservation;
use futures::future::join_all;

use super::read::{Limits, Look, PartitionRead, Share};
use crate::context::Broker;

/// Partitions of one fetch that are read at the same time. Their requests have the object store's
/// permits for reads in common with all other fetches.
const WAVE_MAX: usize = 8;

/// A partition with its room in the response and its memory.
struct Ready<'a> {
    /// Its place among the partitions of the fetch.
    index: usize,
    read: &'a mut PartitionRead,
    share: Share,
    reserved: Reservation,
}

/// Reads the partitions picked, in order, within the response's byte bound. What the others have
/// read before stays, and counts.
pub(super) async fn read_picked(
    broker: &Broker,
    limits: &Limits,
    look: Look,
    reads: &mut [PartitionRead],
    picked: &[bool],
) {
    let (mut next, mut bytes) = (0, 0);
    while let Some(read) = reads.get_mut(next) {
        if !picked[next] || !read.look(limits, look) {
            bytes += read.bytes();
            next += 1;
            continue;
        }
        let wave = gather(broker, limits, look, (&mut *reads, picked), next, bytes).await;
        let (after, found) = run(broker, limits, wave, bytes).await;
        (next, bytes) = (after.unwrap_or(next + 1), bytes + found);
    }
}

/// The partition at `first` and, if it is cold, those of its cold neighbours that have all the room
/// they may ask for even if those before them use all of theirs.
async fn gather<'a>(
    broker: &Broker,
    limits: &Limits,
    look: Look,
    (reads, picked): (&'a mut [PartitionRead], &[bool]),
    first: usize,
    bytes: usize,
) -> Vec<Ready<'a>> {
    let (mut wave, mut promised) = (Vec::new(), bytes);
    let mut only_one = false;
    for (index, read) in reads.iter_mut().enumerate().skip(first) {
        if index > first {
            if only_one || wave.len() == WAVE_MAX || !picked[index] {
                break;
            }
            // Where there is nothing to read, its answer is complete by now.
            if !read.look(limits, look) {
                continue;
            }
        }
        if !read.is_cold() {
            if index > first {
                break;
            }
            only_one = true;
        }
        let share = if index == first {
            read.share(limits, bytes)
        } else {
            Share { min_one_batch: false, ..read.share(limits, 0) }
        };
        if share.is_nothing() || (index > first && promised + share.max_bytes > limits.max_bytes) {
            break;
        }
        let reserved = match broker.fetch_memory.try_acquire(share.max_bytes) {
            Some(reserved) => reserved,
            // Nothing is held yet: not by partitions before it, and not by a wave.
            None if share.min_one_batch => broker.fetch_memory.acquire(share.max_bytes).await,
            // What is there is answered first.
            None => break,
        };
        promised += share.max_bytes;
        wave.push(Ready { index, read, share, reserved });
    }
    wave
}

/// Reads a wave. Returns which partition comes next, and how many bytes were found.
async fn run(
    broker: &Broker,
    limits: &Limits,
    wave: Vec<Ready<'_>>,
    bytes_before: usize,
) -> (Option<usize>, usize) {
    let work = wave.into_iter().map(async |ready| {
        let Ready { index, read, share, reserved } = ready;
        read.read(broker, limits, share, reserved).await;
        (index, share, read)
    });
    let (mut next, mut bytes) = (None, bytes_before);
    let mut done = join_all(work).await.into_iter();
    for (index, share, read) in done.by_ref() {
        // The first batch of all may be larger than its room, and takes that of those behind it;
        // and it may be this one's, if those before it turned out to have nothing.
        let too_much = bytes > 0 && bytes + read.bytes() > limits.max_bytes;
        let too_little = bytes == 0 && read.is_empty() && !share.min_one_batch;
        if too_much || too_little {
            read.leave_out();
            next = Some(index);
            break;
        }
        bytes += read.bytes();
        next = Some(index + 1);
    }
    // They are read again from there on, with the room that there is.
    done.for_each(|(_, _, read)| read.leave_out());
    (next, bytes - bytes_before)
}

#[cfg(test)]
mod tests;
