//! Starting and stopping the threads of a camera.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portraitd_media::{OwnedPicture, Size, Source};
use portraitd_protocol::{CameraState, ServiceError};
use portraitd_vision::net::Model;
use tokio::runtime::Handle;
use tracing::{error, warn};

use super::provider::Offers;
use super::rings::RingTable;
use super::settings::{allows_inset, background_of, framing_choice, tuning_of};
use super::status::first_state;
use super::{Camera, CameraOptions, Inner, failed, invalid};
use crate::pipeline::background_image;
use crate::pipeline::capture::Capture;
use crate::pipeline::demand::Demand;
use crate::pipeline::output::{DeviceNode, OutputWriter};
use crate::pipeline::shared::{Shared, SharedValue};
use crate::pipeline::vision::Vision;
use crate::publish::RingHolder;
use crate::service::config;

/// How long stopping waits for threads. The unit allows 5 s for the end of the whole service.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);
/// The interval in which a stop looks whether threads have ended.
const STOP_POLL: Duration = Duration::from_millis(2);

impl Camera {
    /// Starts the threads of a camera on `source`, except those of the output nodes. The source
    /// stays closed until a client attaches. The current tokio runtime must be the main thread's.
    ///
    /// # Errors
    /// If a thread cannot be started. If the background picture cannot be read, this is logged, and
    /// the composite shows the background's colour.
    pub fn start(options: CameraOptions, source: Box<dyn Source>) -> Result<Self, ServiceError> {
        let config = &options.config;
        let image = config.background.image.as_deref().map(background_image::read).transpose();
        let image = image.unwrap_or_else(|error| {
            error!(camera = config.name, "the composite shows the background's colour instead of its picture: {error}");
            None
        });
        Self::start_with_image(options, source, image)
    }

    /// Starts a camera as [`Camera::start`] does, but refuses a configuration that a reload would
    /// refuse.
    ///
    /// # Errors
    /// If the framing settings are invalid, the background picture cannot be read, or a thread
    /// cannot be started.
    pub async fn start_checked(options: CameraOptions, source: Box<dyn Source>) -> Result<Self, ServiceError> {
        framing_choice(&options.config.framing).check().map_err(|error| invalid(&error))?;
        let image = background_image::read_configured(options.config.background.image.clone()).await?;
        Self::start_with_image(options, source, image)
    }

    fn start_with_image(
        options: CameraOptions,
        source: Box<dyn Source>,
        image: Option<Arc<OwnedPicture>>,
    ) -> Result<Self, ServiceError> {
        let source: Arc<dyn Source> = Arc::from(source);
        let CameraOptions { config, library, budget, engine, turns, model, privacy, desk, progress } = options;
        let choice = framing_choice(&config.framing);
        let mut state = first_state(&config, &choice, &source.name(), &library, model.as_ref());
        let private = privacy.is_private(&config.name);
        if private {
            (state.camera.private, state.camera.state) = (true, CameraState::Private);
        }
        let background = background_of(&config.background, image);
        let shared = Arc::new(Shared::new(&config.name, tuning_of(&config), choice, state, background));
        shared.demand.set_private(private);
        let mask_size = model.as_ref().map(Model::output_size);
        let [capture_progress, vision_progress] = progress;
        let vision = match model {
            Some(model) => Some(
                Vision::new(Arc::clone(&shared), model, library.clone(), engine, turns, vision_progress)
                    .map_err(|error| failed(&error))?,
            ),
            None => None,
        };
        let inner = Arc::new(Inner {
            shared: Arc::clone(&shared),
            library,
            budget,
            engine,
            allow_source: AtomicBool::new(config.allow_source),
            allow_inset: AtomicBool::new(allows_inset(&choice)),
            mask_size: SharedValue::new(mask_size),
            rings: RingTable::default(),
            privacy,
            journal: Arc::default(),
            source: Arc::clone(&source),
            offers: desk.map(Offers::new),
            control_turn: tokio::sync::Mutex::default(),
            model_turn: tokio::sync::Mutex::default(),
            runtime: Handle::current(),
        });
        let holder: Weak<dyn RingHolder> = Arc::<Inner>::downgrade(&inner);
        inner.budget.register(holder);
        let (outputs, writers) = output_writers(&inner, &config);
        // If a thread cannot be started, dropping the camera stops those that run.
        let camera = Self { inner, outputs, waiting_outputs: Mutex::new(writers), threads: Mutex::default() };
        let capture = Capture::new(shared, source, capture_progress);
        camera.spawn_vital(&format!("capture-{}", config.name), move || capture.run())?;
        if let Some(vision) = vision {
            camera.spawn_vital(&format!("vision-{}", config.name), move || vision.run())?;
        }
        Ok(camera)
    }

