//! `portraitd run`: the service.
//!
//! The main thread runs a current-thread tokio runtime for D-Bus, signals, hotplug, the watchdog
//! and metrics. It never touches a pixel. The capture, vision and render threads belong to the
//! cameras.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::BoxFuture;
use portraitd::pipeline::{Camera, CameraOptions, Reconfiguration, STOP_WITHIN, Turns, load_model, start_workers};
use portraitd::publish::RingBudget;
use portraitd::publish::dbus::authority::{AllowAll, Authority, Polkit};
use portraitd::publish::dbus::service::{CameraService, ManagerService};
use portraitd::publish::dbus::{Bus, Publication, Server, serve};
use portraitd::service::allocator;
use portraitd::service::config::{BusConfig, CameraConfig, Config, ConfigSources, Flags};
use portraitd::service::crash::CrashGuard;
use portraitd::service::log_limit;
use portraitd::service::logging;
use portraitd::service::logging::Logging;
use portraitd::service::metrics::{Report, replace_file};
use portraitd::service::notify;
use portraitd::service::notify::{Verdict, Watchdog};
use portraitd::service::panics::answered;
use portraitd::service::privacy::PrivacyNotes;
use portraitd::service::status_line::{CameraLine, StatusLine};
use portraitd::source::provider::Desk;
use portraitd::source::{SourceAndDesk, SourceSpec};
use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::ServiceError;
use portraitd_v4l2::watch::DeviceWatch;
use portraitd_vision::net::{EngineOptions, Library, Model};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{library_of, start_error};

/// The interval in which metrics are written, the status line is updated, and freed memory is given
/// back.
const REPORT_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  portraitd run                                      on the system bus, as a service
  portraitd run --bus session --source scene:walk
  portraitd run --bus session --source file:talk.y4m?loop
  ffmpeg -i talk.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | portraitd run --bus session --source -
  dbus-run-session -- portraitd run --bus session    where there is no session bus";

#[derive(Debug, clap::Args)]
#[command(after_help = super::sources_help(EXAMPLES))]
pub(super) struct Arguments {
    /// Read this file instead of those in /usr/lib/portraitd and /etc/portraitd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The source of the one camera: a device, auto, scene[:NAME], file:PATH, or - for y4m on
    /// standard input
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// The bus with the control interfaces: system, session, none, or a D-Bus address
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// What is logged: a level, or directives like `info,portraitd::pipeline=debug`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Threads of one inference pass: 1 or 2
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// A directory of models, searched before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<String>,
    /// File to which the metrics are written as Prometheus text
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<String>,
}

impl Arguments {
    fn sources(self) -> ConfigSources {
        let Self { config, source, bus, log, threads, models_dir, metrics_file } = self;
        ConfigSources::system(config, Flags { source, bus, log, threads, models_dir, metrics_file })
    }
}

/// Makes sure that no core dump is written, whatever the limits and the system's settings are: it
/// would contain pictures of the room. As a consequence, other processes of the same user can neither
/// trace this one nor read its memory or its descriptors under `/proc`.
///
/// # Errors
/// If the system refuses.
fn forbid_core_dumps() -> anyhow::Result<()> {
    // Before Linux 6.4 rustix reads this from /proc/self/auxv, once. Afterwards that file belongs to
    // root, and the first ring that an unprivileged service makes would panic.
    let _ = rustix::param::page_size();
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context("core dumps cannot be forbidden")?;
    let limit = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // The unit's filter of system calls refuses this, and the unit sets the same limit itself.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, limit);
    Ok(())
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    allocator::configure();
    forbid_core_dumps()?;
    let bus = arguments.bus.clone();
    let started = start(arguments);
    if let Err(error) = &started {
        start_error::tell(bus.as_deref(), error);
    }
    started
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let sources = arguments.sources();
    let config = Config::load(&sources)?;
    let logging = Arc::new(logging::init(&config.log)?);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let guard = CrashGuard::from_environment();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the tokio runtime")?;
    let done = runtime.block_on(serve_cameras(sources, config, guard.safe_mode(), logging));
    // Blocking tasks, such as the loading of a model, end with the process.
    runtime.shutdown_background();
    // Exiting with a reported error, such as a missing bus, does not count as a crash: safe mode
    // would not help.
    if let Err(error) = guard.end() {
        warn!("the record of this start cannot be removed, so it will count as a crash: {error}");
    }
    done
}

