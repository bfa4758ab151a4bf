//! Runs cargo-leptos. Its own main function does the same but for the version, which here names the splitter as well.

use cargo_leptos::{config::Cli, logger, run};
use clap::{CommandFactory, FromArgMatches};

#[tokio::main]
async fn main() -> color_eyre::Result<()> {
    color_eyre::install()?;
    // Cargo runs `cargo-leptos leptos build` for `cargo leptos build`.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments
        .get(1)
        .is_some_and(|argument| argument == "leptos")
    {
        arguments.remove(1);
    }
    let matches = Cli::command()
        .version(env!("CARGO_PKG_VERSION"))
        .get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logger::setup(cli.opts().map_or(0, |options| options.verbose), &cli.log);
    run(cli).await
}
