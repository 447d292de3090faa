//! The clients of a run. Their state outlives the broker's crashes: a client that loses its
//! connection does what Kafka's own clients do, on the next one.

pub mod admin;
pub mod fetcher;
pub mod group_watcher;
pub mod member;
pub mod producer;
pub mod transactor;

use std::time::Duration;

use common::rng::Rng;

/// Pause after a lost connection or an error.
const BACKOFF: Duration = Duration::from_millis(100);

/// A pause of up to `ms_max` milliseconds.
async fn pause(rng: &Rng, ms_max: u64) {
    let millis = rng.below(ms_max + 1);
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    } else {
        tokio::task::yield_now().await;
    }
}
