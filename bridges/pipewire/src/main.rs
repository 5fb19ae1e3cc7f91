//! `portraitd-pipewire`: the cameras of portraitd as PipeWire nodes, for browsers, OBS and desktops.
//!
//! A client of the service like any other, with the rights of its user. docs/recipes/pipewire.md
//! describes it, and docs/design/pipewire.md has the reasons.
//!
//! Everything runs on one thread: PipeWire's loop is a task of tokio. PipeWire itself starts a
//! thread for data, which hands over buffers and runs no code of ours.

mod buffer;
mod ffi;
mod formats;
mod listing;
mod node;
mod pod;
mod pw;
mod remote;
mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use portraitd_client::connect::Bus;
use portraitd_client::protocol::settings::ATTACH_SIDE;
use portraitd_client::{Size, StreamKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};
use zbus::Connection;

use listing::{Key, Listing};
use node::{Happened, Node};
use remote::Remote;
use service::Service;

/// The waits between two attempts to reach PipeWire or the bus.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The most sizes that are listed.
const MAX_SIZES: usize = 16;

/// Shows the cameras of portraitd to programs that use PipeWire: a node for each camera and stream.
/// A camera is on only while a program looks.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: portraitd-pipewire --camera front --stream view")]
struct Arguments {
    /// A camera to show. May be given more than once; without it, all are shown.
    #[arg(long = "camera", value_name = "NAME")]
    cameras: Vec<String>,
    /// A stream to show: view, composite, mask or source. May be given more than once, or as a list.
    #[arg(long = "stream", value_name = "STREAM", value_delimiter = ',', default_value = "view,composite")]
    streams: Vec<StreamKind>,
    /// A size to list, the preferred one first. May be given more than once, or as a list. Programs
    /// that ask for another size get it.
    #[arg(
        long = "size",
        value_name = "WIDTHxHEIGHT",
        value_delimiter = ',',
        value_parser = parse_size,
        default_value = "1280x720,1920x1080,640x360,640x480,320x240"
    )]
    sizes: Vec<Size>,
    /// The bus of the service: `system`, `session`, or a D-Bus address.
    #[arg(long, default_value = "system")]
    bus: Bus,
    /// The name or the path of PipeWire's socket, instead of `PIPEWIRE_REMOTE`.
    #[arg(long, value_name = "SOCKET")]
    remote: Option<String>,
}

fn parse_size(text: &str) -> Result<Size, String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = sides.ok_or("a size is WIDTHxHEIGHT, such as 1280x720")?;
    let size = Size::new(width, height);
    if formats::is_possible(size) { Ok(size) } else { Err(format!("each side is {ATTACH_SIDE}")) }
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    arguments.sizes.truncate(MAX_SIZES);
    // The journal has the time.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().with_target(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(&arguments))
}

/// When to try again, and whether the failure was logged.
struct Attempts {
    next: Instant,
    wait: Duration,
    told: bool,
}

impl Attempts {
    fn new() -> Self {
        Self { next: Instant::now(), wait: WAITS.0, told: false }
    }

    /// After a connection that has ended: at once would be a loop if each ends at once.
    fn again() -> Self {
        Self { next: Instant::now() + WAITS.0 / 4, ..Self::new() }
    }

    fn failed(&mut self, what: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.told, true) {
            warn!("{}; trying again", what());
        }
        self.next = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(WAITS.1);
    }
}

/// The state of the bridge.
struct Bridge<'a> {
    arguments: &'a Arguments,
    listing: Listing,
    nodes: BTreeMap<Key, Node>,
    remote: Option<Remote>,
    /// The connection to the service's bus, for the nodes.
    connection: watch::Sender<Option<Connection>>,
    events: mpsc::UnboundedSender<Happened>,
}

impl<'a> Bridge<'a> {
    fn new(arguments: &'a Arguments, events: mpsc::UnboundedSender<Happened>) -> Self {
        let listing = Listing::new(&arguments.streams, &arguments.cameras);
        let connection = watch::Sender::new(None);
        Self { arguments, listing, nodes: BTreeMap::new(), remote: None, connection, events }
    }

