//! The arguments that choose a model.

use std::path::PathBuf;

use portraitd::command_line::library_in;
use portraitd_vision::net::DEFAULT_MODEL;
use portraitd_vision::net::Library;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArguments {
    /// The name of a model, or the path of a manifest
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub(super) model: String,
    /// A directory of models, searched before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl ModelArguments {
    /// The models of `--models-dir`, then the built-in ones.
    pub(super) fn library(&self) -> anyhow::Result<Library> {
        library_in(self.models_dir.as_deref())
    }
}
