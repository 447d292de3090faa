//! The `streamhouse` binary: wiring, nothing else.
//!
//! ```text
//!  flags, environment, file ─► cmd::start ─► data directory, metadata, WAL, object store
//!                                        └─► broker (Kafka listener) and HTTP listener
//! ```

mod banner;
mod cmd;
mod data_dir;
mod logging;
mod ready_file;
mod signals;
mod tables;

use std::{io::Write, process::ExitCode};

use clap::Parser;

/// Fewer, larger and better spread allocations than the system's allocator makes under many
/// threads and long-lived arenas.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = cmd::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is gone, nobody is left to be told.
            let _ = writeln!(std::io::stderr(), "streamhouse: {error:#}");
            ExitCode::FAILURE
        }
    }
}
