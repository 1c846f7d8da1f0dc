//! The data plane's maps, as the daemon uses them: arrays as shared memory, the rest through system calls.
//!
//! Rows of the arrays are the very memory that packets read; they are read and written here through the same cells.
//! Everything `unsafe` of the daemon stands in this file.

use std::{io, marker::PhantomData, os::fd::AsFd, ptr::NonNull};

use aya::maps::{Map, MapData};
use rlvs_core::{
    cell::Cell64,
    rows::{ConfigRow, ConnRow, CursorRow, DestRow, MarkRow, MemberRow, SampleRow, ServiceRow},
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Rows whose layout the data plane shares and for which every bit pattern is a value.
///
/// # Safety
/// The type consists of integers and cells of them, has a size that is a multiple of 8, and is `#[repr(C)]`.
pub unsafe trait Row {}

// SAFETY: rlvs_core::rows asserts sizes; all fields are integers or cells. JUSTIFICATION: the marker is what `SharedArray`
// relies on to hand out references into kernel memory.
unsafe impl Row for ConfigRow {}
// SAFETY: as above.
unsafe impl Row for CursorRow {}
// SAFETY: as above.
unsafe impl Row for ServiceRow {}
// SAFETY: as above.
unsafe impl Row for DestRow {}
// SAFETY: as above.
unsafe impl Row for MemberRow {}
// SAFETY: as above.
unsafe impl Row for ConnRow {}
// SAFETY: as above; the daemon changes rows of the half that packets do not read.
unsafe impl Row for MarkRow {}
// SAFETY: as above; what is read while the data plane writes it is integers of either frame.
unsafe impl Row for SampleRow {}
// SAFETY: a cell of 8 bytes. JUSTIFICATION: as above.
unsafe impl Row for Cell64 {}

/// A memory-mapped array map.
pub struct SharedArray<R: Row> {
    rows: NonNull<R>,
    count: usize,
    // Keeps the map open: its memory lives as long as the mapping, but a clear owner helps.
    _map: MapData,
    row: PhantomData<R>,
}

impl<R: Row> SharedArray<R> {
    /// Maps all rows of an array map that was made with BPF_F_MMAPABLE and rows of `R`'s size.
    ///
    /// # Errors
    /// Where the map has rows of another size, or mapping fails.
    pub fn new(map: Map) -> io::Result<Self> {
        let Map::Array(map) = map else {
            return Err(io::Error::other("not an array map"));
        };
        let info = map.info().map_err(io::Error::other)?;
        if info.value_size() as usize != size_of::<R>() {
            return Err(io::Error::other("rows of another size, made by another version: run `rlvs unload` first"));
        }
        let count = info.max_entries() as usize;
        let fd = map.fd().as_fd();
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing. JUSTIFICATION: sharing memory with
        // the data plane is what makes listing and expiring a million rows cheap; there is no safe interface to it.
        let rows = unsafe {
            mmap(
                std::ptr::null_mut(),
                count * size_of::<R>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let rows = NonNull::new(rows.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { rows, count, _map: map, row: PhantomData })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Row `index`, shared with the data plane.
    pub fn get(&self, index: u32) -> Option<&R> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.count)?;
        // SAFETY: in bounds of the mapping, which lives as long as `self`; `Row` promises that any bytes are a value, and
        // what others change at the same time are cells. JUSTIFICATION: see `new`.
        Some(unsafe { self.rows.add(index).as_ref() })
    }

    /// A copy of row `index`, which the data plane may be writing: then the copy is part old, part new.
    pub fn copy(&self, index: u32) -> Option<R>
    where
        R: Copy,
    {
        let index = usize::try_from(index).ok().filter(|index| *index < self.count)?;
        // SAFETY: in bounds of the mapping; any bytes are a value. JUSTIFICATION: these rows are not cells, so a reference to
        // one would promise that it holds still.
        Some(unsafe { self.rows.add(index).read_volatile() })
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        (0..self.count as u32).filter_map(|index| self.get(index))
    }

    /// Changes the fields of row `index` that are the daemon's alone (those that are not cells).
    ///
    /// `&mut self` keeps other references of this process away; the data plane does not read those fields while the row is
    /// out of use, which is when they change.
    pub fn update(&mut self, index: u32, change: impl FnOnce(&mut R)) -> bool {
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < self.count) else {
            return false;
        };
        // SAFETY: in bounds and unique within this process, see above. JUSTIFICATION: see `new`.
        change(unsafe { self.rows.add(index).as_mut() });
        true
    }
}

impl<R: Row> Drop for SharedArray<R> {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; references cannot outlive `self`. JUSTIFICATION: the counterpart of `mmap`.
        if let Err(error) = unsafe { munmap(self.rows.as_ptr().cast(), self.count * size_of::<R>()) } {
            tracing::warn!("unmapping a map: {error}");
        }
    }
}

// SAFETY: the pointer leads to memory that is shared between all CPUs anyway. JUSTIFICATION: raw pointers are not Send.
unsafe impl<R: Row> Send for SharedArray<R> {}
