//! What the members of a group said ([`crate::programs`]), and what must hold of it.
//!
//! - no partition is given to a member while another has it;
//! - a member reads only what it has, each partition without a gap from where it stood;
//! - a record is read again only if whoever read it before was killed: members commit before they
//!   give a partition up. Members that cannot ([`History::repeats`]) are excused.
//!
//! That every record was read is for the test to ask, when it knows that the group has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// One line of a member. Names are those of lives: a program that is started again has another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Who said it.
    pub member: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// It was given partitions, besides those that it has.
    Assigned {
        /// Their numbers.
        partitions: Vec<u32>,
    },
    /// It gives partitions up.
    Revoked {
        /// Their numbers.
        partitions: Vec<u32>,
    },
    /// Partitions were taken from it without its consent.
    Lost {
        /// Their numbers.
        partitions: Vec<u32>,
    },
    /// It read records of one partition.
    Read {
        /// The partition's number.
        partition: u32,
        /// Offsets and values.
        records: Vec<(u64, String)>,
    },
    /// It has left the group and ends.
    Left,
    /// It was ended with SIGKILL; the test says so.
    Killed,
}

/// A file that members of one group write to, and what follows from it.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    unparsed: String,
    lines: Vec<Line>,
    owners: BTreeMap<u32, String>,
    killed: BTreeSet<String>,
    /// Who read a record last.
    readers: BTreeMap<(u32, u64), String>,
    values: BTreeMap<String, (u32, u64)>,
    /// Where a member stands in a partition that it has.
    positions: BTreeMap<(String, u32), u64>,
    repeats: bool,
}

impl History {
    /// An empty one, in a new file.
    pub fn new(path: &Path) -> Result<Self> {
        File::create_new(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            file: File::open(path)?,
            unparsed: String::new(),
            lines: Vec::new(),
            owners: BTreeMap::new(),
            killed: BTreeSet::new(),
            readers: BTreeMap::new(),
            values: BTreeMap::new(),
            positions: BTreeMap::new(),
            repeats: false,
        })
    }

    /// With members that cannot commit before they give a partition up.
    pub fn repeats(&mut self) {
        self.repeats = true;
    }

    /// The file for one more program to write to.
    pub fn output(&self) -> Result<File> {
        Ok(File::options().append(true).open(&self.path)?)
    }

    /// Adds the line of a member that was killed.
    pub fn say_killed(&self, member: &str) -> Result<()> {
        let line = Line { member: member.to_owned(), event: Event::Killed };
        Ok(self.output()?.write_all((serde_json::to_string(&line)? + "\n").as_bytes())?)
    }

    /// Takes in what was written since; an error if it must not have happened.
    pub fn update(&mut self) -> Result<()> {
        self.file.read_to_string(&mut self.unparsed)?;
        while let Some(end) = self.unparsed.find('\n') {
            let text: String = self.unparsed.drain(..=end).collect();
            let line = serde_json::from_str(&text).with_context(|| format!("line `{text}`"))?;
            self.take(line).with_context(|| format!("line {}: {text}", self.lines.len()))?;
        }
        Ok(())
    }

    /// All lines so far.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Who has which partition.
    pub fn owners(&self) -> &BTreeMap<u32, String> {
        &self.owners
    }

    /// The partitions of one member.
    pub fn owned_by(&self, member: &str) -> BTreeSet<u32> {
        let mine = self.owners.iter().filter(|(_, owner)| *owner == member);
        mine.map(|(partition, _)| *partition).collect()
    }

    /// The places of all values that were read.
    pub fn values(&self) -> &BTreeMap<String, (u32, u64)> {
        &self.values
    }

    fn take(&mut self, line: Line) -> Result<()> {
        let member = line.member.clone();
        self.lines.push(line.clone());
        match line.event {
            Event::Assigned { partitions } => self.assign(&member, &partitions),
            Event::Revoked { partitions } => {
                self.release(&member, |partition| partitions.contains(&partition));
                Ok(())
            }
            Event::Lost { partitions } if partitions.is_empty() => Ok(()),
            Event::Lost { .. } => bail!("a member that lived lost its partitions"),
            Event::Read { partition, records } => self.read(&member, partition, records),
            Event::Left => {
                self.release(&member, |_| true);
                Ok(())
            }
            Event::Killed => {
                self.release(&member, |_| true);
                self.killed.insert(member);
                Ok(())
            }
        }
    }

    fn assign(&mut self, member: &str, partitions: &[u32]) -> Result<()> {
        for partition in partitions {
            if let Some(other) = self.owners.insert(*partition, member.to_owned())
                && other != member
            {
                bail!("{member} was given partition {partition} while {other} had it");
            }
        }
        Ok(())
    }

    fn release(&mut self, member: &str, which: impl Fn(u32) -> bool) {
        self.owners.retain(|partition, owner| owner != member || !which(*partition));
        self.positions.retain(|(owner, partition), _| owner != member || !which(*partition));
    }

    fn read(&mut self, member: &str, partition: u32, records: Vec<(u64, String)>) -> Result<()> {
        let owner = self.owners.get(&partition);
        if owner.is_none_or(|owner| owner != member) {
            bail!("{member} read partition {partition}, which {owner:?} has");
        }
        for (offset, value) in records {
            let position = (member.to_owned(), partition);
            if let Some(expected) = self.positions.insert(position, offset + 1)
                && expected != offset
            {
                bail!("{member} stood at {expected} of partition {partition} and read {offset}");
            }
            if let Some(before) = self.readers.insert((partition, offset), member.to_owned())
                && !self.killed.contains(&before)
                && !self.repeats
            {
                bail!("{member} read {partition}:{offset}, which {before} had read");
            }
            if let Some(place) = self.values.insert(value, (partition, offset))
                && place != (partition, offset)
            {
                bail!("{partition}:{offset} has the value of {place:?}");
            }
        }
        Ok(())
    }
}
