//! Measures the nets on every engine and instruction set of this CPU: `cargo bench --bench net`.
//! Each mask is compared with tract's before the time is measured. `benches/peers/run` compares
//! with other runtimes.
#![allow(missing_docs, reason = "criterion's macros generate public functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portraitd_kernels::simd::Isa;
use portraitd_media::{OwnedPicture, packed_bytes};
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::Observer;
use portraitd_vision::net::{EngineChoice, EngineOptions, Library};

fn picture() -> OwnedPicture {
    let scene = Scene::new(&SceneOptions::parse("still").expect("a scene")).expect("renders");
    let format = scene.format();
    let mut bytes = vec![0; packed_bytes(format.pixel_format, format.size)];
    scene.render(0, &mut Scratch::default(), &mut bytes);
    OwnedPicture::new(format.pixel_format, format.size, format.color, bytes).expect("a frame")
}

fn observer(name: &str, choice: EngineChoice, isa: Option<Isa>, threads: usize) -> Observer {
    let model = Library::default().load(name, EngineOptions { choice, isa, threads }).expect("a built-in model");
    Observer::new(model).expect("samples")
}

fn nets(criterion: &mut Criterion) {
    let picture = picture();
    for name in Library::default().names() {
        let mut group = criterion.benchmark_group(&name);
        let mut tract = observer(&name, EngineChoice::Tract, None, 1);
        tract.infer(&picture.as_picture()).expect("tract");
        let expected = tract.probabilities().to_vec();
        assert!(expected.iter().any(|value| *value > 0.9), "the net finds no person");
        for (isa, threads) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]) {
            let mut plan = observer(&name, EngineChoice::Plan, Some(isa), threads);
            plan.infer(&picture.as_picture()).expect("plan");
            let worst = expected.iter().zip(plan.probabilities()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-4, "{name}, {isa}: differs by {worst}");
            group.bench_function(format!("plan, {isa}, threads: {threads}"), |bencher| {
                bencher.iter(|| black_box(&mut plan).repeat_inference().expect("plan"));
            });
        }
        group.bench_function("tract", |bencher| {
            bencher.iter(|| black_box(&mut tract).repeat_inference().expect("tract"));
        });
    }
}

criterion_group!(benches, nets);
criterion_main!(benches);
