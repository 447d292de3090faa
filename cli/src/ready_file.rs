//! The ready file: what tests and tools wait for.
//!
//! Invariant: the file is either not there or complete, and not there while no broker serves.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::json;

use crate::banner::Addresses;

/// A written ready file; dropping it removes it.
#[derive(Debug)]
pub(crate) struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    /// Writes the process id and the bound addresses as one line of JSON.
    pub(crate) fn write(path: &Path, addresses: &Addresses) -> anyhow::Result<Self> {
        write(path, addresses).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

fn write(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let body = json!({
        "pid": std::process::id(),
        "kafka": addresses.kafka.to_string(),
        "http": addresses.http.to_string(),
        "postgres": addresses.postgres.map(|address| address.to_string()),
    });
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    writeln!(file, "{body}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Whoever removed it before us wanted the same.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn is_complete_and_goes_with_the_broker() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let addresses = Addresses {
            kafka: "127.0.0.1:9092".parse().unwrap(),
            http: "127.0.0.1:8080".parse().unwrap(),
            postgres: None,
        };
        let ready = ReadyFile::write(&path, &addresses).unwrap();
        let body: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(body["kafka"], "127.0.0.1:9092");
        assert_eq!(body["postgres"], serde_json::Value::Null);
        assert_eq!(body["pid"], std::process::id());
        drop(ready);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
