use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::publish::{RingSpec, RingWriter, SlotInfo};

const SIZE: Size = Size::new(32, 16);

/// The state of a node and its camera, which the test directs.
#[derive(Default)]
struct Stage {
    /// Whether the next opening, refresh or write fails.
    failure: bool,
    /// Whether the next one panics.
    panic: bool,
    reader: Option<bool>,
    change: Option<Size>,
    opened: usize,
    /// The first luma and the size of each written picture.
    written: Vec<(u8, Size)>,
    asked: Vec<OutputRequest>,
    rings: Vec<RingWriter>,
}

#[derive(Clone, Default)]
struct Theatre(Arc<Mutex<Stage>>);

impl Theatre {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `seen` holds. Fails after 30 s, so that a thread that never gets there does not
    /// hang the test.
    fn until(&self, what: &str, mut seen: impl FnMut(&mut Stage) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !seen(&mut self.stage()) {
            assert!(Instant::now() < deadline, "did not happen within 30 s: {what}");
            std::thread::yield_now();
        }
    }

    fn publish(&self, luma: u8) {
        let mut stage = self.stage();
        let ring = stage.rings.last_mut().expect("a ring");
        let mut slot = ring.begin().expect("open");
        let mut picture = slot.picture();
        (0..16).for_each(|y| picture.row_mut(0, y).fill(luma));
        (0..8).for_each(|y| picture.row_mut(1, y).fill(128));
        slot.publish(&SlotInfo::default());
    }

    /// Runs a writer to the node while `act` directs the node and the camera.
    fn play(&self, act: impl FnOnce()) {
        let control = Arc::new(Demand::default());
        let camera = self.clone();
        let attach: AttachOutput = Box::new(move |request| {
            let (answer, receiver) = oneshot::channel();
            let size = request.size;
            let spec = RingSpec {
                stream: request.stream,
                generation: 1,
                format: request.format,
                color: COLOR,
                size,
                slots: 4,
            };
            let ring = RingWriter::new(&spec).expect("a ring");
            let fds = ring.clients().add_client(None).expect("a client");
            let mut stage = camera.stage();
            stage.rings.push(ring);
            stage.asked.push(request);
            assert!(answer.send(Ok(fds)).is_ok());
            receiver
        });
        let opener = Box::new(self.clone());
        let writer = OutputWriter::new(opener, "main", StreamKind::View, (SIZE, 30.0), attach, Arc::clone(&control));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| writer.run());
            // Also if the test fails, because the scope waits for the thread.
            struct End<'a>(&'a Demand);
            impl Drop for End<'_> {
                fn drop(&mut self) {
                    self.0.shut_down();
                }
            }
            let end = End(&control);
            act();
            drop(end);
            thread.join().expect("the writer ends");
        });
    }
}

struct FakeNode(Theatre, Size);

impl FakeNode {
    fn check(&self) -> Result<(), SourceError> {
        let gone = SourceError::Gone { source_name: "/dev/fake".into() };
        if std::mem::take(&mut self.0.stage().panic) {
            std::panic::resume_unwind(Box::new("injected"));
        }
        if std::mem::take(&mut self.0.stage().failure) { Err(gone) } else { Ok(()) }
    }
}

impl Node for FakeNode {
    fn format(&self) -> FrameFormat {
        FrameFormat::packed(PixelFormat::Yuyv, self.1, COLOR, 30.0)
    }

    fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError> {
        self.check()?;
        let change = self.0.stage().change.take();
        Ok(change.map(|size| {
            self.1 = size;
            self.format()
        }))
    }

    fn has_reader(&self) -> Option<bool> {
        self.0.stage().reader
    }

    fn write(&mut self, picture: &Picture<'_>) -> Result<WriteOutcome, SourceError> {
        self.check()?;
        assert_eq!((picture.format(), picture.size()), (PixelFormat::Yuyv, self.1));
        self.0.stage().written.push((picture.plane(0).row(0)[0], picture.size()));
        Ok(WriteOutcome::Queued)
    }
}

impl Opener for Theatre {
    fn name(&self) -> String {
        "/dev/fake".into()
    }

    fn open(&self, size: Size, _: f32) -> Result<Box<dyn Node>, SourceError> {
        let node = FakeNode(self.clone(), size);
        node.check()?;
        self.stage().opened += 1;
        Ok(Box::new(node))
    }
}

#[test]
fn pictures_reach_the_node_and_black_follows_when_none_come() {
    let theatre = Theatre::default();
    theatre.play(|| {
        theatre.until("black at first", |stage| stage.written.first() == Some(&(16, SIZE)));
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, SIZE)));
        theatre.until("black, as nothing comes", |stage| stage.written.last() == Some(&(16, SIZE)));
        let stage = theatre.stage();
        assert_eq!(stage.asked.len(), 1);
        assert_eq!(stage.asked[0].format, PixelFormat::Nv12);
    });
}

#[test]
fn without_a_reader_the_node_does_not_attach() {
    let theatre = Theatre::default();
    theatre.stage().reader = Some(false);
    theatre.play(|| {
        theatre.until("black, twice", |stage| stage.written.len() >= 2);
        assert!(theatre.stage().asked.is_empty());
        theatre.stage().reader = Some(true);
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, SIZE)));
        theatre.stage().reader = Some(false);
        theatre.until("its leaving", |stage| stage.rings[0].clients().reap() == 1);
        assert_eq!(theatre.stage().asked.len(), 1);
    });
}

#[test]
fn a_node_that_fails_is_opened_again() {
    let theatre = Theatre::default();
    theatre.stage().failure = true;
    theatre.play(|| {
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        theatre.stage().failure = true;
        theatre.until("another", |stage| stage.rings.len() == 2);
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, SIZE)));
        let stage = theatre.stage();
        assert_eq!(stage.opened, 2);
        assert_eq!(stage.rings[0].clients().reap(), 1, "the first ring was left");
    });
}

#[test]
fn a_node_that_panics_is_opened_again() {
    let theatre = Theatre::default();
    theatre.play(|| {
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        theatre.stage().panic = true;
        theatre.until("another", |stage| stage.rings.len() == 2);
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, SIZE)));
        let stage = theatre.stage();
        assert_eq!(stage.opened, 2);
        assert_eq!(stage.rings[0].clients().reap(), 1, "the first ring was left");
    });
}

#[test]
fn a_changed_format_attaches_to_another_ring() {
    let theatre = Theatre::default();
    theatre.play(|| {
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        let size = Size::new(64, 16);
        theatre.stage().change = Some(size);
        theatre.until("the other", |stage| stage.asked.len() == 2);
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, size)));
        let stage = theatre.stage();
        assert_eq!((stage.opened, stage.asked[1].size), (1, size));
    });
}

#[test]
fn a_closed_ring_is_replaced_by_another_attachment() {
    let theatre = Theatre::default();
    theatre.play(|| {
        theatre.until("the attachment", |stage| !stage.rings.is_empty());
        theatre.stage().rings.clear();
        theatre.until("the next", |stage| stage.asked.len() == 2);
        theatre.publish(99);
        theatre.until("the picture", |stage| stage.written.last() == Some(&(99, SIZE)));
    });
}