/// What cameras are made from, at the start and by a reload.
struct CameraFactory {
    library: Library,
    engine: EngineOptions,
    turns: Turns,
    budget: RingBudget,
    privacy: PrivacyNotes,
    /// The cameras run without a net, because the service has crashed repeatedly.
    safe_mode: bool,
    watchdog: Mutex<Watchdog>,
}

impl CameraFactory {
    fn watchdog(&self) -> MutexGuard<'_, Watchdog> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source of a camera, and where its frames are offered if another program provides them.
    fn source(settings: &CameraConfig) -> anyhow::Result<SourceAndDesk> {
        let spec: SourceSpec = settings.device.parse().with_context(|| format!("camera {}", settings.name))?;
        Ok(spec.into_source_and_desk())
    }

    fn options(&self, settings: &CameraConfig, model: Option<Model>, desk: Option<Arc<Desk>>) -> CameraOptions {
        let progress = ["capture", "vision"].map(|part| self.watchdog().watch(&format!("{part} of {}", settings.name)));
        CameraOptions {
            config: settings.clone(),
            library: self.library.clone(),
            budget: self.budget.clone(),
            engine: self.engine,
            turns: self.turns.clone(),
            model,
            privacy: self.privacy.clone(),
            desk,
            progress,
        }
    }

    /// Starts a camera with the service, before there is a bus.
    fn start(&self, settings: &CameraConfig) -> anyhow::Result<Camera> {
        let (source, desk) = Self::source(settings)?;
        let model = if self.safe_mode {
            warn!(
                camera = settings.name,
                "three crashes within a minute: safe mode, the camera runs without inference"
            );
            None
        } else {
            Some(self.library.load(&settings.segmentation.model, self.engine)?)
        };
        let failed = |error| anyhow::anyhow!("camera {}: {error}", settings.name);
        let camera = Camera::start(self.options(settings, model, desk), source).map_err(failed)?;
        camera.start_outputs().map_err(failed)?;
        Ok(camera)
    }

    /// Starts a camera for a reload: whatever is wrong with its settings is an error. Its outputs
    /// are not opened yet.
    async fn start_for_reload(&self, settings: &CameraConfig) -> Result<Camera, ServiceError> {
        let (source, desk) =
            Self::source(settings).map_err(|error| ServiceError::InvalidArgument(format!("{error:#}")))?;
        let model = if self.safe_mode {
            None
        } else {
            Some(load_model(self.library.clone(), settings.segmentation.model.clone(), self.engine).await?)
        };
        Camera::start_checked(self.options(settings, model, desk), source).await
    }
}

/// The cameras, and what a reload needs.
struct Manager {
    sources: ConfigSources,
    factory: CameraFactory,
    cameras: Mutex<Vec<Arc<Camera>>>,
    config: Mutex<Config>,
    /// The objects on the bus; `None` without a bus.
    server: Mutex<Option<Arc<Server>>>,
    logging: Arc<Logging>,
    /// Why the last reload was refused; `None` after a good one.
    refused: Mutex<Option<String>>,
    /// For the frame rates of the status line.
    status: Mutex<StatusLine>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

/// What a reload does to the cameras. Everything in it has been read and checked.
struct ReloadPlan {
    /// All cameras of the new configuration, in its order.
    cameras: Vec<Arc<Camera>>,
    reconfigured: Vec<(Arc<Camera>, Reconfiguration)>,
    removed: Vec<Arc<Camera>>,
    /// Started, but without their outputs and not on the bus yet.
    added: Vec<Arc<Camera>>,
}

impl Manager {
    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cameras(&self) -> Vec<Arc<Camera>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again and puts all of it into effect, or nothing. A refusal stays in
    /// the status line until a reload succeeds.
    async fn reload(&self) -> Result<(), ServiceError> {
        let _turn = self.turn.lock().await;
        let outcome = answered(self.reload_in_turn()).await;
        if let Err(error) = &outcome {
            error!("the configuration was not reloaded and the old one stays in force: {error}");
        }
        *self.refused() = outcome.as_ref().err().map(ToString::to_string);
        let _ = notify::status(&self.status_line());
        outcome
    }

