//! A connection to PipeWire and its streams, over the interface in C.
//!
//! Everything here belongs to one thread, the one that calls [`Connection::iterate`]; the types are
//! not `Send`. Callbacks come from within `iterate`, and from within the methods.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::marker::PhantomPinned;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use portraitd_client::FrameCopy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::buffer;
use crate::ffi::{self, pw_core_events, pw_stream_events, spa_hook, spa_interface};
use crate::formats::{Picture, numbers};
use crate::pod::Object;

/// The error number of Linux for an invalid argument.
const EINVAL: c_int = 22;

/// The error of the C library, of a call that has failed just now.
fn last_error() -> io::Error {
    io::Error::last_os_error()
}

/// A negative result is an error number.
fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// A text without its zero bytes, which C would take for its end.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

const fn no_hook() -> spa_hook {
    spa_hook {
        next: ptr::null_mut(),
        previous: ptr::null_mut(),
        cb: ffi::spa_callbacks { funcs: ptr::null(), data: ptr::null_mut() },
        removed: None,
        private: ptr::null_mut(),
    }
}

/// What a callback of the connection uses, at a fixed place.
struct CoreListener {
    hook: spa_hook,
    lost: Box<dyn Fn(&str)>,
    _fixed: PhantomPinned,
}

static CORE_EVENTS: pw_core_events = pw_core_events {
    version: ffi::CORE_EVENTS,
    info: ptr::null(),
    done: ptr::null(),
    ping: ptr::null(),
    error: Some(on_core_error),
    rest: [ptr::null(); 4],
};

unsafe extern "C" fn on_core_error(data: *mut c_void, id: u32, _: c_int, _: c_int, message: *const c_char) {
    if id != ffi::CORE {
        return;
    }
    // SAFETY: `data` is what was given with the listener, which lives as long as the connection.
    let listener = unsafe { &*data.cast::<CoreListener>() };
    // SAFETY: PipeWire passes a text that ends with zero, or null.
    let text = (!message.is_null()).then(|| unsafe { CStr::from_ptr(message) }.to_string_lossy());
    (listener.lost)(text.as_deref().unwrap_or("no reason given"));
}

/// A connection to PipeWire with its loop.
pub(crate) struct Connection {
    own_loop: NonNull<ffi::pw_loop>,
    context: NonNull<ffi::pw_context>,
    core: NonNull<spa_interface>,
    /// Last, so that it outlives the core, which has a pointer to it.
    _listener: Pin<Box<CoreListener>>,
}

impl Connection {
    /// Speaks PipeWire's protocol on a connected socket. `lost` is called when the connection ends.
    pub(crate) fn new(socket: OwnedFd, lost: impl Fn(&str) + 'static) -> io::Result<Rc<Self>> {
        // SAFETY: `pw_init` may be called without arguments, and more than once.
        unsafe { ffi::pw_init(ptr::null_mut(), ptr::null_mut()) };
        // SAFETY: a loop needs no properties.
        let own_loop = NonNull::new(unsafe { ffi::pw_loop_new(ptr::null()) }).ok_or_else(last_error)?;
        // SAFETY: the loop was made above. Properties are optional.
        let context = NonNull::new(unsafe { ffi::pw_context_new(own_loop.as_ptr(), ptr::null_mut(), 0) });
        let Some(context) = context else {
            let error = last_error();
            // SAFETY: nothing uses the loop.
            unsafe { ffi::pw_loop_destroy(own_loop.as_ptr()) };
            return Err(error);
        };
        // SAFETY: the context was made above. It takes the socket over, also if it fails.
        let core = unsafe { ffi::pw_context_connect_fd(context.as_ptr(), socket.into_raw_fd(), ptr::null_mut(), 0) };
        let Some(core) = NonNull::new(core) else {
            let error = last_error();
            // SAFETY: nothing uses the context, and after it the loop.
            unsafe {
                ffi::pw_context_destroy(context.as_ptr());
                ffi::pw_loop_destroy(own_loop.as_ptr());
            }
            return Err(error);
        };
        let mut listener = Box::pin(CoreListener { hook: no_hook(), lost: Box::new(lost), _fixed: PhantomPinned });
        // SAFETY: the core starts with its interface, whose methods start with `pw_core_methods`. The
        // listener is pinned, and outlives the core.
        unsafe {
            let place: *mut CoreListener = listener.as_mut().get_unchecked_mut();
            let callbacks = &core.as_ref().cb;
            let methods = &*callbacks.funcs.cast::<ffi::pw_core_methods>();
            if let Some(add_listener) = methods.add_listener {
                add_listener(callbacks.data, &raw mut (*place).hook, &raw const CORE_EVENTS, place.cast());
            }
        }
        Ok(Rc::new(Self { own_loop, context, core, _listener: listener }))
    }

