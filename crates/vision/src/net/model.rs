//! A model: a loaded net, and memory for its output.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use portraitd_kernels::nn::Program;
use portraitd_kernels::simd::Isa;
use portraitd_media::Size;

use super::engine::{Engine, EngineOptions, Prepared};
use super::error::{EngineError, ModelError};
use super::loaded::LoadedNet;
use super::manifest::{Activation, Manifest, Output, TensorLayout, tensor_shape};
use super::package::Package;

/// A model that is ready to run. It belongs to one thread; a run allocates nothing on the plan, except
/// while more models of the same net run at the same time than ever before. Models of one net share
/// its weights ([`Library::load`](super::Library::load)).
pub struct Model {
    net: Arc<LoadedNet>,
    /// The output tensor of the last run, before activation.
    output: Vec<f32>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.manifest().name)
            .field("engine", &self.engine_name())
            .field("output_size", &self.output_size())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Imports the net and prepares an engine.
    ///
    /// # Errors
    /// [`ModelError`]: the file is not an ONNX file, an operator is not known, or a shape is not
    /// the manifest's.
    pub fn new(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        Ok(Self::of(Arc::new(LoadedNet::new(package, options)?)))
    }

    fn of(net: Arc<LoadedNet>) -> Self {
        let output = vec![0.0; net.manifest.output.channels * pixels(net.output_size)];
        Self { net, output }
    }

    /// A model that calls `segment` for each pass. For nets that run elsewhere, and for tests that
    /// need a net of known behaviour: one that is slow, fails, or knows the truth.
    ///
    /// `segment` gets the input tensor of `manifest` (in its own layout) and fills the mask of
    /// `mask_size`, row-major, with the probability 0..=1 that each cell belongs to a person. The
    /// `[output]` of the manifest is replaced accordingly.
    pub fn from_fn(
        mut manifest: Manifest,
        mask_size: Size,
        segment: impl FnMut(&[f32], &mut [f32]) -> Result<(), EngineError> + Send + 'static,
    ) -> Self {
        manifest.output =
            Output { layout: TensorLayout::Nchw, channels: 1, activation: Activation::None, person_channel: 0 };
        let segment = Arc::new(Mutex::new(segment));
        let prepared = Function { layout: manifest.input.layout, mask_size, segment };
        Self::of(Arc::new(LoadedNet::of(manifest, Box::new(prepared), mask_size)))
    }

    /// The manifest with which the model was loaded.
    pub fn manifest(&self) -> &Manifest {
        &self.net.manifest
    }

    /// `plan` or `tract`.
    pub fn engine_name(&self) -> &'static str {
        self.net.prepared.name()
    }

    /// The instruction set of the plan; `None` if the model runs on tract.
    pub fn isa(&self) -> Option<Isa> {
        self.net.prepared.isa()
    }

    /// The number of threads that a run uses, including the calling thread.
    pub fn threads(&self) -> usize {
        self.net.prepared.threads()
    }

    /// The fused steps of the plan; `None` if the model runs on tract.
    pub fn program(&self) -> Option<&Program> {
        self.net.prepared.program()
    }

    /// The layout of the input of [`Model::run`]. The engine chooses it; the file may have another.
    pub fn input_layout(&self) -> TensorLayout {
        self.net.prepared.input_layout()
    }

    /// The size of the mask that [`Model::run`] writes.
    pub fn output_size(&self) -> Size {
        self.net.output_size
    }

    /// The length of the input of [`Model::run`]: 3 x height x width.
    pub fn input_len(&self) -> usize {
        3 * pixels(self.manifest().input.size())
    }

    /// Runs the net.
    ///
    /// - `input`: [`Model::input_len`] values with the colour order and range of the manifest's
    ///   `[input]`, in the layout of [`Model::input_layout`].
    /// - `mask`: one value for each pixel of [`Model::output_size`], row-major. It receives the
    ///   probability, 0..=1, that the pixel belongs to a person.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the engine fails.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&mut self, input: &[f32], mask: &mut [f32]) -> Result<(), ModelError> {
        let spec = self.manifest().output;
        assert_eq!(mask.len(), self.output.len() / spec.channels, "mask length");
        let Channels { values: output, pixel, channel } = self.run_channels(input)?;
        let plane = |index: usize| output[index * channel..].iter().step_by(pixel);
        match spec.activation {
            Activation::None => {
                mask.iter_mut().zip(plane(spec.person_channel)).for_each(|(to, x)| *to = probability(*x));
            }
            Activation::Sigmoid => {
                mask.iter_mut().zip(plane(spec.person_channel)).for_each(|(to, x)| *to = sigmoid(*x));
            }
            Activation::ClassIndex => {
                for (to, class) in mask.iter_mut().zip(plane(0)) {
                    *to = f32::from((class - spec.person_channel as f32).abs() < 0.5);
                }
            }
            Activation::Softmax | Activation::Argmax => {
                let person = spec.person_channel;
                for (at, to) in mask.iter_mut().enumerate() {
                    let value = |index: usize| output[at * pixel + index * channel];
                    let x = value(person);
                    let mut others = (0..spec.channels).filter(|index| *index != person);
                    *to = if spec.activation == Activation::Argmax {
                        // Of equal values, the first one is the largest.
                        let least = |index: usize| if index < person { value(index) < x } else { value(index) <= x };
                        f32::from(others.all(least))
                    } else {
                        probability(1.0 / (1.0 + others.map(|index| (value(index) - x).exp()).sum::<f32>()))
                    };
                }
            }
        }
        Ok(())
    }

    /// Runs the net on `input`, as [`Model::run`] does, and returns its output as it is.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the engine fails.
    ///
    /// # Panics
    /// If the input has another length.
    pub(crate) fn run_channels(&mut self, input: &[f32]) -> Result<Channels<'_>, ModelError> {
        assert_eq!(input.len(), self.input_len(), "input length");
        self.net
            .run(input, &mut self.output)
            .map_err(|error| ModelError::Run { name: self.manifest().name.clone(), error })?;
        let channels = self.manifest().output.channels;
        let (pixel, channel) = match self.net.prepared.output_layout() {
            TensorLayout::Nhwc => (channels, 1),
            TensorLayout::Nchw => (1, self.output.len() / channels),
        };
        Ok(Channels { values: &self.output, pixel, channel })
    }
}

