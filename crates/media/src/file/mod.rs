//! Files as sources: pictures, directories of pictures, and y4m video, which can also be read from
//! standard input and from a named pipe.
//!
//! - The contents of a file decide its type, not its name.
//! - A directory delivers its `.png`, `.jpg` and `.jpeg` files in the order of their names.
//! - Without `loop`, a directory and a video end ([`StreamEvent::End`]). A single picture is
//!   repeated without end.
//! - Standard input can be opened once. A named pipe can be opened again for its next writer.
//!
//! A stream runs on the capture thread. Pictures own their memory and are lent as they are. The
//! frames of a video are copied to a [`MemoryPool`], so nothing is allocated after the start.
//!
//! [`batch`] reads the same files without pacing and without frames, for programs that process
//! every picture.
//!
//! [`MemoryPool`]: crate::frame::MemoryPool
//! [`StreamEvent::End`]: crate::source::StreamEvent::End

pub mod batch;
mod options;
mod pictures;
mod pipe;
mod probe;
mod source;
mod video;
pub mod y4m;

pub use batch::{Input, InputError, expand_inputs, left_out_of, open_pictures, open_video};
pub use options::{FileOptions, FilePath};
pub use source::FileSource;
pub use y4m::{Y4mError, Y4mHeader, Y4mReader, Y4mWriter};

#[cfg(test)]
mod tests;
