//! Imports: what is taken, to the letter, in which order, and what is told of the rest.

mod fixture;

use fixture::{Fixture, state};
use serde_json::{Value, json};
use tallyfold::{Cohort, Import, Imported, Keys, Settings};

fn by_run_and_stage(json: &str) -> Result<String, String> {
    let row: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    match (row["run_id"].as_str(), row["stage"].as_str()) {
        (Some(run), Some(stage)) => Ok(format!("{run}:{stage}")),
        _ => Err("it has no run_id and stage".into()),
    }
}

fn by_id(json: &str) -> Result<String, String> {
    let row: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    row["id"].as_u64().map(|id| id.to_string()).ok_or_else(|| "it has no id".into())
}

/// Keys and values in the order of their seqs.
fn records(cohort: &Cohort) -> Vec<(String, String)> {
    let records = cohort.cursor(1).unwrap().map(|record| record.unwrap());
    records.map(|record| (record.key().to_string(), record.json().unwrap().to_string())).collect()
}

fn places(imported: &Imported) -> Vec<&str> {
    imported.refused.iter().map(|refused| refused.place.as_str()).collect()
}

/// A row of an index: 45 columns, texts and numbers, some of them null.
fn index_row(run: usize, seq: u64) -> String {
    let mut fields = vec![
        format!(r#""run_id":"run-{run:04}""#),
        r#""stage":"TARGET_RANKING""#.to_string(),
        format!(r#""snapshot_seq":{seq}"#),
    ];
    for column in 0..42 {
        fields.push(match (column + run) % 6 {
            0 => format!(r#""metric_{column}":0.{run}50"#),
            1 => format!(r#""n_{column}":{}"#, run * 1000),
            2 => format!(r#""tag_{column}": null"#),
            3 => format!(r#""hash_{column}":"{:064x}""#, run * column),
            4 => format!(r#""big_{column}":1180591620717411303424"#),
            _ => format!(r#""ok_{column}":{}"#, run.is_multiple_of(2)),
        });
    }
    format!("{{{}}}", fields.join(", "))
}

#[test]
fn an_index_keyed_by_run_and_stage_is_taken_to_the_letter() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().compact_bytes(0));
    let mut document = String::from("{\n");
    for run in 0..2500 {
        let comma = if run > 0 { ",\n" } else { "" };
        document
            .push_str(&format!("{comma}  \"run-{run:04}:TARGET_RANKING\": {}", index_row(run, run as u64)));
    }
    document.push_str("\n}\n");
    let imported = Import::into(&cohort).json(document.as_bytes());
    assert!(imported.stopped.is_none(), "{:?}", imported.stopped);
    assert_eq!((imported.rows, imported.taken, imported.skipped, imported.seq), (2500, 2500, 0, 2500));
    let records = records(&cohort);
    for (run, (key, value)) in records.iter().enumerate() {
        assert_eq!(*key, format!("run-{run:04}:TARGET_RANKING"));
        assert_eq!(*value, index_row(run, run as u64).replace(", ", ",").replace(": ", ":"));
    }
    assert!(document.len() > 2 << 20, "more than a batch");
}

#[test]
fn digits_escapes_and_the_order_of_members_stay() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let text = r#"{ "b" : {"z":1e3,"a":1.50,"m":-0.0,"z":1180591620717411303424}, "\u00e4\n" : "\u00e4\/", "":[ ] }"#;
    let imported = Import::into(&cohort).json(text.as_bytes());
    assert_eq!(imported.taken, 3);
    assert_eq!(
        records(&cohort),
        [
            ("b".to_string(), r#"{"z":1e3,"a":1.50,"m":-0.0,"z":1180591620717411303424}"#.to_string()),
            ("ä\n".to_string(), r#""\u00e4\/""#.to_string()),
            (String::new(), "[]".to_string()),
        ]
    );
}

#[test]
fn the_words_of_python_become_non_finite_numbers_and_texts_that_read_so_stay_texts() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let text = r#"{"a": {"loss": NaN, "best": [-Infinity, Infinity], "NaN": "NaN"}, "b": "NaN"}"#;
    let imported = Import::into(&cohort).json(text.as_bytes());
    assert_eq!((imported.taken, imported.nonfinite), (2, 1));
    let view = cohort.view().unwrap();
    let a = view.get("a").unwrap().unwrap();
    assert!(a.nonfinite() && !view.get("b").unwrap().unwrap().nonfinite());
    #[derive(serde::Deserialize)]
    struct Metrics {
        loss: f64,
        best: Vec<f64>,
        #[serde(rename = "NaN")]
        text: String,
    }
    let metrics: Metrics = a.to().unwrap();
    assert!(metrics.loss.is_nan());
    assert_eq!((metrics.best, metrics.text.as_str()), (vec![f64::NEG_INFINITY, f64::INFINITY], "NaN"));
    assert_eq!(view.get("b").unwrap().unwrap().to::<String>().unwrap(), "NaN");
}

#[test]
fn rows_of_a_list_are_keyed_by_their_fields_and_the_last_of_a_key_counts() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let rows: Vec<String> = (0..10).map(|i| index_row(i % 7, i as u64)).collect();
    let list = format!("[{}]", rows.join(","));
    assert!(Import::into(&cohort).json(list.as_bytes()).stopped.unwrap().is_invalid(), "rows need a key");
    let imported = Import::into(&cohort).keys(Keys::Of(&by_run_and_stage)).json(list.as_bytes());
    assert_eq!((imported.rows, imported.taken, imported.repeated), (10, 10, 3));
    let view = cohort.view().unwrap();
    let row: Value = view.get("run-0002:TARGET_RANKING").unwrap().unwrap().to().unwrap();
    assert_eq!(row["snapshot_seq"], 9);
    assert_eq!(state(&view).len(), 7);
    // An object whose names are left aside.
    let object = format!(r#"{{"old-1":{},"old-2":[]}}"#, index_row(8, 8));
    let imported = Import::into(&cohort).keys(Keys::Of(&by_run_and_stage)).json(object.as_bytes());
    assert_eq!(
        (imported.taken, places(&imported)),
        (1, vec![&*format!("line 1 column {}", object.len() - 2)])
    );
    assert!(imported.refused[0].reason.contains("no run_id"));
}

#[test]
fn a_large_gene_list_is_one_value_and_a_row_too_large_is_told_and_left_out() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().max_body_bytes(200_000));
    let genes: Vec<String> = (0..6000).map(|i| format!("ENSG{i:011}")).collect();
    let genes = serde_json::to_string(&genes).unwrap();
    let labels: String = (0..500).map(|i| format!("\"label {i}\":[{i},{}],", i + 1)).collect();
    let document = format!(
        r#"{{"genes":{genes},"huge":"{}","larger":"{}","labels":{{{}"last":[]}}}}"#,
        "x".repeat(250_000),
        "x".repeat(1_000_000),
        labels
    );
    let imported = Import::into(&cohort).json(document.as_bytes());
    assert_eq!((imported.rows, imported.taken, imported.skipped), (4, 2, 2));
    assert!(imported.stopped.is_none());
    assert!(imported.refused[0].reason.contains("max_body_bytes"), "{:?}", imported.refused);
    assert!(imported.refused[1].reason.contains("longer than 400000 bytes"), "{:?}", imported.refused);
    assert_eq!(cohort.view().unwrap().get("genes").unwrap().unwrap().json(), genes);
    assert_eq!(state(&cohort.view().unwrap()).keys().collect::<Vec<_>>(), ["genes", "labels"]);
}

#[test]
fn what_is_before_the_place_where_a_document_is_torn_is_taken_and_the_place_is_told() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let imported = Import::into(&cohort).json(&b"{\"a\":1,\n\"b\":{\"x\":2},\n\"c\":{\"y\""[..]);
    assert_eq!((imported.taken, imported.skipped), (2, 0));
    let stopped = imported.stopped.unwrap();
    assert!(stopped.is_invalid() && stopped.to_string().contains("line 3 column 9"), "{stopped}");
    assert_eq!(state(&cohort.view().unwrap()).len(), 2);
    let imported = Import::into(&cohort).all_or_nothing().json(&b"{\"d\":1"[..]);
    assert_eq!((imported.taken, imported.stopped.is_some()), (0, true));
    assert_eq!(cohort.last_seq().unwrap(), 2);
}

#[test]
fn lines_that_are_no_json_are_told_by_number_and_the_others_are_taken() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let lines = b"{\"id\":1,\"v\":1.0}\n\nnonsense\n{\"id\":2} x\n{\"v\":1}\n\"\xff\"\n{\"id\":3,\"v\":1e999}\n{\"id\":4}";
    let imported = Import::into(&cohort).keys(Keys::Of(&by_id)).jsonl(&lines[..]);
    assert_eq!(places(&imported), ["line 3", "line 4", "line 5", "line 6", "line 7"]);
    assert_eq!((imported.rows, imported.taken, imported.skipped), (7, 2, 5));
    assert_eq!(records(&cohort).len(), 2);
    // Many are counted, and only the first told.
    let imported = Import::into(&cohort).keys(Keys::Of(&by_id)).jsonl("?\n".repeat(1234).as_bytes());
    assert_eq!((imported.skipped, imported.refused.len()), (1234, 100));
}

#[test]
fn seq_from_orders_rows_by_number_and_puts_those_without_one_last_in_their_order() {
    let fixture = Fixture::new();
    let order = |rows: &[&str]| {
        let cohort = fixture.create(&format!("c{}", fixture.store.cohorts().unwrap().len()), Settings::log());
        let key = |_: &str| Ok(String::new());
        let imported =
            Import::into(&cohort).keys(Keys::Of(&key)).seq_from("n").jsonl(rows.join("\n").as_bytes());
        let ids: Vec<u64> = records(&cohort)
            .iter()
            .map(|(_, json)| serde_json::from_str::<Value>(json).unwrap()["id"].as_u64().unwrap())
            .collect();
        (ids, imported.unnumbered)
    };
    let rows = [
        r#"{"id":1,"n":9007199254740993}"#,
        r#"{"id":2}"#,
        r#"{"id":3,"n":9007199254740992}"#,
        r#"{"id":4,"n":"7"}"#,
        r#"{"id":5,"n":-1}"#,
        r#"{"id":6,"n":null}"#,
        r#"{"id":7,"n":-1}"#,
    ];
    assert_eq!(order(&rows), (vec![5, 7, 3, 1, 2, 4, 6], 3));
    assert_eq!(
        order(&[r#"{"id":1,"n":2.5}"#, r#"{"id":2}"#, r#"{"id":3,"n":2}"#, r#"{"id":4,"n":1e1}"#]),
        (vec![3, 1, 4, 2], 1)
    );
}

#[test]
fn all_or_nothing_is_one_batch_or_none() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().max_body_bytes(10_000));
    let all = |text: &str| Import::into(&cohort).all_or_nothing().json(text.as_bytes());
    let imported = all(r#"{"a":1,"b":1e999}"#);
    assert_eq!((imported.taken, imported.skipped), (0, 1));
    assert!(imported.stopped.unwrap().to_string().contains("nothing was appended"));
    let long = format!(r#"{{"a":"{}","b":"{0}"}}"#, "x".repeat(6_000));
    let imported = all(&long);
    assert!(imported.stopped.unwrap().is_invalid());
    assert_eq!((imported.taken, cohort.last_seq().unwrap()), (0, 0));
    let endless = format!("{{{}}}", (0..3000).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
    assert!(all(&endless).stopped.unwrap().to_string().contains("max_body_bytes"));
    assert_eq!(cohort.last_seq().unwrap(), 0);
    assert_eq!(all(r#"{"a":1,"b":2}"#).seq, 2);
    let times: Vec<i64> = cohort.cursor(1).unwrap().map(|record| record.unwrap().time_us()).collect();
    assert_eq!(times[0], times[1], "one batch");
}

#[test]
fn a_rehearsal_says_the_same_and_appends_nothing() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().max_body_bytes(100));
    let text = format!(r#"{{"a":1,"b":"{}","c":?}}"#, "x".repeat(150));
    let dry = Import::into(&cohort).dry().json(text.as_bytes());
    assert_eq!(cohort.last_seq().unwrap(), 0);
    let rehearsed = Import::rehearsal(cohort.settings()).json(text.as_bytes());
    let done = Import::into(&cohort).json(text.as_bytes());
    for imported in [&dry, &rehearsed] {
        assert_eq!((imported.taken, imported.skipped), (done.taken, done.skipped));
        assert_eq!(places(imported), places(&done));
    }
    assert_eq!((done.taken, done.skipped, cohort.last_seq().unwrap()), (1, 2, 1));
}

#[test]
fn a_whole_document_becomes_the_value_of_one_key() {
    let fixture = Fixture::new();
    let cohort = fixture.create("runs", Settings::merge());
    let metrics = r#"{"run_id":"run-1","timestamp":"2026-01-08T12:00:01","auc":0.61,"n_models":5}"#;
    let key = |_: &str| Ok("run-1".to_string());
    for (text, taken) in [(metrics, 1), (" 1.50 ", 1), ("1 2", 0), ("", 0), ("NaN", 1)] {
        let imported = Import::into(&cohort).keys(Keys::Of(&key)).json_value(text.as_bytes());
        assert_eq!(imported.taken, taken, "{text}");
        assert_eq!(imported.taken == 1, imported.stopped.is_none() && imported.skipped == 0, "{text}");
    }
    assert_eq!(cohort.last_seq().unwrap(), 3);
    assert_eq!(records(&cohort)[0].1, metrics);
}

#[test]
fn what_a_mirror_shows_is_imported_again_to_the_same_state() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    cohort.append("run-1:\"x\"", &json!({"a": [1.5, null], "b": "ä\n"})).unwrap();
    cohort.append("", &json!(null)).unwrap();
    let path = fixture.dir.path().join("m.json");
    cohort.mirror_to(&path, None).unwrap();
    let again = fixture.create("again", Settings::latest());
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    assert_eq!(Import::into(&again).json(file).taken, 2);
    let values = |cohort: &Cohort| {
        state(&cohort.view().unwrap()).into_iter().map(|(key, (_, json))| (key, json)).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&cohort));
}
