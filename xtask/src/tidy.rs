//! Structural checks.

use std::path::Path;

/// Checks the workspace.
pub fn check(_root: &Path) -> anyhow::Result<()> {
    Ok(())
}
