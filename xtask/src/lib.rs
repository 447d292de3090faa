//! The workspace's own tooling, run as `cargo xtask <command>`.
//!
//! `codegen` turns Kafka's message definitions into `protocol/src/messages/generated/`; `tidy`
//! checks the structure of the workspace. Both are tests too, so that neither can be forgotten.

pub mod codegen;
pub mod tidy;

use std::path::{Path, PathBuf};

/// The root of the checkout that this binary was built from.
pub fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
