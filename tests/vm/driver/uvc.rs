//! A USB camera that this program emulates: it speaks USB/IP to the kernel's `vhci_hcd`, so that
//! the real `uvcvideo` driver drives it. It can send JPEG pictures and damaged ones, operate a
//! privacy shutter, and be unplugged.
//!
//! Sources: USB Video Class 1.0, and `Documentation/usb/usbip_protocol` of the kernel.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A frame that the camera sends.
#[derive(Clone, Debug)]
pub struct Sent {
    pub bytes: Vec<u8>,
    /// Whether the camera marks the frame as damaged.
    pub flagged: bool,
}

impl Sent {
    pub fn good(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), flagged: false }
    }
}

/// A frame size that the camera offers: width, height, interval in 100 ns.
pub type Offer = (u16, u16, u32);

/// The properties of the camera.
#[derive(Clone, Debug)]
pub struct Profile {
    pub jpeg: Vec<Offer>,
    pub yuyv: Vec<Offer>,
    /// The frame rate at which it really sends, in frames a second.
    pub rate: f64,
}

enum Order {
    /// Send these frames repeatedly.
    Show(Vec<Sent>),
    /// Move the shutter.
    Private(bool),
    Silence,
}

/// A plugged camera. Dropping it unplugs it.
pub struct Camera {
    orders: Sender<Order>,
    cable: UnixStream,
    worker: Option<JoinHandle<()>>,
}

impl Camera {
    /// Plugs a camera into port `port` of the virtual hub.
    pub fn plug(port: u32, profile: &Profile, pictures: Vec<Sent>) -> Result<Self> {
        let (ours, kernels) = UnixStream::pair()?;
        let (orders, receiver) = channel();
        let worker = {
            let mut device = Device::new(profile, pictures, ours.try_clone()?);
            std::thread::spawn(move || device.run(&receiver))
        };
        // 3 is high speed. The kernel takes its own reference to the socket.
        let line = format!("{port} {} {} 3", kernels.as_raw_fd(), (1 << 16) | (port + 2));
        fs::write("/sys/devices/platform/vhci_hcd.0/attach", line).context("vhci attach")?;
        Ok(Self { orders, cable: ours, worker: Some(worker) })
    }

    pub fn show(&self, pictures: Vec<Sent>) {
        let _ = self.orders.send(Order::Show(pictures));
    }

    pub fn set_private(&self, private: bool) {
        let _ = self.orders.send(Order::Private(private));
    }

