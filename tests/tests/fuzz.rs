//! The fuzz targets without a fuzzer: the committed corpora, and random bytes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::fuzz::{TARGETS, Target};

/// Inputs that are made up for each target, at most.
const INPUTS: u64 = 4000;
/// And how long that may take: the rest is left to a fuzzer.
const PATIENCE: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The committed inputs of a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(folder().join("corpus").join(name))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Bytes, or a seed with some bytes changed, taken out, or put in from another.
    fn input(&mut self, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
        if corpus.is_empty() || self.below(4) == 0 {
            let len = self.below(600);
            return (0..len).map(|_| self.next() as u8).collect();
        }
        let mut input = corpus[self.below(corpus.len())].1.clone();
        for _ in 0..1 + self.below(6) {
            let at = self.below(input.len() + 1);
            let len = self.below(8).min(input.len() - at);
            match self.below(4) {
                0 => drop(input.drain(at..at + len)),
                1 => {
                    let other = &corpus[self.below(corpus.len())].1;
                    let from = self.below(other.len() + 1);
                    let to = from + self.below(64).min(other.len() - from);
                    input.splice(at..at + len, other[from..to].iter().copied());
                }
                2 => input.insert(at, self.next() as u8),
                _ => input[at..at + len].iter_mut().for_each(|byte| *byte ^= 1 << (self.next() & 7)),
            }
        }
        input
    }
}

/// Tells which input it was, since a panic in a body does not.
fn run(target: &Target, what: &str, input: &[u8]) {
    let result = std::panic::catch_unwind(|| target.run(input));
    assert!(result.is_ok(), "target {}: {what}: {input:02x?}", target.name);
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, input) in &corpus {
        run(target, path, input);
    }
    let start = Instant::now();
    let mut rng = Rng(1);
    for number in 0..INPUTS {
        if start.elapsed() > PATIENCE {
            assert!(number > INPUTS / 40, "{name}: only {number} inputs in {PATIENCE:?}");
            break;
        }
        run(target, &format!("made up, number {number}"), &rng.input(&corpus));
    }
}

#[test]
fn fuzzed_trees_render_as_the_oracle_says() {
    replay("tree");
}

#[test]
fn fuzzed_accesses_are_split_as_the_literal_model_says() {
    replay("mmio");
}

#[test]
fn fuzzed_maps_are_imported_or_refused() {
    replay("import");
}

#[test]
fn fuzzed_machine_files_are_refused_or_read_the_same_again() {
    replay("machine-file");
}

#[test]
fn fuzzed_devices_answer_and_are_restored_as_they_were() {
    replay("device");
}

#[test]
fn fuzzed_instructions_and_csrs_do_as_the_manual_says() {
    replay("rv64");
}

#[test]
fn fuzzed_descriptors_reach_no_memory_but_the_drivers() {
    replay("virtqueue");
}

#[test]
fn fuzzed_flash_commands_do_as_the_literal_model_says() {
    replay("cfi");
}

#[test]
fn every_target_is_replayed_here_and_is_a_program_of_the_fuzzers() {
    let here = include_str!("fuzz.rs");
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(here.contains(&format!("    replay(\"{name}\");")), "{name} is not replayed");
        let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name} runs another target");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    let corpora = fs::read_dir(folder().join("corpus")).unwrap().count();
    assert_eq!(corpora, TARGETS.len(), "a corpus without a target");
}

#[test]
fn corpora_are_small() {
    let bytes: usize =
        TARGETS.iter().flat_map(|target| corpus(target.name)).map(|(_, input)| input.len()).sum();
    assert!(bytes < 200 << 10, "{bytes} bytes");
}