    /// Settings that need a restart are logged.
    async fn reload_in_turn(&self) -> Result<(), ServiceError> {
        let next = Config::load(&self.sources).map_err(|error| ServiceError::InvalidArgument(error.to_string()))?;
        // Whatever can fail does so here, before anything has changed.
        let plan = self.plan_reload(&next).await?;
        for (camera, new) in plan.reconfigured {
            camera.reconfigure(new);
        }
        for camera in &plan.removed {
            self.remove(camera).await;
        }
        for camera in &plan.added {
            self.add(camera).await;
        }
        *self.cameras.lock().unwrap_or_else(PoisonError::into_inner) = plan.cameras;
        for warning in &next.warnings {
            warn!("{warning}");
        }
        if let Err(error) = self.logging.set_filter(&next.log) {
            warn!("{error}");
        }
        let mut config = self.config();
        for change in fixed_changes(&config, &next) {
            warn!("{change} changes with a restart only: restart the service to apply it");
        }
        *config = next;
        drop(config);
        info!("configuration reloaded");
        Ok(())
    }

    /// Reads and checks everything that the cameras of a new configuration need, and starts the new
    /// ones.
    async fn plan_reload(&self, next: &Config) -> Result<ReloadPlan, ServiceError> {
        let mut old = self.cameras();
        let old_settings = self.config().cameras.clone();
        let mut plan =
            ReloadPlan { cameras: Vec::new(), reconfigured: Vec::new(), removed: Vec::new(), added: Vec::new() };
        for settings in &next.cameras {
            // A camera with another device or other outputs is another camera of the same name.
            let is_same = |other: &CameraConfig| {
                other.name == settings.name && other.device == settings.device && other.outputs == settings.outputs
            };
            let kept = old_settings.iter().any(is_same);
            let camera = match old.iter().position(|camera| kept && camera.name() == settings.name) {
                Some(index) => {
                    let camera = old.remove(index);
                    let new = camera.prepare(settings).await?;
                    plan.reconfigured.push((Arc::clone(&camera), new));
                    camera
                }
                None => {
                    let camera = Arc::new(self.factory.start_for_reload(settings).await?);
                    plan.added.push(Arc::clone(&camera));
                    camera
                }
            };
            plan.cameras.push(camera);
        }
        plan.removed = old;
        Ok(plan)
    }

    /// Takes a camera off the bus, closes its rings, and waits until its devices are closed.
    async fn remove(&self, camera: &Arc<Camera>) {
        let server = self.server().clone();
        if let Some(server) = server
            && let Err(error) = server.remove_camera(camera.name()).await
        {
            warn!(camera = camera.name(), "the camera cannot be removed from the bus: {error}");
        }
        camera.close();
        let (stopped, (done, ended)) = (Arc::clone(camera), tokio::sync::oneshot::channel::<()>());
        let stop = move || {
            stopped.stop();
            drop(done);
        };
        // Not a worker: closing a device may take as long as its driver likes.
        match std::thread::Builder::new().name("stop-camera".into()).spawn(stop) {
            Ok(_) => drop(ended.await),
            Err(error) => warn!(camera = camera.name(), "the camera's threads end later: {error}"),
        }
        info!(camera = camera.name(), "camera removed");
    }

    /// Opens the outputs of a camera and puts it on the bus.
    async fn add(&self, camera: &Arc<Camera>) {
        if let Err(error) = camera.start_outputs() {
            error!(camera = camera.name(), "the camera runs without all of its outputs: {error}");
        }
        let server = self.server().clone();
        if let Some(server) = server
            && let Err(error) = server.add_camera(Arc::clone(camera) as Arc<dyn CameraService>).await
        {
            error!(camera = camera.name(), "the camera cannot be put on the bus: {error}");
        }
        info!(camera = camera.name(), "camera added");
    }

