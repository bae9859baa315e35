//! How long the steps of a record's way take, for ourselves: append, read, compact, open. `cargo bench`.
#![allow(missing_docs, reason = "criterion's macros make items of their own")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tallyfold::{Batch, Cohort, Query, Settings, Store};

/// A metric point as training loops write them: about 100 bytes of JSON.
fn point(step: u64) -> serde_json::Value {
    json!({"run_id": "run-0042", "stage": "TRAINING", "step": step, "loss": 0.123456, "acc": 0.98, "ts": 1767871234.123})
}

fn cohort(dir: &tempfile::TempDir, name: &str, settings: Settings) -> Cohort {
    let store = Store::open(dir.path().join("store")).expect("a store");
    store.create(name, settings).expect("a cohort")
}

fn batch(records: u64, keys: u64) -> Batch {
    let mut batch = Batch::new();
    for i in 0..records {
        batch.put(&format!("run-{:06}:TRAINING", i % keys), &point(i)).expect("a point is JSON");
    }
    batch
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = cohort(&dir, "log", Settings::log());
    let mut step = 0;
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    for (name, durable) in [("buffered", false), ("durable", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                step += 1;
                let point = point(step);
                if durable { log.append_durable("run", &point) } else { log.append("run", &point) }
                    .expect("an append")
            });
        });
    }
    group.throughput(Throughput::Elements(100));
    group.bench_function("batch of 100", |b| {
        b.iter_batched(
            || batch(100, 100),
            |batch| log.append_batch(batch).expect("an append"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    const RECORDS: u64 = 200_000;
    let dir = tempfile::tempdir().expect("a directory");
    let log = cohort(&dir, "log", Settings::log());
    for step in 0..RECORDS {
        log.append("run-000042", &point(step)).expect("an append");
    }
    let copied = |log: &Cohort| log.cursor(1).expect("a cursor").map(black_box).count();
    let borrowed = |log: &Cohort| {
        let mut cursor = log.cursor(1).expect("a cursor");
        let mut records = 0;
        while let Some(record) = cursor.next_ref().expect("a record") {
            black_box((record.key(), record.bytes()));
            records += 1;
        }
        records
    };
    assert_eq!((copied(&log), borrowed(&log)), (RECORDS as usize, RECORDS as usize));
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("scan, active, copied", |b| b.iter(|| copied(&log)));
    group.bench_function("scan, active, borrowed", |b| b.iter(|| borrowed(&log)));
    // Seals the segment: its end is known, and it is mapped.
    log.compact().expect("a compaction");
    group.bench_function("scan, sealed, copied", |b| b.iter(|| copied(&log)));
    group.bench_function("scan, sealed, borrowed", |b| b.iter(|| borrowed(&log)));

    let index = cohort(&dir, "index", Settings::latest());
    index.append_batch(batch(10_000, 10_000)).expect("an append");
    index.compact().expect("a compaction");
    group.throughput(Throughput::Elements(1));
    group.bench_function("open and get one of 10,000", |b| {
        b.iter(|| index.view().expect("a view").get("run-004321:TRAINING").expect("a read"));
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("open and iterate 10,000", |b| {
        b.iter(|| index.view().expect("a view").iter().map(black_box).count());
    });
    group.finish();
}

/// A row of an index of runs, and its key.
fn row(i: u64) -> (String, serde_json::Value) {
    let (run, attempt) = (format!("run-{:06}", i / 6), i % 6);
    let key =
        tallyfold::key([&*run, "TRAINING", "fwd_ret_5d", "CROSS_SECTIONAL", "ALL", &*attempt.to_string()]);
    let value = json!({"run_id": run, "stage": "TRAINING", "target": "fwd_ret_5d", "attempt_id": attempt, "auc": 0.61});
    (key, value)
}

fn index(c: &mut Criterion) {
    const ENTRIES: u64 = 1_000_000;
    let dir = tempfile::tempdir().expect("a directory");
    let index = cohort(&dir, "index", Settings::latest().compact_bytes(0));
    for first in (0..ENTRIES).step_by(1000) {
        let mut batch = Batch::new();
        for i in first..first + 1000 {
            let (key, value) = row(i);
            batch.put(&key, &value).expect("a row is JSON");
        }
        index.append_batch(batch).expect("an append");
    }
    index.compact().expect("a compaction");
    let open = || index.view().expect("a view");
    let (key, _) = row(ENTRIES / 2);
    let run = ["run-100000"];
    let query = Query::new().before_key(&key).field("stage", "TRAINING").expect("a field");
    let query = query.not("run_id", "run-083333").expect("a field");

    let view = open();
    assert!(view.get(&key).expect("a read").is_some());
    let point = view.blocks_read();
    assert_eq!(view.prefix(run).count(), 6);
    let prefix = view.blocks_read() - point;
    let (found, _) = view.previous(&query).expect("a read").expect("an entry");
    assert_eq!(found, row(ENTRIES / 2 - 3).0);
    let all = view.blocks_read();
    println!("blocks of {ENTRIES} entries: {all}; a point read takes {point}, six of a prefix take {prefix}");

    let mut group = c.benchmark_group("index of 1,000,000");
    group.bench_function("open", |b| b.iter(|| black_box(open())));
    group.bench_function("open and get one", |b| {
        b.iter(|| black_box(open().get(&key).expect("a read")));
    });
    group.bench_function("open and list six of a prefix", |b| b.iter(|| open().prefix(run).count()));
    let view = open();
    group.bench_function("get one", |b| b.iter(|| black_box(view.get(&key).expect("a read"))));
    group.bench_function("list six of a prefix", |b| b.iter(|| view.prefix(run).count()));
    group.sample_size(10);
    group.bench_function("previous", |b| b.iter(|| view.previous(&query).expect("a read").is_some()));
    group.finish();
}

fn compact(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let index = cohort(&dir, "index", Settings::latest());
    index.append_batch(batch(10_000, 10_000)).expect("an append");
    index.compact().expect("a compaction");
    c.bench_function("compact 100 records into 10,000 entries", |b| {
        b.iter_batched(
            || index.append_batch(batch(100, 100)).expect("an append"),
            |_| index.compact().expect("a compaction"),
            BatchSize::PerIteration,
        );
    });
}

fn update(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let index = cohort(&dir, "index", Settings::latest());
    index.append_batch(batch(10_000, 10_000)).expect("an append");
    index.compact().expect("a compaction");
    c.bench_function("update one of 10,000", |b| {
        b.iter(|| {
            let add = |old: Option<&tallyfold::Entry>| {
                Ok(Some(old.map_or(Ok(0), |entry| entry.to::<u64>()).unwrap_or(0) + 1))
            };
            index.update("run-004321:TRAINING", add).expect("an update")
        });
    });
}

criterion_group!(benches, append, read, index, compact, update);
criterion_main!(benches);
