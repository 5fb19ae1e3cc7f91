//! Faults: devices that are busy, unplugged, silent or faulty, and readers that never release their
//! frames.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portraitd_media::{Frame, Source, SourceError, Stream, StreamCounters, StreamEvent};
use portraitd_v4l2::CaptureOptions;
use portraitd_v4l2::clock::StallDetector;
use portraitd_v4l2::{CaptureStream, DeviceSource, DeviceWatch};

use super::Test;
use super::lab::{Lab, Outcome, SMALL, bind, distance_from_bars, frame, packed, resources, set, stream, stream_with};

pub const TESTS: [Test; 17] = [
    ("on-off-50", on_off),
    ("double-open", double_open),
    ("busy-other-program", busy),
    ("permission-denied", permission),
    ("unplug-replug", unplug),
    ("unplug-replug-plain-node", unplug_plain),
    ("disconnect", disconnect),
    ("damaged-frames", damaged),
    ("dropped-frames", dropped),
    ("failing-calls", failing_calls),
    ("sequence-wrap", sequence_wrap),
    ("time-wrap", time_wrap),
    ("stall", stall),
    ("starvation", starvation),
    ("reopen-while-held", reopen_while_held),
    ("privacy", privacy),
    ("two-cameras", two_cameras),
];

/// Starts and stops fifty times, after ten warm-up rounds that allocate what is allocated once: the
/// allocator's pages, and pages of our own program, which are read over 9p when they are first
/// used.
fn on_off(lab: &Lab) -> Outcome {
    let round = |number: usize| {
        let path = lab.camera(number % 2);
        let shown = frame(&mut stream(&path)?).with_context(|| format!("round {number}"))?;
        ensure!(distance_from_bars(&shown.picture()) < 6.0, "round {number}");
        Ok(())
    };
    (0..10).try_for_each(round)?;
    let before = resources("self")?;
    let mut resident = vec![before.2];
    for number in 0..50 {
        round(number)?;
        if number % 10 == 9 {
            resident.push(resources("self")?.2);
        }
    }
    let after = resources("self")?;
    ensure!((before.0, before.1) == (after.0, after.1), "descriptors and threads: {before:?}, then {after:?}");
    ensure!(after.2 <= before.2 + 256, "resident, KiB, every ten rounds: {resident:?}");
    Ok(format!("resident, KiB, every ten rounds: {resident:?}"))
}

fn double_open(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut first = stream(&path)?;
    frame(&mut first)?;
    let error = CaptureStream::open(&path, &SMALL).err().context("opened twice")?;
    ensure!(matches!(error, SourceError::Busy { .. }), "{error}");
    frame(&mut first)?;
    drop(first);
    frame(&mut stream(&path)?)?;
    Ok(error.to_string())
}

fn busy(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut other = Command::new("v4l2-ctl")
        .args(["-d", &path.display().to_string(), "--stream-mmap", "--stream-count=100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // The program prints one character a frame.
    let streams = other.stderr.take().context("piped")?.read_exact(&mut [0; 3]);
    let result = CaptureStream::open(&path, &SMALL);
    other.kill()?;
    other.wait()?;
    streams.context("the other program does not stream")?;
    let error = result.err().context("opened what another program has")?;
    ensure!(matches!(error, SourceError::Busy { .. }), "{error}");
    frame(&mut stream(&path)?)?;
    Ok(error.to_string())
}

fn permission(lab: &Lab) -> Outcome {
    let node = fs::canonicalize(lab.camera(0))?;
    // Credentials belong to a thread in Linux, so a thread of its own drops them.
    let error = std::thread::spawn(move || -> Result<SourceError> {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_uid(nobody)?;
        CaptureStream::open(&node, &SMALL).err().context("opened without a right to")
    })
    .join()
    .map_err(|_| anyhow::anyhow!("panic"))??;
    ensure!(matches!(error, SourceError::Permission { .. }), "{error}");
    Ok(error.to_string())
}

/// Reads until the stream ends. Returns the error.
fn until_lost(stream: &mut dyn Stream) -> Result<SourceError> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Err(error) = stream.next(Duration::from_secs(1)) {
            return Ok(error);
        }
    }
    bail!("goes on")
}

