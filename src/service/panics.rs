//! What happens to a panic, by where it happens. `docs/design/threats.md` has the table.
//!
//! - In a thread of a camera it is caught ([`caught`]), and the thread starts again or closes what it
//!   serves.
//! - In the answer to a client it is caught ([`answered`]), and the client gets an error.
//! - In a task of the main thread that the service cannot do without ([`vital`]), it ends the
//!   process. The service manager starts the service again.
//!
//! In each case the hook of the standard library prints the message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use portraitd_protocol::ServiceError;
use portraitd_protocol::settings::excerpt;
use tracing::error;

/// The message of a panic, in one short line.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    excerpt(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic"))
}

/// Runs `work`, and turns a panic into an error. The caller must repair or discard the state that
/// `work` may have left half changed.
///
/// # Errors
/// The message of the panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text_of(&*panic))
}

/// The answer of `work` to a client.
///
/// # Errors
/// The error of `work`, or `Failed` if it panics. Unwinding gives back what `work` has reserved.
pub async fn answered<T>(work: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        Err(ServiceError::Failed(format!("a defect of the service ended the request: {}", text_of(&*panic))))
    })
}

/// Runs the task `name`, which the service cannot do without. After a panic the runtime would drop
/// the task and go on, and the service would no longer notice clients that leave or permissions
/// that end. A panic therefore ends the process.
pub async fn vital<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(value) => value,
        Err(panic) => {
            error!("the task `{name}` has panicked, and the service cannot go on without it: {}", text_of(&*panic));
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_short_line() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> () { panic!("index\nout of {}", "bounds") }), Err("index\\nout of bounds".to_owned()));
        assert_eq!(caught(|| std::panic::resume_unwind(Box::new(7))), Err::<(), _>("a panic".to_owned()));
    }

    #[tokio::test]
    async fn a_client_whose_request_panics_gets_an_error() {
        let answer: Result<(), _> = answered(async {
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("injected"))
        })
        .await;
        assert!(matches!(&answer, Err(ServiceError::Failed(text)) if text.ends_with("injected")), "{answer:?}");
        assert_eq!(answered(async { Ok(7) }).await, Ok(7));
    }

    /// Set in the process that [`a_vital_task_that_panics_ends_the_process`] starts.
    const CHILD: &str = "PORTRAITD_TEST_VITAL";

    #[test]
    fn a_vital_task_that_panics_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let task = tokio::spawn(vital("test", async { panic!("injected") }));
                // Without `vital` the runtime catches the panic, and the process goes on.
                let _: Result<(), _> = task.await;
            });
            return;
        }
        let name = "service::panics::tests::a_vital_task_that_panics_ends_the_process";
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("started");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "{output:?}");
    }
}
