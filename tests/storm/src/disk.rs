//! File systems on loop devices, in a mount namespace of this process's own: whatever becomes of it, nothing stays mounted.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Result;

/// `FS_IOC_SHUTDOWN`, of ext4, xfs and others: `_IOR('X', 125, __u32)`.
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How a file system is cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// What its journal holds in memory is written first: `FSOP_GOING_FLAGS_LOGFLUSH`.
    WithLog = 1,
    /// Nothing is: `FSOP_GOING_FLAGS_NOLOGFLUSH`.
    AtOnce = 2,
}

/// A place for images and mounts.
pub struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    /// # Errors
    /// Why there can be none here.
    pub fn new(dir: &Path) -> Result<Disks> {
        // SAFETY: takes no pointer.
        if unsafe { libc::geteuid() } != 0 {
            return Err("only root can mount file systems".into());
        }
        // SAFETY: takes no pointer; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(format!("no mount namespace of our own: {}", std::io::Error::last_os_error()).into());
        }
        // Nothing that is mounted from here on is seen outside, and the last process takes it along.
        command("mount", &["--make-rprivate", "/"])?;
        let disks = Disks { dir: tempfile::tempdir_in(dir)? };
        drop(Disk::make(&disks, "probe", 8 << 20, &[])?);
        Ok(disks)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Lets processes that start from here on believe that the system has been started anew.
    pub fn start_system_anew(&self) -> Result<()> {
        let id = self.path().join("boot_id");
        let mut rng = fastrand::Rng::new();
        fs::write(&id, format!("{:08x}-0000-4000-8000-{:012x}\n", rng.u32(..), rng.u64(..) >> 16))?;
        // One file stays mounted: it is written anew each time.
        if fs::read_to_string(BOOT_ID)? != fs::read_to_string(&id)? {
            command("mount", &["--bind", &id.to_string_lossy(), BOOT_ID])?;
        }
        Ok(())
    }
}

pub fn command(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
        }
    }
}

/// An ext4 in a file.
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes and mounts it.
    pub fn make(disks: &Disks, name: &str, bytes: u64, options: &[&str]) -> Result<Disk> {
        Disk::make_in(disks.path(), disks, name, bytes, options)
    }

    /// The same with its image in a directory of its own.
    pub fn make_in(dir: &Path, disks: &Disks, name: &str, bytes: u64, options: &[&str]) -> Result<Disk> {
        let (image, at) = (dir.join(format!("{name}.image")), disks.path().join(name));
        File::create(&image)?.set_len(bytes)?;
        command("mkfs.ext4", &[&["-q", "-F", "-m", "0"], options, &[&image.to_string_lossy()]].concat())?;
        fs::create_dir(&at)?;
        let disk = Disk { image, at };
        disk.mount()?;
        Ok(disk)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    pub fn mount(&self) -> Result<()> {
        // The loop device goes with the mount.
        command("mount", &["-o", "loop", &self.image.to_string_lossy(), &self.at.to_string_lossy()])
    }

    pub fn unmount(&self) -> Result<()> {
        let mut tries = 0;
        loop {
            match command("umount", &[&self.at.to_string_lossy()]) {
                Err(_) if tries < 100 => tries += 1,
                other => return other,
            }
            // What was killed a moment ago lets go of its files only when it is gone.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reserves space for the first bytes of the image, where it lies.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        let image = OpenOptions::new().write(true).open(&self.image)?;
        // SAFETY: the descriptor is open; takes no pointer.
        match unsafe { libc::fallocate(image.as_raw_fd(), 0, 0, bytes as libc::off_t) } {
            0 => Ok(()),
            _ => Err(format!("no space for the image: {}", std::io::Error::last_os_error()).into()),
        }
    }

    /// Has the loop device write one page at a time. Of a larger write that only partly finds space beneath, the loop driver
    /// says that all is well (seen on Linux 6.18): then a sync tells no failure, and no store can know of it.
    pub fn write_single_pages(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let at = self.at.to_string_lossy();
        let device = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, rest)| rest.split(' ').next() == Some(&at))
            .and_then(|(device, _)| device.strip_prefix("/dev/"))
            .ok_or("the file system is not among the mounts")?;
        Ok(fs::write(format!("/sys/block/{device}/queue/max_sectors_kb"), "4")?)
    }

    /// From now on nothing reaches the image, and everything fails.
    pub fn cut_off(&self, how: Cut) -> Result<()> {
        let dir = OpenOptions::new().read(true).open(&self.at)?;
        let how = how as u32;
        // SAFETY: the descriptor is open; the kernel reads one integer, which is ours.
        match unsafe { libc::ioctl(dir.as_raw_fd(), SHUTDOWN, &raw const how) } {
            0 => Ok(()),
            _ => {
                Err(format!("the file system cannot be cut off: {}", std::io::Error::last_os_error()).into())
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command("umount", &["-l", &self.at.to_string_lossy()]);
        let _ = fs::remove_dir(&self.at);
        let _ = fs::remove_file(&self.image);
    }
}
