//! Streams for a long time and checks that resources do not grow.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use portraitd_media::{Stream, StreamEvent};
use serde_json::Value;

use super::Test;
use super::lab::{Lab, Outcome, resources, stream};
use super::programs::{Programs, camera_at};

pub const TESTS: [Test; 2] = [("soak-short", short), ("soak", long)];

/// The permitted growth of resident memory, in KiB.
const MARGIN: u64 = 512;

/// Both cameras at the same time, with frames held as a pipeline holds them: descriptors, threads
/// and memory do not grow.
fn short(lab: &Lab) -> Outcome {
    let length = Duration::from_secs(15);
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
        let now = resources("self")?;
        most = most.max(now.2);
        // Wait some seconds until memory use is stable.
        if base.is_none() && started.elapsed() > Duration::from_secs(5) {
            base = Some(now);
        }
        if let Some(base) = base {
            ensure!((now.0, now.1) == (base.0, base.1), "descriptors and threads: {base:?}, then {now:?}");
            ensure!(now.2 <= base.2 + MARGIN, "resident: {} KiB, then {} KiB", base.2, now.2);
        }
    }
    let counters = [streams[0].counters(), streams[1].counters()];
    ensure!(counters.iter().all(|counters| counters.corrupt == 0 && counters.starved == 0), "{counters:?}");
    ensure!(frames.iter().all(|&count| count > 0), "{frames:?} frames");
    let (descriptors, threads, resident) = base.unwrap_or_default();
    Ok(format!(
        "{frames:?} frames in {} s, {descriptors} descriptors, {threads} threads, resident {resident} KiB then at most {most} KiB, {counters:?}",
        length.as_secs()
    ))
}

/// Ten minutes of the daemon: two cameras, each with a client of its view and one of its mask.
fn long(lab: &Lab) -> Outcome {
    let (warm_up, length) = (Duration::from_secs(60), Duration::from_secs(600));
    let second = camera_at(&lab.camera(1), "").replace("\"main\"", "\"second\"");
    let programs = Programs::start(lab, &[], &format!("{}{second}", camera_at(&lab.camera(0), "")))?;
    let mut clients = Vec::new();
    for camera in ["main", "second"] {
        for stream in ["view", "mask"] {
            clients.push(programs.client(&["--camera", camera, "attach", stream, "--json"])?);
        }
        programs.state(camera, "running")?;
    }
    std::thread::sleep(warm_up);
    let base = programs.resources()?;
    let (mut least, mut most) = (base.2, base.2);
    let started = Instant::now();
    while started.elapsed() < length {
        std::thread::sleep(Duration::from_secs(5));
        let now = programs.resources()?;
        (least, most) = (least.min(now.2), most.max(now.2));
        ensure!((now.0, now.1) == (base.0, base.1), "descriptors and threads: {base:?}, then {now:?}");
        ensure!(now.2 <= base.2 + MARGIN, "resident: {} KiB, then {} KiB after {:?}", base.2, now.2, started.elapsed());
    }
    let mut said = Vec::new();
    for camera in ["main", "second"] {
        let stats: Value = serde_json::from_str(&programs.control(&["--camera", camera, "stats", "--json"])?)?;
        let count = |name: &str| stats[name].as_u64().with_context(|| stats.to_string());
        ensure!(count("frames_corrupt")? == 0 && count("frames_starved")? == 0 && count("reopened")? == 0, "{stats}");
        said.push(format!("{camera}: {} frames, {} masks", count("frames")?, count("masks")?));
    }
    for client in clients {
        let summary = client.interrupt()?;
        ensure!(summary["reattached"] == 0 && summary["torn"] == 0, "{summary}");
    }
    Ok(format!(
        "{} s after {} s of warm-up: {}; {} descriptors, {} threads, resident {} KiB, then {least} to {most} KiB",
        length.as_secs(),
        warm_up.as_secs(),
        said.join(", "),
        base.0,
        base.1,
        base.2
    ))
}
