//! `portraitd-mqtt`: tells an MQTT broker what portraitd sees, and takes commands from it.
//!
//! A client of the service like any other, with the rights of its user. docs/fleet.md describes it,
//! and docs/design/mqtt.md has the reasons.

mod broker;
mod command;
mod config;
mod service;
mod topics;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use rumqttc::{AsyncClient, QoS};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use broker::Happened;
use command::{Command, CommandKind};
use config::{Config, Presence};
use service::{Report, Service};
use topics::{Camera, Messages, Topics};

/// Where the configuration is if none is named.
const CONFIG: &str = "/etc/portraitd/mqtt.toml";
/// People are counted this often while a camera runs. Nobody announces their number.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// After a change this much time passes until the state is read: changes come together.
const SETTLE: Duration = Duration::from_millis(100);
/// The waits between two attempts to reach the bus.
const BUS_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Publishes what portraitd sees on an MQTT broker, and takes the commands that its configuration
/// allows.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: portraitd-mqtt --config /etc/portraitd/mqtt.toml --check")]
struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Checks the configuration and ends.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(&arguments.config).context("the configuration cannot be used")?;
    if arguments.check {
        // The certificates are checked when they are used.
        println!("{}: good; topics start with {}/", arguments.config.display(), config.topic);
        return Ok(());
    }
    // The journal has the time.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().with_target(false).init();
    if config.login.is_some() && !config.broker.tls {
        warn!("the password crosses the network in clear: use mqtts://");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&config))
}

/// The state of the bridge.
struct Bridge<'a> {
    config: &'a Config,
    topics: Topics<'a>,
    client: AsyncClient,
    connected: bool,
    /// What the broker is to hold.
    wanted: Messages,
    /// What it was sent since it was connected.
    sent: Messages,
    /// Cameras of an earlier run whose messages the broker still holds.
    strays: BTreeSet<String>,
    /// The cameras, of the last time that the service ran.
    cameras: Vec<Camera>,
    /// Whether the service runs.
    running: bool,
}

impl<'a> Bridge<'a> {
    fn new(config: &'a Config, client: AsyncClient) -> Self {
        let topics = Topics::new(config);
        let wanted = topics.messages(None, &[]);
        let (sent, strays, cameras) = (Messages::new(), BTreeSet::new(), Vec::new());
        Self { config, topics, client, connected: false, wanted, sent, strays, cameras, running: false }
    }

    /// Takes over what the service says. While it does not run, its cameras stay: they will most
    /// often come back.
    fn report(&mut self, report: Report) {
        self.running = report.version.is_some();
        if self.running {
            self.cameras = report.cameras;
        } else {
            self.cameras.iter_mut().for_each(Camera::stop);
        }
        self.wanted = self.topics.messages(report.version.as_deref(), &self.cameras);
        self.publish();
    }

    /// Sends what has changed. What does not fit into the queue is sent the next time.
    fn publish(&mut self) {
        if !self.connected {
            return;
        }
        for (topic, payload) in &self.wanted {
            if self.sent.get(topic) == Some(payload) {
                continue;
            }
            if self.client.try_publish(topic, QoS::AtLeastOnce, true, payload.clone()).is_err() {
                return;
            }
            self.sent.insert(topic.clone(), payload.clone());
        }
        // An empty message removes a retained one.
        let gone: Vec<_> = self.sent.keys().filter(|topic| !self.wanted.contains_key(*topic)).cloned().collect();
        for topic in gone {
            if self.client.try_publish(&topic, QoS::AtLeastOnce, true, "").is_err() {
                return;
            }
            self.sent.remove(&topic);
        }
        if !self.running {
            return;
        }
        for stray in std::mem::take(&mut self.strays) {
            if self.cameras.iter().any(|camera| camera.name == stray) {
                continue;
            }
            for topic in self.topics.of_camera(&stray) {
                if self.client.try_publish(topic, QoS::AtLeastOnce, true, "").is_err() {
                    self.strays.insert(stray);
                    return;
                }
            }
        }
    }

    fn connected(&mut self) {
        info!("connected to the broker {}:{}", self.config.broker.host, self.config.broker.port);
        self.connected = true;
        self.sent.clear();
        let mut filters = vec![self.topics.states()];
        if !self.config.commands.is_empty() {
            filters.push(self.topics.commands());
        }
        for filter in filters {
            // The queue is empty: the connection is new.
            if let Err(error) = self.client.try_subscribe(filter, QoS::AtLeastOnce) {
                warn!("the broker cannot be asked for messages: {error}");
            }
        }
        self.publish();
    }

    fn lost(&mut self, reason: &str) {
        warn!(
            "no connection to the broker {}:{}: {reason}; trying again",
            self.config.broker.host, self.config.broker.port
        );
        self.connected = false;
    }

