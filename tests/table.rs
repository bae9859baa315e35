//! Parquet: mirrors that are tables, read back by ourselves and by others, and tables of others imported.
#![cfg(feature = "parquet")]
#![allow(clippy::disallowed_methods, reason = "tests read and write the user's files")]

mod fixture;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use fixture::{Fixture, state};
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Import, Imported, Keys, Mirror, Settings};

/// The rows of a table as our own reader has them, in their order.
fn rows(fixture: &Fixture, path: &Path) -> Vec<String> {
    let log = fixture.create(&format!("read-{}", fixture.store.cohorts().unwrap().len()), Settings::log());
    let key = |_: &str| Ok(String::new());
    let imported = Import::into(&log).keys(Keys::Of(&key)).parquet(File::open(path).unwrap());
    assert!(imported.stopped.is_none() && imported.skipped == 0, "{imported:?}");
    log.cursor(1).unwrap().map(|record| record.unwrap().json().unwrap().to_string()).collect()
}

fn parsed(rows: &[String]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// Python with these modules, or `None` with a word about what is not tested. TALLYFOLD_TEST_PYTHON names another one.
fn python(modules: &str) -> Option<String> {
    let python = std::env::var("TALLYFOLD_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no {modules} here");
    None
}

#[track_caller]
fn run(python: &str, script: &str, path: &Path) -> String {
    let output = Command::new(python).args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Entries of every kind, and a table of them.
fn mixed(fixture: &Fixture) -> (Cohort, std::path::PathBuf) {
    let path = fixture.dir.path().join("index.parquet");
    let cohort = fixture.create("c", Settings::latest().mirror(Mirror::new(path.to_str().unwrap())));
    let mut batch = Batch::new();
    for (key, json) in [
        (
            "a",
            r#"{"n":1,"x":1,"ok":true,"s":"ä\n","mixed":1,"list":[1,1.50],"key":"own","seq":"own","none":null}"#,
        ),
        (
            "b",
            r#"{"x":0.5,"n":-9223372036854775808,"ok":false,"mixed":"1","list":null,"big":1180591620717411303424}"#,
        ),
        ("c", r#"{"late":"only here","n":null,"value.key":7}"#),
        ("d", "17"),
        ("e", "{}"),
    ] {
        batch.put_json(key, json).unwrap();
    }
    cohort.append_batch(batch).unwrap();
    cohort.append("f", &std::collections::BTreeMap::from([("x", f64::NAN)])).unwrap();
    cohort.compact().unwrap();
    assert_eq!(cohort.mirror_failure(), None);
    (cohort, path)
}

#[test]
fn a_table_has_a_row_for_each_entry_and_a_column_for_each_field() {
    let fixture = Fixture::new();
    let (_cohort, path) = mixed(&fixture);
    let rows = rows(&fixture, &path);
    assert_eq!(
        rows[0],
        "{\"key\":\"a\",\"seq\":1,\"n\":1,\"x\":1.0,\"ok\":true,\"s\":\"ä\\n\",\"mixed\":\"1\",\"list\":\"[1,1.50]\",\
         \"value.key\":\"own\",\"value.seq\":\"own\",\"none\":null,\"big\":null,\"late\":null,\"value.value.key\":null,\
         \"value\":null}"
    );
    let rows = parsed(&rows);
    assert_eq!(rows.len(), 6);
    assert_eq!(
        (&rows[1]["n"], &rows[1]["x"], &rows[1]["ok"]),
        (&json!(i64::MIN), &json!(0.5), &json!(false))
    );
    assert_eq!((&rows[1]["mixed"], &rows[1]["list"]), (&json!("\"1\""), &Value::Null));
    assert_eq!(rows[1]["big"], "1180591620717411303424", "all its digits");
    assert_eq!((&rows[2]["late"], &rows[2]["value.value.key"]), (&json!("only here"), &json!(7)));
    assert_eq!(rows[3]["value"], 17);
    assert!(
        rows[4]
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, value)| value.is_null() || name == "key" || name == "seq")
    );
    assert_eq!(rows[5]["x"], "NaN", "a double that is not a number");
}

#[test]
fn the_same_state_gives_the_same_table_and_an_empty_one_is_a_table_too() {
    let fixture = Fixture::new();
    let (cohort, path) = mixed(&fixture);
    let again = fixture.dir.path().join("again.parquet");
    assert_eq!(cohort.mirror_to(&again, None).unwrap().entries, 6);
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    cohort.compact().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), modified, "it shows the same");
    let empty = fixture.create("empty", Settings::latest());
    empty.mirror_to(&again, None).unwrap();
    assert_eq!(rows(&fixture, &again), [""; 0]);
    cohort.mirror_to(&again, Some("d")).unwrap();
    assert_eq!(rows(&fixture, &again), ["{\"key\":\"d\",\"seq\":4,\"value\":17}"]);
}

