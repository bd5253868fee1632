//! The KVM accelerator beside what the kernel itself takes.

use super::{Topic, Wanted};
use crate::figure::Figure;
use anyhow::Result;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod dirty;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod exits;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guest;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod slots;

pub const TOPIC: Topic =
    Topic { name: "kvm", figures: &["kvm-exits", "kvm-slots", "kvm-dirty-log"], measure: run };

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    type Measure = fn(&Wanted<'_>, Figure) -> Result<Figure>;
    let all: [(Figure, Measure); 3] = [
        (exits::figure(), exits::measure),
        (slots::figure(), slots::measure),
        (dirty::figure(), dirty::measure),
    ];
    let usable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let mut figures = Vec::new();
    for (mut figure, measure) in all {
        if !wanted.has(&figure.id) {
            continue;
        }
        figures.push(match &usable {
            Ok(_) => measure(wanted, figure)?,
            Err(error) => {
                figure.absent.push((figure.title.clone(), format!("no /dev/kvm: {error}")));
                figure
            }
        });
    }
    Ok(figures)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let absent = |id: &&str| {
        let mut figure = Figure::new(id, id, crate::figure::Unit::Microseconds, "");
        figure.absent.push(((*id).to_owned(), "the accelerator is for Linux on x86-64".to_owned()));
        figure
    };
    Ok(TOPIC.figures.iter().filter(|id| wanted.has(id)).map(absent).collect())
}
