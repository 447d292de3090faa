//! One line per figure: `RESULT key=value …`, for people, `grep` and `awk` alike.

use std::fmt::{Display, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::histogram::Histogram;
use crate::process::Process;

/// A line that is being put together, and what the clock and the broker showed when its run began.
#[derive(Debug)]
pub struct Report {
    line: String,
    process: Process,
    cpu_before: f64,
    began: Instant,
}

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

impl Report {
    /// Begins a run: the clock starts here.
    pub fn begin(label: &str, test: &str, process: Process) -> Result<Self> {
        let line = format!("RESULT label={label} test={test}");
        Ok(Self { line, process, cpu_before: process.cpu_seconds()?, began: Instant::now() })
    }

    /// When the run began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Adds `key=value`.
    pub fn add(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.line, " {key}={value}");
    }

    /// Adds the quantiles of `histogram`, in milliseconds.
    pub fn add_latency(&mut self, name: &str, histogram: &Histogram) {
        let millis = |micros: u64| format!("{:.3}", micros as f64 / 1000.0);
        for (quantile, key) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p999")] {
            self.add(&format!("{name}_{key}_ms"), millis(histogram.quantile(quantile)));
        }
        self.add(&format!("{name}_max_ms"), millis(histogram.max()));
    }

    /// Adds what `records` records of together `bytes` bytes amount to, in the time that has
    /// passed.
    pub fn add_throughput(&mut self, records: u64, bytes: u64) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu = self.process.cpu_seconds()? - self.cpu_before;
        let mebibytes = bytes as f64 / MIB;
        self.add("records", records);
        self.add("records_per_s", format!("{:.0}", records as f64 / seconds));
        self.add("mib_per_s", format!("{:.1}", mebibytes / seconds));
        if self.process.0.is_some() && bytes > 0 {
            self.add("broker_cpu_s_per_gib", format!("{:.3}", cpu / mebibytes * 1024.0));
        }
        Ok(())
    }

    /// Adds what each of `count` things has cost the broker so far, in microseconds of processor
    /// time.
    pub fn add_cost(&mut self, thing: &str, count: u64) -> Result<()> {
        if self.process.0.is_some() && count > 0 {
            let cpu = self.process.cpu_seconds()? - self.cpu_before;
            let micros = cpu * 1e6 / count as f64;
            self.add(&format!("broker_cpu_us_per_{thing}"), format!("{micros:.2}"));
        }
        Ok(())
    }

    /// Adds time, processor and memory, and prints the line.
    #[allow(clippy::print_stdout)]
    pub fn end(mut self) -> Result<Duration> {
        let took = self.began.elapsed();
        self.add("seconds", format!("{:.2}", took.as_secs_f64()));
        if self.process.0.is_some() {
            let cpu = self.process.cpu_seconds()? - self.cpu_before;
            let memory = self.process.memory()?;
            self.add("broker_cpu_s", format!("{cpu:.2}"));
            self.add("rss_mib", memory.rss_mib);
            self.add("rss_peak_mib", memory.peak_mib);
        }
        println!("{}", self.line);
        Ok(took)
    }
}
