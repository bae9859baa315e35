//! The folds `sum`, `top` and `series`: what they make of what pipelines write, and that nothing but the records decides it.
#![allow(clippy::disallowed_methods, reason = "tests compare files")]

mod fixture;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;

use fixture::{Fixture, state};
use quickcheck::{Arbitrary, Gen};
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Fold, Order, Series, Settings, Top, Wins};

fn playbook() -> Settings {
    Settings::from_json(
        r#"{"fold":{"kind":"top","n":10,"unique":"episode_id","wins":"first","rank":[
            {"field":"reliability","order":["HIGH","MEDIUM","LOW"]},{"field":"score","order":"desc"}]}}"#,
    )
    .unwrap()
}

fn observation(id: usize, reliability: &str, score: f64) -> Value {
    json!({
        "episode_id": format!("hot_pot_20251117_{id:06}"),
        "timestamp": format!("2025-11-17T04:34:{:02}.675252", id % 60),
        "score": score,
        "beliefs": {"heating_rate_mean": {"value": 1.131, "confidence": 0.25}},
        "context": {"power_setting": "MIXED"},
        "reliability": reliability,
        "reason": "steady",
        "metadata": {"patterns": ["slow start"], "failures": []},
    })
}

fn entry(cohort: &Cohort, key: &str) -> Value {
    let entry = cohort.view().unwrap().get(key).unwrap().unwrap();
    serde_json::from_str(entry.json()).unwrap()
}

fn ids(cohort: &Cohort, key: &str) -> Vec<String> {
    let list = entry(cohort, key);
    list.as_array().unwrap().iter().map(|it| it["episode_id"].as_str().unwrap().to_string()).collect()
}

fn put_json(cohort: &Cohort, key: &str, json: &str) -> Result<u64, tallyfold::Error> {
    let mut batch = Batch::new();
    batch.put_json(key, json).unwrap();
    cohort.append_batch(batch)
}

#[test]
fn five_writers_with_four_observations_each_keep_exactly_the_best_ten() {
    let fixture = Fixture::new();
    fixture.create("playbook", playbook());
    let level = |id: usize| ["LOW", "HIGH", "MEDIUM", "UNKNOWN"][id % 4];
    std::thread::scope(|scope| {
        for writer in 0..5 {
            // A handle of its own, as a process has.
            let cohort = fixture.reopen("playbook");
            scope.spawn(move || {
                for i in 0..4 {
                    let id = writer * 4 + i;
                    cohort.append("hot_pot", &observation(id, level(id), id as f64 / 20.0)).unwrap();
                }
            });
        }
    });
    let mut expected: Vec<usize> = (0..20).collect();
    let rank = |id: &usize| ["HIGH", "MEDIUM", "LOW", "UNKNOWN"].iter().position(|name| *name == level(*id));
    expected.sort_by_key(|id| (rank(id), std::cmp::Reverse(*id)));
    let expected: Vec<_> = expected[..10].iter().map(|id| format!("hot_pot_20251117_{id:06}")).collect();
    let cohort = fixture.reopen("playbook");
    assert_eq!(ids(&cohort, "hot_pot"), expected);
    cohort.compact().unwrap();
    assert_eq!(ids(&fixture.reopen("playbook"), "hot_pot"), expected);
}

