//! Measures the pixel path at 1280x720 on one thread: `cargo bench --bench pixels`. The result of
//! each kernel is compared with that of a plain loop (`pixels/plain.rs`), then both are timed in
//! alternation. Criterion then times the kernels alone.
#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]
#![allow(missing_docs, reason = "criterion's macros generate public functions")]

#[path = "pixels/plain.rs"]
mod plain;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use plain::Nv12;
use portraitd_framing::{Director, Settings, Subject};
use portraitd_kernels::blend::{Backdrop, Compositor, Edge, MaskValues, MaskView};
use portraitd_kernels::sample::{SampleSpec, Sampler};
use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_kernels::upright::Turner;
use portraitd_media::{
    Colorimetry, Orientation, OwnedPicture, PictureMut, PixelFormat, PixelRect, Rotation, Size, packed_bytes,
};
use portraitd_render::{EdgeRenderer, ViewRenderer};
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::{EngineOptions, Library};
use portraitd_vision::{Observation, Observer};
use portraitd_vision::{RegionFinder, Smoother};

const SIZE: Size = Size::new(1280, 720);
const GRID: Size = Size::new(256, 144);
const CROP: [f32; 4] = [201.3, 97.6, 896.0, 504.0];
const COLOR: [u8; 3] = [120, 80, 60];
/// The time between two masks for the smoother.
const STEP_NS: u64 = 33_333_333;

fn frames(name: &str, count: u64) -> Vec<OwnedPicture> {
    let scene = Scene::new(&SceneOptions::parse(name).expect("a scene")).expect("renders");
    let format = scene.format();
    assert_eq!((format.pixel_format, format.size), (PixelFormat::Nv12, SIZE));
    let draw = |sequence| {
        let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, SIZE)];
        scene.render(sequence, &mut Scratch::default(), &mut bytes);
        OwnedPicture::new(PixelFormat::Nv12, SIZE, format.color, bytes).expect("a frame")
    };
    (0..count).map(draw).collect()
}

fn observer() -> Observer {
    let library = Library::default();
    let model = library.load("selfie-landscape", EngineOptions::default()).expect("a built-in model");
    Observer::new(model).expect("samples")
}

/// The largest and the mean difference of two pictures.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    let each = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = each.clone().map(u64::from).sum();
    (each.max().unwrap_or(0), sum as f64 / a.len() as f64)
}

/// CPU time of this thread in milliseconds. It does not depend on other programs of the machine.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// The shortest time of several runs of each function, in milliseconds. The runs alternate.
fn in_turns(mut kernel: impl FnMut(), mut reference: impl FnMut()) -> (f64, f64) {
    let mut least = [f64::MAX; 2];
    for _ in 0..12 {
        for (which, least) in least.iter_mut().enumerate() {
            for _ in 0..if which == 0 { 6 } else { 1 } {
                let started = cpu_ms();
                if which == 0 {
                    kernel();
                } else {
                    reference();
                }
                *least = least.min(cpu_ms() - started);
            }
        }
    }
    (least[0], least[1])
}

fn row(name: &str, (kernel, reference): (f64, f64)) {
    println!("| {name} | {kernel:.3} | {reference:.2} | {:.3} |", kernel / reference);
}

/// CPU time of the whole frame path in milliseconds: the median and the 90th percentile. The
/// `frames` are repeated four times at the rate of a camera.
fn path(frames: &[OwnedPicture]) -> (f64, f64) {
    let (mut observer, mut view, mut seen) = (observer(), ViewRenderer::new(), Observation::default());
    let mut director = Director::new(Settings::new(SIZE, SIZE)).expect("valid");
    let mut out = OwnedPicture::zeroed(PixelFormat::Nv12, SIZE, Colorimetry::default()).expect("a picture");
    let mut times = Vec::new();
    for (sequence, frame) in (0..).zip(frames.iter().chain(frames).chain(frames).chain(frames)) {
        let at_ns = sequence * STEP_NS;
        let started = cpu_ms();
        observer.observe(&frame.as_picture(), sequence, at_ns, |_| false, &mut seen).expect("seen");
        let subjects: Vec<_> =
            seen.people.iter().map(|person| Subject { id: person.id, bounds: person.bounds }).collect();
        director.observe(at_ns, &subjects);
        let crop = director.step(at_ns).crop;
        view.render(&frame.as_picture(), crop, &mut out.as_picture_mut()).expect("drawn");
        times.push(cpu_ms() - started);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 9 / 10])
}

