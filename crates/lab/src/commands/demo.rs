//! `portraitd-lab demo`: the whole service on a synthetic scene with a known truth, without a
//! camera, a bus, root or the network. This process is the service and a child process is the
//! client. They use the interfaces of any other client: D-Bus, over a socket pair, and rings.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use portraitd::pipeline::{Camera, CameraOptions, Turns};
use portraitd::publish::RingBudget;
use portraitd::publish::dbus::authority::AllowAll;
use portraitd::publish::dbus::service::{CameraService, ManagerService};
use portraitd::publish::dbus::{Publication, serve_peer};
use portraitd::service::config;
use portraitd::service::notify::Watchdog;
use portraitd::service::privacy::PrivacyNotes;
use portraitd::source::SourceSpec;
use portraitd_media::Source;
use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::ServiceError;
use portraitd_scene::SceneOptions;
use portraitd_vision::net::EngineOptions;
use portraitd_vision::net::Library;
use serde_json::{Value, json};

use super::model::ModelArguments;
use super::print_line;
use super::scene::scene_options;

const EXAMPLES: &str = "\
Examples:
  portraitd-lab demo
  portraitd-lab demo --scene 'scene:two?size=640x360' --seconds 20 --out sheet";

#[derive(Debug, clap::Args)]
#[command(after_help = super::scenes(EXAMPLES))]
pub(super) struct Arguments {
    /// The directory for the contact sheet; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "portraitd-demo")]
    out: PathBuf,
    /// The scene and its options
    #[arg(long, value_name = "SCENE", default_value = "scene:walk")]
    scene: String,
    /// The duration in seconds
    #[arg(long, value_name = "S", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    #[command(flatten)]
    model: ModelArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Do not say what is going on
    #[arg(long, short)]
    quiet: bool,
}

/// The demo has no configuration that could be reloaded.
struct NoManager;

impl ManagerService for NoManager {
    fn reload(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async { Err(ServiceError::NotSupported("the demo has no configuration".into())) })
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = scene_options(&arguments.scene)?;
    super::results_directory(&arguments.out)?;
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    let mut figures = runtime.block_on(serve_demo(arguments, options))?;
    runtime.shutdown_background();
    let memory_mb = resident_peak_mb();
    if let Some(map) = figures.as_object_mut() {
        map.insert("rss_mb".into(), json!(memory_mb));
    }
    if arguments.json {
        return print_line(figures);
    }
    let number = |key: &str| figures[key].as_f64().unwrap_or_default();
    print_line(format_args!(
        "another process read {} frames of {} ({} torn, {} skipped)\n\
         mean IoU of the masks with the truth of the scene: {:.3}\n\
         first mask after {:.0} ms; {:.1} ms of CPU time per frame; at most {:.0} MB resident\n\
         {}",
        figures["client"]["frames"],
        arguments.scene,
        figures["client"]["torn"],
        figures["client"]["skipped"],
        number("iou_mean"),
        number("first_mask_ms"),
        number("cpu_ms_per_frame"),
        number("rss_mb"),
        figures["contact_sheet"].as_str().unwrap_or_default()
    ))
}

