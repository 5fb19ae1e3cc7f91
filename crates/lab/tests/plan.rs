//! The fused plan computes the same masks as tract and allocates nothing, and the comparison of
//! layers finds a wrong layer.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]

use std::path::{Path, PathBuf};

use portraitd_kernels::simd::Isa;
use portraitd_lab::layers::{Comparison, Golden, compare, tract_tensors};
use portraitd_media::{OwnedPicture, image, packed_bytes};
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::{EngineChoice, EngineOptions, Library, Model, Package};
use portraitd_vision::{Observer, sample_input};

#[path = "../../../tests/publish/counting.rs"]
mod counting;

/// At least twenty pictures of people: the photographs of the fixtures, and frames of scenes.
fn pictures() -> Vec<OwnedPicture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/people/images");
    let files = std::fs::read_dir(directory).expect("fixtures");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("fixture").path()).collect();
    files.sort();
    let mut pictures: Vec<OwnedPicture> = files.iter().map(|file| image::read(file).expect("a picture")).collect();
    for name in ["still", "walk", "two", "leave"] {
        let scene = Scene::new(&SceneOptions::parse(name).expect("a scene")).expect("renders");
        let format = scene.format();
        for sequence in [0, 45, 100, 160] {
            let mut bytes = vec![0; packed_bytes(format.pixel_format, format.size)];
            scene.render(sequence, &mut Scratch::default(), &mut bytes);
            pictures.push(OwnedPicture::new(format.pixel_format, format.size, format.color, bytes).expect("a frame"));
        }
    }
    assert!(pictures.len() >= 20, "{}", pictures.len());
    pictures
}

fn model(name: &str, choice: EngineChoice, isa: Option<Isa>) -> Model {
    Library::default().load(name, EngineOptions { choice, isa, ..EngineOptions::default() }).expect("a built-in model")
}

#[test]
fn the_plan_computes_the_masks_of_tract() {
    let pictures = pictures();
    for name in ["selfie-landscape", "selfie-general"] {
        let mut tract = Observer::new(model(name, EngineChoice::Tract, None)).expect("observer");
        let mut plans: Vec<_> = Isa::available()
            .into_iter()
            .map(|isa| (isa, Observer::new(model(name, EngineChoice::Plan, Some(isa))).expect("observer")))
            .collect();
        let mut people = 0;
        for (index, picture) in pictures.iter().enumerate() {
            tract.infer(&picture.as_picture()).expect("tract");
            let expected = tract.probabilities();
            people += expected.iter().filter(|value| **value > 0.5).count();
            for (isa, plan) in &mut plans {
                plan.infer(&picture.as_picture()).expect("plan");
                let pairs = || expected.iter().zip(plan.probabilities());
                let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= 1e-4, "{name}, {isa}, picture {index}: differs by {worst}");
                let both = pairs().filter(|(a, b)| **a > 0.5 && **b > 0.5).count();
                let either = pairs().filter(|(a, b)| **a > 0.5 || **b > 0.5).count();
                assert!(
                    f64::from(u32::try_from(both).expect("small"))
                        >= 0.9999 * f64::from(u32::try_from(either).expect("small")),
                    "{name}, {isa}, picture {index}: {both} of {either} pixels"
                );
            }
        }
        assert!(people > 20 * 1_000, "{name}: only {people} pixels of people");
    }
}

#[test]
fn a_run_allocates_nothing() {
    for name in ["selfie-landscape", "selfie-general"] {
        for (isa, threads) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]) {
            let options = EngineOptions { choice: EngineChoice::Plan, isa: Some(isa), threads };
            let mut model = Library::default().load(name, options).expect("a built-in model");
            assert_eq!(model.threads(), threads);
            let input = vec![0.25; model.input_len()];
            let mut mask = vec![0.0; usize::try_from(model.output_size().area()).expect("small")];
            model.run(&input, &mut mask).expect("runs");
            let count = counting::allocations(|| {
                for _ in 0..3 {
                    model.run(&input, &mut mask).expect("runs");
                }
            });
            assert_eq!(count, 0, "{name}, {isa}, {threads} threads");
        }
    }
}

#[test]
fn two_threads_compute_the_result_of_one() {
    for name in ["selfie-landscape", "selfie-general"] {
        for isa in Isa::available() {
            let masks = [1, 2].map(|threads| {
                let options = EngineOptions { choice: EngineChoice::Plan, isa: Some(isa), threads };
                let model = Library::default().load(name, options).expect("a built-in model");
                let mut observer = Observer::new(model).expect("observer");
                observer.infer(&pictures()[0].as_picture()).expect("runs");
                // The pool measures one thread in the first run and two in the second.
                observer.repeat_inference().expect("runs");
                observer.probabilities().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            });
            assert!(masks[0] == masks[1], "{name}, {isa}");
        }
    }
}

/// The plan runs parts of other segmentation nets, with random weights, and computes the tensors of
/// tract.
#[test]
fn pieces_of_other_nets_run_on_the_plan() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let library = Library::new(vec![directory]);
    for name in ["pieces-unet", "pieces-sinet", "pieces-modnet", "pieces-borders"] {
        let package = library.read(name).expect("a fixture");
        let mut state = 1_u32;
        let input: Vec<f32> = (0..3 * package.manifest.input.width * package.manifest.input.height)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32
            })
            .collect();
        let golden = tract_tensors(&package, &input).expect("tract");
        for isa in Isa::available() {
            for threads in [1, 2] {
                let options = EngineOptions { choice: EngineChoice::Plan, isa: Some(isa), threads };
                let model = Model::new(package.clone(), options).expect("the plan has its operators");
                assert_eq!(model.engine_name(), "plan");
            }
            let comparison = Comparison { input: &input, golden: Some(&golden), tolerance: 1e-4, isa };
            let parity = compare(&package, comparison).expect("runs");
            assert_eq!(parity.first_divergence().map(|layer| &layer.name), None, "{name}, {isa}");
            let last = parity.layers.last().expect("layers");
            assert!(last.plan.is_some(), "{name}, {isa}: the output was compared");
            let planned = parity.layers.iter().filter(|layer| layer.plan.is_some()).count();
            assert!(planned >= 8, "{name}, {isa}: {planned} tensors were compared");
            let spread = golden.0[&last.name].values.iter().copied();
            let (least, most) = (spread.clone().fold(1.0, f32::min), spread.fold(0.0, f32::max));
            assert!(most - least > 0.1, "{name}: the mask is nearly constant, {least} to {most}");
        }
    }
}

