//! One camera as the rest of the service sees it. Everything here runs on the main thread, except
//! what is named below, and never touches a pixel.
//!
//! | module | subject |
//! |---|---|
//! | `threads` | starting and stopping the camera's threads |
//! | `attachments` | attaching clients to rings, and letting them go |
//! | `rings` | the table of rings, attachments and reserved places |
//! | `settings` | changes by D-Bus and by a reload |
//! | `controls` | exposure, white balance and other controls of the device |
//! | `snapshot` | the newest picture of a stream as PNG |
//! | `status` | figures and states for D-Bus and the metrics file |
//! | `provider` | offers of frames by another program |
//! | `journal` | who attaches and leaves, in the journal |
//! | `boundary` | the trait that the D-Bus objects use |
//!
//! What takes time runs on the workers of [`run_blocking`](super::run_blocking): loading a model,
//! decoding a picture, allocating a ring, encoding a snapshot.

mod attachments;
mod boundary;
mod controls;
mod journal;
mod provider;
mod rings;
mod settings;
mod snapshot;
mod status;
mod threads;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use portraitd_media::{Size, Source};
use portraitd_protocol::ServiceError;
use portraitd_vision::net::{EngineOptions, Library, Model};
use tokio::runtime::Handle;

use self::journal::AttachJournal;
use self::provider::Offers;
use self::rings::RingTable;
use super::demand::Demand;
use super::output::OutputWriter;
use super::shared::{Shared, SharedValue};
use super::turns::Turns;
use crate::publish::RingBudget;
use crate::service::config;
use crate::service::notify::Progress;
use crate::service::privacy::PrivacyNotes;
use crate::source::provider::Desk;

pub(super) use controls::apply as apply_controls;
pub(super) use journal::AttachNote;
pub use settings::{Reconfiguration, load_model};
pub use threads::STOP_WITHIN;

/// What a camera is made from.
pub struct CameraOptions {
    /// The camera's part of the configuration.
    pub config: config::CameraConfig,
    /// The models that clients may choose from.
    pub library: Library,
    /// What the clients of each user may use, of all cameras together.
    pub budget: RingBudget,
    /// How nets are run: `model`, and those that are loaded later.
    pub engine: EngineOptions,
    /// The turns of the vision threads of all cameras.
    pub turns: Turns,
    /// The net; `None` runs the camera without one (safe mode).
    pub model: Option<Model>,
    /// Which cameras are private.
    pub privacy: PrivacyNotes,
    /// Where the frames are offered, if another program provides them.
    pub desk: Option<Arc<Desk>>,
    /// The watchdog's handles of the capture thread and of the vision thread.
    pub progress: [Progress; 2],
}

/// A running camera. Dropping it stops it.
pub struct Camera {
    inner: Arc<Inner>,
    /// What wakes and ends the threads of the output nodes.
    outputs: Vec<Arc<Demand>>,
    /// The writers of the output nodes, until [`Camera::start_outputs`] starts them.
    waiting_outputs: Mutex<Vec<OutputWriter>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What tasks of the camera need as well.
struct Inner {
    shared: Arc<Shared>,
    library: Library,
    budget: RingBudget,
    engine: EngineOptions,
    /// Whether clients may see the whole room. Read again while the table of rings is locked,
    /// before a client is added.
    allow_source: AtomicBool,
    /// Whether a view may show the whole room in a corner; read as `allow_source` is.
    allow_inset: AtomicBool,
    /// Size of the masks of the net in use; `None` if the service runs without a net.
    mask_size: SharedValue<Option<Size>>,
    rings: RingTable,
    privacy: PrivacyNotes,
    journal: Arc<AttachJournal>,
    source: Arc<dyn Source>,
    offers: Option<Offers>,
    /// Held while a client changes a control.
    control_turn: tokio::sync::Mutex<()>,
    /// Held while a client's choice of a model is loaded.
    model_turn: tokio::sync::Mutex<()>,
    runtime: Handle,
}

/// An `InvalidArgument` with the text of `error`.
pub(super) fn invalid(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::InvalidArgument(error.to_string())
}

/// A `Failed` with the text of `error`.
fn failed(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Failed(error.to_string())
}