    /// A message from the broker: a command, or what an earlier run has left.
    async fn message(&mut self, topic: &str, payload: &[u8], retained: bool, service: Option<&Service>) {
        if let Some(camera) = self.topics.parse_state(topic) {
            // Our own messages come back too.
            if retained && !payload.is_empty() && self.strays.len() < 64 {
                self.strays.insert(camera.to_owned());
            }
            return;
        }
        let Some((camera, name)) = self.topics.parse_command(topic) else { return };
        if portraitd_client::protocol::settings::check_camera_name(camera).is_err() {
            return;
        }
        let outcome = if retained {
            // It would come again at each connection, at any time after it was meant.
            Err("a retained command is not carried out: publish it without the flag".to_owned())
        } else {
            self.command(camera, name, payload, service).await
        };
        let name = portraitd_client::protocol::settings::excerpt(name);
        match &outcome {
            Ok(()) => info!(camera, command = name, "done, for the broker"),
            Err(error) => warn!(camera, command = name, "refused: {error}"),
        }
        let answer = json!({ "command": name, "ok": outcome.is_ok(), "error": outcome.err().unwrap_or_default() });
        // An answer that finds no room is not worth waiting for.
        let _ = self.client.try_publish(self.topics.result(camera), QoS::AtLeastOnce, false, answer.to_string());
    }

    async fn command(&self, camera: &str, name: &str, payload: &[u8], service: Option<&Service>) -> Result<(), String> {
        let kind = CommandKind::from_name(name).filter(|kind| self.config.commands.contains(kind));
        let kind = kind.ok_or_else(|| "`commands` of the configuration does not list it".to_owned())?;
        let command = Command::parse(kind, payload)?;
        let service = service.ok_or_else(|| "there is no connection to the bus".to_owned())?;
        let (connection, path) = service.camera(camera).ok_or_else(|| "there is no such camera".to_owned())?;
        let done = tokio::time::timeout(COMMAND_PATIENCE, command.run(connection, path)).await;
        done.map_err(|_| "the service does not answer".to_owned())?.map_err(|error| error.to_string())
    }

    /// Tells the broker that the board goes. The will is only for a board that is lost.
    async fn farewell(self, mut events: mpsc::Receiver<Happened>) {
        if !self.connected {
            return;
        }
        let _ = self.client.try_publish(self.topics.availability(), QoS::AtLeastOnce, true, "offline");
        let _ = self.client.try_disconnect();
        let _ = tokio::time::timeout(FAREWELL, async {
            // The end of the connection is an event too.
            while !matches!(events.recv().await, None | Some(Happened::Lost(_))) {}
        })
        .await;
    }
}

/// When to connect to the bus again, and whether the failure was logged.
struct Attempts {
    next: Instant,
    wait: Duration,
    told: bool,
}

impl Attempts {
    fn failed(&mut self, error: &zbus::Error, config: &Config) {
        if !std::mem::replace(&mut self.told, true) {
            let advice = config.bus.advice(error).map(|advice| format!(": {advice}")).unwrap_or_default();
            warn!("the {} cannot be reached: {error}{advice}; trying again", config.bus);
        }
        self.next = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(BUS_WAITS.1);
    }

    fn new() -> Self {
        Self { next: Instant::now(), wait: BUS_WAITS.0, told: false }
    }
}

/// Waits for a change of the service; for ever without a connection.
async fn changed(service: Option<&mut Service>) -> Option<()> {
    match service {
        Some(service) => service.changed().await,
        None => std::future::pending().await,
    }
}

async fn run(config: &Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (client, mut events) = broker::connect(config)?;
    let mut bridge = Bridge::new(config, client);
    let mut service: Option<Service> = None;
    let mut attempts = Attempts::new();
    let mut count = tokio::time::interval(COUNT_EVERY);
    count.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the state is read next, and what was read last.
    let mut due = Instant::now();
    let mut running = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            happened = events.recv() => match happened {
                Some(Happened::Connected) => bridge.connected(),
                Some(Happened::Lost(reason)) => bridge.lost(&reason),
                Some(Happened::Message { topic, payload, retained }) => {
                    bridge.message(&topic, &payload, retained, service.as_ref()).await;
                    due = due.min(Instant::now() + SETTLE);
                }
                None => anyhow::bail!("the connection to the broker has ended for good"),
            },
            change = changed(service.as_mut()) => {
                due = due.min(Instant::now() + SETTLE);
                if change.is_none() {
                    warn!("the connection to the {} has ended", config.bus);
                    service = None;
                    attempts = Attempts::new();
                    bridge.report(Report::default());
                }
            }
            _ = count.tick(), if running => due = due.min(Instant::now()),
            () = tokio::time::sleep_until(attempts.next), if service.is_none() => {
                match Service::connect(&config.bus).await {
                    Ok(found) => {
                        service = Some(found);
                        attempts = Attempts::new();
                        due = Instant::now();
                    }
                    Err(error) => attempts.failed(&error, config),
                }
            }
            () = tokio::time::sleep_until(due), if service.is_some() => {
                due = Instant::now() + config.interval;
                let Some(reached) = &mut service else { continue };
                match reached.read().await {
                    Ok(report) => {
                        running = report.cameras.iter().any(|camera| camera.state == "running");
                        if config.presence == Presence::Always {
                            reached.look();
                        }
                        bridge.report(report);
                    }
                    // The service may have ended while it was read. A signal says so.
                    Err(error) => info!("the service cannot be read: {error}"),
                }
            }
        }
    }
    bridge.farewell(events).await;
    Ok(())
}
