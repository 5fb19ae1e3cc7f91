//! The detector of heads of a camera: prepared beside the vision thread, and run as often as there is
//! time for it.

use std::thread::JoinHandle;
use std::time::Duration;

use portraitd_vision::net::{EngineOptions, Library};
use portraitd_vision::{HeadDetector, ObserveError};
use tracing::{info, warn};

/// The least time from one look to the next.
const LEAST_INTERVAL: Duration = Duration::from_millis(400);
/// At most one part in this number of the time goes to looks.
const PARTS: u32 = 10;

/// Prepares the detector once somebody is seen. Its net takes longer to import than a frame, so a
/// thread of its own does it, which then ends.
#[derive(Debug, Default)]
pub(super) enum HeadLoader {
    /// Nobody has been seen yet.
    #[default]
    Waiting,
    Loading(JoinHandle<Result<Option<HeadDetector>, ObserveError>>),
    /// The detector has been handed out, or there is none.
    Ended,
}

impl HeadLoader {
    /// The detector of `library`, when it is ready. `is_wanted`: somebody is seen.
    pub(super) fn poll(
        &mut self,
        camera: &str,
        (library, engine): (&Library, EngineOptions),
        is_wanted: bool,
    ) -> Option<HeadDetector> {
        match self {
            Self::Waiting if is_wanted => {
                // One look is a small part of the work, which a second thread would not make faster.
                let options = EngineOptions { threads: 1, ..engine };
                let library = library.clone();
                let load = move || library.load_heads(options)?.map(HeadDetector::new).transpose();
                *self = match std::thread::Builder::new().name("heads".to_owned()).spawn(load) {
                    Ok(thread) => Self::Loading(thread),
                    Err(error) => Self::failed(camera, &error.to_string()),
                };
                None
            }
            Self::Loading(thread) if thread.is_finished() => {
                let Self::Loading(thread) = std::mem::replace(self, Self::Ended) else { return None };
                match thread.join() {
                    Ok(Ok(detector)) => {
                        match &detector {
                            Some(_) => info!(camera, "detector of heads in use"),
                            None => info!(
                                camera,
                                "people who touch count as one: there is no heads/faces.toml in models_dir"
                            ),
                        }
                        detector
                    }
                    Ok(Err(error)) => {
                        *self = Self::failed(camera, &error.to_string());
                        None
                    }
                    Err(_) => {
                        *self = Self::failed(camera, "its thread has panicked");
                        None
                    }
                }
            }
            _ => None,
        }
    }

    fn failed(camera: &str, reason: &str) -> Self {
        warn!(camera, "people who touch count as one, because the detector of heads cannot be prepared: {reason}");
        Self::Ended
    }
}

/// The time from one look to the next, in nanoseconds, if the last one took `last_look`.
pub(super) fn look_interval_ns(last_look: Duration) -> u64 {
    u64::try_from(LEAST_INTERVAL.max(PARTS * last_look).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_a_tenth_of_the_time_at_most() {
        assert_eq!(look_interval_ns(Duration::ZERO), 400_000_000);
        assert_eq!(look_interval_ns(Duration::from_millis(2)), 400_000_000);
        assert_eq!(look_interval_ns(Duration::from_millis(150)), 1_500_000_000);
    }

    #[test]
    fn the_detector_is_prepared_once_somebody_is_seen() {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
        for (directories, is_there) in [(vec![models.into()], true), (vec![], false)] {
            let net = (&Library::new(directories), EngineOptions::default());
            let mut loader = HeadLoader::default();
            assert!(loader.poll("test", net, false).is_none() && matches!(loader, HeadLoader::Waiting));
            assert!(loader.poll("test", net, true).is_none());
            let HeadLoader::Loading(thread) = &loader else { panic!("{loader:?}") };
            while !thread.is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(loader.poll("test", net, true).is_some(), is_there);
            assert!(loader.poll("test", net, true).is_none() && matches!(loader, HeadLoader::Ended));
        }
    }
}
