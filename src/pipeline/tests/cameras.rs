//! Several cameras share the cores and the nets.

use std::sync::mpsc::{Receiver, Sender};

use portraitd_vision::net::DEFAULT_MODEL;

use super::*;
use crate::pipeline::turns::{Pace, Turns};

/// A net that sees nobody, and calls `pass` in each of its passes.
fn net(pass: impl Fn() + Send + 'static) -> Model {
    let built_in = Library::default().load(DEFAULT_MODEL, EngineOptions::default()).expect("built in");
    Model::from_fn(built_in.manifest().clone(), SIZE, move |_, mask| {
        pass();
        mask.fill(0.0);
        Ok(())
    })
}

/// A net whose passes each wait for a permission; without its sender they end at once.
fn waiting_net(permissions: Receiver<()>, begun: Sender<()>) -> Model {
    net(move || {
        let _ = begun.send(());
        let _ = permissions.recv();
    })
}

fn fast_net() -> Model {
    net(|| ())
}

/// Frames of another picture until the camera has published `wanted` masks, each newer than the one
/// before.
async fn masks(rig: &Rig, steps: &Sender<Step>, ring: &mut Ring, wanted: usize) {
    let (mut seen, mut last) = (0, 0);
    let mut frame = FrameCopy::default();
    let reading = async {
        while seen < wanted {
            steps.send(Step::News).expect("streams");
            tokio::time::sleep(Duration::from_millis(2)).await;
            if ring.latest(&mut frame) && frame.info().mask_valid() && frame.info().mask_sequence != last {
                let newest = frame.info().mask_sequence;
                assert!(newest > last, "the mask of frame {newest} after that of {last}");
                (seen, last) = (seen + 1, newest);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap_or_else(|_| {
        panic!("{seen} masks of {wanted}: {:?}", rig.state.borrow().camera);
    });
}

/// Waits until this many cameras wait for their turn.
async fn until_waiting(turns: &Turns, wanted: usize) {
    let waiting = async {
        while turns.waiting() != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("{} cameras wait for their turn, not {wanted}", turns.waiting()));
}

#[tokio::test]
async fn nets_that_hang_on_some_cameras_leave_the_masks_of_the_others() {
    // One core: whoever is slow shares it with the others.
    let turns = Turns::new(1, 1);
    let rig = Rig::with_turns(fast_net(), turns.clone());
    let steps = rig.will_open();
    let mut ring = rig.attach_to(StreamKind::Mask).await.expect("there");
    // The first pass of a net counts as slow.
    masks(&rig, &steps, &mut ring, 2).await;
    let (begun, has_begun) = channel();
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let (permit, permissions) = channel();
        let rig = Rig::with_turns(waiting_net(permissions, begun.clone()), turns.clone());
        let steps = rig.will_open();
        let ring = rig.attach_to(StreamKind::Mask).await.expect("there");
        steps.send(Step::News).expect("streams");
        stuck.push((permit, rig, steps, ring));
    }
    let begun = tokio::task::spawn_blocking(move || {
        has_begun.recv_timeout(Duration::from_secs(30)).expect("a pass begins");
        has_begun
    });
    let has_begun = begun.await.expect("no panic");
    until_waiting(&turns, 2).await;
    assert!(has_begun.try_recv().is_err(), "one slow net at a time");
    masks(&rig, &steps, &mut ring, 5).await;
    drop(stuck);
}

#[tokio::test]
async fn a_camera_that_waits_for_its_turn_ends_in_time() {
    let turns = Turns::new(1, 1);
    let held = turns.take(Pace::Slow, || true).expect("a turn");
    let rig = Rig::with_turns(fast_net(), turns.clone());
    let steps = rig.will_open();
    let _ring = rig.attach_to(StreamKind::Mask).await.expect("there");
    steps.send(Step::News).expect("streams");
    until_waiting(&turns, 1).await;
    assert!(rig.camera.stop_until(Instant::now() + Duration::from_secs(30)), "all threads end");
    drop(held);
}