    /// Makes and removes nodes.
    fn update(&mut self) {
        let Some(remote) = &self.remote else { return };
        let wanted = self.listing.nodes(Instant::now());
        self.nodes.retain(|key, _| {
            let keep = wanted.contains(key);
            if !keep {
                info!("{key}: off the list");
            }
            keep
        });
        for key in wanted {
            if self.nodes.contains_key(&key) {
                continue;
            }
            let made =
                Node::new(remote.connection(), &key, &self.arguments.sizes, self.connection.subscribe(), &self.events);
            match made {
                Ok(node) => {
                    info!("{key}: on the list");
                    self.nodes.insert(key, node);
                }
                Err(error) => {
                    warn!("{key}: the node cannot be put on PipeWire's list: {error}; trying again later");
                    self.listing.hold(key, Instant::now() + listing::REFUSED);
                }
            }
        }
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Lost(reason) => {
                if self.remote.is_some() {
                    warn!("the connection to PipeWire has ended: {reason}");
                }
                self.nodes.clear();
                self.remote = None;
            }
            Happened::Failed(key, reason) => {
                // With PipeWire all of them end, and the next event says so.
                if self.nodes.remove(&key).is_some() {
                    info!("{key}: off the list: {reason}");
                    self.listing.hold(key, Instant::now() + listing::FAILED);
                }
            }
            Happened::Refused(key, reason) => {
                if self.nodes.remove(&key).is_some() {
                    let seconds = listing::REFUSED.as_secs();
                    warn!("{key}: {reason}; off the list for {seconds} s");
                    self.listing.hold(key, Instant::now() + listing::REFUSED);
                }
            }
        }
    }
}

/// Waits for a change of the service; for ever without a connection.
async fn changed(service: Option<&mut Service>) -> Option<()> {
    match service {
        Some(service) => service.changed().await,
        None => std::future::pending().await,
    }
}

/// Waits until `when`; for ever without it.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = remote::socket_here(arguments.remote.as_deref())?;
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut bridge = Bridge::new(arguments, sender.clone());
    let mut service: Option<Service> = None;
    let (mut to_bus, mut to_pipewire) = (Attempts::new(), Attempts::new());
    loop {
        let later = bridge.listing.next_change(Instant::now());
        let due = (service.is_none()).then_some(to_bus.next);
        let due_pipewire = bridge.remote.is_none().then_some(to_pipewire.next);
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(happened) = events.recv() => {
                let was_connected = bridge.remote.is_some();
                bridge.happened(happened);
                if was_connected && bridge.remote.is_none() {
                    to_pipewire = Attempts::again();
                }
            }
            change = changed(service.as_mut()) => {
                if let (Some(()), Some(reached)) = (change, &service) {
                    read(reached, &mut bridge).await;
                    continue;
                }
                warn!("the connection to the {} has ended", arguments.bus);
                service = None;
                to_bus = Attempts::again();
                bridge.connection.send_replace(None);
                bridge.listing.report(None, Instant::now());
            }
            () = at(due) => match Service::connect(&arguments.bus).await {
                Ok(found) => {
                    to_bus = Attempts::new();
                    bridge.connection.send_replace(Some(found.connection()));
                    read(&found, &mut bridge).await;
                    service = Some(found);
                }
                Err(error) => to_bus.failed(|| {
                    let advice = arguments.bus.advice(&error).map(|advice| format!(": {advice}")).unwrap_or_default();
                    format!("the {} cannot be reached: {error}{advice}", arguments.bus)
                }),
            },
            () = at(due_pipewire) => match Remote::connect(&socket, sender.clone()).await {
                Ok(remote) => {
                    info!("connected to PipeWire at {}", socket.display());
                    to_pipewire = Attempts::new();
                    bridge.remote = Some(remote);
                    bridge.update();
                }
                Err(error) => to_pipewire.failed(|| format!("{error:#}")),
            },
            () = at(later) => bridge.update(),
        }
    }
    Ok(())
}

/// Reads which cameras there are.
async fn read(service: &Service, bridge: &mut Bridge<'_>) {
    match service.cameras().await {
        Ok(cameras) => {
            bridge.listing.report(cameras, Instant::now());
            bridge.update();
        }
        // The service may have ended while it was read. A signal says so.
        Err(error) => info!("the service cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(texts: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("portraitd-pipewire").chain(texts.iter().copied()))
    }

    #[test]
    fn view_and_composite_are_shown_unless_others_are_named() {
        assert_eq!(arguments(&[]).expect("good").streams, [StreamKind::View, StreamKind::Composite]);
        let named = arguments(&["--stream", "mask", "--stream", "source"]).expect("good");
        assert_eq!(named.streams, [StreamKind::Mask, StreamKind::Source]);
        assert!(arguments(&["--stream", "portrait"]).is_err());
    }

    #[test]
    fn sizes_are_those_that_the_service_can_make() {
        assert_eq!(arguments(&["--size", "640x360,16x4096"]).expect("good").sizes.len(), 2);
        for text in ["", "640", "640x", "641x360", "640x14", "4098x16", "-2x16", "640x360x2"] {
            assert!(arguments(&["--size", text]).is_err(), "{text}");
        }
    }
}