/// The device is removed while it streams and returns under another number. Its link leads to it
/// again.
fn unplug(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let source = DeviceSource::new(&path);
    let watch = DeviceWatch::new()?;
    let mut stream = source.open_stream(&SMALL)?;
    let held = frame(&mut stream)?;
    let picture = packed(&held.picture());
    let before = fs::canonicalize(&path)?;
    while watch.wait(Duration::ZERO)? {}
    bind("unbind")?;
    lab.link()?;
    let error = until_lost(&mut stream)?;
    ensure!(matches!(error, SourceError::Gone { .. }), "{error}");
    let again = stream.next(Duration::ZERO).err().context("goes on after it is lost")?;
    ensure!(matches!(again, SourceError::Gone { .. }), "{again}");
    ensure!(watch.wait(Duration::from_secs(5))?, "the watch says nothing");
    let error = source.open(&SMALL).err().context("opened what is not there")?;
    ensure!(matches!(error, SourceError::Absent { .. }), "{error}");
    ensure!(packed(&held.picture()) == picture, "a frame that is held has changed");
    while watch.wait(Duration::ZERO)? {}
    // The old descriptor is still open, so the old number stays in use.
    bind("bind")?;
    ensure!(watch.wait(Duration::from_secs(10))?, "the watch says nothing");
    lab.wait_for_nodes(4)?;
    lab.reset()?;
    let after = fs::canonicalize(&path)?;
    let mut stream = source.open_stream(&SMALL)?;
    frame(&mut stream)?;
    ensure!(packed(&held.picture()) == picture, "a frame that is held has changed");
    Ok(format!("{} -> {}", before.display(), after.display()))
}

/// The same for a node whose number another device takes: the device is found again by its
/// identity.
fn unplug_plain(lab: &Lab) -> Outcome {
    let before = fs::canonicalize(lab.camera(1))?;
    let source = DeviceSource::new(&before);
    let mut stream = source.open_stream(&SMALL)?;
    frame(&mut stream)?;
    // An open descriptor keeps the number of a node in use, so the other nodes get new numbers.
    let numbers = [lab.camera(0), lab.output(0)];
    let held: Vec<fs::File> = numbers.iter().map(fs::File::open).collect::<Result<_, _>>()?;
    bind("unbind")?;
    let error = until_lost(&mut stream)?;
    ensure!(matches!(error, SourceError::Gone { .. }), "{error}");
    drop(stream);
    bind("bind")?;
    lab.wait_for_nodes(4)?;
    lab.reset()?;
    let mut stream = source.open_stream(&SMALL)?;
    frame(&mut stream)?;
    let now = fs::canonicalize(stream.path())?;
    ensure!(now == fs::canonicalize(lab.camera(1))? && now != before, "{}", now.display());
    drop(held);
    Ok(format!("{} -> {}", before.display(), now.display()))
}

/// An unplugged USB camera: every call fails from one moment on.
fn disconnect(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut stream = stream(&path)?;
    let held = frame(&mut stream)?;
    let picture = packed(&held.picture());
    set(&path, "Disconnect", 1)?;
    let error = until_lost(&mut stream)?;
    ensure!(matches!(error, SourceError::Gone { .. }), "{error}");
    let absent = CaptureStream::open(&path, &SMALL).err().context("opened what is gone")?;
    ensure!(matches!(absent, SourceError::Absent { .. }), "{absent}");
    drop(stream);
    ensure!(packed(&held.picture()) == picture, "a frame that is held has changed");
    // vivid reconnects when the last descriptor is closed, and a mapping counts as a descriptor.
    drop(held);
    frame(&mut super::lab::stream(&path)?)?;
    Ok(error.to_string())
}

fn damaged(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut stream = stream(&path)?;
    frame(&mut stream)?;
    for round in 1..=3 {
        set(&path, "Inject V4L2_BUF_FLAG_ERROR", 1)?;
        let until = Instant::now() + Duration::from_secs(10);
        while stream.counters().corrupt < round {
            ensure!(Instant::now() < until, "{:?}", stream.counters());
            if let StreamEvent::Frame(frame) = stream.next(Duration::from_secs(1))? {
                ensure!(distance_from_bars(&frame.picture()) < 6.0, "a damaged frame was shown");
            }
        }
    }
    frame(&mut stream)?;
    ensure!(stream.counters().corrupt == 3, "{:?}", stream.counters());
    Ok(format!("{:?}", stream.counters()))
}

