//! Exports into memory, in each format, read back as others would read them.
#![cfg(all(feature = "arrow", feature = "csv", feature = "parquet"))]

mod fixture;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Cursor, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::DataType;
use fixture::{Fixture, frames, overwrite, segment};
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Export, Exporting, Fold, Import, Keys, Series, Settings, What};

fn put(cohort: &Cohort, rows: &[(&str, &str)]) {
    let mut batch = Batch::new();
    for (key, json) in rows {
        batch.put_json(key, json).unwrap();
    }
    cohort.append_batch(batch).unwrap();
}

/// Entries of every kind.
fn mixed(fixture: &Fixture) -> Cohort {
    let cohort = fixture.create("mixed", Settings::latest());
    put(
        &cohort,
        &[
            (
                "a:1",
                r#"{"n":1,"x":1,"ok":true,"s":"=SUM(A1), \"ä\"\n","mixed":1,"list":[1, 1.50],"seq":"own","big":18446744073709551615}"#,
            ),
            (
                "b%3A:2:3",
                r#"{"x":0.5,"n":-9223372036854775808,"ok":false,"mixed":"1","list":null,"big":7,"late":{"a":{}}}"#,
            ),
            ("c", r#""no object""#),
        ],
    );
    cohort.append("d", &BTreeMap::from([("x", f64::NEG_INFINITY)])).unwrap();
    // Half of it is folded, half is not.
    cohort.compact().unwrap();
    cohort.append("e", &BTreeMap::from([("x", f64::NAN)])).unwrap();
    cohort
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> tallyfold::Result<tallyfold::Exported>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn arrow(export: Export<'_>) -> Vec<RecordBatch> {
    let mut file = Vec::new();
    export.arrow(&mut file).unwrap();
    FileReader::try_new(Cursor::new(file), None).unwrap().map(Result::unwrap).collect()
}

/// The rows of a Parquet file as our own import reads them.
fn rows_of_parquet(fixture: &Fixture, bytes: Vec<u8>) -> Vec<Value> {
    let log = fixture.create(&format!("read-{}", fixture.store.cohorts().unwrap().len()), Settings::log());
    let key = |_: &str| Ok(String::new());
    let imported = Import::into(&log).keys(Keys::Of(&key)).parquet_bytes(bytes);
    assert!(imported.stopped.is_none() && imported.skipped == 0, "{imported:?}");
    log.cursor(1)
        .unwrap()
        .map(|record| serde_json::from_str(record.unwrap().json().unwrap()).unwrap())
        .collect()
}

#[test]
fn lines_of_json_hold_values_as_they_were_appended() {
    let fixture = Fixture::new();
    let cohort = mixed(&fixture);
    let lines = text(|out| Export::of(&cohort).key_parts(["run", "n"])?.jsonl(out));
    assert_eq!(
        lines,
        concat!(
            "{\"key\":\"a:1\",\"run\":\"a\",\"n\":\"1\",\"seq\":1,\"value\":{\"n\":1,\"x\":1,\"ok\":true,",
            "\"s\":\"=SUM(A1), \\\"ä\\\"\\n\",\"mixed\":1,\"list\":[1,1.50],\"seq\":\"own\",\"big\":18446744073709551615}}\n",
            "{\"key\":\"b%3A:2:3\",\"run\":\"b:\",\"n\":\"2\",\"seq\":2,\"value\":{\"x\":0.5,\"n\":-9223372036854775808,\"ok\":false,",
            "\"mixed\":\"1\",\"list\":null,\"big\":7,\"late\":{\"a\":{}}}}\n",
            "{\"key\":\"c\",\"run\":\"c\",\"seq\":3,\"value\":\"no object\"}\n",
            "{\"key\":\"d\",\"run\":\"d\",\"seq\":4,\"value\":{\"x\":\"-Infinity\"},\"nonfinite\":true}\n",
            "{\"key\":\"e\",\"run\":\"e\",\"seq\":5,\"value\":{\"x\":\"NaN\"},\"nonfinite\":true}\n",
        )
    );
}

#[test]
fn csv_has_the_names_and_then_the_rows_and_numbers_keep_their_digits() {
    let fixture = Fixture::new();
    let cohort = mixed(&fixture);
    let mut out = Vec::new();
    let exported = Export::of(&cohort).csv(&mut out).unwrap();
    assert_eq!((exported.rows, exported.seq, exported.text_columns.len()), (5, 5, 0));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            "key,seq,n,x,ok,s,mixed,list,value.seq,big,late,value\n",
            "a:1,1,1,1,true,\"=SUM(A1), \"\"ä\"\"\n\",1,\"[1,1.50]\",own,18446744073709551615,,\n",
            "b%3A:2:3,2,-9223372036854775808,0.5,false,,\"\"\"1\"\"\",,,7,\"{\"\"a\"\":{}}\",\n",
            "c,3,,,,,,,,,,no object\n",
            "d,4,,-inf,,,,,,,,\n",
            "e,5,,NaN,,,,,,,,\n",
        )
    );
}

