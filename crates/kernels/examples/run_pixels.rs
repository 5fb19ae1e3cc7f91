//! Runs one part of the pixel path on a synthetic frame of 1280x720:
//! `run_pixels PART [FORMAT [RUNS]]`.
//!
//! PART is one of those of [`PARTS`], FORMAT a name such as `NV12` (the default) or `YUYV`. The
//! program prints a checksum of the result, which is the same on every instruction set for
//! everything but `sample`. `PORTRAITD_ISA` chooses the instruction set.
//!
//! It is meant for emulated CPUs: the cost of a run is measured from outside, as the difference
//! between two numbers of runs (`benches/instructions/run`).

use portraitd_kernels::blend::{Backdrop, Blur, Compositor, Edge, MaskValues, MaskView};
use portraitd_kernels::jpeg::JpegDecoder;
use portraitd_kernels::picture::packed_bytes;
use portraitd_kernels::sample::{SampleSpec, Sampler};
use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_kernels::simd::Usable;
use portraitd_kernels::upright::{Turner, turned_format, turned_size};
use portraitd_kernels::{Colorimetry, Picture, PictureMut, PixelFormat, PixelRect, Size};
use portraitd_protocol::orientation::{Orientation, Rotation};

const SIZE: Size = Size::new(1280, 720);
/// The grid of the landscape net, and that of the motion gate, which reads every second row.
const NET: Size = Size::new(256, 144);
const GATE: Size = Size::new(128, 72);
const GATE_ROWS: usize = 2;
/// A crop at rest, which is enlarged by 10/7.
const CROP: PixelRect = PixelRect::new(201.3, 97.6, 896.0, 504.0);
/// The standard deviation of the blur in the daemon, in source pixels.
const BLUR: f32 = 28.8;

/// A photograph of 1280x720 in 4:2:0.
const PHOTOGRAPH: &str = "crates/scene/assets/room-near.jpg";

/// The parts of the pixel path.
const PARTS: [(&str, &str); 13] = [
    ("jpeg", "a photograph in JPEG, decoded to NV12; run in the root of the repository"),
    ("gate", "the cells of the motion gate"),
    ("sample", "the net's input"),
    ("view", "a view of a crop at rest, Catmull-Rom"),
    ("moving", "the same of a crop that moves in every frame"),
    ("linear", "a view of a crop at rest, linear interpolation"),
    ("copy", "a view of the whole frame at its own size"),
    ("shrink", "a view of the whole frame at 640x360"),
    ("rgb", "a view of a crop at rest as RGB24"),
    ("turn", "the frame turned by 90 degrees"),
    ("composite", "people in front of a colour, bilinear edge"),
    ("guided", "the same with an edge that follows the picture"),
    ("blur", "the same in front of the blurred room"),
];

/// A frame with gradients, stripes and noise in every component.
fn frame(format: PixelFormat) -> Vec<u8> {
    let mut state = 1_u32;
    (0_u32..)
        .take(packed_bytes(format, SIZE))
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [_, _, _, noise] = state.to_le_bytes();
            let [shade, row, ..] = (i / 7).to_le_bytes();
            (shade / 2).wrapping_add(row / 3).wrapping_add(noise / 16)
        })
        .collect()
}

/// A mask of one person in the middle, about a third of the frame, with soft edges.
fn person() -> Vec<f32> {
    let axis = |count: u32| (0..count).map(move |i| (i as f32 + 0.5) / count as f32 - 0.5);
    let value = |x: f32, y: f32| (8.0 - ((x / 0.18).powi(2) + ((y - 0.2) / 0.55).powi(2)) * 8.0).clamp(0.0, 1.0);
    axis(NET.height).flat_map(|y| axis(NET.width).map(move |x| value(x, y))).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = || format!("which part? {}", PARTS.map(|(name, what)| format!("\n  {name}: {what}")).concat());
    let part = arguments.next().filter(|part| PARTS.iter().any(|(name, _)| name == part)).ok_or_else(usage)?;
    let format = arguments.next().unwrap_or_else(|| "NV12".to_owned());
    let format = PixelFormat::ALL
        .into_iter()
        .find(|known| known.to_string() == format)
        .ok_or_else(|| format!("no format {format}: {}", PixelFormat::ALL.map(|known| format!("{known} ")).concat()))?;
    let runs: u32 = arguments.next().as_deref().unwrap_or("1").parse()?;

    let bytes = frame(format);
    let picture = Picture::packed(format, SIZE, Colorimetry::default(), &bytes)?;
    let whole = PixelRect::of_size(SIZE);
    let quarter = Orientation { rotation: Rotation::Quarter, mirror: false };
    let (out_format, size) = match part.as_str() {
        "turn" => (turned_format(format), turned_size(format, SIZE, quarter)?),
        "rgb" => (PixelFormat::Rgb24, SIZE),
        "shrink" => (PixelFormat::Nv12, Size::new(640, 360)),
        _ => (PixelFormat::Nv12, SIZE),
    };
    let mut out = vec![0; packed_bytes(out_format, size)];
    let mut gate = Sampler::new(SampleSpec::new(GATE))?;
    let mut cells = vec![0; 3 * GATE.width as usize * GATE.height as usize];
    let mut sampler = Sampler::new(SampleSpec::new(NET))?;
    let mut tensor = vec![0.0; 3 * NET.width as usize * NET.height as usize];
    let mut scaler = Scaler::new(if part == "linear" { Filter::Linear } else { Filter::Cubic });
    let mut compositor =
        if part == "composite" { Compositor::new(Filter::Cubic) } else { Compositor::guided(Filter::Cubic) };
    let mut blur = Blur::new();
    let mut turner = Turner::default();
    let mut jpeg = JpegDecoder::new();
    let photograph = if part == "jpeg" { std::fs::read(PHOTOGRAPH)? } else { Vec::new() };
    let values = person();
    let mask = MaskView::new(MaskValues::Float(&values), NET, whole)?;
    for run in 0..runs {
        let mut output = PictureMut::packed(out_format, size, &mut out)?;
        match part.as_str() {
            "gate" => drop(gate.sample_cells(&picture, whole, [GATE_ROWS; 2], &mut cells)?),
            "sample" => drop(sampler.sample(&picture, whole, &mut tensor)?),
            "view" | "linear" | "rgb" => drop(scaler.scale(&picture, CROP, &mut output)?),
            "moving" => {
                let crop = PixelRect { x: CROP.x + (run % 64) as f32 * 0.37, ..CROP };
                scaler.scale(&picture, crop, &mut output)?;
            }
            "jpeg" => jpeg.decode(&photograph, &mut output)?,
            "turn" => turner.turn(&picture, quarter, &mut output)?,
            "copy" | "shrink" => drop(scaler.scale(&picture, whole, &mut output)?),
            _ => {
                let backdrop = if part == "blur" {
                    let (room, shown) = blur.scene_background(&picture, CROP, Some(&mask), BLUR, out_format)?;
                    Backdrop::Stretched(room, shown)
                } else {
                    Backdrop::Color([120, 80, 60])
                };
                compositor.compose(&picture, CROP, Some(&mask), Edge::default(), &backdrop, &mut output)?;
            }
        }
    }
    let result = match part.as_str() {
        "gate" => cells,
        "sample" => tensor.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => out,
    };
    // FNV-1a.
    let sum = result
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    println!("isa {}, {runs} runs, checksum {sum:016x}", Usable::chosen().isa());
    Ok(())
}