    pub fn fall_silent(&self) {
        let _ = self.orders.send(Order::Silence);
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.cable.shutdown(Shutdown::Both);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

const COMMAND_SUBMIT: u32 = 1;
const COMMAND_UNLINK: u32 = 2;
const RETURN_SUBMIT: u32 = 3;
const RETURN_UNLINK: u32 = 4;
const STALL: i32 = -32;
const UNLINKED: i32 = -104;
/// The data of one transfer of the video endpoint.
const PAYLOAD: usize = 16_384;
const CAMERA_TERMINAL: u8 = 1;
const PRIVACY_SELECTOR: u8 = 0x11;

struct Device {
    cable: UnixStream,
    descriptors: Vec<u8>,
    profile: Profile,
    pictures: Vec<Sent>,
    next_picture: usize,
    /// The remaining bytes of the current frame, and whether it is marked as damaged.
    sending: Option<(Vec<u8>, usize, bool)>,
    frame_id: u8,
    video: VecDeque<(u32, usize)>,
    status: VecDeque<(u32, usize)>,
    events: VecDeque<Vec<u8>>,
    probe: [u8; 26],
    private: bool,
    silent: bool,
}

impl Device {
    fn new(profile: &Profile, pictures: Vec<Sent>, cable: UnixStream) -> Self {
        Self {
            cable,
            descriptors: configuration(profile),
            profile: profile.clone(),
            pictures,
            next_picture: 0,
            sending: None,
            frame_id: 0,
            video: VecDeque::new(),
            status: VecDeque::new(),
            events: VecDeque::new(),
            probe: [0; 26],
            private: false,
            silent: false,
        }
    }

    fn run(&mut self, orders: &Receiver<Order>) {
        let interval = Duration::from_secs_f64(1.0 / self.profile.rate);
        let mut due = Instant::now() + interval;
        loop {
            let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let _ = self.cable.set_read_timeout(Some(wait));
            let mut header = [0; 48];
            // Headers are read completely: once the first byte has arrived, the rest is awaited.
            match self.cable.read(&mut header[..1]) {
                Ok(0) => return,
                Ok(_) => {
                    let _ = self.cable.set_read_timeout(None);
                    if self.cable.read_exact(&mut header[1..]).is_err() || self.command(&header).is_err() {
                        return;
                    }
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => return,
            }
            for order in orders.try_iter() {
                match order {
                    Order::Show(pictures) => (self.pictures, self.next_picture) = (pictures, 0),
                    Order::Silence => self.silent = true,
                    Order::Private(private) => {
                        self.private = private;
                        // Video control interface; a control has changed; its value.
                        let event = [1, CAMERA_TERMINAL, 0, PRIVACY_SELECTOR, 0, u8::from(private)];
                        self.events.push_back(event.to_vec());
                    }
                }
            }
            let now = Instant::now();
            if now >= due {
                due = (due + interval).max(now);
                if self.sending.is_none() && !self.silent && !self.video.is_empty() && !self.pictures.is_empty() {
                    let picture = self.pictures[self.next_picture % self.pictures.len()].clone();
                    self.next_picture += 1;
                    self.frame_id ^= 1;
                    self.sending = Some((picture.bytes, 0, picture.flagged));
                }
            }
            if self.transfer().is_err() {
                return;
            }
        }
    }

    fn command(&mut self, header: &[u8; 48]) -> std::io::Result<()> {
        let word = |index: usize| u32::from_be_bytes(header[index * 4..index * 4 + 4].try_into().expect("four bytes"));
        let (command, sequence, input, endpoint) = (word(0), word(1), word(3) == 1, word(4));
        if command == COMMAND_UNLINK {
            let target = word(5);
            let waiting = self.video.len() + self.status.len();
            self.video.retain(|(sequence, _)| *sequence != target);
            self.status.retain(|(sequence, _)| *sequence != target);
            let found = self.video.len() + self.status.len() < waiting;
            if self.video.is_empty() {
                self.sending = None;
            }
            return self.answer(RETURN_UNLINK, sequence, if found { UNLINKED } else { 0 }, &[]);
        }
        if command != COMMAND_SUBMIT {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let length = usize::try_from(word(6)).unwrap_or(0);
        let mut data = vec![0; if input { 0 } else { length }];
        self.cable.read_exact(&mut data)?;
        match (endpoint, input) {
            (0, _) => {
                let setup: [u8; 8] = header[40..48].try_into().expect("eight bytes");
                match self.control(setup, &data) {
                    Some(mut reply) => {
                        reply.truncate(length);
                        if input {
                            self.answer(RETURN_SUBMIT, sequence, 0, &reply)
                        } else {
                            self.answer_of(RETURN_SUBMIT, sequence, 0, length, &[])
                        }
                    }
                    None => self.answer(RETURN_SUBMIT, sequence, STALL, &[]),
                }
            }
            (1, true) => {
                self.video.push_back((sequence, length));
                Ok(())
            }
            (2, true) => {
                self.status.push_back((sequence, length));
                Ok(())
            }
            _ => self.answer(RETURN_SUBMIT, sequence, STALL, &[]),
        }
    }

    fn answer(&mut self, command: u32, sequence: u32, status: i32, data: &[u8]) -> std::io::Result<()> {
        self.answer_of(command, sequence, status, data.len(), data)
    }

    /// A reply to a transfer of `length` bytes with `data`; without data if the host sent the data.
    fn answer_of(
        &mut self,
        command: u32,
        sequence: u32,
        status: i32,
        length: usize,
        data: &[u8],
    ) -> std::io::Result<()> {
        let mut packet = Vec::with_capacity(48 + data.len());
        for word in [command, sequence, 0, 0, 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet.extend_from_slice(&status.to_be_bytes());
        packet.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
        packet.resize(48, 0);
        packet.extend_from_slice(data);
        self.cable.write_all(&packet)
    }

    /// Replies to waiting transfers with the available data.
    fn transfer(&mut self) -> std::io::Result<()> {
        while let (Some(event), false) = (self.events.front(), self.status.is_empty()) {
            let event = event.clone();
            self.events.pop_front();
            let (sequence, length) = self.status.pop_front().expect("not empty");
            self.answer(RETURN_SUBMIT, sequence, 0, &event[..event.len().min(length)])?;
        }
        while let (Some((bytes, offset, flagged)), false) = (&mut self.sending, self.video.is_empty()) {
            let (sequence, length) = self.video.pop_front().expect("not empty");
            let room = length.min(PAYLOAD).saturating_sub(2);
            let end = (*offset + room).min(bytes.len());
            let last = end == bytes.len();
            // Header: length; flags for frame id, end of frame, error, end of header.
            let mut payload = vec![2, 0x80 | self.frame_id | u8::from(last) << 1 | u8::from(*flagged) << 6];
            payload.extend_from_slice(&bytes[*offset..end]);
            *offset = end;
            if last {
                self.sending = None;
            }
            self.answer(RETURN_SUBMIT, sequence, 0, &payload)?;
        }
        Ok(())
    }

    /// The reply to a request on endpoint 0. `None` means a stall.
    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
        let [kind, request, low, high, index_low, index_high, ..] = setup;
        match (kind, request) {
            // GET_DESCRIPTOR.
            (0x80, 6) => match high {
                1 => Some(DEVICE.to_vec()),
                2 => Some(self.descriptors.clone()),
                3 if low == 0 => Some(vec![4, 3, 9, 4]),
                3 => Some(string(["portraitd", "Laboratory camera", "0001"][usize::from(low - 1).min(2)])),
                _ => None,
            },
            // GET_STATUS; SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE.
            (0x80..=0x82, 0) => Some(vec![0, 0]),
            (0x00..=0x02, 1 | 3 | 9 | 11) => Some(Vec::new()),
            // Class requests to an interface.
            (0xa1 | 0x21, _) => match (index_low, index_high, high) {
                (0, CAMERA_TERMINAL, PRIVACY_SELECTOR) => self.privacy(request),
                (1, _, 1 | 2) => self.probe(request, data),
                _ => None,
            },
            _ => None,
        }
    }

    fn privacy(&self, request: u8) -> Option<Vec<u8>> {
        match request {
            0x81 => Some(vec![u8::from(self.private)]),
            0x82 | 0x87 => Some(vec![0]),
            0x83 | 0x84 => Some(vec![1]),
            0x85 => Some(vec![1, 0]),
            // Readable, changes autonomously, reports changes asynchronously.
            0x86 => Some(vec![0x01 | 0x08 | 0x10]),
            _ => None,
        }
    }

    /// The negotiation of video streaming: the host proposes parameters, and the device answers
    /// with its own.
    fn probe(&mut self, request: u8, data: &[u8]) -> Option<Vec<u8>> {
        match request {
            0x01 => {
                let length = data.len().min(26);
                self.probe[..length].copy_from_slice(&data[..length]);
                Some(Vec::new())
            }
            0x86 => Some(vec![3]),
            0x85 => Some(vec![26, 0]),
            _ => {
                let format = self.probe[2].max(1);
                let jpeg = format == 1 && !self.profile.jpeg.is_empty();
                let offers = if jpeg { &self.profile.jpeg } else { &self.profile.yuyv };
                let frame = usize::from(self.probe[3].max(1)).min(offers.len());
                let (width, height, interval) = offers.get(frame - 1).copied()?;
                let mut reply = self.probe;
                reply[2] = format;
                reply[3] = u8::try_from(frame).unwrap_or(1);
                reply[4..8].copy_from_slice(&interval.to_le_bytes());
                let bytes = u32::from(width) * u32::from(height) * 2;
                reply[18..22].copy_from_slice(&bytes.to_le_bytes());
                reply[22..26].copy_from_slice(&u32::try_from(PAYLOAD).unwrap_or(0).to_le_bytes());
                Some(reply.to_vec())
            }
        }
    }
}

/// USB 2.0, miscellaneous class with interface association, id 1d6b:0102.
const DEVICE: [u8; 18] = [18, 1, 0x00, 0x02, 0xef, 2, 1, 64, 0x6b, 0x1d, 0x02, 0x01, 0x00, 0x01, 1, 2, 3, 1];

fn string(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(2 + 2 * text.len()).unwrap_or(255), 3];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

fn configuration(profile: &Profile) -> Vec<u8> {
    let mut all = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 250];
    all.extend([8, 11, 0, 2, 0x0e, 3, 0, 2]);
    // Interface 0: video control, one interrupt endpoint.
    all.extend([9, 4, 0, 0, 1, 0x0e, 1, 0, 2]);
    let mut control = vec![13, 0x24, 1, 0x00, 0x01, 0, 0, 0x80, 0x8d, 0x5b, 0x00, 1, 1];
    // Camera terminal 1 with three bytes of controls (bit 18 is privacy). Output terminal 2, a USB
    // stream.
    control.extend([18, 0x24, 2, CAMERA_TERMINAL, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4]);
    control.extend([9, 0x24, 3, 2, 0x01, 0x01, 0, CAMERA_TERMINAL, 0]);
    let length = u16::try_from(control.len()).unwrap_or(0).to_le_bytes();
    control[5..7].copy_from_slice(&length);
    all.extend(control);
    all.extend([7, 5, 0x82, 3, 16, 0, 6, 5, 0x25, 3, 16, 0]);
    // Interface 1: video streaming, one bulk endpoint.
    all.extend([9, 4, 1, 0, 1, 0x0e, 2, 0, 0]);
    let formats = u8::from(!profile.jpeg.is_empty()) + u8::from(!profile.yuyv.is_empty());
    let mut streaming = vec![13 + formats, 0x24, 1, formats, 0, 0, 0x81, 0, 2, 0, 0, 0, 1];
    streaming.extend(std::iter::repeat_n(0, usize::from(formats)));
    let mut index = 1;
    for (offers, jpeg) in [(&profile.jpeg, true), (&profile.yuyv, false)] {
        let Ok(count @ 1..) = u8::try_from(offers.len()) else { continue };
        if jpeg {
            streaming.extend([11, 0x24, 6, index, count, 1, 1, 0, 0, 0, 0]);
        } else {
            streaming.extend([27, 0x24, 4, index, count]);
            streaming.extend(*b"YUY2");
            streaming.extend([0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
            streaming.extend([16, 1, 0, 0, 0, 0]);
        }
        for (frame, (width, height, interval)) in (1..).zip(offers) {
            streaming.extend([30, 0x24, if jpeg { 7 } else { 5 }, frame, 0]);
            streaming.extend(width.to_le_bytes());
            streaming.extend(height.to_le_bytes());
            streaming.extend([0; 8]);
            streaming.extend((u32::from(*width) * u32::from(*height) * 2).to_le_bytes());
            streaming.extend(interval.to_le_bytes());
            streaming.push(1);
            streaming.extend(interval.to_le_bytes());
        }
        streaming.extend([6, 0x24, 13, 1, 1, 4]);
        index += 1;
    }
    let length = u16::try_from(streaming.len()).unwrap_or(0).to_le_bytes();
    streaming[4..6].copy_from_slice(&length);
    all.extend(streaming);
    all.extend([7, 5, 0x81, 2, 0, 2, 0]);
    let length = u16::try_from(all.len()).unwrap_or(0).to_le_bytes();
    all[2..4].copy_from_slice(&length);
    all
}
