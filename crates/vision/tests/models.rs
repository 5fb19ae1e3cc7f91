//! Loads and runs the small nets in `tests/fixtures/models`: every kind of model that a manifest
//! can describe, and every kind of broken model. The README there says what the nets compute.

use std::path::{Path, PathBuf};

use portraitd_vision::net::{ColorOrder, EngineChoice, EngineOptions, Library, Model, TensorLayout};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models").join(format!("{name}.toml"))
}

fn load(name: &str) -> Result<Model, String> {
    load_with(name, EngineChoice::Best)
}

fn load_with(name: &str, choice: EngineChoice) -> Result<Model, String> {
    let path = fixture(name).to_string_lossy().into_owned();
    let options = EngineOptions { choice, ..EngineOptions::default() };
    Library::default().load(&path, options).map_err(|error| error.to_string())
}

/// The picture of `red.png` as the net's input: red in columns 8..16 and rows 4..12.
fn red_picture(model: &Model) -> Vec<f32> {
    let spec = model.manifest().input;
    let mut input = vec![0.0; model.input_len()];
    let pixels = 32 * 18;
    for y in 0..18 {
        for x in 0..32 {
            let inside = (8..16).contains(&x) && (4..12).contains(&y);
            let rgb = if inside { [255.0, 32.0, 0.0] } else { [0.0, 64.0, 255.0] };
            for channel in 0..3 {
                let value = match spec.color_order {
                    ColorOrder::Rgb => rgb[channel],
                    ColorOrder::Bgr => rgb[2 - channel],
                };
                let value = (value / 255.0 - spec.mean[channel]) / spec.std[channel];
                match model.input_layout() {
                    TensorLayout::Nchw => input[channel * pixels + y * 32 + x] = value,
                    TensorLayout::Nhwc => input[(y * 32 + x) * 3 + channel] = value,
                }
            }
        }
    }
    input
}

#[test]
fn every_layout_order_and_activation_gives_the_same_mask() {
    for name in [
        "nhwc-probability",
        "nchw-logits",
        "nchw-two-logits",
        "nchw-two-probabilities",
        "nchw-classes",
        "nhwc-classes",
        "bgr-mean-std",
    ] {
        for choice in [EngineChoice::Best, EngineChoice::Tract] {
            let mut model = load_with(name, choice).expect(name);
            let mut mask = vec![0.5; 32 * 18];
            model.run(&red_picture(&model), &mut mask).expect(name);
            for (index, value) in mask.iter().enumerate() {
                let inside = (8..16).contains(&(index % 32)) && (4..12).contains(&(index / 32));
                let expected = if inside { 0.999_95 } else { 0.000_05 };
                assert!((value - expected).abs() < 1e-4, "{name}, {choice:?}, pixel {index}: {value}, not {expected}");
            }
        }
    }
}

#[test]
fn classes_and_coarser_masks() {
    for (name, scale) in [("nchw-argmax", 1), ("nchw-class-index", 1), ("nchw-half", 2)] {
        for choice in [EngineChoice::Best, EngineChoice::Tract] {
            let mut model = load_with(name, choice).expect(name);
            let (width, height) = (32 / scale, 18 / scale);
            assert_eq!((model.output_size().width, model.output_size().height), (width, height), "{name}");
            let mut mask = vec![0.5; (width * height) as usize];
            model.run(&red_picture(&model), &mut mask).expect(name);
            for y in 0..height {
                for x in 0..width {
                    let inside = (8..16).contains(&(x * scale)) && (4..12).contains(&(y * scale));
                    let value = mask[(y * width + x) as usize];
                    assert!((value - f32::from(inside)).abs() < 1e-4, "{name}, {choice:?}, {x} {y}: {value}");
                }
            }
        }
    }
}

#[test]
fn the_plan_takes_what_it_can_and_tract_takes_the_rest() {
    for (name, engine) in [
        ("nchw-logits", "plan"),
        ("nchw-two-probabilities", "plan"),
        ("nhwc-probability", "tract"),
        ("nchw-classes", "plan"),
        ("nchw-class-index", "tract"),
    ] {
        assert_eq!(load(name).expect(name).engine_name(), engine, "{name}");
    }
    let error = load_with("nhwc-probability", EngineChoice::Plan).expect_err("channels last");
    assert!(error.contains("nhwc-probability") && error.contains("channels first"), "{error}");
    for name in Library::default().names() {
        let model = Library::default().load(&name, EngineOptions::default()).expect("built in");
        assert_eq!(model.engine_name(), "plan", "{name}");
    }
}

#[test]
fn broken_models_are_refused_in_one_line_that_names_the_file() {
    let cases = [
        ("bad-truncated", "bad-truncated.onnx: not a whole ONNX file"),
        ("bad-unknown-operator", "Mystery"),
        ("bad-shape", "bad-shape.onnx: the input is 1x3x18x32, its manifest says 1x3x36x64"),
        ("bad-sha256", "its manifest says 0000"),
    ];
    for (name, expected) in cases {
        let error = load(name).expect_err(name);
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains(name), "{name}: {error}");
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = Library::default().load("selfie-portrait", EngineOptions::default()).expect_err("unknown");
    assert_eq!(error.to_string(), "no model named `selfie-portrait`; there are: selfie-landscape, selfie-general");
}

#[test]
fn the_built_in_models_load_and_give_probabilities() {
    for name in Library::default().names() {
        let mut model = Library::default().load(&name, EngineOptions::default()).expect("built in");
        let mut mask = vec![f32::NAN; usize::try_from(model.output_size().area()).expect("small")];
        model.run(&vec![0.5; model.input_len()], &mut mask).expect("runs");
        assert!(mask.iter().all(|value| (0.0..=1.0).contains(value)), "{name}");
    }
}
