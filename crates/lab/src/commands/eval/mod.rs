//! `portraitd-lab eval`: scores masks against the truth, and measures how steady masks, boxes and
//! crops are.

mod arguments;
mod pictures;
mod videos;

pub(super) use arguments::Arguments;

/// Measures a directory of pictures, a directory of videos, or a scene.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if videos::are_in(&arguments.directory)? { videos::run(arguments) } else { pictures::run(arguments) }
}
