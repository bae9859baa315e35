//! The `tallyfold` command: one store, its cohorts, from the shell.

#![warn(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod cli;

use std::process::ExitCode;

use cli::exit::{self, Failure};
use cli::output::say;
use cli::{Arguments, Verb};

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
        Verb::Create(args) => cli::create::run(&options, &args),
        Verb::Append(args) => cli::append::run(&options, &args),
        Verb::Import(args) => cli::import::run(&options, &args),
        Verb::Delete(args) => cli::delete::run(&options, &args),
        Verb::Get(args) => cli::get::run(&options, &args),
        Verb::Bundle(args) => cli::bundle::run(&options, &args),
        Verb::Once(args) => cli::once::run(&options, &args),
        Verb::Log(args) => cli::log::run(&options, &args),
        Verb::History(args) => cli::history::run(&options, &args),
        Verb::Plot(args) => cli::plot::run(&options, &args),
        Verb::Previous(args) => cli::previous::run(&options, &args),
        Verb::Alter(args) => cli::alter::run(&options, &args),
        Verb::Refold(args) => cli::refold::run(&options, &args),
        Verb::Ls(args) => cli::ls::run(&options, &args),
        Verb::Compact(args) => cli::compact::run(&options, &args),
        Verb::Export(args) => cli::export::run(&options, &args),
        Verb::Lock(args) => cli::lock::run(&options, &args),
        Verb::Mirror(args) => cli::mirror::run(&options, &args),
        Verb::Repair(args) => cli::repair::run(&options, &args),
        Verb::Backup(args) => cli::backup::run(&options, &args),
        Verb::Restore(args) => cli::restore::run(&options, &args),
        Verb::Verify(args) => cli::verify::run(&options, &args),
        Verb::Stats(args) => cli::stats::run(&options, &args),
        Verb::Top(args) => cli::top::run(&options, &args),
        Verb::Stress(args) => cli::stress::run(&options, &args),
        Verb::Demo(args) => cli::demo::run(&options, &args),
        Verb::Doctor(args) => cli::doctor::run(&options, &args),
        Verb::DoctorWorker(args) => cli::doctor::work(&args),
        Verb::Completions(args) => cli::completions::run(&args),
        Verb::DemoWorker(args) => cli::demo::work(&args),
        Verb::StressWorker(args) => cli::stress::work(&args),
    }
}
