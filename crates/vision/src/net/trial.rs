//! Tries a net in a child process before this process imports it.
//!
//! The importer (tract) was not written for hostile files. Some make it panic, and others make it
//! allocate without limit, overflow its stack or compute for minutes. A panic can be caught in this
//! process; the others cannot. A net that is not built in is therefore first imported and run once
//! by a child, the same program started again with the argument [`ARGUMENT`], with limits for memory
//! and time. Importing is deterministic, so a net that the child survives does this process no harm.
//!
//! The net passes through the child's standard input, not by its path: what was tried is what is
//! imported. A program takes part by calling [`intercept`] first in `main`. In others, such as tests
//! of this crate, nothing is tried, and only panics are caught.

use std::cell::Cell;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::engine::EngineOptions;
use super::error::ModelError;
use super::manifest::Manifest;
use super::model::Model;
use super::package::{MAX_ONNX_BYTES, Package};

/// The argument with which the program is started again.
const ARGUMENT: &str = "--try-net-from-stdin";
/// The most memory that the child may write to, in bytes. The unit allows 256 MiB for the service,
/// the child included.
const MAX_MEMORY_BYTES: u64 = 160 << 20;
/// The longest time for importing a net and running it once.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// The interval in which the parent looks whether the child has ended.
const POLL: Duration = Duration::from_millis(2);
/// The child's exit status after a panic; its message is on standard output.
const PANICKED: u8 = 3;
/// The most bytes of that message.
const MAX_MESSAGE_BYTES: u64 = 400;

/// Whether this program can be started again to try a net.
static CAN_TRY: AtomicBool = AtomicBool::new(false);

/// Call this first in `main`. If this process was started to try a net, it does so and returns its
/// exit code. Otherwise it notes that this program can be started for it.
#[must_use]
pub fn intercept() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == ARGUMENT) && arguments.next().is_none() {
        return Some(run_child());
    }
    CAN_TRY.store(true, Ordering::Relaxed);
    None
}

/// Imports the net on standard input and runs it once. The parent judges by the exit status.
fn run_child() -> ExitCode {
    let limit = |resource, most| {
        // The service's sandbox may forbid it. Its own limits then hold for the child too.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    limit(Resource::Core, 0);
    limit(Resource::Data, MAX_MEMORY_BYTES);
    limit(Resource::Cpu, TIME_LIMIT.as_secs());
    let Some((manifest, onnx)) = read_input() else { return ExitCode::FAILURE };
    let attempt = || {
        let path = Path::new("net").to_owned();
        let Ok(manifest) = Manifest::parse(&manifest, &path) else { return };
        let package = Package { manifest, manifest_text: String::new(), path, onnx: onnx.into() };
        // An error is no harm: the parent gets the same one when it imports the net.
        let Ok(mut model) = Model::new(package, EngineOptions::default()) else { return };
        let mut mask = vec![0.0; usize::try_from(model.output_size().area()).unwrap_or(0)];
        let _ = model.run(&vec![0.5; model.input_len()], &mut mask);
    };
    match catch(attempt) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = std::io::stdout().write_all(message.as_bytes());
            ExitCode::from(PANICKED)
        }
    }
}

/// The length of the manifest as 8 bytes, the manifest, and the net.
fn read_input() -> Option<(String, Vec<u8>)> {
    let mut input = std::io::stdin().lock();
    let mut length = [0; 8];
    input.read_exact(&mut length).ok()?;
    let mut manifest = String::new();
    input.by_ref().take(u64::from_le_bytes(length)).read_to_string(&mut manifest).ok()?;
    let mut onnx = Vec::new();
    input.take(MAX_ONNX_BYTES).read_to_end(&mut onnx).ok()?;
    Some((manifest, onnx))
}

/// Tries `package` in a child, if this program can be started for it.
///
/// # Errors
/// [`ModelError::Hostile`] if the child did not survive the net, or could not be started.
pub(super) fn try_package(package: &Package) -> Result<(), ModelError> {
    if !CAN_TRY.load(Ordering::Relaxed) {
        return Ok(());
    }
    let hostile = |reason: String| ModelError::Hostile { path: package.path.clone(), reason };
    let unable = |error: std::io::Error| hostile(format!("a process to try the net cannot be started: {error}"));
    // This program as it is running, also after its file was replaced by an update.
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = ChildGuard(command.spawn().map_err(unable)?);
    let deadline = Instant::now() + TIME_LIMIT;
    if let Some(mut stdin) = child.0.stdin.take() {
        let length = (package.manifest_text.len() as u64).to_le_bytes();
        let parts = [&length[..], package.manifest_text.as_bytes(), &package.onnx];
        // The child reads everything before it imports. If it has died, its status says why.
        let _ = parts.iter().try_for_each(|part| stdin.write_all(part));
    }
    let status = loop {
        match child.0.try_wait().map_err(unable)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                return Err(hostile(format!("importing the net takes longer than {} s", TIME_LIMIT.as_secs())));
            }
            None => std::thread::sleep(POLL),
        }
    };
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(PANICKED.into()) {
        let mut message = Vec::new();
        if let Some(stdout) = child.0.stdout.take() {
            let _ = stdout.take(MAX_MESSAGE_BYTES).read_to_end(&mut message);
        }
        return Err(panicked(package.path.as_path(), &String::from_utf8_lossy(&message)));
    }
    Err(hostile(format!(
        "importing the net ends with {status}: it needs more than {} MiB of memory, or too much of the stack",
        MAX_MEMORY_BYTES >> 20
    )))
}

/// Ends the child if it still runs.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn panicked(path: &Path, message: &str) -> ModelError {
    ModelError::Hostile { path: path.to_owned(), reason: format!("the importer cannot handle this net: {message}") }
}

thread_local! {
    /// Whether a panic of this thread is caught, and must not be printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` and returns the message of a panic, in one line, as an error. The panic is not
/// printed.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
    })
}

/// Runs a step of the importer. A panic of it is an error that names `path`.
///
/// # Errors
/// The error of `work`, or [`ModelError::Hostile`] if it panicked.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch(work).unwrap_or_else(|message| Err(panicked(path, &message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line_that_names_the_file() {
        let path = Path::new("hostile.onnx");
        let error = guarded(path, || -> Result<(), ModelError> { panic!("index\n  out of {}", "bounds") });
        let text = error.expect_err("a panic").to_string();
        assert_eq!(text, "hostile.onnx: the importer cannot handle this net: index out of bounds");
        assert_eq!(guarded(path, || Ok(7)).expect("no panic"), 7);
    }
}
