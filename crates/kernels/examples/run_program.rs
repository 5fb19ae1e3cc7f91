//! Runs a dumped program: `run_program [--half] FILE [RUNS [PICTURE|- [EXPECTED]]]`.
//!
//! PICTURE and EXPECTED are files of raw `f32`; PICTURE is `[channels, height, width]`. The program
//! prints the largest difference to EXPECTED and fails if it is above 1e-4, or above 0.2 with `--half`
//! (half precision). If there is no such file, it is written. `PORTRAITD_ISA` chooses the instruction
//! set.
//!
//! It is meant for emulated CPUs: the cost of a run is measured from outside, as the difference
//! between two numbers of runs.

use portraitd_kernels::nn::{Machine, Order, Precision, dump};
use portraitd_kernels::simd::Isa;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let half = arguments.next_if(|argument| argument == "--half").is_some();
    let (precision, limit) = if half { (Precision::Half, 0.2) } else { (Precision::Single, 1e-4) };
    let file = arguments.next().ok_or("which program?")?;
    let runs: usize = arguments.next().as_deref().unwrap_or("1").parse()?;
    let program = dump::read(&std::fs::read(file)?)?;
    let (input, output) = (program.maps[program.input], program.maps[program.output]);
    let mut machine = Machine::with_precision(program, Isa::choose(None)?, false, precision)?;
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let picture: Vec<f32> = match arguments.next().filter(|path| path != "-") {
        Some(path) => {
            let planes = floats(&std::fs::read(path)?);
            let pixels = input.height * input.width;
            (0..planes.len()).map(|i| planes[i % input.channels * pixels + i / input.channels]).collect()
        }
        None => (0..input.len()).map(|i| (i % 251) as f32 / 251.0).collect(),
    };
    let mut mask = vec![0.0; output.len()];
    for _ in 0..runs {
        machine.run(&picture, Order::Interleaved, &mut mask)?;
    }
    if machine.precision() != precision {
        return Err("the net needs larger numbers than half precision has".into());
    }
    let mean = mask.iter().sum::<f32>() / mask.len() as f32;
    print!("isa {}, {runs} runs, mean {mean}", machine.isa());
    if let Some(path) = arguments.next() {
        if let Ok(bytes) = std::fs::read(&path) {
            let worst = floats(&bytes).iter().zip(&mask).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            print!(", max |difference| {worst:e}");
            if worst.is_nan() || worst > limit {
                return Err("too different".into());
            }
        } else {
            std::fs::write(path, mask.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        }
    }
    println!();
    Ok(())
}