/// The output tensor of a run, before activation, whatever its layout.
#[derive(Clone, Copy)]
pub(crate) struct Channels<'a> {
    values: &'a [f32],
    /// Values from one pixel to the next, and from one channel to the next.
    pixel: usize,
    channel: usize,
}

impl Channels<'_> {
    /// The value of a channel at a pixel (row-major).
    pub(crate) fn value(&self, pixel: usize, channel: usize) -> f32 {
        self.values[pixel * self.pixel + channel * self.channel]
    }
}

/// The nets in memory that further models can share.
///
/// Each net is imported once, even if several threads ask for it at the same time. It is freed with
/// the last model of it.
#[derive(Debug, Default)]
pub(super) struct LoadedNets(Mutex<Vec<Arc<Place>>>);

/// The place of a net.
#[derive(Debug)]
struct Place {
    /// The manifest has the checksum of the ONNX file, which was compared.
    manifest: Manifest,
    options: EngineOptions,
    net: Mutex<Weak<LoadedNet>>,
}

impl LoadedNets {
    /// A model of the net of `package`. If the same net is in memory with the same options, the
    /// model shares it.
    ///
    /// # Errors
    /// As for [`Model::new`].
    pub(super) fn model(&self, package: Package, options: EngineOptions) -> Result<Model, ModelError> {
        let place = self.place(&package.manifest, options);
        // Whoever wants the same net meanwhile waits here.
        let mut held = place.net.lock().unwrap_or_else(PoisonError::into_inner);
        let net = match held.upgrade() {
            Some(net) => net,
            None => Arc::new(LoadedNet::new(package, options)?),
        };
        *held = Arc::downgrade(&net);
        Ok(Model::of(net))
    }

