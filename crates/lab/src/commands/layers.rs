//! `portraitd-lab layers`: where does a net go wrong? Every tensor of one run, compared between the engines and with a file
//! of another framework's tensors.

use std::path::PathBuf;

use anyhow::{Context, bail};
use portraitd_kernels::simd::Isa;
use portraitd_lab::layers::{Comparison, Difference, Golden, Layer, compare};
use portraitd_media::{OwnedPicture, image, packed_bytes};
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::library;
use portraitd_vision::observer::sample_input;
use serde_json::{Value, json};

use super::{library_in, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model's name, or the path of a manifest
    #[arg(value_name = "MODEL", default_value = library::DEFAULT_MODEL)]
    model: String,
    /// A directory of models, looked at before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// The picture to run on (PNG, JPEG); without it, a frame of the scene `still`
    #[arg(long, value_name = "IMAGE")]
    input: Option<PathBuf>,
    /// Tensors of another framework, by name (models/golden.py writes them)
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// How much may differ, as a share of a tensor's largest number (of 1 if that is less)
    #[arg(long, default_value_t = 1e-4, value_parser = tolerance)]
    tolerance: f32,
    /// The plan's instruction set: scalar, avx2, avx512, neon, rvv; without it, the CPU's best
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A frame with a person, without any file.
fn scene_frame() -> anyhow::Result<OwnedPicture> {
    let scene = Scene::new(&SceneOptions::parse("still")?)?;
    let format = scene.format();
    let mut bytes = vec![0; packed_bytes(format.pixel_format, format.size)];
    scene.render(0, &mut Scratch::default(), &mut bytes);
    Ok(OwnedPicture::new(format.pixel_format, format.size, format.color, bytes)?)
}

fn tolerance(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("must be 0 or more".into()) }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let library = library_in(arguments.models_dir.as_deref())?;
    let package = library.read(&arguments.model)?;
    let manifest = &package.manifest;
    let isa = Isa::choose(arguments.isa.as_deref())?;
    let golden = arguments.golden.as_deref().map(Golden::read).transpose()?;
    let picture = match &arguments.input {
        Some(path) => image::read(path)?,
        None => scene_frame()?,
    };
    let input = sample_input(manifest, &picture.as_picture())?;
    let comparison = Comparison { input: &input, golden: golden.as_ref(), tolerance: arguments.tolerance, isa };
    let parity = compare(&package, comparison)?;
    if golden.is_some() && !parity.layers.iter().any(|layer| layer.golden.is_some() || layer.golden_shape.is_some()) {
        let file = arguments.golden.as_ref().context("given")?.display();
        bail!("{file}: has no tensor of {}; the first of its names: {:?}", manifest.name, parity.unknown.first());
    }
    let first = parity.first_divergence();
    if arguments.json {
        print_line(json!({
            "model": manifest.name,
            "isa": parity.plan.as_ref().ok().map(|isa| isa.name()),
            "unsupported": parity.plan.as_ref().err().map(ToString::to_string),
            "layers": parity.layers.iter().map(layer_json).collect::<Vec<_>>(),
            "not_in_the_net": parity.unknown,
            "first_divergence": first.map(|layer| &layer.name),
        }))?;
    } else {
        print_line(format_args!(
            "{:<44} {:<10} {:>16}  {:>9}  {:>9}",
            "tensor", "operator", "shape", "plan", "golden"
        ))?;
        for layer in &parity.layers {
            let shape = layer.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
            let column = |difference: &Option<Difference>| match difference {
                Some(found) => format!("{:.1e}{}", found.max, if found.diverges { "!" } else { " " }),
                None => "- ".into(),
            };
            let golden = if layer.golden_shape.is_some() { "shape!".into() } else { column(&layer.golden) };
            let (name, op, plan) = (&layer.name, &layer.op, column(&layer.plan));
            print_line(format_args!("{name:<44} {op:<10} {shape:>16}  {plan:>9}  {golden:>9}"))?;
        }
        match &parity.plan {
            Ok(isa) => {
                let count = parity.layers.iter().filter(|layer| layer.plan.is_some()).count();
                print_line(format_args!("\nplan ({isa}) against tract: {count} tensors that the plan has"))?;
            }
            Err(unsupported) => print_line(format_args!("\nruns on tract: {unsupported}"))?,
        }
        if !parity.unknown.is_empty() {
            print_line(format_args!("not in the net: {}", parity.unknown.join(", ")))?;
        }
    }
    match first {
        None => Ok(()),
        Some(layer) => bail!("the first tensor that diverges is {}", what_diverges(layer)),
    }
}

fn what_diverges(layer: &Layer) -> String {
    let Layer { name, op, shape, .. } = layer;
    let start = format!("`{name}` ({op}, {shape:?})");
    if let Some(other) = &layer.golden_shape {
        return format!("{start}: the golden file has it as {other:?}");
    }
    match (&layer.golden, &layer.plan) {
        (Some(found), _) if found.diverges => format!("{start}, tract against the golden file: {found}"),
        (_, Some(found)) => format!("{start}, the plan against tract: {found}"),
        _ => start,
    }
}

fn layer_json(layer: &Layer) -> Value {
    let difference = |difference: &Option<Difference>| {
        difference.as_ref().map(|found| {
            json!({ "max": found.max, "mean": found.mean, "at": found.at, "actual": found.actual,
                    "expected": found.expected, "diverges": found.diverges })
        })
    };
    json!({
        "name": layer.name, "op": layer.op, "shape": layer.shape, "plan": difference(&layer.plan),
        "golden": difference(&layer.golden), "golden_shape": layer.golden_shape,
    })
}
