use tallyfold::*;
fn main() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let c = Store::open(dir.path().join("s")).unwrap().create("c", Settings::log()).unwrap();
    let text = r#"{"run_id":"run-0123456789","stage":"TRAINING","step":1234567,"loss":0.123456789,"acc":0.98765432}"#;
    for _ in 0..3 {
        let t = std::time::Instant::now();
        for _ in 0..n {
            let mut b = Batch::new();
            b.put_json("", text).unwrap();
            c.append_batch(b).unwrap();
        }
        println!("{} bytes {:?} per append", text.len(), t.elapsed() / n as u32);
    }
}
