//! The thread that reads configurations, builds what serves them, and frees what no longer does.
//!
//! It is one thread for the whole life of the process, and not the runtime's next one that is free: a configuration of
//! 100,000 routes takes more than a hundred megabytes while it is read, and the system's allocator keeps what was freed for
//! threads that share memory with the one which had it. And it is a thread with a priority of its own, which those of the runtime must not get.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tracing::debug;

/// The least priority there is. A thread that wakes up for a connection then goes first almost always; with 10 a tenth of
/// them waited for the next timer tick, which is 4 ms. Where connections keep the processor busy a reload still gets one
/// part in seventy of it.
const NICEST: i32 = 19;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after another.
#[derive(Debug)]
pub(super) struct Loader {
    jobs: Sender<Job>,
}

impl Loader {
    /// # Errors
    ///
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        thread::Builder::new().name("loader".to_owned()).spawn(move || queue.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Lets everything else that wants the processor go first from now on.
    pub(super) fn give_way(&self) {
        drop(self.run(|| {
            // On Linux this is about the calling thread alone.
            if let Err(error) = setpriority_process(None, NICEST) {
                debug!(%error, "reloads have the same priority as connections");
            }
        }));
    }

    /// Does `job` after those that were given before. What is returned receives its result, and an error if it panicked.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // The panic has been logged, and nothing that it left halfway is used again.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(job)) {
                // Nobody may be waiting for it.
                let _ = sender.send(result);
            }
        };
        // A thread that does not panic lasts as long as this does.
        let _ = self.jobs.send(Box::new(job));
        receiver
    }

    /// Frees it, where nobody waits for that.
    pub(super) fn free(&self, it: impl Send + 'static) {
        drop(self.run(move || drop(it)));
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_is_an_error_and_the_next_one_is_done() {
        let loader = Loader::start().unwrap();
        let failed = loader.run(|| panic!("a job that fails"));
        let done = loader.run(|| 7);
        assert!(failed.await.is_err());
        assert_eq!(done.await, Ok(7));
    }

    #[tokio::test]
    async fn it_gives_way_and_nobody_else_does() {
        let loader = Loader::start().unwrap();
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        loader.give_way();
        assert_eq!(loader.run(nice).await, Ok(NICEST));
        assert_eq!(nice(), before, "the others keep theirs");
    }
}
