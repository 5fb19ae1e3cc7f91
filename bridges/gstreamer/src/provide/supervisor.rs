//! The pipeline, and the thread that starts and stops it: a change of its state can take long, and
//! a source that hangs must not keep the program from ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use gst::prelude::*;
use sd_notify::NotifyState;

use crate::plan::{Plan, Step};

const SINK: &str = "portraitdsink";

/// What happens to the pipeline. A run has a number, so that news of an earlier one is known.
#[derive(Debug)]
pub(crate) enum Event {
    /// The service has taken the offer or ended it; somebody looks or nobody does.
    Heard { offered: bool, wanted: bool },
    /// The first frame of a run.
    Frame { run: u64 },
    /// The source has failed or ended.
    Failed { run: u64, reason: String },
    /// The service refuses the offer.
    Refused(String),
    /// The latency of the pipeline has changed.
    Latency,
    /// End.
    Stop,
}

/// A pipeline whose sink offers frames while the rest of it is in `NULL`.
pub(crate) struct Supervisor {
    pipeline: gst::Pipeline,
    sink: gst::Element,
    sender: Sender<Event>,
    events: Receiver<Event>,
    run: Arc<AtomicU64>,
    plan: Plan,
    status: String,
}

/// The pipeline of a text, and its sink, which is added at the end where the text has none.
fn parse(text: &str) -> Result<(gst::Pipeline, gst::Element), String> {
    let (text, added) = if text.contains(SINK) {
        (text.to_owned(), String::new())
    } else {
        (format!("{text} ! {SINK}"), format!(", with {SINK} at its end"))
    };
    let refused = |error: &dyn std::fmt::Display| format!("the pipeline does not parse{added}: {error}");
    let element = gst::parse::launch_full(&text, None, gst::ParseFlags::FATAL_ERRORS).map_err(|e| refused(&e))?;
    // One element alone is no pipeline yet.
    let pipeline = element.downcast::<gst::Pipeline>().or_else(|element| {
        let pipeline = gst::Pipeline::new();
        pipeline.add(&element).map_err(|error| refused(&error))?;
        Ok::<_, String>(pipeline)
    })?;
    let sinks = pipeline.iterate_all_by_element_factory_name(SINK);
    let mut sinks: Vec<gst::Element> = sinks.into_iter().flatten().collect();
    match (sinks.pop(), sinks.len()) {
        (Some(sink), 0) => Ok((pipeline, sink)),
        (Some(_), others) => Err(format!("the pipeline has {} of {SINK}, and may have one", others + 1)),
        (None, _) => Err(format!("the pipeline has no {SINK}")),
    }
}

impl Supervisor {
    /// Makes the pipeline, and nothing of it starts.
    ///
    /// # Errors
    /// A text that says what is wrong with the pipeline.
    pub(crate) fn new(text: &str, camera: Option<&str>, bus: Option<&str>) -> Result<Self, String> {
        let (pipeline, sink) = parse(text)?;
        sink.set_property("wait", true);
        for (name, value) in [("camera", camera), ("bus", bus)] {
            if let Some(value) = value {
                sink.set_property(name, value);
            }
        }
        let (sender, events) = channel();
        let supervisor =
            Self { pipeline, sink, sender, events, run: Arc::default(), plan: Plan::new(), status: String::new() };
        supervisor.listen();
        Ok(supervisor)
    }

