//! `portraitd-provide`: a GStreamer pipeline whose frames are those of a camera, and which is off
//! while nobody looks.

mod plan;
mod supervisor;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use supervisor::{Event, Supervisor};

/// How long the pipeline may take to end after a signal.
const END: Duration = Duration::from_millis(1500);

const EXAMPLES: &str = "\
Examples:
  portraitd-provide --camera door libcamerasrc ! video/x-raw,format=NV12,width=1280,height=720
  portraitd-provide --camera door 'rtspsrc location=rtsp://camera.example/stream ! decodebin'

The elements are those of gst-launch-1.0. They are in NULL while nobody looks, and PLAYING while somebody
does. Where the pipeline has no portraitdsink, one is added at its end. Exit status: 1 if the service refuses
the frames, 2 if the pipeline is wrong.";

/// Provides the frames of a camera whose device is `provider`, by a GStreamer pipeline that is off
/// while nobody looks
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// Name of the camera. Without it, the one of the pipeline's portraitdsink, or the only one
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// D-Bus of the service: system, session or an address
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// The pipeline, in one or more words
    #[arg(required = true, trailing_var_arg = true, value_name = "PIPELINE")]
    pipeline: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let made = gst::init().and_then(|()| {
        gstportraitd::register_static()
            .map_err(|error| gst::glib::Error::new(gst::CoreError::Failed, &error.to_string()))
    });
    if let Err(error) = made {
        eprintln!("GStreamer does not start: {error}");
        return ExitCode::FAILURE;
    }
    let text = arguments.pipeline.join(" ");
    let supervisor = match Supervisor::new(&text, arguments.camera.as_deref(), arguments.bus.as_deref()) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(supervisor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal, or until the service refuses.
fn run(supervisor: Supervisor) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        let catch = |kind| signal(kind).map_err(|error| format!("signals cannot be caught: {error}"));
        let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        let events = supervisor.sender();
        let (sender, mut ended) = oneshot::channel();
        let thread = move || {
            let _ = sender.send(supervisor.run());
        };
        std::thread::Builder::new().name("pipeline".to_owned()).spawn(thread).map_err(|error| error.to_string())?;
        tokio::select! {
            ended = &mut ended => return ended.unwrap_or_else(|_| Err("the pipeline's thread has ended".to_owned())),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = events.send(Event::Stop);
        if timeout(END, ended).await.is_err() {
            eprintln!("the pipeline has not ended within {} ms, and is left behind", END.as_millis());
        }
        Ok(())
    })
}
