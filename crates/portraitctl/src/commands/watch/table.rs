//! `watch` on a terminal: a table of the cameras that is drawn again every second.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::proxy::ManagerProxy;
use serde_json::Value as Json;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::commands::{Properties, all_properties, path_of, properties_at};
use crate::output::to_text;

const INTERVAL: Duration = Duration::from_secs(1);
const HEADINGS: [&str; 11] =
    ["CAMERA", "STATE", "CLIENTS", "PEOPLE", "CROP", "FRAMES/S", "LATENCY", "MASKS/S", "MASK AGE", "NET", "CORE"];
/// The place of the state in a row.
const STATE: usize = 1;

/// A camera as a row of the table, and what is wrong with it.
#[derive(Debug, PartialEq)]
struct Row {
    cells: [String; HEADINGS.len()],
    notes: Vec<String>,
}

/// Runs the command, until an interrupt.
pub(super) async fn run(connection: &Connection, camera: Option<&str>) -> Result<()> {
    // As https://no-color.org has it.
    let colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = HashMap::new();
    let mut drawn = 0;
    loop {
        tokio::select! {
            interrupted = &mut interrupt => return interrupted.context("waiting for an interrupt"),
            () = connection.closed() => anyhow::bail!("the connection to the service has ended"),
            _ = ticks.tick() => {}
        }
        if connection.is_bus() && drawn > 0 {
            // A call would start a service that was stopped.
            let bus = zbus::fdo::DBusProxy::new(connection).await?;
            let runs = bus.name_has_owner(SERVICE_NAME.try_into()?).await?;
            anyhow::ensure!(runs, "the service has stopped");
        }
        let paths = match camera {
            Some(_) => vec![path_of(connection, camera).await?],
            None => manager.cameras().await?,
        };
        let mut rows = Vec::new();
        for path in paths {
            let properties = all_properties(&properties_at(connection, path.clone()).await?).await?;
            let frames = properties["camera"].get("Stats").and_then(|stats| stats["frames"].as_u64());
            let now = Instant::now();
            let last = before.insert(path, (frames, now));
            let rate = last.and_then(|(last, then): (Option<u64>, Instant)| {
                Some(frames?.checked_sub(last?)? as f64 / now.duration_since(then).as_secs_f64())
            });
            rows.push(row(&properties, rate));
        }
        rows.sort_by(|a, b| a.cells[0].cmp(&b.cells[0]));
        let lines = draw(&rows, colored);
        // Back to the first line of the last table, and everything from there is erased. Lines that are
        // too long are cut by the terminal: if they were two, the next table would be misplaced.
        let back = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
        let mut out = io::stdout().lock();
        writeln!(out, "{back}\x1b[?7l{}\x1b[?7h", lines.join("\n"))?;
        out.flush()?;
        drawn = lines.len();
    }
}

/// A number with a unit; `-` if there is none, because it is not known or not for this user.
fn figure(value: Option<f64>, decimals: usize, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}{unit}"))
}

/// The crop in per cent of the frame: its size, and where it begins.
fn crop_of(crop: &Json) -> Option<String> {
    let part = |place: usize| Some(crop.get(place)?.as_f64()? * 100.0);
    Some(format!("{:.0}x{:.0} % at {:.0},{:.0}", part(2)?, part(3)?, part(0)?, part(1)?))
}

/// `frame_rate` is what was counted since the last time.
fn row(properties: &Properties, frame_rate: Option<f64>) -> Row {
    let none = Json::Null;
    let of = |interface: &str, name: &str| properties.get(interface).and_then(|all| all.get(name)).unwrap_or(&none);
    let known = |value: &Json| if value.is_null() { "-".to_owned() } else { to_text(value) };
    let stats = of("camera", "Stats");
    let (inference_ms, masks) = (stats["inference_ms"].as_f64(), of("segmentation", "Rate").as_f64());
    let people = of("segmentation", "People").as_array().map(Vec::len);
    let cells = [
        known(of("camera", "Name")),
        known(of("camera", "State")),
        known(of("camera", "Consumers")),
        people.map_or_else(|| "-".to_owned(), |people| people.to_string()),
        crop_of(of("framing", "Crop")).unwrap_or_else(|| "-".to_owned()),
        figure(frame_rate, 1, ""),
        figure(stats["latency_ms"].as_f64(), 0, " ms"),
        figure(masks, 1, ""),
        figure(stats["mask_age_ms"].as_f64(), 0, " ms"),
        figure(inference_ms, 1, " ms"),
        // The net runs on one thread, or on two that share its work.
        figure(inference_ms.zip(masks).map(|(ms, rate)| ms * rate / 10.0), 0, " %"),
    ];
    let text = |interface, name| of(interface, name).as_str().unwrap_or_default();
    let (error, degraded) = (text("camera", "LastError"), text("segmentation", "Degraded"));
    let failed = matches!(text("camera", "State"), "absent" | "stalled" | "failed") && !error.is_empty();
    let notes = [(failed, error), (!degraded.is_empty(), degraded)];
    let notes = notes.into_iter().filter(|(told, _)| *told).map(|(_, note)| format!("{}: {note}", cells[0])).collect();
    Row { cells, notes }
}

