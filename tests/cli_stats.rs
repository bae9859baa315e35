//! `stats`: the text for Prometheus, held against the grammar of its format; and the same over HTTP.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use common::{Fixture, Running, python, shares_memory};
use tallyfold::{LockClass, Settings};

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// The text format, version 0.0.4, as its description has it, and stricter: every family with HELP and TYPE, once, its samples
/// directly behind them, none of them twice.
#[derive(Default)]
struct Exposition {
    kinds: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

impl Exposition {
    #[track_caller]
    fn parse(text: &str) -> Exposition {
        assert!(text.ends_with('\n') && !text.contains('\r'), "lines end with a line feed, the last one too");
        let mut found = Exposition::default();
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                assert!(is_name(name, true) && !help.trim().is_empty(), "{line}");
                assert!(helped.insert(name.to_string()), "helped twice: {line}");
                family = name.to_string();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, family, "TYPE comes behind HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(
                    found.kinds.insert(name.to_string(), kind.to_string()).is_none(),
                    "typed twice: {line}"
                );
            } else {
                let sample = sample(line);
                let kind = found.kinds.get(&family).unwrap_or_else(|| panic!("of no type: {line}"));
                let belongs = match kind.as_str() {
                    "histogram" => {
                        ["_bucket", "_sum", "_count"].iter().any(|end| sample.0 == format!("{family}{end}"))
                    }
                    _ => sample.0 == family,
                };
                assert!(belongs, "not of {family}: {line}");
                let twice = found.samples.iter().any(|other| other.0 == sample.0 && other.1 == sample.1);
                assert!(!twice, "twice: {line}");
                found.samples.push(sample);
            }
        }
        found.check_kinds();
        found
    }

    fn check_kinds(&self) {
        for (name, kind) in &self.kinds {
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            assert!(name.starts_with("tallyfold_"), "{name}");
            let of_it = || self.samples.iter().filter(|(sample, ..)| sample.starts_with(name.as_str()));
            assert!(of_it().count() > 0, "{name} has no sample");
            match kind.as_str() {
                "counter" => assert!(of_it().all(|(.., value)| *value >= 0.0), "{name}"),
                "histogram" => self.check_histogram(name),
                _ => {}
            }
        }
    }

    fn check_histogram(&self, name: &str) {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, labels, value) in self.samples.iter().filter(|sample| sample.0 == format!("{name}_bucket")) {
            let le = &labels["le"];
            let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            buckets.entry(labels["cohort"].clone()).or_default().push((bound, *value));
        }
        assert!(!buckets.is_empty(), "{name}");
        for (cohort, buckets) in buckets {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: bounds and counts rise");
            let (bound, last) = buckets[buckets.len() - 1];
            assert_eq!(bound, f64::INFINITY);
            assert_eq!(last, self.value(&format!("{name}_count"), &cohort), "{name}");
            assert!(self.value(&format!("{name}_sum"), &cohort) >= 0.0);
        }
    }

    fn find(&self, name: &str, cohort: &str) -> Option<f64> {
        let mut found = self
            .samples
            .iter()
            .filter(|(n, labels, _)| n == name && labels.get("cohort").is_some_and(|of| of == cohort));
        found.next().map(|(.., value)| *value)
    }

    #[track_caller]
    fn value(&self, name: &str, cohort: &str) -> f64 {
        self.find(name, cohort).unwrap_or_else(|| panic!("no {name} of {cohort:?}"))
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    let fits = |c: char, first: bool| {
        c.is_ascii_alphabetic() || c == '_' || c == ':' && colons || c.is_ascii_digit() && !first
    };
    !name.is_empty() && name.chars().enumerate().all(|(i, c)| fits(c, i == 0))
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, true), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label, false), "{line}");
            let mut value = String::new();
            let mut chars = behind.char_indices();
            let at = loop {
                let (at, c) = chars.next().expect("a closing quote");
                match c {
                    '"' => break at,
                    '\\' => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("\\{c} is no escape: {line}"),
                    }),
                    c => value.push(c),
                }
            };
            assert!(labels.insert(label.to_string(), value).is_none(), "a label twice: {line}");
            rest = &behind[at + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let number = rest.strip_prefix(' ').expect("a space before the number");
    assert!(!number.contains(' '), "no timestamp: {line}");
    (name.to_string(), labels, number.parse().expect("a number"))
}

/// Three cohorts, one of them with a name that has to be escaped.
const ODD: &str = "a \"quoted\\name\"\nof two lines";

fn filled() -> Fixture {
    let fixture = Fixture::new();
    fixture.fill("index", &[], &[("a", "1"), ("b", "2")]);
    fixture.ok(&["compact", "index"]);
    fixture.feed(&["append", "index", "--key", "a"], "3").ok();
    fixture.feed(&["append", ODD], "1\n2\n").ok();
    fixture.library().create("file", Settings::latest().lock(LockClass::File)).unwrap();
    fixture.feed(&["append", "file", "--key", "a"], "1").ok();
    fixture
}