    /// The status line that the service manager shows.
    fn status_line(&self) -> String {
        let lines: Vec<CameraLine> = self.cameras().iter().map(|camera| camera.line()).collect();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let line = status.at(Instant::now(), self.factory.safe_mode, &lines);
        match self.refused().as_ref() {
            Some(reason) => format!("reload refused: {reason}; {line}"),
            None => line,
        }
    }

    fn ask_watchdog(&self) -> Verdict {
        self.factory.watchdog().ask(monotonic_ns())
    }

    /// Reloads because of a signal, and reports to the service manager.
    async fn reload_and_tell(&self) {
        let _ = notify::reloading();
        // A refusal is logged, and in the status line.
        let _ = self.reload().await;
        let _ = notify::ready(&self.status_line());
    }
}

impl ManagerService for Manager {
    fn reload(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(self.reload())
    }
}

/// The keys of the settings that differ and are read only at the start.
fn fixed_changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let mut differs = |key: &str, differs: bool| changes.extend(differs.then(|| format!("`{key}`")));
    differs("bus", old.bus != new.bus);
    differs("models_dir", old.models_dir != new.models_dir);
    differs("threads", old.threads != new.threads);
    changes
}

/// The bus that the configuration names.
pub(super) fn bus_of(config: &BusConfig) -> Bus {
    match config {
        BusConfig::System => Bus::System,
        BusConfig::Session => Bus::Session,
        BusConfig::None => Bus::None,
        BusConfig::Address(address) => Bus::Address(address.clone()),
    }
}

/// Who may see streams. A session bus has only programs of the same user. On every other bus polkit
/// decides; without polkit, the user of the caller decides.
fn authority_for(bus: &Bus) -> Arc<dyn Authority> {
    match bus {
        Bus::Session | Bus::None => Arc::new(AllowAll),
        _ => Arc::new(Polkit::default()),
    }
}

async fn serve_cameras(
    sources: ConfigSources,
    config: Config,
    safe_mode: bool,
    logging: Arc<Logging>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let real_watchdog = Watchdog::from_environment(monotonic_ns());
    let fed = real_watchdog.is_some();
    // Without a service manager the threads report to a watchdog that never expires.
    let watchdog = real_watchdog.unwrap_or_else(|| Watchdog::new(u64::MAX, monotonic_ns()));
    // The configuration accepts 1 and 2 only.
    let threads = usize::try_from(config.threads).unwrap_or(1);
    let factory = CameraFactory {
        library: library_of(&config)?,
        engine: EngineOptions { threads, ..EngineOptions::default() },
        turns: Turns::of_this_machine(threads),
        budget: RingBudget::default(),
        privacy: PrivacyNotes::from_environment(),
        safe_mode,
        watchdog: Mutex::new(watchdog),
    };
    start_workers().context("cannot start the worker threads")?;
    let mut cameras = Vec::new();
    for settings in &config.cameras {
        cameras.push(Arc::new(factory.start(settings)?));
    }
    let bus = bus_of(&config.bus);
    let manager = Arc::new(Manager {
        sources,
        factory,
        cameras: Mutex::new(cameras.clone()),
        config: Mutex::new(config),
        server: Mutex::default(),
        logging,
        refused: Mutex::default(),
        status: Mutex::default(),
        turn: tokio::sync::Mutex::default(),
    });
    let publication = Publication {
        manager: Arc::clone(&manager) as Arc<dyn ManagerService>,
        cameras: cameras.iter().map(|camera| Arc::clone(camera) as Arc<dyn CameraService>).collect(),
        authority: authority_for(&bus),
    };
    let authority = Arc::clone(&publication.authority);
    // Signals are handled before the name appears on the bus: a program that sees the name may send
    // one.
    let signals = Signals::new()?;
    let server = {
        // A reload that is requested as soon as the name appears waits for the turn.
        let _turn = manager.turn.lock().await;
        let server = match bus {
            Bus::None => None,
            _ => Some(Arc::new(serve(&bus, publication).await?)),
        };
        manager.server().clone_from(&server);
        server
    };
    if let Err(error) = notify::ready(&manager.status_line()) {
        warn!("the service manager cannot be notified that the service is ready: {error}");
    }
    if let Some(server) = &server
        && let Some(outage) = authority.outage(server.connection()).await
    {
        warn!("{outage}");
    }
    info!(cameras = cameras.len(), safe_mode, "ready");
    drop(cameras);
    let ended = main_loop(&manager, fed, started, server.as_deref(), signals).await;
    let _ = notify::stopping();
    // Rings are closed first, while the bus is still connected, so that clients learn of the end
    // from their rings.
    let cameras = manager.cameras();
    cameras.iter().for_each(|camera| camera.close());
    // One limit for all of them. Threads that do not end by then end with the process.
    let deadline = Instant::now() + STOP_WITHIN;
    for camera in &cameras {
        camera.stop_until(deadline);
    }
    // The objects refer to the manager and the manager to the objects.
    drop(manager.server().take());
    drop(server);
    info!("stopped");
    ended
}

