//! The thread that reads configurations, builds what serves them, and frees what no longer does.
//!
//! It does one job at a time, so that what one has freed is there for the next: a configuration of
//! 100,000 routes takes more than a hundred megabytes while it is read. Each job has a thread,
//! which ends with it and leaves the allocator nothing that only this thread could free. Once the
//! loader gives way the thread has a low priority. A thread that was left there to wait would be
//! the last one to end when the process does, and then, where others keep the processors busy, take
//! seconds to give its memory and its sockets back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tracing::debug;

use crate::daemon::memory::give_back;

/// A thread that wakes up for a connection then goes first almost always; with 10 a tenth of them
/// waited for the next timer tick, which is 4 ms. Where others keep the processor busy a reload
/// still gets one part in thirty of it (sched(7)); with 19 it would be one in seventy, and a
/// revoked certificate could be let in for half a minute.
const NICENESS: i32 = 15;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that has one job after another done.
#[derive(Debug)]
pub(super) struct Loader {
    jobs: Sender<Job>,
    gives_way: Arc<AtomicBool>,
}

impl Loader {
    /// # Errors
    ///
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let gives_way = Arc::new(AtomicBool::new(false));
        let nicely = Arc::clone(&gives_way);
        let work = move || {
            queue
                .into_iter()
                .for_each(|job| alone(job, nicely.load(Ordering::Relaxed)))
        };
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(work)?;
        Ok(Self { jobs, gives_way })
    }

    /// Lets everything else that wants the processor go first from the next job on.
    pub(super) fn give_way(&self) {
        self.gives_way.store(true, Ordering::Relaxed);
    }

    /// Does `job` after those that were given before. What is returned receives its result, and an
    /// error if it panicked.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // The panic has been logged, and nothing that it left halfway is used again.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(job)) {
                // The receiver may be gone.
                let _ = sender.send(result);
            }
        };
        // A thread that does not panic lasts as long as this does.
        let _ = self.jobs.send(Box::new(job));
        receiver
    }

    /// Frees it, where no connection waits for that.
    pub(super) fn free(&self, it: impl Send + 'static) {
        drop(self.run(move || drop(it)));
    }

    /// Gives the memory back to the system that the jobs before have freed.
    pub(super) fn give_back(&self) {
        drop(self.run(give_back));
    }
}

/// Does `job` in a thread that has its own table of descriptors, empty but for the standard
/// streams: what connections take cannot keep it from opening a file. It may take and give back
/// nothing that holds a descriptor.
pub(super) fn apart<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    let mut job = Some(job);
    let mut work = || {
        if let Err(error) = own_descriptors() {
            debug!(%error, "a reload has the same descriptors as connections");
        }
        job.take().map(|job| job())
    };
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("read".to_owned())
            .spawn_scoped(scope, &mut work)?;
        io::Result::Ok(thread.join())
    });
    match done {
        Ok(Ok(Some(result))) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        // Where there can be no more threads it must be done all the same.
        Ok(Ok(None)) | Err(_) => match job.take() {
            Some(job) => job(),
            None => unreachable!("a thread that was not begun has taken nothing"),
        },
    }
}

/// Gives the calling thread a table of descriptors of its own, which begins with the standard
/// streams alone. The others stay open in the process, and are not open here: a connection that is
/// closed there is closed.
fn own_descriptors() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the arguments are numbers. The calling thread owns no descriptor that it could use
    // afterwards.
    #[expect(unsafe_code, reason = "there is no safe name for it")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Does `job` in a thread of its own, to which everything else goes first if it is to be done
/// `nicely`. Only who may do anything could raise the priority again.
fn alone(job: Job, nicely: bool) {
    let mut job = Some(job);
    let mut work = || {
        // On Linux this is about the calling thread alone.
        if nicely && let Err(error) = setpriority_process(None, NICENESS) {
            debug!(%error, "a reload has the same priority as connections");
        }
        if let Some(job) = job.take() {
            job();
        }
    };
    let begun = thread::scope(|scope| {
        let load = thread::Builder::new()
            .name("load".to_owned())
            .spawn_scoped(scope, &mut work)?;
        // The scope would wait for the work alone, not for the memory of the thread to be free for
        // the next one.
        let _ = load.join();
        io::Result::Ok(())
    });
    // Where there can be no more threads it must be done all the same.
    if let (Err(error), Some(job)) = (begun, job) {
        debug!(%error, "a reload has no thread of its own");
        job();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

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
        assert_eq!(loader.run(nice).await, Ok(before), "nobody is served yet");
        loader.give_way();
        assert_eq!(loader.run(nice).await, Ok(NICENESS));
        assert_eq!(nice(), before, "the others keep theirs");
    }

    #[tokio::test]
    async fn nothing_of_the_least_priority_is_left_to_delay_the_end_of_the_process() {
        let loader = Loader::start().unwrap();
        loader.give_way();
        let first = loader.run(gettid).await.unwrap();
        assert_ne!(
            loader.run(gettid).await,
            Ok(first),
            "the thread of the first job waits for the next one"
        );
    }
}