#[test]
fn arrow_has_the_types_and_the_values_in_both_of_its_formats() {
    let fixture = Fixture::new();
    let cohort = mixed(&fixture);
    let batches = arrow(Export::of(&cohort));
    let [batch] = &batches[..] else { panic!("one batch, not {}", batches.len()) };
    let types: Vec<(String, String, bool)> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().to_string(), field.is_nullable()))
        .collect();
    let expected = [
        ("key", "Utf8", false),
        ("seq", "Int64", false),
        ("n", "Int64", true),
        ("x", "Float64", true),
        ("ok", "Boolean", true),
        ("s", "Utf8", true),
        ("mixed", "Utf8", true),
        ("list", "Utf8", true),
        ("value.seq", "Utf8", true),
        ("big", "Utf8", true),
        ("late", "Utf8", true),
        ("value", "Utf8", true),
    ];
    assert_eq!(types, expected.map(|(name, type_, null)| (name.to_string(), type_.to_string(), null)));
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let texts = |name| {
        column(name).as_string::<i32>().iter().map(|text| text.map(str::to_string)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_string());
    assert_eq!(
        column("n").as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(1), Some(i64::MIN), None, None, None]
    );
    let x: Vec<_> = column("x").as_primitive::<Float64Type>().iter().collect();
    assert_eq!(x[..4], [Some(1.0), Some(0.5), None, Some(f64::NEG_INFINITY)]);
    assert!(x[4].unwrap().is_nan());
    assert_eq!(texts("big"), [some("18446744073709551615"), some("7"), None, None, None]);
    assert_eq!(texts("mixed"), [some("1"), some("\"1\""), None, None, None]);
    assert_eq!(texts("list"), [some("[1,1.50]"), None, None, None, None]);
    assert_eq!(
        column("ok").as_boolean().iter().collect::<Vec<_>>(),
        [Some(true), Some(false), None, None, None]
    );

    let mut stream = Vec::new();
    let exported = Export::of(&cohort).arrow_stream(&mut stream).unwrap();
    assert_eq!(exported.text_columns, ["big"]);
    let streamed: Vec<RecordBatch> =
        StreamReader::try_new(&stream[..], None).unwrap().map(Result::unwrap).collect();
    // NaN is not equal to itself, so what they show is compared.
    assert_eq!(format!("{streamed:?}"), format!("{batches:?}"));
}

#[test]
fn the_history_has_a_row_for_each_record_with_its_time_epoch_and_kind() {
    let fixture = Fixture::new();
    let cohort = fixture.create("log", Settings::log());
    put(&cohort, &[("a", r#"{"loss":0.5,"time":7}"#)]);
    cohort.delete("a").unwrap();
    let plain = arrow(Export::of(&cohort));
    assert!(plain[0].column_by_name("raw").is_none(), "there is no raw record");
    let mut batch = Batch::new();
    batch.put_raw("", b"\x00\xff").unwrap();
    cohort.append_batch(batch).unwrap();
    let time_us = cohort.cursor(1).unwrap().next().unwrap().unwrap().time_us();

    let batches = arrow(Export::of(&cohort));
    let [batch] = &batches[..] else { panic!("one batch") };
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["seq", "time", "epoch", "key", "kind", "raw", "loss", "value.time"]);
    let time = batch.column(1);
    assert!(matches!(time.data_type(), DataType::Timestamp(_, Some(zone)) if &**zone == "UTC"));
    assert_eq!(time.as_primitive::<TimestampMicrosecondType>().value(0), time_us);
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().values(), &[1, 1, 1]);
    let kinds: Vec<_> = batch.column(4).as_string::<i32>().iter().flatten().collect();
    assert_eq!(kinds, ["put", "delete", "raw"]);
    assert_eq!(batch.column(5).as_string::<i32>().iter().collect::<Vec<_>>(), [None, None, Some("00ff")]);

    let mut parquet = Vec::new();
    Export::of(&cohort).parquet(&mut parquet).unwrap();
    let rows = rows_of_parquet(&fixture, parquet);
    let lines = text(|out| Export::of(&cohort).jsonl(out));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["time"], &rows[0]["loss"]), (&lines[0]["time"], &lines[0]["value"]["loss"]));
    assert_eq!((&rows[1]["kind"], &rows[2]["raw"]), (&json!("delete"), &lines[2]["raw"]));
    assert!(lines[1].get("value").is_none() && lines[1].get("raw").is_none());
}