/// The signals that end the service or reload its configuration.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn main_loop(
    manager: &Arc<Manager>,
    fed: bool,
    started: Instant,
    server: Option<&Server>,
    Signals { mut terminate, mut interrupt, mut hangup }: Signals,
) -> anyhow::Result<()> {
    let mut report = tokio::time::interval(REPORT_EVERY);
    let factory = &manager.factory;
    let ask_every =
        if fed { Duration::from_nanos(factory.watchdog().ask_every_ns()) } else { Duration::from_secs(3600) };
    let mut ask = tokio::time::interval(ask_every);
    let devices = DeviceWatch::new()
        .inspect_err(|error| warn!("/dev cannot be watched, so new devices are found only by retries: {error}"))
        .ok();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                let manager = Arc::clone(manager);
                tokio::spawn(async move { manager.reload_and_tell().await });
            }
            // No client can reach the service any more. After a restart it connects to the bus
            // again.
            () = bus_closed(server) => anyhow::bail!("the connection to the bus has ended; the service must be started again"),
            changed = watch_devices(devices.as_ref()) => match changed {
                Ok(()) => manager.cameras().iter().for_each(|camera| camera.retry_now()),
                Err(error) => warn!("changes of /dev cannot be read: {error}"),
            },
            _ = ask.tick(), if fed => match manager.ask_watchdog() {
                Verdict::Feed => drop(notify::feed()),
                Verdict::Wait => {}
                Verdict::Stuck(names) => error!("these threads make no progress: {}; the service manager will restart the service", names.join(", ")),
            },
            _ = report.tick() => {
                factory.budget.sweep();
                allocator::trim();
                log_limit::report_left_out();
                let cameras = manager.cameras();
                let _ = notify::status(&manager.status_line());
                let metrics_file = manager.config().metrics_file.clone();
                if let Some(path) = &metrics_file {
                    let uptime_s = started.elapsed().as_secs_f64();
                    let report = Report {
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        uptime_s,
                        safe_mode: factory.safe_mode,
                        cameras: cameras.iter().map(|camera| camera.report(uptime_s)).collect(),
                    };
                    if let Err(error) = replace_file(path, report.to_text().as_bytes()) {
                        warn!("the metrics file {} cannot be written: {error}", path.display());
                    }
                }
            }
        }
    }
}

/// Waits for the end of the connection to the bus. Without a connection it waits forever.
async fn bus_closed(server: Option<&Server>) {
    match server {
        Some(server) => server.closed().await,
        None => std::future::pending().await,
    }
}

/// Waits for a change in `/dev`. If `/dev` is not watched, it waits forever.
async fn watch_devices(devices: Option<&DeviceWatch>) -> std::io::Result<()> {
    match devices {
        Some(devices) => devices.changed().await,
        None => std::future::pending().await,
    }
}