#[track_caller]
fn check(fixture: &Fixture, text: &str) {
    let found = Exposition::parse(text);
    for cohort in ["index", ODD, "file"] {
        assert_eq!(found.value("tallyfold_up", cohort), 1.0);
        assert_eq!(found.value("tallyfold_info", cohort), 1.0);
    }
    for (name, value) in [("last_seq", 3.0), ("watermark", 2.0), ("entries", 2.0), ("poisoned", 0.0)] {
        assert_eq!(found.value(&format!("tallyfold_{name}"), "index"), value, "{name}");
    }
    assert!(found.value("tallyfold_snapshot_timestamp_seconds", "index") > 1.6e9);
    assert_eq!(found.find("tallyfold_snapshot_timestamp_seconds", ODD), None, "it has no snapshot");
    assert_eq!(found.find("tallyfold_appends_total", "file"), None, "others count for themselves there");
    if shares_memory(fixture) {
        for (name, value) in [("appended_records", 3.0), ("compactions", 1.0), ("compacted_records", 2.0)] {
            assert_eq!(found.value(&format!("tallyfold_{name}_total"), "index"), value, "{name}");
        }
        assert_eq!(found.value("tallyfold_attached", "index"), 0.0);
        assert!(found.value("tallyfold_sync_seconds_count", "index") >= 1.0);
    }
}

#[test]
fn the_text_for_prometheus_keeps_to_its_grammar_and_says_what_is_there() {
    let fixture = filled();
    let text = fixture.ok(&["stats", "--prometheus"]);
    check(&fixture, &text);
    let one = Exposition::parse(&fixture.ok(&["stats", "index", "--prometheus"]));
    assert!(one.samples.iter().all(|(_, labels, _)| labels["cohort"] == "index"));
    assert_eq!(fixture.ok(&["create", "empty"]), "");
    let empty = Exposition::parse(&fixture.ok(&["stats", "empty", "--prometheus"]));
    assert_eq!(empty.value("tallyfold_last_seq", "empty"), 0.0);
    assert_eq!(empty.find("tallyfold_appends_total", "empty"), None, "nobody was ever attached");
}

