//! What a composite shows behind the people.

use std::sync::Arc;

use portraitd_media::OwnedPicture;
use portraitd_protocol::BackgroundMode;

use super::shared::SharedValue;
use crate::publish::RingShare;

/// The settings of the background.
#[derive(Clone, Debug)]
pub(super) struct BackgroundSettings {
    /// Increases with every change. A render thread prepares its copy of the background again when
    /// it differs.
    pub(super) version: u64,
    pub(super) mode: BackgroundMode,
    /// Red, green, blue.
    pub(super) color: [u8; 3],
    /// Standard deviation of the blur, as a fraction of the picture's height.
    pub(super) blur: f64,
    /// Whether a composite shows a frame only with the mask that was made from it.
    pub(super) strict: bool,
    pub(super) image: Option<Arc<OwnedPicture>>,
    /// What the picture is charged to, if a client has set it.
    pub(super) image_charge: Option<Arc<RingShare>>,
}

/// The owner of the settings. Render threads take the current ones for every frame.
#[derive(Debug)]
pub(super) struct Background(SharedValue<Arc<BackgroundSettings>>);

impl Background {
    pub(super) fn new(settings: BackgroundSettings) -> Self {
        Self(SharedValue::new(Arc::new(settings)))
    }

    pub(super) fn current(&self) -> Arc<BackgroundSettings> {
        self.0.get()
    }

    /// Changes the settings and gives them the next version.
    pub(super) fn change(&self, change: impl FnOnce(&mut BackgroundSettings)) {
        self.0.update(|current| {
            let mut next = BackgroundSettings::clone(current);
            change(&mut next);
            next.version = current.version + 1;
            *current = Arc::new(next);
        });
    }
}
