//! Puts a WAL together: queue, writer, preparer, and what recovery found.

use std::{
    io,
    sync::{Arc, Mutex},
};

use common::{clock::SharedClock, rng::Rng, spawn::Spawner};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    WalEvent, WalFs, WalHandle, WalOptions, WalPosition,
    files::Files,
    handle::Shared,
    prepare::{Preparer, Slot},
    queue::Queue,
    recovery::Recovered,
    writer::{Writer, WriterDeps},
};

/// Largest append, bytes: block lengths are 32 bits wide, directory included.
const APPEND_BYTES_MAX: usize = 1 << 30;

/// What a WAL is built from.
#[derive(Debug, Clone)]
pub struct WalDeps {
    /// The directory.
    pub fs: Arc<dyn WalFs>,
    /// Stamps file heads and times syncs.
    pub clock: SharedClock,
    /// Draws nonces.
    pub rng: Rng,
    /// Runs the writer and the preparer; its fatal hook hears of a failed sync.
    pub spawner: Spawner,
}

/// Starts the log where recovery left it. Every recovered file is announced as sealed first.
///
/// # Errors
/// Where a thread cannot be started, or a recovered file without batches cannot be deleted.
pub async fn start(
    deps: WalDeps,
    options: WalOptions,
    recovered: Recovered,
) -> io::Result<(WalHandle, UnboundedReceiver<WalEvent>)> {
    let WalDeps { fs, clock, rng, spawner } = deps;
    let (events, receiver) = unbounded_channel();
    let files = Arc::new(Files::new(Arc::clone(&fs)));
    let mut synced = WalPosition { file_id: 0, end: 0 };
    for recovered in &recovered.files {
        files.count(recovered.file.id, recovered.end);
        synced = WalPosition { file_id: recovered.file.id, end: recovered.end };
    }
    for recovered in recovered.files {
        if recovered.has_batches {
            let sealed = WalEvent::Sealed { file: recovered.file, end: recovered.end };
            // The receiver is in this function's hands.
            let _ = events.send(sealed);
        } else {
            files.release(recovered.file.id).await?;
        }
    }
    let slot = Arc::new(Slot::default());
    match recovered.prepared {
        Some(prepared) => slot.offer(prepared),
        None => slot.want(options.first_file_bytes),
    }
    let shared = Arc::new(Shared {
        queue: Arc::new(Queue::new(options.queue_bytes)),
        files,
        synced: Mutex::new(synced),
        append_bytes_max: APPEND_BYTES_MAX,
    });
    let preparer = Preparer {
        slot: Arc::clone(&slot),
        fs: Arc::clone(&fs),
        clock: Arc::clone(&clock),
        rng,
        next_file_id: recovered.next_file_id,
        retry_interval: options.retry_interval,
        reserve_bytes: options.reserve_bytes,
    };
    let fatal = spawner.fatal().clone();
    let deps = WriterDeps { shared: Arc::clone(&shared), fs, slot, clock, fatal, options, events };
    let writer = Writer::new(deps, recovered.next_sequence);
    spawner.spawn_dedicated("wal-preparer", preparer.run())?;
    spawner.spawn_dedicated("wal-writer", writer.run())?;
    Ok((WalHandle { shared }, receiver))
}
