//! kcat and the Python client of librdkafka, run as separate processes.
//!
//! Checks on what Python clients saw live beside them in `python/*.py`; each script ends with
//! status 0 only if all of its own checks held, and prints what it compared.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs kcat with `arguments` against `bootstrap`, `input` on its standard input; an error if it
/// fails.
pub fn kcat(bootstrap: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new("kcat");
    command.args(["-b", bootstrap, "-X", "socket.timeout.ms=10000"]).args(arguments);
    let output = run(command, input)?;
    ensure!(
        output.status.success(),
        "kcat {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Runs `python/SCRIPT` to its end; an error with all it printed if it fails.
pub fn python(script: &str, arguments: &[&str]) -> Result<String> {
    let mut command = python_command(script);
    command.args(arguments);
    let output = run(command, b"")?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{script} {arguments:?}: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}

/// Starts `python/SCRIPT`, its standard input and output piped to the caller.
pub fn python_start(script: &str, arguments: &[&str]) -> Result<Child> {
    python_command(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {script}"))
}

/// Starts the main class `class` of Apache Kafka's jars; its output goes nowhere.
pub fn java_start(class: &str, arguments: &[&str]) -> Result<Child> {
    let libs = crate::cache_dir().join("kafka-4.3.1/libs");
    let log4j = crate::source_dir().join("kafka/log4j2.yaml");
    Command::new("java")
        .args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(format!("-Dlog4j2.configurationFile=file:{}", log4j.display()))
        .arg("-cp")
        .arg(format!("{}/*", libs.display()))
        .arg(class)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {class}"))
}

/// Starts our own main class `class` (`java/**`, compiled by scripts/install) beside Apache Kafka's
/// jars. What it prints and logs is appended to `log`, its temporary files go to `temp`.
pub fn program_start(class: &str, arguments: &[&str], log: &Path, temp: &Path) -> Result<Child> {
    let base = crate::cache_dir().join("kafka-4.3.1");
    let source = crate::source_dir().join("java").join(class.replace('.', "/") + ".java");
    let compiled = base.join("classes").join(class.replace('.', "/") + ".class");
    let modified = |path: &Path| std::fs::metadata(path)?.modified();
    let source = modified(&source).with_context(|| source.display().to_string())?;
    ensure!(
        modified(&compiled).is_ok_and(|compiled| compiled > source),
        "{class} is not compiled, or outdated: run scripts/install kafka"
    );
    std::fs::create_dir_all(temp)?;
    let log = File::options().create(true).append(true).open(log)?;
    let log4j = crate::source_dir().join("kafka/log4j2.yaml");
    Command::new("java")
        .args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(format!("-Dlog4j2.configurationFile=file:{}", log4j.display()))
        .arg(format!("-Djava.io.tmpdir={}", temp.display()))
        .arg("-cp")
        .arg(format!("{}:{}/*", base.join("classes").display(), base.join("libs").display()))
        .arg(class)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {class}"))
}

fn python_command(script: &str) -> Command {
    let mut command = Command::new(crate::cache_dir().join("venv/bin/python"));
    command.arg("-u").arg(crate::source_dir().join("python").join(script));
    // No byte code into the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn run(mut command: Command, input: &[u8]) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?} (scripts/install installs it)"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    std::thread::scope(|scope| {
        // A program may write before it has read everything: feed it from beside.
        scope.spawn(move || {
            // It may also end early; its status tells whether that was an error.
            let _ = stdin.write_all(input);
        });
        Ok(child.wait_with_output()?)
    })
}
