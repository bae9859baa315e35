//! A process that only writes a file and syncs it: what a machine feels when a compaction's bytes are written by anybody.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub path: PathBuf,
    pub bytes: u64,
    /// It begins again until so much time is over.
    pub seconds: f64,
}

/// How often it did so.
#[derive(Serialize, Deserialize)]
pub struct Done {
    pub times: u32,
}

impl Task {
    pub fn run(&self) -> Result<Done> {
        let begun = Instant::now();
        let block = vec![b'x'; 1 << 20];
        let mut times = 0;
        while times == 0 || begun.elapsed() < Duration::from_secs_f64(self.seconds) {
            let mut file = File::create(&self.path)?;
            for _ in 0..self.bytes.div_ceil(block.len() as u64) {
                file.write_all(&block)?;
            }
            file.sync_all()?;
            fs::remove_file(&self.path)?;
            times += 1;
        }
        Ok(Done { times })
    }
}
