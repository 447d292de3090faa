//! `tidy`: the rules of structure that a compiler does not check.
//!
//! Crates depend only on what their layer may see, every `.rs` file opens with `//!`, every `.rs` file
//! is reached by a `mod`, and what is left to do is written in an RFC, not in a comment. Lengths of
//! files and functions are for judgement and are not checked.

mod crates;
mod dead;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Checks the whole workspace.
///
/// # Errors
/// When a file cannot be read, or with one line per broken rule.
pub fn check(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    for member in members(root)? {
        let directory = root.join(&member);
        let manifest = fs::read_to_string(directory.join("Cargo.toml"))
            .with_context(|| format!("{member}/Cargo.toml"))?;
        broken.extend(crates::forbidden_dependencies(&member, &manifest));
        let mut files = Vec::new();
        rust_files(&directory, &mut files)?;
        files.sort();
        for file in &files {
            let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
            broken.extend(text::broken_rules(&shown, &fs::read_to_string(file)?));
        }
        let dead = dead::unreachable_files(&directory, &files)?;
        broken.extend(dead.iter().map(|file| {
            let shown = file.strip_prefix(root).unwrap_or(file);
            format!("{}: no `mod` leads to this file", shown.display())
        }));
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{} broken rules:\n{}", broken.len(), broken.join("\n"))
}

/// The directories in `members = [...]` of the workspace's manifest.
fn members(root: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let (_, list) = manifest.split_once("members = [").context("Cargo.toml lists no members")?;
    let (list, _) = list.split_once(']').context("the list of members does not end")?;
    let quoted = list.split('"').skip(1).step_by(2);
    Ok(quoted.map(str::to_owned).collect())
}

/// All `.rs` files below a directory, except build output and hidden directories.
fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() -> anyhow::Result<()> {
        super::check(&crate::workspace_root())
    }
}
