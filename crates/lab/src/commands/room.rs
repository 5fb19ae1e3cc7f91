//! `portraitd-lab room`: how much of the room composites show while the net is slow, and what that
//! costs in frames and latency. The clock is virtual; `docs/design/fail-closed.md` has the results.

use portraitd_lab::eval::room::{GreenRoom, Playing, Shown, play, truth_net};
use portraitd_media::Size;
use portraitd_protocol::BackgroundMode;
use portraitd_scene::{SceneName, SceneOptions};
use portraitd_vision::Observer;
use portraitd_vision::net::EngineOptions;
use serde_json::{Value, json};

use super::{ModelArguments, print_line};

/// The numbers of inference passes a second.
const PASSES: [u32; 6] = [2, 3, 4, 5, 10, 30];
const SIZE: Size = Size::new(640, 360);
const SECOND_NS: u64 = 1_000_000_000;

const EXAMPLES: &str = "\
Examples:
  portraitd-lab room
  portraitd-lab room --truth --seconds 3 --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Use a net that knows the truth instead of a real one
    #[arg(long)]
    truth: bool,
    /// The seconds of each scene that are played
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The figures of one row.
#[derive(Clone, Copy, Debug)]
struct Row {
    scene: SceneName,
    strict: bool,
    passes: u32,
    shown_per_s: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    /// The largest share of a composite that is room, and the number of composites with any.
    room_share: f64,
    room_frames: usize,
    /// The largest share that is room near people.
    edge_share: f64,
}

impl Row {
    fn of(scene: SceneName, strict: bool, passes: u32, seconds: u32, shown: &[Shown]) -> Self {
        let mut latencies: Vec<u64> = shown.iter().map(|shown| shown.latency_ns).collect();
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or(0.0, |latency| *latency as f64 * 1e-6)
        };
        let share = |pixels: fn(&Shown) -> u64| shown.iter().map(pixels).max().unwrap_or(0) as f64 / SIZE.area() as f64;
        Self {
            scene,
            strict,
            passes,
            shown_per_s: shown.len() as f64 / f64::from(seconds),
            latency_p50_ms: percentile(50),
            latency_p99_ms: percentile(99),
            room_share: share(|shown| shown.room_pixels),
            room_frames: shown.iter().filter(|shown| shown.room_pixels > 0).count(),
            edge_share: share(|shown| shown.edge_pixels),
        }
    }

    fn json(&self) -> Value {
        json!({
            "scene": self.scene.name(), "strict": self.strict, "passes_per_s": self.passes,
            "shown_per_s": self.shown_per_s, "latency_p50_ms": self.latency_p50_ms,
            "latency_p99_ms": self.latency_p99_ms, "room_share_max": self.room_share,
            "frames_with_room": self.room_frames, "edge_share_max": self.edge_share,
        })
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} | {} | {:.1} | {:.0} | {:.0} | {:.2} % | {} | {:.2} % |",
            self.scene,
            if self.strict { "yes" } else { "no" },
            self.passes,
            self.shown_per_s,
            self.latency_p50_ms,
            self.latency_p99_ms,
            self.room_share * 100.0,
            self.room_frames,
            self.edge_share * 100.0,
        )
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let library = arguments.model.library()?;
    let mut rows = Vec::new();
    for scene in [SceneName::Walk, SceneName::Vanish] {
        let options = SceneOptions { size: Some(SIZE), ..SceneOptions::new(scene) };
        let room = GreenRoom::render(&options, 0, u64::from(arguments.seconds) * 30)?;
        for strict in [true, false] {
            for passes in PASSES {
                let model = if arguments.truth {
                    truth_net(|| Ok(()))?
                } else {
                    library.load(&arguments.model.model, EngineOptions::default())?
                };
                // The default of `segmentation.budget_ms`.
                let budget_ns = 30_000_000;
                let playing = Playing { strict, budget_ns, output: SIZE, background: BackgroundMode::Color };
                let mut shown = Vec::new();
                let pass_ns = SECOND_NS / u64::from(passes);
                play(&room, &mut Observer::new(model)?, playing, |_| pass_ns, |composite| shown.push(composite))?;
                rows.push(Row::of(scene, strict, passes, arguments.seconds, &shown));
            }
        }
    }
    if arguments.json {
        return print_line(Value::Array(rows.iter().map(Row::json).collect()));
    }
    print_line(
        "| scene | strict | passes/s | shown/s | latency p50, ms | p99, ms | room | frames with room | room at edges |",
    )?;
    print_line("|---|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for row in &rows {
        print_line(row.line())?;
    }
    Ok(())
}
