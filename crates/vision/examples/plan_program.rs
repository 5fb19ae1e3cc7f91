//! Runs a net on the fused plan or on tract, and prints the times as JSON.
//!
//! ```text
//! plan_program MODEL.onnx [--isa NAME] [--iterations N] [--engine plan|tract] [--check]
//!     [--literal] [--steps] [--stdin] [--interleaved] [--dump FILE]
//! ```
//!
//! `--check` compares the plan with tract. With `--stdin`, the program runs the net once for every
//! line that it reads and prints the milliseconds, so that a script can interleave it with other
//! runtimes.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use portraitd_kernels::simd::Isa;
use portraitd_vision::net::plan::{Plan, PlanOptions};
use tract_onnx::prelude::*;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut dump = None;
    let (mut model, mut isa, mut iterations, mut engine) = (None, None, 300_usize, "plan".to_owned());
    let (mut check, mut literal, mut steps, mut stdin, mut interleaved) = (false, false, false, false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--isa" => isa = Some(value()?),
            "--iterations" => iterations = value()?.parse()?,
            "--engine" => engine = value()?,
            "--dump" => dump = Some(value()?),
            "--check" => check = true,
            "--literal" => literal = true,
            "--steps" => steps = true,
            "--stdin" => stdin = true,
            "--interleaved" => interleaved = true,
            _ if model.is_none() && !argument.starts_with('-') => model = Some(argument),
            _ => bail!("unknown argument {argument}"),
        }
    }
    let path = model.context("the path of an ONNX file is missing")?;
    let isa = Isa::choose(isa.as_deref())?;
    let typed = tract_onnx::onnx().model_for_path(&path)?.into_typed()?;
    let start = Instant::now();
    let mut plan = Plan::from_typed(&typed, PlanOptions { isa, keep: check, literal, ..PlanOptions::default() })?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    if let Some(file) = dump {
        std::fs::write(file, portraitd_kernels::nn::dump::write(plan.program()))?;
    }
    let shape = plan.input();
    let input: Vec<f32> = noise(shape.len());
    let mut output = vec![0.0; plan.output().len()];
    if steps {
        for (index, step) in plan.program().steps.iter().enumerate() {
            let maps = |maps: Vec<usize>| -> String {
                let text = |map: usize| {
                    let shape = plan.program().maps[map];
                    format!(" {map}:{}x{}x{}", shape.height, shape.width, shape.channels)
                };
                maps.into_iter().map(text).collect()
            };
            let name = &plan.program().names[step.writes()[0]];
            eprintln!("{index:3} {:18}{} <-{} {name}", step.kind(), maps(step.writes()), maps(step.reads()));
        }
        eprintln!("{} multiply-adds, {} bytes", plan.program().multiply_adds(), plan.working_bytes());
    }
    let tensor = Tensor::from_shape(&[1, shape.channels, shape.height, shape.width], &input)?;
    let tract = if check || engine == "tract" { Some(typed.into_optimized()?.into_runnable()?) } else { None };
    if let (true, Some(tract)) = (check, &tract) {
        plan.run(&input, &mut output)?;
        let expected = tract.run(tvec!(tensor.clone().into()))?;
        let expected = expected[0].to_plain_array_view::<f32>()?;
        let worst = expected.iter().zip(&output).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mean = output.iter().sum::<f32>() / output.len() as f32;
        eprintln!("isa {isa}: max |difference| {worst:e}, mean of the output {mean}");
        anyhow::ensure!(worst <= 1e-4 && mean.is_finite(), "the plan's output differs from tract's");
    }
    let mut channels_last = vec![0.0; input.len()];
    for c in 0..shape.channels {
        for (pixel, value) in input[c * shape.height * shape.width..][..shape.height * shape.width].iter().enumerate() {
            channels_last[pixel * shape.channels + c] = *value;
        }
    }
    let mut once = || -> anyhow::Result<f64> {
        let start = Instant::now();
        match (&tract, engine.as_str()) {
            (Some(tract), "tract") => drop(tract.run(tvec!(tensor.clone().into()))?),
            _ if interleaved => plan.run_interleaved(&channels_last, &mut output)?,
            _ => plan.run(&input, &mut output)?,
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    if stdin {
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            line?;
            writeln!(out, "{}", once()?)?;
            out.flush()?;
        }
        return Ok(());
    }
    let mut times = (0..iterations).map(|_| once()).collect::<anyhow::Result<Vec<f64>>>()?;
    if times.is_empty() {
        return Ok(());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a short list")]
        let index = ((times.len() - 1) as f64 * share) as usize;
        times[index]
    };
    println!(
        "{{\"engine\": \"{engine}\", \"isa\": \"{isa}\", \"threads\": 1, \"iterations\": {iterations}, \
         \"median_ms\": {:.4}, \"min_ms\": {:.4}, \"p99_ms\": {:.4}, \"load_ms\": {load_ms:.1}}}",
        at(0.5),
        at(0.0),
        at(0.99)
    );
    Ok(())
}

/// Pseudo-random numbers in `0..1`, the same in every run.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}