#[test]
fn the_epoch_is_the_one_in_which_a_record_was_written() {
    let fixture = Fixture::new();
    let mut cohort = fixture.create("c", Settings::latest());
    put(&cohort, &[("a", "1")]);
    cohort = fixture.die(cohort);
    // What a dead writer has left: the next one cuts, and begins an epoch.
    let path = segment(&cohort, 1);
    let (_, tail) = frames(&path);
    overwrite(&path, tail, b"torn");
    put(&cohort, &[("a", "2")]);
    let lines = text(|out| Export::of(&cohort).what(What::History)?.jsonl(out));
    let epochs: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["epoch"].clone()).collect();
    assert_eq!(epochs.len(), 2, "{lines}");
    assert_eq!(epochs[0], 1);
    assert!(epochs[1].as_u64() > Some(1), "{lines}");
}

#[test]
fn points_are_those_that_a_series_keeps() {
    let fixture = Fixture::new();
    let cohort = fixture.create("curves", Settings::new(Fold::Series(Series::new(2).unwrap())));
    for loss in [0.5, 0.25, 0.125] {
        cohort.append("run-1", &json!({ "loss": loss, "stage": "TRAINING" })).unwrap();
    }
    cohort.append("run-2", &BTreeMap::from([("loss", f64::INFINITY), ("acc", 1.0)])).unwrap();
    let points = || Export::of(&cohort).what(What::Points).unwrap();
    assert_eq!(
        text(|out| points().jsonl(out)),
        concat!(
            "{\"key\":\"run-1\",\"metric\":\"loss\",\"seq\":2,\"value\":0.25}\n",
            "{\"key\":\"run-1\",\"metric\":\"loss\",\"seq\":3,\"value\":0.125}\n",
            "{\"key\":\"run-2\",\"metric\":\"acc\",\"seq\":4,\"value\":1.0}\n",
            "{\"key\":\"run-2\",\"metric\":\"loss\",\"seq\":4,\"value\":\"Infinity\",\"nonfinite\":true}\n",
        )
    );
    let batches = arrow(points());
    let values: Vec<_> =
        batches[0].column_by_name("value").unwrap().as_primitive::<Float64Type>().iter().collect();
    assert_eq!(values, [0.25, 0.125, 1.0, f64::INFINITY].map(Some));
}

#[test]
fn what_a_fold_has_not_and_names_that_are_taken_are_refused() {
    let fixture = Fixture::new();
    let (log, latest) =
        (fixture.create("log", Settings::log()), fixture.create("latest", Settings::latest()));
    assert!(Export::of(&log).what(What::State).err().unwrap().is_invalid());
    assert!(Export::of(&log).what(What::Points).err().unwrap().to_string().contains("export its history"));
    assert!(Export::of(&latest).what(What::Points).err().unwrap().is_invalid());
    for names in [&["key"][..], &[""], &["a", "b", "a"], &["seq"]] {
        assert!(
            Export::of(&latest).key_parts(names.iter().copied()).err().unwrap().is_invalid(),
            "{names:?}"
        );
    }
}

#[test]
fn an_empty_cohort_is_a_table_without_rows() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    assert_eq!(text(|out| Export::of(&cohort).csv(out)), "key,seq\n");
    assert_eq!(text(|out| Export::of(&cohort).jsonl(out)), "");
    assert!(arrow(Export::of(&cohort)).is_empty());
    let mut parquet = Vec::new();
    Export::of(&cohort).parquet(&mut parquet).unwrap();
    assert!(rows_of_parquet(&fixture, parquet).is_empty());
    let log = fixture.create("log", Settings::log());
    assert_eq!(text(|out| Export::of(&log).csv(out)), "seq,time,epoch,key,kind\n");
}