    /// Starts the threads that write to the output nodes, which they open at once. A second call
    /// does nothing.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start_outputs(&self) -> Result<(), ServiceError> {
        let writers = std::mem::take(&mut *self.waiting_outputs.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            self.spawn(&format!("output-{}", writer.stream()), move || writer.run())?;
        }
        Ok(())
    }

    /// Starts a thread without which the camera is over, see [`Camera::spawn`]. These threads go on
    /// after most panics; if one does not, clients must not wait for it.
    fn spawn_vital(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ServiceError> {
        let over = OverIfPanicking { shared: Arc::clone(&self.inner.shared), thread: name.to_owned() };
        self.spawn(name, move || {
            let _over = over;
            run();
        })
    }

    /// Starts a thread that [`Camera::stop`] waits for.
    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ServiceError> {
        // The kernel cuts names to 15 bytes. The first word tells what the thread does.
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| ServiceError::Failed(format!("the thread {name} cannot be started: {error}")))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Marks every ring closed, refuses clients from now on, and tells all threads to end. Does not
    /// wait for them.
    pub fn close(&self) {
        self.outputs.iter().for_each(|output| output.shut_down());
        let render_threads = self.inner.rings.close();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(render_threads);
        let shared = &self.inner.shared;
        shared.availability.stop();
        shared.demand.shut_down();
        shared.frames.close();
        shared.observations.close();
        shared.observed.close();
        shared.published.set_consumers(0);
    }

    /// Closes the camera and waits until its threads have ended, at most [`STOP_WITHIN`]. This may
    /// take as long as an inference pass or the closing of the device.
    pub fn stop(&self) {
        self.stop_until(Instant::now() + STOP_WITHIN);
    }

    /// Closes the camera and waits until its threads have ended, at most until `deadline`. A thread
    /// that has not ended by then is left behind: it waits in a call of the system that nothing can
    /// interrupt, such as the opening of a device. Its name is logged. It ends by itself if that call
    /// returns, or with the process.
    ///
    /// Returns whether all threads have ended.
    pub fn stop_until(&self, deadline: Instant) -> bool {
        self.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let camera = self.inner.shared.name();
        let left = join_until(threads, deadline, |name| warn!(camera, "the thread {name} had panicked"));
        for thread in &left {
            let name = thread.thread().name().unwrap_or_default();
            error!(camera, "the thread {name} does not end, so it is left behind: it waits in a call of the system");
        }
        left.is_empty()
    }

    /// Retries failed devices at once: one of them may be back.
    pub fn retry_now(&self) {
        self.inner.shared.demand.retry_now();
        self.outputs.iter().for_each(|output| output.retry_now());
    }

    #[cfg(test)]
    pub(in crate::pipeline) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.inner.shared)
    }
}

/// Gives the camera up if the thread that owns this panics.
struct OverIfPanicking {
    shared: Arc<Shared>,
    thread: String,
}

impl Drop for OverIfPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.give_up(&format!("the thread {} has panicked; the service must be started again", self.thread));
        }
    }
}

/// Joins threads until all have ended, at most until `deadline`. Calls `panicked` with the name of
/// each that had panicked. Returns those that still run.
fn join_until(
    mut threads: Vec<JoinHandle<()>>,
    deadline: Instant,
    mut panicked: impl FnMut(&str),
) -> Vec<JoinHandle<()>> {
    loop {
        let (ended, running) = threads.into_iter().partition(JoinHandle::is_finished);
        threads = running;
        let ended: Vec<JoinHandle<()>> = ended;
        for thread in ended {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                panicked(&name);
            }
        }
        if threads.is_empty() || Instant::now() >= deadline {
            return threads;
        }
        // The standard library cannot join with a time limit.
        std::thread::sleep(STOP_POLL);
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The writers of the output nodes, and what controls each.
fn output_writers(inner: &Arc<Inner>, config: &config::CameraConfig) -> (Vec<Arc<Demand>>, Vec<OutputWriter>) {
    let writer = |output: &config::OutputConfig| {
        let control = Arc::new(Demand::default());
        let node = Box::new(DeviceNode(output.device.clone().into()));
        let attach = Inner::attach_from_thread(inner);
        let shape = output_shape(config);
        let writer = OutputWriter::new(node, &config.name, output.stream, shape, attach, Arc::clone(&control));
        (control, writer)
    };
    config.outputs.iter().map(writer).unzip()
}

/// Size and rate to ask an output node for: those of the view, as far as the configuration gives
/// them.
fn output_shape(config: &config::CameraConfig) -> (Size, f32) {
    let wanted = config.wanted();
    let size = framing_choice(&config.framing).output.or(config.turned_size());
    (size.unwrap_or(Size::new(1280, 720)), wanted.frame_rate.unwrap_or(30.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_that_does_not_end_is_left_behind_and_named() {
        let (release, released) = channel::<()>();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread")
        };
        let stuck = spawn("capture-main", Box::new(move || assert!(released.recv().is_err())));
        let broken = spawn("render-view", Box::new(|| std::panic::resume_unwind(Box::new("injected"))));
        let good = spawn("vision-main", Box::new(|| ()));
        while !(broken.is_finished() && good.is_finished()) {
            std::thread::yield_now();
        }
        let mut panics = Vec::new();
        let left = join_until(vec![stuck, broken, good], Instant::now(), |name| panics.push(name.to_owned()));
        assert_eq!(panics, ["render-view"]);
        let names: Vec<_> = left.iter().map(|thread| thread.thread().name()).collect();
        assert_eq!(names, [Some("capture-main")]);
        drop(release);
        let left = join_until(left, Instant::now() + Duration::from_secs(60), |_| ());
        assert!(left.is_empty(), "once its call returns, it ends");
    }
}
