//! What an operator does to connectors over REST: failed tasks are restarted, connectors are paused
//! and stopped, their offsets read, set and reset, and in the end they are deleted.

use std::path::PathBuf;

use serde_json::{Value, json};
use streamhouse_compat_tests::clients::python;
use streamhouse_compat_tests::wait::until;

use super::lines::{append, flights, text};
use super::{Setup, TIMEOUT, TOPIC, sink, source, status_path};

#[test]
fn connectors_are_restarted_paused_stopped_rewound_and_deleted() {
    let setup = Setup::new(1);
    let lines = flights(setup.dir.path(), 1700);
    let input = setup.path("flights.csv");
    let out = setup.path("missing/out");
    append(&input, &lines[..1000]);
    setup.create("source", &source(&input));
    setup.create("sink", &sink(&out));
    let mut run = Run { setup, input, out, expected: Vec::new() };

    run.restart_what_failed();
    run.arrive(&lines[..1000]);
    run.pause_and_resume(&lines[1000..1500]);
    run.set_the_sinks_offset(&lines, 1200);
    run.reset_the_sinks_offsets(&lines[..1500]);
    run.set_the_sources_offset(&lines, 1400);
    run.reset_the_sources_offsets(&lines[1500..]);
    run.delete();
}

struct Run {
    setup: Setup,
    input: PathBuf,
    out: PathBuf,
    /// What the sink has to have written.
    expected: Vec<String>,
}

impl Run {
    /// Waits until the sink has written these lines too.
    fn arrive(&mut self, lines: &[String]) {
        self.expected.extend_from_slice(lines);
        let expected = text(&self.expected);
        until("the sink's lines", TIMEOUT, || {
            let found = std::fs::read_to_string(&self.out).unwrap_or_default();
            if found.len() < expected.len() {
                let status = self.setup.status("sink");
                return Ok(Err(format!("{} bytes of {}; {status}", found.len(), expected.len())));
            }
            assert!(found == expected, "the sink wrote something else: see {}", self.out.display());
            Ok(Ok(()))
        })
        .unwrap();
    }

    /// The sink's directory is missing at first.
    fn restart_what_failed(&self) {
        let failed = until("the task fails", TIMEOUT, || {
            let status = self.setup.status("sink");
            let task = &status["tasks"][0];
            Ok(if task["state"] == "FAILED" { Ok(task.clone()) } else { Err(status.to_string()) })
        })
        .unwrap();
        let trace = failed["trace"].as_str().unwrap();
        assert!(trace.contains("Couldn't find or create file"), "{trace}");
        std::fs::create_dir(self.out.parent().unwrap()).unwrap();
        let path = "/connectors/sink/restart?includeTasks=true&onlyFailed=true";
        self.setup.ok("POST", path);
        self.setup.await_state("sink", "RUNNING");
    }

    fn pause_and_resume(&mut self, more: &[String]) {
        let before = self.setup.path("before");
        std::fs::copy(&self.input, &before).unwrap();
        for name in ["source", "sink"] {
            self.setup.ok("PUT", &format!("/connectors/{name}/pause"));
            self.setup.await_state(name, "PAUSED");
        }
        append(&self.input, more);
        self.setup.verify(&before);
        for name in ["source", "sink"] {
            self.setup.ok("PUT", &format!("/connectors/{name}/resume"));
        }
        self.arrive(more);
        self.setup.verify(&self.input);
    }

    fn set_the_sinks_offset(&mut self, lines: &[String], from: usize) {
        let partition = json!({ "kafka_topic": TOPIC, "kafka_partition": 0 });
        let last = self.offset_of(1499);
        // What was flushed last is committed soon after.
        until("the sink's offset", TIMEOUT, || {
            let offsets = self.offsets("sink");
            let offset = offsets[0]["offset"]["kafka_offset"].as_i64();
            Ok(if offset > Some(last) { Ok(()) } else { Err(offsets.to_string()) })
        })
        .unwrap();
        let offset = json!({ "kafka_offset": self.offset_of(from) });
        let body = json!({ "offsets": [{ "partition": partition, "offset": offset }] });
        let path = "/connectors/sink/offsets";
        let (status, _) = self.setup.worker().answer("PATCH", path, Some(&body)).unwrap();
        assert_eq!(status, 400, "the offsets of a sink that runs were set");
        self.stop("sink");
        self.setup.worker().ok("PATCH", path, Some(&body)).unwrap();
        assert_eq!(self.offsets("sink"), body["offsets"]);
        self.resume("sink");
        self.arrive(&lines[from..1500]);
    }

