//! Measures decoders of JPEG, and the path from a JPEG frame to a view, at 1280x720 on one thread:
//! `benches/jpeg/run`, which builds the program for libjpeg-turbo. `cargo bench --bench jpeg`
//! leaves that one out, and makes its pictures itself.
//!
//! All decoders take turns in one run. The planes are compared with those of libjpeg-turbo before
//! anything is timed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portraitd_kernels::jpeg::JpegDecoder;
use portraitd_media::{Colorimetry, Matrix, OwnedPicture, PixelFormat, Range, Size, packed_bytes};
use portraitd_render::Chain;
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::{EngineOptions, Library};
use zune_jpeg::JpegDecoder as ZuneDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

const SIZE: Size = Size::new(1280, 720);
const COLOR: Colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Full };
/// The frames of the scene `walk` that are decoded.
const FRAMES: std::ops::Range<u64> = 60..72;
/// The times that everything takes a turn.
const ROUNDS: usize = 25;
const QUALITIES: [u32; 2] = [75, 90];

/// CPU time of this thread in milliseconds.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// A program that takes a turn for each line that it is sent.
struct Turbo {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Turbo {
    fn start(program: &Path, what: &str, files: &[PathBuf]) -> Self {
        let mut command = Command::new(program);
        command.args(["time", what]).args(files).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, answers }
    }

    /// Milliseconds a picture.
    fn turn(&mut self) -> f64 {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("it runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Turbo {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Frames in NV12.
fn frames() -> Vec<OwnedPicture> {
    let scene = Scene::new(&SceneOptions::parse("walk").expect("a scene")).expect("renders");
    let format = scene.format();
    assert_eq!((format.pixel_format, format.size), (PixelFormat::Nv12, SIZE));
    let draw = |sequence| {
        let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, SIZE)];
        scene.render(sequence, &mut Scratch::default(), &mut bytes);
        OwnedPicture::new(PixelFormat::Nv12, SIZE, COLOR, bytes).expect("a frame")
    };
    FRAMES.map(draw).collect()
}

/// The same frames as JPEG files, written by libjpeg-turbo.
fn encode(turbo: &Path, frames: &[OwnedPicture], quality: u32, sampling: &str, folder: &Path) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).expect("writable");
    let mut command = Command::new(turbo);
    command.args(["encode", "1280", "720", &quality.to_string(), sampling, "0"]).arg(folder);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("starts");
    let mut input = child.stdin.take().expect("piped");
    for frame in frames {
        input.write_all(frame.bytes()).expect("it runs");
    }
    drop(input);
    assert!(child.wait().expect("ends").success());
    (0..frames.len()).map(|number| folder.join(format!("{number:02}.jpg"))).collect()
}

fn zune(bytes: &[u8], space: ColorSpace, out: &mut [u8]) {
    let options = DecoderOptions::new_fast().set_strict_mode(true).jpeg_set_out_colorspace(space);
    ZuneDecoder::new_with_options(ZCursor::new(bytes), options).decode_into(out).expect("decodes");
}

/// Compares the planes of NV12 with those of libjpeg-turbo, which must be the same to the bit, but
/// for the mean of two rows of chroma in 4:2:2.
fn compare(turbo: &Path, file: &Path, nv12: &OwnedPicture, sampling: &str) {
    let output = Command::new(turbo).arg("planes").arg(file).output().expect("runs");
    let (luma, chroma) = output.stdout.split_at(1280 * 720);
    assert!(luma == nv12.plane(0), "{}: luma differs", file.display());
    let (cb, cr) = chroma.split_at(chroma.len() / 2);
    for (index, pair) in nv12.plane(1).chunks_exact(2).enumerate() {
        for (found, plane) in pair.iter().zip([cb, cr]) {
            let expected = if sampling == "420" {
                plane[index]
            } else {
                let at = index / 640 * 1280 + index % 640;
                let sum = u16::from(plane[at]) + u16::from(plane[at + 640]);
                u8::try_from(sum.div_ceil(2)).expect("a mean")
            };
            assert!(*found == expected, "{}: chroma differs", file.display());
        }
    }
}

