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
mod world;
mod wrong;
use stateright::{Checker, Model};
use world::*;
fn main() {
    let a = |durable| Act::Append { count: 1, durable };
    let b = |durable| Act::Append { count: 2, durable };
    let base = Scene { name: "", class: Class::Memory, scripts: vec![], room: 2, deaths: 0, failures: 0, cuts: 0, two_compact_locks: false, wrong: None };
    let mut scenes = vec![];
    for class in [Class::Memory, Class::File] {
        scenes.push(Scene { name: "deaths", class, scripts: vec![vec![a(false), b(false)], vec![b(false), a(false)]], deaths: 1, ..base.clone() });
        scenes.push(Scene { name: "durable+death", class, scripts: vec![vec![a(true), b(true)], vec![a(true)]], deaths: 1, ..base.clone() });
        scenes.push(Scene { name: "durable+failure", class, scripts: vec![vec![a(true), b(true)], vec![a(true)]], failures: 1, ..base.clone() });
        scenes.push(Scene { name: "durable+fail+death", class, scripts: vec![vec![a(true), b(true)], vec![a(true)]], deaths: 1, failures: 1, ..base.clone() });
        scenes.push(Scene { name: "durable+cut", class, scripts: vec![vec![a(true), b(true)], vec![a(true)]], cuts: 1, ..base.clone() });
        scenes.push(Scene { name: "durable+fail+cut", class, scripts: vec![vec![a(true), b(true)], vec![a(true)]], failures:1, cuts: 1, ..base.clone() });
        scenes.push(Scene { name: "compact", class, scripts: vec![vec![a(false), b(false)], vec![Act::Compact], vec![Act::Compact]], deaths: 1, ..base.clone() });
        scenes.push(Scene { name: "compact+read", class, scripts: vec![vec![a(false), b(false)], vec![Act::Compact, Act::Compact], vec![Act::Read]], ..base.clone() });
    }
    let want = std::env::args().nth(1).unwrap_or_default();
    let trace = std::env::args().nth(2).is_some();
    for scene in scenes.into_iter().filter(|s| s.name.contains(&want)) {
        let t = std::time::Instant::now();
        let c = scene.clone().checker().threads(2).timeout(std::time::Duration::from_secs(60)).finish_when(stateright::HasDiscoveries::AnyFailures).spawn_bfs().join();
        println!("{:?} {}: {} states {} unique depth {} {:?} done {}", scene.class, scene.name, c.state_count(), c.unique_state_count(), c.max_depth(), t.elapsed(), c.is_done());
        for (n, p) in c.discoveries() {
            println!("   {n}: {}", p.clone().into_actions().len());
            if trace && !n.contains("end") { for (s, act) in p.into_vec() { println!("{act:?}\n        disk {:?}\n        control {:?}\n   {:?}", s.disk, s.control, s.ledger); } }
        }
    }
    println!("{:?}", coverage::compare());
}
