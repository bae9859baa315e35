//! The `tallyfold` command: one store, its cohorts, from the shell.

#![warn(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod cli;

use std::process::ExitCode;

use cli::exit::{self, Failure};
use cli::output::say;
use cli::{Arguments, Verb};
use cli::{
    alter, append, bundle, compact, completions, create, delete, demo, doctor, export, get, history, import,
    lock, log, ls, mirror, once, plot, previous, refold, stats, stress, top, verify,
};

fn main() -> ExitCode {
    tallyfold::process::ignore_file_size_signal();
    cli::interrupt::listen();
    match run() {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            // Without a message it was told already; with OK there is nothing to tell: our reader went away.
            if failure.code != exit::OK && !failure.message.is_empty() {
                say(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<(), Failure> {
    let Arguments { options, verb } = cli::arguments()?;
    match verb {
        Verb::Create(args) => create::run(&options, &args),
        Verb::Append(args) => append::run(&options, &args),
        Verb::Import(args) => import::run(&options, &args),
        Verb::Delete(args) => delete::run(&options, &args),
        Verb::Get(args) => get::run(&options, &args),
        Verb::Bundle(args) => bundle::run(&options, &args),
        Verb::Once(args) => once::run(&options, &args),
        Verb::Log(args) => log::run(&options, &args),
        Verb::History(args) => history::run(&options, &args),
        Verb::Plot(args) => plot::run(&options, &args),
        Verb::Previous(args) => previous::run(&options, &args),
        Verb::Alter(args) => alter::run(&options, &args),
        Verb::Refold(args) => refold::run(&options, &args),
        Verb::Ls(args) => ls::run(&options, &args),
        Verb::Compact(args) => compact::run(&options, &args),
        Verb::Export(args) => export::run(&options, &args),
        Verb::Lock(args) => lock::run(&options, &args),
        Verb::Mirror(args) => mirror::run(&options, &args),
        Verb::Verify(args) => verify::run(&options, &args),
        Verb::Stats(args) => stats::run(&options, &args),
        Verb::Top(args) => top::run(&options, &args),
        Verb::Stress(args) => stress::run(&options, &args),
        Verb::Demo(args) => demo::run(&options, &args),
        Verb::Doctor(args) => doctor::run(&options, &args),
        Verb::DoctorWorker(args) => doctor::work(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::DemoWorker(args) => demo::work(&args),
        Verb::StressWorker(args) => stress::work(&args),
    }
}
