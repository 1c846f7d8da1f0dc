//! The program, run in-process against a machine in memory.

mod cases;
mod program;
mod render;
mod support;