#[test]
fn a_large_state_is_a_table_of_several_groups() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let mut batch = Batch::new();
    for run in 0..24_000 {
        let columns: Vec<String> = (0..45).map(|column| format!("\"c{column}\":{}", run * column)).collect();
        batch.put_json(&format!("run-{run:05}"), &format!("{{{}}}", columns.join(","))).unwrap();
        if batch.len() == 3000 {
            cohort.append_batch(std::mem::take(&mut batch)).unwrap();
        }
    }
    let path = fixture.dir.path().join("index.parquet");
    assert_eq!(cohort.mirror_to(&path, None).unwrap().entries, 24_000);
    let read = fixture.create("read", Settings::latest());
    let key = |row: &str| {
        let row: Value = serde_json::from_str(row).map_err(|e| e.to_string())?;
        row["key"].as_str().map(str::to_string).ok_or_else(|| "no key".to_string())
    };
    let imported = Import::into(&read).keys(Keys::Of(&key)).parquet_bytes(std::fs::read(&path).unwrap());
    assert_eq!((imported.taken, imported.skipped, imported.repeated), (24_000, 0, 0));
    let row: Value = read.view().unwrap().get("run-23999").unwrap().unwrap().to().unwrap();
    assert_eq!((&row["seq"], &row["c44"]), (&json!(24_000), &json!(23_999 * 44)));
}

#[test]
fn what_is_no_table_is_an_error_and_no_panic() {
    let fixture = Fixture::new();
    let (_cohort, path) = mixed(&fixture);
    let whole = std::fs::read(&path).unwrap();
    let target = fixture.create("t", Settings::log());
    let key = |_: &str| Ok(String::new());
    let import = |bytes: Vec<u8>| -> Imported {
        Import::into(&target).dry().keys(Keys::Of(&key)).parquet_bytes(bytes)
    };
    for bad in [b"".to_vec(), b"PAR1".to_vec(), whole[..whole.len() - 1].to_vec(), whole[10..].to_vec()] {
        assert!(import(bad).stopped.unwrap().is_invalid());
    }
    let mut told = 0;
    for at in (0..whole.len()).step_by(31) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5A;
        let imported = import(bytes);
        told += usize::from(imported.stopped.is_some() || imported.skipped > 0);
    }
    assert!(told > whole.len() / 31 / 10, "{told} were told");
}

#[test]
fn pyarrow_pandas_and_duckdb_read_a_mirror() {
    let fixture = Fixture::new();
    let (_cohort, path) = mixed(&fixture);
    if let Some(python) = python("pyarrow.parquet") {
        let types = run(
            &python,
            "import sys, pyarrow.parquet as q; t = q.read_table(sys.argv[1]); print([(f.name, str(f.type), f.nullable) for f in t.schema][:8]); \
             print(t.column('key').to_pylist(), t.column('n').to_pylist(), t.column('x').to_pylist(), t.column('list').to_pylist())",
            &path,
        );
        assert_eq!(
            types,
            "[('key', 'string', False), ('seq', 'int64', False), ('n', 'int64', True), ('x', 'double', True), ('ok', 'bool', True), \
             ('s', 'string', True), ('mixed', 'string', True), ('list', 'string', True)]\n\
             ['a', 'b', 'c', 'd', 'e', 'f'] [1, -9223372036854775808, None, None, None, None] \
             [1.0, 0.5, None, None, None, nan] ['[1,1.50]', None, None, None, None, None]\n"
        );
    }
    if let Some(python) = python("pandas, pyarrow") {
        let script = "import sys, pandas; d = pandas.read_parquet(sys.argv[1]); print(len(d), d.set_index('key').loc['c', 'late'], d['seq'].sum())";
        assert_eq!(run(&python, script, &path), "6 only here 21\n");
    }
    if let Some(python) = python("duckdb") {
        let script = "import sys, duckdb; print(duckdb.sql(f\"select key, n, s, mixed from '{sys.argv[1]}' where ok order by key\").fetchall())";
        assert_eq!(run(&python, script, &path), "[('a', 1, 'ä\\n', '1')]\n");
    }
}