/// The two mistakes of the conversion that this project began with. `tests/fixtures/models/make.py`
/// makes them again in a net with the same tensors.
#[test]
fn a_lost_group_count_and_zeros_around_maps_are_found_in_their_layers() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let library = Library::new(vec![directory]);
    let right = library.read("pieces-borders").expect("a fixture");
    let input: Vec<f32> = (0..3 * 48 * 32).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let golden = tract_tensors(&right, &input).expect("tract");
    for (name, layer) in [("mistake-group", "convtranspose"), ("mistake-zeros", "pad")] {
        let wrong = library.read(name).expect("a fixture");
        let comparison = Comparison { input: &input, golden: Some(&golden), tolerance: 1e-4, isa: Isa::detect() };
        let parity = compare(&wrong, comparison).expect("runs");
        let first = parity.first_divergence().expect("a mistake");
        assert!(first.name.starts_with(layer), "{name} is reported at {}", first.name);
        // The plan and tract compute the same, right or wrong: the mistake is in the file.
        assert!(parity.layers.iter().all(|layer| layer.plan.as_ref().is_none_or(|found| !found.diverges)), "{name}");
    }
}

fn package() -> Package {
    Library::default().read("selfie-landscape").expect("built in")
}

fn input(package: &Package) -> Vec<f32> {
    sample_input(&package.manifest, &pictures()[0].as_picture()).expect("samples")
}

#[test]
fn whole_nets_have_no_layer_that_diverges() {
    for name in ["selfie-landscape", "selfie-general"] {
        let package = Library::default().read(name).expect("built in");
        let input = input(&package);
        let golden = tract_tensors(&package, &input).expect("tract");
        for isa in Isa::available() {
            let comparison = Comparison { input: &input, golden: Some(&golden), tolerance: 1e-4, isa };
            let parity = compare(&package, comparison).expect("runs");
            assert_eq!(parity.first_divergence().map(|layer| &layer.name), None, "{name}, {isa}");
            assert_eq!(parity.layers.len(), golden.0.len());
            let planned = parity.layers.iter().filter(|layer| layer.plan.is_some()).count();
            assert!(planned >= 40, "{name}, {isa}: the plan has {planned} of the file's tensors");
        }
    }
}

#[test]
fn a_broken_weight_is_found_in_its_layer() {
    let package = package();
    let input = input(&package);
    let golden = tract_tensors(&package, &input).expect("tract");
    for node in ["depthwise_conv2d_4", "conv2d_20", "conv2d_transpose"] {
        let broken = Package { onnx: break_weight(&package.onnx, node).into(), ..package.clone() };
        let comparison = Comparison { input: &input, golden: Some(&golden), tolerance: 1e-4, isa: Isa::detect() };
        let parity = compare(&broken, comparison).expect("runs");
        let first = parity.first_divergence().expect("a weight is wrong");
        assert_eq!(first.name, node);
        let found = first.golden.as_ref().expect("golden");
        assert!(found.max > 1e-3 && found.at.len() == first.shape.len(), "{found:?}");
    }
}

/// The ONNX file with 1 added to the first weight of a node's kernel.
fn break_weight(onnx: &[u8], node: &str) -> Vec<u8> {
    use tract_onnx::prelude::Framework as _;
    let proto = tract_onnx::onnx().proto_model_for_read(&mut &onnx[..]).expect("an ONNX file");
    let graph = proto.graph.expect("a graph");
    let node = graph.node.iter().find(|it| it.output.first().is_some_and(|name| name == node)).expect("the node");
    let kernel =
        graph.initializer.iter().find(|tensor| tensor.name == node.input[1]).expect("its kernel").raw_data.clone();
    let at = onnx.windows(kernel.len()).position(|window| window == kernel).expect("in the file");
    let mut bytes = onnx.to_vec();
    let weight = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    bytes[at..at + 4].copy_from_slice(&(weight + 1.0).to_le_bytes());
    bytes
}

#[test]
fn other_shapes_and_unknown_names_are_reported() {
    let package = package();
    let input = input(&package);
    let mut golden = tract_tensors(&package, &input).expect("tract");
    let tensor = golden.0.get_mut("conv2d_5").expect("a layer");
    tensor.shape.swap(1, 2);
    let strange = golden.0.remove("re_lu_3").expect("a layer");
    golden.0.insert("of another net".into(), strange);
    let comparison = Comparison { input: &input, golden: Some(&golden), tolerance: 1e-4, isa: Isa::detect() };
    let parity = compare(&package, comparison).expect("runs");
    let first = parity.first_divergence().expect("another shape");
    assert_eq!((first.name.as_str(), first.golden_shape.as_deref()), ("conv2d_5", Some(&[1, 36, 72, 64][..])));
    assert_eq!(parity.unknown, ["of another net"]);
    let empty = Golden::default();
    let comparison = Comparison { golden: Some(&empty), ..comparison };
    assert!(compare(&package, comparison).expect("runs").first_divergence().is_none());
}
