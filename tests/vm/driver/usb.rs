//! A USB camera on the real `uvcvideo` (see `uvc`): JPEG, damage, shutter, cable, and false
//! descriptors.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portraitd_media::{FormatRequest, Source, SourceError, Stream, StreamEvent};
use portraitd_media::{PixelFormat, Size, packed_bytes};
use portraitd_v4l2::clock::StallDetector;
use portraitd_v4l2::formats::FourCc;
use portraitd_v4l2::jpeg::{Decoder, FORMAT};
use portraitd_v4l2::{CaptureStream, DeviceSource, DeviceWatch, devices};

use super::Test;
use super::lab::{Lab, Outcome, frame, packed, pixel, resources};
use super::uvc::{Camera, Profile, Sent};

pub const TESTS: [Test; 7] = [
    ("usb-jpeg", jpeg),
    ("usb-raw", raw),
    ("usb-damage", damage),
    ("usb-privacy", privacy),
    ("usb-unplug", unplug),
    ("usb-silence", silence),
    ("usb-liar", liar),
];

const RED_BLUE: &[u8] = include_bytes!("../../fuzz/seeds/jpeg/red-blue.jpg");
const PERSON: &[u8] = include_bytes!("../../fixtures/people/images/0007.jpg");
const PERSON_SIZE: Size = Size::new(341, 512);

pub fn profile() -> Profile {
    Profile {
        jpeg: vec![(341, 512, 333_333), (32, 16, 333_333)],
        yuyv: vec![(342, 512, 2_000_000), (160, 120, 333_333)],
        rate: 20.0,
    }
}

fn wanted(width: u32, height: u32) -> FormatRequest {
    FormatRequest { size: Some(Size::new(width, height)), frame_rate: Some(30.0) }
}

pub fn modules(lab: &Lab) -> Result<()> {
    lab.modprobe(&["vhci-hcd"])?;
    lab.modprobe(&["uvcvideo"])
}

/// The longest wait for the camera. It is long because it only ends a test that has failed: another
/// load of the machine must not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `found` finds something, and looks again whenever `/dev` changes.
fn when_there<T>(mut found: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let watch = DeviceWatch::new()?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(found) = found()? {
            return Ok(found);
        }
        // A node becomes usable a little after it appears, which is no change of `/dev`.
        watch.wait(Duration::from_millis(500))?;
    }
    let status = fs::read_to_string("/sys/devices/platform/vhci_hcd.0/status").unwrap_or_default();
    bail!("no USB camera in {} s: {status}", PATIENCE.as_secs())
}

/// Waits for the node of the camera.
pub fn node() -> Result<PathBuf> {
    when_there(|| {
        let found = devices()?.into_iter().find(|device| device.driver == "uvcvideo" && device.usable);
        Ok(found.map(|device| device.path))
    })
}

