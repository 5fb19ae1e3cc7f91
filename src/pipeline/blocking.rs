//! Work that takes time, on a thread of its own, so that the event loop continues.

use portraitd_protocol::ServiceError;
use tokio::sync::oneshot;

/// Runs `work` on a new thread and returns its result.
///
/// If the returned future is dropped, the work is still done; its result is dropped on that thread.
/// Unlike `tokio::task::spawn_blocking`, which panics if the system has no thread left, this
/// returns an error.
///
/// # Errors
/// `Failed` if the thread cannot be started, or if `work` panics.
pub async fn run_blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let (sender, receiver) = oneshot::channel();
    let run = move || drop(sender.send(work()));
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| ServiceError::Failed(format!("the thread {name} cannot be started: {error}")))?;
    receiver.await.map_err(|_| ServiceError::Failed(format!("the thread {name} panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_comes_back_and_a_panic_is_an_error() {
        assert_eq!(run_blocking("test", || 7).await, Ok(7));
        let panicked = run_blocking("test", || std::panic::resume_unwind(Box::new("injected"))).await;
        let error: ServiceError = panicked.map(|()| 0).expect_err("no result");
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