#[test]
fn a_table_that_pandas_wrote_is_imported() {
    let Some(python) = python("pandas, pyarrow") else { return };
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("theirs.parquet");
    let script = "
import sys, datetime, decimal, pandas, pyarrow, pyarrow.parquet
frame = pandas.DataFrame({
    'run_id': ['run-1', 'run-2', 'run-2'], 'phase': ['TRAINING', 'TRAINING', 'TEST'], 'auc': [0.61, None, 1e300],
    'n': [1, 2**63 - 1, 3], 'seen': pandas.to_datetime(['2026-01-08T12:00:01', None, None]),
    'utc': pandas.to_datetime(['2026-01-08T12:00:01', None, None], utc=True), 'day': [datetime.date(2026, 1, 8)] * 3,
    'price': [decimal.Decimal('1.50'), None, decimal.Decimal('-0.25')], 'genes': [['a', 'b'], [], None],
    'nested': [{'x': 1, 'y': {'z': 'w'}}] * 3, 'bytes': [b'text', None, b'\\xff'], 'small': pandas.array([1, None, 3], dtype='UInt8'),
})
table = pyarrow.Table.from_pandas(frame, preserve_index=False)
table = table.append_column('inf', pyarrow.array([float('nan'), float('inf'), None]))
table = table.append_column('f32', pyarrow.array([0.1, None, 2.0], pyarrow.float32()))
table = table.append_column('ns', pyarrow.array([1767873601000000000, 1767873601000000001, None], pyarrow.timestamp('ns')))
table = table.append_column('ms', pyarrow.array([0, 1, None], pyarrow.timestamp('ms')))
pyarrow.parquet.write_table(table, sys.argv[1])
";
    run(&python, script, &path);
    let cohort = fixture.create("index", Settings::latest());
    let key = |row: &str| {
        let row: Value = serde_json::from_str(row).map_err(|e| e.to_string())?;
        Ok(format!("{}:{}", row["run_id"].as_str().unwrap(), row["phase"].as_str().unwrap()))
    };
    let imported = Import::into(&cohort).keys(Keys::Of(&key)).parquet(File::open(&path).unwrap());
    assert!(imported.stopped.is_none(), "{:?}", imported.stopped);
    assert_eq!((imported.taken, imported.skipped, imported.nonfinite), (2, 1, 2));
    assert_eq!(imported.refused[0].place, "row 3");
    assert!(
        imported.refused[0].reason.contains("\"bytes\" holds bytes that are no text"),
        "{:?}",
        imported.refused
    );
    let state = state(&cohort.view().unwrap());
    assert_eq!(
        state["run-1:TRAINING"].1,
        "{\"run_id\":\"run-1\",\"phase\":\"TRAINING\",\"auc\":0.61,\"n\":1,\"seen\":\"2026-01-08T12:00:01\",\
         \"utc\":\"2026-01-08T12:00:01Z\",\"day\":\"2026-01-08\",\"price\":1.50,\"genes\":[\"a\",\"b\"],\
         \"nested\":{\"x\":1,\"y\":{\"z\":\"w\"}},\"bytes\":\"text\",\"small\":1,\"inf\":\"NaN\",\"f32\":0.1,\
         \"ns\":\"2026-01-08T12:00:01\",\"ms\":\"1970-01-01T00:00:00\"}"
    );
    let second: Value = serde_json::from_str(&state["run-2:TRAINING"].1).unwrap();
    assert_eq!(
        (&second["auc"], &second["n"], &second["inf"]),
        (&Value::Null, &json!(i64::MAX), &json!("Infinity"))
    );
    assert_eq!(second["genes"], json!([]));
    assert_eq!(second["ms"], "1970-01-01T00:00:00.001");
    assert_eq!((&second["ns"], &second["seen"]), (&json!("2026-01-08T12:00:01.000000001"), &Value::Null));
}