/// Waits for the camera, and opens it. A driver that does not get its answers in time, because the
/// machine is busy, resets the camera: the node goes and comes again.
fn open(wanted: &FormatRequest) -> Result<CaptureStream> {
    when_there(|| match CaptureStream::open(&node()?, wanted) {
        Ok(stream) => Ok(Some(stream)),
        Err(SourceError::Absent { .. } | SourceError::Gone { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    })
}

pub fn gone() -> Result<()> {
    let watch = DeviceWatch::new()?;
    let until = Instant::now() + PATIENCE;
    while devices()?.iter().any(|device| device.driver == "uvcvideo") {
        ensure!(Instant::now() < until, "the camera stays");
        watch.wait(Duration::from_millis(500))?;
    }
    Ok(())
}

/// The rounds, and the pictures of each, after which memory is measured.
const ROUNDS: usize = 6;
const PICTURES: usize = 20;

fn jpeg(lab: &Lab) -> Outcome {
    modules(lab)?;
    let camera = Camera::plug(0, &profile(), vec![Sent::good(PERSON)])?;
    let info = when_there(|| Ok(lab.info(&node()?).ok()))?;
    ensure!(info.privacy && info.card.contains("camera"), "{info:?}");
    ensure!(info.formats.iter().map(|format| format.code.as_str()).eq(["MJPG", "YUYV"]), "{:?}", info.formats);
    let mut stream = open(&wanted(341, 512))?;
    ensure!(stream.code() == FourCc::new(*b"MJPG") && stream.format().size == PERSON_SIZE, "{:?}", stream.format());
    let mut expected = vec![0; packed_bytes(FORMAT, PERSON_SIZE)];
    Decoder::default().decode(PERSON, PERSON_SIZE, &mut expected)?;
    // What is allocated once, and the program's pages that are read over 9p when they are first used,
    // come in the first rounds. A leak comes in every one.
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..PICTURES {
            let shown = frame(&mut stream)?;
            ensure!(packed(&shown.picture()) == expected, "not the picture that was sent");
        }
        resident.push(resources("self")?.2);
    }
    // Half of each picture, as it was sent, in the second half of the rounds.
    let leak_kib = (ROUNDS / 2 * PICTURES * PERSON.len() / 2 / 1024) as u64;
    ensure!(
        resident[ROUNDS - 1] < resident[ROUNDS / 2 - 1] + leak_kib,
        "resident after every {PICTURES} pictures, KiB: {resident:?}; a leak is {leak_kib}"
    );
    ensure!(stream.counters().corrupt == 0 && stream.replaced_timestamps() == 0, "{:?}", stream.counters());
    drop(stream);
    camera.show(vec![Sent::good(RED_BLUE)]);
    let mut stream = open(&wanted(32, 16))?;
    let shown = frame(&mut stream)?;
    let [left, right] = [4, 28].map(|x| pixel(&shown.picture(), x, 8));
    ensure!(left[0] > 240.0 && left[2] < 15.0 && right[2] > 240.0 && right[0] < 15.0, "{left:?} {right:?}");
    drop(camera);
    gone()?;
    Ok(format!("resident after every {PICTURES} pictures, KiB: {resident:?}"))
}

fn raw(lab: &Lab) -> Outcome {
    modules(lab)?;
    let size = Size::new(160, 120);
    let bytes: Vec<u8> = (0..=250).cycle().take(packed_bytes(PixelFormat::Yuyv, size)).collect();
    let short = Sent::good(&bytes[..bytes.len() - 100]);
    let camera = Camera::plug(0, &profile(), vec![Sent::good(&bytes), Sent::good(&bytes), short])?;
    let mut stream = open(&wanted(160, 120))?;
    ensure!(stream.code() == FourCc::new(*b"YUYV"), "{}", stream.code());
    for _ in 0..10 {
        ensure!(packed(&frame(&mut stream)?.picture()) == bytes, "not the picture that was sent");
    }
    // The driver itself discards them, so their sequence numbers are missing.
    let counters = stream.counters();
    ensure!(counters.corrupt + counters.dropped >= 4, "short frames were not seen: {counters:?}");
    let said = format!("{:?}", stream.counters());
    drop(camera);
    gone()?;
    Ok(said)
}

/// Any bytes from the camera: good pictures are delivered, the others are counted.
fn damage(lab: &Lab) -> Outcome {
    modules(lab)?;
    let mut strange = PERSON.to_vec();
    let middle = strange.len() / 2;
    strange[middle..middle + 2].copy_from_slice(&[0xff, 0xc0]);
    let noise: Vec<u8> = (0..9000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let bad = [
        Sent::good(&PERSON[..middle]),
        Sent::good(&strange),
        Sent::good(&noise),
        Sent::good(&[]),
        Sent::good(&[0xff, 0xd8, 0xff]),
        Sent::good(RED_BLUE),
        Sent { bytes: PERSON.to_vec(), flagged: true },
    ];
    let mut pictures = Vec::new();
    for bad in &bad {
        pictures.push(Sent::good(PERSON));
        pictures.push(bad.clone());
    }
    let camera = Camera::plug(0, &profile(), pictures)?;
    let mut stream = open(&wanted(341, 512))?;
    let mut expected = vec![0; packed_bytes(FORMAT, PERSON_SIZE)];
    Decoder::default().decode(PERSON, PERSON_SIZE, &mut expected)?;
    for _ in 0..3 * bad.len() {
        let shown = frame(&mut stream)?;
        ensure!(packed(&shown.picture()) == expected, "a damaged picture was shown");
    }
    let counters = stream.counters();
    // The driver does not deliver an empty frame.
    ensure!(counters.corrupt >= 2 * (bad.len() as u64 - 1), "{counters:?}");
    drop(camera);
    gone()?;
    Ok(format!("{counters:?}"))
}

fn privacy(lab: &Lab) -> Outcome {
    modules(lab)?;
    let camera = Camera::plug(0, &profile(), vec![Sent::good(PERSON)])?;
    let mut stream = open(&wanted(341, 512))?;
    frame(&mut stream)?;
    ensure!(!stream.private());
    for private in [true, false, true] {
        camera.set_private(private);
        let until = Instant::now() + Duration::from_secs(5);
        while stream.private() != private {
            ensure!(Instant::now() < until, "the shutter was moved to {private} without a report");
            stream.next(Duration::from_millis(200))?;
        }
    }
    drop(stream);
    let stream = open(&wanted(341, 512))?;
    ensure!(stream.private(), "not known from the start");
    drop((stream, camera));
    gone()?;
    Ok(String::new())
}

/// The cable is pulled while the camera streams, and plugged again, twice.
fn unplug(lab: &Lab) -> Outcome {
    modules(lab)?;
    let mut camera = Some(Camera::plug(0, &profile(), vec![Sent::good(PERSON)])?);
    let first = node()?;
    let source = DeviceSource::new(&first);
    let watch = DeviceWatch::new()?;
    let mut said = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = source.open_stream(&wanted(341, 512))?;
        said.push(stream.path().display().to_string());
        let shown = frame(&mut stream)?;
        let picture = packed(&shown.picture());
        while watch.wait(Duration::ZERO)? {}
        drop(camera.take());
        let until = Instant::now() + Duration::from_secs(10);
        let error = loop {
            ensure!(Instant::now() < until, "the stream goes on");
            if let Err(error) = stream.next(Duration::from_secs(1)) {
                break error;
            }
        };
        ensure!(matches!(error, SourceError::Gone { .. }), "{error}");
        ensure!(watch.wait(Duration::from_secs(10))?, "the watch says nothing");
        gone()?;
        let error = source.open(&wanted(341, 512)).err().context("opened what is not there")?;
        ensure!(matches!(error, SourceError::Absent { .. }), "{error}");
        ensure!(packed(&shown.picture()) == picture);
        // The failed stream stays open, so the number stays in use.
        held.push(stream);
        camera = Some(Camera::plug(0, &profile(), vec![Sent::good(PERSON)])?);
        ensure!(watch.wait(Duration::from_secs(20))?, "the watch says nothing");
        node()?;
    }
    let mut stream = source.open_stream(&wanted(341, 512))?;
    frame(&mut stream)?;
    said.push(stream.path().display().to_string());
    drop((stream, held, camera));
    gone()?;
    Ok(said.join(" -> "))
}

/// The camera is present but sends no more frames.
fn silence(lab: &Lab) -> Outcome {
    modules(lab)?;
    let camera = Camera::plug(0, &profile(), vec![Sent::good(PERSON)])?;
    let mut stream = open(&wanted(341, 512))?;
    frame(&mut stream)?;
    camera.fall_silent();
    let started = Instant::now();
    let now_ns = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut watch = StallDetector::new(stream.format().frame_rate, 0);
    while !watch.stalled(now_ns()) {
        ensure!(started.elapsed() < Duration::from_secs(10), "never stalls");
        if let StreamEvent::Frame(_) = stream.next(Duration::from_millis(200))? {
            watch.frame(now_ns());
        }
    }
    drop((stream, camera));
    gone()?;
    Ok(format!("told after {:.1} s", started.elapsed().as_secs_f32()))
}

/// Impossible descriptors: the result must be an error or frames.
fn liar(lab: &Lab) -> Outcome {
    modules(lab)?;
    let profiles = [
        Profile { jpeg: vec![(0, 0, 333_333)], yuyv: vec![], rate: 20.0 },
        Profile { jpeg: vec![(65_535, 65_535, 1)], yuyv: vec![], rate: 20.0 },
        Profile { jpeg: vec![], yuyv: vec![(1, 1, 333_333), (0, 7, 0)], rate: 20.0 },
        Profile { jpeg: vec![(32, 16, 0)], yuyv: vec![(3, 3, u32::MAX)], rate: 20.0 },
        Profile { jpeg: (0..100).map(|index| (8 * (index + 1), 8, 333_333)).collect(), yuyv: vec![], rate: 20.0 },
    ];
    let mut said = Vec::new();
    for profile in &profiles {
        let camera = Camera::plug(0, profile, vec![Sent::good(RED_BLUE), Sent::good(&[1; 50])])?;
        // A driver that rejects the descriptor creates no node.
        let until = Instant::now() + Duration::from_secs(4);
        let node = loop {
            if let Some(device) = devices()?.into_iter().find(|device| device.driver == "uvcvideo") {
                break Some(device.path);
            }
            if Instant::now() > until {
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let Some(node) = node else {
            said.push("no node".to_owned());
            drop(camera);
            continue;
        };
        said.push(match CaptureStream::open(&node, &wanted(32, 16)) {
            Ok(mut stream) => {
                for _ in 0..5 {
                    stream.next(Duration::from_millis(200))?;
                }
                format!("{} {}", stream.code(), stream.format().size)
            }
            Err(error) => error.to_string(),
        });
        drop(camera);
        gone()?;
    }
    Ok(said.join("; "))
}
