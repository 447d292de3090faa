//! strace as a fault injector: the nth call of a kind fails, or kills the process, or is left out.
//!
//! Counts are per thread, as strace has them.

use std::process::Command;

/// The command to put before the broker's: at each thread's `nth` of `calls` happens `what`
/// (`error=EIO`, `signal=KILL`).
pub fn inject(calls: &str, what: &str, nth: u64) -> Vec<String> {
    command(calls, format!("inject={calls}:{what}:when={nth}"))
}

/// The command to put before the broker's: none of `calls` does anything, and each says that it
/// succeeded.
pub fn skip(calls: &str) -> Vec<String> {
    command(calls, format!("inject={calls}:retval=0"))
}

fn command(calls: &str, injection: String) -> Vec<String> {
    // Only traced calls stop the process: the others stay as fast as they are.
    let trace = format!("trace={calls}");
    let words = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.push(injection);
    words
}

/// Why strace cannot be used here, if it cannot.
pub fn strace_works() -> Result<(), String> {
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("strace: {error}")),
    }
}
