//! The spawning seam: named tasks, dedicated threads, and what a panic in each means (design D16).
//!
//! A panic in an ordinary task fails that task and is counted. A panic in a *critical* one (the
//! WAL writer, partition state, a coordinator) calls the [`Fatal`] hook, which stops the process.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::FutureExt;
use tracing::error;

/// What to do when safety cannot be kept any longer: a failed fsync, a panic in a critical task.
/// The binary aborts the process; the simulator marks the broker as crashed.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// A hook that runs `stop` with the reason. It may return; callers must not go on as if all
    /// were well.
    pub fn new(stop: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(stop))
    }

    /// The hook of a real process: log the reason, then abort without running destructors.
    #[must_use]
    pub fn abort_process() -> Self {
        Self::new(|reason| {
            error!(reason, "fatal: stopping the process");
            std::process::abort();
        })
    }

    /// Reports that the process must stop.
    pub fn stop(&self, reason: &str) {
        (self.0)(reason);
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// Where tasks run: on tokio plus dedicated threads, or all as tasks of one simulated thread.
#[derive(Debug, Clone)]
pub struct Spawner {
    threads: bool,
    fatal: Fatal,
    panics: Arc<AtomicU64>,
}

impl Spawner {
    /// Real threads for dedicated work.
    #[must_use]
    pub fn threads(fatal: Fatal) -> Self {
        Self { threads: true, fatal, panics: Arc::default() }
    }

    /// Everything a task of the current runtime: deterministic on a current-thread one.
    #[must_use]
    pub fn tasks(fatal: Fatal) -> Self {
        Self { threads: false, fatal, panics: Arc::default() }
    }

    /// The hook that stops the process.
    #[must_use]
    pub fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// Panics of ordinary tasks so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Runs `work` as an ordinary task: a panic is logged, counted, and ends only it.
    pub fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let panics = Arc::clone(&self.panics);
        tokio::spawn(async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                panics.fetch_add(1, Ordering::Relaxed);
                error!(task = name, "task panicked");
            }
        })
    }

    /// Runs `work` as a task whose panic stops the process.
    pub fn spawn_critical(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.guard(name, work))
    }

    /// Runs critical `work` on a thread of its own (a task, in the simulator), for loops that
    /// make blocking system calls.
    ///
    /// # Errors
    /// Where the operating system refuses the thread or its runtime.
    pub fn spawn_dedicated(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let work = self.guard(name, work);
        if !self.threads {
            tokio::spawn(work);
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work))?;
        Ok(())
    }

    /// Runs a blocking closure off the async threads (inline in the simulator, to stay in order).
    ///
    /// # Errors
    /// Where the closure panicked or the runtime is shutting down.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<T> {
        if self.threads {
            #[allow(clippy::disallowed_methods, reason = "this is the seam")]
            tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
        } else {
            Ok(work())
        }
    }

    fn guard(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let fatal = self.fatal.clone();
        async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                fatal.stop(&format!("critical task {name} panicked"));
            }
        }
    }
}
