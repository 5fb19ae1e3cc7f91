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
use std::io::{ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portraitd_protocol::settings::excerpt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
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
/// The most stack of the child's one thread, in bytes.
const MAX_STACK_BYTES: u64 = 8 << 20;
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

/// Limits what this process may use: no core dump, no further thread or process, and this much
/// processor time, memory and stack.
fn confine(processor_time: Duration) {
    let limit = |resource, most| {
        // The service's sandbox may forbid it. Its own limits then hold for the child too.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    limit(Resource::Core, 0);
    // The threads of the service's user count as well, so no further one is allowed. The kernel does
    // not apply this limit to root.
    limit(Resource::Nproc, 0);
    limit(Resource::Data, MAX_MEMORY_BYTES);
    limit(Resource::Stack, MAX_STACK_BYTES);
    limit(Resource::Cpu, processor_time.as_secs());
}

/// Imports the net on standard input and runs it once. The parent judges by the exit status.
fn run_child() -> ExitCode {
    confine(TIME_LIMIT);
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
    // This program as it is running, also after its file was replaced by an update.
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT);
    try_with(package, command, TIME_LIMIT)
}

/// Tries `package` in the child `command`, which must end within `limit`.
///
/// # Errors
/// As for [`try_package`].
fn try_with(package: &Package, mut command: Command, limit: Duration) -> Result<(), ModelError> {
    let hostile = |reason: String| ModelError::Hostile { path: package.path.clone(), reason };
    let unable = |error: std::io::Error| hostile(format!("a process to try the net cannot be started: {error}"));
    let too_slow = || hostile(format!("importing the net takes longer than {} s", limit.as_secs_f32()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let deadline = Instant::now() + limit;
    let mut child = ChildGuard(command.spawn().map_err(unable)?);
    if let Some(stdin) = child.0.stdin.take() {
        let length = (package.manifest_text.len() as u64).to_le_bytes();
        let parts = [&length[..], package.manifest_text.as_bytes(), &package.onnx];
        match feed(stdin, &parts, deadline) {
            Ok(()) => {}
            // The child reads everything before it imports. If it has died, its status says why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(too_slow()),
            Err(error) => return Err(unable(error)),
        }
    }
    let status = loop {
        match child.0.try_wait().map_err(unable)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => return Err(too_slow()),
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
        // A child that a net has taken over may say anything.
        return Err(panicked(package.path.as_path(), &excerpt(&String::from_utf8_lossy(&message))));
    }
    Err(hostile(format!(
        "importing the net ends with {status}: it needs more than {} MiB of memory, or too much stack or time",
        MAX_MEMORY_BYTES >> 20
    )))
}

/// Writes `parts` to a child that may never read them.
fn feed(stdin: ChildStdin, parts: &[&[u8]], deadline: Instant) -> std::io::Result<()> {
    rustix::io::ioctl_fionbio(&stdin, true)?;
    let mut stdin = stdin;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            match stdin.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    let mut writable = [PollFd::new(&stdin, PollFlags::OUT)];
                    let left = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
                    match poll(&mut writable, Some(&left)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
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

    /// A net of 1 MiB, which no pipe holds.
    fn package() -> Package {
        let manifest = Manifest::parse(&std::fs::read_to_string(MANIFEST).expect("read"), Path::new(MANIFEST));
        let onnx = vec![7; 1 << 20].into();
        Package { manifest: manifest.expect("a manifest"), manifest_text: String::new(), path: "a.onnx".into(), onnx }
    }

    const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/selfie-landscape.toml");

    /// The error of a child that runs `script` in a shell.
    fn error_of(script: &str, limit: Duration) -> String {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        try_with(&package(), command, limit).expect_err(script).to_string()
    }

    #[test]
    fn a_child_that_does_not_read_or_answer_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let note = folder.path().join("pid");
        let scripts = ["exec sleep 600", "cat > /dev/null; exec sleep 600", "cat > /dev/null; yes rubbish; exit 3"];
        for script in scripts {
            let error = error_of(&format!("echo $$ > {}; {script}", note.display()), Duration::from_secs(3));
            assert_eq!(error, "a.onnx: importing the net takes longer than 3 s");
            let pid = std::fs::read_to_string(&note).expect("started within the time");
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "`{script}` still runs");
        }
    }

    #[test]
    fn what_a_child_says_is_one_short_line() {
        let minute = Duration::from_secs(60);
        let error = error_of(r"printf '\033[31m\nforged: line\n\377'; exit 3", minute);
        assert!(error.chars().all(|character| !character.is_control()), "{error:?}");
        let error = error_of("printf '%05000d' 7; exit 3", minute);
        assert!(error.len() < 200, "{error}");
        for (script, status) in
            [("exit 7", "exit status: 7"), ("kill -11 $$", "signal: 11"), ("exit 1", "exit status: 1")]
        {
            assert!(error_of(script, minute).contains(status), "{script}");
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cat > /dev/null; yes | head -c 1000; exit 0"]);
        try_with(&package(), command, minute).expect("the status counts, and not what it says");
        let error = try_with(&package(), Command::new("/no/such/program"), minute).expect_err("no child").to_string();
        assert!(error.contains("cannot be started"), "{error}");
    }

    /// Set in the processes that [`a_child_is_confined`] starts.
    const CONFINED: &str = "PORTRAITD_TEST_CONFINED";

    #[test]
    fn a_child_is_confined() {
        if let Some(what) = std::env::var_os(CONFINED) {
            confine(Duration::from_secs(1));
            match what.to_str().expect("text") {
                "memory" => drop(std::hint::black_box(vec![1_u8; usize::try_from(MAX_MEMORY_BYTES).expect("small")])),
                "stack" => drop(std::hint::black_box(deep(std::hint::black_box(u64::MAX)))),
                "time" => loop {
                    std::hint::spin_loop();
                },
                _ => {
                    // Root may have as many as it likes.
                    let nobody = rustix::process::Uid::from_raw(65534);
                    let _ = rustix::thread::set_thread_res_uid(nobody, nobody, nobody);
                    let thread = std::thread::Builder::new().spawn(|| ());
                    assert!(thread.is_err(), "a thread was started");
                    std::process::exit(9);
                }
            }
            return;
        }
        let name = "net::trial::tests::a_child_is_confined";
        for (what, status) in [
            // An allocation that fails aborts.
            ("memory", "signal: 6"),
            ("stack", "signal: 6"),
            ("time", "signal: 9"),
            ("threads", "exit status: 9"),
        ] {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            // The test harness runs a single test on its main thread if it may have one thread only.
            command.args(["--exact", name, "--test-threads=1", "--nocapture"]).env(CONFINED, what);
            let error = try_with(&package(), command, Duration::from_secs(60)).expect_err(what).to_string();
            assert!(error.contains(status), "{what}: {error}");
        }
    }

    /// Needs a stack for each of `depth` calls.
    #[expect(unconditional_recursion, reason = "the stack is to overflow")]
    fn deep(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        deep(depth - 1) + frame[7]
    }
}