#[test]
fn the_parser_of_prometheus_for_python_takes_the_text_too() {
    let Some(python) = python() else { return };
    let fixture = filled();
    if !fixture
        .bare(python, &["-c", "import prometheus_client"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return println!("skipped: Python has no prometheus_client");
    }
    let text = fixture.ok(&["stats", "--prometheus"]);
    let program = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
                   for f in parse(sys.stdin.read()): print(f.name, f.type, len(f.samples))";
    let parsed = common::feed(fixture.bare(python, &["-c", program]), text.as_bytes()).ok();
    let samples: usize =
        parsed.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(samples, Exposition::parse(&text).samples.len(), "{parsed}");
    assert!(!parsed.contains("unknown") && !parsed.contains("untyped"), "{parsed}");
}

#[test]
fn a_bad_cohort_is_a_number_and_stops_no_other() {
    let fixture = filled();
    fixture.damage("index", "cohort.json", "latest");
    let ended = fixture.run(&["stats", "--prometheus"]).says(&["cohort \"index\": ", "damaged"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let found = Exposition::parse(&ended.out);
    assert_eq!((found.value("tallyfold_up", "index"), found.value("tallyfold_up", ODD)), (0.0, 1.0));
    assert_eq!(found.find("tallyfold_last_seq", "index"), None);
    assert_eq!(found.value("tallyfold_last_seq", ODD), 2.0);
    let alone = fixture.ok(&["stats", "index", "--prometheus"]);
    assert_eq!(Exposition::parse(&alone).value("tallyfold_up", "index"), 0.0);
}

#[test]
fn what_makes_no_sense_is_told() {
    let fixture = filled();
    fixture.run(&["stats", "nowhere", "--prometheus"]).fails(3, &["nowhere"]);
    fixture.run(&["stats", "--prometheus", "--json"]).fails(2, &["--prometheus", "--json"]);
    for address in ["127.0.0.1", "here", "127.0.0.1:x", ""] {
        fixture.run(&["stats", "--listen", address]).fails(1, &["cannot listen at", "such as 127.0.0.1:"]);
    }
    let elsewhere = fixture.bare(common::TALLYFOLD, &["stats", "--listen", "127.0.0.1:0"]).output().unwrap();
    common::Ended::from(elsewhere).fails(3, &["tallyfold-store"]);
}

#[test]
fn people_and_programs_see_the_counters_too() {
    let fixture = filled();
    let json = &fixture.run(&["stats", "index", "--json"]).json()[0];
    let readable = fixture.ok(&["stats", "index"]);
    if !shares_memory(&fixture) {
        assert!(json["counters"].is_null() && readable.contains("by each process for itself"));
        return;
    }
    let counters = &json["counters"];
    assert_eq!((&counters["records"], &counters["compactions"]), (&3.into(), &1.into()), "{json}");
    assert_eq!(counters["scope"], "cohort");
    assert!(counters["sync_times"]["count"].as_u64().unwrap() >= 1, "{json}");
    for words in ["appended      3 records in 3 batches", "compactions   1 in ", "attached      0 handles"] {
        assert!(readable.contains(words), "{words:?}: {readable}");
    }
    assert!(fixture.ok(&["stats", "file"]).contains("by each process for itself"));
    fixture.ok(&["create", "empty"]);
    assert!(fixture.ok(&["stats", "empty"]).contains("nothing since the system was started"));
    assert!(fixture.run(&["stats", "empty", "--json"]).json()[0]["counters"].is_null());
}

/// A listening command, which is killed with its test.
struct Server {
    running: Running,
    err: BufReader<ChildStderr>,
    address: String,
}

impl Server {
    fn start(fixture: &Fixture) -> Server {
        let mut command = fixture.command(&["stats", "--listen", "127.0.0.1:0", "--json"]);
        let mut running = Running::start(command.stderr(Stdio::piped()));
        let child: &mut Child = &mut running.0;
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        err.read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).expect("an object");
        let address = said["listening"].as_str().unwrap().to_string();
        assert_eq!(said["url"], format!("http://{address}/metrics"));
        Server { running, err, address }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(&self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client
    }

    /// Sends bytes, and returns the status, the fields and the body of the answer.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut client = self.connect();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.strip_prefix("HTTP/1.1 ").expect("a status")[..3].parse().unwrap();
        (status, head.to_string(), body.to_string())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }
}

#[test]
fn the_same_text_is_served_to_who_asks_and_it_is_of_now() {
    let fixture = filled();
    let server = Server::start(&fixture);
    let (status, head, body) = server.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    check(&fixture, &body);
    fixture.feed(&["append", "index", "--key", "a"], "4").ok();
    fixture.feed(&["append", "later"], "1").ok();
    let later = Exposition::parse(&server.get("/metrics?x=y").2);
    assert_eq!(later.value("tallyfold_last_seq", "index"), 4.0);
    assert_eq!(later.value("tallyfold_up", "later"), 1.0);
    // Another cohort in the place of one that is kept open.
    std::fs::remove_dir_all(fixture.store().join("index")).unwrap();
    fixture.fill("index", &[], &[("a", "1")]);
    assert_eq!(Exposition::parse(&server.get("/metrics").2).value("tallyfold_last_seq", "index"), 1.0);
    std::fs::remove_dir_all(fixture.store().join("later")).unwrap();
    assert_eq!(Exposition::parse(&server.get("/metrics").2).find("tallyfold_up", "later"), None);
    std::fs::rename(fixture.store(), fixture.dir().join("elsewhere")).unwrap();
    let (status, _, body) = server.get("/metrics");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("there is no store here"), "{body}");
    std::fs::rename(fixture.dir().join("elsewhere"), fixture.store()).unwrap();
    assert_eq!(server.get("/metrics").0, 200);
}

#[test]
fn what_is_not_there_and_what_is_not_done_is_answered_so() {
    let fixture = filled();
    let server = Server::start(&fixture);
    let (status, head, body) = server.ask("HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(!head.contains("Content-Length: 0"), "as long as it would be: {head}");
    let (status, _, body) = server.get("/");
    assert_eq!((status, body.lines().count()), (200, 1));
    assert!(body.contains("/metrics"), "{body}");
    assert_eq!(server.get("/favicon.ico").0, 404);
    let (status, head, _) =
        server.ask("POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\nthe rest never comes");
    assert_eq!(status, 405);
    assert!(head.contains("Allow: GET, HEAD"), "{head}");
    assert_eq!(server.ask("what is this\r\n\r\n").0, 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    assert_eq!(server.ask(&long).0, 431);
    assert_eq!(server.get("/").0, 200, "it goes on");
}

#[test]
fn clients_that_say_nothing_or_half_of_it_keep_nobody_waiting() {
    let fixture = filled();
    let server = Server::start(&fixture);
    let silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for mut half in &silent[10..] {
        half.write_all(b"GET /metrics HTT").unwrap();
    }
    assert_eq!(server.get("/metrics").0, 200);
    // And each of them is told in the end.
    let mut answer = String::new();
    (&silent[15]).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
}

#[test]
fn a_port_that_is_taken_is_told_and_so_is_an_address_that_others_reach() {
    let fixture = filled();
    let server = Server::start(&fixture);
    let (_, port) = server.address.split_once(':').unwrap();
    fixture.run(&["stats", "--listen", &server.address]).fails(1, &["in use", "another port", port]);
    let mut open = fixture.command(&["stats", "--listen", "0.0.0.0:0"]);
    let mut running = Running::start(open.stderr(Stdio::piped()));
    let mut err = BufReader::new(running.0.stderr.take().unwrap()).lines();
    assert!(err.next().unwrap().unwrap().starts_with("tallyfold: listening: http://0.0.0.0:"));
    assert!(err.next().unwrap().unwrap().contains("warning: 0.0.0.0 is no loopback address"));
}

#[test]
fn it_ends_when_it_is_interrupted() {
    let fixture = filled();
    let mut server = Server::start(&fixture);
    server.running.interrupt();
    assert_eq!(server.running.0.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    server.err.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}