fn dropped(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    set(&path, "Percentage of Dropped Buffers", 50)?;
    let mut stream = stream(&path)?;
    let mut last = frame(&mut stream)?.sequence;
    let mut missing = 0;
    for _ in 0..20 {
        let next = frame(&mut stream)?.sequence;
        missing += next - last - 1;
        last = next;
    }
    let counters = stream.counters();
    ensure!(missing > 3 && counters.dropped >= missing, "{missing} missing, {counters:?}");
    Ok(format!("{missing} of {last} missing, {counters:?}"))
}

fn failing_calls(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    for name in ["Inject VIDIOC_REQBUFS Error", "Inject VIDIOC_STREAMON Error"] {
        set(&path, name, 1)?;
        let error = CaptureStream::open(&path, &SMALL).err().with_context(|| format!("{name}: nothing failed"))?;
        ensure!(matches!(error, SourceError::Io { .. }), "{name}: {error}");
        frame(&mut stream(&path)?).with_context(|| format!("after {name}"))?;
    }
    // A buffer that the driver refuses once is queued again.
    let mut running = stream(&path)?;
    frame(&mut running)?;
    for _ in 0..3 {
        set(&path, "Inject VIDIOC_QBUF Error", 1)?;
        for _ in 0..8 {
            frame(&mut running).context("after a refused buffer")?;
        }
    }
    let (all, queued) = running.buffers();
    ensure!(queued + 2 >= all, "{queued} of {all} buffers are with the driver");
    set(&path, "Inject Fatal Streaming Error", 1)?;
    let error = until_lost(&mut running)?;
    ensure!(matches!(error, SourceError::Io { .. }), "{error}");
    drop(running);
    frame(&mut stream(&path)?).context("after a fatal error")?;
    Ok(error.to_string())
}

fn sequence_wrap(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    set(&path, "Wrap Sequence Number", 1)?;
    let mut stream = stream(&path)?;
    let mut last = frame(&mut stream)?.sequence;
    // The driver starts 128 frames before the sequence number wraps around.
    while last < 140 {
        let next = frame(&mut stream)?.sequence;
        ensure!(next > last && next < last + 60, "{next} after {last}");
        last = next;
    }
    Ok(format!("up to {last}, {:?}", stream.counters()))
}

fn time_wrap(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    set(&path, "Wrap Timestamp", 1)?;
    let mut stream = stream(&path)?;
    let mut last = frame(&mut stream)?.capture_ns;
    for _ in 0..10 {
        let next = frame(&mut stream)?.capture_ns;
        ensure!(next > last && next - last < 5_000_000_000, "{next} after {last}");
        last = next;
    }
    ensure!(stream.replaced_timestamps() > 0, "no timestamp was replaced");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    ensure!(last / 1_000_000_000 <= u64::try_from(now.tv_sec)?, "{last} is in the future");
    Ok(format!("{} timestamps replaced", stream.replaced_timestamps()))
}

fn stall(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut stream = stream(&path)?;
    frame(&mut stream)?;
    let started = Instant::now();
    let now_ns = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut watch = StallDetector::new(stream.format().frame_rate, now_ns());
    set(&path, "Percentage of Dropped Buffers", 100)?;
    while !watch.stalled(now_ns()) {
        ensure!(started.elapsed() < Duration::from_secs(20), "never stalls");
        if let StreamEvent::Frame(_) = stream.next(Duration::from_millis(200))? {
            watch.frame(now_ns());
        }
    }
    let after = started.elapsed();
    set(&path, "Percentage of Dropped Buffers", 0)?;
    frame(&mut stream)?;
    Ok(format!("told after {:.1} s", after.as_secs_f32()))
}