    /// Where [`Event::Stop`] goes.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Turns messages and frames into events.
    fn listen(&self) {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        // The bus of a pipeline in `NULL` drops messages, and the sink has some.
        self.pipeline.set_auto_flush_bus(false);
        bus.set_flushing(false);
        let (sender, run, sink) = (self.sender.clone(), Arc::clone(&self.run), self.sink.downgrade());
        bus.set_sync_handler(move |_, message| {
            let by_sink = message.src().is_some_and(|source| sink.upgrade().is_some_and(|sink| source == &sink));
            if let Some(event) = event_of(message, by_sink, run.load(Ordering::Relaxed)) {
                let _ = sender.send(event);
            }
            gst::BusSyncReply::Drop
        });
        let (sender, run, seen) = (self.sender.clone(), Arc::clone(&self.run), AtomicU64::new(0));
        let pad = self.sink.static_pad("sink").expect("a sink has it");
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let run = run.load(Ordering::Relaxed);
            if seen.swap(run, Ordering::Relaxed) != run {
                let _ = sender.send(Event::Frame { run });
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Runs until [`Event::Stop`].
    ///
    /// # Errors
    /// Why the service refuses the offer.
    pub(crate) fn run(mut self) -> Result<(), String> {
        self.sink.set_locked_state(true);
        let offered = self.sink.set_state(gst::State::Ready);
        let ended = if offered.is_ok() { self.follow() } else { self.refusal() };
        self.stop();
        self.sink.set_locked_state(false);
        let _ = self.pipeline.set_state(gst::State::Null);
        ended
    }

    /// Why the sink does not even begin.
    fn refusal(&self) -> Result<(), String> {
        let refused = self.events.try_iter().find_map(|event| match event {
            Event::Refused(reason) => Some(reason),
            _ => None,
        });
        Err(refused.unwrap_or_else(|| format!("{SINK} does not start")))
    }

    fn follow(&mut self) -> Result<(), String> {
        self.tell(true);
        loop {
            let now = Instant::now();
            let until = match self.plan.step(now) {
                Step::Start => {
                    self.plan.started(now);
                    self.tell(false);
                    self.start();
                    continue;
                }
                Step::Stop => {
                    self.plan.stopped();
                    self.stop();
                    self.tell(false);
                    continue;
                }
                Step::Rest(until) => until,
            };
            let event = match until {
                Some(until) => self.events.recv_timeout(until.saturating_duration_since(now)),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Stop) => return Ok(()),
                Ok(Event::Refused(reason)) => return Err(reason),
                Ok(Event::Heard { offered, wanted }) => self.plan.heard(offered, wanted),
                Ok(Event::Frame { run }) if run == self.run.load(Ordering::Relaxed) => self.plan.has_frames(),
                Ok(Event::Failed { run, reason }) if run == self.run.load(Ordering::Relaxed) => self.failed(&reason),
                Ok(Event::Latency) => {
                    let _ = self.pipeline.recalculate_latency();
                }
                Ok(Event::Frame { .. } | Event::Failed { .. }) | Err(_) => {}
            }
            self.tell(false);
        }
    }

    fn start(&self) {
        let run = self.run.fetch_add(1, Ordering::Relaxed) + 1;
        self.sink.set_locked_state(false);
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            // The element has said why before.
            let _ = self.sender.send(Event::Failed { run, reason: "the pipeline does not start".to_owned() });
        }
    }

    /// All but the sink are off then.
    fn stop(&self) {
        self.sink.set_locked_state(true);
        let _ = self.sink.set_state(gst::State::Ready);
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    fn failed(&mut self, reason: &str) {
        if let Some(wait) = self.plan.failed(Instant::now(), reason) {
            eprintln!("{reason}; trying again in {} s", wait.as_secs());
            self.stop();
        }
    }

    /// Tells the service manager, if there is something new.
    fn tell(&mut self, is_first: bool) {
        let status = self.plan.status().replace(['\n', '\r'], " ");
        if status != self.status || is_first {
            let state = NotifyState::Status(&status);
            // Nothing depends on it.
            let _ =
                if is_first { sd_notify::notify(&[NotifyState::Ready, state]) } else { sd_notify::notify(&[state]) };
            self.status = status;
        }
    }
}

/// What a message of the pipeline means. `by_sink`: its sink has sent it.
fn event_of(message: &gst::Message, by_sink: bool, run: u64) -> Option<Event> {
    match message.view() {
        gst::MessageView::Element(element) if by_sink => {
            let structure = element.structure()?;
            Some(Event::Heard { offered: structure.get("offered").ok()?, wanted: structure.get("wanted").ok()? })
        }
        gst::MessageView::Error(error) if by_sink && error.error().is::<gst::ResourceError>() => {
            Some(Event::Refused(error.error().message().to_owned()))
        }
        gst::MessageView::Error(error) => {
            let name = message.src().map(|source| source.name().to_string()).unwrap_or_default();
            Some(Event::Failed { run, reason: format!("{name}: {}", error.error().message()) })
        }
        gst::MessageView::Eos(_) => Some(Event::Failed { run, reason: "the source has ended".to_owned() }),
        gst::MessageView::Latency(_) => Some(Event::Latency),
        _ => None,
    }
}
