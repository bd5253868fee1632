//! Tests of the hart as a whole: small programs on a small machine.

mod asm;
mod atomics;
mod conformance;
mod csrs;
mod dirty;
mod instructions;
mod litmus;
mod machine;
mod mapping;
mod paging;
mod privilege;
mod protection;
mod robustness;
mod space;
mod waiting;