    fn reset_the_sinks_offsets(&mut self, all: &[String]) {
        self.stop("sink");
        assert!(self.groups().contains("connect-sink"));
        self.setup.ok("DELETE", "/connectors/sink/offsets");
        assert_eq!(self.offsets("sink"), json!([]));
        assert!(!self.groups().contains("connect-sink"));
        self.resume("sink");
        self.arrive(all);
    }

    fn set_the_sources_offset(&mut self, lines: &[String], from: usize) {
        self.stop("source");
        let partition = json!({ "filename": self.input });
        let read = json!({ "position": text(&lines[..1500]).len() });
        let path = "/connectors/source/offsets";
        assert_eq!(self.offsets("source"), json!([{ "partition": partition, "offset": read }]));
        let offset = json!({ "position": text(&lines[..from]).len() });
        let body = json!({ "offsets": [{ "partition": partition, "offset": offset }] });
        self.setup.worker().ok("PATCH", path, Some(&body)).unwrap();
        assert_eq!(self.offsets("source"), body["offsets"]);
        self.resume("source");
        self.arrive(&lines[from..1500]);
        let expected = self.setup.path("expected");
        append(&expected, &[&lines[..1500], &lines[from..1500]].concat());
        self.setup.verify(&expected);
    }

    /// The source begins anew, over a file that has other lines by now.
    fn reset_the_sources_offsets(&mut self, others: &[String]) {
        self.stop("source");
        self.setup.ok("DELETE", "/connectors/source/offsets");
        assert_eq!(self.offsets("source"), json!([]));
        std::fs::remove_file(&self.input).unwrap();
        append(&self.input, others);
        self.resume("source");
        self.arrive(others);
        let expected = self.setup.path("expected");
        append(&expected, others);
        self.setup.verify(&expected);
    }

    fn delete(&self) {
        for name in ["source", "sink"] {
            self.setup.ok("DELETE", &format!("/connectors/{name}"));
            until(&format!("{name} is gone"), TIMEOUT, || {
                let worker = self.setup.worker();
                let (status, answer) = worker.answer("GET", &status_path(name), None)?;
                Ok(if status == 404 { Ok(()) } else { Err(answer.to_string()) })
            })
            .unwrap();
        }
        assert_eq!(self.setup.ok("GET", "/connectors"), json!([]));
    }

    fn stop(&self, name: &str) {
        self.setup.ok("PUT", &format!("/connectors/{name}/stop"));
        until(&format!("{name} is stopped"), TIMEOUT, || {
            let status = self.setup.status(name);
            let stopped = status["connector"]["state"] == "STOPPED" && status["tasks"] == json!([]);
            Ok(if stopped { Ok(()) } else { Err(status.to_string()) })
        })
        .unwrap();
    }

    fn resume(&self, name: &str) {
        self.setup.ok("PUT", &format!("/connectors/{name}/resume"));
        self.setup.await_state(name, "RUNNING");
    }

    fn offsets(&self, name: &str) -> Value {
        self.setup.ok("GET", &format!("/connectors/{name}/offsets"))["offsets"].clone()
    }

    /// The offset of the record with this number.
    fn offset_of(&self, number: usize) -> i64 {
        let bootstrap = self.setup.broker.bootstrap();
        let arguments = ["offset", &bootstrap, TOPIC, &number.to_string()];
        python("connect.py", &arguments).unwrap().trim().parse().unwrap()
    }

    fn groups(&self) -> String {
        python("connect.py", &["groups", &self.setup.broker.bootstrap()]).unwrap()
    }
}
