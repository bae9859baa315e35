//! The seam outside of tests: everything passes as it is.

use std::io;

use super::seam::{Bytes, Errno, Op, Seam};

pub(super) enum Here {}

impl Seam for Here {
    #[inline(always)]
    fn pass<T, E: Errno>(_: Op<'_>, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        act()
    }

    #[inline(always)]
    fn write(_: Bytes<'_>, bytes: &[u8], act: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        act(bytes)
    }

    #[inline(always)]
    fn store(_: Bytes<'_>, _: [&[u8]; 2], act: impl FnOnce()) {
        act();
    }

    #[inline(always)]
    fn boot(told: [u8; 16]) -> [u8; 16] {
        told
    }
}
