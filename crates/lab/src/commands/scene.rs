//! The scene that `demo` and its client process use.

use anyhow::bail;
use portraitd::source::SourceSpec;
use portraitd_scene::SceneOptions;

/// Parses `scene:NAME?options`. Other sources are refused.
pub(super) fn scene_options(text: &str) -> anyhow::Result<SceneOptions> {
    match text.parse::<SourceSpec>()? {
        SourceSpec::Scene(options) => Ok(options),
        other => bail!("{other}: the demo needs a scene such as scene:walk, because it compares masks with the truth"),
    }
}
