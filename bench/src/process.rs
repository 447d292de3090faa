//! What the broker's process has used, from `/proc`. Linux only; zero where no pid was given.

use std::fs::read_to_string;

use anyhow::{Context, Result};

/// `USER_HZ`, in which `/proc/PID/stat` counts: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Position of `utime` behind the command's closing parenthesis; `stime` follows.
const UTIME_FIELD: usize = 11;

/// A process to watch.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub Option<u32>);

/// Memory of a process, MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident now.
    pub rss_mib: u64,
    /// Most that ever was resident.
    pub peak_mib: u64,
}

impl Process {
    /// CPU seconds of all its threads so far, user and system.
    pub fn cpu_seconds(self) -> Result<f64> {
        let Some(pid) = self.0 else { return Ok(0.0) };
        let stat = read_to_string(format!("/proc/{pid}/stat")).context("the broker is gone")?;
        // The command may contain blanks and parentheses itself.
        let (_, fields) = stat.rsplit_once(") ").context("odd stat line")?;
        let mut fields = fields.split_whitespace().skip(UTIME_FIELD);
        let mut ticks =
            || -> Result<f64> { Ok(fields.next().context("short stat line")?.parse()?) };
        Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
    }

    /// Resident memory.
    pub fn memory(self) -> Result<Memory> {
        let Some(pid) = self.0 else { return Ok(Memory::default()) };
        let status = read_to_string(format!("/proc/{pid}/status")).context("the broker is gone")?;
        let field = |name: &str| -> Result<u64> {
            let line =
                status.lines().find(|line| line.starts_with(name)).context("no such field")?;
            let kib: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
            Ok(kib / 1024)
        };
        Ok(Memory { rss_mib: field("VmRSS")?, peak_mib: field("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_has_used_processor_time_and_memory() {
        let own = Process(Some(std::process::id()));
        let before = own.cpu_seconds().unwrap();
        let mut sum = 0_u64;
        while own.cpu_seconds().unwrap() < before + 0.02 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let memory = own.memory().unwrap();
        assert!(memory.peak_mib >= memory.rss_mib);
    }

    #[test]
    fn without_a_pid_everything_is_zero() {
        assert_eq!(Process(None).cpu_seconds().unwrap(), 0.0);
        assert_eq!(Process(None).memory().unwrap().rss_mib, 0);
    }
}
