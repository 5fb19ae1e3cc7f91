//! A synthetic camera whose truth is known: photographs of people, cut out with a matte, move along
//! known paths through a rendered room, with the noise of a sensor. For the demonstration, for
//! tests, and for trying a board without a camera.
//!
//! A frame is a pure function of the scene's options and the frame number, and so is its truth
//! ([`Scene::truth`]). Tests may ask for any frame in any order. Pixels are BT.601, limited range,
//! as webcams deliver them.
//!
//! ```
//! use portraitd_scene::{Scene, SceneOptions};
//!
//! let options = SceneOptions::parse(":walk?size=320x180&fps=10")?;
//! let scene = Scene::new(&options)?;
//! let picture = scene.picture(25); // NV12
//! let truth = scene.truth(25);
//! assert_eq!(picture.size(), truth.alpha.size());
//! assert_eq!(truth.people.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The design is explained in `docs/design/scene.md`, the origin of the photographs in
//! `crates/scene/assets/README.md`.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; the shipped code is linted without `test`"
    )
)]

mod conditions;
mod movement;
mod noise;
mod options;
mod quantize;
mod resample;
mod scene;
mod scene_background;
mod sprite;
mod stream;
mod table;

pub use movement::{Cutout, Placement};
pub use options::{SceneName, SceneOptions};
pub use scene::{Scene, ScenePerson, SceneTruth, Scratch};
pub use stream::SceneSource;
