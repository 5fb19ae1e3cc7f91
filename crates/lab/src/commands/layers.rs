//! `portraitd-lab layers`: finds the tensor at which a net diverges. It compares every tensor of
//! one run between the engines, and with a file of tensors from another framework.

use std::path::PathBuf;

use anyhow::{Context, bail};
use portraitd_kernels::simd::Isa;
use portraitd_lab::layers::{Comparison, Difference, Golden, LayerComparison, compare};
use portraitd_media::{OwnedPicture, image, packed_bytes};
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::DEFAULT_MODEL;
use portraitd_vision::sample_input;
use serde_json::{Value, json};

use super::{library_in, print_line};

const EXAMPLES: &str = "\
Example: compare with ONNX Runtime

  python3 models/golden.py models/selfie-landscape.toml photo.jpg golden.npz
  portraitd-lab layers selfie-landscape --input photo.jpg --golden golden.npz";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The name of a model, or the path of a manifest
    #[arg(value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// A directory of models, searched before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// The input picture (PNG or JPEG); the default is a frame of the scene `still`
    #[arg(long, value_name = "IMAGE")]
    input: Option<PathBuf>,
    /// The tensors of another framework, by name, as models/golden.py writes them
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// The allowed difference, relative to the largest number of the tensor, or to 1 if that is
    /// larger
    #[arg(long, default_value_t = 1e-4, value_parser = tolerance)]
    tolerance: f32,
    /// The instruction set of the fused plan: scalar, avx2, avx512, neon or rvv; the default is the
    /// best of this CPU
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The default input: a frame with a person.
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
        bail!(
            "{file}: contains no tensor of {}; the first name in the file is {:?}",
            manifest.name,
            parity.unknown.first()
        );
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
                print_line(format_args!("\nplan ({isa}) compared with tract: {count} tensors"))?;
            }
            Err(unsupported) => print_line(format_args!("\nthe net runs on tract only: {unsupported}"))?,
        }
        if !parity.unknown.is_empty() {
            print_line(format_args!("not in the net: {}", parity.unknown.join(", ")))?;
        }
    }
    match first {
        None => Ok(()),
        Some(layer) => bail!("the first tensor that diverges is {}", describe_divergence(layer)),
    }
}

fn describe_divergence(layer: &LayerComparison) -> String {
    let LayerComparison { name, op, shape, .. } = layer;
    let start = format!("`{name}` ({op}, {shape:?})");
    if let Some(other) = &layer.golden_shape {
        return format!("{start}: its shape in the golden file is {other:?}");
    }
    match (&layer.golden, &layer.plan) {
        (Some(found), _) if found.diverges => format!("{start}, tract compared with the golden file: {found}"),
        (_, Some(found)) => format!("{start}, the plan compared with tract: {found}"),
        _ => start,
    }
}

fn layer_json(layer: &LayerComparison) -> Value {
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