    /// The methods of the loop, and the object that they take.
    fn control(&self) -> (&ffi::spa_loop_control_methods, *mut c_void) {
        // SAFETY: a loop has a control, which starts with its interface, as long as it exists.
        unsafe {
            let callbacks = &(*self.own_loop.as_ref().control).cb;
            (&*callbacks.funcs.cast(), callbacks.data)
        }
    }

    /// A descriptor that is readable when [`Self::iterate`] has something to do.
    pub(crate) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let (methods, object) = self.control();
        let get = methods.get_fd.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the descriptor is open as long as the loop.
        let own = unsafe { BorrowedFd::borrow_raw(get(object)) }.try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays open, and is always the same.
        Ok(unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?)
    }

    /// Handles what has happened, without waiting. Returns whether there was anything.
    pub(crate) fn iterate(&self) -> bool {
        let (methods, object) = self.control();
        let (Some(enter), Some(leave), Some(iterate)) = (methods.enter, methods.leave, methods.iterate) else {
            return false;
        };
        // SAFETY: the loop is entered on this thread, and left after it.
        unsafe {
            enter(object);
            let handled = iterate(object, 0);
            leave(object);
            handled > 0
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: streams hold the connection, so none is left. The core belongs to the context, and
        // the context to the loop.
        unsafe {
            ffi::pw_core_disconnect(self.core.as_ptr());
            ffi::pw_context_destroy(self.context.as_ptr());
            ffi::pw_loop_destroy(self.own_loop.as_ptr());
        }
    }
}

/// What PipeWire tells of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// Consumers are linked and run, or no longer.
    Streaming(bool),
    /// The stream cannot be used any more.
    Failed(&'a str),
    /// The format that PipeWire has agreed on with consumers, as a pod; `None` if there is none.
    Format(Option<&'a [u8]>),
}

/// What callbacks of a stream use, at a fixed place.
struct StreamListener {
    hook: spa_hook,
    stream: *mut ffi::pw_stream,
    happened: Box<dyn Fn(Handle<'_>, Event<'_>)>,
    _fixed: PhantomPinned,
}

static STREAM_EVENTS: pw_stream_events = pw_stream_events {
    version: ffi::STREAM_EVENTS,
    destroy: ptr::null(),
    state_changed: Some(on_state_changed),
    control_info: ptr::null(),
    io_changed: ptr::null(),
    param_changed: Some(on_param_changed),
    add_buffer: ptr::null(),
    remove_buffer: Some(on_remove_buffer),
    rest: [ptr::null(); 4],
};

/// # Safety
/// `data` is that of a listener of a stream.
unsafe fn tell(data: *mut c_void, event: Event<'_>) {
    // SAFETY: as the caller promises; the listener outlives its stream.
    let listener = unsafe { &*data.cast::<StreamListener>() };
    if let Some(stream) = NonNull::new(listener.stream) {
        (listener.happened)(Handle { stream, _owner: std::marker::PhantomData }, event);
    }
}

unsafe extern "C" fn on_state_changed(data: *mut c_void, _: c_int, state: c_int, error: *const c_char) {
    let is_over = matches!(state, ffi::STATE_ERROR | ffi::STATE_UNCONNECTED);
    // SAFETY: PipeWire passes a text that ends with zero, or null; and the data of the listener.
    unsafe {
        if is_over {
            let text = (!error.is_null()).then(|| CStr::from_ptr(error).to_string_lossy());
            tell(data, Event::Failed(text.as_deref().unwrap_or("PipeWire has ended it")));
        }
        tell(data, Event::Streaming(state == ffi::STATE_STREAMING));
    }
}

unsafe extern "C" fn on_param_changed(data: *mut c_void, id: u32, param: *const ffi::spa_pod) {
    if id != numbers::FORMAT {
        return;
    }
    // SAFETY: PipeWire passes a whole pod, which starts with the size of what follows its head of 8
    // bytes, or null; and the data of the listener.
    unsafe {
        let pod = (!param.is_null()).then(|| {
            let size = usize::try_from(param.cast::<u32>().read()).unwrap_or(0);
            std::slice::from_raw_parts(param.cast::<u8>(), 8 + size)
        });
        tell(data, Event::Format(pod));
    }
}

unsafe extern "C" fn on_remove_buffer(_: *mut c_void, buffer: *mut ffi::pw_buffer) {
    // SAFETY: PipeWire passes a buffer whose memory is still mapped.
    unsafe { buffer::wipe(buffer) };
}

/// Pointers to pods, as PipeWire takes them.
fn pointers(pods: &[Object]) -> (Vec<*const ffi::spa_pod>, u32) {
    let pointers: Vec<_> = pods.iter().map(|pod| pod.words().as_ptr().cast()).collect();
    let number = u32::try_from(pointers.len()).unwrap_or(u32::MAX);
    (pointers, number)
}

/// A stream, for callbacks and for its owner.
#[derive(Clone, Copy)]
pub(crate) struct Handle<'a> {
    stream: NonNull<ffi::pw_stream>,
    _owner: std::marker::PhantomData<&'a Stream>,
}

