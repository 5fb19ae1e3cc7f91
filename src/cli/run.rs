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
use portraitd::pipeline::{Camera, CameraOptions};
use portraitd::publish::RingBudget;
use portraitd::publish::dbus::authority::{AllowAll, Authority, Polkit};
use portraitd::publish::dbus::service::{CameraService, ManagerService};
use portraitd::publish::dbus::{Bus, Publication, Server, serve};
use portraitd::service::config::{BusConfig, Config, ConfigSources, Flags};
use portraitd::service::crash::CrashGuard;
use portraitd::service::logging;
use portraitd::service::logging::Logging;
use portraitd::service::metrics::{Report, replace_file};
use portraitd::service::notify;
use portraitd::service::notify::{Verdict, Watchdog};
use portraitd::source::SourceSpec;
use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::ServiceError;
use portraitd_v4l2::watch::DeviceWatch;
use portraitd_vision::net::EngineOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::library_of;

/// The interval in which metrics are written and the status line is updated.
const REPORT_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read this file instead of those in /usr/lib/portraitd and /etc/portraitd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The source of the one camera: a device, auto, scene[:NAME], file:PATH
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

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
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

/// The state that a reload needs.
struct Manager {
    sources: ConfigSources,
    cameras: Vec<Arc<Camera>>,
    config: Mutex<Config>,
    logging: Arc<Logging>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Manager {
    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again and applies it to the cameras, either completely or not at
    /// all. Changes that need a restart are logged.
    async fn reload(&self) -> Result<(), ServiceError> {
        let _turn = self.turn.lock().await;
        let next = Config::load(&self.sources).map_err(|error| ServiceError::InvalidArgument(error.to_string()))?;
        // Everything that can fail comes first, before anything changes.
        let mut prepared = Vec::new();
        for camera in &self.cameras {
            if let Some(settings) = next.cameras.iter().find(|settings| settings.name == camera.name()) {
                prepared.push((camera, camera.prepare(settings).await?));
            }
        }
        for (camera, new) in prepared {
            camera.reconfigure(new);
        }
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

    /// Reloads because of a signal, and reports to the service manager.
    async fn reload_and_tell(&self) {
        let _ = notify::reloading();
        if let Err(error) = self.reload().await {
            error!("the configuration was not reloaded and the old one stays in force: {error}");
        }
        let _ = notify::ready("reloaded");
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
    let names = |config: &Config| config.cameras.iter().map(|camera| camera.name.clone()).collect::<Vec<_>>();
    differs("[[camera]]", names(old) != names(new));
    for camera in &old.cameras {
        let Some(other) = new.cameras.iter().find(|other| other.name == camera.name) else { continue };
        differs(&format!("camera.{}.device", camera.name), camera.device != other.device);
        differs(&format!("camera.{}.output", camera.name), camera.outputs != other.outputs);
    }
    changes
}

/// The bus that the configuration names.
fn bus_of(config: &BusConfig) -> Bus {
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
        _ => Arc::new(Polkit),
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
    let mut watchdog = real_watchdog.unwrap_or_else(|| Watchdog::new(u64::MAX, monotonic_ns()));
    let library = library_of(&config)?;
    // The configuration accepts 1 and 2 only.
    let threads = usize::try_from(config.threads).unwrap_or(1);
    let engine = EngineOptions { threads, ..EngineOptions::default() };
    let budget = RingBudget::default();
    let mut cameras = Vec::new();
    for settings in &config.cameras {
        let spec: SourceSpec = settings.device.parse().with_context(|| format!("camera {}", settings.name))?;
        let model = if safe_mode {
            warn!(
                camera = settings.name,
                "three crashes within a minute: safe mode, the camera runs without inference"
            );
            None
        } else {
            Some(library.load(&settings.segmentation.model, engine)?)
        };
        let progress = ["capture", "vision"].map(|part| watchdog.watch(&format!("{part} of {}", settings.name)));
        let options = CameraOptions {
            config: settings.clone(),
            library: library.clone(),
            budget: budget.clone(),
            engine,
            model,
            progress,
        };
        cameras.push(Arc::new(
            Camera::start(options, spec.into_source())
                .map_err(|error| anyhow::anyhow!("camera {}: {error}", settings.name))?,
        ));
    }
    let bus = bus_of(&config.bus);
    let manager = Arc::new(Manager {
        sources,
        cameras: cameras.clone(),
        config: Mutex::new(config),
        logging,
        turn: tokio::sync::Mutex::default(),
    });
    let publication = Publication {
        manager: Arc::clone(&manager) as Arc<dyn ManagerService>,
        cameras: cameras.iter().map(|camera| Arc::clone(camera) as Arc<dyn CameraService>).collect(),
        authority: authority_for(&bus),
    };
    // Before the name appears on the bus: whoever sees it may send a signal.
    let signals = Signals::new()?;
    let server: Option<Server> = match bus {
        Bus::None => None,
        _ => Some(serve(&bus, publication).await?),
    };
    if let Err(error) = notify::ready(&status_line(&cameras)) {
        warn!("the service manager cannot be notified that the service is ready: {error}");
    }
    info!(cameras = cameras.len(), safe_mode, "ready");
    let ended = main_loop(&cameras, &manager, &mut watchdog, fed, started, safe_mode, server.as_ref(), signals).await;
    let _ = notify::stopping();
    // Rings are closed first, while the bus is still connected, so that clients learn of the end
    // from their rings.
    for camera in &cameras {
        camera.stop();
    }
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

#[expect(clippy::too_many_arguments, reason = "everything that the main thread handles, in one place")]
async fn main_loop(
    cameras: &[Arc<Camera>],
    manager: &Arc<Manager>,
    watchdog: &mut Watchdog,
    fed: bool,
    started: Instant,
    safe_mode: bool,
    server: Option<&Server>,
    Signals { mut terminate, mut interrupt, mut hangup }: Signals,
) -> anyhow::Result<()> {
    let mut report = tokio::time::interval(REPORT_EVERY);
    let ask_every = if fed { Duration::from_nanos(watchdog.ask_every_ns()) } else { Duration::from_secs(3600) };
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
                Ok(()) => cameras.iter().for_each(|camera| camera.kick()),
                Err(error) => warn!("changes of /dev cannot be read: {error}"),
            },
            _ = ask.tick(), if fed => match watchdog.ask(monotonic_ns()) {
                Verdict::Feed => drop(notify::feed()),
                Verdict::Wait => {}
                Verdict::Stuck(names) => error!("these threads make no progress: {}; the service manager will restart the service", names.join(", ")),
            },
            _ = report.tick() => {
                let _ = notify::status(&status_line(cameras));
                let metrics_file = manager.config().metrics_file.clone();
                if let Some(path) = &metrics_file {
                    let uptime_s = started.elapsed().as_secs_f64();
                    let report = Report {
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        uptime_s,
                        safe_mode,
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

/// The status line that the service manager shows.
fn status_line(cameras: &[Arc<Camera>]) -> String {
    let line = |camera: &Arc<Camera>| {
        let state = camera.state().borrow().camera.state;
        format!("{}: {state}, {} clients", camera.name(), camera.consumers())
    };
    cameras.iter().map(line).collect::<Vec<_>>().join("; ")
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