fn starvation(lab: &Lab) -> Outcome {
    let mut stream = stream(&lab.camera(0))?;
    let mut held: Vec<Frame> = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while stream.counters().starved < 5 {
        ensure!(Instant::now() < until, "{:?}", stream.counters());
        if let StreamEvent::Frame(frame) = stream.next(Duration::from_millis(300))? {
            held.push(frame);
        }
    }
    let (all, _) = stream.buffers();
    ensure!(held.len() == all - 1, "{} of {all} buffers were lent", held.len());
    let pictures: Vec<_> = held.iter().map(|frame| packed(&frame.picture())).collect();
    // The stream continues as soon as one frame is released, also by another thread, and delivers
    // current frames.
    let newest = held.last().context("frames")?.sequence;
    let first = held.remove(0);
    std::thread::spawn(move || drop(first)).join().map_err(|_| anyhow::anyhow!("panic"))?;
    let next = frame(&mut stream)?;
    ensure!(next.sequence > newest + 3, "{} after {newest}", next.sequence);
    for (frame, picture) in held.iter().zip(&pictures[1..]) {
        ensure!(packed(&frame.picture()) == *picture, "a frame that is held has changed");
    }
    drop(next);
    held.clear();
    let starved = stream.counters().starved;
    for _ in 0..10 {
        frame(&mut stream)?;
    }
    ensure!(stream.counters().starved <= starved + 1, "{:?}", stream.counters());
    Ok(format!("{all} buffers, {:?}", stream.counters()))
}

/// A reader holds a frame of a closed stream: the frame keeps its bytes, and the device can be
/// opened again.
fn reopen_while_held(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut held = Vec::new();
    for round in 0..5 {
        let mut stream = stream(&path).with_context(|| format!("round {round}"))?;
        let frame = frame(&mut stream)?;
        let picture = packed(&frame.picture());
        drop(stream);
        held.push((frame, picture));
        set(&path, "Test Pattern", [5, 7, 8, 9, 1][round])?;
    }
    for (frame, picture) in &held {
        ensure!(packed(&frame.picture()) == *picture, "a frame that is held has changed");
    }
    ensure!(held[0].1 != held[1].1, "the pattern has not changed");
    Ok(String::new())
}

/// vivid has no privacy control. One of its boolean controls is used instead.
fn privacy(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    set(&path, "Boolean", 0)?;
    let control = lab.info(&path)?.controls.iter().find(|control| control.name == "Boolean").context("none")?.id;
    let mut stream = stream_with(&path, CaptureOptions { privacy_control: control, ..CaptureOptions::default() })?;
    frame(&mut stream)?;
    ensure!(!stream.private());
    for wanted in [true, false] {
        set(&path, "Boolean", i32::from(wanted))?;
        let until = Instant::now() + Duration::from_secs(5);
        while stream.private() != wanted {
            ensure!(Instant::now() < until, "the change was not reported");
            stream.next(Duration::from_secs(1))?;
        }
        frame(&mut stream)?;
    }
    set(&path, "Boolean", 1)?;
    drop(stream);
    let stream = stream_with(&path, CaptureOptions { privacy_control: control, ..CaptureOptions::default() })?;
    ensure!(stream.private(), "not known from the start");
    Ok(String::new())
}

/// A fault of the first camera does not affect the second.
fn two_cameras(lab: &Lab) -> Outcome {
    let (first, second) = (lab.camera(0), lab.camera(1));
    let mut troubled = stream(&first)?;
    frame(&mut troubled)?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn(move || -> Result<(u64, StreamCounters)> {
        let mut stream = stream(&second)?;
        let mut last = frame(&mut stream)?;
        sender.send(())?;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(6) {
            let next = frame(&mut stream)?;
            ensure!(
                next.capture_ns - last.capture_ns < 1_500_000_000,
                "a gap of {} ns",
                next.capture_ns - last.capture_ns
            );
            last = next;
        }
        Ok((last.sequence, stream.counters()))
    });
    receiver.recv()?;
    set(&first, "Inject V4L2_BUF_FLAG_ERROR", 1)?;
    frame(&mut troubled)?;
    set(&first, "Inject Fatal Streaming Error", 1)?;
    until_lost(&mut troubled)?;
    drop(troubled);
    for _ in 0..3 {
        frame(&mut stream(&first)?)?;
    }
    let mut troubled = stream(&first)?;
    frame(&mut troubled)?;
    set(&first, "Disconnect", 1)?;
    until_lost(&mut troubled)?;
    drop(troubled);
    frame(&mut stream(&first)?)?;
    let (frames, counters) = watcher.join().map_err(|_| anyhow::anyhow!("panic"))??;
    ensure!(counters.corrupt == 0 && counters.starved == 0, "{counters:?}");
    ensure!(frames > 30, "{frames} frames in 6 s");
    Ok(format!("{frames} frames of the second, {counters:?}"))
}
