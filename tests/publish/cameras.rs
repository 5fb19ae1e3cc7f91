//! Several cameras in one service: what each further one takes.

use std::collections::HashMap;
use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use portraitd_client::feed::wait_for_camera;
use portraitd_client::{FrameCopy, Ring, Wait};

use crate::bus::PrivateBus;
use crate::fake::{eventually, runtime};
use crate::service::Daemon;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
/// The frames that the synthetic camera keeps, in bytes: six of 1280x720 in NV12.
const FRAME_BUFFERS: usize = 6 * 1280 * 720 * 3 / 2;
/// The most that a further camera may take beyond these, in bytes. Rings are shared memory, which is
/// not counted here.
const MOST: usize = 5_000_000;
/// Frames after which everything that is made once has been made: ten seconds.
const SETTLED: u64 = 300;

/// Anonymous memory of a process that is resident, in bytes.
fn anonymous(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the service runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("since Linux 4.5");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// Runs a service with this many cameras of one model, a client of the mask and one of the view at
/// each, and passes its process to `judge` once all have settled.
fn with_cameras(count: usize, judge: impl AsyncFnOnce(u32)) -> bool {
    let Some(bus) = PrivateBus::start() else { return false };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("portraitd.toml");
    let mut text = String::new();
    for camera in 0..count {
        writeln!(text, "[[camera]]\nname = \"c{camera}\"\ndevice = \"scene:walk\"").expect("text");
    }
    std::fs::write(&config, text).expect("written");
    let arguments = ["--config", config.to_str().expect("text"), "--models-dir", MODELS];
    let daemon = Daemon::start(&bus.address, &arguments, Stdio::null());
    runtime().block_on(async {
        let client = bus.bus.connect().await.expect("a client");
        let mut rings = Vec::new();
        for camera in 0..count {
            let camera = wait_for_camera(&client, Some(&format!("c{camera}"))).await.expect("a camera");
            for stream in ["mask", "view"] {
                let (memory, event, _) = camera.attach(stream, &HashMap::new()).await.expect("a ring");
                rings.push(Ring::open(memory.into(), event.into()).expect("a ring"));
            }
        }
        let mut frame = FrameCopy::default();
        for ring in &mut rings {
            // Busy machines drop frames.
            while frame.info().sequence < SETTLED {
                assert_eq!(ring.wait(Some(Duration::from_secs(30))).expect("a pipe"), Wait::Frame);
                ring.latest(&mut frame);
            }
            frame = FrameCopy::default();
        }
        judge(daemon.id()).await;
    });
    true
}

#[test]
fn a_further_camera_takes_little_beyond_its_frame_buffers() {
    const FURTHER: usize = 3;
    let mut one = 0;
    if !with_cameras(1, async |pid| one = anonymous(pid)) {
        return;
    }
    with_cameras(1 + FURTHER, async |pid| {
        let most = one + FURTHER * (FRAME_BUFFERS + MOST);
        let now = || anonymous(pid);
        println!("one camera: {one}; {} cameras: {}; at most {most}", 1 + FURTHER, now());
        // Freed memory goes back every five seconds.
        eventually("a further camera takes at most 5 MB beyond its frames", || now() <= most).await;
    });
}
