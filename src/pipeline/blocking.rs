//! Work that takes time, on threads of its own, so that the event loop continues.
//!
//! There are four workers, each with one thread and a short queue. They start with the service,
//! so no request can fail for want of a thread, and a flood of requests makes neither threads nor
//! memory: a full queue is `Busy`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use portraitd_protocol::ServiceError;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The threads that do such work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// Allocates rings.
    Rings,
    /// Encodes snapshots.
    Snapshots,
    /// Loads models and background pictures.
    Loader,
    /// Reads and sets controls of devices.
    Controls,
}

/// Name and places in the queue of each worker.
const WORKERS: [(Worker, &str, usize); 4] = [
    (Worker::Rings, "make-rings", 32),
    (Worker::Snapshots, "snapshots", 8),
    (Worker::Loader, "loader", 8),
    (Worker::Controls, "controls", 8),
];

static QUEUES: [OnceLock<Queue>; 4] = [const { OnceLock::new() }; 4];

/// A thread and what waits for it.
#[derive(Debug)]
struct Queue {
    name: &'static str,
    jobs: SyncSender<Job>,
}

/// Starts the workers. A second call does nothing.
///
/// # Errors
/// If the system has no thread left.
pub fn start_workers() -> std::io::Result<()> {
    WORKERS.iter().try_for_each(|(worker, ..)| worker.queue().map(drop))
}

impl Worker {
    /// The queue. Starts the thread if it does not run yet.
    fn queue(self) -> std::io::Result<&'static Queue> {
        let (_, name, places) = WORKERS[self as usize];
        let queue = &QUEUES[self as usize];
        match queue.get() {
            Some(queue) => Ok(queue),
            None => {
                let started = Queue::start(name, places)?;
                // If two threads start the worker at once, one of the two is dropped and ends.
                Ok(queue.get_or_init(|| started))
            }
        }
    }
}

impl Queue {
    fn start(name: &'static str, places: usize) -> std::io::Result<Self> {
        let (sender, jobs) = sync_channel(places);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&jobs))?;
        Ok(Self { name, jobs: sender })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
        let name = self.name;
        let (sender, receiver) = oneshot::channel();
        self.jobs.try_send(Box::new(move || drop(sender.send(work())))).map_err(|error| match error {
            TrySendError::Full(_) => ServiceError::Busy(format!("too many requests wait for the thread {name}")),
            TrySendError::Disconnected(_) => ServiceError::Failed(format!("the thread {name} has ended")),
        })?;
        receiver.await.map_err(|_| ServiceError::Failed(format!("the thread {name} panicked")))
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        // The job's own sender is dropped by a panic, which tells its caller.
        drop(catch_unwind(AssertUnwindSafe(job)));
    }
}

/// Runs `work` on a worker and returns its result.
///
/// If the returned future is dropped, the work is still done; its result is dropped on that thread.
/// Unlike `tokio::task::spawn_blocking`, which panics if the system has no thread left, this
/// returns an error.
///
/// # Errors
/// `Busy` if too much is waiting for this worker already. `Failed` if its thread cannot be started,
/// or if `work` panics.
pub async fn run_blocking<T: Send + 'static>(
    worker: Worker,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let failed = |error| ServiceError::Failed(format!("a thread cannot be started: {error}"));
    worker.queue().map_err(failed)?.run(work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_result_comes_back_and_a_panic_is_an_error() {
        assert_eq!(run_blocking(Worker::Loader, || 7).await, Ok(7));
        let panicked = run_blocking(Worker::Loader, || std::panic::resume_unwind(Box::new("injected"))).await;
        let error: ServiceError = panicked.map(|()| 0).expect_err("no result");
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(run_blocking(Worker::Loader, || 8).await, Ok(8), "the thread goes on");
    }

    #[tokio::test]
    async fn a_flood_of_requests_is_refused_and_makes_no_threads() {
        let queue = Queue::start("test", 4).expect("a thread");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut first = Box::pin(queue.run(move || wait.recv().is_err()));
        assert!((&mut first).now_or_never().is_none());
        let mut refused = 0;
        let mut waiting = Vec::new();
        for _ in 0..300 {
            let mut request = Box::pin(queue.run(|| ()));
            match (&mut request).now_or_never() {
                Some(Err(ServiceError::Busy(_))) => refused += 1,
                Some(other) => panic!("{other:?}"),
                None => waiting.push(request),
            }
        }
        // The thread may not have taken the first one yet.
        assert!((3..=4).contains(&waiting.len()), "{} wait", waiting.len());
        assert_eq!(refused + waiting.len(), 300);
        drop(go);
        assert_eq!(first.await, Ok(true));
        for request in waiting {
            assert_eq!(request.await, Ok(()));
        }
    }
}