#[test]
fn a_large_state_comes_in_several_groups_with_the_same_columns() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    let mut batch = Batch::new();
    for run in 0..24_000 {
        // The last row alone needs doubles: only who has seen all of them can know.
        let last = if run == 23_999 { ",\"late\":0.5" } else { ",\"late\":1" };
        let columns: Vec<String> = (0..48).map(|column| format!("\"c{column}\":{}", run * column)).collect();
        batch.put_json(&format!("run-{run:05}"), &format!("{{{}{last}}}", columns.join(","))).unwrap();
        if batch.len() == 3000 {
            cohort.append_batch(std::mem::take(&mut batch)).unwrap();
        }
    }
    let batches = arrow(Export::of(&cohort));
    assert!(batches.len() > 1);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 24_000);
    let last = batches.last().unwrap();
    assert_eq!(
        last.column_by_name("c47").unwrap().as_primitive::<Int64Type>().values().last(),
        Some(&(23_999 * 47))
    );
    assert_eq!(batches[0].column_by_name("late").unwrap().as_primitive::<Float64Type>().value(0), 1.0);
    assert_eq!(
        last.column_by_name("late").unwrap().as_primitive::<Float64Type>().values().last(),
        Some(&0.5)
    );
}

/// Compaction between the two times that the records are gone over: then they are gone over again, from what is there now.
#[test]
fn records_folded_away_before_the_first_row_is_written_are_no_failure() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    for i in 0..10 {
        cohort.append("k", &json!({ "n": i })).unwrap();
    }
    let (mut compacted, mut types) = (false, 0);
    let other = cohort.clone();
    let mut watch = |step: Exporting| {
        types += u32::from(matches!(step, Exporting::Types(_)));
        if !std::mem::replace(&mut compacted, true) {
            // Two, for the previous snapshot keeps what is behind it.
            for i in 10..12 {
                other.compact()?;
                other.append("k", &json!({ "n": i }))?;
            }
            other.compact()?;
        }
        Ok(())
    };
    let mut out = Vec::new();
    let exported = Export::of(&cohort).what(What::History).unwrap().watch(&mut watch).csv(&mut out).unwrap();
    let first = cohort.history(None, ..).unwrap().next().unwrap().unwrap().seq();
    assert!(first > 1, "compaction has retired a segment");
    assert!(types > 1, "it was begun again");
    assert_eq!((exported.rows, exported.seq), (12 - first + 1, 12));
    let lines = String::from_utf8(out).unwrap();
    assert!(lines.lines().nth(1).unwrap().starts_with(&format!("{first},")), "{lines}");
}

#[test]
fn who_watches_can_end_it_and_is_told_how_far_it_has_come() {
    let fixture = Fixture::new();
    let cohort = mixed(&fixture);
    let mut steps = Vec::new();
    let mut watch = |step| {
        steps.push(step);
        Ok(())
    };
    Export::of(&cohort).watch(&mut watch).csv(io::sink()).unwrap();
    assert_eq!(steps, [Exporting::Types(0), Exporting::Rows(0, Some(5))]);
    let mut watch = |_| Err(io::Error::other("enough"));
    let error = Export::of(&cohort).watch(&mut watch).parquet(io::sink()).unwrap_err();
    assert!(error.is_io() && error.source().unwrap().to_string() == "enough", "{error}");
}

#[test]
fn a_reader_that_goes_away_is_told_by_the_kind_of_the_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::new();
    let cohort = mixed(&fixture);
    let export = || Export::of(&cohort);
    for error in [
        export().jsonl(Closed).unwrap_err(),
        export().csv(Closed).unwrap_err(),
        export().parquet(Closed).unwrap_err(),
        export().arrow(Closed).unwrap_err(),
        export().arrow_stream(Closed).unwrap_err(),
    ] {
        let source = error.source().and_then(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(source, Some(io::ErrorKind::BrokenPipe), "{error}");
    }
}

#[test]
fn odd_names_of_fields_are_columns_all_the_same() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    put(&cohort, &[("k", r#"{"":1,"a,\"b\"\n":2,"ä":3,"value.":4,"seq":5,"x":6,"x":7}"#)]);
    let csv = text(|out| Export::of(&cohort).csv(out));
    assert_eq!(csv, "key,seq,,\"a,\"\"b\"\"\n\",ä,value.,value.seq,x\nk,1,1,2,3,4,5,7\n");
    let batches = arrow(Export::of(&cohort));
    assert_eq!(batches[0].num_columns(), 8);
    let mut parquet = Vec::new();
    Export::of(&cohort).parquet(&mut parquet).unwrap();
    assert_eq!(
        rows_of_parquet(&fixture, parquet),
        [json!({"key":"k","seq":1,"":1,"a,\"b\"\n":2,"ä":3,"value.":4,"value.seq":5,"x":7})]
    );
}
