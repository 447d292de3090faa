//! Which crate may depend on which: the layers of the workspace as data.

/// A crate and the siblings that it may name in `[dependencies]`; dev-dependencies are exempt. The
/// composition root, the simulator and the measuring and test crates may see everything below them.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("common", &[]),
    ("protocol", &[]),
    ("metadata", &["common"]),
    ("storage", &["metadata", "protocol", "common"]),
    ("coordinator", &["protocol", "common"]),
    ("registry", &["metadata", "common"]),
    ("table", &["storage", "metadata", "protocol", "registry", "common"]),
    ("lakehouse-sink", &["table", "storage", "metadata", "registry", "common"]),
    ("query", &["lakehouse-sink", "table", "storage", "metadata", "common"]),
    ("broker", &["table", "coordinator", "storage", "metadata", "protocol", "common"]),
    ("cli", BELOW_THE_TOP),
    ("sim", BELOW_THE_TOP),
    ("compat-tests", BELOW_THE_TOP),
    ("bench", BELOW_THE_TOP),
    ("fuzz", BELOW_THE_TOP),
    ("xtask", &[]),
];

const BELOW_THE_TOP: &[&str] = &[
    "broker",
    "lakehouse-sink",
    "query",
    "table",
    "coordinator",
    "storage",
    "registry",
    "metadata",
    "protocol",
    "common",
];

/// One line per dependency of `member` on a sibling that its layer may not see.
pub(super) fn forbidden_dependencies(member: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member) else {
        return vec![format!("{member}: has no row in xtask/src/tidy/crates.rs")];
    };
    let siblings = dependencies(manifest)
        .filter(|dependency| ALLOWED.iter().any(|(name, _)| name == dependency));
    siblings
        .filter(|dependency| !allowed.contains(dependency))
        .map(|dependency| format!("{member}/Cargo.toml: may not depend on {dependency}"))
        .collect()
}

/// The names in every `dependencies` table that is not `dev-dependencies`.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut counted = false;
    manifest.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            counted = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            return None;
        }
        let name = line.split(['.', '=', ' ']).next()?;
        (counted && !name.is_empty() && !name.starts_with('#')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_layer_may_not_name_a_higher_one_except_in_tests() {
        let manifest = "[dependencies]\nbytes.workspace = true\nstorage.workspace = true\n\
                        [dev-dependencies]\nbroker.workspace = true\n";
        assert_eq!(
            forbidden_dependencies("metadata", manifest),
            ["metadata/Cargo.toml: may not depend on storage"]
        );
        assert!(forbidden_dependencies("broker", manifest).is_empty());
        assert_eq!(forbidden_dependencies("new", manifest).len(), 1);
    }

    #[test]
    fn tables_of_one_target_count_too() {
        let manifest = "[target.'cfg(unix)'.dependencies]\nbroker = { workspace = true }\n";
        assert_eq!(forbidden_dependencies("storage", manifest).len(), 1);
    }
}
