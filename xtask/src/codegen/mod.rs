//! Generates `protocol::messages` and `protocol::coordinator_records` from Kafka's own definitions.
//!
//! In: `protocol/definitions/*.json`, verbatim from the `kafka-clients` jar, and the folders beside
//! them, from the jars of the coordinators. Out: one Rust file per API with its request, its response
//! and their structs, one per record with its key and its value, and a `mod.rs` each that lists them.
//! The output is committed; `check` proves that it is current. See
//! `docs/rfcs/0001-protocol-messages.md`.

mod api;
mod arbitrary;
mod decode;
mod encode;
mod names;
mod records;
mod render;
mod schema;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use self::{api::Api, schema::MessageSpec};

const DEFINITIONS: &str = "protocol/definitions";
const GENERATED: &str = "protocol/src/messages/generated";
const GENERATED_RECORDS: &str = "protocol/src/coordinator_records/generated";

type Generate = fn(&Path) -> Result<BTreeMap<String, String>>;

/// The directories with generated files, and what fills them.
const OUTPUTS: [(&str, Generate); 2] =
    [(GENERATED, generate_messages), (GENERATED_RECORDS, generate_records)];

/// Writes every generated file and removes those that no definition asks for any more.
///
/// # Errors
/// When a definition cannot be read or uses what the generator does not know, or rustfmt fails.
pub fn write(root: &Path) -> Result<()> {
    for (directory, generate) in OUTPUTS {
        let directory = root.join(directory);
        fs::create_dir_all(&directory)?;
        let files = generate(root)?;
        for (name, text) in &files {
            if fs::read_to_string(directory.join(name)).ok().as_ref() != Some(text) {
                fs::write(directory.join(name), text)?;
            }
        }
        for stale in committed(&directory)?.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(directory.join(stale))?;
        }
    }
    Ok(())
}

/// Fails, naming the files, unless the committed output is exactly what `write` would write.
///
/// # Errors
/// As `write`, and when a file differs, is missing or is not generated any more.
pub fn check(root: &Path) -> Result<()> {
    for (directory, generate) in OUTPUTS {
        let expected = generate(root)?;
        let found = committed(&root.join(directory))?;
        let all = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
        let stale: Vec<_> = all.filter(|name| expected.get(*name) != found.get(*name)).collect();
        ensure!(stale.is_empty(), "run `cargo xtask codegen`: not current: {directory}: {stale:?}");
    }
    Ok(())
}

fn committed(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs::read_to_string(entry.path())?,
        );
    }
    Ok(files)
}

fn generate_messages(root: &Path) -> Result<BTreeMap<String, String>> {
    let apis = load(&root.join(DEFINITIONS))?;
    let mut files = BTreeMap::new();
    for api in &apis {
        let text = render::api_file(api).with_context(|| api.name.clone())?;
        files.insert(format!("{}.rs", api.module()), rustfmt(root, &text)?);
    }
    files.insert("mod.rs".to_owned(), rustfmt(root, &render::mod_file(&apis))?);
    Ok(files)
}

fn generate_records(root: &Path) -> Result<BTreeMap<String, String>> {
    let records = records::load(&root.join(DEFINITIONS))?;
    let mut files = BTreeMap::new();
    for item in &records {
        let text = item.file().with_context(|| item.name().to_owned())?;
        files.insert(format!("{}.rs", item.module()), rustfmt(root, &text)?);
    }
    files.insert("mod.rs".to_owned(), rustfmt(root, &records::mod_file(&records))?);
    Ok(files)
}

/// The APIs in order of their keys.
fn load(directory: &Path) -> Result<Vec<Api>> {
    let mut halves: BTreeMap<i16, Vec<MessageSpec>> = BTreeMap::new();
    for spec in specs(directory)? {
        let key = spec.api_key.with_context(|| format!("{} has no key", spec.name))?;
        halves.entry(key).or_default().push(spec);
    }
    halves.into_iter().map(|(key, specs)| Api::pair(key, specs)).collect()
}

/// The definitions right in a directory.
fn specs(directory: &Path) -> Result<Vec<MessageSpec>> {
    let mut specs = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let spec = MessageSpec::parse(&fs::read_to_string(&path)?)
                .with_context(|| format!("{}", path.display()))?;
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// Formats as `cargo fmt` would: rustfmt looks for the workspace's `rustfmt.toml` from `root`.
fn rustfmt(root: &Path, text: &str) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt does not start: is the rustfmt component installed?")?;
    // rustfmt reads all of its input before it writes: no need for a thread on either side.
    child.stdin.take().context("rustfmt has a stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt refuses the generated text:\n{text}");
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_messages_are_current() -> anyhow::Result<()> {
        super::check(&crate::workspace_root())
    }
}
