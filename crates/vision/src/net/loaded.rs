//! A net in memory, which any number of models run: its weights, and engines that nobody uses at the
//! moment.
//!
//! A run takes an engine and puts it back. There are therefore as many engines, each with memory for
//! the feature maps, as runs were under way at the same time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use portraitd_media::Size;

use super::engine::{Engine, EngineChoice, EngineOptions, Prepared};
use super::error::{EngineError, ModelError, shape_text};
use super::manifest::{Manifest, TensorLayout};
use super::package::Package;
use super::plan_engine::PreparedPlan;
use super::tract::{PreparedTract, import_onnx};
use super::trial::guarded;

/// The most values of an output tensor: 64 MiB. DeepLab's 513x513 pixels of 21 classes are 5.5 million.
const MAX_OUTPUT: u64 = 16 << 20;

/// A net that is ready to run, and its manifest.
pub(super) struct LoadedNet {
    pub(super) manifest: Manifest,
    pub(super) prepared: Box<dyn Prepared>,
    pub(super) output_size: Size,
    idle: Mutex<Vec<Box<dyn Engine>>>,
}

impl LoadedNet {
    /// Imports a net and prepares an engine.
    ///
    /// # Errors
    /// [`ModelError`]: the file is not an ONNX file, an operator is not known, or a shape is not the
    /// manifest's.
    pub(super) fn new(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        let path = package.path.clone();
        guarded(&path, || Self::prepare(package, options))
    }

    fn prepare(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        let Package { manifest, path, onnx, .. } = package;
        let typed = import_onnx(&manifest, &path, &onnx)?;
        let prepared: Box<dyn Prepared> = match options.choice {
            EngineChoice::Tract => Box::new(PreparedTract::new(typed, &manifest, &path)?),
            choice => match PreparedPlan::new(&typed, &manifest, options)? {
                Ok(prepared) => Box::new(prepared),
                Err(error) if choice == EngineChoice::Plan => {
                    return Err(ModelError::Unsupported { path, error });
                }
                Err(error) => {
                    tracing::info!(model = %manifest.name, "the model runs on tract, which is slower: {error}");
                    Box::new(PreparedTract::new(typed, &manifest, &path)?)
                }
            },
        };
        let [_, a, b, c] = prepared.output_shape();
        let (channels, height, width) = match manifest.output.layout {
            TensorLayout::Nchw => (a, b, c),
            TensorLayout::Nhwc => (c, a, b),
        };
        let output_size = Size::new(u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
        let values = output_size.area().saturating_mul(channels as u64);
        if channels != manifest.output.channels || output_size.is_empty() || values > MAX_OUTPUT {
            return Err(ModelError::Shape {
                path,
                what: "the output",
                expected: format!("{} channels, {:?}", manifest.output.channels, manifest.output.layout),
                actual: shape_text(&prepared.output_shape()),
            });
        }
        let failed = |error| ModelError::Run { name: manifest.name.clone(), error };
        // A net whose engine cannot be made is refused now, and not when it is to run.
        let engine = prepared.engine().map_err(failed)?;
        Ok(Self { manifest, prepared, output_size, idle: Mutex::new(vec![engine]) })
    }

    /// A net that `prepared` runs. Its manifest describes the output of `output_size`.
    pub(super) fn of(manifest: Manifest, prepared: Box<dyn Prepared>, output_size: Size) -> Self {
        Self { manifest, prepared, output_size, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Box<dyn Engine>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the net on `input` and writes the whole output tensor to `output`. Allocates memory only
    /// if all engines are in use. An engine that panics is not used again.
    ///
    /// # Errors
    /// If the engine fails, or if another one cannot be made.
    pub(super) fn run(&self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        let idle = self.idle().pop();
        let mut engine = match idle {
            Some(engine) => engine,
            None => self.prepared.engine()?,
        };
        let result = engine.run(input, output);
        self.idle().push(engine);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::Library;
    use super::*;

    #[test]
    fn runs_one_after_the_other_need_one_engine() {
        let package = Library::default().read("selfie-landscape").expect("built in");
        let net = LoadedNet::new(package, EngineOptions::default()).expect("loads");
        let pixels = |size: Size| usize::try_from(size.area()).expect("small");
        let input = vec![0.5; 3 * pixels(net.manifest.input.size())];
        let mut outputs = [(); 2].map(|()| vec![0.0; pixels(net.output_size)]);
        for output in &mut outputs {
            net.run(&input, output).expect("runs");
        }
        assert_eq!(net.idle().len(), 1);
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for output in &mut outputs {
                let (net, input, barrier) = (&net, &input, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    net.run(input, output).expect("runs");
                });
            }
        });
        assert!((1..=2).contains(&net.idle().len()));
        assert_eq!(outputs[0], outputs[1], "engines do not disturb each other");
    }
}