#[test]
fn ties_go_to_the_earlier_seq_and_what_has_no_rank_comes_last() {
    let fixture = Fixture::new();
    let rank = |order| Top::new(9).unwrap().rank("score", order).unwrap();
    for (name, order, expected) in [
        // 1 and 7 are equal: the earlier first, in both directions.
        ("up", Order::Ascending, [3, 4, 1, 7, 8, 6, 2, 5, 9]),
        ("down", Order::Descending, [8, 1, 7, 4, 3, 6, 2, 5, 9]),
    ] {
        let cohort = fixture.create(name, Settings::new(Fold::Top(rank(order))));
        for (n, score) in
            ["2.0", "null", "-1e2", "1", "[]", "\"text\"", "2", "9007199254740993"].into_iter().enumerate()
        {
            put_json(&cohort, "k", &format!(r#"{{"n":{},"score":{score}}}"#, n + 1)).unwrap();
        }
        put_json(&cohort, "k", r#"{"n":9}"#).unwrap();
        let found: Vec<_> =
            entry(&cohort, "k").as_array().unwrap().iter().map(|it| it["n"].as_u64().unwrap()).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn of_observations_with_one_identity_the_one_that_wins_stays() {
    let fixture = Fixture::new();
    for (name, wins, expected) in [
        ("first", Wins::First, json!([["b", 5, 7], ["a", 1, 3]])),
        ("last", Wins::Last, json!([["b", 5, 7], ["a", 3, 2]])),
        ("newest", Wins::Newest("meta.at".into()), json!([["a", 9, 9], ["b", 5, 7]])),
    ] {
        let top = Top::new(3).unwrap().unique("id", wins).unwrap().rank("score", Order::Descending).unwrap();
        let cohort = fixture.create(name, Settings::new(Fold::Top(top)));
        for (id, score, at) in [("a", 1, 3), ("a", 9, 9), ("b", 5, 7), ("b", 8, 7), ("a", 3, 2)] {
            if (name, id, score) == ("last", "b", 8) {
                continue;
            }
            cohort.append("k", &json!({"id": id, "score": score, "meta": {"at": at}})).unwrap();
        }
        let found: Vec<_> = entry(&cohort, "k").as_array().unwrap().to_vec();
        let found: Vec<_> = found.iter().map(|it| json!([it["id"], it["score"], it["meta"]["at"]])).collect();
        assert_eq!(Value::from(found), expected, "{name}");
    }
}

#[test]
fn an_observation_that_fell_off_the_end_is_new_when_it_comes_again() {
    let fixture = Fixture::new();
    let top =
        Top::new(2).unwrap().unique("id", Wins::First).unwrap().rank("score", Order::Descending).unwrap();
    let cohort = fixture.create("k", Settings::new(Fold::Top(top)));
    for (id, score) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        cohort.append("", &json!({"id": id, "score": score})).unwrap();
    }
    assert_eq!(entry(&cohort, ""), json!([{"id": "a", "score": 4}, {"id": "c", "score": 3}]));
}

#[test]
fn a_series_counts_what_is_not_finite_and_is_not_poisoned_by_it() {
    let fixture = Fixture::new();
    let cohort = fixture.create("metrics", Settings::new(Fold::Series(Series::new(3).unwrap())));
    let point = |step: u64, loss: f64| json!({"run_id": "run-0042", "stage": "TRAINING", "step": step, "loss": loss, "ts": 1767871234.123});
    #[derive(serde::Serialize)]
    struct Bare {
        loss: f64,
    }
    cohort.append("run", &Bare { loss: f64::NAN }).unwrap();
    assert_eq!(
        cohort.view().unwrap().get("run").unwrap().unwrap().json(),
        r#"{"loss":{"count":1,"nonfinite":1,"last":null,"min":null,"max":null,"sum":0,"points":[[1,"NaN"]]}}"#
    );
    cohort.append("run", &point(1, 0.5)).unwrap();
    cohort.append("run", &Bare { loss: f64::INFINITY }).unwrap();
    put_json(&cohort, "run", r#"{"loss":0.250}"#).unwrap();
    let expected = json!({"count": 4, "nonfinite": 2, "last": 0.25, "min": 0.25, "max": 0.5, "sum": 0.75,
        "points": [[2, 0.5], [3, "Infinity"], [4, 0.25]]});
    for compacted in [false, true] {
        let view = cohort.view().unwrap();
        let found = view.get("run").unwrap().unwrap();
        assert!(found.nonfinite() && found.json().contains("[4,0.250]"), "{}", found.json());
        assert_eq!(serde_json::from_str::<Value>(found.json()).unwrap()["loss"], expected, "{compacted}");
        assert_eq!(found.to::<Value>().unwrap()["loss"]["points"][0], json!([2, 0.5]));
        cohort.compact().unwrap();
    }
    let metrics: Vec<String> = entry(&cohort, "run").as_object().unwrap().keys().cloned().collect();
    assert_eq!(metrics, ["loss", "step", "ts"]);
}

#[test]
fn sums_are_exact_for_integers_and_stay_at_infinity_beyond_the_largest_double() {
    let fixture = Fixture::new();
    let cohort = fixture.create("counters", Settings::new(Fold::Sum));
    for value in [
        r#"{"episodes":1,"tokens":18446744073709551615,"loss":0.1}"#,
        r#"{"tokens":18446744073709551615,"loss":0.2,"huge":1e308}"#,
        r#"{"episodes":-3,"huge":1e308}"#,
        r#"{"huge":-1e308}"#,
    ] {
        put_json(&cohort, "all", value).unwrap();
        cohort.compact().unwrap();
    }
    let found = cohort.view().unwrap().get("all").unwrap().unwrap();
    let expected =
        r#"{"episodes":-2,"huge":"Infinity","loss":0.30000000000000004,"tokens":36893488147419103230}"#;
    assert_eq!((found.json(), found.nonfinite(), found.seq()), (expected, true, 4));
    cohort.delete("all").unwrap();
    put_json(&cohort, "all", r#"{"episodes":1.50}"#).unwrap();
    assert_eq!(cohort.view().unwrap().get("all").unwrap().unwrap().json(), r#"{"episodes":1.50}"#);
}

#[test]
fn what_does_not_fit_its_fold_is_refused_at_append_and_nothing_of_its_batch_is_written() {
    let fixture = Fixture::new();
    let series = Settings::new(Fold::Series(Series::default()));
    let newest = Top::new(1).unwrap().unique("id", Wins::Newest("at".into())).unwrap();
    let newest = Settings::new(Fold::Top(newest.rank("x", Order::Ascending).unwrap()));
    for (name, settings, good, refused) in [
        (
            "sum",
            Settings::new(Fold::Sum),
            r#"{"n":1}"#,
            vec![
                ("5", "a number"),
                (r#"{"n":"1"}"#, "\"n\" is a string"),
                (r#"{"n":null}"#, "null"),
                ("[1]", "a list"),
            ],
        ),
        (
            "top",
            playbook(),
            r#"{"episode_id":"a"}"#,
            vec![
                ("[]", "not an object"),
                (r#"{"score":1}"#, "no field \"episode_id\""),
                (r#"{"episode_id":null}"#, "\"episode_id\" is null"),
                (r#"{"episode_id":{}}"#, "is an object"),
            ],
        ),
        ("newest", newest, r#"{"id":1,"at":1}"#, vec![(r#"{"id":1}"#, "no field \"at\"")]),
        (
            "series",
            series,
            r#"{"loss":1,"stage":"TRAINING"}"#,
            vec![
                ("1", "not an object of metrics"),
                (r#"{"loss":"high"}"#, "no field of the value is a number"),
                (r#"{"loss":[1]}"#, "\"loss\" is a list"),
            ],
        ),
    ] {
        let cohort = fixture.create(name, settings);
        put_json(&cohort, "k", good).unwrap();
        for (value, words) in refused {
            let error = put_json(&cohort, "k", value).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(words), "{name} {value}: {error}");
            let mut batch = Batch::new();
            batch.put_json("k", good).unwrap().put_json("k", value).unwrap();
            let error = cohort.append_batch(batch).unwrap_err();
            assert!(error.to_string().contains("record 2 of 2"), "{name} {value}: {error}");
        }
        assert_eq!(cohort.last_seq().unwrap(), 1, "{name}");
        assert!(cohort.append("k", &f64::NAN).unwrap_err().is_invalid(), "{name}");
    }
}

#[test]
fn wrong_parameters_are_refused_with_the_name_of_the_field() {
    for (fold, words) in [
        (r#"{"kind":"top","rank":[]}"#, "missing field `n`"),
        (r#"{"kind":"top","n":3}"#, "missing field `rank`"),
        (r#"{"kind":"top","n":3,"rank":[]}"#, "needs a `rank`"),
        (r#"{"kind":"top","n":0,"rank":[]}"#, "`n` is 0"),
        (r#"{"kind":"top","n":3,"rank":[{"field":"x","order":"up"}]}"#, "not \"up\""),
        (r#"{"kind":"top","n":3,"rank":[{"field":"x"}]}"#, "missing field `order`"),
        (r#"{"kind":"top","n":3,"rank":[{"field":"x","order":[]}]}"#, "names nothing"),
        (r#"{"kind":"top","n":3,"rank":[{"field":"x","order":["A","A"]}]}"#, "twice"),
        (r#"{"kind":"top","n":3,"rank":[{"field":"x..y","order":"asc"}]}"#, "empty name"),
        (r#"{"kind":"top","n":3,"wins":"last","rank":[{"field":"x","order":"asc"}]}"#, "no `unique`"),
        (r#"{"kind":"top","n":3,"unique":"x","wins":"best","rank":[{"field":"x","order":"asc"}]}"#, "best"),
        (r#"{"kind":"top","n":3,"size":1,"rank":[]}"#, "unknown field `size`"),
        (r#"{"kind":"series","points":100001}"#, "`points` is 100001"),
        (r#"{"kind":"series","points":-1}"#, "-1"),
        (r#"{"kind":"sum","n":1}"#, "no parameter `n`"),
        (r#"{"kind":"mean"}"#, "there is no fold \"mean\""),
    ] {
        let error = Settings::from_json(&format!(r#"{{"fold":{fold}}}"#)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(words), "{fold}: {error}");
    }
    let fixture = Fixture::new();
    let no_rank = Settings::new(Fold::Top(Top::new(1).unwrap()));
    assert!(fixture.store.create("c", no_rank).unwrap_err().to_string().contains("needs a `rank`"));
}

#[test]
fn parameters_are_fixed_with_the_fold() {
    let fixture = Fixture::new();
    fixture.create("metrics", Settings::new(Fold::Series(Series::new(10).unwrap())));
    let cohort = fixture.reopen("metrics");
    assert_eq!(*cohort.settings().fold(), Fold::Series(Series::new(10).unwrap()));
    assert_eq!(fixture.create("playbook", playbook()).settings(), fixture.reopen("playbook").settings());
}

/// A value that all three folds may take; the number is not always finite.
#[derive(Clone, Debug)]
struct Seen {
    id: u8,
    grade: u8,
    score: f64,
    at: u8,
}

impl serde::Serialize for Seen {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("score", &self.score)?;
        map.serialize_entry("meta", &json!({"at": self.at}))?;
        map.serialize_entry("grade", ["A", "B", "NaN", "~NaN"][self.grade as usize])?;
        map.end()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Seen),
    Delete(u8),
    Compact,
    Reopen,
}

fn score(g: &mut Gen) -> f64 {
    let any = f64::arbitrary(g);
    *g.choose(&[0.1, 0.2, -7.0, 1e300, f64::NAN, f64::INFINITY, any]).unwrap()
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let key = u8::arbitrary(g) % 3;
        match u8::arbitrary(g) % 14 {
            0 => Step::Delete(key),
            1 | 2 => Step::Compact,
            3 => Step::Reopen,
            _ => Step::Put(
                key,
                Seen {
                    id: u8::arbitrary(g) % 6,
                    grade: u8::arbitrary(g) % 4,
                    score: score(g),
                    at: u8::arbitrary(g) % 4,
                },
            ),
        }
    }
}

/// What is put for the folds `sum` and `series`: two fields, and one of them not always there.
fn fields(sum: bool, seen: &Seen) -> BTreeMap<&'static str, f64> {
    let score = if sum && !seen.score.is_finite() { 1.0 } else { seen.score };
    let mut fields = BTreeMap::from([("score", score)]);
    if seen.grade > 0 {
        fields.insert("at", f64::from(seen.at));
    }
    fields
}

/// Runs the steps; those that are no appends only if `scheduled`.
fn run(fixture: &Fixture, settings: &Settings, steps: &[Step], scheduled: bool) -> Cohort {
    let mut cohort = fixture.create("c", settings.clone());
    for step in steps {
        match (step, settings.fold()) {
            (Step::Put(key, seen), Fold::Top(_)) => {
                cohort.append(&key.to_string(), seen).unwrap();
            }
            (Step::Put(key, seen), fold) => {
                cohort.append(&key.to_string(), &fields(*fold == Fold::Sum, seen)).unwrap();
            }
            (Step::Delete(key), _) => {
                cohort.delete(&key.to_string()).unwrap();
            }
            (Step::Compact, _) if scheduled => {
                cohort.compact().unwrap();
            }
            (Step::Reopen, _) if scheduled => cohort = fixture.reopen("c"),
            (Step::Compact | Step::Reopen, _) => {}
        }
    }
    cohort
}

/// The records of each key that count: seq and what was put, since the last delete.
fn puts(steps: &[Step]) -> BTreeMap<String, Vec<(u64, Seen)>> {
    let mut puts: BTreeMap<String, Vec<(u64, Seen)>> = BTreeMap::new();
    let mut seq = 0;
    for step in steps {
        match step {
            Step::Put(key, seen) => {
                seq += 1;
                puts.entry(key.to_string()).or_default().push((seq, seen.clone()));
            }
            Step::Delete(key) => {
                seq += 1;
                puts.remove(&key.to_string());
            }
            Step::Compact | Step::Reopen => {}
        }
    }
    puts
}

/// Whatever the schedule: the same state, byte for byte, and what `expected` makes of the records of each key.
fn depends_on_the_records_alone(settings: &Settings, expected: impl Fn(&[(u64, Seen)]) -> Value) {
    let mut g = Gen::new(60);
    for _ in 0..60 {
        let steps = Vec::<Step>::arbitrary(&mut g);
        let (often, never) = (Fixture::in_memory(), Fixture::in_memory());
        let cohorts = [run(&often, settings, &steps, true), run(&never, settings, &steps, false)];
        let [before, other] = cohorts.each_ref().map(|cohort| state(&cohort.view().unwrap()));
        assert_eq!(before, other, "{steps:?}");
        let found =
            before.iter().map(|(key, (_, json))| (key.clone(), serde_json::from_str::<Value>(json).unwrap()));
        let expected: BTreeMap<String, Value> =
            puts(&steps).iter().map(|(key, puts)| (key.clone(), expected(puts))).collect();
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{steps:?}");
        for cohort in &cohorts {
            cohort.compact().unwrap();
            assert_eq!(state(&cohort.view().unwrap()), before, "{steps:?}");
            assert!(!cohort.verify().unwrap().is_damaged(), "{steps:?}");
        }
        let [often, never] =
            cohorts.each_ref().map(|cohort| fs::read(cohort.path().join("snapshot.json")).ok());
        assert_eq!(often, never, "{steps:?}");
    }
}

/// As a list under the flag spells it, if one of the list needs the flag.
fn spelled(score: f64) -> Value {
    match score {
        score if score.is_nan() => json!("NaN"),
        score if score == f64::INFINITY => json!("Infinity"),
        score if score == f64::NEG_INFINITY => json!("-Infinity"),
        score => json!(score),
    }
}

/// Numbers from the greatest to the smallest, NaN behind them.
fn down(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[test]
fn the_best_are_the_same_whenever_they_were_compacted() {
    for wins in [Wins::First, Wins::Last, Wins::Newest("meta.at".into())] {
        let top = Top::new(3).unwrap().unique("id", wins.clone()).unwrap();
        let top = top.rank("grade", Order::Given(vec!["A".into(), "NaN".into()])).unwrap();
        let top = top.rank("score", Order::Descending).unwrap();
        let rank = |seen: &Seen| [0, 2, 1, 2][seen.grade as usize];
        depends_on_the_records_alone(&Settings::new(Fold::Top(top)), |puts| {
            let mut best: Vec<(u64, Seen)> = Vec::new();
            for (seq, seen) in puts {
                if let Some(old) = best.iter().position(|(_, old)| old.id == seen.id) {
                    let stays = match wins {
                        Wins::First => true,
                        Wins::Last => false,
                        _ => best[old].1.at >= seen.at,
                    };
                    if stays {
                        continue;
                    }
                    best.remove(old);
                }
                best.push((*seq, seen.clone()));
                best.sort_by(|(a_seq, a), (b_seq, b)| {
                    rank(a).cmp(&rank(b)).then(down(a.score, b.score)).then(a_seq.cmp(b_seq))
                });
                best.truncate(3);
            }
            let flagged = best.iter().any(|(_, seen)| !seen.score.is_finite());
            let grade = |seen: &Seen| match (["A", "B", "NaN", "~NaN"][seen.grade as usize], flagged) {
                (grade @ ("NaN" | "~NaN"), true) => format!("~{grade}"),
                (grade, _) => grade.to_string(),
            };
            best.iter()
                .map(|(_, seen)| {
                    json!({"id": seen.id, "score": spelled(seen.score), "meta": {"at": seen.at}, "grade": grade(seen)})
                })
                .collect()
        });
    }
}

#[test]
fn series_are_the_same_whenever_they_were_compacted() {
    depends_on_the_records_alone(&Settings::new(Fold::Series(Series::new(4).unwrap())), |puts| {
        let metric = |name: &str| {
            let of = |(seq, seen): &(u64, Seen)| Some((*seq, *fields(false, seen).get(name)?));
            let points: Vec<(u64, f64)> = puts.iter().filter_map(of).collect();
            let finite: Vec<f64> =
                points.iter().map(|(_, number)| *number).filter(|it| it.is_finite()).collect();
            let sum = finite.iter().fold(0.0, |sum, number| sum + number);
            let last = points.iter().rev().take(4).rev().map(|(seq, number)| json!([seq, spelled(*number)]));
            (!points.is_empty()).then(|| {
                json!({
                    "count": points.len(),
                    "nonfinite": points.len() - finite.len(),
                    "last": finite.last(),
                    "min": finite.iter().copied().reduce(f64::min),
                    "max": finite.iter().copied().reduce(f64::max),
                    "sum": if finite.is_empty() { json!(0) } else { spelled(sum) },
                    "points": last.collect::<Vec<_>>(),
                })
            })
        };
        ["at", "score"].into_iter().filter_map(|name| Some((name.to_string(), metric(name)?))).collect()
    });
}

#[test]
fn sums_are_the_same_whenever_they_were_compacted() {
    depends_on_the_records_alone(&Settings::new(Fold::Sum), |puts| {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (_, seen) in puts {
            for (name, number) in fields(true, seen) {
                // Beyond the largest double a sum stays.
                sums.entry(name)
                    .and_modify(|sum| *sum = if sum.is_finite() { *sum + number } else { *sum })
                    .or_insert(number);
            }
        }
        sums.into_iter().map(|(name, sum)| (name.to_string(), spelled(sum))).collect()
    });
}
