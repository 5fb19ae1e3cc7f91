//! `portraitd-lab bench`: measures the speed on this board. Each figure is the wall-clock time of
//! the work of the service for one frame. Nothing is compared or asserted; `benches/` does that.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use portraitd_kernels::nn::dump;
use portraitd_kernels::simd::Isa;
use portraitd_media::{OwnedPicture, packed_bytes};
use portraitd_protocol::settings::THREADS;
use portraitd_render::Chain;
use portraitd_scene::{Scene, SceneOptions, Scratch};
use portraitd_vision::net::{EngineChoice, EngineOptions, Model};
use portraitd_vision::sample_input;
use serde_json::json;

use super::{ModelArguments, print_line};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subcommand {
    /// One inference of the net
    Net,
    /// Sampling a 1280x720 NV12 frame to the input of the net, and one inference
    Look,
    /// The whole path from a 1280x720 NV12 frame to a 1280x720 view while a person walks: infer,
    /// smooth, find people, direct, crop and scale
    Path,
    /// The same as `path`, on a still scene with sensor noise
    Still,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// The fused plan
    Plan,
    /// The tract library
    Tract,
}

const EXAMPLES: &str = "\
Examples:
  portraitd-lab bench
  portraitd-lab bench path --iterations 1000 --json
  portraitd-lab bench net --model selfie-general --engine plan --isa scalar";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "net")]
    what: Subcommand,
    #[command(flatten)]
    model: ModelArguments,
    /// The number of runs; a tenth more runs come first and are not counted
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    iterations: u32,
    /// The instruction set of the fused plan: scalar, avx2, avx512, neon or rvv; the default is the
    /// best of this CPU
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// The number of threads of the fused plan
    #[arg(long, value_name = "N", default_value_t = THREADS.default, value_parser = clap::value_parser!(u32).range(i64::from(THREADS.lowest)..=i64::from(THREADS.highest)))]
    threads: u32,
    /// The engine; the default is the one that the service chooses
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Run once for each line on standard input and print the time in milliseconds, so that a
    /// script can alternate between programs
    #[arg(long, hide = true)]
    on_line: bool,
    /// Write the net's input (in the manifest's layout) and its output to this directory, as raw
    /// little-endian `f32`, and the program of the plan
    #[arg(long, hide = true, value_name = "DIR")]
    exchange: Option<PathBuf>,
}

/// The number of frames. They are rendered before the measurement, since a camera would deliver
/// them. In these frames of the scene `walk`, the person walks.
const FRAMES: u64 = 60;
/// The first of these frames.
const FIRST: u64 = 60;

impl Subcommand {
    /// What is timed, as the beginning of the result.
    fn timed(self) -> &'static str {
        match self {
            Self::Net => "one inference",
            Self::Look => "sampling a 1280x720 frame, and one inference",
            Self::Path => "from a 1280x720 frame to a 1280x720 view, while a person walks",
            Self::Still => "from a 1280x720 frame to a 1280x720 view, on a still scene with noise",
        }
    }

    fn is_path(self) -> bool {
        matches!(self, Self::Path | Self::Still)
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let choice = match arguments.engine {
        None => EngineChoice::Best,
        Some(EngineName::Plan) => EngineChoice::Plan,
        Some(EngineName::Tract) => EngineChoice::Tract,
    };
    let isa = arguments.isa.as_deref().map(|name| Isa::choose(Some(name))).transpose()?;
    let started = Instant::now();
    let model = arguments
        .model
        .library()?
        .load(&arguments.model.model, EngineOptions { choice, isa, threads: usize::try_from(arguments.threads)? })?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let (name, engine, isa) = (model.manifest().name.clone(), model.engine_name(), model.isa());
    let threads = model.threads();
    let mut work = Work::new(arguments.what, model)?;
    if let Some(directory) = &arguments.exchange {
        work.exchange(directory)?;
    }
    let mut once = || -> anyhow::Result<f64> {
        let started = Instant::now();
        work.once()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    if arguments.on_line {
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            line?;
            writeln!(out, "{}", once()?)?;
            out.flush()?;
        }
        return Ok(());
    }
    for _ in 0..arguments.iterations.div_ceil(10) {
        once()?;
    }
    let mut times = (0..arguments.iterations).map(|_| once()).collect::<anyhow::Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (median, least, p99) = (at(50), at(0), at(99));
    let isa = isa.map(|isa| isa.name());
    if arguments.json {
        return print_line(json!({
            "bench": arguments.what.to_possible_value().map(|value| value.get_name().to_owned()),
            "model": name, "engine": engine, "isa": isa, "threads": threads, "iterations": arguments.iterations,
            "median_ms": median, "min_ms": least, "p99_ms": p99, "load_ms": load_ms,
        }));
    }
    let isa = isa.map(|isa| format!(", {isa}")).unwrap_or_default();
    let isa = if threads > 1 { format!("{isa}, {threads} threads") } else { isa };
    print_line(format_args!(
        "{}, {} times: {name} ({engine}{isa}): median {median:.3} ms, least {least:.3} ms, 99 of 100 within \
         {p99:.3} ms; loaded in {load_ms:.0} ms",
        arguments.what.timed(),
        arguments.iterations
    ))
}

struct Work {
    what: Subcommand,
    chain: Chain,
    frames: Vec<OwnedPicture>,
    next: u64,
    out: OwnedPicture,
}

impl Work {
    fn new(what: Subcommand, model: Model) -> anyhow::Result<Self> {
        let name = if what == Subcommand::Still { "still" } else { "walk" };
        let scene = Scene::new(&SceneOptions::parse(name)?)?;
        let format = scene.format();
        let mut frames = Vec::new();
        for sequence in if what.is_path() { FIRST..FIRST + FRAMES } else { 0..1 } {
            let mut bytes = vec![0; packed_bytes(format.pixel_format, format.size)];
            scene.render(sequence, &mut Scratch::default(), &mut bytes);
            frames.push(OwnedPicture::new(format.pixel_format, format.size, format.color, bytes)?);
        }
        let mut chain = Chain::new(model)?;
        chain.observer_mut().infer(&frames[0].as_picture())?;
        Ok(Self {
            what,
            chain,
            frames,
            next: 0,
            out: OwnedPicture::zeroed(format.pixel_format, format.size, format.color)?,
        })
    }

    fn exchange(&self, directory: &Path) -> anyhow::Result<()> {
        let input = sample_input(self.chain.observer().model().manifest(), &self.frames[0].as_picture())?;
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let program = self.chain.observer().model().program().map(dump::write);
        let files = [
            ("input.f32", Some(bytes(&input))),
            ("output.f32", Some(bytes(self.chain.observer().probabilities()))),
            ("program", program),
        ];
        for (name, bytes) in files {
            let path = directory.join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn once(&mut self) -> anyhow::Result<()> {
        match self.what {
            Subcommand::Net => self.chain.observer_mut().repeat_inference()?,
            Subcommand::Look => drop(self.chain.observer_mut().infer(&self.frames[0].as_picture())?),
            Subcommand::Path | Subcommand::Still => {
                // The frames run forwards and backwards, so that nobody jumps.
                let at = self.next % (2 * FRAMES - 2);
                let index = usize::try_from(at.min(2 * FRAMES - 2 - at))?;
                let picture = self.frames[index].as_picture();
                let at_ns = self.next * 33_333_333;
                let crop = self.chain.step(&picture, self.next, at_ns)?.crop;
                self.chain.draw_view(&picture, crop, &mut self.out.as_picture_mut())?;
                self.next += 1;
            }
        }
        Ok(())
    }
}
