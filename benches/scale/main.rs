//! Computes and replays how many nodes carry how many people (`make simulate-scale`), into `docs/scale.md`.
//!
//! The costs are in `costs.rs`, what people do is in `load.rs`. `model.rs` multiplies, `queue.rs` replays message by message.
//! No server runs, and the same seed gives the same tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a document that cannot be written ends the program with the reason"
)]

mod costs;
mod load;
#[path = "../shared/markers.rs"]
mod markers;
mod model;
mod queue;
mod tables;

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Repeats the random decisions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the tables, and leaves the document alone.
    #[arg(long)]
    print: bool,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let text = tables::all(arguments.seed);
    println!("{text}");
    if !arguments.print {
        markers::write("docs/scale.md", "make simulate-scale", &text);
    }
}
