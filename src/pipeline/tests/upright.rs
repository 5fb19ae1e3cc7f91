//! Cameras whose pictures are turned, in a whole camera.

use portraitd_media::Rotation;

use super::*;

fn lying() -> config::CameraConfig {
    config::CameraConfig { rotate: Rotation::Quarter, ..config::CameraConfig::default() }
}

#[tokio::test]
async fn everything_after_the_camera_has_the_size_of_the_turned_picture() {
    let mut rig = Rig::with(lying());
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    let frame = read(&mut ring);
    let upright = Size::new(SIZE.height, SIZE.width);
    assert_eq!((luma(&frame), frame.layout().map(|layout| layout.size)), (LUMA, Some(upright)));
    let state = rig.until(CameraState::Running).await;
    assert_eq!(state.camera.format.map(|format| format.size), Some(upright));
    assert_eq!((state.camera.rotate, state.camera.mirror), (Rotation::Quarter, false));
    // Black frames too.
    steps.send(Step::Shutter(true)).expect("streams");
    rig.until(CameraState::Private).await;
    assert_eq!(read(&mut ring).layout().map(|layout| layout.size), Some(upright));
}

#[tokio::test]
async fn a_quarter_turn_over_dbus_starts_a_new_generation() {
    let mut rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    let steps = rig.will_open();
    rig.camera.apply(SettingChange::Rotate(Rotation::ThreeQuarters)).await.expect("good");
    while ring.wait(Some(Duration::from_secs(30))).expect("a pipe") == Wait::Frame {
        ring.latest(&mut FrameCopy::default());
    }
    assert!(ring.closed());
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    assert_eq!(read(&mut ring).layout().map(|layout| layout.size), Some(Size::new(SIZE.height, SIZE.width)));
    let state = rig.until(CameraState::Running).await;
    assert_eq!((state.camera.generation, state.camera.rotate), (2, Rotation::ThreeQuarters));
}

#[tokio::test]
async fn a_mirror_keeps_the_rings_and_forgets_who_was_where() {
    let rig = Rig::new(60.0);
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    let shared = rig.camera.shared();
    let (scene, epoch) = (shared.scene(), shared.picture_epoch());
    let steps = rig.will_open();
    rig.reconfigure(&config::CameraConfig { mirror: true, ..config::CameraConfig::default() }).await.expect("good");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    assert!(shared.scene() > scene && shared.picture_epoch() > epoch, "what was seen is in other places now");
    let state = rig.state.borrow();
    assert_eq!((state.camera.generation, state.camera.mirror), (1, true));
}
