//! `portraitd doctor`: says what is wrong on this system, and how to mend it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use portraitd::command_line::{one_line, print_line};
use portraitd::doctor::bus::{BusFacts, UnitFacts, ask};
use portraitd::doctor::{Caller, Report, Severity, Surroundings, examine, refused_memfd};
use portraitd::publish::dbus::Bus;
use portraitd::service::config::{Config, ConfigSources, Flags};
use portraitd_vision::net::EngineOptions;

use super::library_of;
use super::run::bus_of;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read this file instead of those in /usr/lib/portraitd and /etc/portraitd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The bus of the service, as in `run`
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config, bus, json } = arguments;
    let settings = Config::load(&ConfigSources::system(config, Flags { bus, ..Flags::default() }));
    let bus = settings.as_ref().map_or(Bus::System, |config| bus_of(&config.bus));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    let facts = runtime.block_on(ask(&bus));
    runtime.shutdown_background();
    let surroundings = Surroundings {
        root: PathBuf::from("/"),
        caller: Caller::of_this_process(),
        refused_models: settings.as_ref().map(refused_models).unwrap_or_default(),
        settings: settings.map_err(|error| error.to_string()),
        devices: portraitd_v4l2::devices().unwrap_or_default(),
        last_words: last_words(&facts),
        bus: facts,
        memfd: refused_memfd(),
        now_s: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    };
    let report = examine(&surroundings);
    if json {
        print_line(serde_json::to_string_pretty(&report)?)?;
    } else {
        print_report(&report)?;
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    match count(Severity::Error) {
        0 => Ok(()),
        1 => anyhow::bail!("one error"),
        errors => anyhow::bail!("{errors} errors"),
    }
}

fn print_report(report: &Report) -> anyhow::Result<()> {
    for finding in &report.findings {
        print_line(format_args!("{:<8} {:<18} {}", finding.severity, finding.id, finding.place))?;
        print_line(format_args!("    {}", finding.what))?;
        for step in &finding.remedy {
            print_line(format_args!("    -> {step}"))?;
        }
    }
    for text in &report.unseen {
        print_line(format_args!("not examined: {text}"))?;
    }
    if report.findings.is_empty() {
        print_line("nothing is wrong")?;
    }
    Ok(())
}

/// Why models of the configuration cannot be used. Loading one runs nothing that the service does
/// not run at its start.
fn refused_models(config: &Config) -> Vec<String> {
    let library = match library_of(config) {
        Ok(library) => library,
        Err(error) => return vec![one_line(&error)],
    };
    let of_camera = |camera: &portraitd::service::config::CameraConfig| {
        let error = library.load(&camera.segmentation.model, EngineOptions::default()).err()?;
        let key = format!("`camera.{}.segmentation.model`", camera.name);
        Some(one_line(&anyhow::Error::from(error).context(key)))
    };
    config.cameras.iter().filter_map(of_camera).collect()
}

/// The last warning of the service in the journal, if its unit has trouble and the caller may read
/// the journal. It takes 2 s at most.
fn last_words(facts: &BusFacts) -> Option<String> {
    let trouble = |unit: &UnitFacts| unit.active != "active" || unit.restarts > 0;
    facts.unit.as_ref().filter(|unit| trouble(unit))?;
    let mut journal = Command::new("journalctl")
        .args(["--unit=portraitd.service", "--priority=warning", "--lines=1", "--output=cat", "--no-pager", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let end = Instant::now() + Duration::from_secs(2);
    while journal.try_wait().ok()?.is_none() {
        if Instant::now() > end {
            let _ = journal.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    journal.stdout.take()?.take(4096).read_to_string(&mut text).ok()?;
    let line = text.lines().last()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
