//! Runs in the guest of `tests/vm`: drives real V4L2 drivers (vivid, uvcvideo, v4l2loopback) and
//! prints one line a test, `vm: NAME ok` or `vm: NAME FAILED reason`. `tests/vm/run` boots the
//! guest and collects the lines.
//!
//! Arguments: the names of the tests to run (default: all). With `soak` instead of `soak-short` it
//! streams for ten minutes.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test program")]

mod capture;
mod daemon;
mod faults;
mod lab;
mod nodes;
mod output;
mod programs;
mod soak;
mod survival;
mod time;
mod usb;
mod uvc;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lab::{Lab, Outcome};

type Test = (&'static str, fn(&Lab) -> Outcome);

/// Why a test could not be run: something that it needs is missing. Such a test is reported as
/// skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skipped(pub String);

/// The longest time of a test other than the soak. A test that takes longer is hanging.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).with_ansi(false).init();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => {
            println!("vm: laboratory FAILED {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut tests: Vec<Test> = Vec::new();
    tests.extend(capture::TESTS);
    tests.extend(faults::TESTS);
    tests.extend(output::TESTS);
    tests.extend(usb::TESTS);
    tests.extend(daemon::TESTS);
    tests.extend(survival::TESTS);
    tests.extend(time::TESTS);
    tests.extend(nodes::TESTS);
    tests.extend(soak::TESTS);
    let mut failed = 0;
    for (name, test) in tests {
        let asked = wanted.iter().any(|word| word == name);
        // The soak of ten minutes runs only on request.
        if if wanted.is_empty() { name == "soak" } else { !asked } {
            continue;
        }
        let limit = if name == "soak" { Duration::from_secs(900) } else { LIMIT };
        let started = Instant::now();
        let result = run(&lab, test, limit).and_then(|said| {
            lab.reset()?;
            Ok(said)
        });
        let seconds = started.elapsed().as_secs_f32();
        match result {
            Ok(said) => println!("vm: {name} ok ({seconds:.1} s) {said}"),
            Err(error) if error.is::<Skipped>() => println!("vm: {name} skipped: {error}"),
            Err(error) => {
                failed += 1;
                println!("vm: {name} FAILED {}", format!("{error:#}").replace('\n', " | "));
                let _ = lab.reset();
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(lab: &Lab, test: fn(&Lab) -> Outcome, limit: Duration) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let lab = lab.clone();
    // The thread is not joined: a thread that hangs is reported and left behind.
    std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| test(&lab))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(anyhow::anyhow!("panic: {}", text.unwrap_or_default()))
        });
        let _ = sender.send(result);
    });
    receiver.recv_timeout(limit).unwrap_or_else(|_| Err(anyhow::anyhow!("hangs: not done after {limit:?}")))
}
