//! The clock of the guest is set, and its processes are suspended, while a client watches.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::lab::{Lab, Outcome, command};
use super::programs::{Programs, camera_at};
use super::{Skipped, Test};

pub const TESTS: [Test; 2] = [("daemon-clock", clock), ("daemon-suspend", suspend)];

const DAY: i64 = 24 * 3600;

/// Frames go on, and the camera was not opened again.
fn goes_on(programs: &Programs, when: &str) -> anyhow::Result<()> {
    let lines = programs.frames("view", 5, &[])?;
    let summary = lines.last().context("no summary")?;
    ensure!(summary["frames"] == 5 && summary["torn"] == 0, "{when}: {summary}");
    let camera = programs.state("main", "running")?;
    ensure!(camera["LastError"] == "", "{when}: {camera}");
    let stats: Value = serde_json::from_str(&programs.control(&["stats", "--json"])?)?;
    ensure!(stats["reopened"] == 0, "{when}: {stats}");
    Ok(())
}

/// The wall clock jumps a day forward, and two days back. Whatever is measured or awaited uses other
/// clocks.
fn clock(lab: &Lab) -> Outcome {
    let programs = Programs::start(lab, &[], &camera_at(&lab.camera(0), ""))?;
    let client = programs.client(&["attach", "view", "--json"])?;
    programs.state("main", "running")?;
    let mut said = Vec::new();
    for days in [1, -2, 1] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let then = i64::try_from(now)? + days * DAY;
        command("date", &["--utc", "--set", &format!("@{then}")])?;
        goes_on(&programs, &format!("clock {days:+} days"))?;
        said.push(format!("{days:+} days"));
    }
    let summary = client.interrupt()?;
    ensure!(summary["reattached"] == 0 && summary["torn"] == 0, "{summary}");
    Ok(format!("{}; client {summary}", said.join(", ")))
}

/// Every process is stopped for five seconds as a suspension does it, the service and the driver's
/// threads among them. Devices are left alone: virtio's 9p file system, on which the programs lie,
/// does not survive a suspension.
fn suspend(lab: &Lab) -> Outcome {
    const LEVEL: &str = "/sys/power/pm_test";
    if !fs::read_to_string(LEVEL).unwrap_or_default().contains("freezer") {
        return Err(Skipped(format!("the kernel has no {LEVEL}")).into());
    }
    let programs = Programs::start(lab, &[], &camera_at(&lab.camera(0), ""))?;
    let client = programs.client(&["attach", "view", "--json"])?;
    programs.state("main", "running")?;
    fs::write(LEVEL, "freezer")?;
    let before = Instant::now();
    fs::write("/sys/power/state", "mem")?;
    let stopped = before.elapsed();
    fs::write(LEVEL, "none")?;
    ensure!(stopped.as_secs() >= 3, "stopped for {stopped:?} only");
    goes_on(&programs, "after the suspension")?;
    let summary = client.interrupt()?;
    ensure!(summary["reattached"] == 0 && summary["torn"] == 0, "{summary}");
    Ok(format!("stopped for {:.1} s; client {summary}", stopped.as_secs_f32()))
}
