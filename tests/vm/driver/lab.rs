//! What every test needs: kernel modules, nodes by role, controls by name, measurements of
//! pictures.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portraitd_media::{FormatRequest, Frame, Stream, StreamEvent};
use portraitd_media::{Matrix, Picture, PixelFormat, Range, Size};
use portraitd_v4l2::CaptureOptions;
use portraitd_v4l2::{CaptureStream, DeviceInfo, devices, sys};

/// The result of a test: a short text with its figures.
pub type Outcome = Result<String>;

/// The guest, with the programs that are tested.
#[derive(Clone, Debug)]
pub struct Lab {
    modules: PathBuf,
    kernel: String,
    /// The folder for downloads and builds of the laboratory.
    pub cache: PathBuf,
    /// The path of the daemon's program.
    pub daemon: PathBuf,
}

/// The parameters of vivid: a single-planar camera with an output, and a multi-planar camera with
/// an output. The inputs of each camera: webcam, television, HDMI (types 0, 1, 3 in two bits each).
/// The outputs: HDMI.
const VIVID: [&str; 9] = [
    "n_devs=2",
    "node_types=0x101,0x101",
    "multiplanar=1,2",
    "num_inputs=3,3",
    "input_types=0x34,0x34",
    "num_outputs=1,1",
    "output_types=0x1,0x1",
    "no_error_inj=0",
    "vivid_debug=0",
];

/// The inputs of a vivid camera, by number.
pub const WEBCAM: u32 = 0;
pub const TELEVISION: u32 = 1;
pub const HDMI: u32 = 2;

impl Lab {
    pub fn new() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let modules = PathBuf::from(variable("LAB_MODULES")?);
        let lab = Self {
            cache: modules.parent().unwrap_or(Path::new("/")).to_owned(),
            modules,
            daemon: PathBuf::from(variable("LAB_DAEMON")?),
            kernel: variable("LAB_KERNEL")?,
        };
        lab.modprobe(&[&["vivid"], VIVID.as_slice()].concat())?;
        lab.wait_for_nodes(4)?;
        lab.reset()?;
        Ok(lab)
    }

    pub fn modprobe(&self, arguments: &[&str]) -> Result<()> {
        let kernel = OsStr::new(&self.kernel);
        let mut words = vec![OsStr::new("-d"), self.modules.as_os_str(), OsStr::new("-S"), kernel];
        words.extend(arguments.iter().map(OsStr::new));
        command("modprobe", &words).map(drop)
    }

    /// Whether the guest has a module that does not belong to its kernel package.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.join("lib/modules").join(&self.kernel).join(format!("extra/{name}.ko")).exists()
    }

    /// Waits until `count` video nodes exist.
    pub fn wait_for_nodes(&self, count: usize) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while devices()?.iter().filter(|device| device.error.is_none()).count() < count {
            ensure!(Instant::now() < until, "fewer than {count} video nodes");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Creates the links that udev would create, and removes every injected fault.
    pub fn reset(&self) -> Result<()> {
        self.link()?;
        for device in devices()?.iter().filter(|device| device.driver == "vivid") {
            if device.capabilities.contains(&"capture") {
                // The webcam input first: most controls apply to the current input.
                input(&device.path, WEBCAM)?;
                for control in device.controls.iter().filter(|control| control.id >= 0x00f0_f000 && !control.read_only)
                {
                    let resets =
                        control.kind != "button" && control.value.is_some_and(|value| value != control.default);
                    if resets {
                        set_id(&device.path, control.id, control.default)?;
                    }
                }
                set(&device.path, "Test Pattern", 1)?;
                set(&device.path, "OSD Text Mode", 2)?;
            }
        }
        Ok(())
    }

    /// Makes the driver recreate its devices: a receiver that was set to another signal cannot be
    /// looped to an output.
    pub fn renew(&self) -> Result<()> {
        bind("unbind")?;
        bind("bind")?;
        self.wait_for_nodes(4)?;
        self.reset()
    }

    /// Creates the links in `/dev/v4l/by-path` to the capture and output nodes of each device.
    pub fn link(&self) -> Result<()> {
        let folder = Path::new("/dev/v4l/by-path");
        fs::create_dir_all(folder)?;
        for link in fs::read_dir(folder)? {
            fs::remove_file(link?.path())?;
        }
        for device in devices()?.iter().filter(|device| device.error.is_none()) {
            let role = if device.capabilities.contains(&"capture") { "capture" } else { "output" };
            let name = folder.join(format!("{}-{role}", device.bus.replace(':', "-")));
            symlink(&device.path, name)?;
        }
        Ok(())
    }

    /// The camera of a device: 0 is single-planar, 1 is multi-planar.
    pub fn camera(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("/dev/v4l/by-path/platform-vivid-00{number}-capture"))
    }

    /// The output node of a device.
    pub fn output(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("/dev/v4l/by-path/platform-vivid-00{number}-output"))
    }

    /// The link to a node.
    pub fn link_of(&self, node: &Path) -> Result<PathBuf> {
        self.info(node)?.stable_name.with_context(|| format!("{} has no link", node.display()))
    }

    pub fn info(&self, path: &Path) -> Result<DeviceInfo> {
        let node = fs::canonicalize(path)?;
        devices()?.into_iter().find(|device| device.path == node).context("not listed")
    }
}

