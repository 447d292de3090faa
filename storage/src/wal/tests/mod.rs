//! Tests of the whole log on the simulated disk and on real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod format;
mod fs;
mod recovery;
mod support;
mod writer;
