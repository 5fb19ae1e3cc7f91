//! The man pages and shell completions in `packaging/manual/`, made from the definitions of the
//! command lines.
//!
//! Each program has a test that calls [`differences`]. The files are kept in the repository, so that
//! packages and `systemd/install` need no generator, and no program carries one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Compares the files of a program with its command line, and returns the paths that differ, are
/// missing or belong to a subcommand that is gone. With `PORTRAITD_BLESS=1` it writes the files
/// instead.
///
/// # Errors
/// If a file cannot be read or written.
pub fn differences(command: Command) -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/manual");
    let bless = std::env::var_os("PORTRAITD_BLESS").is_some();
    let program = command.get_name().to_owned();
    let wanted = files(command)?;
    let mut different = Vec::new();
    for (path, text) in &wanted {
        let path = folder.join(path);
        if std::fs::read(&path).is_ok_and(|found| found == *text) {
            continue;
        }
        if bless {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, text)?;
        } else {
            different.push(path);
        }
    }
    for entry in std::fs::read_dir(folder.join("man"))? {
        let entry = entry?;
        let name = PathBuf::from("man").join(entry.file_name());
        if is_page_of(&program, &entry.file_name().to_string_lossy()) && !wanted.contains_key(&name) {
            if bless {
                std::fs::remove_file(entry.path())?;
            } else {
                different.push(entry.path());
            }
        }
    }
    Ok(different)
}

/// Whether `file` is the page of a program or of one of its subcommands. `portraitd-lab` is another
/// program than `portraitd`.
fn is_page_of(program: &str, file: &str) -> bool {
    let Some(rest) = file.strip_prefix(program) else { return false };
    rest == ".1" || (rest.starts_with('-') && (program == "portraitd-lab" || !rest.starts_with("-lab")))
}

/// Every file of a program, by its path below `packaging/manual/`.
fn files(command: Command) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let program = command.get_name().to_owned();
    for (shell, path) in [
        (Shell::Bash, format!("bash/{program}")),
        (Shell::Fish, format!("fish/{program}.fish")),
        (Shell::Zsh, format!("zsh/_{program}")),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), &program, &mut text);
        files.insert(PathBuf::from(path), text);
    }
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, None, &mut files)?;
    Ok(files)
}

/// The page of a command, and those of its subcommands.
fn pages(command: &Command, parent: Option<&str>, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    // Neither a date nor a version, which would change every page at every release.
    let man = Man::new(command.clone()).source("portraitd").manual("portraitd");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    let children: Vec<&Command> = command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
    if !children.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        // As it stands: it contains examples and tables.
        roff.control("SH", ["NOTES"]).control("nf", []);
        for line in notes.to_string().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    let related: Vec<String> = match parent {
        Some(parent) => vec![format!("{parent}(1)")],
        None => ["portraitctl", "portraitd", "portraitd-lab"]
            .into_iter()
            .filter(|other| *other != name)
            .map(|other| format!("{other}(1)"))
            .collect(),
    };
    roff.control("SH", ["SEE ALSO"]).text([roman(related.join(", "))]);
    roff.to_writer(&mut text)?;
    files.insert(PathBuf::from(format!("man/{name}.1")), text);
    for child in children {
        pages(child, Some(&name), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_every_visible_command() {
        let command = Command::new("portraitd")
            .subcommand(Command::new("run").about("Run the service"))
            .subcommand(Command::new("secret").hide(true));
        let files = files(command).expect("files");
        let pages: Vec<&str> =
            files.keys().filter_map(|path| path.to_str()).filter(|path| path.starts_with("man")).collect();
        assert_eq!(pages, ["man/portraitd-run.1", "man/portraitd.1"]);
    }

    #[test]
    fn the_laboratory_is_another_program() {
        assert!(is_page_of("portraitd", "portraitd.1") && is_page_of("portraitd", "portraitd-run.1"));
        assert!(!is_page_of("portraitd", "portraitd-lab.1") && !is_page_of("portraitd", "portraitd-lab-eval.1"));
        assert!(is_page_of("portraitd-lab", "portraitd-lab-eval.1") && !is_page_of("portraitctl", "portraitd.1"));
    }
}