// SAFETY, for all methods: a handle is not kept for longer than its stream.
impl Handle<'_> {
    /// Answers the event [`Event::Format`] with what the buffers are to be.
    pub(crate) fn set_buffers(self, pods: &[Object]) -> io::Result<()> {
        let (mut pointers, number) = pointers(pods);
        // SAFETY: PipeWire copies the pods.
        check(unsafe { ffi::pw_stream_update_params(self.stream.as_ptr(), pointers.as_mut_ptr(), number) })
    }

    /// Tells PipeWire, and so the consumers, that the stream cannot go on.
    pub(crate) fn fail(self, reason: &str) {
        let text = c_text(reason);
        // SAFETY: the format takes one text. PipeWire copies it.
        unsafe { ffi::pw_stream_set_error(self.stream.as_ptr(), -EINVAL, c"%s".as_ptr(), text.as_ptr()) };
    }

    /// Takes back the pictures that no consumer has fetched.
    pub(crate) fn flush(self) {
        // SAFETY: the stream exists.
        unsafe { ffi::pw_stream_flush(self.stream.as_ptr(), false) };
    }

    /// Hands a frame to the consumers. Returns whether there was a free buffer: slow consumers miss
    /// frames. A frame of another form than `picture`, which no consumer expects, is left out.
    pub(crate) fn push(self, frame: &FrameCopy, picture: &Picture) -> bool {
        let stream = self.stream.as_ptr();
        if !buffer::fits(frame, picture) {
            return true;
        }
        // SAFETY: PipeWire gives null, or a buffer that is ours until it is queued. One that cannot be
        // filled is queued too, marked as damaged and empty: nothing else gives it back.
        unsafe {
            let Some(taken) = NonNull::new(ffi::pw_stream_dequeue_buffer(stream)) else { return false };
            buffer::fill(taken.as_ref().buffer, frame, picture);
            ffi::pw_stream_queue_buffer(stream, taken.as_ptr());
            // Without it another node sets the pace, and fetches the buffer.
            if ffi::pw_stream_is_driving(stream) {
                ffi::pw_stream_trigger_process(stream);
            }
        }
        true
    }
}

/// A stream of video to consumers: a node on PipeWire's list.
pub(crate) struct Stream {
    raw: NonNull<ffi::pw_stream>,
    /// After the stream, which has a pointer to it.
    listener: Pin<Box<StreamListener>>,
    _connection: Rc<Connection>,
}

impl Stream {
    /// Puts a node on the list, with properties and with the formats that it offers. `happened` is
    /// called for each event.
    pub(crate) fn new(
        connection: &Rc<Connection>,
        name: &str,
        properties: &[(&str, &str)],
        formats: &[Object],
        happened: impl Fn(Handle<'_>, Event<'_>) + 'static,
    ) -> io::Result<Self> {
        let name = c_text(name);
        // SAFETY: PipeWire copies texts, and takes the properties over.
        let stream = unsafe {
            let set = ffi::pw_properties_new(ptr::null());
            for (key, value) in properties {
                let (key, value) = (c_text(key), c_text(value));
                ffi::pw_properties_set(set, key.as_ptr(), value.as_ptr());
            }
            ffi::pw_stream_new(connection.core.as_ptr(), name.as_ptr(), set)
        };
        let stream = NonNull::new(stream).ok_or_else(last_error)?;
        let listener = StreamListener {
            hook: no_hook(),
            stream: stream.as_ptr(),
            happened: Box::new(happened),
            _fixed: PhantomPinned,
        };
        let mut listener = Box::pin(listener);
        // SAFETY: the listener is pinned, and outlives the stream.
        unsafe {
            let place: *mut StreamListener = listener.as_mut().get_unchecked_mut();
            let hook = &raw mut (*place).hook;
            ffi::pw_stream_add_listener(stream.as_ptr(), hook, &raw const STREAM_EVENTS, place.cast());
        }
        let own = Self { raw: stream, listener, _connection: connection.clone() };
        let (mut pointers, number) = pointers(formats);
        let flags = ffi::DRIVER | ffi::MAP_BUFFERS;
        // SAFETY: PipeWire copies the pods.
        check(unsafe {
            ffi::pw_stream_connect(stream.as_ptr(), ffi::OUTPUT, ffi::ANY, flags, pointers.as_mut_ptr(), number)
        })?;
        Ok(own)
    }

    pub(crate) fn handle(&self) -> Handle<'_> {
        Handle { stream: self.raw, _owner: std::marker::PhantomData }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: handles do not outlive the stream. Callbacks come during the call, and their
        // listener is still there; without a stream it tells nothing more.
        unsafe {
            self.listener.as_mut().get_unchecked_mut().stream = ptr::null_mut();
            ffi::pw_stream_destroy(self.raw.as_ptr());
        }
    }
}
