//! Captures one picture of 640x360 from a single-planar device with the crate `v4l`: `vm-peer NODE
//! FOURCC FILE`.

use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::{Device, FourCC, buffer::Type};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [node, code, file] = <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: vm-peer NODE FOURCC FILE")?;
    let device = Device::with_path(&node)?;
    let mut format = device.format()?;
    format.width = 640;
    format.height = 360;
    format.fourcc = FourCC::new(&<[u8; 4]>::try_from(code.as_bytes())?);
    let set = device.set_format(&format)?;
    if (set.width, set.height, set.fourcc) != (format.width, format.height, format.fourcc) {
        return Err(format!("the device was set to {set}").into());
    }
    let mut stream = Stream::with_buffers(&device, Type::VideoCapture, 3)?;
    let (bytes, meta) = stream.next()?;
    let used = usize::try_from(meta.bytesused)?;
    std::fs::write(file, &bytes[..used])?;
    Ok(())
}
