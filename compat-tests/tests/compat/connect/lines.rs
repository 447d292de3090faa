//! The input: a file that grows while it is read, as a log does.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use streamhouse_compat_tests::clients::python;

/// So many lines are written at once, each time after a pause.
const BURST: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// The first `count` flights of 2013, each a line that begins with its number.
pub(super) fn flights(dir: &Path, count: usize) -> Vec<String> {
    let file = dir.join("all");
    python("connect.py", &["lines", file.to_str().unwrap(), &count.to_string()]).unwrap();
    let lines: Vec<_> = std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count);
    lines
}

/// Writes `lines` to the end of `file`.
pub(super) fn append(file: &Path, lines: &[String]) {
    let mut file = File::options().create(true).append(true).open(file).unwrap();
    file.write_all(text(lines).as_bytes()).unwrap();
}

/// Each line with its end.
pub(super) fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Writes lines to a file from a thread of its own until it is told to stop.
pub(super) struct Feed {
    pub(super) file: PathBuf,
    written: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    pub(super) fn start(file: &Path, lines: Vec<String>) -> Self {
        let written = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (path, count, stopped) = (file.to_owned(), Arc::clone(&written), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for lines in lines.chunks(BURST) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                append(&path, lines);
                count.fetch_add(lines.len(), Ordering::Release);
                std::thread::sleep(PAUSE);
            }
            panic!("there are no lines left to feed");
        });
        Self { file: file.to_owned(), written, stop, thread: Some(thread) }
    }

    /// The number of the last line that is in the file.
    pub(super) fn last_line(&self) -> usize {
        self.written.load(Ordering::Acquire).saturating_sub(1)
    }

    /// Writes no more; the number of the last line.
    pub(super) fn finish(&mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.last_line()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