    fn place(&self, manifest: &Manifest, options: EngineOptions) -> Arc<Place> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Places that nobody waits at, and whose nets are gone.
        places.retain(|place| {
            Arc::strong_count(place) > 1 || place.net.try_lock().is_ok_and(|net| net.strong_count() > 0)
        });
        let same = places.iter().find(|place| place.manifest == *manifest && place.options == options);
        if let Some(place) = same {
            return Arc::clone(place);
        }
        let place = Arc::new(Place { manifest: manifest.clone(), options, net: Mutex::default() });
        places.push(Arc::clone(&place));
        place
    }
}

/// The net of [`Model::from_fn`].
struct Function<F> {
    layout: TensorLayout,
    mask_size: Size,
    segment: Arc<Mutex<F>>,
}

impl<F: FnMut(&[f32], &mut [f32]) -> Result<(), EngineError> + Send + 'static> Prepared for Function<F> {
    fn name(&self) -> &'static str {
        "function"
    }

    fn input_layout(&self) -> TensorLayout {
        self.layout
    }

    fn output_layout(&self) -> TensorLayout {
        TensorLayout::Nchw
    }

    fn output_shape(&self) -> [usize; 4] {
        tensor_shape(TensorLayout::Nchw, 1, self.mask_size)
    }

    fn engine(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(FunctionEngine(Arc::clone(&self.segment))))
    }
}

struct FunctionEngine<F>(Arc<Mutex<F>>);

impl<F: FnMut(&[f32], &mut [f32]) -> Result<(), EngineError> + Send> Engine for FunctionEngine<F> {
    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        let mut segment = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        segment(input, output)
    }
}

fn pixels(size: Size) -> usize {
    size.width as usize * size.height as usize
}

/// Limits a value to 0..=1, since rounding errors can exceed it. NaN becomes 0 (not a person).
fn probability(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

fn sigmoid(value: f32) -> f32 {
    probability(1.0 / (1.0 + (-value).exp()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{DEFAULT_MODEL, Library};
    use super::*;

    fn load(library: &Library, name: &str) -> Model {
        library.load(name, EngineOptions::default()).expect("loads")
    }

    fn share(a: &Model, b: &Model) -> bool {
        Arc::ptr_eq(&a.net, &b.net)
    }

    #[test]
    fn models_of_one_net_share_it_and_the_last_one_frees_it() {
        let library = Library::default();
        let models: Vec<Model> = std::thread::scope(|scope| {
            let loading: Vec<_> = (0..4).map(|_| scope.spawn(|| load(&library.clone(), DEFAULT_MODEL))).collect();
            loading.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(models.iter().all(|model| share(model, &models[0])));
        assert!(!share(&models[0], &load(&library, "selfie-general")), "another net");
        let two = library.load(DEFAULT_MODEL, EngineOptions { threads: 2, ..EngineOptions::default() });
        assert!(!share(&models[0], &two.expect("loads")), "other options");
        assert!(!share(&models[0], &load(&Library::default(), DEFAULT_MODEL)), "another library");
        let net = Arc::downgrade(&models[0].net);
        drop(models);
        assert_eq!(net.strong_count(), 0);
        drop(load(&library, DEFAULT_MODEL));
    }

    #[test]
    fn a_file_that_was_replaced_is_another_net_and_the_old_one_goes_on() {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models"));
        let folder = tempfile::tempdir().expect("a folder");
        let install = |name: &str| {
            let manifest = std::fs::read_to_string(models.join(format!("{name}.toml"))).expect("readable");
            let manifest = manifest.replace(&format!("{name}.onnx"), "mine.onnx");
            std::fs::write(folder.path().join("mine.toml"), manifest).expect("written");
            std::fs::copy(models.join(format!("{name}.onnx")), folder.path().join("mine.onnx")).expect("copied");
        };
        let library = Library::new(vec![folder.path().to_owned()]);
        install("selfie-landscape");
        let (mut old, same) = (load(&library, "mine"), load(&library, "mine"));
        assert!(share(&old, &same));
        install("selfie-general");
        let mut new = load(&library, "mine");
        assert!(!share(&old, &new));
        for model in [&mut old, &mut new] {
            let mut mask = vec![0.0; pixels(model.output_size())];
            model.run(&vec![0.5; model.input_len()], &mut mask).expect("runs");
        }
        assert_ne!(old.output_size(), new.output_size());
    }
}