/// The shortest and the median of the turns.
fn least_and_median(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Times everything in turns for the files of one sampling and quality.
fn decoders(turbo: &Path, files: &[PathBuf], sampling: &str) -> f64 {
    let pictures: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("readable")).collect();
    let mut decoder = JpegDecoder::new();
    let mut nv12 = OwnedPicture::zeroed(PixelFormat::Nv12, SIZE, COLOR).expect("a size");
    for (bytes, file) in pictures.iter().zip(files) {
        decoder.decode(bytes, &mut nv12.as_picture_mut()).expect("decodes");
        compare(turbo, file, &nv12, sampling);
    }
    let mut packed = vec![0; 1280 * 720 * 3];
    let mut planes = Turbo::start(turbo, "planes", files);
    let mut coefficients = Turbo::start(turbo, "coefficients", files);
    let mut turn = |which: usize| match which {
        0 => planes.turn(),
        1 => coefficients.turn(),
        _ => {
            let started = cpu_ms();
            for bytes in &pictures {
                match which {
                    2 => zune(bytes, ColorSpace::RGB, &mut packed),
                    3 => zune(bytes, ColorSpace::YCbCr, &mut packed),
                    _ => decoder.decode(bytes, &mut nv12.as_picture_mut()).expect("decodes"),
                }
            }
            (cpu_ms() - started) / pictures.len() as f64
        }
    };
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        for (which, times) in times.iter_mut().enumerate() {
            times.push(turn(which));
        }
    }
    let results = times.each_mut().map(|times| least_and_median(times));
    let names = [
        "libjpeg-turbo, planes",
        "libjpeg-turbo, coefficients only",
        "zune-jpeg, RGB",
        "zune-jpeg, YCbCr 4:4:4",
        "portraitd, NV12",
    ];
    for (name, (least, median)) in names.iter().zip(results) {
        println!("| {name} | {least:.3} | {median:.3} | {:.2} |", median / results[0].1);
    }
    results[0].1
}

/// What a JPEG frame costs on its way to a view, beyond the same frame in NV12, in milliseconds.
fn path(files: &[PathBuf]) -> f64 {
    let pictures: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("readable")).collect();
    let mut decoder = JpegDecoder::new();
    let mut nv12 = OwnedPicture::zeroed(PixelFormat::Nv12, SIZE, COLOR).expect("a size");
    let decoded: Vec<OwnedPicture> = pictures
        .iter()
        .map(|bytes| {
            decoder.decode(bytes, &mut nv12.as_picture_mut()).expect("decodes");
            nv12.clone()
        })
        .collect();
    let mut rgb = OwnedPicture::zeroed(PixelFormat::Rgb24, SIZE, COLOR).expect("a size");
    let mut out = nv12.clone();
    let mut chains: [Chain; 3] = std::array::from_fn(|_| {
        let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("a built-in model");
        Chain::new(model).expect("samples")
    });
    let mut times: [Vec<f64>; 3] = Default::default();
    let last = 2 * files.len() - 2;
    for round in 0..ROUNDS * last {
        // Forwards and backwards, so that nobody jumps.
        let index = (round % last).min(last - round % last);
        let sequence = round as u64;
        for (which, times) in times.iter_mut().enumerate() {
            let started = cpu_ms();
            let picture = match which {
                0 => {
                    decoder.decode(&pictures[index], &mut nv12.as_picture_mut()).expect("decodes");
                    nv12.as_picture()
                }
                1 => decoded[index].as_picture(),
                _ => {
                    zune(&pictures[index], ColorSpace::RGB, rgb.bytes_mut());
                    rgb.as_picture()
                }
            };
            let crop = chains[which].step(&picture, sequence, sequence * 33_333_333).expect("steps").crop;
            chains[which].draw_view(&picture, crop, &mut out.as_picture_mut()).expect("drawn");
            times.push(cpu_ms() - started);
        }
    }
    let [(_, jpeg), (_, raw), (_, through_rgb)] = times.each_mut().map(|times| least_and_median(times));
    println!("| frame path to a view from JPEG, by RGB of zune-jpeg | | {through_rgb:.3} | |");
    println!("| frame path to a view from JPEG | | {jpeg:.3} | |");
    println!("| frame path to a view from NV12 | | {raw:.3} | |");
    jpeg - raw
}

fn main() {
    let Some(turbo) = std::env::var_os("PORTRAITD_BENCH_TURBO").map(PathBuf::from) else {
        println!("needs libjpeg-turbo: benches/jpeg/run");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let frames = frames();
    for sampling in ["420", "422"] {
        for quality in QUALITIES {
            let files =
                encode(&turbo, &frames, quality, sampling, &folder.path().join(format!("{sampling}-{quality}")));
            let bytes: u64 = files.iter().map(|file| file.metadata().expect("written").len()).sum();
            println!(
                "\n1280x720, 4:{}:{}, quality {quality}, {} bytes a picture",
                &sampling[1..2],
                &sampling[2..],
                bytes / frames.len() as u64
            );
            println!("| | least, ms | median, ms | to libjpeg-turbo's planes |\n|---|---|---|---|");
            let planes = decoders(&turbo, &files, sampling);
            let more = path(&files);
            println!("| JPEG beyond NV12 | | {more:.3} | {:.2} |", more / planes);
        }
    }
}
