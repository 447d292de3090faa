//! Apache Kafka's command-line tools, run one after the other in one JVM (`java/ToolRunner.java`).
//!
//! A JVM costs more processor time than everything else in a test; one per test keeps the suite
//! short. The tools are the released ones, called through the same `main` that their shell scripts
//! call.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What a tool printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error, with the client's log at WARN.
    pub stderr: String,
}

/// A JVM that runs tools against one broker.
#[derive(Debug)]
pub struct Tools {
    bootstrap: String,
    jvm: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Tools {
    /// Starts the JVM; `bootstrap` is passed to every tool.
    pub fn start(bootstrap: &str) -> Result<Self> {
        let base = crate::cache_dir().join("kafka-4.3.1");
        let (libs, classes) = (base.join("libs"), base.join("classes"));
        let modified = |path: std::path::PathBuf| std::fs::metadata(path)?.modified();
        let source = modified(crate::source_dir().join("java/ToolRunner.java"))?;
        ensure!(
            modified(classes.join("ToolRunner.class")).is_ok_and(|compiled| compiled > source),
            "Apache Kafka's tools are missing or outdated: run scripts/install kafka"
        );
        let log4j = crate::source_dir().join("kafka/log4j2.yaml");
        let mut jvm = Command::new("java")
            .args(["-Xmx512M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(format!("-Dlog4j2.configurationFile=file:{}", log4j.display()))
            .arg("-cp")
            .arg(format!("{}:{}/*", classes.display(), libs.display()))
            .arg("ToolRunner")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start java")?;
        let requests = jvm.stdin.take().context("no standard input")?;
        let answers = BufReader::new(jvm.stdout.take().context("no standard output")?);
        Ok(Self { bootstrap: bootstrap.to_owned(), jvm, requests, answers })
    }

    /// Runs `line`, a tool and its arguments separated by blanks, and returns its standard output;
    /// an error if it fails.
    pub fn ok(&mut self, line: &str) -> Result<String> {
        self.ok_with_input(line, "")
    }

    /// As [`Self::ok`], with `input` on its standard input.
    pub fn ok_with_input(&mut self, line: &str, input: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(&words, input)?;
        ensure!(
            output.status == 0,
            "`{line}` ended with status {}\n{}\n{}",
            output.status,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Runs `line` and returns all that it printed; an error unless it fails.
    pub fn fails(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(&words, "")?;
        ensure!(output.status != 0, "`{line}` did not fail:\n{}", output.stdout);
        Ok(output.stdout + &output.stderr)
    }

    /// Runs the tool `words[0]` with the remaining words as arguments.
    pub fn run(&mut self, words: &[&str], input: &str) -> Result<Output> {
        let (tool, arguments) = words.split_first().context("no tool named")?;
        let class = main_class(tool)?;
        let mut request = format!("{} {}", encode(class.as_bytes()), encode(input.as_bytes()));
        let bootstrap = ["--bootstrap-server", &self.bootstrap];
        // kafka-cluster alone wants its sub-command before every option.
        let (first, second) = if *tool == "kafka-cluster" {
            (arguments, &bootstrap[..])
        } else {
            (&bootstrap[..], arguments)
        };
        for word in first.iter().chain(second) {
            request.push(' ');
            request.push_str(&encode(word.as_bytes()));
        }
        request.push('\n');
        self.requests.write_all(request.as_bytes())?;
        self.requests.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let mut parts = answer.split_whitespace();
        let mut part = || parts.next().with_context(|| format!("the JVM died during {words:?}"));
        Ok(Output {
            status: part()?.parse()?,
            stdout: String::from_utf8_lossy(&decode(part()?)?).into_owned(),
            stderr: String::from_utf8_lossy(&decode(part()?)?).into_owned(),
        })
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = self.jvm.kill();
        let _ = self.jvm.wait();
    }
}

/// The class behind a tool's shell script.
pub(crate) fn main_class(tool: &str) -> Result<&'static str> {
    Ok(match tool {
        "kafka-broker-api-versions" => "org.apache.kafka.tools.BrokerApiVersionsCommand",
        "kafka-cluster" => "org.apache.kafka.tools.ClusterTool",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "kafka-consumer-perf-test" => "org.apache.kafka.tools.ConsumerPerformance",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-features" => "org.apache.kafka.tools.FeatureCommand",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-groups" => "org.apache.kafka.tools.GroupsCommand",
        "kafka-leader-election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "kafka-log-compaction-tester" => "org.apache.kafka.tools.LogCompactionTester",
        "kafka-log-dirs" => "org.apache.kafka.tools.LogDirsCommand",
        "kafka-metadata-quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "kafka-producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        "kafka-reassign-partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-transactions" => "org.apache.kafka.tools.TransactionsCommand",
        "kafka-verifiable-consumer" => "org.apache.kafka.tools.VerifiableConsumer",
        "kafka-verifiable-producer" => "org.apache.kafka.tools.VerifiableProducer",
        other => bail!("unknown tool {other}"),
    })
}

fn encode(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(word: &str) -> Result<Vec<u8>> {
    if word == "-" {
        return Ok(Vec::new());
    }
    ensure!(word.len().is_multiple_of(2) && word.is_ascii(), "not hexadecimal");
    (0..word.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).context("not hexadecimal"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_way_to_the_jvm_and_back() {
        for text in ["", "a", "two words\n", "häder\0"] {
            let word = encode(text.as_bytes());
            assert!(!word.contains(' '));
            assert_eq!(decode(&word).unwrap(), text.as_bytes());
        }
        assert!(decode("0").is_err());
    }
}
