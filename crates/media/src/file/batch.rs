//! Pictures and videos one after another, as fast as they are asked for: for `segment` and `eval`. No pacing, no frames.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};

use super::read_up_to;
use super::y4m::{Y4mError, Y4mReader};
use crate::OwnedPicture;
use crate::image;
use crate::image::{Content, ImageError, sniff};

/// One thing to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A PNG or JPEG (or what claims to be one: decoding it says).
    Picture(PathBuf),
    /// A y4m video.
    Video(PathBuf),
    /// y4m on standard input.
    Stdin,
}

/// Why an input cannot be read. Display is one line that begins with its path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct InputError {
    /// Which input.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: InputReason,
}

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
pub enum InputReason {
    /// The system's own error.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A directory without a picture.
    #[error("no .png, .jpg or .jpeg file in this directory")]
    NoPictures,
    /// Something else.
    #[error("not a PNG or JPEG picture nor a y4m video: it looks like {0}")]
    NotSupported(Content),
    /// A video that is damaged or of a kind that is not read.
    #[error(transparent)]
    Video(#[from] Y4mError),
}

impl InputError {
    fn new(path: &Path, reason: impl Into<InputReason>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// The pictures of a directory (not of those below it), by their extension, in the order of their names' bytes. Hidden
/// files are left out.
///
/// # Errors
/// What reading the directory returns.
pub fn pictures_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let picture = ["png", "jpg", "jpeg"].iter().any(|known| extension == *known);
        if picture && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Tells pictures from videos by their first bytes, puts a directory's pictures in its place, and reads `-` as standard
/// input.
///
/// # Errors
/// The first input that is missing, is neither, or is a directory without pictures.
pub fn expand_inputs(paths: &[PathBuf]) -> Result<Vec<Input>, InputError> {
    let mut inputs = Vec::new();
    for path in paths {
        let failed = |error: io::Error| InputError::new(path, error);
        if path.as_os_str() == "-" {
            inputs.push(Input::Stdin);
            continue;
        }
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            let pictures = pictures_in(path).map_err(failed)?;
            if pictures.is_empty() {
                return Err(InputError::new(path, InputReason::NoPictures));
            }
            inputs.extend(pictures.into_iter().map(Input::Picture));
            continue;
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut first = [0; 64];
        let length = read_up_to(&mut file, &mut first).map_err(failed)?;
        inputs.push(match sniff(&first[..length]) {
            Content::Y4m => Input::Video(path.clone()),
            Content::Png | Content::Jpeg => Input::Picture(path.clone()),
            other => return Err(InputError::new(path, InputReason::NotSupported(other))),
        });
    }
    Ok(inputs)
}

/// Decodes pictures to `Rgb24`, one at a time, each with its path. One bad picture does not end the iteration.
pub fn open_pictures(
    paths: impl IntoIterator<Item = PathBuf>,
) -> impl Iterator<Item = Result<(PathBuf, OwnedPicture), ImageError>> {
    paths.into_iter().map(|path| image::read(&path).map(|picture| (path, picture)))
}

/// Opens a y4m file.
///
/// # Errors
/// It cannot be read, or its header is not one that is supported.
pub fn open_video(path: &Path) -> Result<Y4mReader<BufReader<File>>, InputError> {
    let mut file = File::open(path).map_err(|error| InputError::new(path, error))?;
    let mut first = [0; 64];
    let length = read_up_to(&mut file, &mut first).map_err(|error| InputError::new(path, error))?;
    match sniff(&first[..length]) {
        Content::Y4m => {}
        other => return Err(InputError::new(path, InputReason::NotSupported(other))),
    }
    file.rewind().map_err(|error| InputError::new(path, error))?;
    Y4mReader::new(BufReader::with_capacity(1 << 16, file)).map_err(|error| InputError::new(path, error))
}
