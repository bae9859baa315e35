//! What kind of file system a directory is on, from statfs(2).

use super::{Dir, FileSystem, Reach};
use crate::error::{Error, Result};

pub(crate) fn file_system(dir: &Dir) -> Result<FileSystem> {
    let stat = rustix::fs::fstatfs(dir.descriptor())
        .map_err(|e| Error::io("cannot ask for the file system", dir.path(), e.into()))?;
    // The type's width and sign differ between architectures; the magic numbers have 32 bits.
    Ok(classify(stat.f_type as u32))
}

/// Whether an open file is on a file system of this kernel alone.
pub(super) fn is_local(file: &std::fs::File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| classify(stat.f_type as u32).reach == Reach::Local)
}

/// By the numbers of statfs(2) and linux/magic.h.
fn classify(magic: u32) -> FileSystem {
    use Reach::{Local, Network};
    let (name, reach) = match magic {
        0xEF53 => ("ext4", Local),
        0x5846_5342 => ("xfs", Local),
        0x9123_683E => ("btrfs", Local),
        0x0102_1994 => ("tmpfs", Local),
        0x8584_58F6 => ("ramfs", Local),
        0x794C_7630 => ("overlay", Local),
        0xF2F5_2010 => ("f2fs", Local),
        0x2FC1_2FC1 => ("zfs", Local),
        0xCA45_1A4E => ("bcachefs", Local),
        0x3153_464A => ("jfs", Local),
        0x3434 => ("nilfs2", Local),
        0x4D44 => ("vfat", Local),
        0x2011_BAB0 => ("exfat", Local),
        0x7366_746E => ("ntfs3", Local),
        0x9660 => ("iso9660", Local),
        0x7371_7368 => ("squashfs", Local),
        0xE0F5_E1E2 => ("erofs", Local),
        0x6969 => ("nfs", Network),
        0xFF53_4D42 => ("cifs", Network),
        0xFE53_4D42 => ("smb2", Network),
        // What is behind it nobody can tell from here; sshfs and s3fs are among them.
        0x6573_5546 => ("fuse", Network),
        0x0102_1997 => ("9p", Network),
        0x0BD0_0BD0 => ("lustre", Network),
        0x4750_4653 => ("gpfs", Network),
        0x00C3_6400 => ("ceph", Network),
        0x1983_0326 => ("beegfs", Network),
        0x5346_414F => ("afs", Network),
        0x7461_636F => ("ocfs2", Network),
        0x0116_1970 => ("gfs2", Network),
        other => {
            let name = format!("type {other:#x}");
            return FileSystem { name, reach: Reach::Unknown, shares_memory: false };
        }
    };
    // Those on which a block that is reserved stays where it is. On copy-on-write ones, and on overlays of we know not what, a
    // store into reserved space can find the disk full, which is SIGBUS.
    let shares_memory = matches!(name, "ext4" | "xfs" | "tmpfs");
    FileSystem { name: name.to_string(), reach, shares_memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_and_unknown_ones() {
        let ext4 = FileSystem { name: "ext4".into(), reach: Reach::Local, shares_memory: true };
        assert_eq!(classify(0xEF53), ext4);
        assert!(!classify(0x9123_683E).shares_memory, "btrfs copies on write");
        for magic in [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x0BD0_0BD0, 0x1983_0326] {
            assert_eq!(classify(magic).reach, Reach::Network, "{magic:#x}");
        }
        assert_eq!(
            classify(0x1234),
            FileSystem { name: "type 0x1234".into(), reach: Reach::Unknown, shares_memory: false }
        );
    }
}
