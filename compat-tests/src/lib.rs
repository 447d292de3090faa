//! Black-box tests: real clients drive a real `streamhouse` process, and real processes and disks
//! fail under it.
//!
//! ```text
//!  tests/compat/*   what must hold          (one test = one broker on port 0 with its own directory)
//!       │ drives
//!  target::Broker   the process under test  (StreamHouse, or Apache Kafka to prove the tests themselves)
//!  tools, clients   Java tools, kcat, librdkafka
//!  programs         clients of several languages with one command line
//!  group_history    what the members of a group said, judged line by line
//!  jvm              Java programs that run until they are stopped or killed
//!  service          programs with a log file, such as MirrorMaker
//!  connect          workers of Kafka Connect
//!  history          what clients saw, judged event by event
//!  disk             file systems that fill up or lose power
//!  strace           system calls that fail or kill
//!  s3               a real S3 server
//!  suite            Apache Kafka's own integration tests
//! ```
//!
//! Nothing here knows how the broker works inside: whatever is asserted, a user could have seen.
//! `STREAMHOUSE_COMPAT_TARGET=kafka` runs the same tests against Apache Kafka; where a test only
//! makes sense for StreamHouse it says so on its output instead of passing in silence.

// Real processes live in real time: the seams of determinism end at the process boundary.
#![allow(clippy::disallowed_methods)]

pub mod clients;
pub mod connect;
pub mod disk;
pub mod gate;
pub mod group_history;
pub mod history;
pub mod jvm;
pub mod programs;
pub mod s3;
pub mod seed;
pub mod service;
pub mod strace;
pub mod suite;
pub mod target;
pub mod tools;
pub mod wait;

use std::path::PathBuf;

/// Where tools, jars and the Python environment were installed; the rule is `scripts/env.sh`'s.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("STREAMHOUSE_CACHE") {
        return PathBuf::from(dir);
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    base.join("streamhouse")
}

/// The directory of this crate in the source tree: scripts of the tests lie under it.
pub fn source_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Tells the reader of a test's output that something could not be tried on this machine, and why.
#[allow(clippy::print_stdout)]
pub fn not_possible_here(what: &str, why: &str) {
    println!("NOT POSSIBLE HERE: {what}: {why}");
}
