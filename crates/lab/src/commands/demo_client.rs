//! The client process of the demo. It attaches to four streams as any client does, compares masks
//! with the truth of the scene, and draws the contact sheet. It prints one JSON document.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portraitd_client::feed::{AttachOptions, FeedCounters, find_camera};
use portraitd_client::picture::to_packed;
use portraitd_client::{Feed, FrameCopy, connect};
use portraitd_lab::eval::score;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size};
use portraitd_protocol::StreamKind;
use portraitd_render::ViewRenderer;
use portraitd_scene::Scene;
use serde_json::json;

use super::scene::scene_options;
use super::{print_line, sheet};

/// The number of rows on the contact sheet. Each row shows all streams at one frame.
const ROWS: usize = 8;
/// Every third mask is compared with the truth, since rendering the truth costs more than computing
/// the mask.
const COMPARED: u64 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file descriptor of the D-Bus connection
    #[arg(long)]
    fd: u16,
    #[arg(long)]
    scene: String,
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    sheet: PathBuf,
}

/// The state that the four readers share. All of them run on one thread.
struct Shared {
    started: Instant,
    length: Duration,
    /// Rows of the sheet by the sequence number of their frame.
    rows: BTreeMap<u64, SheetRow>,
    /// The sequence number from which the current row takes its frames.
    target: Option<u64>,
    next_row: usize,
    ious: Vec<f64>,
}

#[derive(Default)]
struct SheetRow {
    pictures: [Option<OwnedPicture>; 4],
    crop: PixelRect,
    people: Vec<PixelRect>,
}

const STREAMS: [StreamKind; 4] = [StreamKind::Source, StreamKind::Mask, StreamKind::View, StreamKind::Composite];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    let scene = Scene::new(&scene_options(&arguments.scene)?)?;
    let length = Duration::from_secs(arguments.seconds.into());
    let shared = RefCell::new(Shared {
        started: Instant::now(),
        length,
        rows: BTreeMap::new(),
        target: None,
        next_row: 0,
        ious: Vec::new(),
    });
    let counters = runtime.block_on(async {
        let socket = connect::inherited_fd(arguments.fd).context("the inherited descriptor")?;
        let connection = connect::connect_fd(socket).await.context("the connection to the service")?;
        let reader = |index: usize| read(&connection, index, &shared, &scene);
        let (a, b, c, d) = tokio::try_join!(reader(0), reader(1), reader(2), reader(3))?;
        anyhow::Ok([a, b, c, d])
    })?;
    let shared = shared.into_inner();
    let complete: Vec<(u64, SheetRow)> =
        shared.rows.into_iter().filter(|(_, row)| row.pictures.iter().all(Option::is_some)).collect();
    if complete.len() < ROWS {
        bail!(
            "only {} of the {ROWS} rows of the contact sheet are complete: run the demo longer, with --seconds",
            complete.len()
        );
    }
    let rows: Vec<sheet::Row> = complete
        .into_iter()
        .map(|(sequence, row)| sheet::Row {
            seconds: scene.seconds(sequence),
            pictures: row.pictures.into_iter().flatten().collect(),
            crop: row.crop,
            people: row.people,
        })
        .collect();
    sheet::write(&arguments.sheet, &rows)?;
    let iou_mean = shared.ious.iter().sum::<f64>() / shared.ious.len().max(1) as f64;
    let total = |part: fn(&FeedCounters) -> u64| counters.iter().map(part).sum::<u64>();
    print_line(json!({
        "iou_mean": iou_mean,
        "masks_compared": shared.ious.len(),
        "client": {
            "frames": total(|counters| counters.frames),
            "torn": total(|counters| counters.torn),
            "skipped": total(|counters| counters.skipped),
        },
    }))
}

/// Reads one stream until the end of the demo.
async fn read(
    connection: &zbus::Connection,
    index: usize,
    shared: &RefCell<Shared>,
    scene: &Scene,
) -> anyhow::Result<FeedCounters> {
    let stream = STREAMS[index];
    let camera = find_camera(connection, None).await?;
    let format = if stream == StreamKind::Mask { PixelFormat::Grey } else { PixelFormat::Nv12 };
    let options = AttachOptions::default().with_format(format);
    let mut feed = Feed::attach(camera, stream, options).await.with_context(|| format!("attach {stream}"))?;
    let mut frame = FrameCopy::default();
    let end = { shared.borrow().started + shared.borrow().length };
    while Instant::now() < end {
        let wait = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(wait, feed.next(&mut frame)).await {
            Ok(read) => read.with_context(|| format!("stream {stream}"))?,
            Err(_) => break,
        }
        let sequence = frame.info().sequence;
        if stream == StreamKind::Mask && sequence.is_multiple_of(COMPARED) {
            shared.borrow_mut().ious.push(iou(&frame, scene, sequence)?);
        }
        keep(&mut shared.borrow_mut(), index, &frame)?;
    }
    Ok(feed.counters())
}

/// Copies the frame to the sheet if the current row needs it.
fn keep(shared: &mut Shared, index: usize, frame: &FrameCopy) -> anyhow::Result<()> {
    let sequence = frame.info().sequence;
    let passed = shared.started.elapsed().as_secs_f64() / shared.length.as_secs_f64();
    if shared.target.is_none() && index == 0 && shared.next_row < ROWS {
        // The time is divided into equal parts, and each row is in the middle of its part.
        if passed >= (shared.next_row as f64 + 0.5) / ROWS as f64 {
            // A few frames ahead, so that no reader is past it.
            shared.target = Some(sequence + 3);
        }
    }
    let Some(target) = shared.target else { return Ok(()) };
    if sequence < target {
        return Ok(());
    }
    let row = shared.rows.entry(target).or_default();
    if row.pictures[index].is_none() {
        let packed = to_packed(frame).context("a frame cannot be read as a picture")?;
        let format = if packed.channels == 1 { PixelFormat::Grey } else { PixelFormat::Rgb24 };
        let size = Size::new(packed.width, packed.height);
        row.pictures[index] = Some(OwnedPicture::new(format, size, Colorimetry::default(), packed.data)?);
        if STREAMS[index] == StreamKind::View {
            let [x, y, width, height] = frame.info().crop;
            row.crop = PixelRect::new(x, y, width, height);
        }
        if STREAMS[index] == StreamKind::Mask {
            let boxed = |[x, y, width, height]: [f32; 4]| PixelRect::new(x, y, width, height);
            row.people = frame.info().people().iter().map(|person| boxed(person.rectangle)).collect();
        }
    }
    if row.pictures.iter().all(Option::is_some) {
        shared.target = None;
        shared.next_row += 1;
    }
    Ok(())
}

/// IoU of the mask with the truth, at the size of the scene.
fn iou(frame: &FrameCopy, scene: &Scene, sequence: u64) -> anyhow::Result<f64> {
    let packed = to_packed(frame).context("a frame cannot be read as a picture")?;
    let grid = Size::new(packed.width, packed.height);
    let mask = OwnedPicture::new(PixelFormat::Grey, grid, Colorimetry::default(), packed.data)?;
    let truth = scene.truth(sequence).alpha;
    let size = truth.size();
    let mut full = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?;
    ViewRenderer::new().render(&mask.as_picture(), PixelRect::of_size(grid), &mut full.as_picture_mut())?;
    Ok(score(full.bytes(), truth.bytes(), size).iou)
}