fn pixels(criterion: &mut Criterion) {
    let frame = &frames("walk", 1)[0];
    let picture = frame.as_picture();
    let plain = Nv12::of(frame.bytes(), 1280, 720);
    let whole = PixelRect::of_size(SIZE);
    let mut observer = observer();
    observer.infer(&picture).expect("the net runs");
    let raw = observer.probabilities().to_vec();
    let grid = (GRID.width as usize, GRID.height as usize);
    let mask = MaskView::new(MaskValues::Float(&raw), GRID, whole).expect("a mask");
    assert!(raw.iter().any(|value| *value > 0.9), "the net finds no person");
    println!("| at 1280x720, one thread | ms | plain loop, ms | ratio |\n|---|---|---|---|");

    let mut sampler = Sampler::new(SampleSpec::new(GRID)).expect("valid");
    let mut tensors = [vec![0.0; 3 * raw.len()], vec![0.0; 3 * raw.len()]];
    sampler.sample(&picture, whole, &mut tensors[0]).expect("sampled");
    plain::sample(plain, grid.0, grid.1, &mut tensors[1]);
    let worst = tensors[0].iter().zip(&tensors[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.004, "the sample differs by {worst}");
    let [kernel, reference] = &mut tensors;
    row(
        "sample NV12 to 256x144",
        in_turns(
            || {
                black_box(sampler.sample(&picture, whole, kernel)).expect("sampled");
            },
            || plain::sample(black_box(plain), grid.0, grid.1, reference),
        ),
    );

    let mut smoother = Smoother::new();
    let noisy: Vec<Vec<f32>> = (0..4_u8)
        .map(|k| {
            raw.iter()
                .enumerate()
                .map(|(i, value)| (value + ((i * 7 + usize::from(k) * 3) % 11) as f32 * 0.01).min(1.0))
                .collect()
        })
        .collect();
    smoother.apply(&noisy[0], GRID, 0);
    let mut state = [noisy[0].clone(), vec![0.0; raw.len()], noisy[0].clone()];
    let mut now = 0;
    for mask in &noisy[1..] {
        now += STEP_NS;
        let smoothed = smoother.apply(mask, GRID, now);
        plain::smooth(&mut state, mask, STEP_NS as f32 * 1e-9);
        let worst = smoothed.iter().zip(&state[2]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "the smoothed mask differs by {worst}");
    }
    let mut turn = 0;
    row(
        "smooth 256x144",
        in_turns(
            || {
                turn += 1;
                now += STEP_NS;
                black_box(smoother.apply(&noisy[turn % 4], GRID, now));
            },
            || plain::smooth(&mut state, black_box(&noisy[1]), STEP_NS as f32 * 1e-9),
        ),
    );

    let mut finder = RegionFinder::new();
    let mut cleaned = raw.clone();
    let found: Vec<f32> = finder.find(&mut cleaned, GRID).iter().map(|region| region.area * raw.len() as f32).collect();
    let flooded = plain::regions(&cleaned, grid.0, grid.1);
    assert!(
        !found.is_empty() && found.iter().zip(&flooded).all(|(a, b)| (a - *b as f32).abs() < 1.0),
        "{found:?}, {flooded:?}"
    );
    row(
        "regions 256x144",
        in_turns(
            || {
                cleaned.copy_from_slice(&raw);
                black_box(finder.find(&mut cleaned, GRID));
            },
            || drop(black_box(plain::regions(black_box(&raw), grid.0, grid.1))),
        ),
    );

    let mut edges = EdgeRenderer::new();
    let mut mattes = [vec![0; 1280 * 720], vec![0; 1280 * 720]];
    let draw_edges = |edges: &mut EdgeRenderer, out: &mut [u8]| {
        let mut out = PictureMut::packed(PixelFormat::Grey, SIZE, out).expect("a picture");
        edges.render(&picture, PixelRect::of_size(SIZE), &mask, &mut out).expect("drawn");
    };
    draw_edges(&mut edges, &mut mattes[0]);
    plain::guided_matte(plain, &raw, grid, &mut mattes[1]);
    let (_, mean) = difference(&mattes[0], &mattes[1]);
    let crossed = mattes[0].iter().zip(&mattes[1]).filter(|(a, b)| (**a >= 128) != (**b >= 128)).count();
    assert!(
        mean < 0.2 && crossed < 1280 * 720 / 2000,
        "the matte differs by {mean} on average; {crossed} pixels are on the other side of 0.5"
    );
    let [kernel, reference] = &mut mattes;
    row(
        "guided edge (matte of full size)",
        in_turns(|| draw_edges(&mut edges, kernel), || plain::guided_matte(black_box(plain), &raw, grid, reference)),
    );

    let mut scaler = Scaler::new(Filter::Cubic);
    let mut views = [vec![0; frame.bytes().len()], vec![0; frame.bytes().len()]];
    let draw_view = |scaler: &mut Scaler, out: &mut [u8]| {
        let mut out = PictureMut::packed(PixelFormat::Nv12, SIZE, out).expect("a picture");
        scaler.scale(&picture, PixelRect::new(CROP[0], CROP[1], CROP[2], CROP[3]), &mut out).expect("scaled");
    };
    draw_view(&mut scaler, &mut views[0]);
    plain::view(plain, CROP, &mut views[1]);
    let (worst, _) = difference(&views[0], &views[1]);
    assert!(worst <= 1, "the view differs by {worst}");
    let [kernel, reference] = &mut views;
    row(
        "view 896x504 to 1280x720, Catmull-Rom",
        in_turns(|| draw_view(&mut scaler, kernel), || plain::view(black_box(plain), CROP, reference)),
    );
    let mut linear = Scaler::new(Filter::Linear);
    println!("| view 896x504 to 1280x720, linear | {:.3} | | |", in_turns(|| draw_view(&mut linear, kernel), || {}).0);
    let mut copier = ViewRenderer::new();
    let copied = in_turns(
        || {
            let mut out = PictureMut::packed(PixelFormat::Nv12, SIZE, kernel).expect("a picture");
            copier.render(&picture, PixelRect::of_size(SIZE), &mut out).expect("copied");
        },
        || reference.copy_from_slice(black_box(frame.bytes())),
    );
    row("view of the whole picture at its own size (plain loop: a copy)", copied);

    let mut turner = Turner::default();
    for rotation in [Rotation::Quarter, Rotation::Half, Rotation::ThreeQuarters] {
        let orientation = Orientation { rotation, mirror: false };
        let turn = |turner: &mut Turner, out: &mut [u8]| {
            let mut out = PictureMut::packed(PixelFormat::Nv12, orientation.turned(SIZE), out).expect("a picture");
            turner.turn(&picture, orientation, &mut out).expect("turned");
        };
        turn(&mut turner, kernel);
        plain::turn(plain, rotation.degrees(), reference);
        assert!(kernel == reference, "{orientation} differs");
        let times =
            in_turns(|| turn(&mut turner, kernel), || plain::turn(black_box(plain), rotation.degrees(), reference));
        row(&format!("frame {orientation}"), times);
    }

    for guided in [false, true] {
        let mut compositor = if guided { Compositor::guided(Filter::Cubic) } else { Compositor::new(Filter::Cubic) };
        let draw = |compositor: &mut Compositor, out: &mut [u8]| {
            let mut out = PictureMut::packed(PixelFormat::Nv12, SIZE, out).expect("a picture");
            let backdrop = Backdrop::Color(COLOR);
            compositor.compose(&picture, whole, Some(&mask), Edge::default(), &backdrop, &mut out).expect("composed");
        };
        let mut matte = vec![0; 1280 * 720];
        let mut by_hand = |out: &mut [u8]| {
            if guided {
                plain::guided_matte(black_box(plain), &raw, grid, &mut matte);
            } else {
                plain::bilinear_matte(black_box(&raw), grid, 1280, 720, &mut matte);
            }
            plain::blend(plain, &matte, COLOR, out);
        };
        let mut results = [vec![0; frame.bytes().len()], vec![0; frame.bytes().len()]];
        draw(&mut compositor, &mut results[0]);
        by_hand(&mut results[1]);
        let (worst, mean) = difference(&results[0], &results[1]);
        // At guided edges, the kernel also corrects the colours of the person, which the plain loop
        // does not.
        assert!(mean < 0.3 && (guided || worst <= 6), "the composite differs by {worst}, {mean} on average");
        let [kernel, reference] = &mut results;
        let name = if guided { "composite, guided edge" } else { "composite, bilinear edge" };
        row(name, in_turns(|| draw(&mut compositor, kernel), || by_hand(reference)));
    }

    for (name, frames) in [("walk", frames("walk", 30)), ("still", frames("still", 30))] {
        let (median, most) = path(&frames);
        println!("whole frame path for `view`, scene {name}: median {median:.3} ms, 90th percentile {most:.3} ms");
    }

    let mut group = criterion.benchmark_group("pixels");
    let mut tensor = vec![0.0; 3 * raw.len()];
    group.bench_function("sample", |bencher| bencher.iter(|| sampler.sample(black_box(&picture), whole, &mut tensor)));
    let mut out = vec![0; frame.bytes().len()];
    group.bench_function("view", |bencher| bencher.iter(|| draw_view(&mut scaler, &mut out)));
    group.bench_function("guided edge", |bencher| bencher.iter(|| draw_edges(&mut edges, &mut out[..1280 * 720])));
}

criterion_group!(benches, pixels);
criterion_main!(benches);
