//! Source files that no `mod` declaration reaches: cargo ignores them silently.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Files of a crate that are neither a target's root nor reached from one.
pub(super) fn unreachable_files(directory: &Path, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let existing: BTreeSet<&PathBuf> = files.iter().collect();
    let mut open: Vec<PathBuf> =
        files.iter().filter(|file| is_root(directory, file)).cloned().collect();
    let mut reached: BTreeSet<PathBuf> = open.iter().cloned().collect();
    while let Some(file) = open.pop() {
        let is_root = is_root(directory, &file);
        for candidate in declared(&file, is_root, &fs::read_to_string(&file)?) {
            if existing.contains(&candidate) && reached.insert(candidate.clone()) {
                open.push(candidate);
            }
        }
    }
    Ok(files.iter().filter(|file| !reached.contains(*file)).cloned().collect())
}

/// Whether cargo finds the file by itself: a library, binary, test, example, bench or build script.
fn is_root(directory: &Path, file: &Path) -> bool {
    let Ok(relative) = file.strip_prefix(directory) else { return false };
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    const TARGETS: [&str; 4] = ["tests", "examples", "benches", "fuzz_targets"];
    match parts.as_slice() {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => true,
        ["src", "bin", _, "main.rs"] => true,
        [kind, _] | [kind, _, "main.rs"] => TARGETS.contains(kind),
        _ => false,
    }
}

/// The files that the `mod name;` declarations of a file may mean.
fn declared(file: &Path, is_root: bool, text: &str) -> Vec<PathBuf> {
    let parent = file.parent().unwrap_or(file);
    let stem = file.file_stem().unwrap_or_default();
    let base = if is_root || stem == "mod" { parent.to_path_buf() } else { parent.join(stem) };
    let mut path_attribute = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|l| l.strip_suffix("\"]")) {
            path_attribute = Some(parent.join(path));
        } else if let Some(name) = module_name(line) {
            match path_attribute.take() {
                Some(path) => found.push(path),
                None => {
                    found.push(base.join(format!("{name}.rs")));
                    found.push(base.join(name).join("mod.rs"));
                }
            }
        }
    }
    found
}

/// The name in `mod name;`, with any visibility in front.
fn module_name(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(')')?.1.trim_start(),
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let name = line.strip_prefix("mod ")?.split_once(';')?.0.trim();
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_with_any_visibility() {
        assert_eq!(module_name("mod a;"), Some("a"));
        assert_eq!(module_name("pub mod b_c;"), Some("b_c"));
        assert_eq!(module_name("pub(in crate::x) mod d; // why"), Some("d"));
        assert_eq!(module_name("mod tests {"), None);
        assert_eq!(module_name("// mod e;"), None);
    }

    #[test]
    fn a_module_lies_beside_or_below_its_parent() {
        let text = "mod x;\n#[path = \"odd.rs\"]\nmod y;\n";
        let of = |file: &str, root| declared(Path::new(file), root, text);
        let expected = |paths: [&str; 3]| paths.map(PathBuf::from).to_vec();
        assert_eq!(of("src/lib.rs", true), expected(["src/x.rs", "src/x/mod.rs", "src/odd.rs"]));
        assert_eq!(of("src/a.rs", false), expected(["src/a/x.rs", "src/a/x/mod.rs", "src/odd.rs"]));
        assert_eq!(
            of("src/a/mod.rs", false),
            expected(["src/a/x.rs", "src/a/x/mod.rs", "src/a/odd.rs"])
        );
    }

    #[test]
    fn targets_of_cargo_are_roots() {
        let root = |file: &str| is_root(Path::new("c"), Path::new(file));
        assert!(root("c/src/main.rs") && root("c/tests/kill.rs") && root("c/src/bin/x.rs"));
        assert!(!root("c/src/wal.rs") && !root("c/tests/common/mod.rs"));
    }
}
