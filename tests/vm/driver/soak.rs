//! Streams for long, and looks at what grows.

use std::time::{Duration, Instant};

use anyhow::ensure;
use portraitd::camera::{Stream, StreamEvent};

use super::Test;
use super::lab::{Lab, Outcome, resources, stream};

pub const TESTS: [Test; 2] =
    [("soak-short", |lab| soak(lab, Duration::from_secs(15))), ("soak", |lab| soak(lab, Duration::from_secs(600)))];

/// Both cameras at once, frames held as a pipeline holds them: descriptors, threads and memory stay as they are.
fn soak(lab: &Lab, length: Duration) -> Outcome {
    let mut streams = [stream(&lab.camera(0))?, stream(&lab.camera(1))?];
    let mut held = [None, None];
    let mut frames = [0_u64; 2];
    let mut base = None;
    let started = Instant::now();
    let mut most = 0;
    while started.elapsed() < length {
        for (index, stream) in streams.iter_mut().enumerate() {
            if let StreamEvent::Frame(frame) = stream.next(Duration::from_millis(500))? {
                frames[index] += 1;
                held[index] = Some(frame);
            }
        }
        let now = resources()?;
        most = most.max(now.2);
        // A few seconds to settle.
        if base.is_none() && started.elapsed() > Duration::from_secs(5) {
            base = Some(now);
        }
        if let Some(base) = base {
            ensure!((now.0, now.1) == (base.0, base.1), "descriptors and threads: {base:?}, then {now:?}");
            ensure!(now.2 <= base.2 + 512, "resident: {} KiB, then {} KiB", base.2, now.2);
        }
    }
    let counters = [streams[0].counters(), streams[1].counters()];
    ensure!(counters.iter().all(|counters| counters.corrupt == 0 && counters.starved == 0), "{counters:?}");
    let seconds = length.as_secs();
    ensure!(frames.iter().all(|&count| count > 5 * seconds), "{frames:?} frames in {seconds} s");
    let (descriptors, threads, resident) = base.unwrap_or_default();
    Ok(format!(
        "{frames:?} frames in {seconds} s, {descriptors} descriptors, {threads} threads, resident {resident} KiB then at most {most} KiB, {counters:?}"
    ))
}
