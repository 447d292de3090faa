//! A group whose members are programs: who is in it, what they are fed, when they are at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use streamhouse_compat_tests::clients::{kcat, python};
use streamhouse_compat_tests::group_history::History;
use streamhouse_compat_tests::programs::{Client, Program};
use streamhouse_compat_tests::target::Broker;

use super::TIMEOUT;

/// Partitions of every group's topic.
pub(super) const PARTITIONS: u32 = 6;

/// A client library with an assignor, or with the protocol `consumer`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) client: Client,
    pub(super) assignor: &'static str,
}

/// A group with a topic of its own.
pub(super) struct Group {
    bootstrap: String,
    label: String,
    pub(super) history: History,
    members: BTreeMap<String, Program>,
    fed: usize,
    _dir: tempfile::TempDir,
}

impl Group {
    pub(super) fn new(broker: &Broker, label: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(&dir.path().join("history")).unwrap();
        let bootstrap = broker.bootstrap();
        python("topic.py", &[&bootstrap, label, &PARTITIONS.to_string()]).unwrap();
        let (label, members) = (label.to_owned(), BTreeMap::new());
        Self { bootstrap, label, history, members, fed: 0, _dir: dir }
    }

    /// Starts the member `name`; with an instance id it is static.
    pub(super) fn join(&mut self, kind: Kind, name: &str, instance: Option<&str>) {
        let (label, instance) = (&self.label, instance.unwrap_or("-"));
        let words = ["member", &self.bootstrap, label, label, name, kind.assignor, instance];
        let program = kind.client.start(&words, self.history.output().unwrap()).unwrap();
        assert!(self.members.insert(name.to_owned(), program).is_none(), "{name} twice");
    }

    /// Tells the member to end, and waits until it has.
    pub(super) fn leave(&mut self, name: &str) {
        let mut program = self.members.remove(name).unwrap();
        program.end_input();
        let status = program.wait(TIMEOUT).unwrap_or_else(|error| self.fail(&format!("{error:#}")));
        assert!(status.success(), "{}: {name} ended with {status}", self.label);
    }

    pub(super) fn kill(&mut self, name: &str) {
        self.members.remove(name).unwrap().kill();
        self.history.say_killed(name).unwrap();
    }

    /// Writes `count` records with values that were not there yet, spread over the partitions.
    pub(super) fn feed(&mut self, count: usize) {
        let numbers = self.fed..self.fed + count;
        let input: String = numbers.map(|number| format!("{number}:{number}\n")).collect();
        kcat(&self.bootstrap, &["-P", "-t", &self.label, "-K", ":"], input.as_bytes()).unwrap();
        self.fed += count;
    }

    /// Waits until every partition has one owner and every member its share.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        self.until("at rest", |group| {
            let shares = group.members.keys().map(|name| group.history.owned_by(name).len());
            let (least, most) = (shares.clone().min(), shares.clone().max());
            shares.sum::<usize>() == PARTITIONS as usize
                && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
        });
    }

    /// Waits until all that was fed has been read.
    #[track_caller]
    pub(super) fn read_all(&mut self) {
        self.until("read", |group| group.history.values().len() == group.fed);
    }

    #[track_caller]
    pub(super) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Err(error) = self.history.update() {
                self.fail(&format!("{error:#}"));
            }
            if condition(self) {
                return;
            }
            for (name, program) in &mut self.members {
                assert!(!program.has_ended().unwrap(), "{}: {name} has ended", self.label);
            }
            if Instant::now() > deadline {
                self.fail(&format!("not {what} within {TIMEOUT:?}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// All members leave; then the group has committed all that there is.
    #[track_caller]
    pub(super) fn end(mut self, client: Client) {
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            self.leave(&name);
        }
        self.until("empty", |group| group.history.owners().is_empty());
        let lag = client.run(&["lag", &self.bootstrap, &self.label, &self.label], TIMEOUT).unwrap();
        let rows = lag[0]["partitions"].as_array().unwrap();
        assert_eq!(rows.len(), PARTITIONS as usize);
        let ends: u64 = rows.iter().map(|row| row[2].as_u64().unwrap()).sum();
        assert_eq!(ends as usize, self.fed, "{}: {lag:?}", self.label);
        for row in rows {
            // What nothing was written to needs no offset.
            let committed = row[1].as_i64().unwrap().max(0);
            assert_eq!(Some(committed), row[2].as_i64(), "{}: lag: {lag:?}", self.label);
        }
        let places: BTreeSet<_> = self.history.values().values().collect();
        assert_eq!(places.len(), self.fed, "{}: not every record was read", self.label);
    }

    #[track_caller]
    fn fail(&self, why: &str) -> ! {
        let lines = self.history.lines().iter().map(|line| {
            let text = serde_json::to_string(line).unwrap();
            format!("{:.300}\n", text)
        });
        panic!("{}: {why}\n{}", self.label, lines.collect::<String>());
    }
}
