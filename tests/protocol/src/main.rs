//! A model of the protocol: what processes do to a cohort, step by step, with crashes between any two steps, and every state
//! that this can lead to held against what `docs/design.md` promises. A step of the model is a step of the code that another
//! process or a crash can see. Each module names the modules of the store that it follows.
//!
//! - `short`: all of some scenes, in less than a minute.
//! - `long`: larger scenes. `long NAME` takes those whose names contain that.
//! - `self-test`: the protocol with one thing done wrong, one after the other. The model must notice each.
//!
//! `--seconds N` ends a scene after that time, and says that it did.

mod append;
mod compact;
mod coverage;
mod cut;
mod disk;
mod durable;
mod model;
mod promises;
mod reader;
mod scan;
mod scenes;
mod world;
mod wrong;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use model::Action;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use world::{Scene, World};
use wrong::Wrong;

const THREADS: usize = 2;
/// No scene with something wrong needs as long.
const SELF_TEST_SECONDS: u64 = 60;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds").and_then(|at| {
        let seconds = arguments.get(at + 1)?.parse().ok()?;
        arguments.drain(at..at + 2);
        Some(seconds)
    });
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match arguments[..] {
        ["short"] => explore(scenes::short(), seconds) & everything_happened(),
        ["long"] => explore(scenes::long(), seconds),
        ["long", name] => {
            let named = scenes::long().into_iter().filter(|scene| scene.name.contains(name));
            explore(named.collect(), seconds)
        }
        ["self-test"] => self_test(),
        _ => {
            eprintln!("usage: tallyfold-protocol short | long [NAME] | self-test   [--seconds N]");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore(scenes: Vec<Scene>, seconds: Option<u64>) -> bool {
    let mut good = !scenes.is_empty();
    println!("| class | scene | dies | syncs fail | power cuts | states | distinct | depth | seconds |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|");
    let mut held: Vec<&'static str> = Vec::new();
    for scene in scenes {
        let begun = Instant::now();
        let checker = scene.clone().checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
        let checker = match seconds {
            Some(seconds) => checker.timeout(Duration::from_secs(seconds)),
            None => checker,
        };
        let checker = checker.spawn_bfs().join();
        let took = begun.elapsed();
        let whole = seconds.is_none_or(|seconds| took < Duration::from_secs(seconds));
        println!(
            "| {:?} | {} | {} | {} | {} | {} | {} | {} | {:.1}{} |",
            scene.class,
            scene.name,
            scene.deaths,
            scene.failures,
            scene.cuts,
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth(),
            took.as_secs_f64(),
            if whole { "" } else { ", not to the end" },
        );
        for property in scene.properties() {
            let found = checker.discovery(property.name);
            match (property.expectation, found) {
                (Expectation::Sometimes, None) if whole => {
                    println!("NEVER: {}", property.name);
                    good = false;
                }
                (Expectation::Always, Some(path)) => {
                    println!("BROKEN: {}", property.name);
                    tell(path);
                    good = false;
                }
                (Expectation::Always, None) if !held.contains(&property.name) => held.push(property.name),
                _ => {}
            }
        }
    }
    println!("\nHeld in every state, unless said otherwise above:");
    held.iter().for_each(|promise| println!("- {promise}"));
    good
}

/// The steps to a state, and the last two states.
fn tell(path: Path<World, Action>) {
    let steps = path.into_vec();
    let last = steps.len().saturating_sub(2);
    for (i, (world, action)) in steps.into_iter().enumerate() {
        if i >= last {
            println!("{world:#?}");
        }
        if let Some(action) = action {
            println!("{:4} {action:?}", i + 1);
        }
    }
}

/// Whether every step was taken by somebody, and all that the design speaks of happened.
fn everything_happened() -> bool {
    let (missing, unknown) = coverage::compare();
    missing.iter().for_each(|what| println!("NEVER: {what}"));
    unknown.iter().for_each(|what| println!("NOT EXPECTED: {what}"));
    println!(
        "\n{} steps and turns of events, each met in some scene.",
        coverage::EXPECTED.len() - missing.len()
    );
    missing.is_empty() && unknown.is_empty()
}

fn self_test() -> bool {
    let mut good = true;
    println!("| done wrong | steps to it | what does not hold |");
    println!("|---|--:|---|");
    for (wrong, text) in Wrong::ALL {
        let checker = scenes::of(wrong).checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.timeout(Duration::from_secs(SELF_TEST_SECONDS)).spawn_bfs().join();
        let broken = scenes::of(wrong).properties().into_iter().find_map(|property| {
            let path =
                checker.discovery(property.name).filter(|_| property.expectation == Expectation::Always)?;
            Some((property.name, path.into_actions().len()))
        });
        match broken {
            Some((promise, steps)) => println!("| {text} | {steps} | {promise} |"),
            None => {
                println!("| {text} | | NOT NOTICED in {} states |", checker.unique_state_count());
                good = false;
            }
        }
    }
    good
}
