//! What an append costs before it takes the lock, and the one step of it that must be done under the lock: `cargo bench --bench
//! prepare`. A body and a header are no part of the library's interface, so their modules are compiled into this program.
#![allow(missing_docs, reason = "criterion's macros make items of their own")]

#[path = "../src/error.rs"]
#[allow(unused, reason = "this program needs only what makes a body")]
mod error;
#[path = "../src/format.rs"]
#[allow(unused, reason = "this program needs only what makes a body")]
mod format;
#[path = "../src/record.rs"]
#[allow(unused, reason = "this program needs only what makes a body")]
mod record;
#[path = "../src/value/mod.rs"]
#[allow(unused, reason = "this program needs only what makes a body")]
mod value;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde::Serialize;
use serde_json::json;

use format::{Body, Header};
use record::Batch;

/// A metric point as training loops write them.
#[derive(Serialize)]
struct Point<'a> {
    run_id: &'a str,
    stage: &'a str,
    step: u64,
    loss: f64,
    acc: f64,
    ts: f64,
}

const COMPACT: &str =
    r#"{"run_id":"run-0042","stage":"TRAINING","step":1234,"loss":0.123456,"acc":0.98,"ts":1767871234.123}"#;
/// The same as Python's `json.dumps` writes it.
const SPACED: &str = r#"{"run_id": "run-0042", "stage": "TRAINING", "step": 1234, "loss": 0.123456, "acc": 0.98, "ts": 1767871234.123}"#;

/// A batch of one, made by `fill`.
fn one(fill: impl Fn(&mut Batch) -> error::Result<&mut Batch>) -> Body {
    let mut batch = Batch::new();
    fill(&mut batch).expect("what JSON can hold");
    batch.into_body()
}

fn prepare(c: &mut Criterion) {
    let point = Point {
        run_id: "run-0042",
        stage: "TRAINING",
        step: 1234,
        loss: 0.123456,
        acc: 0.98,
        ts: 1_767_871_234.123,
    };
    let value = json!(point);
    let escaped = COMPACT.replace("TRAINING", r"TRAI\u004eING");
    let nonfinite = Point { loss: f64::NAN, ..point };
    let long = format!("[{}]", vec![COMPACT; 100].join(","));

    let mut group = c.benchmark_group("prepare");
    group.bench_function("put_json, compact", |b| b.iter(|| one(|it| it.put_json("", black_box(COMPACT)))));
    group.bench_function("put_json, spaced", |b| b.iter(|| one(|it| it.put_json("", black_box(SPACED)))));
    group.bench_function("put_json, escaped", |b| b.iter(|| one(|it| it.put_json("", black_box(&escaped)))));
    group.bench_function("put_json, 10 kB", |b| b.iter(|| one(|it| it.put_json("", black_box(&long)))));
    group.bench_function("put, derived", |b| b.iter(|| one(|it| it.put("", black_box(&point)))));
    group.bench_function("put, Value", |b| b.iter(|| one(|it| it.put("", black_box(&value)))));
    group.bench_function("put, non-finite", |b| b.iter(|| one(|it| it.put("", black_box(&nonfinite)))));
    group.bench_function("put_raw", |b| {
        b.iter(|| one(|it| it.put_raw("", black_box(COMPACT.as_bytes()))));
    });
    let header = Header::new(&one(|it| it.put_json("", COMPACT)), 7, 6, 5);
    group.bench_function("header", |b| b.iter(|| black_box(&header).encode(black_box(0xABCD_EF01))));
    // For comparison: what serde_json alone takes to write the point.
    group.bench_function("serde_json::to_vec", |b| b.iter(|| serde_json::to_vec(black_box(&point))));
    group.finish();
}

criterion_group!(benches, prepare);
criterion_main!(benches);