/// Writes to `bind` or `unbind` of the driver, for both vivid cameras with their outputs.
pub fn bind(file: &str) -> Result<()> {
    fs::write(Path::new("/sys/bus/platform/drivers/vivid").join(file), "vivid.0").context(file.to_owned())
}

/// Runs a program and waits for its end.
pub fn command(program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Output> {
    command_as(0, program, arguments)
}

/// Runs a program as the user `user` and waits for its end.
pub fn command_as(user: u32, program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Output> {
    let output = Command::new(program).args(arguments).uid(user).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        bail!("{program} {}: {} {}", words.join(" "), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

fn open(path: &Path) -> Result<fs::File> {
    Ok(fs::OpenOptions::new().read(true).write(true).open(path)?)
}

/// Selects an input of the device.
pub fn input(path: &Path, number: u32) -> Result<()> {
    command("v4l2-ctl", &[OsStr::new("-d"), path.as_os_str(), OsStr::new("-i"), OsStr::new(&number.to_string())])
        .map(drop)
}

/// Sets a control, which is found by its name.
pub fn set(path: &Path, name: &str, value: i32) -> Result<()> {
    let file = open(path)?;
    let mut id = 0;
    while let Ok(control) = sys::query_control(&file, id | sys::CONTROL_FLAG_NEXT) {
        id = control.id;
        let end = control.name.iter().position(|byte| *byte == 0).unwrap_or(32);
        if &control.name[..end] == name.as_bytes() {
            return sys::set_control(&file, id, value).with_context(|| format!("control {name} = {value}"));
        }
    }
    bail!("no control {name}")
}

fn set_id(path: &Path, id: u32, value: i32) -> Result<()> {
    sys::set_control(&open(path)?, id, value).with_context(|| format!("control {id:#x} = {value}"))
}

/// A small picture, because the guest is slow.
pub const SMALL: FormatRequest = FormatRequest { size: Some(Size::new(640, 360)), frame_rate: Some(15.0) };

pub fn stream(path: &Path) -> Result<CaptureStream> {
    Ok(CaptureStream::open(path, &SMALL)?)
}

pub fn stream_with(path: &Path, options: CaptureOptions) -> Result<CaptureStream> {
    Ok(CaptureStream::open_with(path, &SMALL, options)?)
}

/// Waits for the next frame of the stream.
pub fn frame(stream: &mut dyn Stream) -> Result<Frame> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let StreamEvent::Frame(frame) = stream.next(Duration::from_secs(1))? {
            return Ok(frame);
        }
    }
    bail!("no frame in 20 s; {:?}", stream.counters())
}

/// The number of descriptors and threads of a process (`self` or its number), and its resident
/// memory in KiB.
pub fn resources(process: &str) -> Result<(usize, usize, u64)> {
    let folder = Path::new("/proc").join(process);
    let descriptors = fs::read_dir(folder.join("fd"))?.count();
    let threads = fs::read_dir(folder.join("task"))?.count();
    let status = fs::read_to_string(folder.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok((descriptors, threads, line.trim().trim_end_matches(" kB").trim().parse()?))
}

/// Red, green and blue of a pixel, 0..=255, by the formulas of ITU-R BT.601, 709 and 2020,
/// independent of the daemon's code.
pub fn pixel(picture: &Picture<'_>, x: usize, y: usize) -> [f32; 3] {
    let at = |plane: usize, row: usize, byte: usize| f32::from(picture.plane(plane).row(row)[byte]);
    let (luma, cb, cr) = match picture.format() {
        PixelFormat::Rgb24 => return [at(0, y, x * 3), at(0, y, x * 3 + 1), at(0, y, x * 3 + 2)],
        PixelFormat::Bgr24 => return [at(0, y, x * 3 + 2), at(0, y, x * 3 + 1), at(0, y, x * 3)],
        PixelFormat::Rgbx32 => return [at(0, y, x * 4), at(0, y, x * 4 + 1), at(0, y, x * 4 + 2)],
        PixelFormat::Bgrx32 => return [at(0, y, x * 4 + 2), at(0, y, x * 4 + 1), at(0, y, x * 4)],
        PixelFormat::Yuyv => (at(0, y, x * 2), at(0, y, x / 2 * 4 + 1), at(0, y, x / 2 * 4 + 3)),
        PixelFormat::Uyvy => (at(0, y, x * 2 + 1), at(0, y, x / 2 * 4), at(0, y, x / 2 * 4 + 2)),
        PixelFormat::Nv12 => (at(0, y, x), at(1, y / 2, x / 2 * 2), at(1, y / 2, x / 2 * 2 + 1)),
        PixelFormat::Nv21 => (at(0, y, x), at(1, y / 2, x / 2 * 2 + 1), at(1, y / 2, x / 2 * 2)),
        PixelFormat::I420 => (at(0, y, x), at(1, y / 2, x / 2), at(2, y / 2, x / 2)),
        PixelFormat::I422 => (at(0, y, x), at(1, y, x / 2), at(2, y, x / 2)),
        PixelFormat::Grey => (at(0, y, x), 128.0, 128.0),
    };
    let color = picture.color();
    let (kr, kb) = match color.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let (luma, cb, cr) = match color.range {
        Range::Full => (luma / 255.0, (cb - 128.0) / 255.0, (cr - 128.0) / 255.0),
        Range::Limited => ((luma - 16.0) / 219.0, (cb - 128.0) / 224.0, (cr - 128.0) / 224.0),
    };
    let red = luma + 2.0 * (1.0 - kr) * cr;
    let blue = luma + 2.0 * (1.0 - kb) * cb;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red * 255.0, green * 255.0, blue * 255.0]
}

/// The colours of vivid's "100% Colorbar", from left to right.
pub const BARS: [[f32; 3]; 8] = [
    [255.0, 255.0, 255.0],
    [255.0, 255.0, 0.0],
    [0.0, 255.0, 255.0],
    [0.0, 255.0, 0.0],
    [255.0, 0.0, 255.0],
    [255.0, 0.0, 0.0],
    [0.0, 0.0, 255.0],
    [0.0, 0.0, 0.0],
];

/// The largest difference of any component from the bars, over a grid of points inside them.
pub fn distance_from_bars(picture: &Picture<'_>) -> f32 {
    let size = picture.size();
    let (width, height) = (size.width as usize, size.height as usize);
    let mut worst = 0.0_f32;
    for (bar, expected) in BARS.iter().enumerate() {
        for y in [2, height / 3, height / 2, height - 3] {
            for part in [0.3, 0.5, 0.7] {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the picture")]
                let x = ((bar as f32 + part) * width as f32 / 8.0) as usize;
                let found = pixel(picture, x, y);
                if picture.format() == PixelFormat::Grey {
                    // vivid computes grey by Rec. 709 in every colour space.
                    let luma = 0.2126 * expected[0] + 0.7152 * expected[1] + 0.0722 * expected[2];
                    worst = worst.max((found[0] - luma).abs());
                } else {
                    for (found, expected) in found.iter().zip(expected) {
                        worst = worst.max((found - expected).abs());
                    }
                }
            }
        }
    }
    worst
}

/// The bytes of a picture without padding, one plane after the other.
pub fn packed(picture: &Picture<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for plane in 0..picture.format().plane_count() {
        let (row_bytes, rows) = picture.format().plane_extent(plane, picture.size());
        for y in 0..rows {
            bytes.extend_from_slice(&picture.plane(plane).row(y)[..row_bytes]);
        }
    }
    bytes
}
