//! Reads pictures and videos one after another, without pacing and without frames.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::probe;
use super::y4m::{Y4mError, Y4mReader};
use crate::image::{self, Content, ImageError};
use crate::owned::OwnedPicture;

/// A file to process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file that begins like a PNG or JPEG. Whether it is valid is known after decoding.
    Picture(PathBuf),
    /// A file that begins like a y4m video.
    Video(PathBuf),
    /// y4m on standard input.
    Stdin,
}

/// Why an input cannot be read. The text is one line that begins with the path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct InputError {
    /// The path of the input.
    pub path: PathBuf,
    /// The failure.
    pub reason: InputReason,
}

/// The ways in which reading an input can fail.
#[derive(Debug, thiserror::Error)]
pub enum InputReason {
    /// The file or directory cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The directory contains no picture.
    #[error("no .png, .jpg or .jpeg file in this directory")]
    NoPictures,
    /// The file is neither a picture nor a video.
    #[error("not a PNG or JPEG picture nor a y4m video: it looks like {}{}", .0, .0.advice())]
    NotSupported(Content),
    /// The video is damaged or not supported.
    #[error(transparent)]
    Video(#[from] Y4mError),
}

impl InputError {
    fn new(path: &Path, reason: impl Into<InputReason>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// The files of a directory whose extension is `png`, `jpg` or `jpeg`, sorted by the bytes of their
/// names. Hidden files and subdirectories are left out.
///
/// # Errors
/// The error of reading the directory.
pub fn pictures_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(sorted(directory)?.0)
}

/// What [`pictures_in`] leaves out of a directory, sorted by name: files with another extension, and
/// subdirectories. Hidden ones are not named.
///
/// # Errors
/// The error of reading the directory.
pub fn left_out_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(sorted(directory)?.1)
}

/// The pictures of a directory, and everything else that is not hidden.
fn sorted(directory: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut pictures, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let picture = ["png", "jpg", "jpeg"].iter().any(|known| extension == *known) && !path.is_dir();
        if picture { pictures.push(path) } else { others.push(path) }
    }
    pictures.sort();
    others.sort();
    Ok((pictures, others))
}

/// Detects the type of each path by its first bytes. A directory is replaced by its pictures, and
/// `-` means standard input.
///
/// # Errors
/// [`InputError`] for the first path that is missing, is neither a picture nor a video, or is a
/// directory without pictures.
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
        inputs.push(match probe::open(path).map_err(failed)?.1 {
            Content::Y4m => Input::Video(path.clone()),
            Content::Png | Content::Jpeg => Input::Picture(path.clone()),
            other => return Err(InputError::new(path, InputReason::NotSupported(other))),
        });
    }
    Ok(inputs)
}

/// Decodes pictures to `Rgb24`, one at a time. Each item has the path. The iteration continues
/// after an error.
pub fn open_pictures(
    paths: impl IntoIterator<Item = PathBuf>,
) -> impl Iterator<Item = Result<(PathBuf, OwnedPicture), ImageError>> {
    paths.into_iter().map(|path| image::read(&path).map(|picture| (path, picture)))
}

/// Opens a y4m file and reads its header.
///
/// # Errors
/// [`InputError`]: the file cannot be read, is not a y4m video, or its header is not supported.
pub fn open_video(path: &Path) -> Result<Y4mReader<BufReader<File>>, InputError> {
    let file = match probe::open(path).map_err(|error| InputError::new(path, error))? {
        (file, Content::Y4m) => file,
        (_, other) => return Err(InputError::new(path, InputReason::NotSupported(other))),
    };
    Y4mReader::new(BufReader::with_capacity(1 << 16, file)).map_err(|error| InputError::new(path, error))
}