async fn serve_demo(arguments: &Arguments, scene: SceneOptions) -> anyhow::Result<Value> {
    if !arguments.quiet {
        eprintln!(
            "serving {} to a client in another process for {} s, to draw its streams",
            arguments.scene, arguments.seconds
        );
    }
    let started = Instant::now();
    let library = arguments.model.library()?;
    let model = library.load(&arguments.model.model, EngineOptions::default())?;
    let settings = config::CameraConfig {
        name: "demo".into(),
        device: arguments.scene.clone(),
        // The contact sheet shows the source stream, which here is a rendered scene.
        allow_source: true,
        // The figures must not depend on the load of this machine, so a large budget prevents
        // degradation.
        segmentation: config::SegmentationConfig { budget_ms: 1000.0, ..config::SegmentationConfig::default() },
        ..config::CameraConfig::default()
    };
    let camera = start_camera(settings, library, model, SourceSpec::Scene(scene).into_source())?;
    let (ours, theirs) = UnixStream::pair().context("socketpair")?;
    let theirs = OwnedFd::from(theirs);
    let sheet = arguments.out.join("contact-sheet.png");
    let program = std::env::current_exe().context("the path of this program")?;
    // The child inherits only this descriptor. It is closed here as soon as the child runs.
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
    let mut child = std::process::Command::new(program)
        .arg("demo-client")
        .args(["--fd", &theirs.as_raw_fd().to_string(), "--scene", &arguments.scene])
        .args(["--seconds", &arguments.seconds.to_string(), "--sheet"])
        .arg(&sheet)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the client process")?;
    drop(theirs);
    let publication = Publication {
        manager: Arc::new(NoManager),
        cameras: vec![Arc::clone(&camera) as Arc<dyn CameraService>],
        authority: Arc::new(AllowAll),
    };
    let server = serve_peer(ours.into(), publication).await.context("the connection to the client process")?;
    let first_mask = async {
        let mut state = camera.state();
        let _ = state.wait_for(|state| state.segmentation.present).await;
        started.elapsed()
    };
    let mut output = child.stdout.take().context("the client's output")?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut output, &mut text).map(|_| text)
    });
    let mut read = std::pin::pin!(read);
    let first_mask = tokio::select! {
        elapsed = first_mask => Some(elapsed),
        text = &mut read => {
            let text = text.context("the client's output")?.context("the client's output")?;
            let status = child.wait().context("the client process")?;
            bail!("the client process ended before the first mask ({status}) {}", text.trim());
        }
    };
    // The CPU time per frame counts from here, without the time to load the net.
    let before = (working_cpu_ms(), camera.report(1.0).frames);
    let text = read.await.context("the client's output")?.context("the client's output")?;
    let cpu_ms = working_cpu_ms() - before.0;
    let status = child.wait().context("the client process")?;
    let report = camera.report(1.0);
    drop(server);
    camera.stop();
    if !status.success() {
        bail!("the client process failed ({status})");
    }
    let mut figures: Value = serde_json::from_str(text.trim()).context("the client's figures")?;
    let frames = report.frames;
    if let Some(map) = figures.as_object_mut() {
        map.insert("frames".into(), json!(frames));
        map.insert("first_mask_ms".into(), json!(first_mask.map(|elapsed| elapsed.as_secs_f64() * 1e3)));
        map.insert("cpu_ms_per_frame".into(), json!(cpu_ms / (frames.saturating_sub(before.1).max(1) as f64)));
        map.insert("contact_sheet".into(), json!(sheet.display().to_string()));
    }
    Ok(figures)
}

fn start_camera(
    settings: config::CameraConfig,
    library: Library,
    model: portraitd_vision::net::Model,
    source: Box<dyn Source>,
) -> anyhow::Result<Arc<Camera>> {
    let mut watchdog = Watchdog::new(u64::MAX, monotonic_ns());
    let progress = ["capture", "vision"].map(|part| watchdog.watch(part));
    let options = CameraOptions {
        privacy: PrivacyNotes::default(),
        config: settings,
        library,
        budget: RingBudget::default(),
        engine: EngineOptions::default(),
        turns: Turns::of_this_machine(1),
        model: Some(model),
        desk: None,
        progress,
    };
    Ok(Arc::new(Camera::start(options, source).map_err(|error| anyhow::anyhow!("{error}"))?))
}

/// CPU time of this process in milliseconds, without the capture thread, which also renders the
/// scene.
fn working_cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let all = time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6;
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return all };
    let capture_ticks: u64 = tasks
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            // The name is in parentheses and may contain anything. The fields after it are numbers
            // (proc_pid_stat(5)).
            let (head, fields) = text.rsplit_once(')')?;
            if !head.contains("(capture") {
                return None;
            }
            let mut fields = fields.split_whitespace().skip(11);
            Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
        })
        .sum();
    all - capture_ticks as f64 * 1e3 / rustix::param::clock_ticks_per_second() as f64
}

/// The peak resident memory of this process in MB (10^6 bytes).
fn resident_peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0 / 1e6
}
