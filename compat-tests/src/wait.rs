//! Waiting for something that other processes bring about.
//!
//! Invariant: a wait that fails says what it waited for and what it found last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the outside is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Looks until `look` finds what it wants. An inner `Err` says what it found instead; an outer one
/// ends the wait.
pub fn until<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match look()? {
            Ok(found) => return Ok(found),
            Err(found) if Instant::now() > deadline => {
                bail!("{what}: not within {timeout:?}: {found}");
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
