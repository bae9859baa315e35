//! The folds as pipelines use them: through processes of their own.
#![allow(clippy::disallowed_methods, reason = "tests read and damage files on purpose")]

mod common;

use common::Fixture;
use serde_json::{Value, json};

const PLAYBOOK: &str = r#"{"fold":{"kind":"top","n":10,"unique":"episode_id","rank":[
    {"field":"reliability","order":["HIGH","MEDIUM","LOW"]},{"field":"score","order":"desc"}]}}"#;

/// As an agent writes down what it has seen.
fn observation(id: usize) -> Value {
    json!({
        "episode_id": format!("hot_pot_20251117_{id:06}"),
        "timestamp": "2025-11-17T04:34:09.675252",
        "score": id as f64 / 20.0,
        "beliefs": {"heating_rate_mean": {"value": 1.131, "confidence": 0.25}},
        "context": {"power_setting": "MIXED"},
        "reliability": (["LOW", "HIGH", "MEDIUM"][id % 3]),
        "reason": "steady",
        "metadata": {"patterns": ["slow start"], "failures": []},
    })
}

#[test]
fn five_processes_with_four_observations_each_keep_exactly_the_best_ten() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "playbook", "--settings", PLAYBOOK]);
    std::thread::scope(|scope| {
        for writer in 0..5 {
            let fixture = &fixture;
            scope.spawn(move || {
                // The last line is one of another writer's: it is known already, or will be.
                let lines: Vec<String> = (0..4)
                    .map(|i| writer * 4 + i)
                    .chain([writer])
                    .map(|id| observation(id).to_string())
                    .collect();
                fixture.feed(&["append", "playbook", "--key", "hot_pot"], lines.join("\n")).ok();
            });
        }
    });
    let mut best: Vec<usize> = (0..20).collect();
    // HIGH before MEDIUM before LOW, then the higher score.
    best.sort_by_key(|id| ([2, 0, 1][id % 3], std::cmp::Reverse(*id)));
    let expected: Vec<Value> = best[..10].iter().map(|id| observation(*id)).collect();
    let found = || -> Value { serde_json::from_str(&fixture.ok(&["get", "playbook", "hot_pot"])).unwrap() };
    assert_eq!(found(), Value::from(expected.clone()));
    fixture.ok(&["compact", "playbook"]);
    assert_eq!(found(), Value::from(expected));
}

#[test]
fn a_record_that_does_not_fit_the_fold_is_refused_with_its_line_and_the_field() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "playbook", "--settings", PLAYBOOK]);
    let ended =
        fixture.feed(&["append", "playbook", "--key", "k"], "{\"episode_id\":\"a\"}\n{\"score\":1}\n");
    ended.fails(1, &["episode_id", "line 2"]);
    assert_eq!(fixture.ok(&["get", "playbook", "k"]), "[{\"episode_id\":\"a\"}]\n");
}

#[test]
fn counters_and_series_are_created_by_name() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "counters", "--fold", "sum"]);
    fixture
        .feed(&["append", "counters", "--key", "all"], "{\"episodes\":1}\n{\"episodes\":2,\"steps\":10}\n")
        .ok();
    assert_eq!(fixture.ok(&["get", "counters", "all"]), "{\"episodes\":3,\"steps\":10}\n");
    fixture.ok(&["create", "metrics", "--fold", "series"]);
    fixture
        .feed(
            &["append", "metrics", "--key-from", "run_id"],
            "{\"run_id\":\"r\",\"loss\":0.5}\n{\"run_id\":\"r\",\"loss\":0.25}\n",
        )
        .ok();
    assert_eq!(
        fixture.ok(&["get", "metrics", "r"]),
        "{\"loss\":{\"count\":2,\"nonfinite\":0,\"last\":0.25,\"min\":0.25,\"max\":0.5,\"sum\":0.75,\"points\":[[1,0.5],[2,0.25]]}}\n"
    );
}