/// The escape sequence of a state's colour.
fn color_of(state: &str) -> &'static str {
    match state {
        "running" => "\x1b[32m",
        "idle" => "\x1b[2m",
        "starting" | "private" => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

/// Draws the table in lines.
fn draw(rows: &[Row], colored: bool) -> Vec<String> {
    if rows.is_empty() {
        return vec!["no cameras".to_owned()];
    }
    let headings = HEADINGS.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(rows.iter().map(|row| &row.cells));
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|place| all().map(|cells| cells[place].chars().count()).max().unwrap_or(0));
    let mut lines = Vec::new();
    for cells in all() {
        let mut line = String::new();
        for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = if place == 0 { 0 } else { 2 };
            let color = match (lines.is_empty(), place) {
                _ if !colored => "",
                (true, _) => "\x1b[1m",
                (false, STATE) => color_of(cell),
                (false, _) => "",
            };
            let end = if color.is_empty() { "" } else { "\x1b[0m" };
            line += &format!("{:gap$}{color}{cell:width$}{end}", "");
        }
        lines.push(line.trim_end().to_owned());
    }
    let notes = rows.iter().flat_map(|row| &row.notes);
    lines.extend(notes.map(|note| note.replace(char::is_control, " ")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use serde_json::json;

    fn properties(state: &str) -> Properties {
        let of = |value: Json| serde_json::from_value(value).expect("an object");
        Properties::from([
            (
                "camera",
                of(json!({"Name": "front", "State": state, "Consumers": 2, "LastError": "in use by\nanother program",
                          "Stats": {"frames": 90, "latency_ms": 41.6, "mask_age_ms": 33.2, "inference_ms": 12.34}})),
            ),
            ("framing", of(json!({"Crop": [0.25, 0.1, 0.5, 0.5]}))),
            ("segmentation", of(json!({"People": [[7, 0.1, 0.2, 0.3, 0.4]], "Rate": 30.0, "Degraded": ""}))),
        ])
    }

    #[test]
    fn a_row_has_what_matters_and_says_what_is_wrong() {
        let running = row(&properties("running"), Some(29.96));
        let expected =
            ["front", "running", "2", "1", "50x50 % at 25,10", "30.0", "42 ms", "30.0", "33 ms", "12.3 ms", "37 %"];
        assert_eq!(running.cells, expected);
        assert_eq!(running.notes, [""; 0], "an error that is over");
        assert_eq!(row(&properties("failed"), None).notes, ["front: in use by\nanother program"]);
        // Without the permission for the mask.
        let mut few = properties("idle");
        few.insert("framing", BTreeMap::new());
        few.insert("segmentation", BTreeMap::new());
        let cells = row(&few, None).cells;
        assert_eq!([&cells[3], &cells[4], &cells[5], &cells[7], &cells[10]], ["-"; 5]);
    }

    #[test]
    fn lines_are_colored_only_if_that_is_wanted() {
        let rows = [row(&properties("running"), None), row(&properties("failed"), None)];
        let plain = draw(&rows, false);
        assert_eq!(plain.len(), 4);
        assert!(plain[0].starts_with("CAMERA  STATE    CLIENTS") && !plain.concat().contains('\x1b'), "{plain:#?}");
        assert_eq!(plain[3], "front: in use by another program", "one line");
        let colored = draw(&rows, true);
        assert!(colored[1].contains("\x1b[32mrunning\x1b[0m") && colored[2].contains("\x1b[31m"), "{colored:#?}");
    }
}
