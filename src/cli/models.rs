//! `portraitd models`: lists the models and what each is meant for.

use serde_json::json;
use std::path::PathBuf;

use portraitd::command_line::{library_in, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A directory of models, searched before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let library = library_in(arguments.models_dir.as_deref())?;
    let mut listed = Vec::new();
    for entry in library.entries() {
        let path = entry.path.display().to_string();
        match entry.manifest {
            Ok(manifest) => {
                let size = manifest.input.size();
                if !arguments.json {
                    print_line(format_args!(
                        "{:<20} {size:>9}  {}  ({path}; {})",
                        manifest.name, manifest.title, manifest.licence
                    ))?;
                }
                listed.push(json!({
                    "name": manifest.name, "title": manifest.title, "manifest": path, "licence": manifest.licence,
                    "width": size.width, "height": size.height, "source": manifest.source,
                    "scope": {
                        "max_distance_m": manifest.scope.max_distance_m,
                        "min_person_height": manifest.scope.min_person_height,
                        "people": manifest.scope.people,
                        "out_of_scope": manifest.scope.out_of_scope,
                    },
                }));
            }
            Err(error) => {
                if !arguments.json {
                    print_line(format_args!("{:<20} {error}", "(unusable)"))?;
                }
                listed.push(json!({ "manifest": path, "error": error.to_string() }));
            }
        }
    }
    if arguments.json {
        print_line(serde_json::to_string_pretty(&listed)?)?;
    }
    Ok(())
}
